//! `phi-host image`.

use super::{print, print_json};
use crate::failure::{Failure, Kind};
use crate::images;
use crate::system::{InputFile, System};
use serde_json::{Value, json};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Prints, for each image, the BLAKE3 of the ELF file as built, its bytes, and its name. A bundle needs a
file for every input.

Examples:
  phi-host image examples/wordcount
  phi-host image examples/wordcount --input text=README.md --output wordcount.bundle";

/// Build the service images, print their hashes, and write a bundle
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Image {
    /// A folder with a phi.toml, or a manifest
    #[arg(default_value = ".")]
    system: PathBuf,
    /// The file for an input of the manifest
    #[arg(long = "input", value_name = "NAME=FILE")]
    inputs: Vec<InputFile>,
    /// Write the bundle to this file
    #[arg(long, value_name = "BUNDLE")]
    output: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Image {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let system = System::open(&self.system)?;
        let bundled = self.output.is_some() || !self.inputs.is_empty();
        let inputs = if bundled { Some(system.inputs(&self.inputs)?) } else { None };
        let images = system.images()?;
        let bundle = inputs.map(|inputs| system.bundle(&images, &inputs)).transpose()?;
        if let (Some(file), Some(bundle)) = (&self.output, &bundle) {
            std::fs::write(file, bundle).map_err(|error| {
                Failure::new(Kind::Computer, format!("the bundle cannot be written: {error}"))
                    .in_file(file)
                    .help("name a file in a folder that you may write to, with room for it")
            })?;
        }
        match self.json {
            true => print_json(&as_json(&images, bundle.as_deref()))?,
            false => print(&lines(&images, bundle.as_deref()))?,
        }
        Ok(0)
    }
}

fn lines(images: &[images::Image], bundle: Option<&[u8]>) -> String {
    let mut text = String::new();
    let mut line = |hash: &str, size: usize, name: &str| {
        text.push_str(&format!("{hash} {size:>10} {name}\n"));
    };
    for image in images {
        line(&image.hash_text(), image.file.len(), &image.name.to_string());
    }
    if let Some(bundle) = bundle {
        line(blake3::hash(bundle).to_hex().as_str(), bundle.len(), "the bundle");
    }
    text
}

fn as_json(images: &[images::Image], bundle: Option<&[u8]>) -> Value {
    let entry = |image: &images::Image| {
        json!({
            "name": image.name.to_string(),
            "blake3": image.hash_text(),
            "bytes": image.file.len(),
        })
    };
    let bundle = bundle.map(
        |bundle| json!({ "blake3": blake3::hash(bundle).to_hex().as_str(), "bytes": bundle.len() }),
    );
    json!({ "images": images.iter().map(entry).collect::<Vec<_>>(), "bundle": bundle })
}

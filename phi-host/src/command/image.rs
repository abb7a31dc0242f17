//! `phi-host image`.

use super::{print, print_json};
use crate::failure::{Failure, Kind};
use crate::system::{InputFile, System};
use crate::{disk, images, perf, qemu};
use phi_manifest::bundle::Bundle;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Prints, for each image, the BLAKE3 of the ELF file as built, its bytes, and its name. A bundle, a disk
and symbols need a file for every input. A disk boots computers with UEFI; docs/booting.md says how. Symbols are
for perf, of one system on Linux; docs/isolation.md says how.

Examples:
  phi-host image examples/wordcount
  phi-host image examples/wordcount --input text=README.md --output wordcount.bundle
  phi-host image examples/wordcount --input text=README.md --disk wordcount.disk
  phi-host image examples/wordcount --input text=README.md --symbols wordcount.symbols";

/// Build the service images, print their hashes, and write a bundle or a bootable disk
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
    /// Write a bootable disk with the bundle and the bare-metal kernel to this file
    #[arg(long, value_name = "DISK")]
    disk: Option<PathBuf>,
    /// Write the symbols of the images, at the places where processes map them, to this file
    #[arg(long, value_name = "FILE")]
    symbols: Option<PathBuf>,
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
        let outputs = [&self.output, &self.disk, &self.symbols];
        let bundled = outputs.iter().any(|file| file.is_some()) || !self.inputs.is_empty();
        let inputs = if bundled { Some(system.inputs(&self.inputs)?) } else { None };
        let images = system.images()?;
        let bundle = inputs.map(|inputs| system.bundle(&images, &inputs, &[])).transpose()?;
        if let (Some(file), Some(bundle)) = (&self.output, &bundle) {
            std::fs::write(file, bundle).map_err(|error| unwritten("bundle", file, &error))?;
        }
        if let (Some(file), Some(bundle)) = (&self.symbols, &bundle) {
            write_symbols(&images, bundle, file)?;
        }
        let disk = match (&self.disk, &bundle) {
            (Some(file), Some(bundle)) => Some(write_disk(&system, bundle, file)?),
            _ => None,
        };
        let written = Written { bundle: bundle.as_deref(), disk };
        match self.json {
            true => print_json(&as_json(&images, &written))?,
            false => print(&lines(&images, &written))?,
        }
        Ok(0)
    }
}

/// What was built besides the images.
struct Written<'a> {
    bundle: Option<&'a [u8]>,
    /// The disk's hash and its bytes.
    disk: Option<(blake3::Hash, u64)>,
}

/// Writes a bootable disk to `file`; gives its hash and its bytes.
fn write_disk(system: &System, bundle: &[u8], file: &Path) -> Result<(blake3::Hash, u64), Failure> {
    let project = system.project()?;
    let read = |file: PathBuf| {
        std::fs::read(&file).map_err(|error| {
            Failure::new(Kind::Computer, format!("what was built cannot be read: {error}"))
                .in_file(&file)
                .help("build it again")
        })
    };
    let (loader, kernel) = (read(qemu::loader(&project)?)?, read(qemu::kernel(&project)?)?);
    let content = disk::Content { loader: &loader, kernel: &kernel, bundle, command_line: "" };
    let write = || {
        let mut options = File::options();
        let mut disk = options.read(true).write(true).create(true).truncate(true).open(file)?;
        disk::write(&mut disk, &content)?;
        disk.rewind()?;
        let mut hasher = blake3::Hasher::new();
        let bytes = io::copy(&mut disk, &mut hasher)?;
        Ok((hasher.finalize(), bytes))
    };
    write().map_err(|error: io::Error| unwritten("disk", file, &error))
}

fn write_symbols(images: &[images::Image], bundle: &[u8], file: &Path) -> Result<(), Failure> {
    let bundle = Bundle::open(bundle)
        .map_err(|error| Failure::new(Kind::Bug, format!("the bundle is none: {error}")))?;
    let named = |name: &str| {
        images.iter().find(|image| image.name.to_string() == name).map(|image| &*image.file)
    };
    std::fs::write(file, perf::symbols(&bundle, named))
        .map_err(|error| unwritten("symbols", file, &error))
}

fn unwritten(what: &str, file: &Path, error: &io::Error) -> Failure {
    Failure::new(Kind::Computer, format!("the {what} cannot be written: {error}"))
        .in_file(file)
        .help("name a file in a folder that you may write to, with room for it")
}

fn lines(images: &[images::Image], written: &Written<'_>) -> String {
    let mut text = String::new();
    let mut line = |hash: &str, size: u64, name: &str| {
        text.push_str(&format!("{hash} {size:>10} {name}\n"));
    };
    for image in images {
        line(&image.hash_text(), image.file.len() as u64, &image.name.to_string());
    }
    if let Some(bundle) = written.bundle {
        line(blake3::hash(bundle).to_hex().as_str(), bundle.len() as u64, "the bundle");
    }
    if let Some((hash, bytes)) = written.disk {
        line(hash.to_hex().as_str(), bytes, "the disk");
    }
    text
}

fn as_json(images: &[images::Image], written: &Written<'_>) -> Value {
    let entry = |image: &images::Image| {
        json!({
            "name": image.name.to_string(),
            "blake3": image.hash_text(),
            "bytes": image.file.len(),
        })
    };
    let file = |(hash, bytes): (blake3::Hash, u64)| json!({ "blake3": hash.to_hex().as_str(), "bytes": bytes });
    let bundle = written.bundle.map(|bundle| file((blake3::hash(bundle), bundle.len() as u64)));
    let disk = written.disk.map(file);
    json!({ "images": images.iter().map(entry).collect::<Vec<_>>(), "bundle": bundle, "disk": disk })
}

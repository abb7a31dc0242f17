//! Service images: cargo builds them, once for all machines.
//!
//! Each package is built by a call of its own: if several were built together, what one of them
//! wants of a library would change the other's image.

use crate::cargo;
use crate::failure::{Failure, Kind};
use phi_manifest::ImageName;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// An image as it was built.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// Its package and binary.
    pub name: ImageName,
    /// The ELF file's content.
    pub file: Vec<u8>,
    /// Where cargo has put it.
    pub path: PathBuf,
    /// BLAKE3 of the file.
    pub hash: [u8; 32],
}

impl Image {
    /// The hash in hexadecimal digits.
    pub fn hash_text(&self) -> String {
        blake3::Hash::from_bytes(self.hash).to_string()
    }
}

/// Builds the images `names` in `project`; gives each once, in the order in which they come first, and
/// none for a driver.
///
/// # Errors
/// Cargo is missing, or an image cannot be built or read.
pub fn build(project: &Path, names: &[ImageName]) -> Result<Vec<Image>, Failure> {
    let mut packages: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for name in names.iter().filter(|name| !name.is_driver()) {
        packages.entry(&name.package).or_default().insert(&name.binary);
    }
    let mut files = BTreeMap::new();
    for (package, binaries) in packages {
        let what = format!("the images of {package}");
        let folder = cargo::folder_of(project, package)?;
        let programs = cargo::build(&folder, &arguments(package, &binaries), &what)?;
        for binary in binaries {
            let file = programs.get(binary).ok_or_else(|| {
                Failure::new(Kind::Mistake, "cargo has built no program of that name")
                    .at(format!("{package}:{binary}"))
                    .help(format!("see that {package} has a [[bin]] with name = \"{binary}\""))
            })?;
            let content = std::fs::read(file).map_err(|error| {
                Failure::new(Kind::Computer, format!("the image cannot be read: {error}"))
                    .in_file(file)
            })?;
            files.insert((package, binary), (content, file.clone()));
        }
    }
    let distinct = names.iter().filter_map(|name| {
        let (file, path) = files.remove(&(name.package.as_str(), name.binary.as_str()))?;
        let hash = *blake3::hash(&file).as_bytes();
        Some(Image { name: name.clone(), file, path, hash })
    });
    Ok(distinct.collect())
}

/// The image that `text` names: a package and a binary of the project, which is then built, or an ELF file.
///
/// # Errors
/// There is neither, or [`build`]'s.
pub fn find(
    project: impl FnOnce() -> Result<PathBuf, Failure>,
    text: &str,
) -> Result<Image, Failure> {
    let file = Path::new(text);
    match text.split_once(':') {
        Some((package, binary)) if !file.exists() => {
            let name = ImageName { package: package.into(), binary: binary.into() };
            let built = build(&project()?, std::slice::from_ref(&name))?;
            built
                .into_iter()
                .next()
                .ok_or_else(|| Failure::new(Kind::Bug, "an image was not built"))
        }
        _ => {
            let content = std::fs::read(file).map_err(|error| {
                Failure::new(Kind::Input, format!("the image cannot be read: {error}"))
                    .in_file(file)
                    .help("name a file, or PACKAGE:BINARY of the project")
            })?;
            let binary = file.file_name().map_or(text.into(), |name| name.to_string_lossy().into());
            let name = ImageName { package: "file".into(), binary };
            let hash = *blake3::hash(&content).as_bytes();
            Ok(Image { name, file: content, path: file.to_path_buf(), hash })
        }
    }
}

fn arguments(package: &str, binaries: &BTreeSet<&str>) -> Vec<String> {
    let fixed =
        ["--profile=image".into(), "--features=image".into(), format!("--package={package}")];
    fixed.into_iter().chain(binaries.iter().map(|binary| format!("--bin={binary}"))).collect()
}

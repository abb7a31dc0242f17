//! Systems: from a folder with a manifest, or a finished bundle, to a bundle that is ready to run.

use crate::cargo;
use crate::failure::{Failure, Kind};
use crate::images::{self, Image};
use crate::progress::Progress;
use crate::symbols::Symbols;
use phi_abi::layout::{IMAGE_OFFSET, WINDOW_SIZE};
use phi_manifest::bundle::{Bundle, MAGIC};
use phi_manifest::image::{RelocatedImage, relocate};
use phi_manifest::plan::{ImagePlan, Plan, ReplacementPlan, ServicePlan};
use phi_manifest::{Diagnostics, Input, Manifest, builder};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The manifest's name in a system's folder.
pub const MANIFEST: &str = "phi.toml";

/// Bytes of a manifest, at most.
const MANIFEST_SIZE: u64 = 1 << 20;

/// A file for an input, as the command line names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputFile {
    /// The input's name.
    pub name: String,
    /// The file.
    pub file: PathBuf,
}

impl std::str::FromStr for InputFile {
    type Err = String;

    fn from_str(text: &str) -> Result<InputFile, String> {
        match text.split_once('=') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => {
                Ok(InputFile { name: name.into(), file: file.into() })
            }
            _ => Err("an input is given as NAME=FILE".into()),
        }
    }
}

/// A system that a manifest describes.
pub struct System {
    /// The manifest's file.
    pub file: PathBuf,
    /// The manifest; it has no mistakes.
    pub manifest: Manifest,
}

impl System {
    /// Reads and checks the manifest at `path`, or in the folder `path`.
    ///
    /// # Errors
    /// There is none, or it has mistakes; then with all of them.
    pub fn open(path: &Path) -> Result<System, Failure> {
        let (file, result) = check(path)?;
        match result {
            Ok(manifest) => Ok(System { file, manifest }),
            Err(mistakes) => Err(mistaken(&file, &mistakes)),
        }
    }

    /// The project whose packages the images are.
    ///
    /// # Errors
    /// The system lies in none.
    pub fn project(&self) -> Result<PathBuf, Failure> {
        cargo::project(folder_of(&self.file))
    }

    /// The plan, for inputs of these lengths.
    ///
    /// # Errors
    /// An input is too long.
    pub fn plan(&self, lengths: &[u64]) -> Result<Plan, Failure> {
        self.manifest.plan(lengths).map_err(|error| {
            Failure::new(Kind::Input, error.to_string())
                .in_file(&self.file)
                .help("hand in a smaller file")
        })
    }

    /// Builds each image that the services run, once.
    ///
    /// # Errors
    /// [`images::build`]'s.
    pub fn images(&self) -> Result<Vec<Image>, Failure> {
        images::build(&self.project()?, &self.manifest.images())
    }

    /// Builds the bundle from the system's images and its inputs' contents.
    ///
    /// # Errors
    /// An image is none.
    pub fn bundle(
        &self,
        images: &[Image],
        inputs: &Inputs,
        replacements: &[Replacing],
    ) -> Result<Vec<u8>, Failure> {
        let mut plan = inputs.plan.clone();
        let _progress = Progress::new("building the bundle …");
        let mut relocated = Vec::new();
        for (service, name) in plan.services.iter_mut().zip(self.manifest.images()) {
            if name.is_driver() {
                relocated.push(RelocatedImage { entry: 0, parts: Vec::new() });
                continue;
            }
            let image = images.iter().find(|image| image.name == name).ok_or_else(|| {
                Failure::new(Kind::Bug, "a service's image was not built").at(name.to_string())
            })?;
            service.image.name = name.to_string();
            service.image.hash = image.hash;
            relocated.push(relocate_image(image, service.window)?);
        }
        let mut others = Vec::new();
        // The builder takes them in the plan's order.
        for (index, service) in plan.services.iter_mut().enumerate() {
            let Some(one) = replacements.iter().find(|one| one.service == index) else { continue };
            if service.driver.is_some() {
                let what =
                    format!("`{}` is a driver of the machine's, without an image", service.name);
                return Err(Failure::new(Kind::Mistake, what).help("replace another service"));
            }
            let image = relocate_image(&one.image, service.window)?;
            let (name, hash) = (one.image.name.to_string(), one.image.hash);
            let image_plan = ImagePlan { name, hash, ..builder::image(&image).0 };
            check_memory(service, &image_plan)?;
            service.replacement = Some(ReplacementPlan { image: image_plan, after: one.after });
            others.push(image);
        }
        let contents: Vec<&[u8]> = inputs.contents.iter().map(Vec::as_slice).collect();
        Ok(builder::build(&mut plan, &relocated, &others, &contents))
    }

    /// The images that take the places of services' first ones, built or read.
    ///
    /// # Errors
    /// A service is unknown or named twice, or an image cannot be had.
    pub fn replacements(&self, wanted: &[Replacement]) -> Result<Vec<Replacing>, Failure> {
        let names: Vec<&str> =
            self.manifest.services.iter().map(|service| service.name.as_str()).collect();
        let mut replacing: Vec<Replacing> = Vec::new();
        for Replacement { service, image, after } in wanted {
            let index = names.iter().position(|name| name == service).ok_or_else(|| {
                Failure::new(Kind::Mistake, format!("there is no service `{service}` to replace"))
                    .in_file(&self.file)
                    .help(format!("the services are {}", names.join(", ")))
            })? + 1;
            if replacing.iter().any(|one| one.service == index) {
                let what = format!("the service `{service}` is replaced twice");
                return Err(Failure::new(Kind::Mistake, what).help("leave one of them out"));
            }
            let image = images::find(|| self.project(), image)?;
            replacing.push(Replacing { service: index, image, after: *after });
        }
        Ok(replacing)
    }

    /// Reads the files for the system's inputs.
    ///
    /// # Errors
    /// An input is missing, unknown, or given twice, or its file cannot be used.
    pub fn inputs(&self, files: &[InputFile]) -> Result<Inputs, Failure> {
        let inputs = self.manifest.inputs();
        for (index, file) in files.iter().enumerate() {
            if !inputs.iter().any(|input| input.name == file.name) {
                let what = format!("the system has no input `{}`", file.name);
                return Err(Failure::new(Kind::Mistake, what)
                    .in_file(&self.file)
                    .help(known_inputs(inputs.iter().map(|input| input.name.as_str()))));
            }
            if files[..index].iter().any(|before| before.name == file.name) {
                let what = format!("the input `{}` is given twice", file.name);
                return Err(Failure::new(Kind::Mistake, what).help("leave one of them out"));
            }
        }
        let content = |input: &Input| {
            let file = files.iter().find(|file| file.name == input.name).ok_or_else(|| {
                Failure::new(Kind::Mistake, format!("the input `{}` is missing", input.name))
                    .in_file(&self.file)
                    .help(format!("hand in a file: --input {}=FILE", input.name))
            })?;
            read_input(file, input.maximum.unwrap_or(WINDOW_SIZE))
        };
        let contents = inputs.iter().map(content).collect::<Result<Vec<_>, _>>()?;
        let lengths: Vec<u64> = contents.iter().map(|content| content.len() as u64).collect();
        Ok(Inputs { plan: self.plan(&lengths)?, contents })
    }
}

/// Reads and checks the manifest at `path`, or in the folder `path`; gives its file and what came out.
///
/// # Errors
/// It cannot be read.
pub fn check(path: &Path) -> Result<(PathBuf, Result<Manifest, Diagnostics>), Failure> {
    let file = if path.is_dir() { path.join(MANIFEST) } else { path.to_path_buf() };
    let text = manifest_text(&file)?;
    let result = phi_manifest::check(&file.display().to_string(), &text);
    Ok((file, result))
}

fn mistaken(file: &Path, mistakes: &Diagnostics) -> Failure {
    let what = match mistakes.iter().count() {
        1 => "the manifest has a mistake".into(),
        count => format!("the manifest has {count} mistakes"),
    };
    Failure::new(Kind::Mistake, what)
        .in_file(file)
        .help("docs/manifest.md says what each key means")
        .details(mistakes.to_string())
}

/// Whether a service has the memory that another image needs.
fn check_memory(service: &ServicePlan, image: &ImagePlan) -> Result<(), Failure> {
    let needed = service.stack + service.heap + service.state + image.data();
    if needed <= service.quota.memory {
        return Ok(());
    }
    let what = format!(
        "with its stack, heap and state, `{}` needs {needed} bytes for this image, and its memory is {}",
        service.name, service.quota.memory
    );
    Err(Failure::new(Kind::Input, what)
        .at(image.name.clone())
        .help("raise the service's `memory` in the manifest"))
}

/// An image that takes the place of a service's first one, as the command line says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replacement {
    /// The service.
    pub service: String,
    /// The image: PACKAGE:BINARY, or an ELF file.
    pub image: String,
    /// When, in nanoseconds from the system's start.
    pub after: u64,
}

/// Milliseconds from the system's start to a replacement whose time is not said.
const REPLACED_AFTER: u64 = 100;

impl std::str::FromStr for Replacement {
    type Err = String;

    fn from_str(text: &str) -> Result<Replacement, String> {
        let wrong = || "write SERVICE=IMAGE or SERVICE=IMAGE@MILLISECONDS".to_string();
        let (service, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (image, after) = match rest.rsplit_once('@') {
            None => (rest, REPLACED_AFTER),
            Some((image, after)) => (image, after.parse().map_err(|_| wrong())?),
        };
        let after = u64::checked_mul(after, 1_000_000).ok_or_else(wrong)?;
        if service.is_empty() || image.is_empty() {
            return Err(wrong());
        }
        Ok(Replacement { service: service.into(), image: image.into(), after })
    }
}

/// An image that was found for a service.
pub struct Replacing {
    service: usize,
    image: Image,
    after: u64,
}

/// The contents of a system's inputs, in the manifest's order, and the plan that has room for them.
pub struct Inputs {
    contents: Vec<Vec<u8>>,
    plan: Plan,
}

/// The folder that a file lies in.
pub fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn known_inputs<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match names.is_empty() {
        true => "it has none; leave --input out".into(),
        false => format!("its inputs are {}", names.join(", ")),
    }
}

fn relocate_image(image: &Image, window: u64) -> Result<RelocatedImage, Failure> {
    relocate(&image.file, window).map_err(|error| {
        Failure::new(Kind::Mistake, format!("the image cannot be used: {error}"))
            .at(image.name.to_string())
            .help("its build.rs and [[bin]] table must be those of services/console")
    })
}

/// Reads the file of an input of at most `maximum` bytes.
fn read_input(input: &InputFile, maximum: u64) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: std::io::Error| {
        let what = format!("the file of the input `{}` cannot be read: {error}", input.name);
        Failure::new(Kind::Input, what)
            .in_file(&input.file)
            .help(format!("hand in a file that can be read: --input {}=FILE", input.name))
    };
    let file = File::open(&input.file).map_err(unreadable)?;
    let mut length = file.metadata().map_err(unreadable)?.len();
    let mut content = Vec::new();
    if length <= maximum {
        // Files that have no length, such as pipes, are read all the same. One byte more shows that
        // there is more.
        file.take(maximum.saturating_add(1)).read_to_end(&mut content).map_err(unreadable)?;
        length = content.len() as u64;
    }
    if length > maximum {
        let what = format!("the file of the input `{}` has more than {maximum} bytes", input.name);
        return Err(Failure::new(Kind::Input, what)
            .in_file(&input.file)
            .help("hand in a smaller one, or raise the input's `maximum` in the manifest"));
    }
    Ok(content)
}

fn manifest_text(file: &Path) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(Kind::Mistake, format!("the manifest cannot be read: {error}"))
            .in_file(file)
            .help(format!("name a folder with a {MANIFEST}, or a manifest"))
    };
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(unreadable)?;
    opened.take(MANIFEST_SIZE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MANIFEST_SIZE {
        let what = format!("the manifest has more than {MANIFEST_SIZE} bytes");
        return Err(Failure::new(Kind::Mistake, what)
            .in_file(file)
            .help("name a manifest; this is something else"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        Failure::new(Kind::Mistake, format!("the manifest is no UTF-8 text from byte {offset} on"))
            .in_file(file)
            .help("save it as UTF-8; a bundle is for `run` and `boot` only")
    })
}

/// The bytes of a bundle, and where it comes from.
pub struct Loaded {
    bytes: Vec<u8>,
    /// The bundle's own file, or the manifest.
    file: PathBuf,
    /// A folder of the project; without one, it is a bundle.
    folder: Option<PathBuf>,
    /// The images that were built for it; a bundle has only what they are in memory.
    images: Vec<Image>,
}

impl Loaded {
    /// The project that the kernel is built in: for a bundle, the one that this program runs in.
    ///
    /// # Errors
    /// There is none.
    pub fn project(&self) -> Result<PathBuf, Failure> {
        match &self.folder {
            Some(folder) => cargo::project(folder),
            None => cargo::project(Path::new("."))
                .map_err(|failure| failure.help("boot a bundle from within the ΦOS project")),
        }
    }

    /// What the addresses of its services mean, and, where it has one, of its kernel.
    pub fn symbols(&self, bundle: &Bundle<'_>, kernel: Option<&Path>) -> Symbols {
        let project = self.project().unwrap_or_default();
        let mut symbols = Symbols::of(&project);
        // Without the file, the kernel's addresses mean nothing.
        if let Some(file) = kernel.and_then(|kernel| std::fs::read(kernel).ok()) {
            symbols.add("the kernel", file.into(), 0);
        }
        let files: Vec<(String, Arc<[u8]>)> = self
            .images
            .iter()
            .map(|image| (image.name.to_string(), (*image.file).into()))
            .collect();
        for service in &bundle.plan().services {
            let file = files.iter().find(|(name, _)| *name == service.image.name);
            if let Some((_, file)) = file {
                symbols.add(&service.name, file.clone(), service.window + IMAGE_OFFSET);
            }
        }
        symbols
    }

    /// The bundle.
    ///
    /// # Errors
    /// It is damaged, or not of this version.
    pub fn bundle(&self) -> Result<Bundle<'_>, Failure> {
        Bundle::open(&self.bytes).map_err(|error| {
            Failure::new(Kind::Input, error.to_string())
                .in_file(&self.file)
                .help("build it again: phi-host image SYSTEM --output BUNDLE")
        })
    }
}

/// Loads what `path` names: a bundle as it is, anything else as a system whose images are built and
/// bundled with `inputs`.
///
/// # Errors
/// [`System`]'s; inputs for a bundle, which has its own.
pub fn load(path: &Path, inputs: &[InputFile]) -> Result<Loaded, Failure> {
    load_replacing(path, inputs, &[])
}

/// As [`load`], with images that take the places of others while the system runs.
///
/// # Errors
/// As [`load`]; a bundle has its replacements, too.
pub fn load_replacing(
    path: &Path,
    inputs: &[InputFile],
    replacements: &[Replacement],
) -> Result<Loaded, Failure> {
    if let Some(bytes) = read_bundle(path)? {
        if let Some(input) = inputs.first() {
            let what = format!("a bundle has its inputs in it already: `{}`", input.name);
            return Err(Failure::new(Kind::Mistake, what)
                .in_file(path)
                .help("leave --input out, or name the system's folder"));
        }
        if let Some(replacement) = replacements.first() {
            let what = format!("a bundle is finished: `{}` keeps its image", replacement.service);
            return Err(Failure::new(Kind::Mistake, what)
                .in_file(path)
                .help("name the system's folder, or replace the service while the system runs"));
        }
        return Ok(Loaded { bytes, file: path.to_path_buf(), folder: None, images: Vec::new() });
    }
    let system = System::open(path)?;
    // Before anything is built, so that a mistake shows at once.
    let inputs = system.inputs(inputs)?;
    let images = system.images()?;
    let replacements = system.replacements(replacements)?;
    let bytes = system.bundle(&images, &inputs, &replacements)?;
    let folder = Some(folder_of(&system.file).to_path_buf());
    Ok(Loaded { bytes, file: system.file, folder, images })
}

/// The content of the file `path` if it begins as a bundle does.
fn read_bundle(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(Kind::Input, format!("the bundle cannot be read: {error}"))
            .in_file(path)
            .help("name a folder with a phi.toml, a manifest, or a bundle")
    };
    // What cannot be opened, or is a folder, is the manifest's matter.
    let Ok(mut file) = File::open(path) else { return Ok(None) };
    let mut bytes = vec![0; MAGIC.len()];
    if file.read_exact(&mut bytes).is_err() || bytes != MAGIC {
        return Ok(None);
    }
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_a_name_and_a_file() {
        let input: InputFile = "text=a=b".parse().unwrap();
        assert_eq!(input, InputFile { name: "text".into(), file: "a=b".into() });
        for text in ["", "text", "=file", "text="] {
            assert!(text.parse::<InputFile>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_input_has_as_many_bytes_as_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("input");
        std::fs::write(&file, [7; 10]).unwrap();
        let input = InputFile { name: "text".into(), file };
        assert_eq!(read_input(&input, 10).unwrap(), [7; 10]);
        assert_eq!(read_input(&input, 9).unwrap_err().kind, Kind::Input);
        let missing = InputFile { name: "text".into(), file: folder.path().join("missing") };
        assert_eq!(read_input(&missing, 9).unwrap_err().kind, Kind::Input);
        let endless = InputFile { name: "text".into(), file: "/dev/zero".into() };
        assert_eq!(read_input(&endless, 1 << 20).unwrap_err().kind, Kind::Input);
    }

    #[test]
    fn a_manifest_is_a_short_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(MANIFEST);
        assert_eq!(manifest_text(&file).unwrap_err().kind, Kind::Mistake);
        std::fs::write(&file, b"\xFF").unwrap();
        assert!(manifest_text(&file).unwrap_err().what.contains("UTF-8 text from byte 0"));
        assert!(manifest_text(Path::new("/dev/zero")).unwrap_err().what.contains("more than"));
    }

    #[test]
    fn a_bundle_is_told_by_its_first_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bundle");
        std::fs::write(&file, b"PHIBUNDLxyz").unwrap();
        assert_eq!(read_bundle(&file).unwrap().unwrap(), b"PHIBUNDLxyz");
        std::fs::write(&file, b"PHIBUND").unwrap();
        assert_eq!(read_bundle(&file).unwrap(), None);
        assert_eq!(read_bundle(folder.path()).unwrap(), None);
    }
}

//! `phi-host new`.

use super::print;
use crate::cargo;
use crate::failure::{Failure, Kind};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Makes a folder with a service, an interface, a test, a program that calls it, and a manifest. What is there is
never overwritten. It is a workspace of its own that depends on ΦOS by path, so it can lie anywhere.

Examples:
  phi-host new adder
  phi-host new adder --in examples
  phi-host new adder --phi ../phi-os";

/// Names that other services of the new system have, or that cargo would take for another package.
const TAKEN: [&str; 6] = ["caller", "console", "init", "core", "std", "test"];

/// Bytes of a service's name, at most.
const NAME_LENGTH: usize = 25;

/// What is made: each file, and its text.
const FILES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("new/Cargo.toml.txt")),
    ("build.rs", include_str!("new/build.rs.txt")),
    ("phi.toml", include_str!("new/phi.toml.txt")),
    ("src/lib.rs", include_str!("new/lib.rs.txt")),
    ("src/bin/server.rs", include_str!("new/server.rs.txt")),
    ("src/bin/caller.rs", include_str!("new/caller.rs.txt")),
];

/// Make a new service, with a system that runs at once
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct New {
    /// Its name: lower-case letters, digits and hyphens
    #[arg(value_parser = name)]
    name: String,
    /// The folder in which its folder is made
    #[arg(long = "in", value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// Where the sources of ΦOS are; the project that this is called in, or that phi-host was built from
    #[arg(long, value_name = "FOLDER")]
    phi: Option<PathBuf>,
}

/// A name that a service, a package and, with underscores, a Rust library can have.
fn name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let letter = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !letter || !text.bytes().all(fits) || text.ends_with('-') || text.contains("--") {
        return Err(
            "a name begins with a letter and has lower-case letters, digits and hyphens".into()
        );
    }
    if text.len() > NAME_LENGTH {
        return Err(format!("a name has at most {NAME_LENGTH} characters"));
    }
    if TAKEN.contains(&text) || text.starts_with("phi-") || is_keyword(text) {
        return Err("this name means something else already".into());
    }
    Ok(text.into())
}

fn is_keyword(text: &str) -> bool {
    const KEYWORDS: &str = " abstract as async await become box break const continue crate do dyn else enum \
        extern false final fn for gen if impl in let loop macro match mod move mut override priv pub ref \
        return self static struct super trait true try type typeof unsafe unsized use virtual where while \
        yield ";
    KEYWORDS.contains(&format!(" {text} "))
}

impl New {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let phi = self.sources()?;
        let folder = self.folder.join(&self.name);
        let not_made = |what: &str, place: &Path, error: &std::io::Error| {
            Failure::new(Kind::Computer, format!("{what}: {error}"))
                .in_file(place)
                .help("choose another name, or another folder: --in FOLDER")
        };
        // Whatever is there, and whoever is faster, stays.
        fs::create_dir(&folder).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::new(Kind::Mistake, "there is something of this name already")
                    .in_file(&folder)
                    .help("choose another name, or another folder: --in FOLDER")
            }
            _ => not_made("the folder cannot be made", &folder, &error),
        })?;
        let path_to_phi = relative(&folder, &phi);
        for (file, text) in FILES {
            let path = folder.join(file);
            let parent = path.parent().unwrap_or(&folder);
            let written = fs::create_dir_all(parent).and_then(|()| {
                let mut output = fs::File::create_new(&path)?;
                output.write_all(self.filled(text, &path_to_phi).as_bytes())
            });
            written.map_err(|error| not_made("the file cannot be written", &path, &error))?;
        }
        // The versions that ΦOS is built with are those that are there.
        let lock = phi.join("Cargo.lock");
        if let Err(error) = fs::copy(&lock, folder.join("Cargo.lock")) {
            return Err(not_made("the versions of libraries cannot be copied", &lock, &error));
        }
        let place = folder.display();
        print(&format!(
            "{place} is there. Run it, and its test:\n  phi-host run {place}\n  \
             cargo test --manifest-path {place}/Cargo.toml\n"
        ))?;
        Ok(0)
    }

    /// A file's text, for this service.
    fn filled(&self, text: &str, phi: &Path) -> String {
        let words = self.name.split('-').map(|word| match word.split_at_checked(1) {
            Some((first, rest)) => first.to_uppercase() + rest,
            None => String::new(),
        });
        text.replace("@name@", &self.name)
            .replace("@crate@", &self.name.replace('-', "_"))
            .replace("@Name@", &words.collect::<String>())
            .replace("@phi@", &phi.display().to_string())
    }

    /// Where the sources of ΦOS are.
    fn sources(&self) -> Result<PathBuf, Failure> {
        let is_phi = |folder: &Path| folder.join("shared/rt/Cargo.toml").is_file();
        let found = match &self.phi {
            Some(folder) => Some(folder.clone()).filter(|folder| is_phi(folder)),
            None => {
                let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf);
                let here = cargo::project(&self.folder).ok();
                here.into_iter().chain(built).find(|folder| is_phi(folder))
            }
        };
        let found = found.and_then(|folder| folder.canonicalize().ok());
        let found = found.ok_or_else(|| {
            Failure::new(Kind::Mistake, "the sources of ΦOS are not found")
                .help("name the folder that has ΦOS's shared/rt in it: --phi FOLDER")
        })?;
        // It stands in a TOML string.
        let plain = found
            .to_str()
            .is_some_and(|path| !path.contains(['"', '\\']) && !path.chars().any(char::is_control));
        match plain {
            true => Ok(found),
            false => {
                Err(Failure::new(Kind::Mistake, "the path has characters that no manifest takes")
                    .in_file(&found)
                    .help("move ΦOS to another folder"))
            }
        }
    }
}

/// The way from `folder` to the folder `phi`: as it is, unless it leads upwards only.
fn relative(folder: &Path, phi: &Path) -> PathBuf {
    let within = folder.canonicalize().ok();
    let within = within.as_deref().and_then(|folder| folder.strip_prefix(phi).ok());
    match within {
        Some(within) => within.components().map(|_| "..").collect(),
        None => phi.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_services_packages_and_libraries() {
        for good in ["adder", "a", "my-adder-2", &"a".repeat(25)] {
            assert_eq!(name(good), Ok(good.into()));
        }
        let long = "a".repeat(26);
        for bad in
            ["", "A", "2a", "-a", "a-", "a--b", "a_b", "a/b", "..", "init", "match", "phi-a", &long]
        {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_is_left_to_fill_in() {
        let folder = tempfile::tempdir().unwrap();
        let make = || {
            let new = New { name: "my-adder".into(), folder: folder.path().into(), phi: None };
            new.perform()
        };
        assert_eq!(make(), Ok(0));
        for (file, _) in FILES {
            let text = fs::read_to_string(folder.path().join("my-adder").join(file)).unwrap();
            assert!(!text.contains('@'), "{file}");
        }
        let library = folder.path().join("my-adder/src/lib.rs");
        assert!(fs::read_to_string(&library).unwrap().contains("pub trait MyAdder {"));
        fs::write(&library, "mine").unwrap();
        assert_eq!(make().unwrap_err().kind, Kind::Mistake);
        assert_eq!(fs::read_to_string(&library).unwrap(), "mine");
    }
}

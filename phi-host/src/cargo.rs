//! Building programs with cargo, of the project that a system belongs to.

use crate::failure::{Failure, Kind};
use crate::progress::Progress;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The programs of one call of cargo: their files, by their names.
pub type Programs = BTreeMap<String, PathBuf>;

/// The project that `folder` belongs to: the nearest folder, upwards from it, with a `Cargo.toml`
/// that has a `[workspace]`.
///
/// # Errors
/// There is none.
pub fn project(folder: &Path) -> Result<PathBuf, Failure> {
    let missing = |what: String| {
        Failure::new(Kind::Mistake, what)
            .in_file(folder)
            .help("a system lies in the project whose packages its images are; move it there")
    };
    let absolute = folder
        .canonicalize()
        .map_err(|error| missing(format!("the system's folder cannot be found: {error}")))?;
    let is_root = |folder: &&Path| {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        manifest.lines().any(|line| line.trim() == "[workspace]")
    };
    let root = absolute.ancestors().find(is_root);
    root.map(Path::to_path_buf)
        .ok_or_else(|| missing("no Cargo workspace is here, nor in a folder above".into()))
}

/// What `cargo metadata` says.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    /// None for one that is named by its path.
    source: Option<String>,
}

/// The folder in which `package` is built for `project`: the project, or, for a package of another project
/// that this one depends on by path, its own folder. Cargo chooses features of a project's own packages only.
///
/// # Errors
/// Cargo is missing, or the project is damaged.
pub fn folder_of(project: &Path, package: &str) -> Result<PathBuf, Failure> {
    // ΦOS itself has all packages of its own.
    if project.join(OWN).is_file() {
        return Ok(project.into());
    }
    let find = |packages: Vec<Package>| {
        packages.into_iter().find(|one| one.name == package && one.source.is_none())
    };
    if find(metadata(project, &["--no-deps"])?.packages).is_some() {
        return Ok(project.into());
    }
    let found = find(metadata(project, &[])?.packages);
    let folder = found.and_then(|one| one.manifest_path.parent().map(Path::to_path_buf));
    // What is nowhere, cargo says best itself.
    Ok(folder.unwrap_or_else(|| project.into()))
}

/// What ΦOS's own project has.
const OWN: &str = "services/init/Cargo.toml";

fn metadata(project: &Path, more: &[&str]) -> Result<Metadata, Failure> {
    let mut command = Command::new(program());
    command.current_dir(project).args(["metadata", "--format-version", "1", "--quiet"]).args(more);
    let output = command.stdin(Stdio::null()).output().map_err(|error| missing(&error))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let damaged = |what: String| {
        Failure::new(Kind::Mistake, what)
            .in_file(project)
            .help("correct what cargo says above")
            .details(said.clone())
    };
    if !output.status.success() {
        return Err(damaged("cargo cannot read the project".into()));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| damaged(format!("cargo's description makes no sense: {error}")))
}

/// One line of what cargo says with `--message-format json`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Builds with `cargo build` and `arguments` in `project`; gives the programs among what was built.
/// `what` names it in messages.
///
/// # Errors
/// Cargo is missing, or the build fails; then with all that the compiler said.
pub fn build(project: &Path, arguments: &[String], what: &str) -> Result<Programs, Failure> {
    let progress = Progress::new(format!("building {what} …"));
    let mut command = Command::new(program());
    command.current_dir(project);
    command.args(["build", "--quiet", "--message-format", "json-render-diagnostics"]);
    command.args(["--color", if colored() { "always" } else { "never" }]);
    command.args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| missing(&error))?;
    let (programs, said) =
        listen(&mut child, |name| progress.show(format!("building {what} … {name}")))
            .map_err(|error| lost(&error))?;
    let status = child.wait().map_err(|error| lost(&error))?;
    drop(progress);
    if status.success() {
        return Ok(programs);
    }
    Err(Failure::new(Kind::Mistake, format!("cargo could not build {what} ({status})"))
        .in_file(project)
        .help("correct what cargo says above")
        .details(said))
}

/// Takes what cargo says: the programs that it has built, and the text for people. Each thing that
/// it has built is passed to `built` as it comes.
fn listen(child: &mut Child, mut built: impl FnMut(&str)) -> io::Result<(Programs, String)> {
    let (Some(output), Some(mut errors)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    std::thread::scope(|scope| {
        let said = scope.spawn(move || {
            let mut text = Vec::new();
            errors.read_to_end(&mut text).map(|_| String::from_utf8_lossy(&text).into_owned())
        });
        let mut programs = Programs::new();
        for line in BufReader::new(output).lines() {
            // Lines that are no messages are what build scripts and the like print.
            let Ok(message) = serde_json::from_str::<Message>(&line?) else { continue };
            if message.reason != "compiler-artifact" {
                continue;
            }
            let Some(target) = message.target else { continue };
            built(&target.name);
            if let Some(file) = message.executable
                && target.kind.iter().any(|kind| kind == "bin")
            {
                programs.insert(target.name, file);
            }
        }
        let said =
            said.join().map_err(|_| io::Error::other("the reader of its errors ended"))??;
        Ok((programs, said))
    })
}

/// Whether the target `target` is installed. Where rustc cannot be asked, cargo's own words are
/// left to say what is wrong.
pub fn has_target(target: &str) -> bool {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", target]).stderr(Stdio::null());
    match command.output() {
        Ok(output) if output.status.success() => {
            Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
        }
        _ => true,
    }
}

/// Cargo: the one that runs this program, if one does.
fn program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn colored() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn missing(error: &io::Error) -> Failure {
    let what = match error.kind() {
        io::ErrorKind::NotFound => "cargo is not installed".into(),
        _ => format!("cargo cannot be run: {error}"),
    };
    Failure::new(Kind::Computer, what)
        .help("install Rust 1.95 or newer from https://rustup.rs, or name cargo in $CARGO")
}

fn lost(error: &io::Error) -> Failure {
    Failure::new(Kind::Computer, format!("cargo was lost while it built: {error}"))
        .help("try again, with more memory free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_the_nearest_workspace() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        assert_eq!(project(&inner).unwrap_err().kind, Kind::Mistake);
        std::fs::write(folder.path().join("Cargo.toml"), "[workspace]\nmembers = []\n").unwrap();
        std::fs::write(folder.path().join("a/Cargo.toml"), "[package]\nname = \"a\"\n").unwrap();
        assert_eq!(project(&inner).unwrap(), folder.path().canonicalize().unwrap());
        assert_eq!(project(&inner.join("missing")).unwrap_err().kind, Kind::Mistake);
    }
}

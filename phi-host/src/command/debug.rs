//! `phi-host debug`.

use super::print;
use super::running::{self, Running, open};
use crate::control::protocol::ServiceView;
use crate::failure::{Failure, Kind};
use crate::images::{self, Image};
use crate::{cargo, system};
use phi_abi::layout::IMAGE_OFFSET;
use phi_manifest::ImageName;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const EXAMPLES: &str = "\
The image's symbols stand at the addresses at which the service runs, beside those of phi-host, whose threads
run the image. While gdb holds a service, ΦCore waits for it; a service that does not do what ΦCore tells it
within a second is ended, so for long looks use `run --mode threads`. An image has debug information if it is
built with some: CARGO_PROFILE_IMAGE_DEBUG=true changes the image, so set it for `run` as well.

Examples:
  phi-host debug counter-a
  phi-host debug counter-a --system wordcount --print
  phi-host debug counter-a -- -batch -ex 'thread apply all backtrace'";

/// Attach gdb to a service of a system that runs, with the symbols of its image
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Debug {
    /// The service
    service: String,
    /// The name of a system that runs, or the path of its control socket; the only one, if it is not given
    #[arg(long, value_name = "SYSTEM")]
    system: Option<String>,
    /// The image's ELF file; built from the system's sources, if it is not given
    #[arg(long, value_name = "FILE")]
    elf: Option<PathBuf>,
    /// Print gdb's command line, and do not run it
    #[arg(long)]
    print: bool,
    /// More arguments for gdb
    #[arg(last = true, value_name = "ARGUMENTS")]
    more: Vec<String>,
}

impl Debug {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let mut running = match &self.system {
            Some(name) => open(name)?,
            None => running::only()?,
        };
        let service = self.service(&mut running)?;
        let Some(process) = service.process else {
            return Err(Failure::new(
                Kind::Ended,
                format!("the service is not running: {}", service.state),
            )
            .at(self.service.as_str())
            .help("see which ones run: phi-host ps"));
        };
        let file = match &self.elf {
            Some(file) => checked(file, &service)?,
            None => image_file(&running, &service)?,
        };
        let command = self.arguments(running.system.supervisor, process, &service, &file);
        if self.print {
            return print(&(words(&command) + "\n")).map(|()| 0);
        }
        run(&command)
    }

    fn service(&self, running: &mut Running) -> Result<ServiceView, Failure> {
        let services = running.client.services();
        let (_, services) = services.map_err(|error| running::failure(&running.name, &error))?;
        let names: Vec<String> = services.iter().map(|service| service.name.clone()).collect();
        let found = services.into_iter().find(|service| service.name == self.service);
        found.ok_or_else(|| {
            Failure::new(Kind::Mistake, "the system has no such service")
                .at(self.service.as_str())
                .help(format!("its services are {}", names.join(", ")))
        })
    }

    /// gdb's command line.
    fn arguments(
        &self,
        supervisor: i32,
        process: i32,
        service: &ServiceView,
        file: &Path,
    ) -> Vec<String> {
        let base = service.window + IMAGE_OFFSET;
        let mut arguments = vec![
            "gdb".to_owned(),
            "-q".into(),
            // The service sees no file system, so gdb has to look in ours.
            "-iex".into(),
            "set sysroot /".into(),
            format!("/proc/{supervisor}/exe"),
            "-p".into(),
            process.to_string(),
            "-ex".into(),
            format!("add-symbol-file \"{}\" -o {base:#x}", file.display()),
        ];
        arguments.extend(self.more.iter().cloned());
        arguments
    }
}

/// The file of a service's image, built anew.
fn image_file(running: &Running, service: &ServiceView) -> Result<PathBuf, Failure> {
    let name = image_name(&service.image);
    let name = name.ok_or_else(|| no_image(service, "the image has no name"))?;
    let source = running.system.source.as_deref().map(Path::new);
    let folder =
        source.map(|source| if source.is_dir() { source } else { system::folder_of(source) });
    // A bundle may lie anywhere.
    let project = folder.map(cargo::project).and_then(Result::ok);
    let project = project.map_or_else(|| cargo::project(Path::new(".")), Ok)?;
    let built = images::build(&project, &[name])?;
    let Some(Image { path, hash, .. }) = built.first() else {
        return Err(no_image(service, "cargo has built nothing"));
    };
    match blake3::Hash::from_bytes(*hash).to_string() == service.image_hash {
        true => Ok(path.clone()),
        false => Err(no_image(
            service,
            "the sources are no longer those that the service was built from",
        )),
    }
}

/// The file, if it is the service's image.
fn checked(file: &Path, service: &ServiceView) -> Result<PathBuf, Failure> {
    let content = std::fs::read(file).map_err(|error| {
        Failure::new(Kind::Input, format!("the image cannot be read: {error}")).in_file(file)
    })?;
    match blake3::hash(&content).to_string() == service.image_hash {
        true => Ok(file.to_owned()),
        false => Err(no_image(service, "this is another file than the one that the service runs")),
    }
}

fn no_image(service: &ServiceView, why: &str) -> Failure {
    Failure::new(Kind::Input, format!("there are no symbols: {why}"))
        .at(format!("{} of {}", service.image, service.name))
        .help("start the system again, or name the ELF file that it was started with: --elf FILE")
}

/// `PACKAGE:BINARY`.
fn image_name(text: &str) -> Option<ImageName> {
    let (package, binary) = text.split_once(':')?;
    Some(ImageName { package: package.into(), binary: binary.into() })
}

/// Runs gdb to its end; its exit status.
fn run(command: &[String]) -> Result<u8, Failure> {
    let status = Command::new(&command[0]).args(&command[1..]).status().map_err(|error| {
        let what = format!("gdb cannot be started: {error}");
        let help = match error.kind() {
            io::ErrorKind::NotFound => {
                "install it: apt-get install gdb; or see the command: --print"
            }
            _ => "see the command: --print",
        };
        Failure::new(Kind::Computer, what).help(help)
    })?;
    Ok(status.code().map_or(Kind::Bug.status(), |code| code as u8))
}

/// A command line as a shell reads it.
fn words(command: &[String]) -> String {
    let plain = |word: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:".contains(&byte);
        !word.is_empty() && word.bytes().all(fits)
    };
    let quoted = command.iter().map(|word| match plain(word) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    });
    quoted.collect::<Vec<String>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_what_a_shell_reads() {
        let command = ["gdb", "", "a b", "it's", "$(x)"].map(str::to_owned);
        let mut shell = Command::new("sh");
        let line = format!("printf '%s\\n' {}", words(&command));
        let output = shell.arg("-c").arg(line);
        let output = output.output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "gdb\n\na b\nit's\n$(x)\n");
    }

    #[test]
    fn symbols_stand_where_the_image_runs() {
        let debug = Debug {
            service: "one".into(),
            system: None,
            elf: None,
            print: true,
            more: vec!["-batch".into()],
        };
        let service = ServiceView { window: 0x1020_0000_0000, ..ServiceView::default() };
        let command = words(&debug.arguments(7, 8, &service, Path::new("/a/image")));
        let expected = "gdb -q -iex 'set sysroot /' /proc/7/exe -p 8 \
                        -ex 'add-symbol-file \"/a/image\" -o 0x102000100000' -batch";
        assert_eq!(command, expected);
    }

    #[test]
    fn a_file_that_is_not_the_services_image_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image");
        std::fs::write(&file, b"image").unwrap();
        let hash = blake3::hash(b"image").to_string();
        let service = ServiceView { image_hash: hash, ..ServiceView::default() };
        assert_eq!(checked(&file, &service).unwrap(), file);
        std::fs::write(&file, b"other").unwrap();
        assert_eq!(checked(&file, &service).unwrap_err().kind, Kind::Input);
    }
}

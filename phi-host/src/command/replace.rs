//! `phi-host replace`.

use super::{print, print_json, running};
use crate::control::ClientError;
use crate::failure::{Failure, Kind};
use crate::{cargo, images, linux};
use serde_json::json;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
The service's supervisor makes room for the image: one with `state` in the manifest is asked to hand over
first. What waits in its mailboxes waits for the new image; calls that it had received end with `Dead`. An
image that the service has no memory for, or that is none, is refused, and nothing happens.

Examples:
  phi-host replace replacement keeps phi-replacement:second
  phi-host replace replacement keeps target/x86_64-unknown-none/image/second";

/// Replace the image of a service while its system runs on Linux
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Replace {
    /// The name of a system that runs, or the path of its control socket
    system: String,
    /// The service
    service: String,
    /// The image: PACKAGE:BINARY of the project, which is built, or an ELF file
    image: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Time that the service has to run its new image: a second to hand over, and more to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time between two looks at it.
const LOOK: Duration = Duration::from_millis(20);

impl Replace {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        // First, so that a mistake in the name does not cost a build.
        drop(running::open(&self.system)?);
        let image = images::find(|| cargo::project(Path::new(".")), &self.image)?;
        let memory = linux::sealed_image(&image.file).map_err(|error| {
            Failure::new(Kind::Computer, format!("there is no memory for the image: {error}"))
        })?;
        let mut running = running::open(&self.system)?;
        let offered = running.client.replace(&self.service, memory.as_fd());
        let before = offered.map_err(|error| match error {
            ClientError::Refused(refusal) => Failure::new(Kind::Input, refusal.message)
                .at(format!("{}, {}", self.service, self.image))
                .help("name a service of `phi-host ps`, and an image that fits its `memory`"),
            error => running::failure(&self.system, &error),
        })?;
        let end = Instant::now() + PATIENCE;
        loop {
            let (_, services) = running
                .client
                .services()
                .map_err(|error| running::failure(&self.system, &error))?;
            let service = services.iter().find(|one| one.name == self.service);
            if let Some(service) = service.filter(|one| one.generation > before) {
                return self.present(service.generation, &image.hash_text());
            }
            if Instant::now() >= end {
                let what = format!("`{}` does not run its new image yet", self.service);
                return Err(Failure::new(Kind::Computer, what).help(
                    "its next start takes it; see the system's log for what its supervisor does",
                ));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn present(&self, generation: u32, hash: &str) -> Result<u8, Failure> {
        let service = &self.service;
        match self.json {
            true => print_json(&json!({
                "service": service,
                "generation": generation,
                "hash": hash,
            }))?,
            false => print(&format!("{service}: generation {generation} runs {hash}\n"))?,
        }
        Ok(0)
    }
}

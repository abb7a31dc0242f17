//! Images that the supervisor is handed while the system runs.

use super::LinuxMachine;
use crate::linux::memory;
use phi_core::{DomainIndex, Image};
use phi_manifest::builder;
use phi_manifest::image::{ImageError, relocate};
use phi_manifest::plan::{ImagePlan, ServicePlan};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

/// An image that is none of the bundle's.
pub(super) struct Offered {
    domain: DomainIndex,
    /// What ΦCore knows it by.
    pub number: u64,
    /// Where its parts lie in the memory.
    pub plan: ImagePlan,
    pub memory: OwnedFd,
}

/// The first number that is no image of the plan's.
const FIRST: u64 = 2;

/// Why an image cannot be offered.
#[derive(Debug)]
pub enum ImageProblem {
    /// There is no such service.
    NoService,
    /// It is no image.
    Image(ImageError),
    /// With the service's stack, heap and state it needs more than the service has: both in bytes.
    Memory {
        /// What is needed.
        needed: u64,
        /// What the quota is.
        quota: u64,
    },
    /// Linux has no memory for it.
    Linux(io::Error),
}

impl fmt::Display for ImageProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageProblem::NoService => f.write_str("there is no service that it could be for"),
            ImageProblem::Image(error) => write!(f, "the image cannot be used: {error}"),
            ImageProblem::Memory { needed, quota } => write!(
                f,
                "with the service's stack, heap and state the image needs {needed} bytes, and its \
                 `memory` is {quota}"
            ),
            ImageProblem::Linux(error) => write!(f, "there is no memory for the image: {error}"),
        }
    }
}

impl std::error::Error for ImageProblem {}

impl LinuxMachine<'_> {
    /// Takes the image `file`, as cargo built it, for a service: what ΦCore is to be told of it. One that
    /// the service neither runs (`running`) nor starts next is forgotten.
    ///
    /// # Errors
    /// [`ImageProblem`].
    pub fn take_image(
        &mut self,
        domain: DomainIndex,
        running: u64,
        file: &[u8],
    ) -> Result<Image, ImageProblem> {
        let replaceable = |service: &&ServicePlan| domain.0 > 0 && service.driver.is_none();
        let plan = self.plan.services.get(usize::from(domain.0)).filter(replaceable);
        let service = plan.ok_or(ImageProblem::NoService)?;
        let relocated = relocate(file, service.window).map_err(ImageProblem::Image)?;
        let (image, content) = builder::image(&relocated);
        let needed = service.stack + service.heap + service.state + image.data();
        let quota = service.quota.memory;
        if needed > quota {
            return Err(ImageProblem::Memory { needed, quota });
        }
        let memory = memory::create_constant("phi-image", &content, 0);
        let memory = memory.map_err(ImageProblem::Linux)?;
        let number = self.last_image.max(FIRST - 1) + 1;
        self.last_image = number;
        self.offers.retain(|offer| offer.domain != domain || offer.number == running);
        let told = Image::of_plan(number, &image);
        self.offers.push(Offered { domain, number, plan: image, memory });
        Ok(told)
    }
}

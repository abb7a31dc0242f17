//! What the machine knows of services and their processes, for those who look on.

use super::LinuxMachine;
use crate::linux::domain::{Domain, Home};
use crate::linux::monotonic;
use nix::unistd::{Pid, getpid};
use phi_core::DomainIndex;
use phi_manifest::plan::Plan;

impl LinuxMachine<'_> {
    /// What it runs.
    pub fn plan(&self) -> &Plan {
        self.plan
    }

    /// Nanoseconds since the system's start.
    pub fn time(&self) -> u64 {
        monotonic().saturating_sub(self.epoch)
    }

    /// Whether services run in processes of their own.
    pub fn has_processes(&self) -> bool {
        self.launcher.is_some()
    }

    /// The process in which a domain runs, if it does.
    pub fn process(&self, domain: DomainIndex) -> Option<Pid> {
        match &self.loaded(domain)?.home {
            Home::Process(process) => Some(process.id()),
            Home::Here(_) => Some(getpid()),
            Home::Nowhere => None,
        }
    }

    /// Nanoseconds of CPU time that the current start of a domain has used.
    pub fn cpu_time(&self, domain: DomainIndex) -> u64 {
        self.loaded(domain).map_or(0, Domain::cpu_time)
    }

    fn loaded(&self, domain: DomainIndex) -> Option<&Domain> {
        self.domains.get(usize::from(domain.0))?.as_ref()
    }
}

//! The tracer of a build without the feature `ebpf`: there is none.

use super::layout::{Event, LayoutError};
use super::{Door, Off, Snapshot, TraceOptions};
use crate::linux::Watcher;
use nix::unistd::Pid;
use phi_core::DomainIndex;
use std::time::Duration;

/// See the build with the feature `ebpf`.
pub enum Tracer {}

/// See the build with the feature `ebpf`.
pub enum EventStream {}

fn absent() -> Off {
    Off {
        what: "eBPF".into(),
        why: "this phi-host was built without it".into(),
        how: "install libelf-dev and zlib1g-dev, and build with `--features ebpf`".into(),
    }
}

/// Says that this build has none.
///
/// # Errors
/// Always.
pub fn attempt_program(_name: &str) -> Result<(), Off> {
    Err(absent())
}

impl Tracer {
    /// Says that this build has none.
    ///
    /// # Errors
    /// Always.
    pub fn new(_options: &TraceOptions) -> Result<Tracer, Off> {
        Err(absent())
    }

    /// What is off all the same.
    pub fn off(&self) -> &[Off] {
        match *self {}
    }

    /// Tells the programs of capabilities.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn announce(&self, _doors: &[Door]) -> Result<(), Off> {
        match *self {}
    }

    /// Attaches the programs to a process.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach_service(&mut self, _domain: u16, _process: i32) -> Result<(), Off> {
        match *self {}
    }

    /// What was counted.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn snapshot(&self) -> Result<Snapshot, Off> {
        match *self {}
    }

    /// The events.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn events(&self) -> Result<EventStream, Off> {
        match *self {}
    }
}

impl Watcher for Tracer {
    fn process_started(&mut self, _domain: DomainIndex, _process: Pid) {
        match *self {}
    }
}

impl EventStream {
    /// Waits for events.
    pub fn wait(&mut self, _timeout: Duration) {
        match *self {}
    }
}

impl Iterator for EventStream {
    type Item = Result<Event, LayoutError>;

    fn next(&mut self) -> Option<Result<Event, LayoutError>> {
        match *self {}
    }
}

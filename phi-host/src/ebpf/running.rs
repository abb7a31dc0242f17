//! Programs at a system that runs already, in other processes.

use super::{Door, Off, TraceOptions, Tracer};
use crate::control::protocol::{CapabilityState, CapabilityView, ServiceView, SystemView};
use crate::control::{Client, ClientError};
use std::collections::BTreeMap;

/// The programs, attached to a system that runs, and to the processes that it starts.
pub struct Attached {
    tracer: Tracer,
    processes: BTreeMap<u16, i32>,
    threads: bool,
    off: Vec<Off>,
}

/// Why the programs are not attached.
pub enum NotAttached {
    /// Linux, or this build.
    Off(Off),
    /// The system cannot be asked.
    Client(ClientError),
}

impl From<Off> for NotAttached {
    fn from(off: Off) -> NotAttached {
        NotAttached::Off(off)
    }
}

impl From<ClientError> for NotAttached {
    fn from(error: ClientError) -> NotAttached {
        NotAttached::Client(error)
    }
}

impl Attached {
    /// Attaches the programs to `system`, which `client` asks; `stream` as in [`TraceOptions`].
    ///
    /// # Errors
    /// [`NotAttached`].
    pub fn new(
        client: &mut Client,
        system: &SystemView,
        stream: bool,
    ) -> Result<Attached, NotAttached> {
        let threads = system.mode == "threads";
        let program = format!("/proc/{}/exe", system.supervisor).into();
        let supervisor = Some(system.supervisor);
        let tracer = Tracer::new(&TraceOptions { program, threads, stream, supervisor })?;
        let (processes, off) = (BTreeMap::new(), Vec::new());
        let mut attached = Attached { tracer, processes, threads, off };
        // The supervisor's sites tell of later ones already, so none is missed in between.
        let (_, services) = client.services()?;
        let capabilities = client.capabilities()?;
        attached.tracer.announce(&doors(&services, &capabilities))?;
        attached.follow(&services);
        Ok(attached)
    }

    /// Attaches the programs to processes that have come since. What those did before is not seen.
    pub fn follow(&mut self, services: &[ServiceView]) {
        for service in services.iter().filter(|_| !self.threads) {
            let (domain, Some(process)) = (service.index as u16, service.process) else { continue };
            if self.processes.insert(domain, process) != Some(process)
                && let Err(off) = self.tracer.attach_service(domain, process)
            {
                // One that has ended meanwhile says nothing any more.
                let there = std::path::Path::new(&format!("/proc/{process}/exe")).exists();
                if there {
                    self.off.push(Off { what: format!("looking at {}", service.name), ..off });
                }
            }
        }
    }

    /// The programs.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// What is off all the same.
    pub fn off(&self) -> impl Iterator<Item = &Off> {
        self.tracer.off().iter().chain(&self.off)
    }
}

/// Where the messages through capabilities go.
fn doors(services: &[ServiceView], capabilities: &[CapabilityView]) -> Vec<Door> {
    let index = |name: &Option<String>| {
        let name = name.as_ref()?;
        services.iter().find(|service| service.name == *name).map(|service| service.index as u16)
    };
    let door = |capability: &CapabilityView| {
        let address = matches!(capability.kind.as_str(), "mailbox" | "object");
        if !address || capability.state != CapabilityState::Held {
            return None;
        }
        Some(Door {
            domain: index(&capability.service)?,
            handle: capability.handle,
            mailbox: capability.number,
            server: index(&capability.owner)?,
        })
    };
    capabilities.iter().filter_map(door).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_are_what_messages_go_through() {
        let service =
            |name: &str, index| ServiceView { name: name.into(), index, ..ServiceView::default() };
        let capability = |kind: &str, state| CapabilityView {
            service: Some("b".into()),
            owner: Some("a".into()),
            handle: 1 << 32,
            kind: kind.into(),
            number: 7,
            state,
            ..CapabilityView::default()
        };
        let all = [
            capability("mailbox", CapabilityState::Held),
            capability("object", CapabilityState::Revoked),
            capability("region", CapabilityState::Held),
            CapabilityView { service: None, ..capability("object", CapabilityState::Held) },
        ];
        let expected = Door { domain: 1, handle: 1 << 32, mailbox: 7, server: 0 };
        assert_eq!(doors(&[service("a", 0), service("b", 1)], &all), [expected]);
    }
}

//! What a machine says of a system that has ended: the same for both.

use crate::linux;
use crate::table::{Align, Table, bytes};
use nix::sys::signal::Signal;
use phi_abi::{DomainState, FaultKind};
use serde::{Deserialize, Serialize};

/// How a system ran on a machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MachineReport {
    /// The system's exit status.
    pub status: u8,
    /// Microseconds from the machine's start to the first dispatch of `init`.
    #[serde(alias = "boot_microseconds")]
    pub start_microseconds: u64,
    /// Its services, in the plan's order.
    pub services: Vec<ServiceReport>,
}

/// A service, what it is doing, and what it has used over all its starts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Its name.
    pub name: String,
    /// How often it was started.
    pub generation: u32,
    /// What it is doing.
    pub state: State,
    /// What its end means: the exit status, or the number of the [`FaultKind`]. Otherwise 0.
    pub code: u32,
    /// Messages that it sent: sends, calls and replies.
    pub messages: u64,
    /// Bytes of those messages that ΦCore copied.
    pub bytes_copied: u64,
    /// Loans that it made.
    pub loans: u64,
    /// Times that one of its threads was switched to.
    pub switches: u64,
    /// Bytes of memory charged to it at the end.
    pub memory: u64,
    /// Calls that it made of ΦCore.
    pub calls: u64,
    /// Capabilities that it held at the end.
    pub handles: u64,
}

/// What a service is doing: [`DomainState`], without what comes with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not started yet.
    Created,
    /// Started, with threads.
    Running,
    /// It ended by itself.
    Exited,
    /// It did what no correct program does.
    Faulted,
    /// Somebody stopped it.
    Stopped,
}

/// The exit status of a system that a signal to this program ended, as a shell reports it.
pub fn interruption(signal: Signal) -> u8 {
    128 + signal as i32 as u8
}

impl ServiceReport {
    /// What it is doing, in words.
    fn state_text(&self) -> String {
        match self.state {
            State::Created => "not started".into(),
            State::Running => "running".into(),
            State::Exited => format!("ended, status {}", self.code),
            State::Faulted => match FaultKind::from_number(self.code) {
                Some(kind) => format!("fault: {}", kind.description()),
                None => format!("fault number {}", self.code),
            },
            State::Stopped => "stopped".into(),
        }
    }
}

impl From<linux::Report> for MachineReport {
    fn from(report: linux::Report) -> MachineReport {
        let services = report.services.into_iter().map(|(name, info, statistics)| {
            let (state, code) = match info.state {
                DomainState::Created => (State::Created, 0),
                DomainState::Running => (State::Running, 0),
                DomainState::Exited(status) => (State::Exited, u32::from(status)),
                DomainState::Faulted { kind, .. } => (State::Faulted, kind as u32),
                DomainState::Stopped => (State::Stopped, 0),
            };
            ServiceReport {
                name,
                generation: info.generation,
                state,
                code,
                messages: statistics.messages,
                bytes_copied: statistics.bytes_copied,
                loans: statistics.loans,
                switches: statistics.switches,
                memory: statistics.memory,
                calls: statistics.calls,
                handles: statistics.handles,
            }
        });
        MachineReport {
            status: report.status,
            start_microseconds: report.start_microseconds,
            services: services.collect(),
        }
    }
}

impl MachineReport {
    /// Whether a signal to this program ended the system, before it ended by itself: then `init` had
    /// not ended, or nobody could say any more what it did.
    pub fn interrupted(&self) -> bool {
        let signals = [Signal::SIGINT, Signal::SIGTERM].map(interruption);
        let runs = self.services.first().is_none_or(|init| init.state == State::Running);
        runs && signals.contains(&self.status)
    }

    /// The services as a table, and below it how long the start took.
    pub fn table(&self) -> String {
        let mut table = Table::new([
            ("service", Align::Left),
            ("state", Align::Left),
            ("starts", Align::Right),
            ("messages", Align::Right),
            ("copied", Align::Right),
            ("loans", Align::Right),
            ("switches", Align::Right),
            ("memory", Align::Right),
            ("calls", Align::Right),
            ("handles", Align::Right),
        ]);
        for service in &self.services {
            table.push([
                service.name.clone(),
                service.state_text(),
                service.generation.to_string(),
                service.messages.to_string(),
                bytes(service.bytes_copied),
                service.loans.to_string(),
                service.switches.to_string(),
                bytes(service.memory),
                service.calls.to_string(),
                service.handles.to_string(),
            ]);
        }
        let (whole, part) = (self.start_microseconds / 1000, self.start_microseconds % 1000);
        format!("{table}start: {whole}.{part:03} ms; status: {}\n", self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi_abi::{DomainInfo, DomainStatistics};

    #[test]
    fn the_kernels_record_is_read() {
        let record = r#"{"status":3,"boot_microseconds":1500,"services":[{"name":"a","generation":2,
            "state":"faulted","code":9,"messages":1,"bytes_copied":64,"loans":2,"switches":3,
            "memory":8192,"calls":4,"handles":5}]}"#;
        let report: MachineReport = serde_json::from_str(record).unwrap();
        assert_eq!((report.status, report.start_microseconds), (3, 1500));
        assert_eq!(report.services[0].state, State::Faulted);
        let expected = format!("fault: {}", FaultKind::StackOverflow.description());
        assert_eq!(report.services[0].state_text(), expected);
        assert!(report.table().ends_with("start: 1.500 ms; status: 3\n"));
    }

    #[test]
    fn a_system_that_was_interrupted_is_told_from_one_that_ended() {
        let statistics = DomainStatistics::default();
        let report = |status, state| {
            let init = (
                "init".to_string(),
                DomainInfo { generation: 1, state, offered: false },
                statistics,
            );
            let report = linux::Report { status, services: vec![init], start_microseconds: 9 };
            MachineReport::from(report)
        };
        assert!(report(130, DomainState::Running).interrupted());
        assert!(report(143, DomainState::Running).interrupted());
        assert!(!report(130, DomainState::Exited(130)).interrupted());
        assert!(!report(70, DomainState::Running).interrupted());
    }

    #[test]
    fn a_linux_report_is_the_same_record() {
        let statistics = DomainStatistics { messages: 7, ..DomainStatistics::default() };
        let info = DomainInfo { generation: 1, state: DomainState::Exited(4), offered: false };
        let services = vec![("a".to_string(), info, statistics)];
        let report =
            MachineReport::from(linux::Report { status: 4, services, start_microseconds: 9 });
        let service = &report.services[0];
        assert_eq!((service.state, service.code, service.messages), (State::Exited, 4, 7));
        assert_eq!(service.state_text(), "ended, status 4");
    }
}

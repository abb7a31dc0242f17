//! What is said on a control socket, in words for people.

use super::protocol::{
    Activity, CapabilityState, MailboxName, ServiceState, ServiceView, ThreadView,
};
use crate::table;
use std::fmt;

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceState::Created => f.write_str("not started"),
            ServiceState::Running => f.write_str("running"),
            ServiceState::Exited(status) => write!(f, "ended, status {status}"),
            ServiceState::Faulted { fault, .. } => write!(f, "fault: {fault}"),
            ServiceState::Stopped => f.write_str("stopped"),
        }
    }
}

impl fmt::Display for CapabilityState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CapabilityState::Held => "held",
            CapabilityState::Revoked => "revoked",
            CapabilityState::Dead => "dead",
        })
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} of {}", self.server),
            None => write!(f, "mailbox {} of {}", self.index, self.server),
        }
    }
}

/// What it waits for.
impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Activity::Running => f.write_str("– (runs)"),
            Activity::Ready => f.write_str("– (ready)"),
            Activity::Parked => f.write_str("budget"),
            Activity::Calling(mailbox) => write!(f, "receiver at {mailbox}"),
            Activity::AwaitingAnswer(Some(server)) => write!(f, "answer of {server}"),
            Activity::AwaitingAnswer(None) => f.write_str("answer that is passed on"),
            Activity::Receiving(mailbox) => write!(f, "message at {mailbox}"),
            Activity::Waiting { signal, bits } => write!(f, "{signal}, bits {bits:#x}"),
            Activity::Sleeping => f.write_str("time"),
        }
    }
}

impl fmt::Display for ThreadView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.activity)?;
        match self.remaining {
            Some(remaining) => write!(f, ", {} left", table::time(remaining)),
            None => Ok(()),
        }
    }
}

impl ServiceView {
    /// What its threads wait for, one line each; the last says of how many nothing is said.
    pub fn waits(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.threads.iter().map(ThreadView::to_string).collect();
        let more = (self.thread_count as usize).saturating_sub(self.threads.len());
        if more > 0 {
            lines.push(format!("and {more} threads more"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_told_in_words() {
        let mailbox = |name: Option<&str>| MailboxName {
            index: 7,
            name: name.map(str::to_owned),
            server: "server".into(),
        };
        for (activity, remaining, text) in [
            (Activity::Running, None, "– (runs)"),
            (Activity::Sleeping, Some(1_500_000_000), "time, 1.50 s left"),
            (Activity::Receiving(mailbox(Some("echo"))), None, "message at echo of server"),
            (
                Activity::Calling(mailbox(None)),
                Some(0),
                "receiver at mailbox 7 of server, 0 ns left",
            ),
            (Activity::AwaitingAnswer(Some("server".into())), None, "answer of server"),
        ] {
            assert_eq!(ThreadView { slot: 0, activity, remaining }.to_string(), text);
        }
    }
}

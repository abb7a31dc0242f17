//! A dump as a supervisor on Linux would tell of the same system.

use super::{Activity, Service, Standing, State, Thread};
use crate::control::protocol::{self, MailboxName, ServiceState, ServiceView, ThreadView};
use crate::statistics;
use phi_abi::{FaultKind, Kind};

/// The services.
pub fn services(state: &State) -> Vec<ServiceView> {
    (0..).zip(&state.services).map(|(index, service)| view(state, index, service)).collect()
}

fn view(state: &State, index: u32, service: &Service) -> ServiceView {
    ServiceView {
        name: service.name.clone(),
        index,
        generation: service.generation,
        state: service_state(service),
        process: None,
        window: service.window,
        // A kernel knows the text of an image, and no names.
        image: String::new(),
        image_hash: String::new(),
        throttled: service.throttled,
        processor_nanoseconds: 0,
        memory: service.memory,
        memory_quota: service.memory_quota,
        messages: service.messages,
        bytes_copied: service.bytes_copied,
        loans: service.loans,
        switches: service.switches,
        calls: service.calls,
        handles: service.handles,
        handles_quota: service.handles_quota,
        threads: service.threads.iter().map(|thread| thread_view(state, thread)).collect(),
        thread_count: service.threads.len() as u32,
    }
}

fn service_state(service: &Service) -> ServiceState {
    match service.state {
        statistics::State::Created => ServiceState::Created,
        statistics::State::Running => ServiceState::Running,
        statistics::State::Exited => ServiceState::Exited(service.code as u8),
        statistics::State::Faulted => {
            let kind = FaultKind::from_number(service.code);
            let fault = kind.map_or_else(
                || format!("number {}", service.code),
                |kind| kind.description().to_string(),
            );
            let (address, instruction) = (service.address, service.instruction);
            ServiceState::Faulted { fault, address, instruction }
        }
        statistics::State::Stopped => ServiceState::Stopped,
    }
}

fn thread_view(state: &State, thread: &Thread) -> ThreadView {
    let object = thread.object.unwrap_or(u32::MAX);
    let activity = match thread.activity {
        Activity::Running => protocol::Activity::Running,
        Activity::Ready => protocol::Activity::Ready,
        Activity::Parked => protocol::Activity::Parked,
        Activity::Calling => protocol::Activity::Calling(mailbox(state, object)),
        Activity::Served => protocol::Activity::AwaitingAnswer(answerer(state, thread)),
        Activity::Receiving => protocol::Activity::Receiving(mailbox(state, object)),
        Activity::Waiting => {
            protocol::Activity::Waiting { signal: signal(state, object), bits: thread.bits }
        }
        Activity::Sleeping => protocol::Activity::Sleeping,
    };
    let remaining = thread.deadline.map(|deadline| deadline.saturating_sub(state.time));
    ThreadView { slot: thread.slot, activity, remaining }
}

fn name(state: &State, service: u16) -> String {
    state.services.get(usize::from(service)).map_or("?".into(), |service| service.name.clone())
}

fn mailbox(state: &State, index: u32) -> MailboxName {
    let mailbox = state.mailboxes.iter().find(|mailbox| mailbox.index == index);
    MailboxName {
        index,
        name: mailbox.and_then(|mailbox| mailbox.name.clone()),
        server: mailbox.map_or("?".into(), |mailbox| name(state, mailbox.owner)),
    }
}

fn signal(state: &State, index: u32) -> String {
    match state.signals.iter().find(|signal| signal.index == index) {
        Some(signal) if signal.planned => "ends of its services".into(),
        Some(signal) => format!("signal {index} of {}", name(state, signal.owner)),
        None => format!("signal {index}"),
    }
}

/// Who has to answer the delivered call of a thread; nobody while the right to do so travels.
fn answerer(state: &State, thread: &Thread) -> Option<String> {
    let reply = state.capabilities.iter().find(|capability| {
        capability.kind == Kind::Reply as u8
            && capability.object == thread.index
            && capability.state == Standing::Held
    });
    Some(name(state, reply?.service?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(name: &str, state: &str, code: u32, threads: Value) -> Value {
        json!({
            "name": name, "generation": 2, "state": state, "code": code, "address": 8,
            "instruction": 9, "window": 1, "throttled": false, "messages": 3, "bytes_copied": 4,
            "loans": 5, "switches": 6, "memory": 7, "calls": 8, "memory_quota": 9, "handles": 10,
            "handles_quota": 11, "threads": threads,
        })
    }

    fn thread(index: u32, activity: &str, object: Value) -> Value {
        json!({
            "slot": index, "index": index, "activity": activity, "object": object, "bits": 3,
            "deadline": 150,
        })
    }

    #[test]
    fn everything_has_its_name_and_nothing_needs_one() {
        let threads = json!([
            thread(0, "calling", json!(4)),
            thread(1, "served", Value::Null),
            thread(2, "served", Value::Null),
            thread(3, "waiting", json!(0)),
            thread(4, "receiving", json!(77)),
            thread(5, "waiting", json!(77)),
            thread(6, "sleeping", Value::Null),
        ]);
        let reply = json!({
            "service": 1, "handle": 1, "id": 1, "state": "held", "kind": Kind::Reply as u8,
            "rights": 0, "object": 1, "badge": 0, "lineage": null, "child": null, "mapped": 0,
            "loan": false,
        });
        let state = json!({
            "reason": "end", "time": 100, "name": "a", "inputs": [],
            "services": [
                service("one", "running", 0, threads),
                service("two", "faulted", FaultKind::Panic as u32, json!([])),
                service("three", "faulted", 9999, json!([])),
            ],
            "mailboxes": [
                { "index": 4, "owner": 1, "open": true, "capacity": 1, "stored": 0, "name": "words" },
            ],
            "signals": [{ "index": 0, "owner": 0, "planned": true, "bits": 0 }],
            "regions": [], "capabilities": [reply],
        });
        let state: State = serde_json::from_value(state).unwrap();
        let views = services(&state);
        let words: Vec<String> = views[0].threads.iter().map(ToString::to_string).collect();
        let expected = [
            "receiver at words of two",
            "answer of two",
            "answer that is passed on",
            "ends of its services, bits 0x3",
            "message at mailbox 77 of ?",
            "signal 77, bits 0x3",
            "time",
        ];
        for (line, expected) in words.iter().zip(expected) {
            assert!(line.starts_with(expected), "{line} is not {expected}");
        }
        assert_eq!((words.len(), views[0].threads[0].remaining), (7, Some(50)));
        let fault = |index: usize| views[index].state.to_string();
        assert_eq!(fault(1), format!("fault: {}", FaultKind::Panic.description()));
        assert_eq!(fault(2), "fault: number 9999");
        assert_eq!((views[0].memory, views[0].handles_quota, views[0].index), (7, 11, 0));
    }
}

//! What is said on a control socket. `docs/control.md` describes each object; a test compares the two.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of all that is said here. Another one is refused.
pub const VERSION: u32 = 1;

/// A request with the version that its client speaks.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// The client's version.
    pub version: u32,
    /// A [`Request`], if the version is this one.
    pub request: Value,
}

/// What a client may ask.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What runs: a [`SystemView`].
    System,
    /// The services, from the one with this index on.
    Services {
        /// Index of the first.
        #[serde(default)]
        from: u32,
    },
    /// The capabilities, from this place of ΦCore's table on.
    Capabilities {
        /// The first place.
        #[serde(default)]
        from: u32,
    },
    /// Another image for a service. Sealed memory with the image, as cargo built it, comes along.
    Replace {
        /// The service's name.
        service: String,
    },
}

/// What comes of a request, with the version of the supervisor.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Answered {
    /// The supervisor's version.
    pub version: u32,
    /// The answer, or why there is none.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What comes of a request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The answer.
    Answer(Answer),
    /// Why there is none.
    Error(Refusal),
}

/// Why a request has no answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Which kind of reason.
    pub kind: RefusalKind,
    /// The reason in words, for people.
    pub message: String,
}

/// Kinds of reasons.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The versions differ.
    Version,
    /// There is no such request, or it is not a request.
    Request,
    /// The image cannot take the place of the service's.
    Image,
    /// The answer would be too long.
    Length,
}

/// What a supervisor answers: each to the request of the same name; [`Answer::Offered`] to
/// [`Request::Replace`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What runs.
    System(SystemView),
    /// Services.
    Services(Part<ServiceView>),
    /// Capabilities.
    Capabilities(Part<CapabilityView>),
    /// The image is offered: the service's next start takes it.
    Offered {
        /// How often the service was started until now.
        generation: u32,
    },
}

/// A part of a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Part<T> {
    /// When it was so: nanoseconds since the system's start.
    pub time: u64,
    /// The entries.
    pub entries: Vec<T>,
    /// Where the next part begins; `None` at the end.
    pub next: Option<u32>,
}

/// A system that runs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SystemView {
    /// Its name.
    pub name: String,
    /// The process id of its supervisor.
    pub supervisor: i32,
    /// `processes` or `threads`.
    pub mode: String,
    /// Nanoseconds since its start.
    pub time: u64,
    /// How many services it has.
    pub services: u32,
    /// Whether the run is recorded.
    pub recorded: bool,
    /// What the run was started from: a folder, a manifest or a bundle, as a full path.
    pub source: Option<String>,
    /// The names of the mailboxes of the plan, by index.
    pub mailboxes: Vec<String>,
}

/// A service.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// Its index in the plan.
    pub index: u32,
    /// How often it was started.
    pub generation: u32,
    /// What it is doing.
    pub state: ServiceState,
    /// Its process; the supervisor's own in the mode `threads`.
    pub process: Option<i32>,
    /// Base of its window of addresses.
    pub window: u64,
    /// What it runs: the image's package and binary. Empty in a dump, which does not say.
    pub image: String,
    /// BLAKE3 of the image's file, in hexadecimal digits. Empty in a dump.
    pub image_hash: String,
    /// Whether its budget of CPU time is used up.
    pub throttled: bool,
    /// CPU time of its current start, in nanoseconds.
    pub processor_nanoseconds: u64,
    /// Bytes of memory charged to it now.
    pub memory: u64,
    /// Bytes that may be charged to it.
    pub memory_quota: u64,
    /// Messages that it sent, over all starts: sends, calls and replies.
    pub messages: u64,
    /// Bytes of those messages that were copied.
    pub bytes_copied: u64,
    /// Loans that it made.
    pub loans: u64,
    /// Times that one of its threads was switched to.
    pub switches: u64,
    /// Calls that it made of ΦCore.
    pub calls: u64,
    /// Capabilities that it holds.
    pub handles: u64,
    /// Capabilities that it may hold.
    pub handles_quota: u32,
    /// Its threads; the first ones, if they are many.
    pub threads: Vec<ThreadView>,
    /// How many threads it has.
    pub thread_count: u32,
}

/// What a service is doing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// Not started yet.
    #[default]
    Created,
    /// Started, with threads.
    Running,
    /// It ended by itself, with this status.
    Exited(u8),
    /// It did what no correct program does.
    Faulted {
        /// What it did, in words.
        fault: String,
        /// What that concerns.
        address: u64,
        /// Where it was.
        instruction: u64,
    },
    /// Somebody stopped it.
    Stopped,
}

/// A thread.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ThreadView {
    /// Its slot in its service.
    pub slot: u32,
    /// What it is doing.
    pub activity: Activity,
    /// Nanoseconds until its wait ends by itself.
    pub remaining: Option<u64>,
}

/// What a thread is doing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// It runs.
    Running,
    /// It may run, and ΦCore has not let it go on yet.
    Ready,
    /// It may run once its service has a budget again.
    Parked,
    /// It called, and nobody has received the call.
    Calling(MailboxName),
    /// It called, and waits for the answer of this service; `None` while the reply capability travels.
    AwaitingAnswer(Option<String>),
    /// It waits for a message.
    Receiving(MailboxName),
    /// It waits for bits of a signal.
    Waiting {
        /// Whose signal: that of the ends of a supervisor's services, or one that this service made.
        signal: String,
        /// Which bits.
        bits: u64,
    },
    /// It sleeps.
    Sleeping,
}

/// A mailbox.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MailboxName {
    /// Its index.
    pub index: u32,
    /// The interface's name; `None` for a mailbox that a service made.
    pub name: Option<String>,
    /// The service that serves it, or made it.
    pub server: String,
}

/// A capability.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CapabilityView {
    /// The service that holds it; `None` while it travels in a message.
    pub service: Option<String>,
    /// The holder's handle.
    pub handle: u64,
    /// Its id: unique, never used again.
    pub id: u64,
    /// `held`, or why it cannot be used: `revoked` or `dead`.
    pub state: CapabilityState,
    /// What it refers to: [`phi_abi::Kind::name`].
    pub kind: String,
    /// What the holder may do, as the manifest names it.
    pub rights: Vec<String>,
    /// The object, in words.
    pub object: String,
    /// Number of the object among those of its kind.
    pub number: u32,
    /// The service that made the object or serves it.
    pub owner: Option<String>,
    /// The badge on its messages.
    pub badge: u64,
    /// The holder's name for it in the manifest, if it begins with one to the same object.
    pub name: Option<String>,
    /// How many revocable derivations it is away from what the plan or a create call made.
    pub depth: u32,
    /// The lineage that it belongs to; `None` for what nobody can revoke.
    pub lineage: Option<u32>,
    /// The service that derived it revocably.
    pub derived_by: Option<String>,
    /// The lineage of what was derived revocably from it.
    pub child: Option<u32>,
    /// Bytes that are mapped through it.
    pub mapped: u64,
    /// Whether it is a loan.
    pub loan: bool,
}

/// How a capability stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapabilityState {
    /// It can be used.
    #[default]
    Held,
    /// It was revoked.
    Revoked,
    /// Its object has ended.
    Dead,
}

/// The request in the content of a frame.
///
/// # Errors
/// It is of another version, or none.
pub fn request(content: &[u8]) -> Result<Request, Refusal> {
    let strange = |error: serde_json::Error| Refusal {
        kind: RefusalKind::Request,
        message: format!("this is no request: {error}"),
    };
    let asked: Asked = serde_json::from_slice(content).map_err(strange)?;
    if asked.version != VERSION {
        let message =
            format!("the client speaks version {}, this supervisor {VERSION}", asked.version);
        return Err(Refusal { kind: RefusalKind::Version, message });
    }
    serde_json::from_value(asked.request).map_err(strange)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(value: &Value) -> Result<Request, RefusalKind> {
        request(value.to_string().as_bytes()).map_err(|refusal| refusal.kind)
    }

    #[test]
    fn requests_are_as_the_reference_writes_them() {
        assert_eq!(parsed(&json!({ "version": 1, "request": "system" })), Ok(Request::System));
        let services = json!({ "version": 1, "request": { "services": { "from": 3 } } });
        assert_eq!(parsed(&services), Ok(Request::Services { from: 3 }));
        let capabilities = json!({ "version": 1, "request": { "capabilities": {} } });
        assert_eq!(parsed(&capabilities), Ok(Request::Capabilities { from: 0 }));
    }

    #[test]
    fn anything_else_is_refused() {
        for (value, kind) in [
            (json!({ "version": 2, "request": "of the future" }), RefusalKind::Version),
            (json!({ "version": 1, "request": "of the future" }), RefusalKind::Request),
            (
                json!({ "version": 1, "request": { "services": { "from": -1 } } }),
                RefusalKind::Request,
            ),
            (json!({ "version": 1, "request": { "services": { "to": 1 } } }), RefusalKind::Request),
            (json!({ "request": "system" }), RefusalKind::Request),
            (json!([1, 2]), RefusalKind::Request),
        ] {
            assert_eq!(parsed(&value), Err(kind), "{value}");
        }
        let deep = "[".repeat(60_000);
        for content in [&b""[..], b"\xff\xfe", b"{\"version\":1", deep.as_bytes()] {
            assert_eq!(request(content).unwrap_err().kind, RefusalKind::Request);
        }
    }

    #[test]
    fn answers_survive_the_round_trip() {
        let answer = Answered {
            version: VERSION,
            outcome: Outcome::Answer(Answer::Services(Part {
                time: 7,
                entries: Vec::new(),
                next: Some(4),
            })),
        };
        let text = serde_json::to_string(&answer).unwrap();
        let expected = r#"{"version":1,"answer":{"services":{"time":7,"entries":[],"next":4}}}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Answered>(&text).unwrap(), answer);
        let refusal = Refusal { kind: RefusalKind::Length, message: "long".into() };
        let answer = Answered { version: VERSION, outcome: Outcome::Error(refusal) };
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(serde_json::from_str::<Answered>(&text).unwrap(), answer);
    }

    #[test]
    fn the_reference_names_every_member_and_activity() {
        let reference = include_str!("../../../docs/control.md");
        let mailbox = MailboxName { index: 0, name: None, server: String::new() };
        let activities = vec![
            Activity::Running,
            Activity::Ready,
            Activity::Parked,
            Activity::Calling(mailbox.clone()),
            Activity::AwaitingAnswer(None),
            Activity::Receiving(mailbox),
            Activity::Waiting { signal: String::new(), bits: 0 },
            Activity::Sleeping,
        ];
        let all = [
            serde_json::to_value(activities).unwrap(),
            serde_json::to_value(SystemView::default()).unwrap(),
            serde_json::to_value(ServiceView::default()).unwrap(),
            serde_json::to_value(CapabilityView::default()).unwrap(),
        ];
        let mut words = Vec::new();
        all.iter().for_each(|value| collect(value, &mut words));
        assert!(words.len() > 60, "{words:?}");
        for word in words {
            let named = ["`", "\""]
                .iter()
                .any(|quote| reference.contains(&format!("{quote}{word}{quote}")));
            assert!(named, "docs/control.md does not name {word}");
        }
    }

    /// The members, and the words of enumerations.
    fn collect(value: &Value, words: &mut Vec<String>) {
        match value {
            Value::String(word) if !word.is_empty() => words.push(word.clone()),
            Value::Array(list) => list.iter().for_each(|value| collect(value, words)),
            Value::Object(members) => members.iter().for_each(|(name, value)| {
                words.push(name.clone());
                collect(value, words);
            }),
            _ => {}
        }
    }
}

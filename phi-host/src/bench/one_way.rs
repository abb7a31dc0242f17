//! A call and its answer on bare metal, each alone, beside seL4's figures.

use super::{BenchError, Distribution};
use crate::table::{Align, Table};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What seL4 takes for messages of `words` words between address spaces, in instructions.
struct Peer {
    words: &'static str,
    /// Bytes of our messages beside it.
    bytes: u64,
    call: u64,
    answer: u64,
}

/// sel4bench, application `ipc`, on x86_64, in the same emulator with the same options; all samples of a
/// figure are equal. It leaves out what reading the counter takes; ours is not left out.
const SEL4: [Peer; 2] = [
    Peer { words: "0 words, fast path", bytes: 0, call: 188, answer: 215 },
    // From five words on it takes its slow path.
    Peer { words: "10 words, slow path", bytes: 64, call: 867, answer: 795 },
];

/// One size of messages.
#[derive(Clone, PartialEq, Debug)]
pub struct Size {
    bytes: u64,
    /// The capabilities that it carries besides.
    capabilities: u64,
    call: Distribution,
    answer: Distribution,
}

/// The manifests of the system that measures, below the project's folder: with an address space for each service,
/// and as a unikernel.
pub fn systems(project: &Path) -> [PathBuf; 2] {
    ["one-way.toml", "unikernel.toml"].map(|name| project.join("tests/benchmark").join(name))
}

/// What was measured of both.
pub struct Measured {
    /// Between two address spaces.
    pub isolated: Vec<Size>,
    /// Within one.
    pub unikernel: Vec<Size>,
}

/// What the system printed.
///
/// # Errors
/// It is no measurement.
pub fn sizes(output: &[u8]) -> Result<Vec<Size>, BenchError> {
    let broken = || BenchError::Output(String::from_utf8_lossy(output).into_owned());
    let value: Value = serde_json::from_slice(output).map_err(|_| broken())?;
    let sizes = value.get("sizes").and_then(Value::as_array).ok_or_else(broken)?;
    let size = |value: &Value| {
        let distribution = |name: &str| Distribution::from_json(value.get(name)?, 1.0);
        let number = |name: &str| value.get(name)?.as_u64();
        let (bytes, capabilities) = (number("bytes")?, number("capabilities")?);
        let (call, answer) = (distribution("call")?, distribution("answer")?);
        Some(Size { bytes, capabilities, call, answer })
    };
    let sizes: Option<Vec<Size>> = sizes.iter().map(size).collect();
    sizes.filter(|sizes| !sizes.is_empty()).ok_or_else(broken)
}

/// What stands beside a size: sel4bench measures no message with capabilities.
fn peer(Size { bytes, capabilities, .. }: &Size) -> Option<&'static Peer> {
    SEL4.iter().find(|peer| peer.bytes == *bytes && *capabilities == 0)
}

impl Measured {
    /// Each size, and the same in a unikernel.
    fn rows(&self) -> impl Iterator<Item = (&Size, Option<&Size>)> {
        let key = |size: &Size| (size.bytes, size.capabilities);
        let same = move |size| self.unikernel.iter().find(|other| key(other) == key(size));
        self.isolated.iter().map(move |size| (size, same(size)))
    }
}

/// As a JSON array.
pub fn json(measured: &Measured) -> Value {
    let peer = |size: &Size| {
        let Peer { words, call, answer, .. } = peer(size)?;
        Some(json!({ "message": words, "call": call, "answer": answer }))
    };
    let both =
        |Size { call, answer, .. }: &Size| json!({ "call": call.json(), "answer": answer.json() });
    let row = |(size, unikernel): (&Size, Option<&Size>)| {
        json!({
            "bytes": size.bytes,
            "capabilities": size.capabilities,
            "call": size.call.json(),
            "answer": size.answer.json(),
            "unikernel": unikernel.map(both),
            "sel4": peer(size),
        })
    };
    measured.rows().map(row).collect()
}

/// As a table.
pub fn table(measured: &Measured) -> String {
    let mut table = Table::new([
        ("bytes", Align::Right),
        ("capabilities", Align::Right),
        ("call p50", Align::Right),
        ("p99", Align::Right),
        ("answer p50", Align::Right),
        ("p99", Align::Right),
        ("unikernel: call", Align::Right),
        ("answer", Align::Right),
        ("seL4", Align::Left),
        ("call", Align::Right),
        ("answer", Align::Right),
    ]);
    for (size, unikernel) in measured.rows() {
        let Size { bytes, capabilities, call, answer } = size;
        let [direct, back] = match unikernel {
            Some(Size { call, answer, .. }) => {
                [call, answer].map(|count| format!("{:.0}", count.p50))
            }
            None => ["–"; 2].map(String::from),
        };
        let [call, call_most] = [call.p50, call.p99].map(|count| format!("{count:.0}"));
        let [answer, answer_most] = [answer.p50, answer.p99].map(|count| format!("{count:.0}"));
        let (words, peer_call, peer_answer) = match peer(size) {
            Some(peer) => (peer.words.into(), peer.call.to_string(), peer.answer.to_string()),
            None => ("–".into(), "–".into(), "–".into()),
        };
        table.push([
            bytes.to_string(),
            capabilities.to_string(),
            call,
            call_most,
            answer,
            answer_most,
            direct,
            back,
            words,
            peer_call,
            peer_answer,
        ]);
    }
    format!("{table}Instructions, one way; between two address spaces, but for the unikernel's.\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_stand_beside_their_peers() {
        let output = br#"{"sizes":[{"bytes":0,"capabilities":0,"call":{"min":1,"p50":2,"p99":3},
            "answer":{"min":4,"p50":5,"p99":6}},{"bytes":0,"capabilities":4,
            "call":{"min":1,"p50":7,"p99":3},
            "answer":{"min":4,"p50":5,"p99":6}}]}"#;
        let isolated = sizes(output).unwrap();
        let [first, second] = &isolated[..] else { panic!("{isolated:?}") };
        assert_eq!((first.call.p50, second.call.p50, first.answer.p99), (2.0, 7.0, 6.0));
        let unikernel = vec![first.clone()];
        let measured = Measured { isolated, unikernel };
        let json = json(&measured);
        assert_eq!(json[0]["unikernel"]["answer"]["p50"], 5.0);
        assert!(json[1]["unikernel"].is_null());
        assert_eq!(json[0]["sel4"]["call"], 188);
        assert!(json[1]["sel4"].is_null());
        let table = table(&measured);
        assert!(table.lines().any(|line| line.contains("215") && line.contains("fast path")));
    }

    #[test]
    fn anything_else_is_no_measurement() {
        for output in [&b"{}"[..], b"panic", b"{\"sizes\":[]}", b"{\"sizes\":[{\"bytes\":0}]}"] {
            assert!(sizes(output).is_err());
        }
    }
}

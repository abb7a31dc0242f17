//! A system for the tests: its manifest, and images made by hand.
#![allow(dead_code, reason = "each test program uses a part of it")]

use phi_abi::layout::{IMAGE_OFFSET, PAGE};
use phi_manifest::image::{ImagePart, RelocatedImage};
use phi_manifest::plan::{Plan, SegmentAccess};
use phi_manifest::{Manifest, builder, check};

/// Two services and two inputs.
pub const TEXT: &str = r#"
[system]
name = "sample"
until = "client"

[input.text]
maximum = "10 KiB"

[input.other]

[service.client]
image = "sample:client"
priority = 7
memory = "1 MiB"
stack = "5 KiB"
heap = "0 B"
threads = 2
budget = "1 ms / 4 ms"
arguments = "a b"
inputs = ["other", "text"]
controls = ["server"]
consoles = { output = "transcript", errors = "log" }

[service.client.uses]
first = { from = "server", interface = "count" }
sort = { from = "server", rights = ["send", "call", "derive", "transfer"] }

[service.server]
image = "sample:server"
priority = 8
restart = { policy = "always", backoff = "2 s", longest = "60 s", maximum = 9, then = "stop" }
serves = { sort = { capacity = 3 }, count = {} }
uses = { back = { from = "client", interface = "answers", rights = ["send"] } }

[service.client.serves]
answers = {}
"#;

/// Contents of the inputs.
pub const INPUTS: [&[u8]; 2] = [b"some text", b""];

pub fn manifest() -> Manifest {
    check("phi.toml", TEXT).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

pub fn plan() -> Plan {
    manifest().plan(&INPUTS.map(|input| input.len() as u64)).expect("a plan")
}

/// An image of a page of text, one of constants, and two of data of which one is zero.
pub fn image(window: u64) -> RelocatedImage {
    let base = window + IMAGE_OFFSET;
    let part = |page: u64, pages: u64, content: u64, access| ImagePart {
        address: base + page * PAGE,
        memory_length: pages * PAGE,
        content: vec![page as u8 + 1; (content * PAGE) as usize],
        access,
    };
    let parts = vec![
        part(0, 1, 1, SegmentAccess::Read),
        part(1, 1, 1, SegmentAccess::Execute),
        part(2, 2, 1, SegmentAccess::Write),
    ];
    RelocatedImage { entry: base + PAGE + 16, parts }
}

/// The bundle of the sample, and the plan in it.
pub fn bundle() -> (Vec<u8>, Plan) {
    let mut plan = plan();
    let images: Vec<RelocatedImage> =
        plan.services.iter().map(|service| image(service.window)).collect();
    let bytes = builder::build(&mut plan, &images, &[], &INPUTS);
    (bytes, plan)
}

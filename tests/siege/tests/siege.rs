//! The bare-metal kernel survives whatever services do, and keeps nothing of it.

use phi_end_to_end::{expect, metal, phi_host};

#[test]
fn three_thousand_hostile_lives_leave_nothing() {
    if !metal() {
        return;
    }
    // A frame that each life leaves would be more memory than there is.
    let output = expect(phi_host().args(["boot", "tests/siege", "--memory", "24"]), 0);
    let transcript = String::from_utf8(output.stdout).expect("text");
    let lives =
        transcript.strip_suffix(" lives have left nothing\n").and_then(|one| one.parse().ok());
    assert!(lives.is_some_and(|lives: u64| lives >= 3000), "{transcript}");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    for fault in [
        "illegal instruction",
        "protection violation",
        "division error",
        "breakpoint",
        "stack overflow",
        "read of unmapped memory",
        "write to memory not mapped for writing",
        "execution of memory that is not text",
        "bad handle",
        "bad argument",
        "unknown call",
    ] {
        assert!(log.contains(fault), "no life ended by: {fault}");
    }
}

//! Many services at once: all come to wait, use no CPU time then, and leave nothing.

use phi_host::bench::start;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Services that wait.
const SERVICES: usize = 200;

/// Systems that are started, at most. On a busy machine a service may come to its wait only while it is
/// watched; one that does not wait uses time in each of them.
const SYSTEMS: usize = 4;

#[test]
fn services_that_wait_use_no_cpu_time_and_leave_nothing() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let bundle = start::bundle(&project, SERVICES).expect("a bundle");
    let program = PathBuf::from(env!("CARGO_BIN_EXE_phi-host"));
    let mut used = Vec::new();
    for _ in 0..SYSTEMS {
        let started = start::system(&program, &bundle, SERVICES, Duration::from_secs(1));
        let idle = started.expect("a system whose services wait").idle.expect("it was watched");
        // Besides, the supervisor, its helper, `init`, and those that start the others.
        assert!(idle.processes.len() > SERVICES + 4, "{idle:?}");
        for process in idle.processes {
            let left = Path::new("/proc").join(process.to_string());
            assert!(!left.exists(), "{} is left", left.display());
        }
        match (idle.cpu_nanoseconds, idle.switches) {
            (0, 0) => return,
            other => used.push(other),
        }
    }
    panic!("while all wait, they use these nanoseconds in so many switches: {used:?}");
}

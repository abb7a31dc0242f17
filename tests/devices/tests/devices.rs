//! Devices of the bare machine: what a driver may do, and what it may not.

use phi_end_to_end::{expect, metal, phi_host};

/// QEMU's device for teaching, whose transfers go to any address.
const EDU: [&str; 2] = ["--device", "edu,dma_mask=0xffffffffffffffff"];

#[test]
fn memory_and_the_kernels_own_devices_are_no_device_memory() {
    if !metal() {
        return;
    }
    let output = expect(phi_host().args(["boot", "tests/devices/mapper.toml"]).args(EDU), 0);
    let transcript = String::from_utf8(output.stdout).expect("text");
    let expected = "the first memory: Err(Denied)
memory: Err(Denied)
the kernel: Err(Denied)
more of the kernel: Err(Denied)
the local APIC: Err(Denied)
the I/O APIC: Err(Denied)
the IOMMU: Err(Denied)
beyond all addresses: Err(Denied)
the first transfer controller: Err(Denied)
the interrupt controller: Err(Denied)
the timer: Err(Denied)
the clock, and a mask of interrupts: Err(Denied)
a reset: Err(Denied)
the way into the firmware: Err(Denied)
the machine's end: Err(Denied)
the kernel's transcript: Err(Denied)
the kernel's log: Err(Denied)
the firmware's transfers: Err(Denied)
configuration space: Err(Denied)
a serial line and its neighbour: Err(Denied)
a serial line and the one before: Err(Denied)
a serial line and all after it: Err(Denied)
the other one and all after it: Err(Denied)
all after a serial line: Err(Denied)
a serial line, and a part of it: Ok(()), Err(Busy)
the firmware's tables: Ok(4096)
";
    assert_eq!(transcript, expected);
}

/// Boots the system; transcript and log.
fn boot(arguments: &[&str]) -> (String, String) {
    let output = expect(phi_host().args(["boot", "tests/devices"]).args(EDU).args(arguments), 0);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr))
}

#[test]
fn a_device_reaches_what_its_driver_may_and_nothing_else() {
    if !metal() {
        return;
    }
    let (transcript, log) = boot(&[]);
    let mut lines = transcript.lines().collect::<Vec<_>>();
    // How many interrupts of the storm came before it was stopped is the emulator's matter.
    let storm = lines.iter().rposition(|line| line.starts_with("Interrupts ")).expect("a storm");
    let came: u64 = lines.remove(storm)["Interrupts ".len()..].parse().expect("a number");
    assert!(came > 1000, "only {came} interrupts came, which are no storm");
    assert_eq!(
        lines,
        [
            "unharmed; life 1: Own",
            "Copied 2048",
            "Interrupts 2",
            "unharmed; life 2: Victim",
            "unharmed; life 3: Physical",
            "unharmed; life 4: Kernel",
            "unharmed; life 5: Unmapped",
            "unharmed; life 6: ReadOnly",
            "unharmed; life 7: Storm",
            "AfterStorm 1",
            "unharmed; done",
        ]
    );
    for life in 2..=6 {
        let fault = format!("aimer/{life} faulted: access of its device to memory not mapped");
        assert!(log.contains(&fault), "{log}");
    }
    assert_eq!(log.matches("and is stopped").count(), 5, "{log}");
    assert!(log.contains("irq: a storm of source 0 is stopped"), "{log}");
}

#[test]
fn without_an_iommu_nothing_is_transferred() {
    if !metal() {
        return;
    }
    let (transcript, log) = boot(&["--no-iommu"]);
    assert!(transcript.contains("unharmed; life 1: Own\nBroken 1\n"), "{transcript}");
    assert!(transcript.ends_with("unharmed; done\n"), "{transcript}");
    assert!(!transcript.contains("Copied") && !transcript.contains("NotStopped"), "{transcript}");
    assert!(!log.contains("unprotected"), "{log}");
}

#[test]
fn lines_interrupt_once_until_they_are_acknowledged() {
    if !metal() {
        return;
    }
    // With an IOMMU, and without.
    for device in [&["--device", "edu"][..], &[]] {
        let output = expect(phi_host().args(["boot", "tests/devices/ticker.toml"]).args(device), 0);
        let transcript = String::from_utf8(output.stdout).expect("text");
        let expected = "the line once more: Some(Denied)
level: came
level, before it is acknowledged: did not come
level, acknowledged while the line is up: came
level, after the device was told: did not come
edge: came
edge, another one: came
edge, without one: did not come
edge, not acknowledged: came
";
        assert_eq!(transcript, expected, "{device:?}");
    }
}

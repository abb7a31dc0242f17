//! Booting as real computers do, and looking into a machine that boots.

use phi_end_to_end::{expect, firmware, metal, phi_host};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const SYSTEM: [&str; 3] = ["examples/wordcount", "--input", "text=README.md"];

fn boot(more: &[&str]) -> Output {
    let mut command = phi_host();
    expect(command.arg("boot").args(SYSTEM).args(more), 0)
}

#[test]
fn uefi_boots_what_pvh_boots() {
    if !firmware() {
        return;
    }
    let (direct, by_firmware) = (boot(&[]), boot(&["--uefi"]));
    assert!(!direct.stdout.is_empty());
    assert_eq!(
        String::from_utf8_lossy(&by_firmware.stdout),
        String::from_utf8_lossy(&direct.stdout)
    );
    assert_eq!(
        String::from_utf8_lossy(&by_firmware.stderr),
        String::from_utf8_lossy(&direct.stderr),
        "the firmware's words are not the system's"
    );
}

#[test]
fn a_disk_is_the_same_each_time_and_boots() {
    if !firmware() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let disks = ["one", "two"].map(|name| folder.path().join(name));
    for disk in &disks {
        let mut command = phi_host();
        expect(command.arg("image").args(SYSTEM).arg("--disk").arg(disk), 0);
    }
    let [one, two] = disks.each_ref().map(|disk| std::fs::read(disk).expect("a disk"));
    assert!(one == two, "two disks of the same system differ");
    let booted = expect(phi_host().arg("boot").arg(&disks[0]), 0);
    assert_eq!(booted.stdout, boot(&[]).stdout);
}

/// A machine that waits for gdb, and the script that gdb needs.
struct Waiting {
    machine: Child,
    errors: BufReader<std::process::ChildStderr>,
    script: String,
}

impl Waiting {
    fn start(more: &[&str]) -> Waiting {
        let mut command = phi_host();
        command.arg("boot").args(SYSTEM).arg("--gdb").args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut machine = command.spawn().expect("phi-host starts");
        let mut errors = BufReader::new(machine.stderr.take().expect("a pipe"));
        let mut line = String::new();
        while !line.contains("gdb -x ") {
            line.clear();
            assert!(errors.read_line(&mut line).expect("text") > 0, "the machine does not wait");
        }
        let script = line.rsplit_once("gdb -x ").expect("the command").1.trim().to_owned();
        Waiting { machine, errors, script }
    }

    /// Has gdb execute `commands`; gives what it says.
    fn debug(&self, commands: &[&str]) -> String {
        let mut gdb = Command::new("timeout");
        gdb.args(["120", "gdb", "-nx", "-batch", "-x", &self.script]);
        commands.iter().for_each(|command| _ = gdb.args(["-ex", command]));
        let output = gdb.output().expect("gdb runs");
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Waits for the machine's end: the status, the transcript, and the rest of the log.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut transcript, mut log) = (String::new(), String::new());
        let mut output = self.machine.stdout.take().expect("a pipe");
        output.read_to_string(&mut transcript).expect("text");
        self.errors.read_to_string(&mut log).expect("text");
        (self.machine.wait().expect("an end").code(), transcript, log)
    }
}

#[test]
fn gdb_stops_in_kernel_and_services_and_lets_them_go_on() {
    if !metal() {
        return;
    }
    let waiting = Waiting::start(&[]);
    let said = waiting.debug(&[
        "hbreak phi_kernel::run::run",
        "continue",
        "backtrace",
        "delete",
        "hbreak phi_console::main",
        "continue",
        "info symbol $pc",
        "info source",
        "delete",
        "detach",
    ]);
    for expected in ["phi_kernel::run::run", "phi_kernel::boot", "phi_console::main"] {
        assert!(said.contains(expected), "no {expected} in {said}");
    }
    assert!(said.contains("services/console/src/lib.rs"), "{said}");
    let (status, transcript, log) = waiting.end();
    assert_eq!(status, Some(0), "{log}");
    assert_eq!(transcript.as_bytes(), boot(&[]).stdout);
}

#[test]
fn an_error_of_the_hardware_ends_the_machine_whoever_runs() {
    if !metal() {
        return;
    }
    let waiting = Waiting::start(&[]);
    // A service runs as the processor finds that bank 0 has an uncorrectable error, at an address.
    let said = waiting.debug(&[
        "hbreak phi_console::main",
        "continue",
        "delete",
        "print $cs & 3",
        "monitor mce 0 0 0xb600000000000134 0x5 0x7777000 0",
        "detach",
    ]);
    assert!(said.contains("$1 = 3"), "no service runs: {said}");
    let (status, _, log) = waiting.end();
    assert_eq!(status, Some(70), "{log}");
    let expected = "machine check: the hardware reports an error of its own: bank 0: status \
                    0xb600000000000134, address 0x7777000; ";
    assert!(log.contains(expected), "{log}");
}

#[test]
fn a_bug_of_the_kernel_has_a_backtrace_and_a_dump() {
    if !metal() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("dump");
    let waiting = Waiting::start(&["--dump", file.to_str().expect("UTF-8")]);
    // The instruction where it stops becomes one that no processor has.
    let said = waiting.debug(&[
        "hbreak phi_kernel::run::run",
        "continue",
        "delete",
        "set language c",
        "set {unsigned short}$pc = 0x0b0f",
        "detach",
    ]);
    let (status, _, log) = waiting.end();
    assert_eq!(status, Some(70), "{said}\n{log}");
    for expected in [
        "phi-kernel: exception in the kernel: vector 6",
        "phi_kernel::run::run (phi-kernel/src/run.rs:",
        "phi_kernel::boot (phi-kernel/src/main.rs:",
        "boot::start (phi-kernel/src/arch/x86_64/boot.rs:",
    ] {
        assert!(log.contains(expected), "no {expected} in {log}");
    }
    let dump = std::fs::read(&file).expect("a dump");
    assert!(dump.starts_with(b"phi-dump {\"version\":1,\"reason\":\"bug\""));
}

#[test]
fn a_system_that_waits_dumps_its_state_on_request() {
    if !metal() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("dump");
    let mut command = phi_host();
    command.args(["boot", "tests/end-to-end/systems/endless", "--dump"]).arg(&file);
    let mut machine = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a boot");
    let signal = |signal: &str| {
        let id = machine.id().to_string();
        expect(Command::new("kill").args([signal, &id]), 0);
    };
    // Before QEMU runs, the signal would end phi-host.
    let children = format!("/proc/{0}/task/{0}/children", machine.id());
    let emulates = || {
        let listed = std::fs::read_to_string(&children).unwrap_or_default();
        listed.split_whitespace().any(|child| {
            let words = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            words.starts_with(b"qemu")
        })
    };
    let mut dump = String::new();
    for _ in 0..600 {
        std::thread::sleep(Duration::from_millis(100));
        if emulates() {
            signal("-USR1");
        }
        dump = std::fs::read_to_string(&file).unwrap_or_default();
        // Both that stay wait for messages, once all have begun.
        if dump.ends_with('\n') && dump.matches("\"receiving\"").count() == 2 {
            break;
        }
    }
    signal("-INT");
    assert_eq!(machine.wait().expect("an end").code(), Some(130));
    assert!(dump.starts_with("phi-dump {\"version\":1,\"reason\":\"request\""), "{dump}");
    let table = expect(phi_host().args(["ps", "--dump"]).arg(&file), 0).stdout;
    let table = String::from_utf8(table).expect("text");
    let line = table.lines().find(|line| line.starts_with("first ")).expect("a service");
    assert!(line.contains(" running ") && line.ends_with("message at console of first"), "{table}");
    std::fs::write(&file, &dump[..dump.len() - 2]).expect("a file");
    expect(phi_host().args(["ps", "--dump"]).arg(&file), 3);
}

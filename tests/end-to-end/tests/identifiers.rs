//! Identifiers of address spaces (PCID): QEMU emulates no processor that has them, and Bochs does.
//!
//! That the instructions are legal is seen here. Bochs keeps nothing over a change of the root, so what has to be
//! forgotten is tested in `phi-kernel/tables`, against a processor that keeps what it may.

use phi_end_to_end::{FIRMWARE, bochs, expect, phi_host};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SYSTEM: &str = "tests/conformance";

/// What stands on both serial lines between the firmware's words and the system's.
const MARK: &str = "\u{1E}phi-loader\n";

/// How long the machine may take: it takes 20 seconds where nothing else runs.
const PATIENCE: Duration = Duration::from_secs(300);

/// Instructions in a second of its time. Deadlines of the suite take for granted that a processor is not much slower.
const SPEED: u32 = 50_000_000;

/// A cylinder of a disk with 16 heads and 63 sectors: Bochs wants whole ones.
const CYLINDER: u64 = 16 * 63 * 512;

/// Bochs's own debugger: runs until it is interrupted, and says what the control registers are.
const COMMANDS: &str = "continue\ncreg\nquit\n";

/// A machine in Bochs, which ends with this.
struct Machine {
    process: Child,
    folder: PathBuf,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Machine {
    /// Boots the disk in a folder.
    fn start(folder: &Path) -> Machine {
        let disk = File::options().write(true).open(folder.join("disk")).expect("a disk");
        let cylinders = disk.metadata().expect("a length").len().div_ceil(CYLINDER);
        disk.set_len(cylinders * CYLINDER).expect("room");
        let configuration = format!(
            "display_library: rfb, options=\"timeout=0\"
plugin_ctrl: unmapped=0, biosdev=0, speaker=0, extfpuirq=0, parallel=0, gameport=0
cpu: model=corei7_skylake_x, ips={SPEED}, reset_on_triple_fault=0
clock: sync=none
memory: guest=256, host=256
romimage: file={FIRMWARE}
pci: enabled=1, chipset=i440fx
ata0-master: type=disk, path=disk, mode=flat, cylinders={cylinders}, heads=16, spt=63
boot: disk
com1: enabled=1, mode=file, dev=transcript
com2: enabled=1, mode=file, dev=log
log: said
panic: action=fatal
"
        );
        fs::write(folder.join("configuration"), configuration).expect("a file");
        fs::write(folder.join("commands"), COMMANDS).expect("a file");
        let output = File::create(folder.join("output")).expect("a file");
        // Its screen is for who connects: to a network of its own nobody does.
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "bochs-bin"]);
        command.args(["-q", "-f", "configuration", "-rc", "commands"]);
        command.current_dir(folder).stdin(Stdio::null());
        command.stderr(output.try_clone().expect("a descriptor")).stdout(output);
        Machine { process: command.spawn().expect("Bochs starts"), folder: folder.into() }
    }

    /// What is in one of its files.
    fn file(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What the system, and not the firmware, wrote to a serial line.
    fn line(&self, name: &str) -> Option<String> {
        self.file(name).split_once(MARK).map(|(_, system)| system.to_owned())
    }

    /// Waits for the record at the system's end.
    fn wait(&mut self) {
        let begun = Instant::now();
        let ended = |log: String| log.ends_with('\n') && log.contains("\u{1E}{\"status\":");
        while !self.line("log").is_some_and(ended) {
            let running = self.process.try_wait().expect("a process").is_none();
            assert!(
                running && begun.elapsed() < PATIENCE,
                "the system has not ended:\n{}\n{}\n{}",
                self.file("output"),
                self.file("said"),
                self.file("log")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Interrupts it, and waits for its end.
    fn interrupt(&mut self) {
        expect(Command::new("kill").args(["-INT", &self.process.id().to_string()]), 0);
        self.process.wait().expect("an end");
    }
}

#[test]
fn a_processor_with_identifiers_of_address_spaces_says_the_same() {
    if !bochs() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().join("disk");
    expect(phi_host().args(["image", SYSTEM, "--disk"]).arg(disk), 0);
    let mut machine = Machine::start(folder.path());
    let expected = expect(phi_host().args(["boot", SYSTEM]), 0).stdout;
    machine.wait();
    assert_eq!(machine.line("transcript").expect("a mark"), String::from_utf8_lossy(&expected));
    machine.interrupt();
    let output = machine.file("output");
    // What is on is written in capitals.
    let control = output.lines().find(|line| line.starts_with("CR4=")).expect("registers");
    assert!(control.split(' ').any(|flag| flag == "PCID"), "{control}");
}

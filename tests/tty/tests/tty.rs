//! The drivers of lines with a terminal, with a pseudoterminal at whose other side this program types: the same on
//! both machines, whatever is stopped.

use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use phi_end_to_end::{expect, metal, phi_host};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

/// The other side of a terminal.
struct Typist {
    master: PtyMaster,
    /// The terminal's file.
    file: String,
    heard: Vec<u8>,
}

impl Typist {
    fn new() -> Typist {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY).expect("a pseudoterminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("it can be used");
        let file = ptsname_r(&master).expect("it has a name");
        Typist { master, file, heard: Vec::new() }
    }

    /// The next line that is heard.
    fn hear(&mut self) -> String {
        loop {
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                return String::from_utf8_lossy(&line).trim_end().to_owned();
            }
            let mut bytes = [0; 256];
            match self.master.read(&mut bytes) {
                Ok(count) => self.heard.extend(&bytes[..count]),
                // Nobody has the other side open yet, or any more.
                Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                Err(error) => panic!("nothing is heard: {error}"),
            }
        }
    }

    fn say(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("somebody listens");
    }
}

fn started(machine: &str, system: &str, typist: &Typist) -> Child {
    let mut command = phi_host();
    command.args([machine, &format!("tests/tty/{system}")]);
    command.args(["--tty", &format!("line={}", typist.file)]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

/// What a run has printed; it ends with 0.
fn ended(run: Child) -> String {
    let output = run.wait_with_output().expect("an end");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    String::from_utf8(output.stdout).expect("text")
}

fn machines() -> &'static [&'static str] {
    if metal() { &["run", "boot"] } else { &["run"] }
}

#[test]
fn lines_come_and_go_on_both_machines() {
    for machine in machines() {
        let mut typist = Typist::new();
        let run = started(machine, "phi.toml", &typist);
        assert_eq!(typist.hear(), "ready");
        typist.say("hello, terminal\n");
        assert_eq!(typist.hear(), "HELLO, TERMINAL");
        // As many as the driver keeps, in one go.
        let long = "0123456789abcdef".repeat(50);
        typist.say(&format!("{long}\n{long}\n"));
        assert_eq!(typist.hear(), long.to_uppercase());
        assert_eq!(typist.hear(), long.to_uppercase());
        // Bytes that a terminal that is not set up would do something with.
        typist.say("\u{3}\u{4}\u{11}\u{13}\r\u{7f}\n");
        assert_eq!(typist.hear(), "\u{3}\u{4}\u{11}\u{13}\r\u{7f}");
        typist.say("bye\n");
        assert_eq!(typist.hear(), "BYE");
        let expected = format!(
            "told: hello, terminal\ntold: {long}\ntold: {long}\ntold: \u{3}\u{4}\u{11}\u{13}\r\u{7f}\ntold: bye\n"
        );
        assert_eq!(ended(run), expected, "{machine}");
    }
}

#[test]
fn a_client_outlives_its_driver() {
    for machine in machines() {
        let mut typist = Typist::new();
        let run = started(machine, "restarts.toml", &typist);
        assert_eq!(typist.hear(), "ready");
        for number in 0..10 {
            typist.say(&format!("line {number}\n"));
            // What was answered as written is here, whatever became of the driver then.
            assert_eq!(typist.hear(), format!("LINE {number}"), "{machine}");
            assert_eq!(typist.hear(), "again", "{machine}");
        }
        typist.say("bye\n");
        assert_eq!(typist.hear(), "BYE");
        let told = ended(run);
        assert_eq!(told.lines().count(), 11, "{machine}: {told}");
    }
}

#[test]
fn what_is_no_line_is_refused_before_anything_runs() {
    let said = |arguments: &[&str], status| {
        let mut command: Command = phi_host();
        let output = expect(command.args(arguments), status);
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for machine in ["run", "boot"] {
        let said = |arguments: &[&str], status| {
            said(&[&[machine, "tests/tty"], arguments].concat(), status)
        };
        let missing = said(&[], 2);
        assert!(missing.contains("the line `line` is missing"), "{missing}");
        assert!(missing.contains("--tty line=FILE"), "{missing}");
        assert!(said(&["--tty", "other=/dev/null"], 2).contains("its lines are `line`"));
        let none = said(&["--tty", "line=/dev/null"], 3);
        assert!(none.contains("it is no terminal device"), "{none}");
        assert!(said(&["--tty", "line=/dev/no-such"], 3).contains("No such file"));
    }
}

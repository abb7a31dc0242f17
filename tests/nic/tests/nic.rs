//! The drivers of network cards, with Linux's own network behind a TAP interface: the same on both machines,
//! whatever is stopped and whatever is asked.

use nix::sched::{CloneFlags, setns};
use phi_end_to_end::{expect, metal, phi_host};
use std::fs::File;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, id};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The other side's address, as the client knows it, and the port that sends back what comes.
const PEER: (&str, u16) = ("10.77.0.1", 7);

/// What the client prints.
const TRANSCRIPT: &str = "card 22:38:d2:19:25:71\n50 pings answered\n100 datagrams came back\n";

/// Whether networks can be made here.
fn networks() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let present = root && Path::new("/dev/net/tun").exists();
    if !present {
        eprintln!("skipped with networks: root and /dev/net/tun are needed");
    }
    present
}

/// A network of its own: a namespace with a TAP interface `phi0`, and a thread that sends back datagrams.
struct Network {
    name: String,
    over: Arc<AtomicBool>,
    echo: Option<JoinHandle<()>>,
}

impl Network {
    fn new() -> Network {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("phi-{}-{}", id(), COUNT.fetch_add(1, Ordering::Relaxed));
        expect(Command::new("ip").args(["netns", "add", &name]), 0);
        let over = Arc::new(AtomicBool::new(false));
        let mut network = Network { name, over, echo: None };
        for words in
            ["tuntap add dev phi0 mode tap", "addr add 10.77.0.1/24 dev phi0", "link set phi0 up"]
        {
            expect(network.within(&["ip"]).args(words.split(' ')), 0);
        }
        let space = File::open(format!("/run/netns/{}", network.name)).expect("the namespace");
        let over = network.over.clone();
        network.echo = Some(std::thread::spawn(move || {
            // Of this thread alone.
            setns(space, CloneFlags::CLONE_NEWNET).expect("the namespace is entered");
            let socket = UdpSocket::bind(PEER).expect("the port is free");
            socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
            let mut bytes = [0; 2048];
            while !over.load(Ordering::Relaxed) {
                if let Ok((count, from)) = socket.recv_from(&mut bytes) {
                    // What gets lost is sent again.
                    let _ = socket.send_to(&bytes[..count], from);
                }
            }
        }));
        network
    }

    /// A program in the network, for which `/sys` still shows the network outside.
    fn within(&self, program: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).args(program);
        command
    }

    /// `phi-host`, in the network and the project's folder.
    fn phi_host(&self, arguments: &[&str]) -> Command {
        self.through(&[], arguments)
    }

    /// `phi-host` there, as what `shell` runs last.
    fn through(&self, shell: &[&str], arguments: &[&str]) -> Command {
        let inner = phi_host();
        let mut command = self.within(shell);
        command.arg(inner.get_program());
        if let Some(folder) = inner.get_current_dir() {
            command.current_dir(folder);
        }
        command.args(arguments);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(echo) = self.echo.take() {
            // It has said why it failed.
            let _ = echo.join();
        }
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Runs a system of this folder on both machines; what it prints.
fn run(network: &Network, system: &str, more: &[&str]) -> Vec<String> {
    let system = format!("tests/nic/{system}");
    let machines = if metal() { &["run", "boot"][..] } else { &["run"] };
    let run = |machine: &&str| {
        let mut command = network.phi_host(&[machine, &system, "--nic", "net=phi0"]);
        if *machine == "boot" {
            command.args(more);
        }
        let output = expect(&mut command, 0);
        String::from_utf8(output.stdout).expect("text")
    };
    machines.iter().map(run).collect()
}

#[test]
fn packets_go_to_and_fro_on_both_machines() {
    if !networks() {
        return;
    }
    let network = Network::new();
    for transcript in run(&network, "phi.toml", &[]) {
        assert_eq!(transcript, TRANSCRIPT);
    }
}

#[test]
fn a_client_outlives_its_driver() {
    if !networks() {
        return;
    }
    let network = Network::new();
    for transcript in run(&network, "restarts.toml", &[]) {
        assert_eq!(transcript, TRANSCRIPT);
    }
}

#[test]
fn what_is_wrong_is_refused() {
    if !networks() {
        return;
    }
    let network = Network::new();
    for transcript in run(&network, "prober.toml", &[]) {
        assert!(transcript.lines().count() > 20 && !transcript.contains("WRONG"), "{transcript}");
    }
}

#[test]
fn a_card_without_an_iommu_wants_a_word_in_the_manifest() {
    if !networks() || !metal() {
        return;
    }
    let network = Network::new();
    for transcript in run(&network, "unprotected.toml", &["--no-iommu"]) {
        assert_eq!(transcript, TRANSCRIPT);
    }
    let refused = ["boot", "tests/nic", "--nic", "net=phi0", "--no-iommu"];
    let mut refused = network.phi_host(&refused);
    let output = refused.stderr(std::process::Stdio::piped()).spawn().expect("it starts");
    let log = until(output, "has to say `dma = \"unprotected\"`");
    assert!(log.contains("virtio-net: there is no card 22:38:d2:19:25:71"), "{log}");
}

/// Reads a program's log until it says `word`, and ends it.
fn until(mut child: std::process::Child, word: &str) -> String {
    use std::io::{BufRead, BufReader};
    let mut log = String::new();
    let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
    while !log.contains(word) && errors.read_line(&mut log).expect("text") > 0 {}
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id() as i32),
        nix::sys::signal::Signal::SIGTERM,
    );
    child.wait().expect("an end");
    log
}

#[test]
fn what_is_no_card_is_refused_before_anything_runs() {
    let said = |arguments: &[&str], status| {
        let mut command = phi_host();
        let output = expect(command.args(arguments), status);
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for machine in ["run", "boot"] {
        let said = |arguments: &[&str], status| {
            said(&[&[machine, "tests/nic"], arguments].concat(), status)
        };
        let missing = said(&[], 2);
        assert!(missing.contains("the network card `net` is missing"), "{missing}");
        assert!(missing.contains("--nic net=INTERFACE"), "{missing}");
        let other = said(&["--nic", "nett=phi0"], 2);
        assert!(other.contains("its network cards are `net`"), "{other}");
        let twice = said(&["--nic", "net=phi0", "--nic", "net=phi1"], 2);
        assert!(twice.contains("given twice"), "{twice}");
        for interface in ["net=lo", "net=phi-none"] {
            let none = said(&["--nic", interface], 3);
            assert!(none.contains("no TAP interface") && none.contains("ip tuntap add"), "{none}");
        }
        let disk = said(&["--nic", "net=phi0", "--disk", "net=/dev/null"], 2);
        assert!(disk.contains("the system has no disk `net`"), "{disk}");
        assert!(said(&["--nic", "net"], 2).contains("NAME=INTERFACE"));
    }
}

#[test]
fn what_linux_lacks_is_not_the_interfaces_fault() {
    if !networks() {
        return;
    }
    let network = Network::new();
    // A mount namespace without the file.
    let without =
        ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /dev/net && exec \"$@\"", "sh"];
    for machine in ["run", "boot"] {
        let arguments = [machine, "tests/nic", "--nic", "net=phi0"];
        let output = expect(&mut network.through(&without, &arguments), 4);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("network cards need /dev/net/tun"), "{said}");
        assert!(said.contains("modprobe tun") && !said.contains("phi0 cannot"), "{said}");
    }
}

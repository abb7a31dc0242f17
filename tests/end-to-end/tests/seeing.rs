//! Looking at systems that run, on real processes: `phi-host ps`, `caps`, `top`, `trace`, `debug`, and what is
//! behind them; and `new`, which makes one.

use phi_end_to_end::{ebpf, expect, phi_host};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Time that anything here may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A system that goes on for ever, and the folder with its control socket.
struct Endless {
    supervisor: Child,
    folder: TempDir,
}

impl Endless {
    /// Starts it, and waits until its services wait for something.
    fn start() -> Endless {
        let folder = tempfile::tempdir().expect("a folder");
        let supervisor = phi_host()
            .args(["run", "tests/end-to-end/systems/endless", "--control"])
            .arg(folder.path().join("socket"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("phi-host starts");
        let mut endless = Endless { supervisor, folder };
        let end = Instant::now() + LIMIT;
        while !endless.is_settled() {
            assert!(Instant::now() < end, "the system does not come to rest");
            if let Ok(Some(status)) = endless.supervisor.try_wait() {
                panic!("the system ended by itself: {status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        endless
    }

    /// Whether its consoles wait for messages, and `init` for the time of a restart.
    fn is_settled(&self) -> bool {
        let output = self.ask("ps").arg("--json").output().expect("ps runs");
        if !output.status.success() {
            return false;
        }
        let seen: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        seen["services"].as_array().expect("services").iter().all(|service| {
            service["state"] != "running" || service["threads"][0]["activity"].is_object()
        })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// A command that looks at it.
    fn ask(&self, word: &str) -> Command {
        let mut command = phi_host();
        command.arg(word).arg(self.socket());
        command
    }

    fn json(&self, word: &str) -> Value {
        let output = expect(self.ask(word).arg("--json"), 0);
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn text(&self, word: &str, more: &[&str]) -> String {
        let output = expect(self.ask(word).args(more), 0);
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Interrupts it; its exit status.
    fn end(mut self) -> Option<i32> {
        let id = self.supervisor.id().to_string();
        let told = Command::new("kill").args(["-INT", &id]).status();
        assert!(told.expect("kill runs").success());
        let status = self.supervisor.wait().expect("it ends");
        assert!(!self.socket().exists(), "the socket is left");
        expect(&mut self.ask("ps"), 5);
        status.code()
    }
}

#[test]
fn services_are_seen_with_what_they_wait_for() {
    let endless = Endless::start();
    let seen = endless.json("ps");
    assert_eq!(seen["system"]["name"], "endless");
    assert_eq!(seen["system"]["supervisor"], endless.supervisor.id());
    let services = seen["services"].as_array().expect("services");
    let names: Vec<&str> =
        services.iter().map(|service| service["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["init", "first", "second", "third"]);
    let mailbox = &services[1]["threads"][0]["activity"]["receiving"];
    assert_eq!((&mailbox["name"], &mailbox["server"]), (&"console".into(), &"first".into()));
    // It waits until it may start the third again.
    let init = &services[0]["threads"][0];
    assert!(init["activity"]["waiting"]["bits"].is_u64(), "{init}");
    assert!(init["remaining"].as_u64().is_some_and(|left| left > 0), "{init}");
    assert_eq!(services[3]["state"], serde_json::json!({ "exited": 1 }));
    assert!(services[3]["process"].is_null());
    for service in &services[..3] {
        let process = service["process"].as_u64().expect("a process");
        let words = std::fs::read(format!("/proc/{process}/cmdline")).expect("it runs");
        assert!(words.starts_with(b"phi-service\0"));
        let memory = |key: &str| service[key].as_u64().expect("bytes");
        assert!(0 < memory("memory") && memory("memory") <= memory("memory_quota"));
        assert!(memory("processor_nanoseconds") > 0);
    }
    let table = endless.text("ps", &[]);
    assert!(table.contains("message at console of first"), "{table}");
    assert_eq!(endless.end(), Some(130));
}

#[test]
fn capabilities_are_seen_with_who_holds_them() {
    let endless = Endless::start();
    let seen = endless.json("caps");
    let held = seen["capabilities"].as_array().expect("capabilities");
    let of = |service: &str, kind: &str| {
        let found = |one: &&Value| one["service"] == service && one["kind"] == kind;
        held.iter().find(found).unwrap_or_else(|| panic!("{service} has no {kind} in {seen}"))
    };
    let mailbox = of("first", "mailbox");
    assert_eq!((&mailbox["owner"], &mailbox["state"]), (&"first".into(), &"held".into()));
    let rights = mailbox["rights"].as_array().expect("rights");
    assert!(rights.contains(&"receive".into()) && !rights.contains(&"send".into()), "{mailbox}");
    assert_eq!(of("init", "domain")["object"], "domain first");
    assert!(!held.iter().any(|one| one["service"] == "third"), "it has ended");
    let mut ids: Vec<u64> = held.iter().map(|one| one["id"].as_u64().expect("an id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), held.len(), "an id belongs to one capability");
    let table = endless.text("caps", &["--service", "second"]);
    assert!(table.lines().skip(1).all(|line| line.starts_with("second ")), "{table}");
    let graph = endless.text("caps", &["--dot"]);
    assert!(graph.starts_with("digraph \"endless\" {") && graph.contains("\"service: first\" ->"));
    let output = expect(endless.ask("caps").args(["--service", "nobody"]), 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("init, first, second, third"));
    assert_eq!(endless.end(), Some(130));
}

#[test]
fn hostile_clients_do_not_disturb_a_system() {
    let endless = Endless::start();
    let found = std::fs::metadata(endless.socket()).expect("a socket");
    assert!(found.file_type().is_socket() && found.mode() & 0o777 == 0o600);
    let connect = || UnixStream::connect(endless.socket()).expect("it listens");
    // Some begin and never go on, some talk nonsense, and one takes no answers.
    let begun: Vec<UnixStream> = (0..12)
        .map(|number| {
            let mut stream = connect();
            stream.write_all(&[number, 0]).expect("room");
            stream
        })
        .collect();
    let mut nonsense = connect();
    nonsense.write_all(&[0xff; 64]).expect("room");
    assert!(!matches!(nonsense.read(&mut [0; 8]), Ok(1..)), "an answer to nonsense");
    let mut greedy = connect();
    let request = br#"{"version":1,"request":{"capabilities":{}}}"#;
    let frame = [&(request.len() as u32).to_le_bytes()[..], request].concat();
    greedy.set_nonblocking(true).expect("Linux");
    while greedy.write(&frame.repeat(100)).is_ok() {}
    let seen = endless.json("ps");
    assert_eq!(seen["services"].as_array().map(Vec::len), Some(4));
    drop(begun);
    assert_eq!(endless.end(), Some(130));
}

#[test]
fn runs_have_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let closed = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(folder.path(), closed).expect("it is ours");
    let named = |mut command: Command| {
        command.env("XDG_RUNTIME_DIR", folder.path());
        command
    };
    let start = |more: &[&str]| {
        let mut command = named(phi_host());
        command.args(["run", "tests/end-to-end/systems/endless"]).args(more);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("phi-host starts")
    };
    let list = || {
        let mut command = named(phi_host());
        let output = command.args(["ps", "--json"]).output().expect("ps runs");
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let runs = || {
        let seen = list();
        let systems = seen["systems"].as_array().cloned().unwrap_or_default();
        systems.into_iter().map(|one| one["run"].as_str().expect("a name").into()).collect()
    };
    let until = |what: &dyn Fn() -> bool| {
        let end = Instant::now() + LIMIT;
        while !what() {
            assert!(Instant::now() < end, "waited too long; {}", list());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    expect(named(phi_host()).args(["ps"]), 5);
    let mut all = vec![start(&[])];
    until(&|| list()["system"]["name"] == "endless");
    all.push(start(&[]));
    all.push(start(&["--name", "mine"]));
    let expected: Vec<String> = ["endless", "endless-2", "mine"].map(str::to_owned).into();
    until(&|| -> bool {
        let now: Vec<String> = runs();
        now == expected
    });
    // The name is taken, and several run.
    expect(
        named(phi_host()).args(["run", "tests/end-to-end/systems/endless", "--name", "mine"]),
        4,
    );
    expect(named(phi_host()).args(["caps"]), 2);
    expect(named(phi_host()).args(["caps", "mine"]), 0);
    // Who is killed leaves a socket behind, which is nobody's and gives way.
    all[0].kill().expect("it runs");
    all[0].wait().expect("it ends");
    let left = folder.path().join("phi/endless.socket");
    assert!(left.exists());
    expect(named(phi_host()).args(["ps", "endless"]), 5);
    all.push(start(&[]));
    until(&|| -> bool {
        let now: Vec<String> = runs();
        now == expected
    });
    for mut run in all {
        let _ = run.kill();
        run.wait().expect("it ends");
    }
}

/// Runs `phi-host WORD …` in a pseudo-terminal of 80 columns and 24 rows, types `keys` once `until` is on
/// the screen, and gives all that came, until it ends.
fn in_terminal(arguments: &str, until: &str, keys: &[u8]) -> String {
    let program = phi_host().get_program().to_owned();
    let line = format!("stty cols 80 rows 24; exec {} {arguments}", program.to_string_lossy());
    let mut child = Command::new("timeout")
        .args(["60", "script", "--quiet", "--return", "--command", &line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script runs");
    let mut output = child.stdout.take().expect("a pipe");
    let mut input = child.stdin.take().expect("a pipe");
    let (mut seen, mut typed, mut piece) = (Vec::new(), false, [0; 4096]);
    loop {
        let count = output.read(&mut piece).expect("it says something");
        if count == 0 {
            break;
        }
        seen.extend_from_slice(&piece[..count]);
        if !typed && String::from_utf8_lossy(&seen).contains(until) {
            input.write_all(keys).expect("it listens");
            typed = true;
        }
    }
    assert!(child.wait().expect("it ends").success(), "{}", String::from_utf8_lossy(&seen));
    String::from_utf8_lossy(&seen).into_owned()
}

#[test]
fn top_shows_a_system_on_a_terminal_and_as_text() {
    let endless = Endless::start();
    let text = endless.text("top", &["--once", "--interval", "100", "--sort", "plan"]);
    let starts = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let services: Vec<String> = text.lines().skip(3).take(4).filter_map(starts).collect();
    assert_eq!(services, ["init", "first", "second", "third"], "{text}");
    assert!(text.contains("message at console of first"), "{text}");
    // Either there are edges, or it says why not.
    assert!(text.contains("client") || text.contains("eBPF is off: "), "{text}");
    // Without a terminal there is nothing to watch on.
    expect(endless.ask("top").stdin(Stdio::null()), 2);
    let arguments = format!("top {} --interval 100 --no-edges", endless.socket().display());
    // Blanks are skipped, so only words can be found.
    let screen = in_terminal(&arguments, "supervisor", b"sq");
    assert!(screen.contains("first") && screen.contains("memory"), "{screen}");
    // It leaves the terminal as it was.
    assert!(screen.contains("\u{1b}[?1049h") && screen.contains("\u{1b}[?1049l"), "{screen}");
    assert_eq!(endless.end(), Some(130));
}

#[test]
fn a_trace_needs_ebpf_and_shows_what_happens() {
    let endless = Endless::start();
    expect(endless.ask("trace").args(["--service", "nobody"]), 2);
    if !ebpf() {
        let output = expect(endless.ask("trace").args(["--seconds", "1"]), 4);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("is off: ") && said.contains("phi-host doctor"), "{said}");
        assert_eq!(endless.end(), Some(130));
        return;
    }
    let file = endless.folder.path().join("trace");
    let mut perfetto = endless.ask("trace").arg("--perfetto").arg(&file).spawn().expect("it runs");
    let mut lines = endless
        .ask("trace")
        .args(["--json", "--service", "first"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    // Both are there before the service ends.
    std::thread::sleep(Duration::from_secs(3));
    let process = endless.json("ps")["services"][1]["process"].to_string();
    let told = Command::new("kill").args(["-KILL", &process]).status();
    assert!(told.expect("kill runs").success());
    assert!(lines.wait().expect("it ends with the system").success());
    assert!(perfetto.wait().expect("it ends with the system").success());
    let mut text = String::new();
    lines.stdout.take().expect("a pipe").read_to_string(&mut text).expect("UTF-8");
    let events: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect();
    assert!(events.iter().any(|event| event["kind"] == "service_fault"), "{text}");
    assert!(
        events.iter().all(|event| event["service"] == "first" || event["to"] == "first"),
        "{text}"
    );
    let trace = std::fs::read(&file).expect("a trace");
    let holds = |name: &str| trace.windows(name.len()).any(|part| part == name.as_bytes());
    assert!(holds("first") && holds("service fault"));
}

#[test]
fn gdb_knows_a_services_symbols() {
    if Command::new("gdb").arg("--version").output().is_err() {
        eprintln!("skipped: gdb is not there; ./phi test installs it");
        return;
    }
    let endless = Endless::start();
    let mut debug = phi_host();
    debug.args(["debug", "second", "--system"]).arg(endless.socket());
    debug.args(["--", "-nx", "-batch", "-iex", "set debuginfod enabled off"]);
    debug.args(["-ex", "info line phi_console::main"]);
    let output = expect(&mut debug, 0);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let place = said.lines().find_map(|line| line.split_once(" starts at address 0x"));
    let (line, rest) = place.unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("services/console/src/lib.rs"), "{line}");
    let digits = rest.split_whitespace().next().expect("digits");
    let address = u64::from_str_radix(digits, 16).expect("an address");
    let services = endless.json("ps");
    let window = services["services"][2]["window"].as_u64().expect("an address");
    assert!((window..window + (1 << 30)).contains(&address), "{line}");
    // It goes on.
    assert_eq!(endless.json("ps")["services"][2]["state"], "running");
    expect(phi_host().args(["debug", "nobody", "--system"]).arg(endless.socket()), 2);
    expect(phi_host().args(["debug", "third", "--system"]).arg(endless.socket()), 5);
    assert_eq!(endless.end(), Some(130));
}

#[test]
fn perf_knows_the_functions_of_images() {
    if Command::new("perf").arg("--version").output().is_err() {
        eprintln!("skipped: perf is not there; ./phi test installs it");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let [text, symbols, data, ids] =
        ["text", "symbols", "data", "ids"].map(|name| folder.path().join(name));
    std::fs::write(&text, "so many words to count, and so little time\n".repeat(100_000))
        .expect("the text");
    let input = format!("text={}", text.display());
    let mut image = phi_host();
    image.args(["image", "examples/wordcount", "--input", &input, "--symbols"]).arg(&symbols);
    expect(&mut image, 0);
    let perf = |arguments: &[&str]| {
        let mut command = Command::new("perf");
        command.arg("--buildid-dir").arg(&ids).args(arguments);
        command
    };
    let run = phi_host();
    let mut record = perf(&["record", "--buildid-mmap", "-e", "cpu-clock", "-F", "4000", "-o"]);
    record.arg(&data).arg("--").arg(run.get_program());
    record.args(["run", "examples/wordcount", "--input", &input]);
    if let Some(folder) = run.get_current_dir() {
        record.current_dir(folder);
    }
    expect(&mut record, 0);
    expect(perf(&["buildid-cache", "--add"]).arg(&symbols), 0);
    let mut report = perf(&["report", "--stdio", "--sort", "dso,symbol", "-i"]);
    let output = expect(report.arg(&data), 0);
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let images = report.lines().filter(|line| line.contains("memfd:phi-images"));
    assert!(images.clone().any(|line| line.contains("phi_wordcount::")), "{report}");
}

#[test]
fn a_new_service_runs_and_its_test_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    // Nothing is built twice.
    let target = phi_end_to_end::target();
    let new = || {
        let mut command = phi_host();
        command.args(["new", "my-adder", "--in"]).arg(folder.path());
        command
    };
    expect(&mut new(), 0);
    expect(&mut new(), 2);
    let service = folder.path().join("my-adder");
    let mut run = phi_host();
    let output = expect(run.arg("run").arg(&service).env("CARGO_TARGET_DIR", &target), 0);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "the sum is 10\n");
    let mut test = Command::new(env!("CARGO"));
    test.args(["test", "--offline"]).current_dir(&service).env("CARGO_TARGET_DIR", &target);
    let output = expect(&mut test, 0);
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

//! ΦCore and the proved model do the same, operation by operation: outcomes, handles, and afterwards
//! every slot of every service, with rights, depth and validity. A failure prints seed and script.

use phi_abi::{CapabilityInfo, Handle, Kind, Rights};
use phi_proof_check::{
    Entry, Gift, HELPERS, Model, Operation, Outcome, SERVICES, Standing, System, planning,
};
use phi_random::Random;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Scripts, each from a fresh boot.
const SCRIPTS: u64 = 50;

/// Operations of a script.
const STEPS: usize = 300;

/// Rights of a server's own that are minted.
const MINTED: Rights = Rights::from_bits_retain(0x0003_0033);

/// Makes the model's program; `None`, with a line that says so, where Coq is not installed.
fn program() -> Option<PathBuf> {
    let found = |name: &str| Command::new(name).arg("-version").output().is_ok();
    if !(found("coqc") && found("ocamlopt")) {
        let hint = "coqc and ocamlopt are needed: install the Debian package coq";
        assert!(std::env::var_os("PHI_REQUIRE_PROOF").is_none(), "{hint}");
        println!("skipped: {hint}");
        return None;
    }
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proof/run");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("proof");
    let made = Command::new(run).arg("model").arg(&folder).output().expect("tests/proof/run");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(folder.join("model"))
}

/// A slot in use, as the model has it, and what ΦCore says of it.
type Seen = (Entry, CapabilityInfo);

struct Driver {
    system: System,
    model: Model,
    random: Random,
    script: Vec<Operation>,
    seed: u64,
    /// How often each outcome came, by kind of operation.
    counts: BTreeMap<String, usize>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {} after:", self.seed);
            self.script.iter().for_each(|operation| eprintln!("  {}", operation.line()));
        }
    }
}

impl Driver {
    fn start(program: &Path, seed: u64) -> Driver {
        let model = Model::start(program, &planning()).expect("the model starts");
        let (system, random) = (System::start(), Random::new(seed));
        let (script, counts) = (Vec::new(), BTreeMap::new());
        let mut driver = Driver { system, model, random, script, seed, counts };
        // What making the helping threads did to slots, and nothing else.
        for domain in 1..=SERVICES {
            for _ in 0..HELPERS {
                let made = driver.model.perform(&Operation::Create(domain, Kind::Signal));
                let Ok(Outcome::Handles(handles)) = made else { panic!("{made:?}") };
                let dropped = driver.model.perform(&Operation::Drop(domain, handles[0]));
                assert_eq!(dropped.expect("the model runs"), Outcome::Done);
            }
        }
        driver
    }

    /// Compares all slots; what they hold.
    fn compare(&mut self) -> Vec<Seen> {
        let entries = self.model.entries().expect("the model runs");
        for domain in 1..=SERVICES {
            let used = entries.iter().filter(|entry| entry.domain == domain).count();
            assert_eq!(used, self.system.used_slots(domain), "slots of domain {domain}");
        }
        let mut seen = Vec::new();
        for entry in entries {
            let info = self.system.inspect(entry.domain, entry.handle);
            let standing = self.system.standing(entry.domain, entry.handle, &info);
            if info.kind == Kind::Mailbox {
                assert_eq!(standing.is_some(), entry.standing == Standing::Held, "{entry:?}");
            } else if let Some(standing) = standing {
                assert_eq!(standing, entry.standing, "{entry:?} {info:?}");
            }
            if entry.standing == Standing::Held {
                assert_eq!((info.rights, info.depth), (entry.rights, entry.depth), "{entry:?}");
            }
            seen.push((entry, info));
        }
        seen
    }

    /// Chooses and makes one operation on both sides, if it is one that both can make.
    fn step(&mut self) -> bool {
        let seen = self.compare();
        let Some(operation) = self.choose(&seen) else { return false };
        self.script.push(operation);
        let Some(outcome) = self.system.perform(&operation) else {
            self.script.pop();
            return false;
        };
        let expected = self.model.perform(&operation).expect("the model knows the operation");
        assert_eq!(outcome, expected, "ΦCore's outcome, and the model's");
        let line = operation.line();
        let name = line.split(' ').next().unwrap_or_default();
        let end = match outcome {
            Outcome::Failed(error) => format!("{error:?}"),
            Outcome::Handles(_) | Outcome::Done => "well".to_string(),
        };
        *self.counts.entry(format!("{name} {end}")).or_default() += 1;
        true
    }

    /// Some of the rights of a kind: mostly those held, or some of them.
    fn rights(&mut self, info: &CapabilityInfo) -> Rights {
        let some = Rights::from_bits_retain(self.random.word() as u32);
        match self.random.below(12) {
            0 => some & info.kind.rights(),
            1..5 => (some | Rights::DERIVE | Rights::TRANSFER) & info.rights,
            _ => info.rights,
        }
    }

    /// A wanted slot, mostly one that stands; once in a while one that does not, if there is any.
    fn pick(&mut self, seen: &[Seen], wanted: impl Fn(&Seen) -> bool) -> Option<Seen> {
        let wanted = seen.iter().filter(|seen| wanted(seen)).copied();
        let (held, left): (Vec<Seen>, Vec<Seen>) =
            wanted.partition(|(entry, _)| entry.standing == Standing::Held);
        let left = self.random.choose(&left).filter(|_| self.random.once_in(8));
        left.or_else(|| self.random.choose(&held))
    }

    fn gift(&mut self, seen: &[Seen], domain: u16) -> Option<Gift> {
        let (entry, info) = self.pick(seen, |(entry, _)| entry.domain == domain)?;
        let copied = self.random.once_in(2);
        Some(Gift { handle: entry.handle, rights: self.rights(&info), copied })
    }

    /// Two ends of a way for messages that leads from `domain` to any other.
    fn way(&mut self, seen: &[Seen], domain: u16) -> Option<(Handle, u16, Handle)> {
        let addressed = |info: &CapabilityInfo| matches!(info.kind, Kind::Mailbox | Kind::Object);
        let (way, _) =
            self.pick(seen, |(entry, info)| entry.domain == domain && addressed(info))?;
        let (end, _) = self.pick(seen, |(entry, info)| {
            let receives = entry.rights.contains(Rights::RECEIVE);
            info.kind == Kind::Mailbox
                && receives
                && entry.standing == Standing::Held
                && (entry.object == way.object || way.standing != Standing::Held)
        })?;
        Some((way.handle, end.domain, end.handle))
    }

    fn choose(&mut self, seen: &[Seen]) -> Option<Operation> {
        let running: Vec<u16> =
            (1..=SERVICES).filter(|domain| self.system.is_running(*domain)).collect();
        let domain = self.random.choose(&running)?;
        let own = |(entry, _): &Seen| entry.domain == domain;
        Some(match self.random.below(1000) {
            0..120 => {
                let kinds = [Kind::Region, Kind::Mailbox, Kind::Signal];
                Operation::Create(domain, self.random.choose(&kinds)?)
            }
            120..300 => {
                // Half of the time from the deepest, so that chains grow.
                let deepest = seen.iter().filter(|seen| own(seen)).max_by_key(|seen| seen.0.depth);
                let (entry, info) = match deepest {
                    Some(deepest) if self.random.once_in(2) => *deepest,
                    _ => self.pick(seen, own)?,
                };
                let (rights, revocable) = (self.rights(&info), !self.random.once_in(3));
                Operation::Derive(domain, entry.handle, rights, revocable)
            }
            300..325 => Operation::Revoke(domain, self.pick(seen, own)?.0.handle),
            325..540 => {
                let any = self.random.once_in(12);
                let spared = |(entry, info): &Seen| {
                    any || info.kind != Kind::Mailbox || entry.standing != Standing::Held
                };
                let (entry, _) = self.pick(seen, |seen| own(seen) && spared(seen))?;
                Operation::Drop(domain, entry.handle)
            }
            540..590 => {
                let any = self.random.once_in(6);
                let (entry, _) = self.pick(seen, |seen| {
                    let receives = any || seen.0.rights.contains(Rights::RECEIVE);
                    own(seen) && seen.1.kind == Kind::Mailbox && receives
                })?;
                let some = Rights::from_bits_retain(self.random.word() as u32);
                Operation::Mint(domain, entry.handle, MINTED & (some | Rights::DERIVE))
            }
            590..790 => {
                let (way, receiver, end) = self.way(seen, domain)?;
                let gift = self.gift(seen, domain)?;
                if gift.handle == end && domain == receiver {
                    return None;
                }
                Operation::Transfer(domain, way, gift, receiver, end)
            }
            790..890 => {
                let (way, receiver, end) = self.way(seen, domain)?;
                let region = |seen: &Seen| own(seen) && seen.1.kind == Kind::Region;
                let lent = self.pick(seen, region).filter(|_| !self.random.once_in(4));
                let lent =
                    lent.map(|(entry, info)| (entry.handle, self.rights(&info) | Rights::READ));
                Operation::Call(domain, way, lent, receiver, end)
            }
            890..994 => {
                let replies = seen.iter().filter(|seen| own(seen) && seen.1.kind == Kind::Reply);
                let replies: Vec<Handle> = replies.map(|(entry, _)| entry.handle).collect();
                let reply = self.random.choose(&replies)?;
                let gift = self.gift(seen, domain).filter(|_| self.random.once_in(2));
                if gift.is_some_and(|gift| gift.handle == reply) {
                    return None;
                }
                Operation::Answer(domain, reply, gift)
            }
            _ if running.len() > 1 => Operation::End(domain),
            _ => return None,
        })
    }
}

/// Plays the script of a seed to its end.
fn play(program: &Path, seed: u64) -> Driver {
    let mut driver = Driver::start(program, seed);
    for _ in 0..STEPS * 4 {
        if driver.script.len() == STEPS {
            break;
        }
        driver.step();
    }
    driver.compare();
    driver
}

/// A number that the environment gives.
fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
#[ignore = "takes minutes: ./phi fuzz proof"]
fn phi_core_and_the_proved_model_agree_for_minutes() {
    let Some(program) = program() else { return };
    let minutes = given("PHI_FUZZ_MINUTES").unwrap_or(1);
    let first = given("PHI_FUZZ_SEED").unwrap_or(SCRIPTS);
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let (mut scripts, mut operations) = (0, 0);
    while Instant::now() < end {
        operations += play(&program, first.wrapping_add(scripts)).script.len();
        scripts += 1;
    }
    println!("proof: {scripts} scripts from seed {first}, {operations} operations");
}

#[test]
fn phi_core_and_the_proved_model_agree() {
    let Some(program) = program() else { return };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut operations = 0;
    for seed in 0..SCRIPTS {
        let driver = play(&program, seed);
        operations += driver.script.len();
        for (name, count) in &driver.counts {
            *counts.entry(name.clone()).or_default() += count;
        }
    }
    println!("{operations} operations: {counts:?}");
    assert!(operations >= 10_000, "only {operations} operations");
    let usual = [
        "create well",
        "create QuotaExceeded",
        "derive well",
        "derive Denied",
        "derive Revoked",
        "derive Dead",
        "derive QuotaExceeded",
        "derive TooDeep",
        "revoke well",
        "revoke Denied",
        "drop well",
        "mint well",
        "mint Denied",
        "transfer well",
        "transfer Denied",
        "transfer Revoked",
        "call well",
        "lend well",
        "answer well",
        "answer Dead",
        "give well",
        "give Denied",
        "end well",
    ];
    for outcome in usual {
        assert!(counts.contains_key(outcome), "never seen: {outcome}");
    }
}

//! Kills processes, at times from a seed.

use super::Storms;
use crate::linux::launch::descriptor_of;
use crate::linux::machine::Watcher;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::unistd::Pid;
use phi_core::DomainIndex;
use phi_manifest::plan::Plan;
use phi_random::Random;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A service's process that runs, or ran until a moment ago.
struct Process {
    id: Pid,
    descriptor: OwnedFd,
}

/// The processes of services, and which of them may be killed.
#[derive(Clone)]
pub struct Targets {
    names: Arc<[String]>,
    bell: Option<DomainIndex>,
    spared: Arc<[bool]>,
    processes: Arc<Mutex<BTreeMap<DomainIndex, Process>>>,
}

impl Targets {
    /// Of the system of `plan`: nothing runs yet.
    pub fn new(plan: &Plan, storms: &Storms) -> Targets {
        let names: Arc<[String]> =
            plan.services.iter().map(|service| service.name.clone()).collect();
        let bell = names.iter().position(|name| storms.bell.as_ref() == Some(name));
        let bell = bell.map(|index| DomainIndex(index as u16));
        let spared = names.iter().enumerate().map(|(index, name)| {
            index == 0 || storms.spared.contains(name) || storms.bell.as_ref() == Some(name)
        });
        Targets { spared: spared.collect(), names, bell, processes: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DomainIndex, Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all processes.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The name and the id of each process that runs and that nobody kills.
    pub fn survivors(&self) -> Vec<(String, Pid)> {
        let processes = self.lock();
        let spared = processes.iter().filter(|(domain, _)| self.is_spared(**domain));
        spared
            .map(|(domain, process)| (self.names[usize::from(domain.0)].clone(), process.id))
            .collect()
    }

    /// Descriptors that are open for the sake of killing.
    pub fn descriptors(&self) -> usize {
        self.lock().len()
    }

    fn is_spared(&self, domain: DomainIndex) -> bool {
        Some(domain) != self.bell && self.spared[usize::from(domain.0)]
    }

    /// Kills one of those that may be killed; `false` if none of them runs.
    fn kill_one(&self, random: &mut Random) -> bool {
        let processes = self.lock();
        let open: Vec<&Process> = processes
            .iter()
            .filter(|(domain, _)| !self.spared[usize::from(domain.0)])
            .map(|(_, process)| process)
            .collect();
        !open.is_empty() && kill(open[random.below(open.len() as u64) as usize])
    }

    /// Kills the bell, if it runs.
    fn ring(&self) {
        let processes = self.lock();
        if let Some(bell) = self.bell.and_then(|bell| processes.get(&bell)) {
            kill(bell);
        }
    }
}

/// Kills a process; `false` if it has ended before. Its descriptor stands for this process and no later
/// one that gets its id.
fn kill(process: &Process) -> bool {
    let mut ended = [PollFd::new(process.descriptor.as_fd(), PollFlags::POLLIN)];
    if poll(&mut ended, PollTimeout::ZERO) != Ok(0) {
        return false;
    }
    let nothing = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the call takes numbers, and no information about the signal.
    let result = unsafe {
        let descriptor = process.descriptor.as_raw_fd();
        libc::syscall(libc::SYS_pidfd_send_signal, descriptor, libc::SIGKILL, nothing, 0)
    };
    result == 0
}

impl Watcher for Targets {
    fn process_started(&mut self, domain: DomainIndex, process: Pid) {
        let descriptor = descriptor_of(process);
        let mut processes = self.lock();
        processes.remove(&domain);
        if let Ok(descriptor) = descriptor {
            processes.insert(domain, Process { id: process, descriptor });
        }
    }
}

/// The thread that kills.
pub struct Killer {
    thread: JoinHandle<u32>,
    ready: Sender<()>,
    over: Arc<AtomicBool>,
}

impl Killer {
    /// Waits for the first storm.
    pub fn start(targets: Targets, storms: &Storms) -> Killer {
        let (ready, next) = channel();
        let over = Arc::new(AtomicBool::new(false));
        let (stopped, seed, kills) = (over.clone(), storms.seed, storms.kills);
        let thread = std::thread::spawn(move || {
            // Signals to this process are the supervisor's.
            let _ = SigSet::all().thread_block();
            let mut storm = Storm { targets, random: Random::new(seed), stopped, next, kills: 0 };
            let begun = storm.next.recv().is_ok();
            if begun && storm.rage(kills / 10) {
                storm.rage(kills - kills / 10);
            }
            storm.kills
        });
        Killer { thread, ready, over }
    }

    /// Lets the next storm come.
    pub fn go_on(&self) {
        // After the last storm, nobody waits for it.
        let _ = self.ready.send(());
    }

    /// Ends it; how often it has killed.
    pub fn stop(self) -> u32 {
        self.over.store(true, Ordering::Relaxed);
        drop(self.ready);
        self.thread.join().unwrap_or_default()
    }
}

struct Storm {
    targets: Targets,
    random: Random,
    stopped: Arc<AtomicBool>,
    next: Receiver<()>,
    kills: u32,
}

/// Longest time between two kills in microseconds. Most are shorter: the shortest fall into the start of
/// a process.
const PAUSE: u64 = 4_000;

/// Time between two strokes of the bell.
const RINGING: Duration = Duration::from_millis(20);

impl Storm {
    /// Kills `count` times, and rings the bell until the system says something; `false` if it has ended.
    fn rage(&mut self, count: u32) -> bool {
        let mut left = count;
        while left > 0 {
            if self.stopped.load(Ordering::Relaxed) {
                return false;
            }
            let longest = 1 << self.random.below(PAUSE.ilog2().into());
            std::thread::sleep(Duration::from_micros(self.random.below(longest)));
            if self.targets.kill_one(&mut self.random) {
                left -= 1;
                self.kills += 1;
            }
        }
        // One that has hardly begun ends without a sound.
        loop {
            self.targets.ring();
            match self.next.recv_timeout(RINGING) {
                Ok(()) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

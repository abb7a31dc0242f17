//! What the supervisor waits for: doorbells, ends of processes, time, signals to itself, and clients of
//! its control socket.
//!
//! It waits by io_uring where Linux has what makes that as quick as epoll, and by epoll otherwise: many
//! containers allow no io_uring.

mod ring;

use super::monotonic;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use phi_core::DomainIndex;
use ring::Ring;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// Events taken at a time.
const BATCH: usize = 32;

/// One start of a domain: its index, and a number that no other start has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// The domain.
    pub domain: DomainIndex,
    /// Number of the start.
    pub serial: u32,
}

/// Something that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Threads of a domain have something for the supervisor.
    Doorbell(Start),
    /// A domain's process has ended.
    Ended(Start),
    /// The time that was set has come.
    Time,
    /// The supervisor got a signal that ends it.
    Signal(Signal),
    /// Clients of the control socket have something for the supervisor.
    Clients,
}

const DOORBELL: u64 = 0;
const ENDED: u64 = 1;
const TIME: u64 = 2;
const SIGNAL: u64 = 3;
const CLIENTS: u64 = 4;

/// The bits of a token that tell what it stands for.
const KIND: u64 = 7;

/// When a descriptor makes an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trigger {
    /// As it becomes readable.
    Edge,
    /// As long as it is.
    Level,
}

/// What waits.
enum Waiter {
    Ring(Box<Ring>),
    Epoll { epoll: Epoll, timer: TimerFd },
}

/// The supervisor's sources of events. While it exists, SIGINT and SIGTERM are events of it instead
/// of ending the process. Only the thread that made it may wait.
pub struct Events {
    waiter: Waiter,
    /// The time of the next [`Event::Time`].
    armed: Option<u64>,
    signals: SignalFd,
    mask_before: SigSet,
    /// What has happened, as the kernel says it.
    tokens: Vec<u64>,
}

impl Events {
    /// With no domain yet and no time set.
    ///
    /// # Errors
    /// What Linux says.
    pub fn new() -> nix::Result<Events> {
        Events::waiting_by(Ring::new().ok())
    }

    /// That wait by `ring`, and by epoll without one.
    fn waiting_by(ring: Option<Ring>) -> nix::Result<Events> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGINT);
        mask.add(Signal::SIGTERM);
        let waiter = match ring {
            Some(ring) => Waiter::Ring(Box::new(ring)),
            None => Waiter::epoll()?,
        };
        let mask_before = mask.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let mut events = Events { waiter, armed: None, signals, mask_before, tokens: Vec::new() };
        events.waiter.add(events.signals.as_fd(), SIGNAL, Trigger::Edge)?;
        Ok(events)
    }

    /// Waits for a domain's doorbell and, if it has one, for the end of its process.
    ///
    /// # Errors
    /// What Linux says.
    pub fn add(
        &mut self,
        start: Start,
        doorbell: BorrowedFd,
        process: Option<BorrowedFd>,
    ) -> nix::Result<()> {
        self.waiter.add(doorbell, token(DOORBELL, start), Trigger::Edge)?;
        process
            .map_or(Ok(()), |process| self.waiter.add(process, token(ENDED, start), Trigger::Edge))
    }

    /// Waits for clients of the control socket, and `descriptor` is readable while one has something.
    ///
    /// # Errors
    /// What Linux says.
    pub fn add_clients(&mut self, descriptor: BorrowedFd) -> nix::Result<()> {
        self.waiter.add(descriptor, CLIENTS, Trigger::Level)
    }

    /// Waits for a descriptor no more.
    pub fn remove(&mut self, descriptor: BorrowedFd) {
        match &mut self.waiter {
            Waiter::Ring(ring) => ring.remove(descriptor.as_raw_fd()),
            // Not there is as good.
            Waiter::Epoll { epoll, .. } => drop(epoll.delete(descriptor)),
        }
    }

    /// Sets or clears the time of the next [`Event::Time`]: nanoseconds of the monotonic clock.
    ///
    /// # Errors
    /// What Linux says.
    pub fn set_time(&mut self, time: Option<u64>) -> nix::Result<()> {
        if self.armed == time {
            return Ok(());
        }
        self.armed = time;
        match (&self.waiter, time) {
            (Waiter::Ring(_), _) => Ok(()),
            (Waiter::Epoll { timer, .. }, None) => timer.unset(),
            (Waiter::Epoll { timer, .. }, Some(time)) => {
                // 0 would clear it.
                let time = Duration::from_nanos(time.max(1));
                let expiration = Expiration::OneShot(time.into());
                timer.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME)
            }
        }
    }

    /// Waits until something happens, and puts it into `events`. The end of a process comes after
    /// what its threads had to say.
    ///
    /// # Errors
    /// What Linux says.
    pub fn wait(&mut self, events: &mut Vec<Event>) -> nix::Result<()> {
        self.tokens.clear();
        match &mut self.waiter {
            Waiter::Ring(ring) => {
                ring.wait(self.armed, &mut self.tokens)?;
                if self.armed.is_some_and(|time| time <= monotonic()) {
                    self.tokens.push(TIME);
                }
            }
            Waiter::Epoll { epoll, .. } => wait_by(epoll, &mut self.tokens)?,
        }
        let mut tokens = std::mem::take(&mut self.tokens);
        for token in tokens.drain(..) {
            match token & KIND {
                DOORBELL => events.push(Event::Doorbell(start(token))),
                ENDED => events.push(Event::Ended(start(token))),
                TIME => {
                    self.armed = None;
                    events.push(Event::Time);
                }
                CLIENTS => events.push(Event::Clients),
                _ => {
                    while let Some(information) = self.signals.read_signal()? {
                        let signal = Signal::try_from(information.ssi_signo as i32);
                        events.push(Event::Signal(signal.unwrap_or(Signal::SIGTERM)));
                    }
                }
            }
        }
        self.tokens = tokens;
        events.sort_by_key(|event| matches!(event, Event::Ended(_)));
        Ok(())
    }
}

impl Waiter {
    /// That waits by epoll.
    fn epoll() -> nix::Result<Waiter> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
        let mut waiter = Waiter::Epoll { epoll, timer };
        if let Waiter::Epoll { epoll, timer } = &mut waiter {
            epoll.add(&*timer, EpollEvent::new(EDGE, TIME))?;
        }
        Ok(waiter)
    }

    fn add(&mut self, descriptor: BorrowedFd, token: u64, trigger: Trigger) -> nix::Result<()> {
        match self {
            Waiter::Ring(ring) => ring.add(descriptor.as_raw_fd(), token, trigger),
            Waiter::Epoll { epoll, .. } => {
                let flags = match trigger {
                    Trigger::Edge => EDGE,
                    Trigger::Level => EpollFlags::EPOLLIN,
                };
                epoll.add(descriptor, EpollEvent::new(flags, token))
            }
        }
    }
}

/// Edges: neither timer nor doorbell needs to be read then.
const EDGE: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLET);

/// Waits by epoll.
fn wait_by(epoll: &Epoll, tokens: &mut Vec<u64>) -> nix::Result<()> {
    let mut batch = [EpollEvent::empty(); BATCH];
    let count = match epoll.wait(&mut batch, EpollTimeout::NONE) {
        Err(Errno::EINTR) => 0,
        result => result?,
    };
    tokens.extend(batch[..count].iter().map(EpollEvent::data));
    Ok(())
}

/// Whether the supervisor waits by io_uring here.
///
/// # Errors
/// Why it does not, and waits by epoll.
pub fn attempt_ring() -> io::Result<()> {
    Ring::new().map(drop)
}

impl Drop for Events {
    fn drop(&mut self) {
        // Signals that came meanwhile were meant for what has ended now.
        while let Ok(Some(_)) = self.signals.read_signal() {}
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.mask_before), None);
    }
}

fn token(kind: u64, start: Start) -> u64 {
    u64::from(start.serial) << 32 | u64::from(start.domain.0) << 8 | kind
}

fn start(token: u64) -> Start {
    Start { domain: DomainIndex((token >> 8) as u16), serial: (token >> 32) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::eventfd::{EfdFlags, EventFd};
    use std::os::fd::FromRawFd;

    /// Events of both kinds, as far as there are both here.
    fn both() -> impl Iterator<Item = Events> {
        let ring = Ring::new();
        if let Err(error) = &ring {
            eprintln!("skipped with io_uring: {error}");
        }
        let ring = ring.ok().map(|ring| Events::waiting_by(Some(ring)).unwrap());
        ring.into_iter().chain(std::iter::once_with(|| Events::waiting_by(None).unwrap()))
    }

    fn seen(events: &mut Events) -> Vec<Event> {
        let mut seen = Vec::new();
        while seen.is_empty() {
            events.wait(&mut seen).unwrap();
        }
        seen
    }

    fn doorbell() -> EventFd {
        EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap()
    }

    #[test]
    fn each_ring_is_one_event_though_nobody_reads_it() {
        for mut events in both() {
            let doorbell = doorbell();
            let start = Start { domain: DomainIndex(513), serial: 70_000 };
            events.add(start, doorbell.as_fd(), None).unwrap();
            for _ in 0..3 {
                doorbell.write(1).unwrap();
                assert_eq!(seen(&mut events), [Event::Doorbell(start)]);
            }
        }
    }

    #[test]
    fn a_time_in_the_past_comes_at_once() {
        for mut events in both() {
            for _ in 0..2 {
                events.set_time(Some(0)).unwrap();
                assert_eq!(seen(&mut events), [Event::Time]);
            }
        }
    }

    #[test]
    fn a_time_comes_once_and_not_before_and_a_cleared_one_never() {
        for mut events in both() {
            let time = monotonic() + 20_000_000;
            events.set_time(Some(time - 10_000_000)).unwrap();
            events.set_time(Some(time)).unwrap();
            assert_eq!(seen(&mut events), [Event::Time]);
            assert!(monotonic() >= time);
            events.set_time(Some(time)).unwrap();
            events.set_time(None).unwrap();
            let doorbell = doorbell();
            doorbell.write(1).unwrap();
            let start = Start { domain: DomainIndex(1), serial: 1 };
            events.add(start, doorbell.as_fd(), None).unwrap();
            assert_eq!(seen(&mut events), [Event::Doorbell(start)]);
        }
    }

    #[test]
    fn what_is_removed_is_not_heard_again() {
        for mut events in both() {
            let doorbells: Vec<EventFd> = (0..200).map(|_| doorbell()).collect();
            let start = |number: u32| Start { domain: DomainIndex(number as u16), serial: number };
            for (number, doorbell) in (0..).zip(&doorbells) {
                events.add(start(number), doorbell.as_fd(), None).unwrap();
            }
            doorbells[..199].iter().for_each(|doorbell| events.remove(doorbell.as_fd()));
            // More than a ring has room for at a time.
            for doorbell in &doorbells {
                doorbell.write(1).unwrap();
            }
            assert_eq!(seen(&mut events), [Event::Doorbell(start(199))]);
        }
    }

    #[test]
    fn a_process_that_ends_is_heard_once() {
        for mut events in both() {
            let mut child = std::process::Command::new("true").spawn().unwrap();
            // SAFETY: the call takes two numbers and makes a descriptor that nobody else knows of.
            let process = unsafe {
                let raw = libc::syscall(libc::SYS_pidfd_open, child.id(), 0);
                std::os::fd::OwnedFd::from_raw_fd(raw as i32)
            };
            let start = Start { domain: DomainIndex(2), serial: 9 };
            let doorbell = doorbell();
            events.add(start, doorbell.as_fd(), Some(process.as_fd())).unwrap();
            assert_eq!(seen(&mut events), [Event::Ended(start)]);
            child.wait().unwrap();
            events.remove(process.as_fd());
            doorbell.write(1).unwrap();
            assert_eq!(seen(&mut events), [Event::Doorbell(start)]);
        }
    }
}

//! What the supervisor waits for: doorbells, ends of processes, time, and signals to itself.

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use phi_core::DomainIndex;
use std::os::fd::BorrowedFd;
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
}

const DOORBELL: u64 = 0;
const ENDED: u64 = 1;
const TIME: u64 = 2;
const SIGNAL: u64 = 3;

/// The supervisor's sources of events. While it exists, SIGINT and SIGTERM are events of it instead
/// of ending the process.
pub struct Events {
    epoll: Epoll,
    timer: TimerFd,
    armed: Option<u64>,
    signals: SignalFd,
    mask_before: SigSet,
}

impl Events {
    /// With no domain yet and no time set.
    ///
    /// # Errors
    /// What Linux says.
    pub fn new() -> nix::Result<Events> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGINT);
        mask.add(Signal::SIGTERM);
        let mask_before = mask.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let events = Events {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            timer: TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?,
            armed: None,
            signals: SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?,
            mask_before,
        };
        // Edges: neither timer nor doorbell needs to be read then.
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        events.epoll.add(&events.timer, EpollEvent::new(edge, TIME))?;
        events.epoll.add(&events.signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNAL))?;
        Ok(events)
    }

    /// Waits for a domain's doorbell and, if it has one, for the end of its process.
    ///
    /// # Errors
    /// What Linux says.
    pub fn add(
        &self,
        start: Start,
        doorbell: BorrowedFd,
        process: Option<BorrowedFd>,
    ) -> nix::Result<()> {
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        self.epoll.add(doorbell, EpollEvent::new(edge, token(DOORBELL, start)))?;
        if let Some(process) = process {
            self.epoll.add(process, EpollEvent::new(edge, token(ENDED, start)))?;
        }
        Ok(())
    }

    /// Waits for a descriptor no more.
    pub fn remove(&self, descriptor: BorrowedFd) {
        // Not there is as good.
        let _ = self.epoll.delete(descriptor);
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
        match time {
            None => self.timer.unset(),
            Some(time) => {
                // 0 would clear it.
                let time = Duration::from_nanos(time.max(1));
                let expiration = Expiration::OneShot(time.into());
                self.timer.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME)
            }
        }
    }

    /// Waits until something happens, and puts it into `events`. The end of a process comes after
    /// what its threads had to say.
    ///
    /// # Errors
    /// What Linux says.
    pub fn wait(&mut self, events: &mut Vec<Event>) -> nix::Result<()> {
        let mut batch = [EpollEvent::empty(); BATCH];
        let count = match self.epoll.wait(&mut batch, EpollTimeout::NONE) {
            Err(Errno::EINTR) => 0,
            result => result?,
        };
        for event in &batch[..count] {
            let data = event.data();
            match data & 3 {
                DOORBELL => events.push(Event::Doorbell(start(data))),
                ENDED => events.push(Event::Ended(start(data))),
                TIME => {
                    self.armed = None;
                    events.push(Event::Time);
                }
                _ => {
                    while let Some(information) = self.signals.read_signal()? {
                        let signal = Signal::try_from(information.ssi_signo as i32);
                        events.push(Event::Signal(signal.unwrap_or(Signal::SIGTERM)));
                    }
                }
            }
        }
        events.sort_by_key(|event| matches!(event, Event::Ended(_)));
        Ok(())
    }
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
    use std::os::fd::AsFd;

    #[test]
    fn each_ring_is_one_event_though_nobody_reads_it() {
        let mut events = Events::new().unwrap();
        let doorbell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap();
        let start = Start { domain: DomainIndex(513), serial: 70_000 };
        events.add(start, doorbell.as_fd(), None).unwrap();
        for _ in 0..3 {
            doorbell.write(1).unwrap();
            let mut seen = Vec::new();
            events.wait(&mut seen).unwrap();
            assert_eq!(seen, [Event::Doorbell(start)]);
        }
    }

    #[test]
    fn a_time_in_the_past_comes_at_once() {
        let mut events = Events::new().unwrap();
        for _ in 0..2 {
            events.set_time(Some(0)).unwrap();
            let mut seen = Vec::new();
            events.wait(&mut seen).unwrap();
            assert_eq!(seen, [Event::Time]);
        }
    }
}

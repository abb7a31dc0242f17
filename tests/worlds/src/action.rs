//! What can happen in a world: the calls of its threads, faults, and the passing of time.

use phi_abi::layout::PAGE;
use phi_abi::{DERIVE_REVOCABLE, FOREVER, Grant, Kind, Message, Mode, Number, Rights};
use phi_cap::State;
use phi_core::{Activity, DomainIndex, Frame, Holding, Kernel, Machine, ThreadIndex};
use std::fmt;

/// A capability in a message: any that the sender holds of this kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passing {
    /// Its kind.
    pub kind: Kind,
    /// How it is passed on. Of a region, a loan is of the first page.
    pub mode: Mode,
    /// The rights that are asked for, whether the sender has them or not.
    pub rights: Rights,
}

/// One word of a domain's alphabet. It stands for one action for each handle that it fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Derive from a capability of this kind, with these rights, revocably or not.
    Derive(Kind, Rights, bool),
    /// Revoke what was derived from a capability of this kind.
    Revoke(Kind),
    /// Drop a handle of this kind.
    Drop(Kind),
    /// Map a region with this access.
    Map(Rights),
    /// Unmap a region.
    Unmap,
    /// Make a region of two pages.
    CreateRegion,
    /// Make a mailbox for one stored message.
    CreateMailbox,
    /// Mint an object of the mailbox, with these rights.
    Mint(Rights),
    /// Send a message, perhaps with a capability.
    Send(Option<Passing>),
    /// Call, perhaps with a capability, with a timeout in nanoseconds.
    Call(Option<Passing>, u64),
    /// Receive, with a timeout in nanoseconds.
    Receive(u64),
    /// Answer a call, perhaps with a capability.
    Reply(Option<Passing>),
    /// End the domain.
    Exit,
    /// Fault.
    Fault,
    /// Start a domain.
    Start,
    /// Stop a domain.
    Stop,
}

/// One action of one domain's thread, or of the clock.
#[derive(Clone, Copy, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there are few at a time, and none is kept")]
pub enum Action {
    /// A thread does something.
    Step {
        /// Its domain.
        domain: DomainIndex,
        /// The thread.
        thread: ThreadIndex,
        /// What it does.
        verb: Verb,
        /// The capability it does it through.
        through: Option<Holding>,
        /// The capability that it passes on.
        passed: Option<Holding>,
    },
    /// Time passes until the next deadline.
    Time,
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Action::Step { domain, verb, through, passed, .. } = self else {
            return f.write_str("time passes");
        };
        write!(f, "domain {}: {verb:?}", domain.0)?;
        if let Some(through) = through {
            write!(f, " through slot {}", through.handle.slot())?;
        }
        match passed {
            Some(passed) => write!(f, " with slot {}", passed.handle.slot()),
            None => Ok(()),
        }
    }
}

/// The kinds of capabilities that a verb goes through; empty for none.
fn kinds(verb: Verb) -> &'static [Kind] {
    match verb {
        Verb::Derive(kind, ..) | Verb::Revoke(kind) | Verb::Drop(kind) => match kind {
            Kind::Region => &[Kind::Region],
            Kind::Mailbox => &[Kind::Mailbox],
            Kind::Object => &[Kind::Object],
            Kind::Signal => &[Kind::Signal],
            Kind::Reply => &[Kind::Reply],
            Kind::Domain => &[Kind::Domain],
            Kind::Thread => &[Kind::Thread],
            Kind::Console => &[Kind::Console],
            // No world has devices.
            Kind::Irq | Kind::DmaSpace | Kind::Hardware | Kind::Ports => &[],
        },
        Verb::Map(_) | Verb::Unmap => &[Kind::Region],
        Verb::Mint(_) | Verb::Receive(_) => &[Kind::Mailbox],
        Verb::Send(_) | Verb::Call(..) => &[Kind::Mailbox, Kind::Object],
        Verb::Reply(_) => &[Kind::Reply],
        Verb::Start | Verb::Stop => &[Kind::Domain],
        Verb::CreateRegion | Verb::CreateMailbox | Verb::Exit | Verb::Fault => &[],
    }
}

/// What a verb passes on.
pub(crate) fn passing(verb: Verb) -> Option<Passing> {
    match verb {
        Verb::Send(passing) | Verb::Call(passing, _) | Verb::Reply(passing) => passing,
        _ => None,
    }
}

/// All actions of a domain's dispatched threads with this alphabet.
pub(crate) fn of_domain<M: Machine>(
    kernel: &Kernel<M>,
    domain: DomainIndex,
    alphabet: &[Verb],
    actions: &mut Vec<Action>,
) {
    for thread in kernel.threads_of(domain) {
        if kernel.activity(thread) != Activity::Dispatched {
            continue;
        }
        for verb in alphabet.iter().copied() {
            let step = |through, passed| Action::Step { domain, thread, verb, through, passed };
            if kinds(verb).is_empty() {
                actions.push(step(None, None));
                continue;
            }
            let fits = |held: &Holding| kinds(verb).contains(&held.capability.kind);
            for through in kernel.holdings_of(domain).filter(fits) {
                let Some(passing) = passing(verb) else {
                    actions.push(step(Some(through), None));
                    continue;
                };
                // A tombstone is as good as any other to be refused.
                let fits = |held: &Holding| held.capability.kind == passing.kind;
                for passed in kernel.holdings_of(domain).filter(fits) {
                    actions.push(step(Some(through), Some(passed)));
                }
            }
        }
    }
}

/// The call's frame; `None` for what is not a call.
pub(crate) fn frame<M: Machine>(
    kernel: &Kernel<M>,
    verb: Verb,
    through: Option<Holding>,
    passed: Option<Holding>,
) -> Option<Frame> {
    let handle = through.map_or(0, |through| through.handle.0);
    let (number, [second, third]) = match verb {
        Verb::Derive(_, rights, revocable) => {
            let flags = if revocable { DERIVE_REVOCABLE } else { 0 };
            (Number::CapabilityDerive, [u64::from(rights.bits()), flags])
        }
        Verb::Revoke(_) => (Number::CapabilityRevoke, [0; 2]),
        Verb::Drop(_) => (Number::CapabilityDrop, [0; 2]),
        Verb::Map(rights) => (Number::RegionMap, [u64::from(rights.bits()), 0]),
        Verb::Unmap => (Number::RegionUnmap, [0; 2]),
        Verb::CreateRegion => (Number::RegionCreate, [0; 2]),
        Verb::CreateMailbox => (Number::MailboxCreate, [0; 2]),
        Verb::Mint(rights) => (Number::ObjectMint, [7, u64::from(rights.bits())]),
        Verb::Send(_) => (Number::Send, [0; 2]),
        Verb::Call(_, timeout) => (Number::Call, [timeout, 0]),
        Verb::Receive(timeout) => (Number::Receive, [timeout, 0]),
        Verb::Reply(_) => (Number::Reply, [0; 2]),
        Verb::Exit => (Number::DomainExit, [0; 2]),
        Verb::Fault => return None,
        Verb::Start => (Number::DomainStart, [0; 2]),
        Verb::Stop => (Number::DomainStop, [0; 2]),
    };
    let first = match verb {
        Verb::CreateRegion => 2 * PAGE,
        Verb::CreateMailbox => 1,
        _ => handle,
    };
    let mut message = Message::EMPTY;
    if let (Some(passing), Some(passed)) = (passing(verb), passed) {
        message.push(grant(kernel, passing, passed));
    }
    let arguments = [first, second, third, 0];
    Some(Frame { number: number as u32, arguments, message, ..Frame::EMPTY })
}

fn grant<M: Machine>(kernel: &Kernel<M>, passing: Passing, passed: Holding) -> Grant {
    let Passing { mode, rights, .. } = passing;
    let grant = Grant { mode: mode as u32, ..Grant::transfer(passed.handle, rights) };
    if mode != Mode::Loan || passed.state != State::Held {
        return grant;
    }
    let address = kernel.regions()[passed.capability.object as usize].place.address;
    Grant { address, length: PAGE, ..grant }
}

/// A call without end.
pub const WITHOUT_END: u64 = FOREVER;

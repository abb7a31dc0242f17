//! Attacks on the memory by which messages go past ΦCore: the attacker's channels, of which it is the
//! sender of one and the receiver of the other, and its own page of the control area.
//!
//! Both are open before: the judge has called the attacker, and the attacker the victim, more often than
//! it takes. Neither can tell; so the attacker looks into the memory where channels lie.

use crate::attacker::{control_area, invoke};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use phi_abi::layout::{MACHINE_OFFSET, PAGE};
use phi_abi::{Handle, Message, Number};
use phi_random::Random;
use phi_rt::{FOREVER, Outgoing, Peer, Service, Thread, now};

/// Calls after which a channel is surely open.
pub const WARMING: u32 = 8;

/// Bytes from one channel to the next, and of one that has 32 slots.
const STRIDE: u64 = 256 << 10;
const CHANNEL: u64 = 2 * PAGE;

/// Channels that the attacker has.
const CHANNELS: u64 = 2;

/// Slots of a channel's ring, and where they begin: each is 16 words, of which the first is its number, the
/// second the label, the third the length and the fourth the note.
const SLOTS: u64 = 32;
const FIRST_SLOT: u64 = 3 * 128;
const SLOT: u64 = 128;

/// Where the answer lies; its first word says which call has ended.
const ANSWER: u64 = FIRST_SLOT + SLOTS * SLOT;

/// Slots of the handles that stand for the replies to calls on channels.
const REPLY_SLOTS: u32 = 1 << 31;

/// What the attacker does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trick {
    /// Writes noise over every word of its channels, and calls now and then.
    Spoil,
    /// The same from one thread, while another calls without end.
    Race,
    /// Has the victim's ring be full of messages without end, the oldest of all by their stamps.
    Flood,
    /// The same with calls that nobody has made.
    FloodCalls,
    /// Answers the calls that are under way, and those that are not, by writing to the answer.
    ForgeAnswers,
    /// Answers once more.
    AnswerTwice,
    /// Answers calls that it never got.
    ForgeReplies,
    /// Has ΦCore adopt replies that are not its own, again and again.
    ForgeAdoptions,
    /// Says that it has calls under way on channels that it has not.
    ForgeCalls,
    /// Says that it has done more than anybody can.
    ForgeTally,
}

/// A word of memory that somebody else writes as well.
fn word(address: u64) -> &'static AtomicU64 {
    // SAFETY: the callers name words of channels and of the control area, which are shared memory of atomics.
    unsafe { &*(address as *const AtomicU64) }
}

/// Where a channel lies.
fn channel(service: &Service, index: u64) -> u64 {
    let window = service.start().window;
    window + MACHINE_OFFSET + index * STRIDE
}

/// Channels that messages went through. One that is not there ends the attacker.
pub fn in_use(service: &Service) -> u64 {
    let taken = |index| word(channel(service, index)).load(Ordering::Relaxed);
    (0..CHANNELS).filter(|index| taken(*index) > 0).count() as u64
}

/// Calls the victim, and does not wait long.
fn call(victim: &Peer) {
    let _ = victim.call(Outgoing::empty(0), 1_000_000);
}

/// Does it. The judge waits for an answer meanwhile, but to floods, which go on when it has it.
pub fn perform(service: &Service, victim: &Peer, trick: Trick) {
    match trick {
        Trick::Spoil => spoil(service, victim),
        Trick::Race => race(service, victim),
        Trick::Flood => flood(service, victim, 0),
        Trick::FloodCalls => flood(service, victim, 1),
        Trick::ForgeAnswers => forge_answers(service, victim),
        Trick::AnswerTwice => {
            let taken = word(channel(service, 0)).load(Ordering::Relaxed);
            let other = word(channel(service, 1)).load(Ordering::Relaxed);
            reply(Handle::new(REPLY_SLOTS, taken as u32));
            reply(Handle::new(REPLY_SLOTS | 1, other as u32));
        }
        Trick::ForgeReplies => reply(Handle::new(REPLY_SLOTS | 1, 1)),
        Trick::ForgeAdoptions | Trick::ForgeCalls | Trick::ForgeTally => forge_page(trick),
    }
}

fn reply(handle: Handle) {
    let mut message = Message::EMPTY;
    // SAFETY: the message is this frame's, and nothing else uses a handle that nobody has.
    let _ = unsafe { phi_rt::system::call(Number::Reply, [handle.0, 0, 0, 0], &raw mut message) };
}

fn spoil(service: &Service, victim: &Peer) {
    let mut noise = Random::new(1);
    for round in 0..300u64 {
        for index in 0..CHANNELS {
            let start = channel(service, index);
            for address in (start..start + CHANNEL).step_by(8) {
                // Numbers that mean something now and then.
                let value = if round % 2 == 0 { noise.word() } else { noise.below(12) };
                word(address).store(value, Ordering::Relaxed);
            }
        }
        if round % 16 == 0 {
            call(victim);
        }
    }
}

fn race(service: &Service, victim: &Peer) {
    static OVER: AtomicBool = AtomicBool::new(false);
    let start = channel(service, 1);
    let thread = Thread::start(4 * PAGE, 1, move || {
        let mut noise = Random::new(1);
        while !OVER.load(Ordering::Relaxed) {
            // What is looked at between the time at which a message is seen and that at which it is taken.
            let slot = start + FIRST_SLOT + noise.below(SLOTS) * SLOT;
            for place in 1..12 {
                word(slot + place * 8).store(noise.word(), Ordering::Relaxed);
            }
            word(start + ANSWER + 16).store(noise.word(), Ordering::Relaxed);
        }
    });
    let end = now() + 100_000_000;
    while now() < end {
        call(victim);
    }
    OVER.store(true, Ordering::Relaxed);
    let _ = thread.map(Thread::join);
}

/// Puts messages with this note's number of a call into every slot that the victim has taken, for as long
/// as it lives.
fn flood(service: &Service, victim: &Peer, call_number: u64) {
    let start = channel(service, 1);
    loop {
        let taken = word(start).load(Ordering::Relaxed);
        for position in taken..taken.wrapping_add(SLOTS) {
            let slot = start + FIRST_SLOT + position % SLOTS * SLOT;
            word(slot + 8).store(position, Ordering::Relaxed);
            word(slot + 16).store(8, Ordering::Relaxed);
            // Sent at the beginning of time.
            word(slot + 24).store(call_number, Ordering::Relaxed);
            word(slot).store(position.wrapping_add(1), Ordering::Release);
        }
        if taken % 1024 < SLOTS {
            // Wakes the victim if it sleeps.
            let _ = victim.send(Outgoing::empty(0));
        }
    }
}

fn forge_answers(service: &Service, victim: &Peer) {
    for index in 0..CHANNELS {
        let turn = word(channel(service, index) + ANSWER);
        let now = turn.load(Ordering::Relaxed);
        for ahead in [1, 2, 3, 4, 5, u64::MAX, now.wrapping_neg()] {
            turn.store(now.wrapping_add(ahead), Ordering::Release);
            call(victim);
        }
    }
}

/// Where a thread's page has what it says of itself: behind the call's message.
const SAYINGS: u64 = 88 + size_of::<Message>() as u64;

/// Writes to this thread's own page, and calls.
fn forge_page(trick: Trick) {
    let Some(area) = control_area() else { phi_rt::exit(99) };
    // After the page of pending bits.
    let sayings = area + PAGE + SAYINGS;
    let mut noise = Random::new(1);
    for round in 0..400u64 {
        match trick {
            Trick::ForgeAdoptions => {
                // How many, and each with the handle and the number.
                word(sayings + 56).store(8, Ordering::Relaxed);
                for place in 0..8 {
                    let slot = REPLY_SLOTS | noise.below(4) as u32;
                    let number = noise.below(20);
                    let adoption = sayings + 64 + place * 16;
                    word(adoption).store(Handle::new(slot, number as u32).0, Ordering::Relaxed);
                    word(adoption + 8).store(number, Ordering::Relaxed);
                }
            }
            Trick::ForgeCalls => {
                // The channel and 1 in the upper half, then number and end of the call.
                let channel = if round % 2 == 0 { noise.below(4) } else { noise.word() };
                word(sayings).store(channel << 32, Ordering::Relaxed);
                word(sayings + 8).store(noise.below(20), Ordering::Relaxed);
                word(sayings + 16).store(noise.word(), Ordering::Relaxed);
            }
            _ => (24..56).step_by(8).for_each(|place| {
                word(sayings + place).store(noise.word(), Ordering::Relaxed);
            }),
        }
        invoke(Number::ClockRead, [FOREVER; 4]);
    }
}

//! A desk with a stand-in for ΦCore, and hostile messages.

use crate::{Accepted, BlockError, Desk, Device, Durability, Finished, Work};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use phi_abi::{Grant, Handle, Message, Mode, Number, Outcome, Rights};
use phi_rt::{Incoming, fake};
use proptest::prelude::*;

const DEVICE: Device = Device {
    session: 3,
    blocks: 100,
    block_size: 512,
    max_bytes: 8 * 512,
    alignment: 512,
    depth: 3,
    read_only: false,
    discards: true,
};

/// Address of what is lent.
const LENT: u64 = 0x10_0000;

const READS: u32 = (Rights::READ.bits()) | Rights::WRITE.bits();

/// What a desk has told ΦCore: the replies that were made, and the handles that were dropped.
#[derive(Default)]
struct Seen {
    replies: Vec<(u64, Message)>,
    dropped: Vec<u64>,
}

/// Runs `body` with a stand-in for ΦCore; what it saw.
fn within<R>(body: impl FnOnce() -> R) -> (R, Seen) {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let inner = seen.clone();
    let result = fake::with(
        move |number, words, message| {
            let mut seen = inner.borrow_mut();
            match number {
                Number::Reply => seen.replies.push((words[0], *message)),
                Number::CapabilityDrop => seen.dropped.push(words[0]),
                _ => panic!("a desk makes no {number:?}"),
            }
            Outcome::success(0)
        },
        body,
    );
    (result, seen.take())
}

/// A call of client `client`, to be answered through handle `reply`; with `length` bytes lent.
fn call(client: u64, reply: u64, label: u64, arguments: &[u8], length: Option<u64>) -> Incoming {
    let mut message = Message::new(label, arguments).unwrap();
    (message.badge, message.reply) = (client, Handle(reply));
    if let Some(length) = length {
        message.push(Grant {
            handle: Handle(reply + 1000),
            rights: READS,
            mode: Mode::Loan as u32,
            address: LENT,
            length,
        });
    }
    // SAFETY: nobody owns handles that mean nothing.
    #[allow(unsafe_code)]
    unsafe {
        Incoming::from_message(message)
    }
}

fn read(client: u64, reply: u64, first: u64, count: u32) -> Incoming {
    let arguments = postcard::to_allocvec(&(DEVICE.session, first, count)).unwrap();
    call(client, reply, 1, &arguments, Some(4096))
}

fn open(client: u64, reply: u64) -> Incoming {
    call(client, reply, 0, &[], None)
}

/// The number of what is to be done.
fn begun(accepted: Accepted) -> usize {
    match accepted {
        Accepted::Work(number, _) => number,
        other => panic!("{other:?}"),
    }
}

#[test]
fn work_is_what_was_asked() {
    within(|| {
        let mut desk = Desk::new(DEVICE);
        let Accepted::Work(_, work) = desk.accept(read(1, 10, 92, 8)) else { panic!("no work") };
        assert_eq!(work, Work::Read { offset: 92 * 512, address: LENT, length: 4096 });
        let arguments =
            postcard::to_allocvec(&(DEVICE.session, 0u64, 1u32, Durability::Durable)).unwrap();
        let Accepted::Work(_, work) = desk.accept(call(1, 11, 2, &arguments, Some(512))) else {
            panic!("no work")
        };
        let durability = Durability::Durable;
        assert_eq!(work, Work::Write { offset: 0, address: LENT, length: 512, durability });
    });
}

#[test]
fn a_client_that_begins_anew_waits_for_its_own_work_alone() {
    let ((), seen) = within(|| {
        let mut desk = Desk::new(DEVICE);
        let mut finished = Vec::new();
        let first = begun(desk.accept(read(1, 10, 0, 1)));
        let other = begun(desk.accept(read(2, 20, 0, 1)));
        assert!(matches!(desk.accept(open(1, 11)), Accepted::Nothing));
        assert!(!desk.has_room());
        // What nobody asked for, and who only waits, does not end.
        desk.finish(2, Ok(()), &mut finished);
        desk.finish(99, Ok(()), &mut finished);
        assert!(finished.is_empty());
        desk.finish(first, Err(BlockError::Failed), &mut finished);
        assert_eq!(finished.len(), 2);
        finished.drain(..).for_each(Finished::answer);
        let Accepted::Answer(opened) = desk.accept(open(3, 30)) else { panic!("it can begin") };
        opened.answer();
        desk.finish(other, Ok(()), &mut finished);
        finished.drain(..).for_each(Finished::answer);
        assert!(desk.is_idle());
    });
    let replies: Vec<(u64, u64)> = seen.replies.iter().map(|(to, m)| (*to, m.label)).collect();
    // 0: done; 1: refused.
    assert_eq!(replies, [(10, 1), (11, 0), (30, 0), (20, 0)]);
    let device: Device = postcard::from_bytes(seen.replies[1].1.bytes()).unwrap();
    assert_eq!(device, DEVICE);
}

#[test]
fn what_was_begun_with_another_session_is_stale() {
    let ((), seen) = within(|| {
        let mut desk = Desk::new(Device { session: 0, ..DEVICE });
        desk.begin(4);
        let Accepted::Answer(refused) = desk.accept(read(1, 10, 0, 1)) else { panic!("stale") };
        refused.answer();
    });
    let error: BlockError = postcard::from_bytes(seen.replies[0].1.bytes()).unwrap();
    assert_eq!(error, BlockError::Stale);
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..12, 90u64..110, Just(u64::MAX), Just(u64::MAX / 512), any::<u64>()]
}

proptest! {
    /// Whatever is asked, the device is only told what lies within it and within what is lent; each call
    /// is answered once; and nothing that came with one is left.
    #[test]
    fn hostile_calls_reach_nothing_else(
        asked in proptest::collection::vec(
            (0u64..7, number(), number(), number(), 0u64..3, proptest::option::of(0u64..9000),
             0u64..3, any::<bool>(), proptest::option::of(proptest::collection::vec(any::<u8>(), 0..64))),
            1..40),
        read_only in any::<bool>(),
    ) {
        let count = asked.len();
        let (result, seen) = within(|| -> Result<(), TestCaseError> {
            let mut desk = Desk::new(Device { read_only, ..DEVICE });
            let mut begun = Vec::new();
            let mut finished = Vec::new();
            for (place, (label, session, first, length, shift, lent, client, current, raw)) in
                (0..).zip(asked)
            {
                if !desk.has_room() {
                    let number = begun.pop();
                    prop_assert!(number.is_some(), "nobody waits for what never ends");
                    desk.finish(number.unwrap_or(0), Ok(()), &mut finished);
                    finished.drain(..).for_each(Finished::answer);
                }
                let session = if current { DEVICE.session } else { session };
                let arguments = match (label, raw) {
                    (_, Some(raw)) => raw,
                    (0, _) => Vec::new(),
                    (2, _) => postcard::to_allocvec(
                        &(session, first, length as u32, Durability::Cached)).unwrap(),
                    (3, _) => postcard::to_allocvec(&session).unwrap(),
                    (4, _) => postcard::to_allocvec(&(session, first, length)).unwrap(),
                    _ => postcard::to_allocvec(&(session, first, length as u32)).unwrap(),
                };
                let mut call = call(client, 1 + place, label, &arguments, lent);
                if shift > 0 {
                    // An address that the device cannot reach.
                    let mut message = Message::new(label, &arguments).unwrap();
                    (message.badge, message.reply) = (client, Handle(1 + place));
                    message.push(Grant {
                        handle: Handle(1001 + place), rights: READS, mode: Mode::Loan as u32,
                        address: LENT + shift, length: lent.unwrap_or(0),
                    });
                    core::mem::forget(call);
                    // SAFETY: as in `call`.
                    #[allow(unsafe_code)]
                    { call = unsafe { Incoming::from_message(message) }; }
                }
                match desk.accept(call) {
                    Accepted::Work(number, work) => {
                        begun.push(number);
                        let size = DEVICE.blocks * u64::from(DEVICE.block_size);
                        let (span, memory) = match work {
                            Work::Read { offset, address, length } => {
                                (offset..offset + u64::from(length), Some((address, length)))
                            }
                            Work::Write { offset, address, length, .. } => {
                                prop_assert!(!read_only);
                                (offset..offset + u64::from(length), Some((address, length)))
                            }
                            Work::Discard { offset, length } => {
                                prop_assert!(!read_only);
                                (offset..offset + length, None)
                            }
                            Work::Flush => (0..1, None),
                        };
                        prop_assert!(span.start < span.end && span.end <= size);
                        if let Some((address, length)) = memory {
                            prop_assert_eq!(address, LENT);
                            prop_assert!(u64::from(length) <= lent.unwrap_or(0));
                            prop_assert!(length <= DEVICE.max_bytes);
                        }
                    }
                    Accepted::Answer(finished) => finished.answer(),
                    Accepted::Nothing => {}
                }
            }
            for number in begun {
                desk.finish(number, Ok(()), &mut finished);
                finished.drain(..).for_each(Finished::answer);
            }
            prop_assert!(desk.is_idle());
            Ok(())
        });
        result?;
        let mut answered: Vec<u64> = seen.replies.iter().map(|(to, _)| *to).collect();
        answered.sort_unstable();
        prop_assert_eq!(answered, (1..=count as u64).collect::<Vec<u64>>());
    }
}

//! The service `prober`: asks a driver for all that is wrong, and for what is at the limits.

use crate::record::{self, BYTES};
use alloc::format;
use phi_block::{BlockClient, BlockError, Device, Durability};
use phi_idl::CallError;
use phi_rt::{Console, Memory, Outgoing, Service};

/// Bytes of the prober's memory.
const MEMORY: usize = 2 * BYTES;

/// A probe's name, what is expected, and what came.
type Found = (&'static str, Answer, Answer);

type Answer = Result<(), CallError<BlockError>>;

/// The service: its argument is `ro` for a device that cannot be written. Prints a line for each probe,
/// and ends with the number of those that came out wrong.
pub fn main(service: &Service) -> u8 {
    let Ok(output) = service.console("output") else { return 200 };
    let Ok(peer) = service.peer("disk") else { return 200 };
    // Another capability of the same client, for messages that no stub would make.
    let Ok(copy) = peer.capability().derive(phi_rt::Rights::CALL) else { return 201 };
    let Ok(raw) = phi_rt::Peer::try_from(copy) else { return 201 };
    let client = BlockClient::new(peer);
    let Ok(mut memory) = Memory::create(MEMORY as u64) else { return 202 };
    let Ok(device) = client.open() else { return 203 };
    let mut wrong = 0;
    let mut look = |found: Found| wrong += u8::from(!is_right(&output, found));
    ranges(&client, &device, &mut memory, &mut look);
    lengths(&client, &device, &mut memory, &mut look);
    sessions(&client, &device, &mut memory, &mut look);
    if service.arguments().trim() == "ro" {
        refusals(&client, &device, &mut memory, &mut look);
    } else {
        contents(&client, &device, &mut memory, &mut look);
    }
    nonsense(&raw, &mut look);
    wrong
}

fn is_right(output: &Console, (name, expected, found): Found) -> bool {
    let right = expected == found;
    let line = match right {
        true => format!("ok {name}\n"),
        false => format!("WRONG {name}: {found:?}, not {expected:?}\n"),
    };
    // Who cannot be told sees the status.
    let _ = output.write(line.as_bytes());
    right
}

fn refused(error: BlockError) -> Answer {
    Err(CallError::Refused(error))
}

fn ranges(
    client: &BlockClient,
    device: &Device,
    memory: &mut Memory,
    look: &mut impl FnMut(Found),
) {
    let Device { session, blocks, .. } = *device;
    let range = || refused(BlockError::Range);
    let mut read = |first, count| client.read(session, first, count, memory.lend_mut(0..MEMORY));
    look(("read the last block", Ok(()), read(blocks - 1, 1)));
    look(("read no block", range(), read(0, 0)));
    look(("read beyond the end", range(), read(blocks - 1, 2)));
    look(("read behind the end", range(), read(blocks, 1)));
    look(("read at the largest number", range(), read(u64::MAX, 1)));
    look(("read the most blocks", range(), read(0, u32::MAX)));
    let discard = |first, count| client.discard(session, first, count);
    if !device.read_only {
        look(("discard nothing", range(), discard(0, 0)));
        look(("discard without end", range(), discard(1, u64::MAX)));
    }
}

fn lengths(
    client: &BlockClient,
    device: &Device,
    memory: &mut Memory,
    look: &mut impl FnMut(Found),
) {
    let Device { session, block_size, alignment, max_bytes, .. } = *device;
    let size = block_size as usize;
    let short = client.read(session, 0, 2, memory.lend_mut(0..size));
    look(("read to less than is asked for", refused(BlockError::TooShort), short));
    let most = max_bytes / block_size;
    if device.blocks > u64::from(most) {
        let short = client.read(session, 0, most, memory.lend_mut(0..size));
        look(("read the most to too little", refused(BlockError::TooShort), short));
        let long = client.read(session, 0, most + 1, memory.lend_mut(0..size));
        look(("read more than the most", refused(BlockError::Range), long));
    }
    if alignment > 1 {
        let odd = client.read(session, 0, 1, memory.lend_mut(1..size + 1));
        look(("read to where the device cannot", refused(BlockError::Unaligned), odd));
    }
}

fn sessions(
    client: &BlockClient,
    device: &Device,
    memory: &mut Memory,
    look: &mut impl FnMut(Found),
) {
    let stale = || refused(BlockError::Stale);
    let old = device.session.wrapping_add(1);
    look(("read in another session", stale(), client.read(old, 0, 1, memory.lend_mut(0..MEMORY))));
    look(("flush in no session", stale(), client.flush(0)));
    let again = client.open().map(|again| again == *device);
    look(("open again", Ok(()), again.map(|_| ())));
    look(("flush", Ok(()), client.flush(device.session)));
}

fn refusals(
    client: &BlockClient,
    device: &Device,
    memory: &mut Memory,
    look: &mut impl FnMut(Found),
) {
    let read_only = || refused(BlockError::ReadOnly);
    let (session, lent) = (device.session, memory.lend(0..MEMORY));
    let written = client.write(session, 0, 1, Durability::Cached, lent);
    look(("write to what is only read", read_only(), written));
    look(("discard what is only read", read_only(), client.discard(session, 0, 1)));
}

fn contents(
    client: &BlockClient,
    device: &Device,
    memory: &mut Memory,
    look: &mut impl FnMut(Found),
) {
    let Device { session, block_size, blocks, .. } = *device;
    let count = BYTES as u32 / block_size;
    let last = blocks - u64::from(count);
    for durability in [Durability::Cached, Durability::Durable] {
        record::fill(memory, 1, durability as u64);
        let written = client.write(session, last, count, durability, memory.lend(0..BYTES));
        look(("write the last blocks", Ok(()), written));
        memory.fill(0);
        // To the second half: what is lent is where it is written.
        let read = client.read(session, last, count, memory.lend_mut(BYTES..MEMORY));
        look(("read them back", Ok(()), read));
        let same = record::is(&memory[BYTES..], 1, durability as u64);
        let alone = memory[..BYTES].iter().all(|byte| *byte == 0);
        let found = if same && alone { Ok(()) } else { Err(CallError::NotUnderstood) };
        look(("they hold what was written", Ok(()), found));
    }
    look(("discard them", Ok(()), client.discard(session, last, u64::from(count))));
    let read = client.read(session, last, count, memory.lend_mut(0..BYTES));
    look(("read what was discarded", Ok(()), read));
    let zeros = memory[..BYTES].iter().all(|byte| *byte == 0);
    let found = if zeros { Ok(()) } else { Err(CallError::NotUnderstood) };
    look(("it holds zeros", Ok(()), found));
}

/// Messages that are none of the interface: each is answered, and the driver goes on.
fn nonsense(raw: &phi_rt::Peer, look: &mut impl FnMut(Found)) {
    for (name, label, bytes) in [
        ("ask for what there is not", 99, &[][..]),
        ("read without arguments or memory", 1, &[][..]),
        ("flush with too many arguments", 3, &[1; 64][..]),
        ("flush with half an argument", 3, &[0xff; 3][..]),
        ("open with arguments", 0, &[1][..]),
    ] {
        let Ok(message) = Outgoing::new(label, bytes) else { continue };
        let answer = raw.call(message, phi_rt::FOREVER);
        let found = match answer {
            Ok(answer) if answer.label() == 2 => Ok(()),
            Ok(_) => Err(CallError::NotUnderstood),
            Err(error) => Err(CallError::Transport(error)),
        };
        look((name, Ok(()), found));
    }
}

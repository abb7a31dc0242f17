//! Messages between a service's memory and its thread's frame: only the words that are in use.

use crate::arch::{BadPointer, copy_from_user, copy_to_user};
use core::mem::offset_of;
use phi_abi::{Grant, MESSAGE_BYTES, MESSAGE_GRANTS, Message};

const WORD: usize = size_of::<u64>();
const WORDS: usize = size_of::<Message>() / WORD;

/// Words before the inline bytes, and before the grants.
const HEADER: usize = offset_of!(Message, data) / WORD;
const GRANTS: usize = offset_of!(Message, grants) / WORD;

// A message is whole words, and so are its parts.
const _: () = assert!(size_of::<Message>().is_multiple_of(WORD) && align_of::<Message>() == WORD);
const _: () = assert!(offset_of!(Message, data).is_multiple_of(WORD));
const _: () = assert!(GRANTS * WORD == offset_of!(Message, data) + MESSAGE_BYTES);
const _: () = assert!(WORDS - GRANTS == MESSAGE_GRANTS * size_of::<Grant>() / WORD);

fn words(message: &Message) -> &[u64; WORDS] {
    // SAFETY: a message is so many aligned words, without padding.
    unsafe { &*(&raw const *message).cast() }
}

fn words_mut(message: &mut Message) -> &mut [u64; WORDS] {
    // SAFETY: as for `words`; any words make a message, as it is all numbers.
    unsafe { &mut *(&raw mut *message).cast() }
}

/// End of the words in use for the inline bytes and for the grants. A message that says more than
/// there can be is ΦCore's to refuse.
fn ends(message: &Message) -> (usize, usize) {
    let bytes = usize::from(message.length).min(MESSAGE_BYTES);
    let grants = usize::from(message.grant_count).min(MESSAGE_GRANTS);
    (HEADER + bytes.div_ceil(WORD), GRANTS + grants * (size_of::<Grant>() / WORD))
}

/// Reads the running service's message at `address`.
///
/// # Errors
/// [`BadPointer`].
pub fn read(message: &mut Message, address: u64) -> Result<(), BadPointer> {
    copy_from_user(&mut words_mut(message)[..HEADER], address)?;
    let (data_end, grants_end) = ends(message);
    let words = words_mut(message);
    if data_end > HEADER {
        let from = address.wrapping_add((HEADER * WORD) as u64);
        copy_from_user(&mut words[HEADER..data_end], from)?;
    }
    if grants_end > GRANTS {
        let from = address.wrapping_add((GRANTS * WORD) as u64);
        copy_from_user(&mut words[GRANTS..grants_end], from)?;
    }
    Ok(())
}

/// Writes a message to the running service's memory at `address`.
///
/// # Errors
/// [`BadPointer`].
pub fn write(message: &Message, address: u64) -> Result<(), BadPointer> {
    let (data_end, grants_end) = ends(message);
    let words = words(message);
    copy_to_user(address, &words[..data_end])?;
    if grants_end > GRANTS {
        let to = address.wrapping_add((GRANTS * WORD) as u64);
        copy_to_user(to, &words[GRANTS..grants_end])?;
    }
    Ok(())
}

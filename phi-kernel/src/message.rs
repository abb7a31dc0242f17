//! Messages between a service's memory and its thread's frame: header and inline bytes in one go, and
//! those capabilities that are in use.

use crate::arch::{BadPointer, copy_from_user, copy_to_user};
use core::mem::offset_of;
use core::ops::Range;
use phi_abi::{Grant, MESSAGE_BYTES, MESSAGE_GRANTS, Message};

const WORD: usize = size_of::<u64>();
const WORDS: usize = size_of::<Message>() / WORD;

/// Words before the grants.
const GRANTS: usize = offset_of!(Message, grants) / WORD;

/// The word with the rights and both lengths.
const SIZES: usize = offset_of!(Message, rights) / WORD;

// A message is whole words, and so are its parts.
const _: () = assert!(size_of::<Message>().is_multiple_of(WORD) && align_of::<Message>() == WORD);
const _: () = assert!(offset_of!(Message, data).is_multiple_of(WORD));
const _: () = assert!(offset_of!(Message, grant_count) / WORD == SIZES);
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

/// The words in use for the grants. A message that says more than there can be is ΦCore's to refuse.
fn grants(message: &Message) -> Range<usize> {
    let count = usize::from(message.grant_count).min(MESSAGE_GRANTS);
    GRANTS..GRANTS + count * (size_of::<Grant>() / WORD)
}

/// Reads the running service's message at `address`. Inline bytes beyond its length are read as well:
/// ΦCore passes on only those in use.
///
/// # Errors
/// [`BadPointer`].
pub fn read(message: &mut Message, address: u64) -> Result<(), BadPointer> {
    copy_from_user(&mut words_mut(message)[..GRANTS], address)?;
    read_grants(message, address)
}

/// Reads the capabilities of the running service's message at `address`: so many as `message` says.
///
/// # Errors
/// [`BadPointer`].
pub fn read_grants(message: &mut Message, address: u64) -> Result<(), BadPointer> {
    if message.grant_count == 0 {
        return Ok(());
    }
    let grants = grants(message);
    copy_from_user(&mut words_mut(message)[grants], grants_address(address))
}

/// Writes a message to the running service's memory at `address`. Beyond its length it has what the
/// service itself sent or got before.
///
/// # Errors
/// [`BadPointer`].
pub fn write(message: &Message, address: u64) -> Result<(), BadPointer> {
    copy_to_user(address, &words(message)[..GRANTS])?;
    if message.grant_count == 0 {
        return Ok(());
    }
    copy_to_user(grants_address(address), &words(message)[grants(message)])
}

/// Writes a message's rights, its lengths and its capabilities, but nothing else of it, to the running
/// service's memory at `address`.
///
/// # Errors
/// [`BadPointer`].
pub fn write_grants(message: &Message, address: u64) -> Result<(), BadPointer> {
    let at = address.wrapping_add((SIZES * WORD) as u64);
    copy_to_user(at, &words(message)[SIZES..=SIZES])?;
    copy_to_user(grants_address(address), &words(message)[grants(message)])
}

/// Address of the grants of the message at `address`.
fn grants_address(address: u64) -> u64 {
    address.wrapping_add((GRANTS * WORD) as u64)
}

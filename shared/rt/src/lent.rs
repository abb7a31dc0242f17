//! Bytes in pages that somebody else may be writing.
//!
//! Rust has no slice for such bytes, so they are copied, word by word where they are aligned. The
//! copy may mix old and new bytes when the other side writes meanwhile; it is never undefined.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

const WORD: usize = size_of::<u64>();

/// The bytes of a range of memory, as ones that may change at any time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedBytes {
    address: u64,
    length: usize,
}

impl SharedBytes {
    /// # Safety
    /// The range is mapped for as long as the value is used, for writing if [`SharedBytes::write`]
    /// is, and no Rust reference covers any of it.
    pub(crate) unsafe fn new(address: u64, length: u64) -> SharedBytes {
        SharedBytes { address, length: length as usize }
    }

    pub(crate) fn length(self) -> usize {
        self.length
    }

    fn byte(self, offset: usize) -> &'static AtomicU8 {
        debug_assert!(offset < self.length);
        // SAFETY: inside the range, which `new` promises; used only within calls on `self`.
        unsafe { &*((self.address as usize + offset) as *const AtomicU8) }
    }

    fn word(self, offset: usize) -> &'static AtomicU64 {
        debug_assert!(offset + WORD <= self.length);
        debug_assert!((self.address as usize + offset).is_multiple_of(WORD));
        // SAFETY: inside the range, which `new` promises, and aligned; used only within calls.
        unsafe { &*((self.address as usize + offset) as *const AtomicU64) }
    }

    /// Splits `count` bytes from `offset` on: those before the first whole word, and the end of the
    /// last whole word.
    fn words(self, offset: usize, count: usize) -> (usize, usize) {
        let start = self.address as usize + offset;
        let head = (start.next_multiple_of(WORD) - start).min(count);
        (head, head + (count - head) / WORD * WORD)
    }

    /// Copies from `offset` on into `into`, as many bytes as there are; their number.
    pub(crate) fn read(self, offset: usize, into: &mut [u8]) -> usize {
        let offset = offset.min(self.length);
        let count = (self.length - offset).min(into.len());
        let (head, tail) = self.words(offset, count);
        for (index, byte) in into.iter_mut().enumerate().take(head) {
            *byte = self.byte(offset + index).load(Ordering::Relaxed);
        }
        for (index, part) in into[head..tail].chunks_exact_mut(WORD).enumerate() {
            let word = self.word(offset + head + index * WORD).load(Ordering::Relaxed);
            part.copy_from_slice(&word.to_ne_bytes());
        }
        for (index, byte) in into.iter_mut().enumerate().take(count).skip(tail) {
            *byte = self.byte(offset + index).load(Ordering::Relaxed);
        }
        count
    }

    /// Copies `from` to `offset` on, as many bytes as there is room for; their number.
    pub(crate) fn write(self, offset: usize, from: &[u8]) -> usize {
        let offset = offset.min(self.length);
        let count = (self.length - offset).min(from.len());
        let (head, tail) = self.words(offset, count);
        for (index, byte) in from.iter().enumerate().take(head) {
            self.byte(offset + index).store(*byte, Ordering::Relaxed);
        }
        for (index, part) in from[head..tail].chunks_exact(WORD).enumerate() {
            let mut word = [0; WORD];
            word.copy_from_slice(part);
            let word = u64::from_ne_bytes(word);
            self.word(offset + head + index * WORD).store(word, Ordering::Relaxed);
        }
        for (index, byte) in from.iter().enumerate().take(count).skip(tail) {
            self.byte(offset + index).store(*byte, Ordering::Relaxed);
        }
        count
    }
}

/// Bytes that a client lends for reading, until its call is answered; or part of a [`crate::Mapping`].
#[derive(Clone, Copy, Debug)]
pub struct LentBytes<'a> {
    bytes: SharedBytes,
    call: PhantomData<&'a ()>,
}

impl LentBytes<'_> {
    /// # Safety
    /// As [`SharedBytes::new`].
    pub(crate) unsafe fn new(address: u64, length: u64) -> Self {
        // SAFETY: the caller's promise.
        LentBytes { bytes: unsafe { SharedBytes::new(address, length) }, call: PhantomData }
    }

    /// Address of the first byte, the same in every domain.
    pub fn address(&self) -> u64 {
        self.bytes.address
    }

    /// How many bytes there are.
    pub fn length(&self) -> usize {
        self.bytes.length()
    }

    /// Copies from `offset` on into `into`, as many bytes as there are; their number.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> usize {
        self.bytes.read(offset, into)
    }
}

/// Bytes that a client lends for reading and writing, until its call is answered; or part of a
/// [`crate::Mapping`].
#[derive(Clone, Copy, Debug)]
pub struct LentBytesMut<'a> {
    bytes: SharedBytes,
    call: PhantomData<&'a ()>,
}

impl LentBytesMut<'_> {
    /// # Safety
    /// As [`SharedBytes::new`].
    pub(crate) unsafe fn new(address: u64, length: u64) -> Self {
        // SAFETY: the caller's promise.
        LentBytesMut { bytes: unsafe { SharedBytes::new(address, length) }, call: PhantomData }
    }

    /// Address of the first byte, the same in every domain.
    pub fn address(&self) -> u64 {
        self.bytes.address
    }

    /// How many bytes there are.
    pub fn length(&self) -> usize {
        self.bytes.length()
    }

    /// Copies from `offset` on into `into`, as many bytes as there are; their number.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> usize {
        self.bytes.read(offset, into)
    }

    /// Copies `from` to `offset` on, as many bytes as there is room for; their number.
    pub fn write(&self, offset: usize, from: &[u8]) -> usize {
        self.bytes.write(offset, from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn copies_equal_slices_at_every_alignment() {
        let source: Vec<u8> = (0..100).collect();
        for start in 0..17 {
            for count in 0..60 {
                let mut memory: Vec<AtomicU8> = source.iter().map(|b| AtomicU8::new(*b)).collect();
                let address = memory.as_mut_ptr() as u64;
                // SAFETY: the vector outlives the value, and its bytes are atomics.
                let bytes = unsafe { SharedBytes::new(address, 80) };
                let mut into = [0xEE; 60];
                assert_eq!(bytes.read(start, &mut into[..count]), count.min(80 - start));
                assert_eq!(into[..count], source[start..start + count]);
                assert_eq!(bytes.write(start, &[0xDD; 60][..count]), count);
                for (index, byte) in memory.iter().enumerate() {
                    let written = (start..start + count).contains(&index);
                    let expected = if written { 0xDD } else { source[index] };
                    assert_eq!(byte.load(Ordering::Relaxed), expected);
                }
            }
        }
    }

    #[test]
    fn nothing_lies_beyond_the_end() {
        let mut memory = [const { AtomicU8::new(1) }; 8];
        // SAFETY: as above.
        let bytes = unsafe { SharedBytes::new(memory.as_mut_ptr() as u64, 4) };
        let mut into = [9; 8];
        assert_eq!(bytes.read(2, &mut into), 2);
        assert_eq!(into, [1, 1, 9, 9, 9, 9, 9, 9]);
        assert_eq!(bytes.read(4, &mut into), 0);
        assert_eq!(bytes.read(usize::MAX, &mut into), 0);
        assert_eq!(bytes.write(3, &[7; 8]), 1);
        assert_eq!(memory[4].load(Ordering::Relaxed), 1);
    }
}

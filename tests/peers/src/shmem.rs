//! shmem-ipc 0.3: a ring in a memfd each way, with eventfds.

use crate::PeerError;
use crate::link::{Bytes, CAPACITY, Link, Pair};
use shmem_ipc::sharedring::{Receiver, Sender};
use std::fs::File;

impl From<shmem_ipc::Error> for PeerError {
    fn from(error: shmem_ipc::Error) -> PeerError {
        PeerError(error.to_string())
    }
}

/// As words, which the library takes.
type Words = [u64; 8];

/// A ring each way.
pub struct Rings {
    near: End,
    far: End,
}

/// One process's side.
pub struct End {
    to: Sender<Words>,
    from: Receiver<Words>,
}

/// A ring: the sender makes it, and the receiver opens its files.
fn ring() -> Result<(Sender<Words>, Receiver<Words>), PeerError> {
    let sender = Sender::new(CAPACITY)?;
    let file = |file: &File| file.try_clone();
    let (memory, empty, full) = (
        file(sender.memfd().as_file())?,
        file(sender.empty_signal())?,
        file(sender.full_signal())?,
    );
    Ok((sender, Receiver::open(CAPACITY, memory, empty, full)?))
}

impl Pair for Rings {
    type Near = End;
    type Far = End;

    fn prepare() -> Result<Rings, PeerError> {
        let ((to, there), (back, from)) = (ring()?, ring()?);
        Ok(Rings { near: End { to, from }, far: End { to: back, from: there } })
    }

    fn near(self) -> Result<End, PeerError> {
        Ok(self.near)
    }

    fn far(self) -> Result<End, PeerError> {
        Ok(self.far)
    }
}

impl Link for End {
    fn send(&mut self, message: &Bytes) -> Result<(), PeerError> {
        let mut words: Words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(message.chunks(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        }
        let mut sent = false;
        while !sent {
            self.to.block_until_writable()?;
            self.to.send_raw(|place, count| {
                if count == 0 {
                    return 0;
                }
                // SAFETY: the library says that there is room for `count` messages.
                unsafe { place.write(words) };
                sent = true;
                1
            })?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Bytes, PeerError> {
        let mut words: Option<Words> = None;
        while words.is_none() {
            self.from.block_until_readable()?;
            self.from.receive_raw(|place, count| {
                if count == 0 {
                    return 0;
                }
                // SAFETY: the library says that `count` messages are there.
                words = Some(unsafe { place.read() });
                1
            })?;
        }
        let mut message = [0; 64];
        for (word, bytes) in words.into_iter().flatten().zip(message.chunks_mut(8)) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        Ok(message)
    }
}

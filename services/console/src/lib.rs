//! The service that writes what others print: it serves [`Console`] over one stream of the machine's
//! console.
//!
//! Principles:
//! - **Bytes as they are**: no encoding is assumed, nothing is added, and one call's bytes stay
//!   together.
//! - **Short texts inline, long ones as a loan**, which costs ΦCore no copy.
//!
//! Limits: no input, no colours. Its capabilities are `output` (a console) and `console` (the
//! mailbox that it serves).
#![no_std]

#[cfg(test)]
extern crate std;

pub use phi_tty::{Console, ConsoleClient, ConsoleServer, NotRead, NotWritten, Piece};

use phi_idl::{Capability, Lent};
use phi_rt::{Error, Service};

/// Bytes that are fetched from a loan at a time.
const FETCHED: usize = 1024;

/// Writes to something that takes bytes: the machine's console.
struct Writer<F>(F);

impl<F: FnMut(&[u8]) -> Result<(), Error>> Console for Writer<F> {
    fn write(&mut self, text: &[u8]) -> Result<(), NotWritten> {
        (self.0)(text).map_err(|_| NotWritten)
    }

    fn write_lent(&mut self, text: Lent<'_>) -> Result<(), NotWritten> {
        let mut piece = [0; FETCHED];
        let mut offset = 0;
        loop {
            let count = text.read(offset, &mut piece);
            if count == 0 {
                return Ok(());
            }
            self.write(&piece[..count])?;
            offset += count;
        }
    }

    fn watch(&mut self, _: Capability) -> Result<(), NotRead> {
        Err(NotRead::WriteOnly)
    }

    fn read(&mut self) -> Result<Piece, NotRead> {
        Err(NotRead::WriteOnly)
    }
}

/// The service. Ends, with status 1, only when it lacks a capability or loses its mailbox.
pub fn main(service: &Service) -> u8 {
    let (Ok(output), Ok(mailbox)) = (service.console("output"), service.mailbox("console")) else {
        return 1;
    };
    phi_idl::serve(&mailbox, &mut ConsoleServer(Writer(|text: &[u8]| output.write(text))));
    1
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi_abi::{Grant, Message, Number, Outcome};
    use phi_rt::{Mailbox, Rights, fake};
    use std::vec::Vec;

    /// What the service writes for these calls.
    fn written(calls: Vec<Message>) -> Vec<u8> {
        let mut calls = calls.into_iter();
        let answer = move |number, _, message: &mut Message| match number {
            Number::Receive | Number::ReplyReceive => match calls.next() {
                Some(call) => {
                    *message = call;
                    Outcome::success(0)
                }
                None => Outcome::failure(Error::Revoked),
            },
            _ => Outcome::success(1),
        };
        fake::with(answer, || {
            let mut written = Vec::new();
            let mailbox = Mailbox::create(1).expect("a mailbox");
            let writer = Writer(|text: &[u8]| {
                written.extend_from_slice(text);
                Ok(())
            });
            assert_eq!(phi_idl::serve(&mailbox, &mut ConsoleServer(writer)), Error::Revoked);
            written
        })
    }

    fn call(label: u64, bytes: &[u8]) -> Message {
        let reply = phi_abi::Handle(9);
        Message { reply, ..Message::new(label, bytes).expect("a short text") }
    }

    #[test]
    fn writes_inline_text() {
        assert_eq!(written(vec_of([call(0, b"\x03a\xFFb"), call(0, b"\x01\n")])), b"a\xFFb\n");
    }

    #[test]
    fn writes_lent_text_of_any_length() {
        for length in [1, FETCHED - 1, FETCHED, FETCHED + 1, 3 * FETCHED] {
            let text: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let mut message = call(1, b"");
            let address = text.as_ptr() as u64;
            let handle = phi_abi::Handle(8);
            message.push(Grant::loan(handle, Rights::READ, address, length as u64));
            assert_eq!(written(vec_of([message])), text);
        }
    }

    #[test]
    fn writes_nothing_that_it_does_not_understand() {
        let lies =
            [call(0, b"\x05a"), call(0, b""), call(1, b""), call(4, b"\x01a"), call(0, b"\0x")];
        assert_eq!(written(vec_of(lies)), b"");
    }

    fn vec_of<const N: usize>(calls: [Message; N]) -> Vec<Message> {
        calls.into()
    }
}

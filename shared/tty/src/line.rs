//! A driver's side of a line.

use crate::{CAME, Console, ConsoleServer, NotRead, NotWritten, PIECE, Piece};
use phi_idl::{Capability, Lent};
use phi_rt::{Mailbox, Signal};

/// Bytes that are fetched from a loan at a time.
const FETCHED: usize = 1024;

/// A line that sends and receives bytes.
pub trait Line {
    /// Something has happened: takes what came. Whether bytes wait.
    fn attend(&mut self) -> bool;

    /// Sends all of `bytes`, waiting for the line if need be.
    ///
    /// # Errors
    /// The line takes no more.
    fn send(&mut self, bytes: &[u8]) -> Result<(), NotWritten>;

    /// Takes the next bytes that came: how many there are, and how many were lost before.
    ///
    /// # Errors
    /// The line has failed.
    fn receive(&mut self, bytes: &mut [u8; PIECE]) -> Result<(usize, u32), NotRead>;
}

/// Serves the interface at `mailbox`, to which a signal is bound that is set when `line` is to be attended to.
/// Returns only when the mailbox cannot be received from any more, with the exit status.
pub fn serve(line: impl Line, mailbox: &Mailbox) -> u8 {
    let mut server = ConsoleServer(Served { line, reader: None });
    while phi_idl::serve_until_signal(mailbox, &mut server).is_ok() {
        server.0.attend();
    }
    1
}

struct Served<L> {
    line: L,
    reader: Option<Signal>,
}

impl<L: Line> Served<L> {
    fn attend(&mut self) {
        let waits = self.line.attend();
        if let Some(reader) = self.reader.as_ref().filter(|_| waits) {
            // Who has taken its signal back is told nothing.
            let _ = reader.notify(CAME);
        }
    }
}

impl<L: Line> Console for Served<L> {
    fn write(&mut self, text: &[u8]) -> Result<(), NotWritten> {
        self.line.send(text)
    }

    fn write_lent(&mut self, text: Lent<'_>) -> Result<(), NotWritten> {
        let mut piece = [0; FETCHED];
        let mut offset = 0;
        loop {
            let count = text.read(offset, &mut piece);
            if count == 0 {
                return Ok(());
            }
            self.line.send(&piece[..count])?;
            offset += count;
        }
    }

    fn watch(&mut self, signal: Capability) -> Result<(), NotRead> {
        let signal = Signal::try_from(signal).map_err(|_| NotRead::Signal)?;
        // What came before is to be seen, too.
        signal.notify(CAME).map_err(|_| NotRead::Signal)?;
        self.reader = Some(signal);
        Ok(())
    }

    fn read(&mut self) -> Result<Piece, NotRead> {
        let mut bytes = [0; PIECE];
        let (count, lost) = self.line.receive(&mut bytes)?;
        Ok(Piece::new(&bytes[..count], lost))
    }
}

//! What a machine writes, followed to its end, and the signals that end it before.

use super::log::LogReader;
use crate::failure::{Failure, Kind};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::process::{ChildStderr, ChildStdout};

/// Bytes taken at a time: what a pipe holds.
const PIECE: usize = 64 << 10;

/// Bytes of QEMU's own words that are kept.
const ERRORS_SIZE: usize = 64 << 10;

/// SIGINT and SIGTERM, which are events instead of ending this process while this exists.
pub struct Signals {
    descriptor: SignalFd,
    mask_before: SigSet,
}

impl Signals {
    /// Takes the signals over.
    ///
    /// # Errors
    /// What Linux says.
    pub fn block() -> nix::Result<Signals> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGINT);
        mask.add(Signal::SIGTERM);
        let mask_before = mask.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&mask, flags)
            .map(|descriptor| Signals { descriptor, mask_before })
            .inspect_err(|_| _ = mask_before.thread_set_mask())
    }

    /// The signal that came.
    fn take(&self) -> nix::Result<Option<Signal>> {
        let information = self.descriptor.read_signal()?;
        Ok(information.and_then(|signal| Signal::try_from(signal.ssi_signo as i32).ok()))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Signals that were blocked before stay so.
        let _ = self.mask_before.thread_set_mask();
    }
}

/// What a machine has said besides the transcript.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// The kernel's last record.
    pub record: Option<Vec<u8>>,
    /// The last of the log's text.
    pub log_end: String,
    /// QEMU's own words.
    pub errors: String,
}

/// Why there is no more to follow.
pub enum End {
    /// The machine has closed its outputs.
    Closed(Said),
    /// This process got a signal that ends it.
    Signal(Signal),
}

/// The outputs of a machine.
pub struct Outputs {
    /// COM1.
    pub transcript: ChildStdout,
    /// COM2.
    pub log: PipeReader,
    /// QEMU's standard error.
    pub errors: ChildStderr,
}

impl Outputs {
    /// Writes the transcript and the log on as they come, until the machine closes them or a signal
    /// comes.
    ///
    /// # Errors
    /// They cannot be read, or not be written.
    pub fn follow(
        mut self,
        signals: &Signals,
        transcript: &mut dyn Write,
        log: &mut dyn Write,
    ) -> Result<End, Failure> {
        let (mut reader, mut errors) = (LogReader::default(), Vec::new());
        let mut piece = vec![0; PIECE];
        let mut open = [true; 3];
        while open != [false; 3] {
            let ready = self.wait(signals, open).map_err(|error| unreadable(error.into()))?;
            if ready[3]
                && let Some(signal) = signals.take().map_err(|error| unreadable(error.into()))?
            {
                return Ok(End::Signal(signal));
            }
            if ready[0] {
                let count = self.transcript.read(&mut piece).map_err(unreadable)?;
                open[0] = count > 0;
                let written =
                    transcript.write_all(&piece[..count]).and_then(|()| transcript.flush());
                written.map_err(|error| Failure::output(&error))?;
            }
            if ready[1] {
                let count = self.log.read(&mut piece).map_err(unreadable)?;
                open[1] = count > 0;
                reader.take(&piece[..count], log).map_err(|error| Failure::output(&error))?;
            }
            if ready[2] {
                let count = self.errors.read(&mut piece).map_err(unreadable)?;
                open[2] = count > 0;
                let room = ERRORS_SIZE - errors.len();
                errors.extend_from_slice(&piece[..count.min(room)]);
            }
        }
        let (record, log_end) = reader.finish(log).map_err(|error| Failure::output(&error))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(End::Closed(Said { record, log_end: text(log_end), errors: text(errors) }))
    }

    /// Waits; gives whether transcript, log, errors and signals have something, their ends included.
    /// Only those that are `open` are looked at.
    fn wait(&self, signals: &Signals, open: [bool; 3]) -> nix::Result<[bool; 4]> {
        let all = [
            self.transcript.as_fd(),
            self.log.as_fd(),
            self.errors.as_fd(),
            signals.descriptor.as_fd(),
        ];
        let indices: Vec<usize> = (0..4).filter(|index| open.get(*index) != Some(&false)).collect();
        let mut waiting: Vec<PollFd<'_>> =
            indices.iter().map(|index| PollFd::new(all[*index], PollFlags::POLLIN)).collect();
        loop {
            match poll(&mut waiting, PollTimeout::NONE) {
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        let mut ready = [false; 4];
        for (index, waited) in indices.into_iter().zip(&waiting) {
            ready[index] = waited.any().unwrap_or(true);
        }
        Ok(ready)
    }
}

fn unreadable(error: io::Error) -> Failure {
    Failure::new(Kind::Computer, format!("what the machine writes cannot be read: {error}"))
        .help("try again with fewer programs and files open")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::process::{Command, Stdio};

    /// Follows a shell that runs `script`, with the log at its standard input's place.
    fn follow(script: &str, transcript: &mut dyn Write) -> (Result<End, Failure>, Vec<u8>) {
        let (log_reader, log_writer) = io::pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(OwnedFd::from(log_writer));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(command);
        let outputs = Outputs {
            transcript: child.stdout.take().unwrap(),
            log: log_reader,
            errors: child.stderr.take().unwrap(),
        };
        let mut log = Vec::new();
        let end = outputs.follow(&Signals::block().unwrap(), transcript, &mut log);
        child.wait().unwrap();
        (end, log)
    }

    #[test]
    fn everything_arrives_in_its_place() {
        let script = "echo said; printf 'log\\n\\036{}\\n' >&0; echo oops >&2; \
                      head -c 1000000 /dev/zero; exec 1>&-; sleep 0.1; echo late >&0";
        let mut transcript = Vec::new();
        let (end, log) = follow(script, &mut transcript);
        assert_eq!(transcript.len(), 1_000_005);
        assert_eq!(log, b"log\nlate\n");
        let Ok(End::Closed(said)) = end else { panic!("it was followed to its end") };
        assert_eq!(said.record.unwrap(), b"{}\n");
        assert_eq!((said.log_end.as_str(), said.errors.as_str()), ("log\nlate\n", "oops\n"));
    }

    #[test]
    fn output_that_nobody_takes_is_a_failure() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (end, _) = follow("echo text; exit 0", &mut Full);
        assert_eq!(end.err().map(|failure| failure.kind), Some(Kind::Computer));
    }
}

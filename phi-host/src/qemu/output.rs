//! What a machine writes, followed to its end, and the signals that end it before.

use super::firmware::Preamble;
use super::log::{LogReader, News};
use super::monitor::Monitor;
use crate::dump::Dump;
use crate::failure::{Failure, Kind};
use crate::symbols::{SymbolizedLog, Symbols};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::process::{ChildStderr, ChildStdout};
use std::time::{Duration, Instant};

/// Bytes taken at a time: what a pipe holds.
const PIECE: usize = 64 << 10;

/// Bytes of QEMU's own words that are kept.
const ERRORS_SIZE: usize = 64 << 10;

/// Where it goes what a machine says.
pub struct Sinks<'a> {
    /// Takes the transcript.
    pub transcript: &'a mut dyn Write,
    /// Takes the log.
    pub log: &'a mut dyn Write,
    /// Takes each dump as it comes; gives what is to be said about it on the log.
    pub take_dump: &'a mut dyn FnMut(&Dump) -> Result<String, Failure>,
}

/// Time that firmware has to start the loader: many times what it takes.
const FIRMWARE_TIME: Duration = Duration::from_secs(180);

/// SIGINT, SIGTERM and SIGUSR1, which are events instead of ending this process while this exists.
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
        mask.add(Signal::SIGUSR1);
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
    /// Of a machine with UEFI firmware.
    pub firmware: Option<Firmware>,
}

/// What firmware writes to transcript and log before ΦOS does.
pub struct Firmware {
    transcript: Preamble,
    log: Preamble,
    /// When it must have started the loader.
    end: Option<Instant>,
}

impl Firmware {
    /// Firmware that starts now; somebody who is `patient` lets it take any time.
    pub fn new(patient: bool) -> Firmware {
        let end = (!patient).then(|| Instant::now() + FIRMWARE_TIME);
        Firmware { transcript: Preamble::default(), log: Preamble::default(), end }
    }

    /// Time that is left until the loader must have begun.
    fn left(&self) -> Option<Duration> {
        let end = self.end.filter(|_| !self.log.is_over())?;
        Some(end.saturating_duration_since(Instant::now()))
    }

    /// Says so if the firmware has not started the loader, and will not.
    fn check(&self, closed: bool) -> Result<(), Failure> {
        let late = self.left().is_some_and(|left| left.is_zero());
        let without = closed && !self.log.is_over();
        if !late && !without && !self.log.found_nothing() {
            return Ok(());
        }
        Err(Failure::new(Kind::Input, "the firmware has not started a loader from the disk")
            .help("write the disk again: phi-host image SYSTEM --disk DISK")
            .details(self.log.words()))
    }
}

impl Outputs {
    /// Writes the transcript and the log on as they come, until the machine closes them or a signal
    /// comes that ends it.
    ///
    /// # Errors
    /// They cannot be read, or not be written; firmware does not start the loader.
    pub fn follow(
        mut self,
        signals: &Signals,
        mut monitor: Monitor,
        symbols: &Symbols,
        sinks: Sinks<'_>,
    ) -> Result<End, Failure> {
        let (mut reader, mut errors) = (LogReader::default(), Vec::new());
        let Sinks { transcript, log, take_dump } = sinks;
        let mut log = SymbolizedLog::new(log, symbols);
        let mut piece = vec![0; PIECE];
        let mut open = [true; 3];
        while open != [false; 3] {
            let ready = self.wait(signals, open).map_err(|error| unreadable(error.into()))?;
            if ready[3]
                && let Some(signal) = signals.take().map_err(|error| unreadable(error.into()))?
            {
                if signal != Signal::SIGUSR1 {
                    return Ok(End::Signal(signal));
                }
                // A machine that has just ended has nothing to tell any more.
                let _ = monitor.interrupt();
            }
            if ready[0] {
                let count = self.transcript.read(&mut piece).map_err(unreadable)?;
                open[0] = count > 0;
                let firmware = self.firmware.as_mut();
                let bytes = match firmware {
                    Some(firmware) => firmware.transcript.take(&piece[..count]),
                    None => &piece[..count],
                };
                let written = transcript.write_all(bytes).and_then(|()| transcript.flush());
                written.map_err(|error| Failure::output(&error))?;
            }
            if ready[1] {
                let count = self.log.read(&mut piece).map_err(unreadable)?;
                open[1] = count > 0;
                let bytes = match self.firmware.as_mut() {
                    Some(firmware) => firmware.log.take(&piece[..count]),
                    None => &piece[..count],
                };
                reader.take(bytes, &mut log).map_err(|error| Failure::output(&error))?;
                for news in reader.news() {
                    match news {
                        News::Stack(stack) => {
                            log.stack(&stack).map_err(|error| Failure::output(&error))?;
                        }
                        News::Dump(dump) => {
                            let said = take_dump(&dump)?;
                            let written = log.write_all(said.as_bytes());
                            written.map_err(|error| Failure::output(&error))?;
                        }
                    }
                }
            }
            if let Some(firmware) = &self.firmware {
                firmware.check(!open[1])?;
            }
            if ready[2] {
                let count = self.errors.read(&mut piece).map_err(unreadable)?;
                open[2] = count > 0;
                let room = ERRORS_SIZE - errors.len();
                errors.extend_from_slice(&piece[..count.min(room)]);
            }
        }
        let (record, log_end) = reader.finish(&mut log).map_err(|error| Failure::output(&error))?;
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
        let left = self.firmware.as_ref().and_then(Firmware::left);
        // A millisecond more, so that the time is over when the wait is.
        let left = left.map(|left| left + Duration::from_millis(1));
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        loop {
            match poll(&mut waiting, timeout) {
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
    fn follow(
        script: &str,
        firmware: bool,
        transcript: &mut dyn Write,
    ) -> (Result<End, Failure>, Vec<u8>) {
        let (log_reader, log_writer) = io::pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(OwnedFd::from(log_writer));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(command);
        let outputs = Outputs {
            transcript: child.stdout.take().unwrap(),
            log: log_reader,
            errors: child.stderr.take().unwrap(),
            firmware: firmware.then(|| Firmware::new(false)),
        };
        let mut log = Vec::new();
        let symbols = Symbols::default();
        let take_dump = &mut |_: &Dump| Ok(String::new());
        let sinks = Sinks { transcript, log: &mut log, take_dump };
        let (monitor, _end) = Monitor::new().unwrap();
        let end = outputs.follow(&Signals::block().unwrap(), monitor, &symbols, sinks);
        // It may wait for ever.
        let _ = child.kill();
        child.wait().unwrap();
        (end, log)
    }

    #[test]
    fn everything_arrives_in_its_place() {
        let script = "echo said; printf 'log\\n\\036{}\\n' >&0; echo oops >&2; \
                      head -c 1000000 /dev/zero; exec 1>&-; sleep 0.1; echo late >&0";
        let mut transcript = Vec::new();
        let (end, log) = follow(script, false, &mut transcript);
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
        let (end, _) = follow("echo text; exit 0", false, &mut Full);
        assert_eq!(end.err().map(|failure| failure.kind), Some(Kind::Computer));
    }

    #[test]
    fn what_firmware_says_is_not_the_systems() {
        let script = "printf 'logo\\n\\036phi-loader\\nsaid\\n'; \
                      printf 'logo\\n\\036phi-loader\\nlog\\n' >&0; exec 1>&-";
        let mut transcript = Vec::new();
        let (end, log) = follow(script, true, &mut transcript);
        assert!(matches!(end, Ok(End::Closed(_))));
        assert_eq!((&*transcript, &*log), (&b"said\n"[..], &b"log\n"[..]));
    }

    #[test]
    fn firmware_that_starts_nothing_is_no_wait() {
        for script in ["printf 'UEFI Interactive Shell' >&0; exec sleep 60", "echo logo >&0"] {
            let (end, log) = follow(script, true, &mut Vec::new());
            let failure = end.err().expect("it fails");
            assert_eq!((failure.kind, log.len()), (Kind::Input, 0));
            assert!(!failure.details.is_empty());
        }
    }
}

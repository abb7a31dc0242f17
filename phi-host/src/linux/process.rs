//! A service's process, as the supervisor sees it.

use super::launch::Launcher;
use super::maps::{Book, Share, View};
use super::memory::Access;
use super::protocol::{self, Command, Source};
use super::watch::{Expected, Watch};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Time that a process has for what the supervisor tells it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Time that it has to begin and to load its image: nothing hostile is in it yet, and many may
/// begin at the same time.
const LOADING: Duration = Duration::from_secs(10);

/// Milliseconds that a process which Linux is ending has to be gone: its socket closes before that.
const ENDING: u8 = 20;

/// Why a command was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// Linux refused it: the agent's answer.
    Refused(Errno),
    /// The process has memory or a descriptor that it must not have, whatever the agent says: it
    /// must be ended.
    Kept,
    /// The agent is gone, says nothing for a second, or talks nonsense: nothing that it should have
    /// done can be relied on, and its process must be ended.
    Lost,
}

impl From<CommandError> for io::Error {
    fn from(error: CommandError) -> io::Error {
        match error {
            CommandError::Refused(number) => number.into(),
            CommandError::Kept => io::ErrorKind::PermissionDenied.into(),
            CommandError::Lost => io::ErrorKind::BrokenPipe.into(),
        }
    }
}

/// A service's process. Dropped, it is killed, and everything of it is gone.
pub struct ServiceProcess {
    id: Pid,
    descriptor: OwnedFd,
    socket: OwnedFd,
    view: View,
    /// What it may have mapped of regions.
    book: Book,
    /// What its mappings wait for, once its image is loaded.
    watch: Option<Watch>,
    stopped: bool,
}

impl ServiceProcess {
    /// Starts the process of service number `service`: with a socket to this process and nothing
    /// else.
    ///
    /// # Errors
    /// What Linux says.
    pub fn start(launcher: &Launcher, service: u16) -> io::Result<ServiceProcess> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (socket, far) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let open_gate = || Ok(send(socket.as_raw_fd(), &[0], MsgFlags::MSG_NOSIGNAL).map(drop)?);
        let (id, descriptor) = launcher.launch(&far, service, open_gate)?;
        let view = View::new(id).inspect_err(|_| {
            let _ = kill(id, Signal::SIGKILL);
            let _ = waitid(Id::PIDFd(descriptor.as_fd()), WaitPidFlag::WEXITED);
        })?;
        let (book, watch, stopped) = (Book::default(), None, false);
        Ok(ServiceProcess { view, id, descriptor, socket, book, watch, stopped })
    }

    /// Says that the process keeps `count` descriptors more than every service's.
    pub fn expect_more_descriptors(&mut self, count: u64) {
        self.view.expect_more_descriptors(count);
    }

    /// Its process id.
    pub fn id(&self) -> Pid {
        self.id
    }

    /// Becomes readable when the process ends.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Has the agent do `commands`, and waits until they are done.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn command(
        &self,
        commands: &[Command],
        descriptors: &[BorrowedFd],
    ) -> Result<(), CommandError> {
        self.command_mapping(commands, descriptors, None)
    }

    /// As [`ServiceProcess::command`], in the course of which the process may map what is `expected`.
    fn command_mapping(
        &self,
        commands: &[Command],
        descriptors: &[BorrowedFd],
        expected: Option<Expected>,
    ) -> Result<(), CommandError> {
        // A process without budget runs for as long as it takes to comply. It is this process's
        // child and not waited for yet, so the id is its own.
        if self.stopped {
            let _ = kill(self.id, Signal::SIGCONT);
        }
        let result = self.exchange(commands, descriptors, expected);
        if self.stopped {
            let _ = kill(self.id, Signal::SIGSTOP);
        }
        result?.map_err(CommandError::Refused)
    }

    /// Has the agent do its first `commands`, which load the image.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn load(
        &mut self,
        commands: &[Command],
        descriptors: &[BorrowedFd],
    ) -> Result<(), CommandError> {
        let lost = |_| CommandError::Lost;
        protocol::send_commands(self.socket.as_fd(), commands, descriptors).map_err(lost)?;
        let end = Instant::now() + LOADING;
        loop {
            self.wait(end, None)?;
            let (bytes, watch) = protocol::receive_first(self.socket.as_fd()).map_err(lost)?;
            match watch {
                Some(watch) => self.watch = Some(Watch::new(watch)),
                None => {
                    let answer = protocol::answer(&bytes).ok_or(CommandError::Lost)?;
                    return answer.map_err(CommandError::Refused);
                }
            }
        }
    }

    /// Maps `length` bytes of `file` from `offset` on at `address`, shared, for `access`.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn map(
        &mut self,
        address: u64,
        length: u64,
        access: Access,
        file: BorrowedFd,
        offset: u64,
    ) -> Result<(), CommandError> {
        let share = Share::new(file, offset, address, access).map_err(CommandError::Refused)?;
        if self.book.holds(address..address + length, share) {
            // A second one that looks the same could still be on its way when the first one is seen.
            return self.check();
        }
        let expected = Some(Expected { address, length, access, offset });
        let source = Source::Shared(offset);
        let map = Command::Map { address, length, access, source };
        let result = self.command_mapping(&[map], &[file], expected);
        if result.is_ok() {
            self.book.set(address..address + length, Some(share));
        }
        self.check()?;
        result?;
        // It is there, so the call that was let through has been made, and makes nothing any more.
        match self.view.has(address..address + length, share) {
            true => Ok(()),
            false => Err(CommandError::Kept),
        }
    }

    /// Takes `length` bytes at `address` out of the process.
    ///
    /// # Errors
    /// [`CommandError`]; whichever it is, the process must be ended, since it may have kept them.
    pub fn unmap(&mut self, address: u64, length: u64) -> Result<(), CommandError> {
        let result = self.command(&[Command::Unmap { address, length }], &[]);
        self.book.set(address..address + length, None);
        self.check().and(result)
    }

    /// Sees for itself that the process has no more than it may.
    fn check(&self) -> Result<(), CommandError> {
        match self.view.complies(&self.book, self.socket.as_fd()) {
            true => Ok(()),
            false => Err(CommandError::Kept),
        }
    }

    /// How the process has ended, if Linux ended it. One that is just ending has a moment for that.
    pub fn end(&self) -> Option<Signal> {
        let mut ended = [PollFd::new(self.descriptor(), PollFlags::POLLIN)];
        // Otherwise it is asked all the same.
        let _ = poll(&mut ended, ENDING);
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::PIDFd(self.descriptor.as_fd()), flags) {
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(signal),
            _ => None,
        }
    }

    /// Sends `commands`, and returns the agent's answer, which must come in time. Meanwhile the process maps
    /// what is `expected`, and nothing else.
    fn exchange(
        &self,
        commands: &[Command],
        descriptors: &[BorrowedFd],
        mut expected: Option<Expected>,
    ) -> Result<Result<(), Errno>, CommandError> {
        let lost = |_| CommandError::Lost;
        protocol::send_commands(self.socket.as_fd(), commands, descriptors).map_err(lost)?;
        let end = Instant::now() + PATIENCE;
        while let Some(watch) = self.wait(end, self.watch.as_ref())? {
            if !watch.look(&mut expected) {
                return Err(CommandError::Kept);
            }
        }
        let mut bytes = [0; 8];
        let length = recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT);
        let length = length.map_err(|_| CommandError::Lost)?;
        protocol::answer(&bytes[..length]).ok_or(CommandError::Lost)
    }

    /// Waits until an answer has come, or a call that is watched, if it is to be looked at.
    fn wait<'w>(
        &self,
        end: Instant,
        watch: Option<&'w Watch>,
    ) -> Result<Option<&'w Watch>, CommandError> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let socket = PollFd::new(self.socket.as_fd(), PollFlags::POLLIN);
            let watched = watch.map(|watch| PollFd::new(watch.descriptor(), PollFlags::POLLIN));
            let mut waiting: Vec<PollFd> = [Some(socket), watched].into_iter().flatten().collect();
            match poll(&mut waiting, timeout) {
                Ok(1..) => {}
                Err(Errno::EINTR) => continue,
                _ => return Err(CommandError::Lost),
            }
            let calls = waiting.get(1).and_then(PollFd::revents);
            let waits = calls.is_some_and(|events| events.contains(PollFlags::POLLIN));
            return Ok(watch.filter(|_| waits));
        }
    }

    /// Kills the process, without waiting for its end.
    pub fn kill(&self) {
        let _ = kill(self.id, Signal::SIGKILL);
    }

    /// Stops the process, or lets it go on.
    pub fn stop(&mut self, stopped: bool) {
        if self.stopped != stopped {
            self.stopped = stopped;
            // It is this process's child and not waited for yet, so the id is its own.
            let _ = kill(self.id, if stopped { Signal::SIGSTOP } else { Signal::SIGCONT });
        }
    }
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        self.kill();
        // Its memory is gone before it can be waited for.
        while waitid(Id::PIDFd(self.descriptor.as_fd()), WaitPidFlag::WEXITED) == Err(Errno::EINTR)
        {
        }
    }
}

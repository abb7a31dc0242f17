//! A service's process, as the supervisor sees it.

use super::agent::{SERVICE_WORD, SOCKET};
use super::protocol::{self, Command};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socketpair};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getpid};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Time that a process has for what the supervisor tells it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a command was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// Linux refused it: the agent's answer.
    Refused(Errno),
    /// The agent is gone, says nothing for a second, or talks nonsense: nothing that it should have
    /// done can be relied on, and its process must be ended.
    Lost,
}

impl From<CommandError> for io::Error {
    fn from(error: CommandError) -> io::Error {
        match error {
            CommandError::Refused(number) => number.into(),
            CommandError::Lost => io::ErrorKind::BrokenPipe.into(),
        }
    }
}

/// A service's process. Dropped, it is killed, and everything of it is gone.
pub struct ServiceProcess {
    id: Pid,
    descriptor: OwnedFd,
    socket: OwnedFd,
    stopped: bool,
}

impl ServiceProcess {
    /// Starts `program` as a service's process: with a socket to this process and nothing else.
    ///
    /// # Errors
    /// What Linux says.
    pub fn start(program: &Path) -> io::Result<ServiceProcess> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (socket, far) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let mut actions = PosixSpawnFileActions::init()?;
        // First: without standard streams of its own, the supervisor has the socket in their place.
        actions.add_dup2(far.as_raw_fd(), SOCKET)?;
        for standard in 0..3 {
            actions.add_open(standard, "/dev/null", OFlag::O_RDWR, Mode::empty())?;
        }
        let attributes = PosixSpawnAttr::init()?;
        let path = CString::new(program.as_os_str().as_bytes())?;
        let arguments = [
            c"phi-service".to_owned(),
            CString::new(SERVICE_WORD)?,
            CString::new(getpid().to_string())?,
        ];
        let environment: [CString; 0] = [];
        let id = posix_spawn(path.as_c_str(), &actions, &attributes, &arguments, &environment)?;
        let descriptor = match process_descriptor(id) {
            Ok(descriptor) => descriptor,
            Err(error) => {
                let _ = kill(id, Signal::SIGKILL);
                let _ = waitid(Id::Pid(id), WaitPidFlag::WEXITED);
                return Err(error);
            }
        };
        Ok(ServiceProcess { id, descriptor, socket, stopped: false })
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
        // A process without budget runs for as long as it takes to comply. It is this process's
        // child and not waited for yet, so the id is its own.
        if self.stopped {
            let _ = kill(self.id, Signal::SIGCONT);
        }
        let result = self.exchange(commands, descriptors);
        if self.stopped {
            let _ = kill(self.id, Signal::SIGSTOP);
        }
        match result {
            Ok(answer) => answer.map_err(CommandError::Refused),
            Err(_) => Err(CommandError::Lost),
        }
    }

    fn exchange(
        &self,
        commands: &[Command],
        descriptors: &[BorrowedFd],
    ) -> io::Result<Result<(), Errno>> {
        protocol::send_commands(self.socket.as_fd(), commands, descriptors)?;
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waiting, timeout) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut bytes = [0; 8];
        let length = recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT)?;
        protocol::answer(&bytes[..length]).ok_or(io::ErrorKind::InvalidData.into())
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

fn process_descriptor(id: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, id.as_raw(), 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
}

//! What the supervisor tells the agent of a service's process, and the agent's answer.
//!
//! One datagram holds commands that belong together, with the descriptors that they name in their
//! order; one answer says that all of them are done, or which error the first that failed had.

use super::device::Assignment;
use super::direct::Opened;
use super::memory::Access;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, send, sendmsg};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Bytes of a datagram, at most.
const DATAGRAM: usize = 64 << 10;

/// Descriptors of a datagram, at most.
const DESCRIPTORS: usize = 8;

/// What mapped memory begins with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Source {
    /// Zeros, the service's own.
    Zero,
    /// These bytes, and zeros after them.
    Bytes(Vec<u8>),
    /// A copy of the bundle from this offset on, the service's own.
    Bundle(u64),
    /// The next descriptor's memory from this offset on, shared with all who map it.
    Shared(u64),
}

/// One command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// The first: takes control area, doorbell, bundle and notices, the next four descriptors.
    Begin {
        /// Index of the domain that the process is for.
        domain: u16,
        /// Threads that the control area is for.
        threads: u64,
        /// First address below the first stack whose use means that the stack is too small.
        guard: u64,
        /// The first stack's lowest address.
        stack: u64,
    },
    /// The process is for a driver: takes its device's file, the descriptor after those four.
    Drive(Assignment),
    /// Maps memory at its address.
    Map {
        /// Its first address.
        address: u64,
        /// Its bytes.
        length: u64,
        /// What may be done with it.
        access: Access,
        /// What it begins with.
        source: Source,
    },
    /// Takes memory out of the process.
    Unmap {
        /// Its first address.
        address: u64,
        /// Its bytes.
        length: u64,
    },
    /// Hands a channel, whose memory is mapped, to a thread.
    ChannelOpen {
        /// The thread's slot in the control area.
        slot: u64,
        /// The channel, and the thread's side of it.
        channel: Opened,
    },
    /// Starts a thread, which waits for its dispatch.
    ThreadStart {
        /// Its slot in the control area.
        slot: u64,
        /// Its first instruction.
        entry: u64,
        /// Its stack pointer.
        stack: u64,
        /// Its argument.
        argument: u64,
    },
}

/// Sends commands with their descriptors.
///
/// # Errors
/// What Linux says; too long a list is `InvalidInput`.
pub fn send_commands(
    socket: BorrowedFd,
    commands: &[Command],
    descriptors: &[BorrowedFd],
) -> io::Result<()> {
    let bytes = postcard::to_allocvec(commands).map_err(|_| io::ErrorKind::InvalidInput)?;
    if bytes.len() > DATAGRAM || descriptors.len() > DESCRIPTORS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let attached: &[ControlMessage] = if raw.is_empty() { &[] } else { &rights };
    let parts = [IoSlice::new(&bytes)];
    // A process that reads nothing must not make the supervisor wait.
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(socket.as_raw_fd(), &parts, attached, flags, None)?;
    Ok(())
}

/// Receives commands; `None` when the supervisor is gone.
///
/// # Errors
/// What Linux says; `InvalidData` for what is no list of commands.
pub fn receive_commands(socket: BorrowedFd) -> io::Result<Option<(Vec<Command>, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; DATAGRAM];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut attached = cmsg_space!([RawFd; DESCRIPTORS]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut attached), flags) {
            Err(Errno::EINTR) => {}
            result => break result?,
        }
    };
    let mut descriptors = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = message {
            // SAFETY: the kernel has just made these descriptors for this process, and nobody else
            // knows of them.
            descriptors.extend(raw.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }));
        }
    }
    let length = received.bytes;
    if length == 0 {
        return Ok(None);
    }
    let commands =
        postcard::from_bytes(&bytes[..length]).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Some((commands, descriptors)))
}

/// Agent: hands `descriptor` over, before the answer to the first commands.
///
/// # Errors
/// What Linux says.
pub fn send_descriptor(socket: BorrowedFd, descriptor: BorrowedFd) -> io::Result<()> {
    let raw = [descriptor.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&raw)];
    let parts = [IoSlice::new(&[0])];
    sendmsg::<()>(socket.as_raw_fd(), &parts, &rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Supervisor: takes what has come, an answer's bytes or a descriptor.
///
/// # Errors
/// What Linux says.
pub fn receive_first(socket: BorrowedFd) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut bytes = vec![0; 8];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut attached = cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut attached), flags)?;
    let mut descriptor = None;
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = message {
            // SAFETY: the kernel has just made these descriptors for this process, and nobody else
            // knows of them.
            descriptor =
                raw.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }).next_back();
        }
    }
    let length = received.bytes;
    bytes.truncate(length);
    Ok((bytes, descriptor))
}

/// Answers commands.
///
/// # Errors
/// What Linux says.
pub fn send_answer(socket: BorrowedFd, result: Result<(), Errno>) -> io::Result<()> {
    let number = result.err().map_or(0, |error| error as i32);
    send(socket.as_raw_fd(), &number.to_le_bytes(), MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}

/// The answer that these bytes are; `None` when they are none.
pub fn answer(bytes: &[u8]) -> Option<Result<(), Errno>> {
    match i32::from_le_bytes(bytes.try_into().ok()?) {
        0 => Some(Ok(())),
        number => Some(Err(Errno::from_raw(number))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::os::fd::AsFd;

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SockFlag::SOCK_CLOEXEC;
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap()
    }

    #[test]
    fn commands_arrive_with_their_descriptors() {
        let (near, far) = pair();
        let sent = [
            Command::Unmap { address: 1, length: 2 },
            Command::Map {
                address: 3,
                length: 4,
                access: Access::Execute,
                source: Source::Bytes(vec![5; 16 << 10]),
            },
        ];
        send_commands(near.as_fd(), &sent, &[far.as_fd(), near.as_fd()]).unwrap();
        let (received, descriptors) = receive_commands(far.as_fd()).unwrap().unwrap();
        assert_eq!(received, sent);
        assert_eq!(descriptors.len(), 2);
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let (near, far) = pair();
        send(near.as_raw_fd(), &[0xff; 40], MsgFlags::empty()).unwrap();
        assert!(receive_commands(far.as_fd()).is_err());
        assert_eq!(answer(&[0; 4]), Some(Ok(())));
        assert_eq!(answer(&[12, 0, 0, 0]), Some(Err(Errno::ENOMEM)));
        assert_eq!(answer(&[0; 3]), None);
        assert_eq!(answer(&[]), None);
    }

    #[test]
    fn the_end_of_the_supervisor_is_seen() {
        let (near, far) = pair();
        drop(near);
        assert!(receive_commands(far.as_fd()).unwrap().is_none());
    }
}

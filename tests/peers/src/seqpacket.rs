//! Unix sockets that keep message boundaries.

use crate::PeerError;
use crate::link::{BYTES, Bytes, FanIn, Link, Pair, Server};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// One socket that serves both ways.
pub struct Sockets {
    near: End,
    far: End,
}

/// One end.
pub struct End(OwnedFd);

impl Link for End {
    fn send(&mut self, message: &Bytes) -> Result<(), PeerError> {
        match send(self.0.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL)? {
            BYTES => Ok(()),
            other => Err(PeerError(format!("{other} bytes were sent"))),
        }
    }

    fn receive(&mut self) -> Result<Bytes, PeerError> {
        let mut message = [0; BYTES];
        match recv(self.0.as_raw_fd(), &mut message, MsgFlags::empty())? {
            BYTES => Ok(message),
            other => Err(PeerError(format!("{other} bytes came"))),
        }
    }
}

fn ends() -> Result<(End, End), PeerError> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    Ok((End(one), End(other)))
}

impl Pair for Sockets {
    type Near = End;
    type Far = End;

    fn prepare() -> Result<Sockets, PeerError> {
        let (near, far) = ends()?;
        Ok(Sockets { near, far })
    }

    fn near(self) -> Result<End, PeerError> {
        Ok(self.near)
    }

    fn far(self) -> Result<End, PeerError> {
        Ok(self.far)
    }
}

/// A socket for each client; the server polls them all.
pub struct Star(Vec<(End, End)>);

/// The server's ends.
pub struct StarServer(Vec<End>);

impl FanIn for Star {
    type Client = End;
    type Server = StarServer;

    fn prepare(clients: usize) -> Result<Star, PeerError> {
        (0..clients).map(|_| ends()).collect::<Result<_, _>>().map(Star)
    }

    fn client(mut self, number: usize) -> Result<End, PeerError> {
        Ok(self.0.swap_remove(number).0)
    }

    fn server(self) -> Result<StarServer, PeerError> {
        Ok(StarServer(self.0.into_iter().map(|(_, far)| far).collect()))
    }
}

impl Server for StarServer {
    fn answer(&mut self) -> Result<usize, PeerError> {
        let readable: Vec<bool> = {
            let mut all: Vec<PollFd<'_>> =
                self.0.iter().map(|end| PollFd::new(end.0.as_fd(), PollFlags::POLLIN)).collect();
            poll(&mut all, PollTimeout::NONE)?;
            let has =
                |end: &PollFd<'_>| end.revents().is_some_and(|got| got.contains(PollFlags::POLLIN));
            all.iter().map(has).collect()
        };
        let mut answered = 0;
        for (end, readable) in self.0.iter_mut().zip(readable) {
            if readable {
                let message = end.receive()?;
                end.send(&message)?;
                answered += 1;
            }
        }
        Ok(answered)
    }
}

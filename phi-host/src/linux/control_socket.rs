//! The supervisor's side of the control socket: clients, what they ask, and what they get.
//!
//! Nothing here waits. All descriptors stand in one epoll of their own, which is readable while there is
//! something to do and which the supervisor waits for among its other events; each time it is, a client
//! can have at most one request done.
//!
//! Principles:
//! - **A client costs what it asks, and no more**: a limit on clients, on the bytes of a request and of
//!   an answer, and on the time for either. Who breaks one loses its connection.
//! - **One request at a time**: nothing more is read from a client until it has taken its answer.
//! - **Only the same user and root** are listened to, as Linux knows them.

use crate::control::frame::{self, Assembly};
use crate::control::place::Listener;
use crate::control::protocol::{
    self, Answer, Answered, Outcome, Refusal, RefusalKind, Request, VERSION,
};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockFlag, accept4, getsockopt, recvmsg, send, sockopt,
};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::geteuid;
use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Clients at one time. One more takes the place of the one that has asked nothing for the longest time.
const CLIENTS: usize = 16;

/// See [`ControlSocket::patience`].
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes read at a time, and events taken.
const PIECE: usize = 16 << 10;
const BATCH: usize = 2 * CLIENTS;

const LISTENER: u64 = 0;
const TIMER: u64 = 1;

/// A client. No two in a run are the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ClientId(u64);

/// What a client asks.
#[derive(Debug)]
pub struct Question {
    /// The client, which waits for [`ControlSocket::answer`].
    pub client: ClientId,
    /// What it asks.
    pub request: Request,
    /// A descriptor that came along.
    pub descriptor: Option<OwnedFd>,
}

/// What a client is about.
enum State {
    /// It may write a request.
    Asks(Assembly),
    /// It has asked, and the supervisor owes the answer.
    Waits,
    /// It has to take its answer, from the byte with this index on.
    Takes(Vec<u8>, usize),
}

struct Client {
    socket: OwnedFd,
    state: State,
    /// What came along with the request that it writes.
    descriptor: Option<OwnedFd>,
    /// When it began what it is about, or asked last.
    since: Instant,
}

/// Why a client loses its connection.
struct Gone;

/// The control socket of a run.
pub struct ControlSocket {
    listener: Listener,
    epoll: Epoll,
    timer: TimerFd,
    clients: BTreeMap<ClientId, Client>,
    /// Two more than the clients that there have been.
    next: u64,
    /// Time that a client has to write a request that it has begun, and to take an answer.
    patience: Duration,
}

impl ControlSocket {
    /// Without clients yet.
    ///
    /// # Errors
    /// What Linux says.
    pub fn new(listener: Listener) -> io::Result<ControlSocket> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        epoll.add(listener.socket(), EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(&timer, EpollEvent::new(edge, TIMER))?;
        let (clients, next, patience) = (BTreeMap::new(), TIMER + 1, PATIENCE);
        Ok(ControlSocket { listener, epoll, timer, clients, next, patience })
    }

    /// Readable while there is something to do.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Does what can be done without waiting; what clients ask goes to `questions`.
    pub fn serve(&mut self, questions: &mut Vec<Question>) {
        let mut batch = [EpollEvent::empty(); BATCH];
        // What it could say would be a mistake here; then clients get no answers, and services go on.
        let count = self.epoll.wait(&mut batch, EpollTimeout::ZERO).unwrap_or(0);
        for event in &batch[..count] {
            match event.data() {
                LISTENER => self.accept(),
                TIMER => {}
                number => self.attend(ClientId(number), event.events(), questions),
            }
        }
        let now = Instant::now();
        let patience = self.patience;
        self.clients.retain(|_, client| client.end(patience).is_none_or(|end| end > now));
        self.set_timer(now);
    }

    /// Gives a client its answer. One that has gone meanwhile gets none.
    pub fn answer(&mut self, client: ClientId, answer: Result<Answer, Refusal>) {
        let Some(held) = self.clients.get_mut(&client) else { return };
        held.state = State::Takes(encode(answer), 0);
        held.since = Instant::now();
        self.proceed(client, Client::write);
        self.set_timer(Instant::now());
    }

    /// Something happened to a client.
    fn attend(&mut self, id: ClientId, events: EpollFlags, questions: &mut Vec<Question>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        match client.state {
            State::Asks(_) => {
                let mut asked = None;
                self.proceed(id, |client| {
                    asked = client.read()?;
                    Ok(())
                });
                let Some(content) = asked else { return };
                let Some(client) = self.clients.get_mut(&id) else { return };
                let descriptor = client.descriptor.take();
                match protocol::request(&content) {
                    Ok(request) => questions.push(Question { client: id, request, descriptor }),
                    Err(refusal) => self.answer(id, Err(refusal)),
                }
            }
            State::Takes(..) => self.proceed(id, Client::write),
            // It hung up.
            State::Waits if !events.contains(EpollFlags::EPOLLOUT) => {
                self.clients.remove(&id);
            }
            State::Waits => {}
        }
    }

    /// Has a client do a step, and waits for what it needs next; it goes if that fails.
    fn proceed(&mut self, id: ClientId, step: impl FnOnce(&mut Client) -> Result<(), Gone>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let wanted = step(client).map(|()| client.wanted());
        let kept = wanted.is_ok_and(|wanted| {
            self.epoll.modify(&client.socket, &mut EpollEvent::new(wanted, id.0)).is_ok()
        });
        if !kept {
            // With its descriptor it leaves the epoll.
            self.clients.remove(&id);
        }
    }

    /// Takes one client on, if it may ask here.
    fn accept(&mut self) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let Ok(socket) = accept4(self.listener.socket().as_raw_fd(), flags) else { return };
        // SAFETY: the call has just made it, and nobody else knows of it.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let peer = getsockopt(&socket, sockopt::PeerCredentials);
        if !peer.is_ok_and(|peer| peer.uid() == 0 || peer.uid() == geteuid().as_raw()) {
            return;
        }
        if self.clients.len() >= CLIENTS {
            let idle =
                self.clients.iter().filter(|(_, client)| client.end(self.patience).is_none());
            let oldest = idle.min_by_key(|(_, client)| client.since).map(|(id, _)| *id);
            match oldest {
                Some(oldest) => drop(self.clients.remove(&oldest)),
                None => return,
            }
        }
        let id = ClientId(self.next);
        if self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, id.0)).is_err() {
            return;
        }
        self.next += 1;
        let state = State::Asks(Assembly::default());
        self.clients.insert(id, Client { socket, state, descriptor: None, since: Instant::now() });
    }

    /// Has the time at which the next client runs out of it be an event.
    fn set_timer(&self, now: Instant) {
        let next = self.clients.values().filter_map(|client| client.end(self.patience)).min();
        // Without it, a client stays until another event.
        let _ = match next {
            None => self.timer.unset(),
            Some(end) => {
                let rest = end.saturating_duration_since(now).max(Duration::from_millis(1));
                self.timer.set(Expiration::OneShot(rest.into()), TimerSetTimeFlags::empty())
            }
        };
    }
}

impl Client {
    /// When it has to be done with what it is about.
    fn end(&self, patience: Duration) -> Option<Instant> {
        match &self.state {
            State::Asks(assembly) if assembly.is_empty() => None,
            State::Waits => None,
            _ => Some(self.since + patience),
        }
    }

    /// What it waits for. That it hung up is always told.
    fn wanted(&self) -> EpollFlags {
        match self.state {
            State::Asks(_) => EpollFlags::EPOLLIN,
            State::Waits => EpollFlags::empty(),
            State::Takes(..) => EpollFlags::EPOLLOUT,
        }
    }

    /// Reads of a request what is there; the request's content, once it is whole.
    fn read(&mut self) -> Result<Option<Vec<u8>>, Gone> {
        let State::Asks(assembly) = &mut self.state else { return Ok(None) };
        let mut piece = [0; PIECE];
        loop {
            let missing = assembly.missing(frame::REQUEST).map_err(|_| Gone)?;
            if missing == 0 {
                let content = assembly.take();
                self.state = State::Waits;
                return Ok(Some(content));
            }
            let room = missing.min(piece.len());
            match receive(&self.socket, &mut piece[..room], &mut self.descriptor) {
                Ok(0) => return Err(Gone),
                Ok(count) => {
                    if assembly.is_empty() {
                        self.since = Instant::now();
                    }
                    assembly.add(&piece[..count]);
                }
                Err(Errno::EAGAIN) => return Ok(None),
                Err(_) => return Err(Gone),
            }
        }
    }

    /// Writes of the answer what there is room for.
    fn write(&mut self) -> Result<(), Gone> {
        let State::Takes(answer, taken) = &mut self.state else { return Ok(()) };
        let flags = MsgFlags::MSG_NOSIGNAL;
        while *taken < answer.len() {
            match send(self.socket.as_raw_fd(), &answer[*taken..], flags) {
                Ok(count) => *taken += count,
                Err(Errno::EAGAIN) => return Ok(()),
                Err(_) => return Err(Gone),
            }
        }
        self.state = State::Asks(Assembly::default());
        self.since = Instant::now();
        Ok(())
    }
}

/// Reads what is there, and keeps the one descriptor that may come along.
fn receive(
    socket: &OwnedFd,
    bytes: &mut [u8],
    descriptor: &mut Option<OwnedFd>,
) -> nix::Result<usize> {
    let mut space = nix::cmsg_space!(std::os::fd::RawFd);
    let mut parts = [IoSliceMut::new(bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut more = false;
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = message {
            for number in numbers {
                // SAFETY: the call has just made it, and nobody else knows of it.
                let number = unsafe { OwnedFd::from_raw_fd(number) };
                more |= descriptor.replace(number).is_some();
            }
        }
    }
    match more || received.flags.contains(MsgFlags::MSG_CTRUNC) {
        true => Err(Errno::EMFILE),
        false => Ok(received.bytes),
    }
}

/// An answer as a frame.
fn encode(answer: Result<Answer, Refusal>) -> Vec<u8> {
    let frame_of = |outcome: Outcome| {
        let content = serde_json::to_vec(&Answered { version: VERSION, outcome }).ok()?;
        frame::frame(&content, frame::ANSWER).ok()
    };
    let outcome = answer.map_or_else(Outcome::Error, Outcome::Answer);
    frame_of(outcome).unwrap_or_else(|| {
        let message = "the answer is too long".into();
        let refusal = Refusal { kind: RefusalKind::Length, message };
        frame_of(Outcome::Error(refusal)).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests;

//! The side that asks.

use super::frame;
use super::protocol::{
    Answer, Answered, Asked, CapabilityView, Outcome, Part, Refusal, Request, ServiceView,
    SystemView, VERSION,
};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Time that a supervisor has for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Parts of a list, at most: what says that it has more is no supervisor.
const PARTS: usize = 1 << 16;

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// The socket's: nobody listens, or the supervisor ended or does not answer.
    Socket(io::Error),
    /// The supervisor refused the request.
    Refused(Refusal),
    /// What came is no answer to the request.
    Strange(String),
}

impl ClientError {
    /// Whether nobody is there: no socket, or one that a supervisor left behind, or it ended meanwhile.
    pub fn is_gone(&self) -> bool {
        let ClientError::Socket(error) = self else { return false };
        matches!(
            error.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof
        )
    }
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClientError::Socket(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    f.write_str("nobody listens there")
                }
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe => f.write_str("the system has ended"),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    write!(f, "the supervisor did not answer within {} s", PATIENCE.as_secs())
                }
                _ => write!(f, "the supervisor cannot be asked: {error}"),
            },
            ClientError::Refused(refusal) => {
                write!(f, "the supervisor refused: {}", refusal.message)
            }
            ClientError::Strange(what) => {
                write!(f, "the supervisor's answer makes no sense: {what}")
            }
        }
    }
}

impl std::error::Error for ClientError {}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> ClientError {
        ClientError::Socket(error)
    }
}

impl From<nix::Error> for ClientError {
    fn from(error: nix::Error) -> ClientError {
        ClientError::Socket(error.into())
    }
}

/// A connection to a supervisor.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// A connection to the supervisor that listens at `path`.
    ///
    /// # Errors
    /// [`ClientError::Socket`].
    pub fn connect(path: &Path) -> Result<Client, ClientError> {
        let address = UnixAddr::new(path)?;
        let descriptor =
            socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        // First, since connecting may wait for the supervisor, too.
        let time = TimeVal::new(PATIENCE.as_secs() as i64, 0);
        setsockopt(&descriptor, sockopt::SendTimeout, &time)?;
        setsockopt(&descriptor, sockopt::ReceiveTimeout, &time)?;
        connect(descriptor.as_raw_fd(), &address)?;
        Ok(Client { stream: descriptor.into() })
    }

    /// The stream, to send a descriptor along with a request.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Asks one thing.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn ask(&mut self, request: &Request) -> Result<Answer, ClientError> {
        self.stream.write_all(&encode(request)?)?;
        self.answer()
    }

    /// Waits for the answer to a request that has been written.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn answer(&mut self) -> Result<Answer, ClientError> {
        let content = frame::read(&mut self.stream, frame::ANSWER)?;
        let answered: Answered = serde_json::from_slice(&content)
            .map_err(|error| ClientError::Strange(error.to_string()))?;
        match answered.outcome {
            Outcome::Answer(answer) => Ok(answer),
            Outcome::Error(refusal) => Err(ClientError::Refused(refusal)),
        }
    }

    /// What runs.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn system(&mut self) -> Result<SystemView, ClientError> {
        match self.ask(&Request::System)? {
            Answer::System(system) => Ok(system),
            other => Err(another(&other)),
        }
    }

    /// All services, and when the last part of them was so.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn services(&mut self) -> Result<(u64, Vec<ServiceView>), ClientError> {
        self.list(
            |from| Request::Services { from },
            |answer| match answer {
                Answer::Services(part) => Ok(part),
                other => Err(another(&other)),
            },
        )
    }

    /// All capabilities.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn capabilities(&mut self) -> Result<Vec<CapabilityView>, ClientError> {
        let list = self.list(
            |from| Request::Capabilities { from },
            |answer| match answer {
                Answer::Capabilities(part) => Ok(part),
                other => Err(another(&other)),
            },
        );
        list.map(|(_, entries)| entries)
    }

    /// Offers a service an image, which is in sealed memory; how often the service was started until then.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn replace(&mut self, service: &str, image: BorrowedFd<'_>) -> Result<u32, ClientError> {
        let request = encode(&Request::Replace { service: service.into() })?;
        let numbers = [image.as_raw_fd()];
        let along = [ControlMessage::ScmRights(&numbers)];
        let parts = [IoSlice::new(&request)];
        let flags = MsgFlags::MSG_NOSIGNAL;
        let sent = sendmsg::<()>(self.stream.as_raw_fd(), &parts, &along, flags, None)?;
        self.stream.write_all(&request[sent..])?;
        match self.answer()? {
            Answer::Offered { generation } => Ok(generation),
            other => Err(another(&other)),
        }
    }

    /// All parts of a list.
    fn list<T>(
        &mut self,
        request: impl Fn(u32) -> Request,
        part: impl Fn(Answer) -> Result<Part<T>, ClientError>,
    ) -> Result<(u64, Vec<T>), ClientError> {
        let (mut from, mut all) = (0, Vec::new());
        for _ in 0..PARTS {
            let Part { time, entries, next } = part(self.ask(&request(from))?)?;
            all.extend(entries);
            match next {
                None => return Ok((time, all)),
                Some(next) if next > from => from = next,
                Some(_) => break,
            }
        }
        Err(ClientError::Strange("a list has no end".into()))
    }
}

/// A request as a frame.
///
/// # Errors
/// It is too long.
pub fn encode(request: &Request) -> Result<Vec<u8>, ClientError> {
    let strange = |what: String| ClientError::Strange(what);
    let request = serde_json::to_value(request).map_err(|error| strange(error.to_string()))?;
    let asked = serde_json::to_vec(&Asked { version: VERSION, request });
    let asked = asked.map_err(|error| strange(error.to_string()))?;
    frame::frame(&asked, frame::REQUEST).map_err(|_| strange("the request is too long".into()))
}

fn another(answer: &Answer) -> ClientError {
    let mut what = format!("{answer:?}");
    what.truncate(what.floor_char_boundary(80));
    ClientError::Strange(format!("it answers something else: {what}"))
}

//! What a peer has to give to be measured.

use crate::PeerError;

/// Bytes of each message, as in ΦOS.
pub const BYTES: usize = 64;

/// One message.
pub type Bytes = [u8; BYTES];

/// Messages that a queue holds, where that can be chosen: as many as a pipe of Linux.
pub const CAPACITY: usize = 1024;

/// One end of a connection.
pub trait Link {
    /// Sends a message; waits while there is no room.
    fn send(&mut self, message: &Bytes) -> Result<(), PeerError>;

    /// Waits for a message.
    fn receive(&mut self) -> Result<Bytes, PeerError>;
}

/// A connection of two processes. It is prepared in one that then forks, and each takes one end.
pub trait Pair: Sized {
    /// The end of who measures.
    type Near: Link;
    /// The end of who answers.
    type Far: Link;

    /// Before the fork.
    fn prepare() -> Result<Self, PeerError>;

    /// In the process that measures.
    fn near(self) -> Result<Self::Near, PeerError>;

    /// In the process that answers.
    fn far(self) -> Result<Self::Far, PeerError>;
}

/// A server and its clients, each in a process of its own.
pub trait FanIn: Sized {
    /// The end of a client.
    type Client: Link;
    /// The end of the server.
    type Server: Server;

    /// Before the forks.
    fn prepare(clients: usize) -> Result<Self, PeerError>;

    /// In the process of the client with this number.
    fn client(self, number: usize) -> Result<Self::Client, PeerError>;

    /// In the process of the server.
    fn server(self) -> Result<Self::Server, PeerError>;
}

/// Who answers many.
pub trait Server {
    /// Waits until there is a message, and sends back to their clients all that there are, or some of
    /// them; how many.
    fn answer(&mut self) -> Result<usize, PeerError>;
}

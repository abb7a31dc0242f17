//! Pipes.

use crate::PeerError;
use crate::hand_over::{Give, HandOver};
use crate::link::{BYTES, Bytes, FanIn, Link, Pair, Server};
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};

/// One pipe each way.
pub struct Pipes {
    near: Ends,
    far: Ends,
}

/// What one process has of them.
pub struct Ends {
    to: PipeWriter,
    from: PipeReader,
}

impl Link for Ends {
    fn send(&mut self, message: &Bytes) -> Result<(), PeerError> {
        Ok(self.to.write_all(message)?)
    }

    fn receive(&mut self) -> Result<Bytes, PeerError> {
        let mut message = [0; BYTES];
        self.from.read_exact(&mut message)?;
        Ok(message)
    }
}

impl Pair for Pipes {
    type Near = Ends;
    type Far = Ends;

    fn prepare() -> Result<Pipes, PeerError> {
        let ((there, to), (from, back)) = (pipe()?, pipe()?);
        Ok(Pipes { near: Ends { to, from }, far: Ends { to: back, from: there } })
    }

    fn near(self) -> Result<Ends, PeerError> {
        Ok(self.near)
    }

    fn far(self) -> Result<Ends, PeerError> {
        Ok(self.far)
    }
}

/// One pipe to the server, which writes of one message are never mixed in, and one back to each client.
pub struct Shared {
    to: PipeWriter,
    from: PipeReader,
    back: Vec<(PipeReader, PipeWriter)>,
}

/// The server's end.
pub struct SharedServer {
    from: PipeReader,
    to: Vec<PipeWriter>,
}

impl FanIn for Shared {
    type Client = Ends;
    type Server = SharedServer;

    fn prepare(clients: usize) -> Result<Shared, PeerError> {
        let (from, to) = pipe()?;
        let back = (0..clients).map(|_| pipe()).collect::<Result<Vec<_>, _>>()?;
        Ok(Shared { to, from, back })
    }

    fn client(mut self, number: usize) -> Result<Ends, PeerError> {
        Ok(Ends { to: self.to, from: self.back.swap_remove(number).0 })
    }

    fn server(self) -> Result<SharedServer, PeerError> {
        let to = self.back.into_iter().map(|(_, to)| to).collect();
        Ok(SharedServer { from: self.from, to })
    }
}

impl Server for SharedServer {
    fn answer(&mut self) -> Result<usize, PeerError> {
        let mut message = [0; BYTES];
        self.from.read_exact(&mut message)?;
        let client = self.to.get_mut(usize::from(message[0]));
        client.ok_or_else(|| PeerError("a client without number".into()))?.write_all(&message)?;
        Ok(1)
    }
}

/// Bytes that are read at once. A reader that wants them all in one place would need as much memory.
const PART: usize = 64 << 10;

/// Everything through the pipe: each byte is copied twice.
pub struct Bulk(Pipes);

/// Who writes.
pub struct BulkGiver {
    ends: Ends,
    bytes: Vec<u8>,
}

impl HandOver for Bulk {
    type Giver = BulkGiver;

    fn times(size: usize, count: usize) -> usize {
        // A second of copying, or two.
        count.min((1 << 30) / size)
    }

    fn prepare() -> Result<Bulk, PeerError> {
        Pipes::prepare().map(Bulk)
    }

    fn giver(self) -> Result<BulkGiver, PeerError> {
        Ok(BulkGiver { ends: self.0.near, bytes: vec![7; 64 << 20] })
    }

    fn take_all(self) -> Result<(), PeerError> {
        let Pipes { near, mut far } = self.0;
        drop(near);
        let mut part = vec![0; PART];
        loop {
            let mut length = [0; 8];
            far.from.read_exact(&mut length)?;
            let mut left = usize::from_ne_bytes(length);
            if left == 0 {
                return Ok(());
            }
            while left > 0 {
                let wanted = left.min(PART);
                match far.from.read(&mut part[..wanted])? {
                    0 => return Err(PeerError("the pipe ended".into())),
                    got => left -= got,
                }
            }
            far.send(&[7; BYTES])?;
        }
    }
}

impl Give for BulkGiver {
    fn give(&mut self, size: usize) -> Result<(), PeerError> {
        self.ends.to.write_all(&size.to_ne_bytes())?;
        self.ends.to.write_all(&self.bytes[..size])?;
        self.ends.receive().map(drop)
    }

    fn end(mut self) -> Result<(), PeerError> {
        Ok(self.ends.to.write_all(&0usize.to_ne_bytes())?)
    }
}

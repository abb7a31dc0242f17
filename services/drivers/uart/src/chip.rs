//! The chip: its registers (data sheet, section 8), and what came from it.

use alloc::collections::VecDeque;
use phi_rt::{Error, Irq, Ports, Signal};
use phi_tty::{Line, NotRead, NotWritten, PIECE, WAITING};

/// Registers, from the line's first port. The first two are the divisor's while [`DIVISOR`] is set; the third is
/// another one for reading.
const DATA: u16 = 0;
const INTERRUPTS: u16 = 1;
const FIFO: u16 = 2;
const CAUSE: u16 = 2;
const FORMAT: u16 = 3;
const MODEM: u16 = 4;
const STATUS: u16 = 5;

/// Interrupts when bytes have come, when all were sent, and when what came was spoilt.
const RECEIVED: u8 = 1 << 0;
const SENT: u8 = 1 << 1;
const SPOILT: u8 = 1 << 2;

/// Both queues on and empty; an interrupt after 8 bytes, or a while after the last.
const QUEUES: u8 = 0b1000_0111;

/// Bytes of the queue to be sent.
const QUEUE: usize = 16;

/// 8 bits, no parity, one stop bit; and the bit that shows the divisor, which is 1 for 115,200 bits a second.
const EIGHT: u8 = 0b11;
const DIVISOR: u8 = 1 << 7;

/// Terminal ready, request to send, and on PCs the output that lets interrupts through.
const READY: u8 = 0b1011;

/// Of the status: a byte is there; bytes were lost; what is there is spoilt, by parity, frame or break; and all
/// places to send from are free.
const THERE: u8 = 1 << 0;
const OVERRUN: u8 = 1 << 1;
const WRONG: u8 = 0b1_1100;
const FREE: u8 = 1 << 5;

/// Of the cause of an interrupt: there is none.
const NONE: u8 = 1;

/// Looks at a time, at most: a chip that always has one more does not keep the driver.
const LOOKS: usize = 1024;

/// Nanoseconds to wait for the queue to be sent, which takes 1.4 ms, and how often.
const PAUSE: u64 = 10_000_000;
const PAUSES: u32 = 100;

/// A serial line.
pub struct Chip {
    ports: Ports,
    irq: Irq,
    signal: Signal,
    waiting: VecDeque<u8>,
    /// Bytes that were lost since the last read.
    lost: u32,
}

impl Chip {
    /// Sets it up.
    ///
    /// # Errors
    /// The ports are the driver's no more.
    pub fn set_up(ports: Ports, irq: Irq, signal: Signal) -> Result<Chip, Error> {
        ports.write(INTERRUPTS, 0)?;
        ports.write(FORMAT, EIGHT | DIVISOR)?;
        ports.write(DATA, 1)?;
        ports.write(INTERRUPTS, 0)?;
        ports.write(FORMAT, EIGHT)?;
        ports.write(FIFO, QUEUES)?;
        ports.write(MODEM, READY)?;
        ports.write(INTERRUPTS, RECEIVED | SENT | SPOILT)?;
        let waiting = VecDeque::with_capacity(WAITING);
        Ok(Chip { ports, irq, signal, waiting, lost: 0 })
    }

    /// Takes what has come, until no interrupt is pending: the line's edge tells of none before that.
    fn take(&mut self) -> Result<(), Error> {
        for _ in 0..LOOKS {
            // To read the cause takes back that all was sent.
            if self.ports.read(CAUSE)? & NONE != 0 {
                return Ok(());
            }
            self.take_byte()?;
        }
        // There is more: as if it had interrupted again.
        self.signal.notify(1)
    }

    fn take_byte(&mut self) -> Result<(), Error> {
        let status = self.ports.read(STATUS)?;
        if status & OVERRUN != 0 {
            self.lost = self.lost.saturating_add(1);
        }
        if status & THERE != 0 {
            let byte = self.ports.read(DATA)?;
            match status & WRONG == 0 && self.waiting.len() < WAITING {
                true => self.waiting.push_back(byte),
                false => self.lost = self.lost.saturating_add(1),
            }
        }
        Ok(())
    }

    /// Waits until as much can be sent as the queue holds.
    fn wait_for_queue(&mut self) -> Result<(), Error> {
        for _ in 0..PAUSES {
            if self.ports.read(STATUS)? & FREE != 0 {
                return Ok(());
            }
            match self.signal.wait(u64::MAX, PAUSE) {
                Ok(_) => {
                    self.irq.acknowledge()?;
                    self.take()?;
                }
                Err(Error::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::TimedOut)
    }

    fn send_all(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for piece in bytes.chunks(QUEUE) {
            self.wait_for_queue()?;
            piece.iter().try_for_each(|byte| self.ports.write(DATA, *byte))?;
        }
        // What came meanwhile was taken, so its interrupt is no news any more.
        if self.waiting.is_empty() { Ok(()) } else { self.signal.notify(1) }
    }
}

impl Line for Chip {
    fn attend(&mut self) -> bool {
        // First the interrupt, then the chip: what comes in between interrupts again. A driver that has lost its
        // line hears nothing from it.
        let _ = self.irq.acknowledge();
        let _ = self.take();
        !self.waiting.is_empty()
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), NotWritten> {
        self.send_all(bytes).map_err(|_| NotWritten)
    }

    fn receive(&mut self, bytes: &mut [u8; PIECE]) -> Result<(usize, u32), NotRead> {
        self.take().map_err(|_| NotRead::Failed)?;
        let count = self.waiting.len().min(PIECE);
        for (place, byte) in bytes.iter_mut().zip(self.waiting.drain(..count)) {
            *place = byte;
        }
        Ok((count, core::mem::take(&mut self.lost)))
    }
}

//! What the clients were promised: the checker of the world of storage.

use crate::checkers::{Property, Violation};
use crate::disk::{Disk, SECTOR};

/// What one client wrote, and was told.
#[derive(Clone, Default)]
struct Log {
    /// Records in this session: the first sector, the bytes, and whether the write was confirmed.
    written: Vec<(u64, Vec<u8>, bool)>,
    /// Records that a flush has acknowledged, in order.
    acknowledged: Vec<(u64, Vec<u8>)>,
    /// Whether a flush was acknowledged since the faults stopped.
    through: bool,
}

impl Log {
    /// The first sector after what was acknowledged.
    fn end(&self) -> Option<u64> {
        let (sector, bytes) = self.acknowledged.last()?;
        Some(sector + (bytes.len() / SECTOR) as u64)
    }
}

/// The books of all clients.
pub(super) struct Books {
    logs: Vec<Log>,
    violation: Option<Violation>,
}

impl Books {
    pub(super) fn new(clients: usize) -> Books {
        Books { logs: vec![Log::default(); clients], violation: None }
    }

    /// A client is about to write a record.
    pub(super) fn written(&mut self, client: usize, sector: u64, bytes: Vec<u8>) {
        self.logs[client].written.push((sector, bytes, false));
    }

    /// The client's last write was confirmed; what it wrote.
    pub(super) fn confirmed(&mut self, client: usize) -> Vec<u8> {
        let last = self.logs[client].written.last_mut();
        last.map(|(_, bytes, confirmed)| {
            *confirmed = true;
            bytes.clone()
        })
        .unwrap_or_default()
    }

    /// A client's flush was confirmed, of everything before sector `end`.
    pub(super) fn flushed(&mut self, client: usize, end: u64) {
        let log = &mut self.logs[client];
        log.through = true;
        for (sector, bytes, confirmed) in std::mem::take(&mut log.written) {
            if confirmed && sector < end {
                log.acknowledged.push((sector, bytes));
            }
        }
    }

    /// A client begins a session: what it wrote before and has not flushed may be lost.
    pub(super) fn begins(&mut self, client: usize) {
        self.logs[client].written.clear();
    }

    /// A client has found its log to end at this sector.
    pub(super) fn recovered(&mut self, client: usize, found: u64) {
        if let Some(end) = self.logs[client].end().filter(|end| found < *end) {
            self.violates(format!(
                "client {client} finds its log to end at sector {found}, and was acknowledged {end}"
            ));
        }
    }

    /// The faults have stopped.
    pub(super) fn rest(&mut self) {
        self.logs.iter_mut().for_each(|log| log.through = false);
    }

    /// Whether a client has got through since then.
    pub(super) fn is_through(&self, client: usize) -> bool {
        self.logs[client].through
    }

    /// Whether all have.
    pub(super) fn are_through(&self) -> bool {
        self.logs.iter().all(|log| log.through)
    }

    pub(super) fn violates(&mut self, what: String) {
        self.violation.get_or_insert(Violation { property: Property::Storage, what });
    }

    pub(super) fn take_violation(&mut self) -> Option<Violation> {
        self.violation.take()
    }

    /// Looks whether the device has everything that was acknowledged.
    pub(super) fn compare(&mut self, disk: &Disk) {
        let mut wrong = None;
        for (client, log) in self.logs.iter().enumerate() {
            for (first, bytes) in &log.acknowledged {
                let (sectors, _) = bytes.as_chunks::<SECTOR>();
                let changed =
                    (*first..).zip(sectors).find(|(sector, bytes)| disk.peek(*sector) != **bytes);
                wrong = wrong.or(changed.map(|(sector, _)| (client, sector)));
            }
        }
        if let Some((client, sector)) = wrong {
            self.violates(format!(
                "sector {sector} of client {client} was acknowledged by a flush, and is lost or changed"
            ));
        }
    }
}

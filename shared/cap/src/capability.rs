//! One capability.

use phi_abi::{Kind, Rights};
use phi_mem::NONE;

/// The lineage that a capability belongs to, and the version it was made under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Index of the lineage; [`NONE`] for what nobody can revoke.
    pub lineage: u32,
    /// The lineage's version at the time.
    pub version: u64,
}

impl Origin {
    /// Made by the plan or by a create call: nobody can revoke it.
    pub const ROOT: Origin = Origin { lineage: NONE, version: 0 };
}

/// The pages that are mapped through a capability to a region, in the holder's address space or for a
/// device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// READ, or READ and WRITE; empty while nothing is mapped in the address space.
    pub access: Rights,
    /// What the device may do; empty while nothing is mapped for one.
    pub dma: Rights,
    /// The device's DMA space, or [`NONE`].
    pub space: u32,
    /// Whether the capability is a loan, mapped by its arrival and until its end.
    pub loan: bool,
    /// Address of the first page.
    pub address: u64,
    /// Bytes of whole pages.
    pub length: u64,
}

impl Mapping {
    /// Nothing mapped.
    pub const NONE: Mapping = Mapping {
        access: Rights::empty(),
        dma: Rights::empty(),
        space: NONE,
        loan: false,
        address: 0,
        length: 0,
    };

    /// What is left without the address space's part. A loan keeps its range: it still says what may be
    /// lent on.
    pub fn without_access(self) -> Mapping {
        Mapping { access: Rights::empty(), ..self }.or_none()
    }

    /// What is left without the device's part.
    pub fn without_dma(self) -> Mapping {
        Mapping { dma: Rights::empty(), space: NONE, ..self }.or_none()
    }

    fn or_none(self) -> Mapping {
        if self.is_listed() { self } else { Mapping::NONE }
    }

    /// Whether a revocation must find it at once: pages are mapped, or the call that lends them lasts.
    pub(crate) fn is_listed(&self) -> bool {
        self.loan || !self.access.is_empty() || self.space != NONE
    }
}

/// The right to use an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capability {
    /// Its id: unique, never used again.
    pub id: u64,
    /// What it refers to.
    pub kind: Kind,
    /// What the holder may do.
    pub rights: Rights,
    /// Index of the object among those of its kind.
    pub object: u32,
    /// Mailboxes and objects: the badge on messages. Consoles: the stream.
    pub badge: u64,
    /// Where it comes from, for revocation.
    pub origin: Origin,
    /// The lineage of what was derived revocably from it, or [`NONE`]. Of a reply capability, the
    /// first of the call's loans.
    pub child: u32,
    /// Regions: what is mapped through it.
    pub mapping: Mapping,
}

impl Capability {
    /// A capability that nobody can revoke and that has not been used. The table gives it its id.
    pub const fn new(kind: Kind, rights: Rights, object: u32, badge: u64) -> Capability {
        let (origin, child, mapping) = (Origin::ROOT, NONE, Mapping::NONE);
        Capability { id: 0, kind, rights, object, badge, origin, child, mapping }
    }
}

/// What an entry of the table holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing.
    Free,
    /// A capability.
    Held,
    /// What is left of one that was revoked, until its holder drops it.
    Revoked,
    /// What is left of one whose object has ended, until its holder drops it.
    Dead,
    /// Nothing, for ever: its generations are used up.
    Retired,
}

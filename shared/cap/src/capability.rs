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

/// The pages that are mapped in the holder's address space through a capability to a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// READ, or READ and WRITE; empty while nothing is mapped.
    pub access: Rights,
    /// Whether the capability is a loan, mapped by its arrival and until its end.
    pub loan: bool,
    /// Address of the first page.
    pub address: u64,
    /// Bytes of whole pages.
    pub length: u64,
}

impl Mapping {
    /// Nothing mapped.
    pub const NONE: Mapping =
        Mapping { access: Rights::empty(), loan: false, address: 0, length: 0 };

    /// Whether a revocation must find it at once: pages are mapped, or the call that lends them lasts.
    pub(crate) fn is_listed(&self) -> bool {
        self.loan || !self.access.is_empty()
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

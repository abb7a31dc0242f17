//! Lineages: what can be revoked together.

use crate::Origin;
use alloc::boxed::Box;
use alloc::vec;
use phi_abi::LINEAGE_DEPTH;
use phi_mem::{Links, List, NONE};

/// Why there is no new lineage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineageError {
    /// Its payer's quota is used up.
    QuotaExceeded,
    /// The chain of parents would be longer than [`LINEAGE_DEPTH`].
    TooDeep,
}

#[derive(Clone, Copy)]
struct Lineage {
    /// Goes up with each revocation and when the slot is freed, never down: an [`Origin`] that
    /// names an earlier use of the slot is never valid again.
    version: u64,
    parent: Origin,
    anchor: u32,
    payer: u32,
    /// The next loan of the same call.
    next_loan: u32,
}

#[derive(Clone, Copy)]
struct Account {
    used: u32,
    quota: u32,
}

/// The pool of lineages.
#[derive(Clone)]
pub struct Lineages {
    pool: Box<[Lineage]>,
    links: Links,
    free: List,
    by_anchor: Box<[List]>,
    accounts: Box<[Account]>,
}

impl Lineages {
    /// A pool for domains with these quotas, for objects at `anchors` anchors.
    pub(crate) fn new(quotas: impl Iterator<Item = u32>, anchors: usize) -> Lineages {
        let accounts: Box<[Account]> = quotas.map(|quota| Account { used: 0, quota }).collect();
        let count = accounts.iter().map(|account| account.quota as usize).sum();
        let empty =
            Lineage { version: 1, parent: Origin::ROOT, anchor: 0, payer: 0, next_loan: NONE };
        let mut links = Links::new(count);
        let mut free = List::EMPTY;
        (0..count as u32).for_each(|lineage| links.push_back(&mut free, lineage));
        Lineages {
            pool: vec![empty; count].into_boxed_slice(),
            links,
            free,
            by_anchor: vec![List::EMPTY; anchors].into_boxed_slice(),
            accounts,
        }
    }

    /// How many lineages `payer` may still make.
    pub fn left(&self, payer: u32) -> u32 {
        let account = self.accounts[payer as usize];
        account.quota - account.used
    }

    /// How many lineages `payer` pays for.
    pub fn used(&self, payer: u32) -> u32 {
        self.accounts[payer as usize].used
    }

    /// How many lineages stand between `origin` and what the plan or a create call made.
    pub fn depth(&self, origin: Origin) -> usize {
        let mut depth = 0;
        let mut lineage = origin.lineage;
        while lineage != NONE && depth < LINEAGE_DEPTH {
            depth += 1;
            lineage = self.pool[lineage as usize].parent.lineage;
        }
        depth
    }

    /// Whether nothing up the chain from `origin` was revoked since.
    pub fn is_valid(&self, origin: Origin) -> bool {
        let mut origin = origin;
        for _ in 0..=LINEAGE_DEPTH {
            if origin.lineage == NONE {
                return true;
            }
            let lineage = &self.pool[origin.lineage as usize];
            if lineage.version != origin.version {
                return false;
            }
            origin = lineage.parent;
        }
        false
    }

    /// Makes a lineage below `parent` for the object at `anchor`.
    ///
    /// # Errors
    /// See [`LineageError`].
    pub fn make(&mut self, parent: Origin, anchor: u32, payer: u32) -> Result<u32, LineageError> {
        if self.depth(parent) >= LINEAGE_DEPTH {
            return Err(LineageError::TooDeep);
        }
        if self.left(payer) == 0 {
            return Err(LineageError::QuotaExceeded);
        }
        let lineage = self.links.pop_front(&mut self.free).ok_or(LineageError::QuotaExceeded)?;
        self.accounts[payer as usize].used += 1;
        self.links.push_back(&mut self.by_anchor[anchor as usize], lineage);
        let version = self.pool[lineage as usize].version;
        self.pool[lineage as usize] = Lineage { version, parent, anchor, payer, next_loan: NONE };
        Ok(lineage)
    }

    /// Where a capability made in `lineage` now comes from.
    pub fn origin(&self, lineage: u32) -> Origin {
        Origin { lineage, version: self.pool[lineage as usize].version }
    }

    /// Where `lineage` itself comes from.
    pub fn parent(&self, lineage: u32) -> Origin {
        self.pool[lineage as usize].parent
    }

    /// The domain that pays for `lineage`.
    pub fn payer(&self, lineage: u32) -> u32 {
        self.pool[lineage as usize].payer
    }

    /// The next loan of the call that `lineage` is a loan of.
    pub fn next_loan(&self, lineage: u32) -> u32 {
        self.pool[lineage as usize].next_loan
    }

    /// Sets what [`Lineages::next_loan`] returns.
    pub fn set_next_loan(&mut self, lineage: u32, next: u32) {
        self.pool[lineage as usize].next_loan = next;
    }

    /// The anchor of the object that `lineage` concerns.
    pub fn anchor(&self, lineage: u32) -> u32 {
        self.pool[lineage as usize].anchor
    }

    /// Makes everything that comes from `lineage` invalid, and gives the lineage back. One addition,
    /// however much was derived.
    pub(crate) fn end(&mut self, lineage: u32) {
        let slot = &mut self.pool[lineage as usize];
        slot.version += 1;
        self.links.remove(&mut self.by_anchor[slot.anchor as usize], lineage);
        self.accounts[slot.payer as usize].used -= 1;
        self.links.push_front(&mut self.free, lineage);
    }

    /// Puts the lineages below `lineage` below its parent, and returns that parent.
    pub(crate) fn adopt_children(&mut self, lineage: u32) -> Origin {
        let from = self.origin(lineage);
        let Lineage { parent, anchor, .. } = self.pool[lineage as usize];
        let mut next = self.by_anchor[anchor as usize].first();
        while let Some(other) = next {
            if self.pool[other as usize].parent == from {
                self.pool[other as usize].parent = parent;
            }
            next = self.links.after(other);
        }
        parent
    }
}

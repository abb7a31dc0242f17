//! What is checked in every state, and what is found wrong.

/// What a state must keep to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rule {
    /// What was revoked cannot be used, and nothing else is taken back.
    Revocation,
    /// A capability has the rights that its source gave.
    Rights,
    /// Pages are mapped exactly as what stands allows.
    Pages,
    /// A delivered call has exactly one reply.
    Replies,
    /// Used and free add up to the quotas.
    Quotas,
    /// ΦCore keeps to the contract of its machine.
    Contract,
    /// Capabilities neither appear, vanish nor move by themselves.
    Custody,
    /// Nobody waits in vain for what is there or gone.
    Waits,
    /// Every call can end.
    Endings,
    /// ΦCore does not panic.
    Survival,
}

/// A rule that does not hold in a state, and how.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// What is wrong.
    pub text: &'static str,
}

//! How calls end: with a value, or with an error that says who is to blame.

/// Why a call did not do what it was asked. These are expected outcomes; a programmer error is a
/// [`crate::Fault`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Error {
    /// The capability lacks a right that the call needs.
    Denied = 1,
    /// The capability, or one in the message, was taken back.
    Revoked = 2,
    /// The other side is gone, or let the call go without an answer.
    Dead = 3,
    /// The mailbox has no room.
    Full = 4,
    /// The caller's own quota is used up.
    QuotaExceeded = 5,
    /// The time is over.
    TimedOut = 6,
    /// What was asked for is in use: the domain runs, the signal or region is bound or mapped.
    Busy = 7,
    /// The lineage would be deeper than [`crate::LINEAGE_DEPTH`].
    TooDeep = 8,
    /// The machine could not do it, though the quota allows it.
    Machine = 9,
}

/// Whose doing an error is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blame {
    /// The caller asked for what it may not have.
    Caller,
    /// The other side of the call.
    Peer,
    /// Whoever granted the capability took it back.
    Grantor,
    /// Time, or the machine.
    Nobody,
}

impl Error {
    /// Every error, in the order of their numbers.
    pub const ALL: [Error; 9] = [
        Error::Denied,
        Error::Revoked,
        Error::Dead,
        Error::Full,
        Error::QuotaExceeded,
        Error::TimedOut,
        Error::Busy,
        Error::TooDeep,
        Error::Machine,
    ];

    /// The error with this number.
    pub fn from_number(number: u64) -> Option<Error> {
        Error::ALL.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
    }

    /// Who is to blame.
    pub const fn blame(self) -> Blame {
        match self {
            Error::Denied | Error::QuotaExceeded | Error::Busy | Error::TooDeep => Blame::Caller,
            Error::Dead | Error::Full => Blame::Peer,
            Error::Revoked => Blame::Grantor,
            Error::TimedOut | Error::Machine => Blame::Nobody,
        }
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Error::Denied => "the capability lacks a right that the call needs",
            Error::Revoked => "the capability was taken back",
            Error::Dead => "the other side is gone",
            Error::Full => "the mailbox has no room",
            Error::QuotaExceeded => "the caller's quota is used up",
            Error::TimedOut => "the time is over",
            Error::Busy => "it is in use",
            Error::TooDeep => "the lineage would be too deep",
            Error::Machine => "the machine could not do it",
        })
    }
}

impl core::error::Error for Error {}

/// What a call returns, in two registers: 0 and a value, or an [`Error`]'s number and 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Outcome {
    /// 0, or an [`Error`]'s number.
    pub status: u64,
    /// The call's value when `status` is 0.
    pub value: u64,
}

impl Outcome {
    /// A call that succeeded with `value`.
    pub const fn success(value: u64) -> Outcome {
        Outcome { status: 0, value }
    }

    /// A call that ended in `error`.
    pub const fn failure(error: Error) -> Outcome {
        Outcome { status: error as u64, value: 0 }
    }

    /// The outcome as a result. An unknown status, which no ΦCore of this version returns, reads as
    /// [`Error::Machine`].
    pub fn result(self) -> Result<u64, Error> {
        match self.status {
            0 => Ok(self.value),
            number => Err(Error::from_number(number).unwrap_or(Error::Machine)),
        }
    }
}

impl From<Result<u64, Error>> for Outcome {
    fn from(result: Result<u64, Error>) -> Outcome {
        match result {
            Ok(value) => Outcome::success(value),
            Err(error) => Outcome::failure(error),
        }
    }
}

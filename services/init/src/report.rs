//! The lines of the log.

use crate::{End, Verdict};
use core::fmt::{Display, Formatter, Result};

/// A service's end, and what follows from it, as one line of the log.
pub struct Ended<'a> {
    /// The service's name.
    pub name: &'a str,
    /// How it ended.
    pub end: End,
    /// What follows.
    pub verdict: Verdict,
}

impl Display for Ended<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "init: {} ", self.name)?;
        match self.end {
            End::Exited(status) => write!(f, "ended with status {status}")?,
            End::Faulted(kind) => write!(f, "ended: {}", kind.description())?,
            End::Stopped => f.write_str("was stopped")?,
            End::NotStarted(error) => write!(f, "could not be started: {error}")?,
        }
        match self.verdict {
            Verdict::Restart { number, maximum, delay } => {
                write!(f, "; restart {number} of {maximum} in {}", Time(delay))?;
            }
            Verdict::Over => {}
            Verdict::Held => f.write_str("; the system goes on without it")?,
            Verdict::Ends(status) => write!(f, "; the system ends with status {status}")?,
        }
        f.write_str("\n")
    }
}

/// Nanoseconds, in the largest unit that loses nothing.
struct Time(u64);

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")];
        let fits = |(size, _): &&(u64, &str)| self.0 >= *size && self.0.is_multiple_of(*size);
        let (size, unit) = units.iter().find(fits).copied().unwrap_or((1, "ns"));
        write!(f, "{} {unit}", self.0 / size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use phi_abi::{Error, FaultKind};

    #[test]
    fn lines_say_what_happened_and_what_follows() {
        let restart = Verdict::Restart { number: 1, maximum: 3, delay: 10_000_000 };
        for (end, verdict, line) in [
            (
                End::Faulted(FaultKind::Read),
                restart,
                "init: reader ended: read of unmapped memory; restart 1 of 3 in 10 ms\n",
            ),
            (End::Exited(0), Verdict::Over, "init: reader ended with status 0\n"),
            (
                End::Exited(2),
                Verdict::Ends(2),
                "init: reader ended with status 2; the system ends with status 2\n",
            ),
            (
                End::NotStarted(Error::Machine),
                Verdict::Held,
                "init: reader could not be started: the machine could not do it; \
                 the system goes on without it\n",
            ),
        ] {
            assert_eq!(Ended { name: "reader", end, verdict }.to_string(), line);
        }
    }

    #[test]
    fn times_have_units() {
        for (time, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1 µs"),
            (1_500_000, "1500 µs"),
            (2_000_000_000, "2 s"),
            (2_000_000_001, "2000000001 ns"),
        ] {
            assert_eq!(Time(time).to_string(), text);
        }
    }
}

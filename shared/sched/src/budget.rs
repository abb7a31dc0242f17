//! CPU time per period.

/// A domain's CPU time. A period begins with the first use after the last one's end; what was used
/// beyond the budget is owed to the next periods.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    time: u64,
    period: u64,
    used: u64,
}

impl Budget {
    /// `time` nanoseconds in each period of `period` nanoseconds, each at least 1.
    pub fn new(time: u64, period: u64) -> Budget {
        Budget { time: time.max(1), period: period.max(1), used: 0 }
    }

    /// Counts `nanoseconds` as used.
    pub fn charge(&mut self, nanoseconds: u64) {
        self.used = self.used.saturating_add(nanoseconds);
    }

    /// Whether all the time of this period is used.
    pub fn is_used_up(&self) -> bool {
        self.used >= self.time
    }

    /// Whether any time is used or owed, so that a period runs.
    pub fn is_running(&self) -> bool {
        self.used > 0
    }

    /// A new period begins.
    pub fn replenish(&mut self) {
        self.used = self.used.saturating_sub(self.time);
    }

    /// Nanoseconds used in this period, with what is owed of those before.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Nanoseconds of a period.
    pub fn period(&self) -> u64 {
        self.period
    }

    /// Nanoseconds left in this period.
    pub fn left(&self) -> u64 {
        self.time.saturating_sub(self.used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_beyond_the_budget_is_owed() {
        let mut budget = Budget::new(10, 100);
        assert!(!budget.is_running());
        budget.charge(9);
        assert!(!budget.is_used_up());
        assert_eq!(budget.left(), 1);
        budget.charge(16);
        assert!(budget.is_used_up());
        budget.replenish();
        assert!(budget.is_used_up(), "15 are owed");
        budget.replenish();
        assert_eq!(budget.left(), 5);
        budget.replenish();
        assert!(!budget.is_running());
        budget.charge(u64::MAX);
        budget.charge(u64::MAX);
        assert!(budget.is_used_up());
    }
}

//! A failing run made short: choices are removed as long as it still fails in the same way.

use crate::run::{Outcome, Verdict};
use crate::schedule::Schedule;

/// Whether two runs failed in the same way: a kernel that crashed, one property, or a call without end.
fn alike(one: &Outcome, other: &Outcome) -> bool {
    match (one, other) {
        (Outcome::Safety(one), Outcome::Safety(other)) => one.property == other.property,
        (Outcome::Crash(_), Outcome::Crash(_)) | (Outcome::Liveness(_), Outcome::Liveness(_)) => {
            true
        }
        _ => false,
    }
}

/// The shortest schedule found on which `run` fails as it does on `schedule`; that one itself if it
/// does not fail. `attempts` bounds the runs that are made.
pub fn shrink(schedule: &Schedule, attempts: u64, run: impl Fn(&Schedule) -> Verdict) -> Schedule {
    let verdict = run(schedule);
    if verdict.outcome == Outcome::Ok {
        return schedule.clone();
    }
    let fails = |schedule: &Schedule| alike(&run(schedule).outcome, &verdict.outcome);
    let mut shortest = schedule.clone();
    shortest.steps.truncate(verdict.steps as usize);
    reduce(&mut shortest, attempts, fails);
    shortest
}

/// Removes ever smaller pieces of a schedule that fails, as long as it still does (Zeller and
/// Hildebrandt, "Simplifying and isolating failure-inducing input", TSE 2002).
fn reduce(schedule: &mut Schedule, attempts: u64, fails: impl Fn(&Schedule) -> bool) {
    let mut left = attempts;
    let mut piece = schedule.steps.len().div_ceil(2);
    while piece > 0 {
        let mut start = 0;
        let before = schedule.steps.len();
        while start < schedule.steps.len() {
            if left == 0 {
                return;
            }
            left -= 1;
            let mut shorter = schedule.clone();
            let end = (start + piece).min(shorter.steps.len());
            shorter.steps.drain(start..end);
            if fails(&shorter) {
                *schedule = shorter;
            } else {
                start = end;
            }
        }
        // The same size again as long as it helps: what was needed may not be any more.
        if piece > 1 || schedule.steps.len() == before {
            piece /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::check;
    use crate::world::World;

    #[test]
    fn what_is_not_needed_for_a_failure_goes() {
        let mut schedule = Schedule { swarm: 1, steps: (0..1000).collect() };
        let needed = |schedule: &Schedule| {
            let place = |word: u64| schedule.steps.iter().position(|step| *step == word);
            matches!((place(17), place(503)), (Some(one), Some(other)) if one < other)
        };
        reduce(&mut schedule, 10_000, needed);
        assert_eq!(schedule.steps, [17, 503]);
    }

    #[test]
    fn attempts_are_bounded() {
        let mut schedule = Schedule { swarm: 1, steps: (0..1000).collect() };
        let made = std::cell::Cell::new(0);
        reduce(&mut schedule, 5, |_| {
            made.set(made.get() + 1);
            false
        });
        assert_eq!((made.get(), schedule.steps.len()), (5, 1000));
    }

    #[test]
    fn a_run_that_does_not_fail_stays_as_it_is() {
        let schedule = Schedule::of(1, 100);
        assert_eq!(shrink(&schedule, 10, |schedule| check(World::Crowd, schedule)), schedule);
    }
}

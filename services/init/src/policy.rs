//! What follows from the end of a service.

use alloc::vec::Vec;
use phi_abi::{DomainState, Error, FaultKind};
use phi_manifest::plan::{AfterRestarts, Plan, RestartPlan, RestartPolicy};

/// The system's status when what should have given it gave none.
pub const STATUS_FAULT: u8 = 70;

/// How one run of a service ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// By itself, with this status.
    Exited(u8),
    /// By doing what no correct program does.
    Faulted(FaultKind),
    /// Because somebody stopped it.
    Stopped,
    /// Before it began.
    NotStarted(Error),
}

impl End {
    /// The end that a domain's state tells of; `None` while there is none.
    pub fn of(state: DomainState) -> Option<End> {
        match state {
            DomainState::Created | DomainState::Running => None,
            DomainState::Exited(status) => Some(End::Exited(status)),
            DomainState::Faulted { kind, .. } => Some(End::Faulted(kind)),
            DomainState::Stopped => Some(End::Stopped),
        }
    }

    /// Whether the service failed, so that its restart policy applies.
    fn is_failure(self) -> bool {
        !matches!(self, End::Exited(0) | End::Stopped)
    }

    fn status(self) -> u8 {
        match self {
            End::Exited(status) => status,
            End::Faulted(_) | End::Stopped | End::NotStarted(_) => STATUS_FAULT,
        }
    }
}

/// What follows from an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The service starts again.
    Restart {
        /// Which restart this is, from 1.
        number: u32,
        /// How many there are at most.
        maximum: u32,
        /// Nanoseconds until then.
        delay: u64,
    },
    /// The service has ended for good, and did not fail.
    Over,
    /// The service has failed for good, and the system goes on without it.
    Held,
    /// The service's end is the system's, with this status.
    Ends(u8),
}

/// What a supervised service is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// It is to be started at this time.
    Due(u64),
    Running,
    /// It runs, and is to make room for another image by this time.
    Leaving(u64),
    /// It has ended for good.
    Over,
}

#[derive(Debug)]
struct Watched {
    service: usize,
    restart: RestartPlan,
    restarts: u32,
    phase: Phase,
}

/// The services that `init` supervises, and what is to be done about them.
#[derive(Debug)]
pub struct Policy {
    watched: Vec<Watched>,
    until: Option<usize>,
    /// The status of the first service that failed for good.
    failure: Option<u8>,
    status: Option<u8>,
}

impl Policy {
    /// Everything that the plan's first service supervises is due at time 0, in the plan's order.
    pub fn new(plan: &Plan) -> Policy {
        let watched: Vec<Watched> = plan
            .services
            .iter()
            .enumerate()
            .skip(1)
            .filter(|(_, service)| service.supervisor == 0)
            .map(|(index, service)| Watched {
                service: index,
                restart: service.restart,
                restarts: 0,
                phase: Phase::Due(0),
            })
            .collect();
        let status = watched.is_empty().then_some(0);
        Policy { watched, until: plan.until.map(usize::from), failure: None, status }
    }

    /// The system's status, once it is to end.
    pub fn status(&self) -> Option<u8> {
        self.status
    }

    /// The services that run, by their index in the plan.
    pub fn running(&self) -> impl Iterator<Item = usize> {
        let runs = |one: &&Watched| matches!(one.phase, Phase::Running | Phase::Leaving(_));
        self.watched.iter().filter(runs).map(|one| one.service)
    }

    /// The next service to be started at time `now`, which counts as running from here on. Services
    /// that are due at one time come in the plan's order; none is once the system is to end.
    pub fn next_due(&mut self, now: u64) -> Option<usize> {
        if self.status.is_some() {
            return None;
        }
        let due = |one: &&mut Watched| matches!(one.phase, Phase::Due(time) if time <= now);
        let one = self.watched.iter_mut().find(due)?;
        one.phase = Phase::Running;
        Some(one.service)
    }

    /// A running service has another image and `patience` nanoseconds to make room for it. `false` if that
    /// was said before.
    pub fn offered(&mut self, service: usize, patience: u64, now: u64) -> bool {
        let running = |one: &&mut Watched| one.service == service && one.phase == Phase::Running;
        let found = self.watched.iter_mut().find(running);
        found.map(|one| one.phase = Phase::Leaving(now.saturating_add(patience))).is_some()
    }

    /// The next service that is to be stopped at time `now`, since it has not made room for another image.
    /// It counts as running until [`Policy::replaced`].
    pub fn next_late(&mut self, now: u64) -> Option<usize> {
        let late = |one: &&mut Watched| matches!(one.phase, Phase::Leaving(time) if time <= now);
        let one = self.watched.iter_mut().find(late)?;
        one.phase = Phase::Running;
        Some(one.service)
    }

    /// A service has made room for another image: it is to be started at time `now`, and that is no
    /// restart.
    pub fn replaced(&mut self, service: usize, now: u64) {
        let found = self.watched.iter_mut().find(|one| one.service == service);
        if let Some(one) = found.filter(|one| one.phase != Phase::Over) {
            one.phase = Phase::Due(now);
        }
    }

    /// The time at which the next service is to be started or stopped.
    pub fn next_time(&self) -> Option<u64> {
        let time = |one: &Watched| match one.phase {
            Phase::Due(time) | Phase::Leaving(time) => Some(time),
            Phase::Running | Phase::Over => None,
        };
        self.watched.iter().filter_map(time).min()
    }

    /// A running service ended at time `now`; what follows. `None` for a service that does not run.
    pub fn ended(&mut self, service: usize, end: End, now: u64) -> Option<Verdict> {
        let running = |one: &&mut Watched| {
            one.service == service && matches!(one.phase, Phase::Running | Phase::Leaving(_))
        };
        let one = self.watched.iter_mut().find(running)?;
        let RestartPlan { policy, backoff, longest, maximum, then } = one.restart;
        if end.is_failure() && policy == RestartPolicy::Always && one.restarts < maximum {
            let factor = 1u64.checked_shl(one.restarts).unwrap_or(u64::MAX);
            let delay = backoff.saturating_mul(factor).min(longest);
            one.restarts += 1;
            one.phase = Phase::Due(now.saturating_add(delay));
            return Some(Verdict::Restart { number: one.restarts, maximum, delay });
        }
        one.phase = Phase::Over;
        if end.is_failure() && self.failure.is_none() {
            self.failure = Some(end.status());
        }
        let stops = end.is_failure() && then == AfterRestarts::Stop;
        if self.until == Some(service) || stops {
            let status = *self.status.get_or_insert(end.status());
            return Some(Verdict::Ends(status));
        }
        if self.until.is_none() && self.watched.iter().all(|one| one.phase == Phase::Over) {
            let status = *self.status.get_or_insert(self.failure.unwrap_or(0));
            return Some(Verdict::Ends(status));
        }
        Some(if end.is_failure() { Verdict::Held } else { Verdict::Over })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use phi_manifest::plan::{ImagePlan, Quota, ServicePlan};
    use proptest::prelude::*;

    const FAULT: End = End::Faulted(FaultKind::Read);

    fn restart(policy: RestartPolicy, maximum: u32, then: AfterRestarts) -> RestartPlan {
        RestartPlan { policy, backoff: 10, longest: 40, maximum, then }
    }

    fn never(then: AfterRestarts) -> RestartPlan {
        restart(RestartPolicy::Never, 0, then)
    }

    fn service(restart: RestartPlan) -> ServicePlan {
        let image = ImagePlan { name: String::new(), hash: [0; 32], entry: 0, segments: [].into() };
        let quota = Quota {
            memory: 0,
            handles: 0,
            regions: 0,
            mailboxes: 0,
            messages: 0,
            signals: 0,
            threads: 1,
            lineages: 0,
        };
        ServicePlan {
            state: 0,
            replacement: None,
            name: String::new(),
            image,
            driver: None,
            window: 0,
            stack: 0,
            heap: 0,
            arguments: String::new(),
            unprotected_dma: false,
            quota,
            priority: 0,
            budget: None,
            restart,
            supervisor: 0,
            capabilities: Vec::new(),
        }
    }

    /// A policy for `init` and services with these restart plans.
    fn policy(restarts: &[RestartPlan], until: Option<u16>) -> Policy {
        let mut services = Vec::from([service(never(AfterRestarts::Hold))]);
        services.extend(restarts.iter().map(|restart| service(*restart)));
        Policy::new(&Plan {
            name: String::new(),
            services,
            mailboxes: Vec::new(),
            inputs: Vec::new(),
            plan_address: 0,
            until,
            mode: phi_manifest::plan::Mode::Full,
        })
    }

    fn start_all(policy: &mut Policy, now: u64) -> Vec<usize> {
        core::iter::from_fn(|| policy.next_due(now)).collect()
    }

    #[test]
    fn services_start_in_the_plans_order() {
        let mut policy = policy(&[never(AfterRestarts::Hold); 3], None);
        assert_eq!(policy.next_time(), Some(0));
        assert_eq!(start_all(&mut policy, 0), [1, 2, 3]);
        assert_eq!(policy.next_time(), None);
        assert_eq!(policy.running().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn failures_are_restarted_ever_later_and_then_the_system_goes_on() {
        let plan = restart(RestartPolicy::Always, 4, AfterRestarts::Hold);
        let mut policy = policy(&[plan, never(AfterRestarts::Hold)], Some(2));
        assert_eq!(start_all(&mut policy, 0), [1, 2]);
        let mut now = 100;
        for (number, delay) in [(1, 10), (2, 20), (3, 40), (4, 40)] {
            let verdict = Verdict::Restart { number, maximum: 4, delay };
            assert_eq!(policy.ended(1, FAULT, now), Some(verdict));
            assert_eq!(policy.next_time(), Some(now + delay));
            assert_eq!(policy.next_due(now + delay - 1), None);
            now += delay;
            assert_eq!(policy.next_due(now), Some(1));
        }
        assert_eq!(policy.ended(1, FAULT, now), Some(Verdict::Held));
        assert_eq!(policy.status(), None);
        assert_eq!(policy.ended(2, End::Exited(0), now), Some(Verdict::Ends(0)));
        assert_eq!(policy.status(), Some(0));
    }

    #[test]
    fn a_failure_for_good_stops_the_system_if_the_plan_says_so() {
        for (end, status) in
            [(FAULT, 70), (End::Exited(3), 3), (End::NotStarted(Error::Machine), 70)]
        {
            let mut policy =
                policy(&[never(AfterRestarts::Stop), never(AfterRestarts::Hold)], None);
            start_all(&mut policy, 0);
            assert_eq!(policy.ended(1, end, 0), Some(Verdict::Ends(status)));
            assert_eq!(policy.status(), Some(status));
        }
        let mut policy = policy(&[never(AfterRestarts::Stop), never(AfterRestarts::Hold)], None);
        start_all(&mut policy, 0);
        assert_eq!(policy.ended(1, End::Exited(0), 0), Some(Verdict::Over));
    }

    #[test]
    fn nothing_starts_once_the_system_is_to_end() {
        let mut policy = policy(&[never(AfterRestarts::Stop), never(AfterRestarts::Hold)], None);
        assert_eq!(policy.next_due(0), Some(1));
        let end = End::NotStarted(Error::Machine);
        assert_eq!(policy.ended(1, end, 0), Some(Verdict::Ends(70)));
        assert_eq!(policy.next_due(0), None);
    }

    #[test]
    fn the_until_service_gives_the_status_whatever_its_policy() {
        for then in [AfterRestarts::Hold, AfterRestarts::Stop] {
            for (end, status) in [(FAULT, 70), (End::Exited(9), 9), (End::Stopped, 70)] {
                let mut policy = policy(&[never(then), never(then)], Some(1));
                start_all(&mut policy, 0);
                assert_eq!(policy.ended(1, end, 0), Some(Verdict::Ends(status)));
            }
        }
        let plan = restart(RestartPolicy::Always, 1, AfterRestarts::Hold);
        let mut policy = policy(&[plan], Some(1));
        start_all(&mut policy, 0);
        let verdict = Verdict::Restart { number: 1, maximum: 1, delay: 10 };
        assert_eq!(policy.ended(1, End::Exited(4), 0), Some(verdict));
        start_all(&mut policy, 10);
        assert_eq!(policy.ended(1, End::Exited(5), 10), Some(Verdict::Ends(5)));
    }

    #[test]
    fn without_until_the_last_end_is_the_systems() {
        let mut policy = policy(&[never(AfterRestarts::Hold); 3], None);
        start_all(&mut policy, 0);
        assert_eq!(policy.ended(2, End::Exited(6), 0), Some(Verdict::Held));
        assert_eq!(policy.ended(1, FAULT, 0), Some(Verdict::Held));
        assert_eq!(policy.ended(3, End::Stopped, 0), Some(Verdict::Ends(6)));
        assert_eq!(self::policy(&[], None).status(), Some(0));
    }

    #[test]
    fn a_service_makes_room_or_is_late_and_neither_is_a_restart() {
        let mut policy = policy(&[restart(RestartPolicy::Always, 1, AfterRestarts::Stop)], None);
        start_all(&mut policy, 0);
        for round in 0..5 {
            let now = 1000 * round;
            assert!(policy.offered(1, 100, now));
            assert!(!policy.offered(1, 900, now), "the time is not put off");
            assert_eq!(policy.running().collect::<Vec<_>>(), [1]);
            assert_eq!(policy.next_time(), Some(now + 100));
            assert_eq!(policy.next_late(now + 99), None);
            if round % 2 == 0 {
                assert_eq!(policy.next_late(now + 100), Some(1));
                assert_eq!(policy.next_late(now + 100), None);
            }
            policy.replaced(1, now + 200);
            assert_eq!(start_all(&mut policy, now + 200), [1]);
        }
        let verdict = Verdict::Restart { number: 1, maximum: 1, delay: 10 };
        assert_eq!(policy.ended(1, FAULT, 9000), Some(verdict), "no restart was used up");
    }

    #[test]
    fn a_service_that_fails_instead_of_making_room_has_failed() {
        let mut policy = policy(&[never(AfterRestarts::Hold); 2], None);
        start_all(&mut policy, 0);
        assert!(policy.offered(1, 100, 0));
        assert_eq!(policy.ended(1, FAULT, 50), Some(Verdict::Held));
        policy.replaced(1, 60);
        assert_eq!(start_all(&mut policy, 60), [0; 0], "it has ended for good");
        assert!(!policy.offered(1, 100, 60));
    }

    #[test]
    fn only_running_services_end() {
        let mut policy = policy(&[never(AfterRestarts::Hold); 2], None);
        assert_eq!(policy.ended(1, FAULT, 0), None);
        start_all(&mut policy, 0);
        assert_eq!(policy.ended(1, FAULT, 0), Some(Verdict::Held));
        assert_eq!(policy.ended(1, FAULT, 0), None);
        assert_eq!(policy.ended(0, FAULT, 0), None);
        assert_eq!(policy.ended(9, FAULT, 0), None);
    }

    #[test]
    fn delays_do_not_overflow() {
        let plan = RestartPlan {
            backoff: u64::MAX / 2,
            longest: u64::MAX,
            ..restart(RestartPolicy::Always, 200, AfterRestarts::Hold)
        };
        let mut policy = policy(&[plan], None);
        for number in 1..=200 {
            start_all(&mut policy, u64::MAX);
            let verdict = policy.ended(1, FAULT, u64::MAX);
            assert!(matches!(verdict, Some(Verdict::Restart { number: n, .. }) if n == number));
        }
    }

    proptest! {
        /// Whatever happens, no service is started more often than its plan allows, and a system
        /// without a future has a status.
        #[test]
        fn starts_are_bounded_and_the_end_has_a_status(
            maxima in proptest::collection::vec(0u32..4, 1..5),
            until in proptest::option::of(1u16..5),
            steps in proptest::collection::vec((0usize..6, 0u8..5), 0..200),
        ) {
            let plans: Vec<RestartPlan> = maxima
                .iter()
                .map(|maximum| restart(RestartPolicy::Always, *maximum, AfterRestarts::Hold))
                .collect();
            let until = until.filter(|service| usize::from(*service) <= plans.len());
            let mut policy = policy(&plans, until);
            let mut starts = [0u32; 6];
            let mut now = 0;
            for (service, end) in steps {
                while let Some(started) = policy.next_due(now) {
                    starts[started] += 1;
                    prop_assert!(starts[started] <= maxima[started - 1] + 1);
                }
                let end = match end {
                    0 => End::Exited(0),
                    1 => End::Stopped,
                    2 => End::Exited(7),
                    _ => FAULT,
                };
                policy.ended(service, end, now);
                now = policy.next_time().unwrap_or(now).max(now);
                let future = policy.running().next().is_some() || policy.next_time().is_some();
                prop_assert!(future || policy.status().is_some());
            }
        }
    }
}

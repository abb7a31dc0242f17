//! Does what the policy says.

use crate::report::Ended;
use crate::{End, Policy, STATUS_FAULT, Verdict};
use alloc::vec::Vec;
use core::fmt::Write;
use phi_abi::STATUS_HANDED_OVER;
use phi_manifest::plan::{Plan, Target};
use phi_rt::{Console, Domain, Error, FOREVER, Service, Signal};

/// Nanoseconds that a service with state has to hand over to a new image.
const HAND_OVER_TIME: u64 = 1_000_000_000;

/// The service: returns the system's status when the system is to end.
pub fn main(service: &Service) -> u8 {
    let Ok(log) = service.console("log") else { return STATUS_FAULT };
    match prepare(service) {
        Ok(mut system) => system.run(&log),
        Err(problem) => {
            report(&log, format_args!("init: {problem}\n"));
            STATUS_FAULT
        }
    }
}

struct System {
    plan: Plan,
    /// The domains of the services, by their index in the plan, where this service holds them.
    domains: Vec<Option<Domain>>,
    events: Signal,
    policy: Policy,
}

fn prepare(service: &Service) -> Result<System, &'static str> {
    let input = service.input("plan").map_err(|_| "no region `plan`")?;
    let events = service.signal("events").map_err(|_| "no signal `events`")?;
    let plan: Plan =
        postcard::from_bytes(input.bytes()).map_err(|_| "`plan` holds no plan of this version")?;
    let mut domains: Vec<Option<Domain>> = plan.services.iter().map(|_| None).collect();
    let own = plan.services.first().ok_or("the plan has no services")?;
    for capability in &own.capabilities {
        if let Target::Domain(index) = capability.target
            && let Some(place) = domains.get_mut(usize::from(index))
        {
            *place = service.domain(&capability.name).ok();
        }
    }
    let policy = Policy::new(&plan);
    Ok(System { plan, domains, events, policy })
}

impl System {
    fn run(&mut self, log: &Console) -> u8 {
        loop {
            let now = phi_rt::now();
            while let Some(service) = self.policy.next_late(now) {
                self.stop(service, log);
            }
            while let Some(service) = self.policy.next_due(now) {
                if let Err(error) = self.start(service, log) {
                    self.ended(service, End::NotStarted(error), log);
                }
            }
            if let Some(status) = self.policy.status() {
                return status;
            }
            // What could not be started may be due again, sooner than anything else.
            let timeout =
                self.policy.next_time().map_or(FOREVER, |time| time.saturating_sub(phi_rt::now()));
            match self.events.wait(u64::MAX, timeout) {
                Ok(bits) => self.look(bits, log),
                Err(Error::TimedOut) => {}
                Err(error) => {
                    report(log, format_args!("init: cannot watch the services: {error}\n"));
                    return STATUS_FAULT;
                }
            }
        }
    }

    fn start(&self, service: usize, log: &Console) -> Result<(), Error> {
        let domain = self.domain(service).ok_or(Error::Denied)?;
        let replaces = domain.state().is_ok_and(|info| info.offered && info.generation > 0);
        let name = self.name(service);
        match domain.start() {
            Ok(_) => {
                if replaces {
                    report(log, format_args!("init: {name} runs its new image\n"));
                }
                Ok(())
            }
            // ΦCore offers it no longer, so this is the image of before.
            Err(error) if replaces => {
                let what = "its new image could not be started";
                report(log, format_args!("init: {name}: {what}: {error}; the old one goes on\n"));
                domain.start().map(drop)
            }
            Err(error) => Err(error),
        }
    }

    /// Stops a service that has not made room for its new image in time.
    fn stop(&mut self, service: usize, log: &Console) {
        if self.hands_over(service) {
            let name = self.name(service);
            report(log, format_args!("init: {name} has not handed over, and is stopped\n"));
        }
        // One that has just ended does not run any more, which `look` sees.
        if self.domain(service).is_some_and(|domain| domain.stop().is_ok()) {
            self.policy.replaced(service, phi_rt::now());
        }
    }

    fn domain(&self, service: usize) -> Option<&Domain> {
        self.domains.get(service).and_then(Option::as_ref)
    }

    fn name(&self, service: usize) -> &str {
        self.plan.services.get(service).map_or("?", |service| &service.name)
    }

    /// Whether a service is asked to hand its state over before it is stopped.
    fn hands_over(&self, service: usize) -> bool {
        self.plan.services.get(service).is_some_and(|service| service.state > 0)
    }

    /// Looks at the running services whose bits are set, and applies the policy to those that have
    /// ended.
    fn look(&mut self, bits: u64, log: &Console) {
        let running: Vec<usize> = self.policy.running().collect();
        for service in running {
            if bits & 1 << (service % 64) == 0 {
                continue;
            }
            let Some(domain) = self.domain(service) else { continue };
            let Ok(info) = domain.state() else { continue };
            let now = phi_rt::now();
            match End::of(info.state) {
                Some(End::Exited(STATUS_HANDED_OVER)) if info.offered => {
                    self.policy.replaced(service, now);
                }
                Some(end) => self.ended(service, end, log),
                None if info.offered => {
                    let patience = if self.hands_over(service) { HAND_OVER_TIME } else { 0 };
                    self.policy.offered(service, patience, now);
                }
                None => {}
            }
        }
    }

    fn ended(&mut self, service: usize, end: End, log: &Console) {
        let Some(verdict) = self.policy.ended(service, end, phi_rt::now()) else { return };
        let name = self.name(service);
        // What ends well is no news.
        if end != End::Exited(0) || !matches!(verdict, Verdict::Over | Verdict::Ends(0)) {
            report(log, format_args!("{}", Ended { name, end, verdict }));
        }
    }
}

fn report(mut log: &Console, text: core::fmt::Arguments<'_>) {
    let mut line = alloc::string::String::new();
    // A string takes everything, and a log that takes nothing must not end the system.
    let _ = line.write_fmt(text);
    let _ = log.write_str(&line);
}

//! Does what the policy says.

use crate::report::Ended;
use crate::{End, Policy, STATUS_FAULT, Verdict};
use alloc::vec::Vec;
use core::fmt::Write;
use phi_manifest::plan::{Plan, Target};
use phi_rt::{Console, Domain, Error, FOREVER, Service, Signal};

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
            while let Some(service) = self.policy.next_due(now) {
                if let Err(error) = self.start(service) {
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

    fn start(&self, service: usize) -> Result<(), Error> {
        let domain = self.domains.get(service).and_then(Option::as_ref).ok_or(Error::Denied)?;
        domain.start().map(drop)
    }

    /// Looks at the running services whose bits are set, and applies the policy to those that have
    /// ended.
    fn look(&mut self, bits: u64, log: &Console) {
        let running: Vec<usize> = self.policy.running().collect();
        for service in running {
            if bits & 1 << (service % 64) == 0 {
                continue;
            }
            let Some(domain) = self.domains.get(service).and_then(Option::as_ref) else { continue };
            if let Some(end) = domain.state().ok().and_then(|info| End::of(info.state)) {
                self.ended(service, end, log);
            }
        }
    }

    fn ended(&mut self, service: usize, end: End, log: &Console) {
        let Some(verdict) = self.policy.ended(service, end, phi_rt::now()) else { return };
        let name = self.plan.services.get(service).map_or("?", |service| &service.name);
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

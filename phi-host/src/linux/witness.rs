//! The supervisor's sites: what ΦCore decided, read off its frames and its state.
//!
//! ΦCore itself says nothing. What is looked at here costs nothing on the way of a plain message
//! but a few comparisons.

use super::machine::{Change, LinuxMachine};
use super::probe::site;
use phi_abi::{DomainState, Grant, Handle, Kind, Mode, Number, Outcome};
use phi_core::{Activity, DomainIndex, Frame, Holding, Kernel, Machine, ThreadIndex};
use phi_sim::recording::{Input, Recorded};

/// ΦCore on Linux.
type System<'a> = Recorded<LinuxMachine<'a>>;

/// What has been seen, and has an end that is to be seen.
#[derive(Default)]
pub struct Witness {
    lending: Vec<Lending>,
}

/// A call that carries loans.
struct Lending {
    caller: ThreadIndex,
    domain: DomainIndex,
    slot: usize,
    handle: u64,
    label: u64,
    bytes: u64,
    server: u64,
    begun: bool,
}

/// A capability that a domain has from now on: one site for each way to get it.
macro_rules! capability {
    ($name:literal, $kernel:expr, $domain:expr, $slot:expr, $handle:expr) => {
        if let Some(holding) = $kernel.holding_under($domain, $handle) {
            let (kind, rights, server) = described($kernel, &holding);
            site!($name, $domain.0, $slot, $handle.0, kind, rights, server);
        }
    };
}

impl Witness {
    /// ΦCore is about to hear of what a thread did.
    pub fn call_made(&mut self, system: &System<'_>, input: &Input) {
        let Input::Call { thread, number, arguments, message: Some(message) } = input else {
            return;
        };
        let loan = |grant: &&Grant| grant.mode == Mode::Loan as u32;
        if *number != Number::Call as u32 || !message.grants().iter().any(|grant| loan(&grant)) {
            return;
        }
        let kernel = system.kernel();
        let domain = kernel.domain_of(*thread);
        let held = kernel.holding_under(domain, Handle(arguments[0]));
        self.lending.push(Lending {
            caller: *thread,
            domain,
            slot: system.machine().slot(*thread),
            handle: arguments[0],
            label: message.label,
            bytes: message.grants().iter().filter(loan).map(|grant| grant.length).sum(),
            server: held.map_or(u64::MAX, |holding| described(kernel, &holding).2),
            begun: false,
        });
    }

    /// ΦCore has done what a thread's call asks for, or has the thread wait.
    pub fn call_done(&self, system: &System<'_>, thread: ThreadIndex) {
        let kernel = system.kernel();
        let Frame { number, arguments, outcome, .. } = kernel.frame(thread);
        let Outcome { status, value } = *outcome;
        // Of a thread that waits, the outcome is still to come; one that is gone has none.
        if !matches!(kernel.activity(thread), Activity::Ready | Activity::Parked) {
            return;
        }
        let (domain, slot) = (kernel.domain_of(thread), system.machine().slot(thread));
        match Number::from_number(*number) {
            Some(Number::CapabilityRevoke) => {
                site!("capability_revoke", domain.0, slot, arguments[0], 0, 0, status);
            }
            Some(Number::CapabilityDerive) if status == 0 => {
                capability!("capability_derive", kernel, domain, slot, Handle(value));
            }
            Some(
                Number::ObjectMint
                | Number::RegionCreate
                | Number::MailboxCreate
                | Number::SignalCreate
                | Number::ThreadCreate
                | Number::DeviceRegion
                | Number::IrqCreate
                | Number::DmaSpaceCreate,
            ) if status == 0 => {
                capability!("capability_make", kernel, domain, slot, Handle(value));
            }
            _ => {}
        }
    }

    /// ΦCore has come to rest: before threads go on, says what became of domains and loans.
    pub fn settled(&mut self, system: &mut System<'_>) {
        let changes = system.machine_mut().take_changes();
        let kernel = system.kernel();
        for change in changes {
            match change {
                Change::Loaded(domain, _) => {
                    for holding in kernel.holdings_of(domain) {
                        let (kind, rights, server) = described(kernel, &holding);
                        let handle = holding.handle.0;
                        site!("capability_start", domain.0, 0, handle, kind, rights, server);
                    }
                }
                Change::Unloaded(domain, generation) => ended(kernel, domain, generation),
            }
        }
        self.lending.retain_mut(|lending| {
            let Lending { domain, slot, handle, label, bytes, server, .. } = *lending;
            let lends = kernel.lends(lending.caller);
            if lends && !lending.begun {
                lending.begun = true;
                site!("loan_begin", domain.0, slot, handle, label, bytes, server);
            }
            if !lends && lending.begun {
                site!("loan_end", domain.0, slot, handle, label, bytes, server);
                return false;
            }
            matches!(kernel.activity(lending.caller), Activity::Calling(_) | Activity::Served)
        });
    }

    /// A thread goes on with what is in `frame`.
    pub fn released(&self, system: &System<'_>, thread: ThreadIndex, frame: &Frame) {
        if !frame.message_out || frame.message.grant_count == 0 {
            return;
        }
        let kernel = system.kernel();
        let (domain, slot) = (kernel.domain_of(thread), system.machine().slot(thread));
        for grant in frame.message.grants() {
            if grant.mode != Mode::Loan as u32 {
                capability!("capability_transfer", kernel, domain, slot, grant.handle);
            }
        }
    }
}

/// A capability's kind, its rights, and for one through which messages go the server, with the
/// mailbox above it.
fn described<M: Machine>(kernel: &Kernel<M>, holding: &Holding) -> (u64, u64, u64) {
    let capability = &holding.capability;
    let mailbox = matches!(capability.kind, Kind::Mailbox | Kind::Object);
    let mailbox = mailbox.then(|| kernel.mailboxes().get(capability.object as usize)).flatten();
    let server = mailbox
        .map_or(u64::MAX, |mailbox| u64::from(capability.object) << 16 | u64::from(mailbox.owner));
    (capability.kind as u64, u64::from(capability.rights.bits()), server)
}

/// A domain's start with this generation is over.
fn ended<M: Machine>(kernel: &Kernel<M>, domain: DomainIndex, generation: u32) {
    let info = kernel.info(domain);
    match info.state {
        DomainState::Exited(status) if info.generation == generation => {
            site!("service_exit", domain.0, 0, 0, generation, 0, status);
        }
        DomainState::Faulted { kind, address, .. } if info.generation == generation => {
            site!("service_fault", domain.0, 0, address, generation, 0, kind);
        }
        // Or it could not begin.
        _ => site!("service_stop", domain.0, 0, 0, generation, 0, 0),
    }
}

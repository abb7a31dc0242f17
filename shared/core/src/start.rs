//! How a domain starts.

use crate::{DomainIndex, Image, Kernel, Machine, MachineError};
use phi_abi::{
    ARGUMENT_BYTES, DomainState, Error, Kind, NAME_BYTES, NamedCapability, Rights,
    START_CAPABILITIES, layout,
};
use phi_cap::Capability;
use phi_ipc::MailboxState;
use phi_manifest::plan::Target;
use phi_mem::Region;

impl<M: Machine> Kernel<M> {
    /// Starts a domain that does not run, in a new generation.
    pub(crate) fn start_domain(&mut self, domain: u32) -> Result<(), Error> {
        let generation = self.domain(domain).generation.checked_add(1).ok_or(Error::Machine)?;
        let held = self.domain(domain);
        let image = held.offered.unwrap_or(held.image);
        self.fill_start(domain, generation, image)?;
        let index = DomainIndex(domain as u16);
        let loaded = self.machine.load(index, &self.start);
        let result = loaded.map_err(|MachineError| Error::Machine).and_then(|()| {
            let held = self.domain(domain);
            let stack = held.window + layout::STACK_OFFSET;
            let first = [image.entry, stack, held.window + layout::START_OFFSET];
            let priority = held.priority;
            self.new_thread(domain, first, priority)
        });
        if let Err(error) = result {
            self.machine.unload(index);
            self.end_holdings(domain);
            self.give_image_up(domain);
            return Err(error);
        }
        self.signal(self.domains.len() as u32 + domain).bits = 0;
        let held = self.domain_mut(domain);
        held.image = image;
        held.offered = None;
        held.state = DomainState::Running;
        held.generation = generation;
        if held.throttled {
            // A new start has no new budget.
            self.machine.throttle(index, true);
        }
        for mailbox in self.mailboxes.iter_mut() {
            if mailbox.planned && u32::from(mailbox.owner) == domain {
                mailbox.state = MailboxState::Open;
            }
        }
        Ok(())
    }

    /// Gives a domain the capabilities of its plan, and writes its start block.
    fn fill_start(&mut self, domain: u32, generation: u32, image: Image) -> Result<(), Error> {
        let held = &self.domains[domain as usize];
        let start = &mut *self.start;
        start.version = phi_abi::ABI_VERSION;
        start.generation = generation;
        start.window = held.window;
        start.heap = held.window + layout::HEAP_OFFSET;
        start.heap_size = held.heap;
        start.image = image.number;
        start.priority = u32::from(held.priority);
        let arguments = held.arguments.as_bytes();
        let length = arguments.len().min(ARGUMENT_BYTES);
        start.arguments = [0; ARGUMENT_BYTES];
        start.arguments[..length].copy_from_slice(&arguments[..length]);
        start.argument_length = length as u32;
        start.capabilities = [NamedCapability::EMPTY; START_CAPABILITIES];
        let count = held.capabilities.len().min(START_CAPABILITIES);
        start.capability_count = count as u64;
        for number in 0..count {
            let capability = self.planned_capability(domain, number);
            let anchor = self.anchors.of(capability.kind, capability.object);
            let Some((_, handle)) = self.capabilities.insert(domain, capability, anchor) else {
                self.end_holdings(domain);
                return Err(Error::QuotaExceeded);
            };
            let place = match capability.kind {
                Kind::Region => Some(self.regions[capability.object as usize].place),
                _ => None,
            };
            let name = self.domains[domain as usize].capabilities[number].name.as_bytes();
            let named = &mut self.start.capabilities[number];
            let length = name.len().min(NAME_BYTES);
            named.name[..length].copy_from_slice(&name[..length]);
            named.handle = handle;
            named.rights = capability.rights.bits();
            named.kind = capability.kind as u32;
            (named.address, named.length) =
                place.map_or((0, 0), |place| (place.address, place.length));
        }
        Ok(())
    }

    fn planned_capability(&self, domain: u32, number: usize) -> Capability {
        let plan = &self.domains[domain as usize].capabilities[number];
        let (kind, object, badge) = match plan.target {
            Target::Mailbox(mailbox) => (Kind::Mailbox, u32::from(mailbox), plan.badge),
            Target::Domain(other) => (Kind::Domain, u32::from(other), 0),
            Target::Input(input) => (Kind::Region, u32::from(input), 0),
            Target::Plan => (Kind::Region, self.plan_region, 0),
            Target::Events => (Kind::Signal, domain, 0),
            Target::State => (Kind::Region, self.state_region(domain), 0),
            Target::HandOver => (Kind::Signal, self.domains.len() as u32 + domain, 0),
            Target::Console(stream) => (Kind::Console, 0, stream),
            Target::Hardware => (Kind::Hardware, 0, 0),
        };
        let rights = Rights::from_bits_retain(plan.rights) & kind.rights();
        Capability::new(kind, rights, object, badge)
    }

    /// The region that outlives the restarts of `domain`, whose plan has one.
    fn state_region(&self, domain: u32) -> u32 {
        let states = self.plan_region + 1..self.regions.len() as u32;
        let own = |region: &u32| {
            let Region { planned, owner, .. } = self.regions[*region as usize];
            planned && u32::from(owner) == domain
        };
        // A checked plan refers to none that is not there.
        states.into_iter().find(own).unwrap_or(self.plan_region)
    }
}

//! The world of storage: a driver serves a block device, and each client keeps a log on it.
//!
//! What is checked, beside what holds in every world: nothing that a flush has acknowledged is ever
//! lost or changed; what a call lends, the driver reaches; and once the faults have stopped, every
//! client gets a flush through.

mod books;
mod client;
mod driver;
mod memory;
mod protocol;

use crate::actors::{Actor, Init, call};
use crate::checkers::Violation;
use crate::disk::{Disk, DiskFaults};
use crate::machine::{Act, Beginning, Services, Turn};
use crate::world::Role;
use books::Books;
use client::{Client, PART};
use driver::Driver;
use memory::Memory;
use phi_abi::{Number, Rights};
use phi_core::{Content, DomainIndex, MachineError, RegionIndex, Span, ThreadIndex};
use phi_random::Random;

/// What the actors of this world share with the machine.
struct World {
    disk: Disk,
    memory: Memory,
    books: Books,
    /// Whether the driver lets a client begin before its old requests have ended, which is a mistake:
    /// for the test of the checker.
    hasty: bool,
}

impl World {
    /// What an actor reads at an address that it was given.
    fn read(&mut self, domain: DomainIndex, address: u64, length: u64) -> Option<Vec<u8>> {
        let bytes = self.memory.read(domain, address, length);
        if bytes.is_none() {
            self.unreachable(domain, address, "read");
        }
        bytes
    }

    /// Lets an actor write at an address that it was given.
    fn write(&mut self, domain: DomainIndex, address: u64, bytes: &[u8]) {
        if self.memory.write(domain, address, bytes).is_none() {
            self.unreachable(domain, address, "written");
        }
    }

    fn unreachable(&mut self, domain: DomainIndex, address: u64, what: &str) {
        let domain = domain.0;
        self.books
            .violates(format!("{address:#x} cannot be {what} by domain {domain}, which holds it"));
    }
}

/// The thread of a domain: each has one.
enum Thread {
    Init(Init),
    Driver(Driver),
    Client(Client),
}

/// The services of this world.
pub(crate) struct Storage {
    world: World,
    roles: Vec<Role>,
    threads: Vec<Option<Thread>>,
    serial: u64,
}

impl Storage {
    /// The services for domains with these roles; the first two are `init` and the driver.
    pub(crate) fn new(roles: Vec<Role>, faults: DiskFaults, hasty: bool) -> Storage {
        let clients = roles.len() - 2;
        let disk = Disk::new(clients as u64 * PART, faults);
        let world = World { disk, memory: Memory::default(), books: Books::new(clients), hasty };
        Storage { world, roles, threads: Vec::new(), serial: 0 }
    }
}

impl Services for Storage {
    fn unload(&mut self, domain: DomainIndex) {
        self.world.memory.remove_domain(domain);
    }

    fn thread_start(
        &mut self,
        thread: ThreadIndex,
        domain: DomainIndex,
        _: Beginning,
    ) -> Result<(), MachineError> {
        let (place, domain) = (usize::from(thread.0), usize::from(domain.0));
        if self.threads.len() <= place {
            self.threads.resize_with(place + 1, || None);
        }
        self.threads[place] = Some(match self.roles.get(domain).ok_or(MachineError)? {
            Role::Init => Thread::Init(Init::default()),
            Role::Server => Thread::Driver(Driver::default()),
            _ => Thread::Client(Client::new(domain - 2)),
        });
        Ok(())
    }

    fn region_create(
        &mut self,
        region: RegionIndex,
        span: Span,
        _: Content,
    ) -> Result<(), MachineError> {
        self.world.memory.create(region, span);
        Ok(())
    }

    fn region_destroy(&mut self, region: RegionIndex) {
        self.world.memory.destroy(region);
    }

    fn set_access(
        &mut self,
        domain: DomainIndex,
        _: RegionIndex,
        span: Span,
        access: Rights,
    ) -> Result<(), MachineError> {
        self.world.memory.set_access(domain, span, access);
        Ok(())
    }

    fn next(&mut self, mut turn: Turn<'_>) -> Act {
        self.serial += 1;
        let world = &mut self.world;
        let thread = self.threads.get_mut(usize::from(turn.thread.0));
        let mut call = match thread.and_then(Option::as_mut) {
            Some(Thread::Init(init)) => init.next(turn),
            Some(Thread::Driver(driver)) => driver.next(&mut turn, world),
            Some(Thread::Client(client)) => client.next(&mut turn, world),
            None => call(Number::ThreadExit, &[]),
        };
        call.message.label = self.serial;
        Act::Call(call)
    }

    fn fail(&mut self, now: u64, random: &mut Random) -> bool {
        let disk = &mut self.world.disk;
        match random.below(8) {
            0 => disk.die(now, random),
            _ => disk.lose_power(now, random),
        }
        self.world.books.compare(&self.world.disk);
        true
    }

    fn rest(&mut self) {
        self.world.disk.repair();
        self.world.books.rest();
    }

    fn has_rested(&self) -> bool {
        self.world.books.are_through()
    }

    fn violation(&mut self) -> Option<Violation> {
        self.world.books.take_violation()
    }

    fn finish(&mut self) {
        self.world.books.compare(&self.world.disk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::Property;
    use crate::run::{Outcome, Rest, drive};
    use crate::schedule::{Schedule, Swarm};
    use crate::world;

    /// The outcomes of many runs with a device or a driver that is not as it should be.
    fn outcomes(faults: DiskFaults, hasty: bool) -> Vec<Outcome> {
        let run = |seed| {
            let schedule = Schedule::of(seed, 3_000);
            let mut random = Random::new(schedule.swarm);
            let swarm = Swarm { device: 400, lost: 400, ..Swarm::draw(&mut random) };
            let (plan, roles) = world::World::Storage.plan(&mut random);
            let storage = Storage::new(roles, faults, hasty);
            drive(&plan, storage, swarm, &schedule, Rest::Calls, &mut |_| {}).0.outcome
        };
        (0..60).map(run).collect()
    }

    const FAULTS: DiskFaults =
        DiskFaults { latency: 50_000, slow: 5, lost: true, torn: true, lies: false };

    fn is_found(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Safety(violation) if violation.property == Property::Storage)
    }

    #[test]
    fn a_device_that_loses_what_it_has_flushed_is_found() {
        let honest = outcomes(FAULTS, false);
        assert_eq!(honest.iter().find(|outcome| **outcome != Outcome::Ok), None);
        let lies = DiskFaults { lies: true, ..FAULTS };
        assert!(outcomes(lies, false).iter().any(is_found));
    }

    #[test]
    fn a_driver_that_lets_an_old_write_overtake_a_new_session_is_found() {
        let slow = DiskFaults { latency: 200_000, slow: 2, ..FAULTS };
        assert!(outcomes(slow, true).iter().any(is_found));
    }
}

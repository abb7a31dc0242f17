//! Lent pages: mapped as a call arrives, taken back before the caller goes on, whoever ends.

use super::system::{End, System, carrying};
use crate::ThreadIndex;
use phi_abi::layout::PAGE;
use phi_abi::{Error, FOREVER, Fault, FaultKind, Grant, Handle, Kind, Message, Number, Rights};

const READ_WRITE: Rights = Rights::READ.union(Rights::WRITE);
const LENDABLE: Rights = READ_WRITE.union(Rights::TRANSFER);

/// A client that has lent pages of a region of 4 pages to a server which serves its call.
struct Lent {
    system: System,
    client: ThreadIndex,
    /// Another thread of the client's domain.
    helper: ThreadIndex,
    server: ThreadIndex,
    /// The client's handle of the region, and where the region lies.
    region: u64,
    address: u64,
    /// Its index in ΦCore.
    index: u32,
    /// What the server got.
    reply: u64,
    loan: Grant,
}

/// Domain 1 of four lends `pages`, from number `from` on, to domain 2.
fn lend(rights: Rights, from: u64, pages: u64) -> Lent {
    lend_in(System::of(4), rights, from, pages)
}

/// The same in this system.
fn lend_in(mut system: System, rights: Rights, from: u64, pages: u64) -> Lent {
    let (client, server) = (system.first(1), system.first(2));
    let (helper, _) = system.spawn(client);
    let region = system.value(client, Number::RegionCreate, &[4 * PAGE]);
    let address = system.inspect(client, region).address;
    let index = system.capability(client, region).object;
    let serve = system.handle(2, "serve");
    system.invoke(server, Number::Receive, &[serve, FOREVER]);
    let to = system.handle(1, "to-2");
    let loan = Grant::loan(Handle(region), rights, address + from * PAGE, pages * PAGE);
    let sent = system.invoke_with(client, Number::Call, &[to, FOREVER], carrying(&[loan]));
    assert_eq!(sent, End::Blocked);
    let got = system.message(server);
    let (reply, loan) = (got.reply.0, got.grants()[0]);
    Lent { system, client, helper, server, region, address, index, reply, loan }
}

impl Lent {
    /// What `domain` may do with page `number`.
    fn access(&self, domain: u16, number: u64) -> Rights {
        self.system.kernel.machine().access(domain, self.index, self.address + number * PAGE)
    }

    /// The server lends pages of its loan on to domain 3, which serves the call: its reply
    /// capability. How the call ended if it was not delivered.
    fn lend_on(&mut self, address: u64, length: u64, rights: Rights) -> Result<u64, End> {
        let serve = self.system.handle(3, "serve");
        let third = self.system.first(3);
        let grant = Grant::loan(self.loan.handle, rights, address, length);
        let to = self.system.handle(2, "to-3");
        let words = [to, FOREVER];
        match self.system.invoke_with(self.server, Number::Call, &words, carrying(&[grant])) {
            End::Blocked => {
                self.system.value(third, Number::Receive, &[serve, 0]);
                Ok(self.system.message(third).reply.0)
            }
            end => Err(end),
        }
    }
}

#[test]
fn lent_pages_are_mapped_from_delivery_to_reply_and_no_others() {
    let mut lent = lend(READ_WRITE, 1, 2);
    assert_eq!((lent.loan.address, lent.loan.length), (lent.address + PAGE, 2 * PAGE));
    assert_eq!(lent.loan.rights, READ_WRITE.bits());
    let expected = [Rights::empty(), READ_WRITE, READ_WRITE, Rights::empty()];
    for (page, access) in (0..).zip(expected) {
        assert_eq!(lent.access(2, page), access, "page {page}");
    }
    let info = lent.system.inspect(lent.server, lent.loan.handle.0);
    assert_eq!((info.depth, info.rights), (1, READ_WRITE));
    // Ready threads are not dispatched here: the pages are gone before the caller can go on.
    lent.system.eager = false;
    lent.system.value(lent.server, Number::Reply, &[lent.reply]);
    assert_eq!(lent.access(2, 1), Rights::empty());
    assert_eq!(lent.system.end(lent.client), End::Value(0));
    let used = [lent.loan.handle.0, 4];
    lent.system.kernel.dispatch();
    let failed = lent.system.error(lent.server, Number::RegionMap, &used);
    assert_eq!(failed, Error::Revoked, "what was lent leaves a tombstone");
    assert_eq!(lent.system.kernel.capabilities.lineages_used(1), 0);
}

#[test]
fn a_loan_reaches_whole_pages_under_its_bytes() {
    let mut system = System::of(3);
    let (client, server) = (system.first(1), system.first(2));
    let region = system.value(client, Number::RegionCreate, &[4 * PAGE]);
    let address = system.inspect(client, region).address;
    let index = system.capability(client, region).object;
    let serve = system.handle(2, "serve");
    let loan = Grant::loan(Handle(region), Rights::READ, address + PAGE - 1, 2);
    let to = system.handle(1, "to-2");
    system.invoke_with(client, Number::Call, &[to, FOREVER], carrying(&[loan]));
    system.value(server, Number::Receive, &[serve, 0]);
    let got = system.message(server).grants()[0];
    assert_eq!((got.address, got.length), (address + PAGE - 1, 2));
    let access = |page| system.kernel.machine().access(2, index, address + page * PAGE);
    assert_eq!([access(0), access(1), access(2)], [Rights::READ, Rights::READ, Rights::empty()]);
}

#[test]
fn a_range_that_is_not_in_the_region_is_a_fault() {
    for (offset, length) in
        [(0, 0), (0, 4 * PAGE + 1), (4 * PAGE, 1), (1, u64::MAX), (PAGE, 1 << 63)]
    {
        let mut system = System::of(3);
        let client = system.first(1);
        let region = system.value(client, Number::RegionCreate, &[4 * PAGE]);
        let address = system.inspect(client, region).address + offset;
        let loan = carrying(&[Grant::loan(Handle(region), Rights::READ, address, length)]);
        let words = [system.handle(1, "to-2"), FOREVER];
        system.faults(client, Number::Call, &words, loan, (FaultKind::BadArgument, address));
    }
    let mut system = System::of(3);
    let client = system.first(1);
    let signal = system.value(client, Number::SignalCreate, &[]);
    let loan = carrying(&[Grant::loan(Handle(signal), Rights::READ, 0, 1)]);
    let words = [system.handle(1, "to-2"), FOREVER];
    system.faults(client, Number::Call, &words, loan, (FaultKind::BadHandle, signal));
}

#[test]
fn loans_pay_with_lineages() {
    let mut system = System::of(3);
    let client = system.first(1);
    let region = Handle(system.value(client, Number::RegionCreate, &[PAGE]));
    let address = system.inspect(client, region.0).address;
    let log = system.handle(1, "log");
    let sources: std::vec::Vec<u64> =
        (0..8).map(|_| system.derive(client, log, Rights::WRITE | Rights::DERIVE, false)).collect();
    for source in &sources {
        system.derive(client, *source, Rights::WRITE, true);
    }
    let loan = Grant::loan(region, Rights::READ, address, 1);
    let to = system.handle(1, "to-2");
    let sent = system.invoke_with(client, Number::Call, &[to, 0], carrying(&[loan; 3]));
    assert_eq!(sent, End::Error(Error::QuotaExceeded));
    let sent = system.invoke_with(client, Number::Call, &[to, 0], carrying(&[loan; 2]));
    assert_eq!(sent, End::Blocked);
    // It was queued, and the quota is used up by the time that it is delivered.
    let (helper, serve) = (system.first(2), system.handle(2, "serve"));
    system.pass_time(0);
    assert_eq!(system.end(client), End::Error(Error::TimedOut));
    let (second, _) = system.spawn(client);
    system.invoke_with(second, Number::Call, &[to, FOREVER], carrying(&[loan; 2]));
    system.derive(client, log, Rights::WRITE, true);
    system.value(helper, Number::Receive, &[serve, 0]);
    let got = system.message(helper);
    assert!(!got.grants()[0].handle.is_null() && got.grants()[1].handle.is_null());
    system.value(helper, Number::Reply, &[got.reply.0]);
    assert_eq!(system.kernel.capabilities.lineages_used(1), 9);
}

#[test]
fn a_lineage_that_is_too_deep_cannot_be_lent() {
    let mut system = System::of(3);
    let client = system.first(1);
    let mut handle = system.value(client, Number::RegionCreate, &[PAGE]);
    let address = system.inspect(client, handle).address;
    for _ in 0..8 {
        handle = system.derive(client, handle, Kind::Region.rights(), true);
    }
    let loan = carrying(&[Grant::loan(Handle(handle), Rights::READ, address, 1)]);
    let to = system.handle(1, "to-2");
    let sent = system.invoke_with(client, Number::Call, &[to, FOREVER], loan);
    assert_eq!(sent, End::Error(Error::TooDeep));
}

#[test]
fn a_loan_can_be_neither_moved_nor_copied_nor_mapped_nor_unmapped() {
    let mut lent = lend(LENDABLE, 0, 4);
    let to = lent.system.handle(2, "to-3");
    let handle = lent.loan.handle;
    for grant in [Grant::transfer(handle, Rights::READ), Grant::copy(handle, Rights::READ)] {
        let sent = lent.system.invoke_with(lent.server, Number::Send, &[to], carrying(&[grant]));
        assert_eq!(sent, End::Error(Error::Denied), "{grant:?}");
    }
    let derive = [handle.0, 4, 1];
    let server = lent.server;
    assert_eq!(lent.system.error(server, Number::CapabilityDerive, &derive), Error::Denied);
    assert_eq!(lent.system.error(server, Number::RegionMap, &[handle.0, 4]), Error::Busy);
    assert_eq!(lent.system.error(server, Number::RegionUnmap, &[handle.0]), Error::Busy);
    assert_eq!(lent.access(2, 3), READ_WRITE);
    // It can be given up early.
    lent.system.value(server, Number::CapabilityDrop, &[handle.0]);
    assert_eq!(lent.access(2, 3), Rights::empty());
    lent.system.value(server, Number::Reply, &[lent.reply]);
    assert_eq!(lent.system.end(lent.client), End::Value(0));
}

#[test]
fn what_is_lent_is_lent_on_within_its_range_only() {
    let mut lent = lend(Rights::READ | Rights::TRANSFER, 1, 2);
    let third = lent.system.first(3);
    let (inside, all) = (lent.address + PAGE, 2 * PAGE);
    assert_eq!(lent.lend_on(inside, 1, READ_WRITE), Err(End::Error(Error::Denied)));
    let reply = lent.lend_on(inside + PAGE, PAGE, Rights::READ).unwrap();
    assert_eq!([lent.access(3, 1), lent.access(3, 2)], [Rights::empty(), Rights::READ]);
    assert_eq!(lent.access(2, 1), Rights::READ);
    lent.system.value(third, Number::Reply, &[reply]);
    assert_eq!(lent.access(3, 2), Rights::empty());
    lent.system.value(lent.server, Number::Reply, &[lent.reply]);
    for (address, length) in [(inside - 1, 2), (inside, all + 1), (inside + all, 1)] {
        let mut lent = lend(Rights::READ | Rights::TRANSFER, 1, 2);
        assert_eq!(lent.lend_on(address, length, Rights::READ), Err(End::Gone));
        assert_eq!(lent.system.fault(2), (FaultKind::BadArgument, address));
        assert_eq!(lent.system.end(lent.client), End::Error(Error::Dead));
    }
    // Without the right to transfer, there is no lending on.
    let mut lent = lend(Rights::READ, 1, 2);
    assert_eq!(lent.lend_on(inside, 1, Rights::READ), Err(End::Error(Error::Denied)));
}

#[test]
fn the_end_of_a_loan_is_the_end_of_what_was_lent_on() {
    let mut lent = lend(LENDABLE, 0, 2);
    let (reply, third) =
        (lent.lend_on(lent.address, 1, Rights::READ).unwrap(), lent.system.first(3));
    // Another thread of the server answers the first call while the second goes on.
    lent.system.stop_service(2);
    assert_eq!(lent.system.end(lent.client), End::Error(Error::Dead));
    assert_eq!(lent.access(3, 0), Rights::empty());
    assert_eq!(lent.system.error(third, Number::Reply, &[reply]), Error::Dead);
    assert_eq!(lent.system.kernel.capabilities.lineages_used(2), 0);
}

#[test]
fn overlapping_loans_and_mappings_add_up() {
    let mut system = System::of(3);
    let (client, server) = (system.first(1), system.first(2));
    let region = system.value(client, Number::RegionCreate, &[4 * PAGE]);
    let address = system.inspect(client, region).address;
    let index = system.capability(client, region).object;
    let grants = [Grant::copy(Handle(region), Rights::READ | Rights::TRANSFER)];
    let copy = system.pass(client, server, &grants)[0].handle.0;
    system.value(server, Number::RegionMap, &[copy, 4]);
    let loans = [
        Grant::loan(Handle(region), READ_WRITE, address, 2 * PAGE),
        Grant::loan(Handle(region), Rights::READ, address + PAGE, 2 * PAGE),
        Grant::loan(Handle(region), READ_WRITE, address + 3 * PAGE, 1),
    ];
    let (to, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
    system.invoke_with(client, Number::Call, &[to, FOREVER], carrying(&loans));
    system.value(server, Number::Receive, &[serve, 0]);
    let got = system.message(server);
    let access = |system: &System| -> [Rights; 4] {
        core::array::from_fn(|page| {
            system.kernel.machine().access(2, index, address + page as u64 * PAGE)
        })
    };
    assert_eq!(access(&system), [READ_WRITE, READ_WRITE, Rights::READ, READ_WRITE]);
    system.value(server, Number::CapabilityDrop, &[got.grants()[0].handle.0]);
    assert_eq!(access(&system), [Rights::READ, Rights::READ, Rights::READ, READ_WRITE]);
    system.value(server, Number::RegionUnmap, &[copy]);
    let none = Rights::empty();
    assert_eq!(access(&system), [none, Rights::READ, Rights::READ, READ_WRITE]);
    system.value(server, Number::RegionMap, &[copy, 4]);
    system.value(server, Number::Reply, &[got.reply.0]);
    assert_eq!(access(&system), [Rights::READ; 4]);
}

#[test]
fn a_lender_that_dies_leaves_its_pages_until_the_answer() {
    let mut lent = lend(READ_WRITE, 0, 4);
    let memory = lent.system.kernel.domain(1).region_memory;
    lent.system.stop_service(1);
    assert_eq!(lent.system.end(lent.client), End::Gone);
    assert_eq!(lent.access(2, 3), READ_WRITE, "the server did nothing wrong");
    assert_eq!(lent.system.kernel.domain(1).region_memory, memory);
    // The next generation still pays for them.
    lent.system.start_service(1);
    let statistics = lent.system.kernel.statistics(crate::DomainIndex(1));
    assert_eq!(statistics.memory, 3 * PAGE + memory);
    assert_eq!(lent.system.kernel.capabilities.lineages_used(1), 1);
    assert_eq!(lent.system.error(lent.server, Number::Reply, &[lent.reply]), Error::Dead);
    assert_eq!(lent.access(2, 3), Rights::empty());
    assert!(!lent.system.kernel.machine().regions.contains_key(&lent.index));
    assert_eq!(lent.system.kernel.domain(1).region_memory, 0);
    assert_eq!(lent.system.kernel.capabilities.lineages_used(1), 0);
}

#[test]
fn a_server_that_drops_its_reply_before_its_loan_as_it_dies_leaves_nothing() {
    let mut system = System::of(4);
    let server = system.first(2);
    // What it gets next takes the later slot, and what comes after that the earlier one.
    for signal in [(); 2].map(|()| system.value(server, Number::SignalCreate, &[])) {
        system.value(server, Number::CapabilityDrop, &[signal]);
    }
    let mut lent = lend_in(system, READ_WRITE, 0, 4);
    assert!(Handle(lent.reply).slot() < lent.loan.handle.slot());
    lent.system.stop_service(1);
    lent.system.stop_service(2);
    assert!(!lent.system.kernel.machine().regions.contains_key(&lent.index));
    assert_eq!(lent.system.kernel.domain(1).region_memory, 0);
}

#[test]
fn lender_and_server_die_in_either_order_and_leave_nothing() {
    for order in [[1, 2], [2, 1]] {
        let mut lent = lend(READ_WRITE, 0, 4);
        for service in order {
            lent.system.stop_service(service);
        }
        assert!(!lent.system.kernel.machine().regions.contains_key(&lent.index), "{order:?}");
        assert_eq!(lent.system.kernel.domain(1).region_memory, 0);
        assert_eq!(lent.system.kernel.capabilities.lineages_used(1), 0);
        lent.system.start_service(1);
        lent.system.start_service(2);
    }
}

#[test]
fn a_lent_region_that_its_owner_drops_ends_with_the_loan() {
    for dies in [false, true] {
        let mut lent = lend(READ_WRITE, 0, 4);
        lent.system.value(lent.helper, Number::CapabilityDrop, &[lent.region]);
        assert_eq!(lent.access(2, 0), READ_WRITE);
        if dies {
            lent.system.stop_service(2);
        } else {
            lent.system.value(lent.server, Number::Reply, &[lent.reply]);
        }
        assert!(!lent.system.kernel.machine().regions.contains_key(&lent.index));
        assert_eq!(lent.system.kernel.domain(1).region_memory, 0);
    }
}

#[test]
fn two_loans_of_a_region_that_everybody_has_dropped_end_once() {
    let mut system = System::of(3);
    let (client, server) = (system.first(1), system.first(2));
    let (caller, _) = system.spawn(client);
    let region = system.value(client, Number::RegionCreate, &[PAGE]);
    let address = system.inspect(client, region).address;
    let loan = Grant::loan(Handle(region), Rights::READ, address, 1);
    let (to, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
    system.invoke_with(caller, Number::Call, &[to, FOREVER], carrying(&[loan; 2]));
    system.value(server, Number::Receive, &[serve, 0]);
    let got = system.message(server);
    system.value(client, Number::CapabilityDrop, &[region]);
    for grant in got.grants() {
        system.value(server, Number::CapabilityDrop, &[grant.handle.0]);
    }
    assert_eq!(system.kernel.domain(1).region_memory, 0);
    system.value(server, Number::Reply, &[got.reply.0]);
    assert_eq!(system.end(caller), End::Value(0));
}

#[test]
fn a_server_that_dies_with_its_reply_in_a_lower_slot_than_its_mapping() {
    let mut system = System::of(3);
    let (client, server) = (system.first(1), system.first(2));
    let region = system.value(client, Number::RegionCreate, &[2 * PAGE]);
    let address = system.inspect(client, region).address;
    let copy = Grant::copy(Handle(region), Rights::READ | Rights::TRANSFER);
    // Free slots are used again last in, first out: loan, then reply, then the copy.
    let spare: [u64; 3] = core::array::from_fn(|_| system.value(server, Number::SignalCreate, &[]));
    let first = system.pass(client, server, &[copy])[0].handle.0;
    system.value(server, Number::RegionMap, &[first, 4]);
    system.value(server, Number::CapabilityDrop, &[spare[0]]);
    system.value(server, Number::CapabilityDrop, &[spare[1]]);
    let loan = Grant::loan(Handle(region), READ_WRITE, address, PAGE);
    let (to, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
    system.invoke_with(client, Number::Call, &[to, FOREVER], carrying(&[loan]));
    system.value(server, Number::Receive, &[serve, 0]);
    let got = system.message(server);
    assert!(got.reply.slot() < got.grants()[0].handle.slot());
    assert!(got.reply.slot() < Handle(first).slot());
    system.stop_service(2);
    assert_eq!(system.end(client), End::Error(Error::Dead));
}

#[test]
fn a_timeout_never_takes_lent_pages_from_a_server() {
    let mut system = System::of(3);
    let (client, server) = (system.first(1), system.first(2));
    let region = system.value(client, Number::RegionCreate, &[PAGE]);
    let address = system.inspect(client, region).address;
    let index = system.capability(client, region).object;
    let loan = carrying(&[Grant::loan(Handle(region), Rights::READ, address, 1)]);
    let (to, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
    // In the queue, a call with loans times out as any other.
    system.invoke_with(client, Number::Call, &[to, 10], loan);
    system.pass_time(10);
    assert_eq!(system.end(client), End::Error(Error::TimedOut));
    // Delivered from the queue, or at once: it waits for its answer.
    for waits in [false, true] {
        if waits {
            system.invoke(server, Number::Receive, &[serve, FOREVER]);
        }
        system.invoke_with(client, Number::Call, &[to, 10], loan);
        if !waits {
            system.value(server, Number::Receive, &[serve, 0]);
        }
        system.pass_time(1000);
        assert_eq!(system.end(client), End::Blocked);
        assert_eq!(system.kernel.machine().access(2, index, address), Rights::READ);
        let reply = system.message(server).reply.0;
        system.value(server, Number::Reply, &[reply]);
        assert_eq!(system.end(client), End::Value(0));
    }
}

#[test]
fn revocation_takes_lent_pages_and_a_use_of_them_is_the_servers_fault() {
    let mut system = System::of(3);
    let (client, server) = (system.first(1), system.first(2));
    let (caller, _) = system.spawn(client);
    let region = system.value(client, Number::RegionCreate, &[PAGE]);
    let address = system.inspect(client, region).address;
    let index = system.capability(client, region).object;
    let child = system.derive(client, region, Kind::Region.rights(), true);
    let loan = carrying(&[Grant::loan(Handle(child), READ_WRITE, address, 1)]);
    let (to, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
    system.invoke_with(caller, Number::Call, &[to, FOREVER], loan);
    system.value(server, Number::Receive, &[serve, 0]);
    assert_eq!(system.kernel.machine().access(2, index, address), READ_WRITE);
    system.value(client, Number::CapabilityRevoke, &[region]);
    assert_eq!(system.kernel.machine().access(2, index, address), Rights::empty());
    assert_eq!(system.end(caller), End::Blocked, "the call itself goes on");
    let fault = Fault { kind: FaultKind::Read, address, instruction: 0x1234 };
    system.kernel.fault(server, fault);
    system.settle();
    assert_eq!(system.end(caller), End::Error(Error::Dead));
    assert_eq!(system.kernel.capabilities.lineages_used(1), 0);
}

#[test]
fn a_loan_for_which_the_machine_has_no_room_does_not_arrive() {
    let mut system = System::of(3);
    let (client, server) = (system.first(1), system.first(2));
    let region = system.value(client, Number::RegionCreate, &[PAGE]);
    let address = system.inspect(client, region).address;
    let loan = carrying(&[Grant::loan(Handle(region), Rights::READ, address, 1)]);
    let (to, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
    system.invoke_with(client, Number::Call, &[to, FOREVER], loan);
    system.kernel.machine_mut().failures.map = 1;
    system.value(server, Number::Receive, &[serve, 0]);
    let got = system.message(server);
    assert!(got.grants()[0].handle.is_null());
    system.value(server, Number::Reply, &[got.reply.0]);
    assert_eq!(system.end(client), End::Value(0));
    assert_eq!(system.kernel.statistics(crate::DomainIndex(1)).loans, 0);
}

#[test]
fn a_reply_with_loans_that_moves_ends_them_from_afar() {
    let mut lent = lend(READ_WRITE, 0, 1);
    let third = lent.system.first(3);
    let grant = Grant::transfer(Handle(lent.reply), Rights::empty());
    let moved = lent.system.pass(lent.server, third, &[grant])[0].handle.0;
    assert_eq!(lent.access(2, 0), READ_WRITE);
    lent.system.value(third, Number::Reply, &[moved]);
    assert_eq!(lent.access(2, 0), Rights::empty());
    assert_eq!(lent.system.end(lent.client), End::Value(0));
}

#[test]
fn a_reply_that_is_dropped_ends_the_loans() {
    let mut lent = lend(READ_WRITE, 0, 1);
    lent.system.value(lent.server, Number::CapabilityDrop, &[lent.reply]);
    assert_eq!(lent.access(2, 0), Rights::empty());
    assert_eq!(lent.system.end(lent.client), End::Error(Error::Dead));
    let fault = (FaultKind::BadHandle, lent.reply);
    let words = [lent.reply];
    lent.system.faults(lent.server, Number::Reply, &words, Message::EMPTY, fault);
}

#[test]
fn a_loan_never_carries_the_right_to_derive() {
    let mut lent = lend(LENDABLE | Rights::DERIVE, 0, 1);
    assert_eq!(lent.loan.rights, LENDABLE.bits());
    let words = [lent.loan.handle.0, u64::from(Rights::READ.bits()), 0];
    let error = lent.system.error(lent.server, Number::CapabilityDerive, &words);
    assert_eq!(error, Error::Denied);
}

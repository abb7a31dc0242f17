//! Derive, drop, inspect, mint: rights, quotas and handles.

use super::plan::{INPUT_LENGTH, plan};
use super::system::{End, System};
use phi_abi::layout::{PAGE, WINDOWS_BASE, window};
use phi_abi::{Error, FaultKind, Handle, Kind, Message, Number, Rights};

const SHARED: Rights = Rights::DERIVE.union(Rights::TRANSFER);

#[test]
fn rights_only_shrink() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let signal = system.value(thread, Number::SignalCreate, &[]);
    let notify = system.derive(thread, signal, Rights::NOTIFY | Rights::DERIVE, false);
    assert_eq!(system.inspect(thread, notify).rights, Rights::NOTIFY | Rights::DERIVE);
    let words = [notify, u64::from(Rights::WAIT.bits()), 0];
    assert_eq!(system.error(thread, Number::CapabilityDerive, &words), Error::Denied);
    let leaf = system.derive(thread, notify, Rights::NOTIFY, false);
    let words = [leaf, u64::from(Rights::NOTIFY.bits()), 0];
    assert_eq!(system.error(thread, Number::CapabilityDerive, &words), Error::Denied);
    system.value(thread, Number::SignalNotify, &[leaf, 1]);
}

#[test]
fn arguments_that_are_never_right_are_faults() {
    let unknown = 1 << 40;
    let region_right = u64::from(Rights::READ.bits());
    let cases = [
        ([0, unknown, 0], unknown),
        ([0, region_right, 0], region_right),
        ([0, u64::from(Rights::SEND.bits()), 2], 2),
        ([0, u64::from(Rights::SEND.bits()), u64::MAX], u64::MAX),
    ];
    for (mut words, argument) in cases {
        let mut system = System::of(2);
        words[0] = system.handle(1, "serve");
        let fault = (FaultKind::BadArgument, argument);
        let thread = system.first(1);
        system.faults(thread, Number::CapabilityDerive, &words, Message::EMPTY, fault);
    }
}

/// Every call that takes a handle, with the place of the handle among its words.
const HANDLES: [(Number, usize); 22] = [
    (Number::CapabilityDerive, 0),
    (Number::CapabilityRevoke, 0),
    (Number::CapabilityDrop, 0),
    (Number::CapabilityInspect, 0),
    (Number::ObjectMint, 0),
    (Number::RegionMap, 0),
    (Number::RegionUnmap, 0),
    (Number::Send, 0),
    (Number::Call, 0),
    (Number::Receive, 0),
    (Number::Reply, 0),
    (Number::ReplyReceive, 0),
    (Number::ReplyReceive, 1),
    (Number::SignalNotify, 0),
    (Number::SignalWait, 0),
    (Number::SignalBind, 0),
    (Number::SignalBind, 1),
    (Number::ThreadPriority, 0),
    (Number::DomainStart, 0),
    (Number::DomainStop, 0),
    (Number::DomainInspect, 0),
    (Number::ConsoleWrite, 0),
];

/// Words with which `number` would get past its other arguments.
fn words_for(system: &mut System, number: Number) -> [u64; 4] {
    let thread = system.first(1);
    let serve = system.handle(1, "serve");
    match number {
        Number::RegionMap => [0, u64::from(Rights::READ.bits()), 0, 0],
        Number::SignalWait => [0, 1, 0, 0],
        Number::SignalBind => {
            let signal = system.value(thread, Number::SignalCreate, &[]);
            [signal, serve, 0, 0]
        }
        Number::ReplyReceive => [serve, serve, 0, 0],
        _ => [0; 4],
    }
}

#[test]
fn forged_and_dropped_handles_are_faults_of_every_call() {
    let dropped = |system: &mut System| {
        let handle = system.handle(1, "log");
        system.value(system.first(1), Number::CapabilityDrop, &[handle]);
        handle
    };
    let forgers: [&dyn Fn(&mut System) -> u64; 6] = [
        &|_| 0,
        &|_| u64::MAX,
        &dropped,
        // A slot that was never used, one beyond the table, and another generation.
        &|_| Handle::new(31, 1).0,
        &|_| Handle::new(32, 1).0,
        &|system| system.handle(1, "serve") + Handle::new(0, 1).0,
    ];
    for (number, place) in HANDLES {
        for forge in forgers {
            let mut system = System::of(2);
            let mut words = words_for(&mut system, number);
            words[place] = forge(&mut system);
            let fault = (FaultKind::BadHandle, words[place]);
            system.faults(system.first(1), number, &words, Message::EMPTY, fault);
        }
    }
}

#[test]
fn handles_of_another_kind_are_faults_of_every_call_that_needs_one_kind() {
    let any = [
        Number::CapabilityDerive,
        Number::CapabilityRevoke,
        Number::CapabilityDrop,
        Number::CapabilityInspect,
    ];
    for (number, place) in HANDLES.iter().filter(|(number, _)| !any.contains(number)) {
        let mut system = System::of(2);
        let thread = system.first(1);
        let mut words = words_for(&mut system, *number);
        // A thread is of the wrong kind for all but one of them.
        words[*place] = match number {
            Number::ThreadPriority => system.handle(1, "log"),
            _ => system.spawn(thread).1,
        };
        if (*number, *place) == (Number::ReplyReceive, 1) {
            // The reply comes first, and it is no reply capability.
            continue;
        }
        let fault = (FaultKind::BadHandle, words[*place]);
        system.faults(thread, *number, &words, Message::EMPTY, fault);
    }
}

#[test]
fn unknown_calls_are_faults() {
    for number in [phi_abi::CALLS.len() as u32, 1000, u32::MAX] {
        let mut system = System::of(2);
        let thread = system.first(1);
        system.enter(thread, number, &[], Message::EMPTY);
        assert_eq!(system.fault(1), (FaultKind::BadCall, u64::from(number)));
    }
}

#[test]
fn handles_mean_something_to_their_holder_only() {
    let mut system = System::of(3);
    let (first, second) = (system.first(1), system.first(2));
    // More handles in domain 1, so that the slot is free in domain 2.
    for _ in 0..3 {
        system.value(first, Number::SignalCreate, &[]);
    }
    let log = system.handle(1, "log");
    let mut extra = log;
    for _ in 0..2 {
        extra = system.derive(first, log, Rights::WRITE, false);
    }
    system.faults(
        second,
        Number::ConsoleWrite,
        &[extra],
        Message::EMPTY,
        (FaultKind::BadHandle, extra),
    );
}

#[test]
fn the_table_has_as_many_slots_as_the_quota_says() {
    let mut plan = plan(2);
    plan.services[1].quota.handles = 6;
    let mut system = System::start(&plan);
    let thread = system.first(1);
    let log = system.handle(1, "log");
    let used = system.kernel.statistics(crate::DomainIndex(1)).handles;
    assert_eq!(used, 4, "serve, to-0, input, log");
    let copy = system.derive(thread, log, Rights::WRITE, false);
    system.derive(thread, log, Rights::WRITE, false);
    let write = u64::from(Rights::WRITE.bits());
    let calls: [(Number, [u64; 4]); 8] = [
        (Number::CapabilityDerive, [log, write, 0, 0]),
        (Number::CapabilityDerive, [log, write, 1, 0]),
        (Number::ObjectMint, [system.handle(1, "serve"), 1, 0, 0]),
        (Number::RegionCreate, [PAGE, 0, 0, 0]),
        (Number::MailboxCreate, [1, 0, 0, 0]),
        (Number::SignalCreate, [0; 4]),
        (Number::ThreadCreate, [0x1000, 0x2000, 0, 1]),
        (Number::ThreadCreate, [0x1000, 0x2000, 0, 1]),
    ];
    for (number, words) in calls {
        assert_eq!(system.error(thread, number, &words), Error::QuotaExceeded, "{number:?}");
    }
    system.value(thread, Number::CapabilityDrop, &[copy]);
    system.value(thread, Number::RegionCreate, &[PAGE]);
    assert_eq!(system.kernel.capabilities.lineages_used(1), 0);
}

#[test]
fn inspect_tells_what_a_holder_may_know() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let input = system.handle(1, "input");
    let info = system.inspect(thread, input);
    assert_eq!((info.kind, info.rights), (Kind::Region, SHARED | Rights::READ));
    assert_eq!((info.address, info.length, info.depth), (WINDOWS_BASE, INPUT_LENGTH, 0));
    let region = system.value(thread, Number::RegionCreate, &[PAGE + 1]);
    let info = system.inspect(thread, region);
    assert_eq!(info.length, 2 * PAGE);
    assert!((window(1)..window(2)).contains(&info.address));
    let child = system.derive(thread, region, Rights::READ, true);
    let derived = system.inspect(thread, child);
    assert_eq!((derived.depth, derived.kind, derived.rights), (1, Kind::Region, Rights::READ));
    assert_eq!(derived.address, info.address);
    assert_ne!(derived.id, info.id);
    let serve = system.handle(1, "serve");
    let info = system.inspect(thread, serve);
    assert_eq!((info.kind, info.address, info.length), (Kind::Mailbox, 0, 4));
    // What is left of a revoked one says nothing of the object.
    system.value(thread, Number::CapabilityRevoke, &[region]);
    let left = system.inspect(thread, child);
    assert_eq!((left.id, left.kind, left.address, left.length), (derived.id, Kind::Region, 0, 0));
}

#[test]
fn a_drop_of_the_last_capability_ends_the_object_and_frees_its_place() {
    let mut system = System::of(2);
    let thread = system.first(1);
    for _ in 0..20 {
        let region = system.value(thread, Number::RegionCreate, &[PAGE]);
        let copy = system.derive(thread, region, Rights::READ, false);
        let signal = system.value(thread, Number::SignalCreate, &[]);
        system.value(thread, Number::RegionMap, &[copy, 4]);
        system.value(thread, Number::CapabilityDrop, &[region]);
        let index = system.capability(thread, copy).object;
        assert!(system.kernel.machine().regions.contains_key(&index));
        system.value(thread, Number::CapabilityDrop, &[copy]);
        assert!(!system.kernel.machine().regions.contains_key(&index));
        system.value(thread, Number::CapabilityDrop, &[signal]);
    }
    assert_eq!(system.kernel.domain(1).region_memory, 0);
}

#[test]
fn a_drop_leaves_what_was_derived() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let signal = system.value(thread, Number::SignalCreate, &[]);
    let middle = system.derive(thread, signal, Kind::Signal.rights(), true);
    let leaf = system.derive(thread, middle, Kind::Signal.rights(), true);
    assert_eq!(system.inspect(thread, leaf).depth, 2);
    assert_eq!(system.kernel.capabilities.lineages_used(1), 2);
    system.value(thread, Number::CapabilityDrop, &[middle]);
    assert_eq!(system.inspect(thread, leaf).depth, 1);
    assert_eq!(system.kernel.capabilities.lineages_used(1), 1);
    system.value(thread, Number::SignalNotify, &[leaf, 1]);
    // Whoever could revoke the one in the middle can revoke what came from it.
    system.value(thread, Number::CapabilityRevoke, &[signal]);
    assert_eq!(system.error(thread, Number::SignalNotify, &[leaf, 1]), Error::Revoked);
    assert_eq!(system.kernel.capabilities.lineages_used(1), 0);
}

#[test]
fn lineages_are_eight_deep_and_within_the_quota() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let signal = system.value(thread, Number::SignalCreate, &[]);
    let rights = Kind::Signal.rights();
    let mut handle = signal;
    for depth in 1..=8 {
        handle = system.derive(thread, handle, rights, true);
        assert_eq!(system.inspect(thread, handle).depth, depth);
    }
    let words = [handle, u64::from(rights.bits()), 1];
    assert_eq!(system.error(thread, Number::CapabilityDerive, &words), Error::TooDeep);
    // A copy that is not revocable is as deep as its source.
    let copy = system.derive(thread, handle, rights, false);
    assert_eq!(system.inspect(thread, copy).depth, 8);
    // Ten in all: two more, and one source needs only one.
    let log = system.handle(1, "log");
    let serve = system.handle(1, "serve");
    system.derive(thread, log, Rights::WRITE, true);
    system.derive(thread, log, Rights::WRITE, true);
    system.derive(thread, serve, Rights::SEND, true);
    let input = system.handle(1, "input");
    let words = [input, u64::from(Rights::READ.bits()), 1];
    assert_eq!(system.error(thread, Number::CapabilityDerive, &words), Error::QuotaExceeded);
    system.value(thread, Number::CapabilityRevoke, &[log]);
    system.derive(thread, input, Rights::READ, true);
}

#[test]
fn regions_are_made_within_quota_and_place() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let words = [u64::MAX];
    let fault = (FaultKind::BadArgument, u64::MAX);
    let mut other = System::of(2);
    other.faults(thread, Number::RegionCreate, &words, Message::EMPTY, fault);
    let mut other = System::of(2);
    other.faults(thread, Number::RegionCreate, &[0], Message::EMPTY, (FaultKind::BadArgument, 0));

    assert_eq!(system.error(thread, Number::RegionCreate, &[65 * PAGE]), Error::QuotaExceeded);
    assert_eq!(system.error(thread, Number::RegionCreate, &[1 << 40]), Error::QuotaExceeded);
    let all = system.value(thread, Number::RegionCreate, &[64 * PAGE]);
    assert_eq!(system.error(thread, Number::RegionCreate, &[1]), Error::QuotaExceeded);
    system.value(thread, Number::CapabilityDrop, &[all]);
    for _ in 0..4 {
        system.value(thread, Number::RegionCreate, &[1]);
    }
    assert_eq!(system.error(thread, Number::RegionCreate, &[1]), Error::QuotaExceeded);
    assert_eq!(system.kernel.statistics(crate::DomainIndex(1)).memory, (3 + 4) * PAGE);
}

#[test]
fn regions_are_mapped_once_through_each_capability() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let region = system.value(thread, Number::RegionCreate, &[2 * PAGE]);
    let index = system.capability(thread, region).object;
    let (read, write) = (Rights::READ, Rights::READ | Rights::WRITE);
    let at = system.value(thread, Number::RegionMap, &[region, u64::from(read.bits())]);
    assert_eq!(at, system.inspect(thread, region).address);
    assert_eq!(system.kernel.machine().access(1, index, at + PAGE), read);
    let words = [region, u64::from(write.bits())];
    assert_eq!(system.error(thread, Number::RegionMap, &words), Error::Busy);
    // Through another capability, access adds up, and each takes back only what it gave.
    let copy = system.derive(thread, region, write, false);
    system.value(thread, Number::RegionMap, &[copy, u64::from(write.bits())]);
    assert_eq!(system.kernel.machine().access(1, index, at), write);
    system.value(thread, Number::RegionUnmap, &[copy]);
    assert_eq!(system.kernel.machine().access(1, index, at), read);
    system.value(thread, Number::RegionMap, &[copy, u64::from(write.bits())]);
    system.value(thread, Number::RegionUnmap, &[region]);
    assert_eq!(system.kernel.machine().access(1, index, at), write);
    system.value(thread, Number::RegionUnmap, &[region]);
    system.value(thread, Number::RegionUnmap, &[copy]);
    assert_eq!(system.kernel.machine().access(1, index, at), Rights::empty());
}

#[test]
fn mapping_needs_the_rights_and_known_ones() {
    for rights in [Rights::empty(), Rights::WRITE, Rights::READ | Rights::DERIVE, Rights::SEND] {
        let mut system = System::of(2);
        let input = system.handle(1, "input");
        let bits = u64::from(rights.bits());
        let fault = (FaultKind::BadArgument, bits);
        let thread = system.first(1);
        system.faults(thread, Number::RegionMap, &[input, bits], Message::EMPTY, fault);
    }
    let mut system = System::of(2);
    let (thread, input) = (system.first(1), system.handle(1, "input"));
    let write = u64::from((Rights::READ | Rights::WRITE).bits());
    assert_eq!(system.error(thread, Number::RegionMap, &[input, write]), Error::Denied);
    let blind = system.derive(thread, input, Rights::TRANSFER, false);
    assert_eq!(system.error(thread, Number::RegionMap, &[blind, 4]), Error::Denied);
    let at = system.value(thread, Number::RegionMap, &[input, 4]);
    assert_eq!(at, WINDOWS_BASE);
    assert_eq!(system.kernel.machine().access(1, 0, at + PAGE), Rights::READ, "its last page");
}

#[test]
fn the_machines_failures_leave_nothing_behind() {
    let mut system = System::of(2);
    let thread = system.first(1);
    system.kernel.machine_mut().failures.region_create = 1;
    assert_eq!(system.error(thread, Number::RegionCreate, &[PAGE]), Error::Machine);
    let region = system.value(thread, Number::RegionCreate, &[PAGE]);
    system.kernel.machine_mut().failures.map = 1;
    assert_eq!(system.error(thread, Number::RegionMap, &[region, 4]), Error::Machine);
    let index = system.capability(thread, region).object;
    let at = system.value(thread, Number::RegionMap, &[region, 4]);
    assert_eq!(system.kernel.machine().access(1, index, at), Rights::READ);
    system.kernel.machine_mut().failures.thread_start = 1;
    let words = [0x1000, 0x2000, 0, 0];
    assert_eq!(system.error(thread, Number::ThreadCreate, &words), Error::Machine);
    system.value(thread, Number::ThreadCreate, &words);
}

#[test]
fn taking_access_away_does_not_stop_at_a_failure_of_the_machine() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let region = system.value(thread, Number::RegionCreate, &[3 * PAGE]);
    let index = system.capability(thread, region).object;
    let write = Rights::READ | Rights::WRITE;
    let reader = system.derive(thread, region, Rights::READ, false);
    let at = system.value(thread, Number::RegionMap, &[reader, 4]);
    system.value(thread, Number::RegionMap, &[region, u64::from(write.bits())]);
    // Taking the right to write needs the machine to map afresh, and it fails.
    system.kernel.machine_mut().failures.map = 1;
    system.value(thread, Number::RegionUnmap, &[region]);
    for page in 0..3 {
        let access = system.kernel.machine().access(1, index, at + page * PAGE);
        assert!(!access.contains(Rights::WRITE), "page {page} can be written");
    }
}

#[test]
fn the_console_takes_what_is_written_to_its_stream() {
    let mut system = System::of(2);
    let (thread, log) = (system.first(1), system.handle(1, "log"));
    let text = super::system::message(0, b"hello");
    assert_eq!(system.invoke_with(thread, Number::ConsoleWrite, &[log], text), End::Value(0));
    assert_eq!(system.kernel.machine().written(phi_abi::CONSOLE_LOG), b"hello");
    assert!(system.kernel.machine().written(phi_abi::CONSOLE_TRANSCRIPT).is_empty());
    let mute = system.derive(thread, log, Rights::TRANSFER, false);
    assert_eq!(system.error(thread, Number::ConsoleWrite, &[mute]), Error::Denied);
}

#[test]
fn every_slot_that_is_used_again_has_a_new_handle() {
    let mut system = System::of(2);
    let (thread, log) = (system.first(1), system.handle(1, "log"));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let handle = system.derive(thread, log, Rights::WRITE, false);
        assert!(seen.insert(handle), "{:?} is used again", Handle(handle));
        system.value(thread, Number::CapabilityDrop, &[handle]);
    }
}

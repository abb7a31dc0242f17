//! Capabilities: derive, drop, inspect, mint; forged and stale handles.

use super::{CLIENT, PASS, cases, mailbox, mapped, region, served, signal, word};
use crate::expect::{Step, equal, holds};
use crate::play::{PARTNER, Play, SUBJECT, all};
use phi_abi::layout::PAGE;
use phi_abi::{Error, FaultKind, Handle, Kind, Message, Number, Rights};

cases!("capabilities":
    copies_have_fewer_rights,
    copies_need_the_right_to_derive,
    copies_never_gain_rights,
    unknown_rights_fault,
    rights_of_another_kind_fault,
    unknown_flags_fault,
    the_null_handle_faults_everywhere,
    forged_handles_fault,
    handles_of_another_service_fault,
    stale_handles_fault,
    dropped_handles_fault,
    handles_of_the_wrong_kind_fault,
    regions_are_described,
    mailboxes_are_described,
    every_kind_is_described,
    ids_are_never_used_again,
    objects_carry_badge_and_rights,
    objects_need_the_right_to_receive,
    objects_take_no_foreign_rights,
    objects_cannot_be_received_from,
);

fn copies_have_fewer_rights(play: &Play) -> Step {
    let source = region(play, SUBJECT, 4096)?;
    let copy = play.derive(SUBJECT, source, Rights::READ)?;
    let (source, copy) = (play.capability(SUBJECT, source)?, play.capability(SUBJECT, copy)?);
    equal("rights of the source", source.rights, all(Kind::Region))?;
    equal("rights of the copy", copy.rights, Rights::READ)?;
    equal("address of the copy", copy.address, source.address)?;
    equal("depth of the copy", copy.depth, 0)
}

fn copies_need_the_right_to_derive(play: &Play) -> Step {
    let source = signal(play, SUBJECT)?;
    let copy = play.derive(SUBJECT, source, Rights::NOTIFY | Rights::TRANSFER)?;
    let words = [copy, word(Rights::NOTIFY), 0];
    play.refused(SUBJECT, Number::CapabilityDerive, &words, Error::Denied)?;
    play.refused(SUBJECT, Number::CapabilityRevoke, &[copy], Error::Denied)
}

fn copies_never_gain_rights(play: &Play) -> Step {
    let source = signal(play, SUBJECT)?;
    let copy = play.derive(SUBJECT, source, Rights::NOTIFY | Rights::DERIVE)?;
    for rights in [Rights::WAIT, Rights::NOTIFY | Rights::WAIT, Rights::TRANSFER] {
        let words = [copy, word(rights), 0];
        play.refused(SUBJECT, Number::CapabilityDerive, &words, Error::Denied)?;
    }
    play.derive(SUBJECT, copy, Rights::NOTIFY).map(drop)
}

fn unknown_rights_fault(play: &Play) -> Step {
    for rights in [1 << 13, 1 << 32, u64::MAX] {
        let source = signal(play, SUBJECT)?;
        let (number, kind) = (Number::CapabilityDerive, FaultKind::BadArgument);
        play.faults(SUBJECT, number, &[source, rights, 0], kind, rights)?;
    }
    Ok(())
}

fn rights_of_another_kind_fault(play: &Play) -> Step {
    let source = signal(play, SUBJECT)?;
    let rights = word(Rights::READ);
    let (number, kind) = (Number::CapabilityDerive, FaultKind::BadArgument);
    play.faults(SUBJECT, number, &[source, rights, 0], kind, rights)
}

fn unknown_flags_fault(play: &Play) -> Step {
    for flags in [2, 3, 1 << 63] {
        let source = signal(play, SUBJECT)?;
        let words = [source, word(Rights::NOTIFY), flags];
        let (number, kind) = (Number::CapabilityDerive, FaultKind::BadArgument);
        play.faults(SUBJECT, number, &words, kind, flags)?;
    }
    Ok(())
}

/// Calls whose first word is a handle, with words that are right otherwise.
const BY_HANDLE: [(Number, [u64; 3]); 29] = [
    (Number::CapabilityDerive, [0, 0, 0]),
    (Number::CapabilityRevoke, [0, 0, 0]),
    (Number::CapabilityDrop, [0, 0, 0]),
    (Number::CapabilityInspect, [0, 0, 0]),
    (Number::ObjectMint, [0, 0, 0]),
    (Number::RegionMap, [Rights::READ.bits() as u64, 0, 0]),
    (Number::RegionUnmap, [0, 0, 0]),
    (Number::Send, [0, 0, 0]),
    (Number::Call, [0, 0, 0]),
    (Number::Receive, [0, 0, 0]),
    (Number::Reply, [0, 0, 0]),
    (Number::SignalNotify, [1, 0, 0]),
    (Number::SignalWait, [1, 0, 0]),
    (Number::SignalBind, [0, 0, 0]),
    (Number::ThreadPriority, [0, 0, 0]),
    (Number::DomainStart, [0, 0, 0]),
    (Number::DomainStop, [0, 0, 0]),
    (Number::DomainInspect, [0, 0, 0]),
    (Number::ConsoleWrite, [0, 0, 0]),
    (Number::DeviceRegion, [PAGE, PAGE, 0]),
    (Number::IrqCreate, [0, 0, 0]),
    (Number::IrqBind, [0, 1, 0]),
    (Number::IrqAcknowledge, [0, 0, 0]),
    (Number::DmaSpaceCreate, [0, 0, 0]),
    (Number::DmaMap, [0, Rights::READ.bits() as u64, 0]),
    (Number::DmaUnmap, [0, 0, 0]),
    (Number::PortsCreate, [0, 1, 0]),
    (Number::PortRead, [0, 1, 0]),
    (Number::PortWrite, [0, 1, 0]),
];

/// Each call by handle is a fault with this handle.
fn all_fault(play: &Play, calls: &[(Number, [u64; 3])], handle: u64) -> Step {
    for (number, [second, third, fourth]) in calls {
        play.draft(SUBJECT, &Message::EMPTY)?;
        let words = [handle, *second, *third, *fourth];
        play.faults(SUBJECT, *number, &words, FaultKind::BadHandle, handle)?;
    }
    Ok(())
}

fn the_null_handle_faults_everywhere(play: &Play) -> Step {
    all_fault(play, &BY_HANDLE, 0)
}

fn forged_handles_fault(play: &Play) -> Step {
    let orders = Handle(play.named(SUBJECT, "orders")?);
    let forged = [
        Handle::new(orders.slot(), orders.generation() + 1),
        Handle::new(orders.slot(), 0),
        Handle::new(39, 1),
        Handle::new(40, 1),
        Handle::new(u32::MAX, 1),
        Handle(u64::MAX),
    ];
    for handle in forged {
        let (number, kind) = (Number::CapabilityInspect, FaultKind::BadHandle);
        play.faults(SUBJECT, number, &[handle.0], kind, handle.0)?;
    }
    Ok(())
}

fn handles_of_another_service_fault(play: &Play) -> Step {
    // Handles are numbers: the partner's latest names nothing in the subject's table.
    let mut last = 0;
    for _ in 0..8 {
        last = play.derive(PARTNER, play.named(PARTNER, "orders")?, Rights::RECEIVE)?;
    }
    let kind = FaultKind::BadHandle;
    play.faults(SUBJECT, Number::CapabilityInspect, &[last], kind, last)
}

fn stale_handles_fault(play: &Play) -> Step {
    let handle = signal(play, SUBJECT)?;
    play.value(SUBJECT, Number::CapabilityDrop, &[handle])?;
    // Somebody else's capability takes the slot, in a new generation.
    let again = signal(play, SUBJECT)?;
    holds("the slot has a new generation", again != handle)?;
    play.faults(SUBJECT, Number::SignalNotify, &[handle, 1], FaultKind::BadHandle, handle)
}

fn dropped_handles_fault(play: &Play) -> Step {
    let handle = signal(play, SUBJECT)?;
    equal("value of a drop", play.value(SUBJECT, Number::CapabilityDrop, &[handle])?, 0)?;
    play.faults(SUBJECT, Number::CapabilityDrop, &[handle], FaultKind::BadHandle, handle)
}

fn handles_of_the_wrong_kind_fault(play: &Play) -> Step {
    // The first calls take any kind; for the others, a signal or a mailbox is the wrong one.
    for (number, [second, third, fourth]) in &BY_HANDLE[4..] {
        let handle = match number {
            Number::SignalNotify | Number::SignalWait | Number::SignalBind => {
                mailbox(play, SUBJECT, 1)?
            }
            _ => signal(play, SUBJECT)?,
        };
        play.draft(SUBJECT, &Message::EMPTY)?;
        let words = [handle, *second, *third, *fourth];
        play.faults(SUBJECT, *number, &words, FaultKind::BadHandle, handle)?;
    }
    Ok(())
}

fn regions_are_described(play: &Play) -> Step {
    let (handle, address) = mapped(play, SUBJECT, 5000)?;
    let info = play.capability(SUBJECT, handle)?;
    equal("kind", info.kind, Kind::Region)?;
    equal("address", info.address, address)?;
    equal("length, in whole pages", info.length, 8192)
}

fn mailboxes_are_described(play: &Play) -> Step {
    let info = play.capability(SUBJECT, mailbox(play, SUBJECT, 7)?)?;
    equal("kind", info.kind, Kind::Mailbox)?;
    equal("rights", info.rights, all(Kind::Mailbox))?;
    equal("address", info.address, 0)?;
    equal("capacity", info.length, 7)
}

fn every_kind_is_described(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let object = play.value(SUBJECT, Number::ObjectMint, &[mailbox(play, SUBJECT, 1)?, 3, 0])?;
    let (_, thread) = play.thread_with_handle(SUBJECT)?;
    let kinds = [
        (signal(play, SUBJECT)?, Kind::Signal, all(Kind::Signal)),
        (client, Kind::Mailbox, CLIENT),
        (object, Kind::Object, Rights::empty()),
        (thread, Kind::Thread, all(Kind::Thread)),
        (play.named(SUBJECT, "log")?, Kind::Console, Rights::WRITE),
    ];
    for (handle, kind, rights) in kinds {
        let info = play.capability(SUBJECT, handle)?;
        equal("kind and rights", (info.kind, info.rights), (kind, rights))?;
        equal(
            "address and length",
            (info.address, info.length),
            (0, if kind == Kind::Mailbox { 4 } else { 0 }),
        )?;
    }
    let call = super::serving(play, server, client)?;
    let info = play.capability(PARTNER, call.reply.0)?;
    equal("reply", (info.kind, info.rights), (Kind::Reply, all(Kind::Reply)))
}

fn ids_are_never_used_again(play: &Play) -> Step {
    let mut last = 0;
    for _ in 0..8 {
        let handle = signal(play, SUBJECT)?;
        let id = play.capability(SUBJECT, handle)?.id;
        holds("a later capability has a greater id", id > last)?;
        last = id;
        play.value(SUBJECT, Number::CapabilityDrop, &[handle])?;
    }
    Ok(())
}

fn objects_carry_badge_and_rights(play: &Play) -> Step {
    let server = mailbox(play, PARTNER, 4)?;
    let third = Rights::from_bits_retain(1 << 18);
    let rights = CLIENT | Rights::OBJECT_FIRST | third;
    let words = [server, 0xB0B, word(rights)];
    let object = play.value(PARTNER, Number::ObjectMint, &words)?;
    let whole = play.copy(PARTNER, object, rights, SUBJECT)?;
    let part = play.derive(SUBJECT, whole, Rights::SEND | third)?;
    // What the sender writes into badge and rights does not arrive.
    let lie = Message { label: 5, badge: 99, rights: u32::MAX, ..Message::EMPTY };
    for (handle, expected) in [(whole, rights), (part, Rights::SEND | third)] {
        play.draft(SUBJECT, &lie)?;
        play.value(SUBJECT, Number::Send, &[handle])?;
        let message = play.receive(PARTNER, server)?;
        equal("label and badge", (message.label, message.badge), (5, 0xB0B))?;
        equal("rights", message.rights, expected.bits())?;
    }
    Ok(())
}

fn objects_need_the_right_to_receive(play: &Play) -> Step {
    let (_, client) = served(play)?;
    play.refused(SUBJECT, Number::ObjectMint, &[client, 1, 0], Error::Denied)
}

fn objects_take_no_foreign_rights(play: &Play) -> Step {
    let server = mailbox(play, SUBJECT, 1)?;
    let rights = word(Rights::RECEIVE | PASS);
    let (number, kind) = (Number::ObjectMint, FaultKind::BadArgument);
    play.faults(SUBJECT, number, &[server, 1, rights], kind, rights)
}

fn objects_cannot_be_received_from(play: &Play) -> Step {
    let server = mailbox(play, SUBJECT, 1)?;
    let object = play.value(SUBJECT, Number::ObjectMint, &[server, 1, word(CLIENT)])?;
    play.faults(SUBJECT, Number::Receive, &[object, 0], FaultKind::BadHandle, object)?;
    let server = region(play, SUBJECT, 4096)?;
    play.faults(SUBJECT, Number::ObjectMint, &[server, 1, 0], FaultKind::BadHandle, server)
}

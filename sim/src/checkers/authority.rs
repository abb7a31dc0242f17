//! Rights never grow, and nothing succeeds through what was revoked.

use super::ledger::{Held, Ledger, NONE, Object, Pending};
use super::{Property, Violation, delivery, violates};
use phi_abi::{CapabilityInfo, DERIVE_REVOCABLE, Kind, Message, Number, Outcome, Rights};
use phi_core::ThreadIndex;

/// The rights that a call needs of the capability that it is made through; none for calls through
/// nothing.
fn needed(number: Number, words: &[u64; 4]) -> Option<Rights> {
    Some(match number {
        Number::CapabilityDerive => Rights::DERIVE | Rights::from_bits_retain(words[1] as u32),
        Number::CapabilityRevoke => Rights::DERIVE,
        Number::ObjectMint | Number::Receive | Number::ReplyReceive => Rights::RECEIVE,
        Number::RegionMap => Rights::from_bits_retain(words[1] as u32),
        Number::RegionUnmap => Rights::empty(),
        Number::Send => Rights::SEND,
        Number::Call => Rights::CALL,
        Number::SignalNotify => Rights::NOTIFY,
        Number::SignalWait | Number::SignalBind => Rights::WAIT,
        Number::ThreadPriority
        | Number::DeviceRegion
        | Number::IrqCreate
        | Number::IrqBind
        | Number::IrqAcknowledge
        | Number::DmaSpaceCreate
        | Number::DmaMap
        | Number::DmaUnmap
        | Number::PortsCreate
        | Number::PortRead
        | Number::PortWrite => Rights::CONTROL,
        Number::DomainStart => Rights::START,
        Number::DomainStop => Rights::STOP,
        Number::DomainInspect => Rights::INSPECT,
        Number::ConsoleWrite => Rights::WRITE,
        _ => return None,
    })
}

/// A call has ended: checks that it may have ended so, and follows what it did.
pub(crate) fn ended(
    ledger: &mut Ledger,
    thread: ThreadIndex,
    domain: u16,
    pending: &Pending,
    outcome: Outcome,
    message: Option<&Message>,
) -> Result<(), Violation> {
    let Some(number) = pending.number else {
        return violates(
            Property::Rights,
            format!("call {} does not exist, and ended", pending.call.number),
        );
    };
    match outcome.result() {
        Ok(value) => {
            allowed(ledger, domain, number, pending)?;
            succeeded(ledger, thread, domain, number, pending, value, message)
        }
        Err(error) => delivery::failed(ledger, thread, domain, number, pending, error),
    }
}

/// Whether a call may have succeeded.
fn allowed(
    ledger: &Ledger,
    domain: u16,
    number: Number,
    pending: &Pending,
) -> Result<(), Violation> {
    let words = &pending.call.arguments;
    let Some(needed) = needed(number, words) else { return Ok(()) };
    let name = number.description().name;
    let Some(through) = pending.through else {
        let what = format!("{name} of domain {domain} succeeded through a handle of nothing");
        return violates(Property::Rights, what);
    };
    if !through.rights.contains(needed) {
        let has = through.rights;
        let what = format!("{name} of domain {domain} succeeded with {has:?} and needs {needed:?}");
        return violates(Property::Rights, what);
    }
    if !ledger.stands(&through) {
        let what = format!("{name} of domain {domain} succeeded through what was revoked");
        return violates(Property::Revocation, what);
    }
    Ok(())
}

fn succeeded(
    ledger: &mut Ledger,
    thread: ThreadIndex,
    domain: u16,
    number: Number,
    pending: &Pending,
    value: u64,
    message: Option<&Message>,
) -> Result<(), Violation> {
    let [first, second, third, _] = pending.call.arguments;
    match number {
        Number::CapabilityDerive => derived(ledger, domain, [first, second, third], value),
        Number::CapabilityRevoke => {
            if let Some(source) = ledger.find_mut(domain, first) {
                let child = std::mem::replace(&mut source.child, NONE);
                let (kind, object) = (source.kind, source.object);
                ledger.kill(child);
                if kind == Kind::DmaSpace && child != NONE {
                    // Whoever mapped it.
                    ledger.empty(object);
                }
                (ledger.step.revoked, ledger.step.memory) = (true, true);
            }
            Ok(())
        }
        Number::CapabilityDrop => {
            ledger.remove(domain, first);
            Ok(())
        }
        Number::CapabilityInspect => inspected(pending, message),
        Number::ObjectMint => {
            let Some(source) = pending.through else { return Ok(()) };
            let rights = Rights::from_bits_retain(third as u32);
            let minted = Held::new(Kind::Object, rights, source.object, second);
            ledger.insert(domain, value, Held { origin: source.origin, ..minted })
        }
        Number::RegionCreate => match ledger.step.region.take() {
            Some(region) => ledger.made(domain, value, Kind::Region, region),
            None => violates(Property::Memory, format!("the region {value:#x} has no memory")),
        },
        Number::RegionMap | Number::RegionUnmap => {
            ledger.step.memory = true;
            if let Some(held) = ledger.find_mut(domain, first) {
                let map = number == Number::RegionMap;
                held.mapped =
                    if map { Rights::from_bits_retain(second as u32) } else { Rights::empty() };
            }
            Ok(())
        }
        Number::IrqCreate | Number::DmaSpaceCreate => {
            let irq = number == Number::IrqCreate;
            let kind = if irq { Kind::Irq } else { Kind::DmaSpace };
            match ledger.step.device.take() {
                Some(object) => ledger.made(domain, value, kind, object),
                None => violates(Property::Memory, format!("the machine has no such {kind:?}")),
            }
        }
        Number::PortsCreate => {
            let object = ledger.object(Object { owner: domain, index: NONE });
            ledger.made(domain, value, Kind::Ports, object)
        }
        Number::DmaMap => mapped_for_a_device(ledger, domain, pending),
        Number::DmaUnmap => {
            let space = pending.through.map_or(NONE, |space| space.object);
            if let Some(held) = ledger.find_mut(domain, second)
                && held.dma.0 == space
            {
                held.dma = Held::NO_DMA;
            }
            Ok(())
        }
        Number::MailboxCreate => {
            let object = ledger.object(Object { owner: domain, index: NONE });
            ledger.made(domain, value, Kind::Mailbox, object)
        }
        Number::SignalCreate => {
            let object = ledger.object(Object { owner: domain, index: NONE });
            ledger.made(domain, value, Kind::Signal, object)
        }
        Number::ThreadCreate => match ledger.step.thread.take() {
            Some(started) => {
                let index = u32::from(started.0);
                let object = ledger.object(Object { owner: domain, index });
                ledger.made(domain, value, Kind::Thread, object)
            }
            None => violates(Property::Memory, "a thread was made that the machine does not have"),
        },
        _ => delivery::succeeded(ledger, thread, domain, number, pending, value, message),
    }
}

/// What a service has mapped for a device it may reach so itself.
fn mapped_for_a_device(
    ledger: &mut Ledger,
    domain: u16,
    pending: &Pending,
) -> Result<(), Violation> {
    let [_, region, access, _] = pending.call.arguments;
    let access = Rights::from_bits_retain(access as u32);
    let space = pending.through.map_or(NONE, |space| space.object);
    let held = ledger.find_mut(domain, region).copied();
    let reaches = |held: &Held| held.kind == Kind::Region && held.rights.contains(access);
    let Some(found) = held.filter(reaches) else {
        let what = format!("domain {domain} has mapped for a device what it may not reach so");
        return violates(Property::Rights, what);
    };
    if !ledger.stands(&found) {
        let what = format!("domain {domain} has mapped for a device what was revoked");
        return violates(Property::Revocation, what);
    }
    if let Some(held) = ledger.find_mut(domain, region) {
        held.dma = (space, access);
    }
    Ok(())
}

fn derived(
    ledger: &mut Ledger,
    domain: u16,
    [handle, rights, flags]: [u64; 3],
    value: u64,
) -> Result<(), Violation> {
    let Some(source) = ledger.find_mut(domain, handle).copied() else { return Ok(()) };
    let rights = Rights::from_bits_retain(rights as u32);
    let mut origin = source.origin;
    if flags & DERIVE_REVOCABLE != 0 {
        origin = source.child;
        if origin == NONE {
            origin = ledger.node(source.origin);
            if let Some(source) = ledger.find_mut(domain, handle) {
                source.child = origin;
            }
        }
    }
    let (mapped, range, dma) = (Rights::empty(), (0, 0), Held::NO_DMA);
    ledger.insert(domain, value, Held { rights, origin, child: NONE, mapped, range, dma, ..source })
}

fn inspected(pending: &Pending, message: Option<&Message>) -> Result<(), Violation> {
    let info = message.and_then(|message| CapabilityInfo::decode(&message.data));
    let (Some(info), Some(held)) = (info, pending.through) else {
        return violates(Property::Rights, "capability_inspect described nothing");
    };
    if info.rights != held.rights || info.kind != held.kind {
        let CapabilityInfo { kind, rights, .. } = info;
        let what = format!(
            "a {:?} with {:?} turned out to be a {kind:?} with {rights:?}",
            held.kind, held.rights
        );
        return violates(Property::Rights, what);
    }
    Ok(())
}

/// The step is over: nothing may wait any more through what was revoked in it.
pub(crate) fn settled(ledger: &Ledger) -> Result<(), Violation> {
    delivery::settled(ledger)?;
    if !ledger.step.revoked {
        return Ok(());
    }
    for (thread, pending) in ledger.pending.iter().enumerate() {
        let Some(Pending { number: Some(number), through: Some(through), .. }) = pending else {
            continue;
        };
        let waits = matches!(
            number,
            Number::Call | Number::Receive | Number::ReplyReceive | Number::SignalWait
        );
        if waits && !ledger.stands(through) {
            let name = number.description().name;
            let what = format!("thread {thread} still waits in {name} through what was revoked");
            return violates(Property::Revocation, what);
        }
    }
    Ok(())
}

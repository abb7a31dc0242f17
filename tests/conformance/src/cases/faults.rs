//! Faults of the processor, and bad addresses of messages.

use super::{CLIENT, cases, mailbox, mapped, region, served, serving, signal, word};
use crate::expect::{Step, equal, holds, is_fault};
use crate::play::{PARTNER, Play, SUBJECT};
use crate::stunt::Stunt;
use core::mem::offset_of;
use phi_abi::layout::{PAGE, STACK_OFFSET, STACK_SIZE, WINDOWS_BASE, window};
use phi_abi::{DomainState, Error, FOREVER, FaultKind, Grant, Handle, Message, Number, Rights};

/// Where the kernel's half of the addresses begins.
const KERNEL_HALF: u64 = 0xFFFF_8000_0000_0000;

/// Between the two halves: no address at all.
const NON_CANONICAL: u64 = 1 << 60;

cases!("faults":
    the_first_page_cannot_be_used,
    the_kernels_half_cannot_be_used,
    addresses_that_are_none_cannot_be_used,
    windows_begin_with_an_unmapped_page,
    the_start_block_cannot_be_written,
    text_cannot_be_written,
    data_cannot_be_executed,
    the_stack_cannot_be_executed,
    shared_pages_cannot_be_executed,
    unmapped_memory_cannot_be_executed,
    stacks_overflow,
    the_guard_of_the_stack,
    illegal_instructions,
    division_by_zero,
    division_overflow,
    floating_point,
    breakpoints,
    privileged_instructions,
    messages_at_null,
    messages_in_unmapped_memory,
    messages_in_the_kernels_half,
    messages_in_read_only_memory,
    messages_that_begin_in_mapped_memory_only,
    messages_that_wait_for_memory_taken_away,
    calls_that_wait_for_memory_taken_away,
    calls_to_who_waits_from_mapped_memory_only,
    capabilities_beyond_mapped_memory,
    messages_may_lie_anywhere,
    others_go_on,
);

/// Reading and writing at each of these is a fault there.
fn touches_fault(play: &Play, addresses: &[u64]) -> Step {
    for address in addresses {
        play.read_faults(SUBJECT, *address)?;
        play.write_faults(SUBJECT, *address)?;
    }
    Ok(())
}

fn the_first_page_cannot_be_used(play: &Play) -> Step {
    touches_fault(play, &[0, 8, PAGE - 8])
}

fn the_kernels_half_cannot_be_used(play: &Play) -> Step {
    touches_fault(play, &[KERNEL_HALF, 0xFFFF_FFFF_8000_0000, u64::MAX - 7])
}

fn addresses_that_are_none_cannot_be_used(play: &Play) -> Step {
    for address in [NON_CANONICAL, 1 << 47, KERNEL_HALF - 8] {
        for write in [false, true] {
            // The processor does not tell the address.
            let state = play.touch_ends(SUBJECT, write, address)?;
            is_fault("use of no address", state, FaultKind::Protection, 0)?;
        }
    }
    Ok(())
}

fn windows_begin_with_an_unmapped_page(play: &Play) -> Step {
    let own = play.places(SUBJECT)?.window;
    touches_fault(play, &[own, WINDOWS_BASE - 8, window(phi_abi::layout::SERVICES - 1)])
}

fn the_start_block_cannot_be_written(play: &Play) -> Step {
    let start = play.places(SUBJECT)?.start;
    play.read(SUBJECT, start)?;
    play.write_faults(SUBJECT, start)
}

fn text_cannot_be_written(play: &Play) -> Step {
    let text = play.places(SUBJECT)?.thread;
    play.read(SUBJECT, text)?;
    play.write_faults(SUBJECT, text)
}

/// Executing what lies at an address is a fault there.
fn execution_faults(play: &Play, address: u64) -> Step {
    let state = play.last_stunt(SUBJECT, Stunt::Execute, &[address])?;
    is_fault("execution", state, FaultKind::Execute, address)
}

fn data_cannot_be_executed(play: &Play) -> Step {
    execution_faults(play, play.places(SUBJECT)?.data)
}

fn the_stack_cannot_be_executed(play: &Play) -> Step {
    execution_faults(play, play.places(SUBJECT)?.stack)
}

fn shared_pages_cannot_be_executed(play: &Play) -> Step {
    let (_, address) = mapped(play, SUBJECT, PAGE)?;
    // An instruction to return.
    play.write(SUBJECT, address, 0xC3)?;
    execution_faults(play, address)
}

fn unmapped_memory_cannot_be_executed(play: &Play) -> Step {
    for address in [0, PAGE, play.places(SUBJECT)?.window] {
        execution_faults(play, address)?;
    }
    Ok(())
}

fn stacks_overflow(play: &Play) -> Step {
    let end = play.places(SUBJECT)?.window + STACK_OFFSET;
    match play.last_stunt(SUBJECT, Stunt::Recurse, &[1])? {
        DomainState::Faulted { kind: FaultKind::StackOverflow, address, .. } => {
            let guard = end - (64 << 10) - PAGE..end - (64 << 10);
            holds("the address is in the guard", guard.contains(&address))
        }
        state => Err(alloc::format!("expected a stack overflow, got {state:x?}")),
    }
}

fn the_guard_of_the_stack(play: &Play) -> Step {
    let end = play.places(SUBJECT)?.window + STACK_OFFSET;
    let first = end - (64 << 10);
    for address in [first - 8, first - PAGE, end - STACK_SIZE] {
        let state = play.touch_ends(SUBJECT, true, address)?;
        is_fault("write to the guard", state, FaultKind::StackOverflow, address)?;
    }
    // Beyond the guard, and above the stack, it is unmapped memory as any.
    touches_fault(play, &[end - STACK_SIZE - 8, end])
}

/// A stunt ends in a fault without an address.
fn stunt_faults(play: &Play, stunt: Stunt, kind: FaultKind) -> Step {
    let state = play.last_stunt(SUBJECT, stunt, &[])?;
    is_fault(&alloc::format!("{stunt:?}"), state, kind, 0)
}

fn illegal_instructions(play: &Play) -> Step {
    stunt_faults(play, Stunt::Illegal, FaultKind::IllegalInstruction)
}

fn division_by_zero(play: &Play) -> Step {
    stunt_faults(play, Stunt::Divide, FaultKind::Division)
}

fn division_overflow(play: &Play) -> Step {
    stunt_faults(play, Stunt::DivideTooFar, FaultKind::Division)
}

fn floating_point(play: &Play) -> Step {
    stunt_faults(play, Stunt::DivideFloat, FaultKind::FloatingPoint)
}

fn breakpoints(play: &Play) -> Step {
    stunt_faults(play, Stunt::Breakpoint, FaultKind::Breakpoint)
}

fn privileged_instructions(play: &Play) -> Step {
    for stunt in [Stunt::Halt, Stunt::MaskInterrupts, Stunt::ReadPort, Stunt::LoadControl] {
        stunt_faults(play, stunt, FaultKind::Protection)?;
    }
    Ok(())
}

/// Calls that read a message, from an address that the subject cannot read.
fn incoming_faults(play: &Play, address: u64) -> Step {
    for number in [Number::Send, Number::Call] {
        let own = mailbox(play, SUBJECT, 1)?;
        play.faults_at(SUBJECT, number, &[own, 0], address)?;
    }
    for number in [Number::Reply, Number::ReplyReceive] {
        let (server, client) = served(play)?;
        let call = serving(play, server, client)?;
        play.faults_at(PARTNER, number, &[call.reply.0, server, 0], address)?;
        play.finishes(SUBJECT, Err(Error::Dead))?;
    }
    let log = play.named(SUBJECT, "log")?;
    play.faults_at(SUBJECT, Number::ConsoleWrite, &[log], address)?;
    play.faults_at(SUBJECT, Number::DomainPanic, &[], address)
}

/// Calls that write a message, to an address that the subject cannot write.
fn outgoing_faults(play: &Play, address: impl Fn(&Play) -> Step<u64>) -> Step {
    let own = mailbox(play, SUBJECT, 1)?;
    let at = address(play)?;
    play.faults_at(SUBJECT, Number::CapabilityInspect, &[own], at)?;
    let own = mailbox(play, SUBJECT, 1)?;
    play.draft_label(SUBJECT, 1)?;
    play.value(SUBJECT, Number::Send, &[own])?;
    let at = address(play)?;
    play.faults_at(SUBJECT, Number::Receive, &[own, 0], at)
}

fn messages_at_null(play: &Play) -> Step {
    incoming_faults(play, 0)?;
    outgoing_faults(play, |_| Ok(0))
}

fn messages_in_unmapped_memory(play: &Play) -> Step {
    let address = play.places(SUBJECT)?.window + 8;
    incoming_faults(play, address)?;
    outgoing_faults(play, |_| Ok(address))
}

fn messages_in_the_kernels_half(play: &Play) -> Step {
    for address in [KERNEL_HALF, NON_CANONICAL, u64::MAX - 255] {
        incoming_faults(play, address)?;
        outgoing_faults(play, |_| Ok(address))?;
    }
    Ok(())
}

fn messages_in_read_only_memory(play: &Play) -> Step {
    outgoing_faults(play, |play| Ok(play.places(SUBJECT)?.start))?;
    outgoing_faults(play, |play| Ok(play.places(SUBJECT)?.text))?;
    outgoing_faults(play, |play| {
        let handle = region(play, SUBJECT, PAGE)?;
        play.value(SUBJECT, Number::RegionMap, &[handle, word(Rights::READ)])
    })?;
    // What is only read may lie there.
    let own = mailbox(play, SUBJECT, 1)?;
    let handle = region(play, SUBJECT, PAGE)?;
    let address = play.value(SUBJECT, Number::RegionMap, &[handle, word(Rights::READ)])?;
    let value = play.ask_at(SUBJECT, Number::Send, &[own], address)?;
    equal("send from a read-only page", value, Ok(0))
}

/// The last bytes of a page before one that is unmapped.
fn edge(play: &Play, bytes: u64) -> Step<u64> {
    let (_, address) = mapped(play, SUBJECT, PAGE)?;
    Ok(address + PAGE - bytes)
}

fn messages_that_begin_in_mapped_memory_only(play: &Play) -> Step {
    for bytes in [8, 24] {
        for number in [Number::Send, Number::Call, Number::CapabilityInspect] {
            let own = mailbox(play, SUBJECT, 1)?;
            let at = edge(play, bytes)?;
            play.faults_at(SUBJECT, number, &[own, 0], at)?;
        }
    }
    let own = mailbox(play, SUBJECT, 1)?;
    let at = edge(play, size_of::<Message>() as u64)?;
    equal("a message that ends there", play.ask_at(SUBJECT, Number::Send, &[own], at)?, Ok(0))
}

fn messages_that_wait_for_memory_taken_away(play: &Play) -> Step {
    // The message is written when the call ends; by then its page may be gone.
    let second = play.thread(SUBJECT)?;
    let own = mailbox(play, SUBJECT, 1)?;
    let (handle, address) = mapped(play, SUBJECT, PAGE)?;
    play.begin_at(second, Number::Receive, &[own, FOREVER], address)?;
    play.value(SUBJECT, Number::RegionUnmap, &[handle])?;
    play.draft_label(SUBJECT, 1)?;
    play.begin_last(SUBJECT, Number::Send, &[own])?;
    let state = play.ended(SUBJECT)?;
    is_fault("receive", state, FaultKind::BadArgument, address)
}

fn calls_that_wait_for_memory_taken_away(play: &Play) -> Step {
    // As above, where the message goes straight from one to the other.
    let second = play.thread(SUBJECT)?;
    let own = mailbox(play, SUBJECT, 1)?;
    let (handle, address) = mapped(play, SUBJECT, PAGE)?;
    play.begin_at(second, Number::Receive, &[own, FOREVER], address)?;
    play.value(SUBJECT, Number::RegionUnmap, &[handle])?;
    play.draft_label(SUBJECT, 1)?;
    play.begin_last(SUBJECT, Number::Call, &[own, FOREVER])?;
    let state = play.ended(SUBJECT)?;
    is_fault("receive", state, FaultKind::BadArgument, address)
}

fn calls_to_who_waits_from_mapped_memory_only(play: &Play) -> Step {
    for bytes in [8, 24, 32, 90] {
        let second = play.thread(SUBJECT)?;
        let own = mailbox(play, SUBJECT, 1)?;
        let (_, address) = mapped(play, SUBJECT, PAGE)?;
        play.begin_at(second, Number::Receive, &[own, FOREVER], address)?;
        let at = edge(play, bytes)?;
        play.faults_at(SUBJECT, Number::Call, &[own, FOREVER], at)?;
    }
    Ok(())
}

fn capabilities_beyond_mapped_memory(play: &Play) -> Step {
    let head = offset_of!(Message, grants) as u64;
    // Who receives has a place for the message's head alone.
    let second = play.thread(SUBJECT)?;
    let own = mailbox(play, SUBJECT, 1)?;
    let given = Grant::copy(Handle(signal(play, SUBJECT)?), Rights::NOTIFY);
    let at = edge(play, head)?;
    play.begin_at(second, Number::Receive, &[own, FOREVER], at)?;
    play.draft_grants(SUBJECT, &[given])?;
    play.begin_last(SUBJECT, Number::Call, &[own, FOREVER])?;
    is_fault("receive", play.ended(SUBJECT)?, FaultKind::BadArgument, at)?;
    // Who sends says that there is one behind it.
    let second = play.thread(SUBJECT)?;
    let own = mailbox(play, SUBJECT, 1)?;
    let (_, address) = mapped(play, SUBJECT, PAGE)?;
    play.begin_at(second, Number::Receive, &[own, FOREVER], address)?;
    let at = edge(play, head)?;
    play.write(SUBJECT, at + offset_of!(Message, rights) as u64, 1 << 48)?;
    play.faults_at(SUBJECT, Number::Call, &[own, FOREVER], at)
}

fn messages_may_lie_anywhere(play: &Play) -> Step {
    let own = mailbox(play, SUBJECT, 1)?;
    let (_, address) = mapped(play, SUBJECT, 2 * PAGE)?;
    // Even across pages and aligned to nothing.
    for at in [address, address + PAGE - 9, address + 2 * PAGE - size_of::<Message>() as u64] {
        play.write(SUBJECT, at, 0xFACE)?;
        equal("send", play.ask_at(SUBJECT, Number::Send, &[own], at)?, Ok(0))?;
        play.write(SUBJECT, at, 0)?;
        equal("receive", play.ask_at(SUBJECT, Number::Receive, &[own, 0], at)?, Ok(0))?;
        equal("label", play.read(SUBJECT, at)?, 0xFACE)?;
    }
    Ok(())
}

fn others_go_on(play: &Play) -> Step {
    let server = mailbox(play, PARTNER, 1)?;
    let handle = signal(play, PARTNER)?;
    for stunt in [Stunt::Halt, Stunt::Illegal, Stunt::Recurse] {
        let client = play.copy(PARTNER, server, CLIENT, SUBJECT)?;
        let call = serving(play, server, client)?;
        play.reply(PARTNER, call.reply, 1)?;
        play.finishes(SUBJECT, Ok(0))?;
        play.last_stunt(SUBJECT, stunt, &[1])?;
        play.value(PARTNER, Number::SignalNotify, &[handle, 1])?;
        equal("bits", play.value(PARTNER, Number::SignalWait, &[handle, 1, 0])?, 1)?;
    }
    Ok(())
}

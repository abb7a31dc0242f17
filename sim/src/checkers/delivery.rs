//! A message arrives at most once, unchanged and in order, and an answer answers its call.

use super::ledger::{Held, Ledger, NONE, Pending, Sent};
use super::{Property, Violation, violates};
use phi_abi::layout::PAGE;
use phi_abi::{Error, Grant, Handle, Message, Mode, Number, Rights};
use phi_core::ThreadIndex;

/// What a loan may carry.
const LOAN_RIGHTS: Rights = Rights::READ.union(Rights::WRITE).union(Rights::TRANSFER);

/// A call that concerns messages has succeeded.
pub(crate) fn succeeded(
    ledger: &mut Ledger,
    thread: ThreadIndex,
    domain: u16,
    number: Number,
    pending: &Pending,
    value: u64,
    message: Option<&Message>,
) -> Result<(), Violation> {
    match number {
        Number::Send => sent(ledger, thread, domain, pending),
        Number::Call => answered(ledger, thread, domain, message),
        Number::Reply | Number::ReplyReceive | Number::Receive => {
            let answers = number != Number::Receive && ledger.step.actor == Some(thread);
            if answers && !ledger.step.answered {
                let what = format!("an answer of {thread:?} succeeded, and nobody got it");
                return violates(Property::Delivery, what);
            }
            if number == Number::Reply || value == 1 {
                return Ok(());
            }
            received(ledger, thread, domain, pending, message)
        }
        _ => Ok(()),
    }
}

/// A call has failed.
pub(crate) fn failed(
    ledger: &mut Ledger,
    thread: ThreadIndex,
    domain: u16,
    number: Number,
    pending: &Pending,
    error: Error,
) -> Result<(), Violation> {
    match number {
        Number::Send | Number::Call => {
            ledger.withdraw(thread, pending);
            end_loans(ledger, thread);
        }
        Number::Reply | Number::ReplyReceive => {
            let acts = ledger.step.actor == Some(thread);
            if acts && error == Error::Dead && !ledger.step.answered {
                let waits = ledger.step.answer.is_some();
                let mut grants = pending.call.message.grants().iter();
                if grants.next().is_some() && !waits {
                    // Of what was granted, or of the caller: the error does not say.
                    ledger.slots_unknown(domain);
                } else if !waits {
                    ledger.remove(domain, pending.call.arguments[0]);
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// A send has succeeded: what moves has left the sender.
fn sent(
    ledger: &mut Ledger,
    thread: ThreadIndex,
    domain: u16,
    pending: &Pending,
) -> Result<(), Violation> {
    let queue = pending.through.and_then(|held| ledger.queues.get_mut(held.object as usize));
    let own = |sent: &&mut Sent| sent.sender == thread && sent.provisional && !sent.call;
    let Some(sent) = queue.and_then(|queue| queue.iter_mut().rev().find(own)) else {
        return violates(Property::Delivery, format!("a send of {thread:?} succeeded to nowhere"));
    };
    sent.provisional = false;
    for grant in pending.call.message.grants() {
        if grant.mode == Mode::Move as u32 {
            ledger.remove(domain, grant.handle.0);
        }
    }
    Ok(())
}

/// Whether what arrives is what was sent.
fn same(sent: &Message, arrived: &Message) -> bool {
    sent.label == arrived.label
        && sent.length == arrived.length
        && sent.bytes() == arrived.bytes()
        && sent.grant_count == arrived.grant_count
}

/// A receive has given a message.
fn received(
    ledger: &mut Ledger,
    thread: ThreadIndex,
    domain: u16,
    pending: &Pending,
    message: Option<&Message>,
) -> Result<(), Violation> {
    let (Some(through), Some(message)) = (pending.through, message) else {
        return violates(Property::Delivery, format!("{thread:?} received nothing, and well"));
    };
    let queue = ledger.queues.get_mut(through.object as usize);
    let Some(first) = queue.and_then(|queue| queue.pop_front()) else {
        let what = format!("{thread:?} received a message that nobody sent, or a second time");
        return violates(Property::Delivery, what);
    };
    let kept = same(&first.message, message)
        && message.badge == first.badge
        && message.rights == first.rights.bits()
        && message.reply.is_null() != first.call;
    if !kept || (first.provisional && !first.call) {
        let (got, sent) = (message.label, first.message.label);
        let what =
            format!("{thread:?} received {got:#x} where {sent:#x} was next, or it was changed");
        return violates(Property::Delivery, what);
    }
    let from = ledger.domain_of(first.sender).map(|domain| domain.0);
    let carried = match (first.call, from) {
        (true, Some(from)) => ledger.granted(from, &first.message),
        _ => first.grants,
    };
    let from = from.filter(|_| first.call);
    for (number, grant) in first.message.grants().iter().enumerate() {
        let arrived = message.grants[number];
        arrives(ledger, domain, from, (grant, carried[number]), &arrived, first.sender)?;
    }
    if first.call {
        let Some(call) = &mut ledger.pending[usize::from(first.sender.0)] else {
            let what = format!("{thread:?} received a call that has ended");
            return violates(Property::Delivery, what);
        };
        call.served = true;
        let serial = call.serial;
        ledger.made_reply(domain, message.reply.0, serial, first.sender)?;
    }
    Ok(())
}

/// A call has its answer.
fn answered(
    ledger: &mut Ledger,
    thread: ThreadIndex,
    domain: u16,
    message: Option<&Message>,
) -> Result<(), Violation> {
    let staged = ledger.step.answer.filter(|(caller, ..)| *caller == thread);
    let (Some((_, answer, granted)), Some(actor)) = (staged, ledger.step.actor) else {
        return violates(
            Property::Delivery,
            format!("a call of {thread:?} has an answer of nobody"),
        );
    };
    let Some(message) = message.filter(|message| same(&answer, message)) else {
        return violates(Property::Delivery, format!("the answer to {thread:?} was changed"));
    };
    if message.badge != 0 || message.rights != 0 || !message.reply.is_null() {
        let what = format!("the answer to {thread:?} says more than its server did");
        return violates(Property::Delivery, what);
    }
    ledger.step.answered = true;
    let from = ledger.domain_of(actor).map(|domain| domain.0);
    for (number, grant) in answer.grants().iter().enumerate() {
        let arrived = message.grants[number];
        arrives(ledger, domain, from, (grant, granted[number]), &arrived, actor)?;
    }
    if let (Some(from), Some(pending)) = (from, ledger.waiting(actor)) {
        let reply = pending.call.arguments[0];
        ledger.remove(from, reply);
    }
    end_loans(ledger, thread);
    Ok(())
}

/// One capability of a message arrives, or does not. `from` is the domain that a move takes it from.
fn arrives(
    ledger: &mut Ledger,
    domain: u16,
    from: Option<u16>,
    (grant, source): (&Grant, Option<Held>),
    arrived: &Grant,
    sender: ThreadIndex,
) -> Result<(), Violation> {
    if arrived.handle == Handle::NULL {
        return Ok(());
    }
    let Some(source) = source else {
        let what = format!("domain {domain} was given what its sender did not hold");
        return violates(Property::Rights, what);
    };
    if !ledger.stands(&source) {
        let what = format!("domain {domain} was given what was revoked");
        return violates(Property::Revocation, what);
    }
    let mut held = Ledger::passed(&source, grant);
    if grant.mode == Mode::Loan as u32 {
        held.rights &= LOAN_RIGHTS;
    }
    let rights = Rights::from_bits_retain(arrived.rights);
    if rights != held.rights || !source.rights.contains(rights | Rights::TRANSFER) {
        let from = source.rights;
        let what = format!("domain {domain} was given {rights:?}, and its sender has {from:?}");
        return violates(Property::Rights, what);
    }
    ledger.step.memory = true;
    match Mode::from_number(grant.mode) {
        Some(Mode::Move) => {
            if let Some(from) = from {
                ledger.remove(from, grant.handle.0);
            }
        }
        Some(Mode::Copy) => held.child = NONE,
        _ => {
            let node = ledger.node(source.origin);
            ledger.loans[usize::from(sender.0)].push(node);
            let start = grant.address & !(PAGE - 1);
            let end = (grant.address + grant.length).next_multiple_of(PAGE);
            (held.origin, held.child, held.loan) = (node, NONE, true);
            (held.mapped, held.range) =
                (rights & (Rights::READ | Rights::WRITE), (start, end - start));
        }
    }
    ledger.insert(domain, arrived.handle.0, held)
}

/// The call of a thread is over: what it lent is its own again.
fn end_loans(ledger: &mut Ledger, thread: ThreadIndex) {
    let mut loans = std::mem::take(&mut ledger.loans[usize::from(thread.0)]);
    for node in loans.drain(..) {
        ledger.kill(node);
        ledger.step.memory = true;
    }
    ledger.loans[usize::from(thread.0)] = loans;
}

/// The step is over: an answer has arrived if its server went on to receive.
pub(crate) fn settled(ledger: &Ledger) -> Result<(), Violation> {
    let Some(actor) = ledger.step.actor else { return Ok(()) };
    let goes_on = ledger.waiting(actor).is_some_and(|pending| {
        pending.number == Some(Number::ReplyReceive) && !ledger.step.answered
    });
    if goes_on {
        let what = format!("{actor:?} waits for messages, and its answer reached nobody");
        return violates(Property::Delivery, what);
    }
    Ok(())
}

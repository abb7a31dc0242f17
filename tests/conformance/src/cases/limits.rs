//! Quotas used up, and given back. The numbers are those of `phi.toml`.

use super::{
    CLIENT, PASS, cases, copied, fill_table, mailbox, mapped, moved, region, served, signal, word,
};
use crate::expect::{Step, equal, holds, outcome};
use crate::play::{Actor, PARTNER, Play, SUBJECT};
use crate::stunt::Stunt;
use alloc::vec::Vec;
use phi_abi::layout::PAGE;
use phi_abi::{DERIVE_REVOCABLE, Error, FOREVER, Number, Rights};

/// Slots of a puppet's table.
const HANDLES: u64 = 40;

/// Regions, mailboxes and signals that a puppet may make.
const OBJECTS: usize = 4;

/// Messages that its mailboxes together may store.
const MESSAGES: u64 = 16;

/// Threads that it may have.
const THREADS: usize = 3;

/// Lineages that it may pay for.
const LINEAGES: usize = 12;

/// Bytes of memory.
const MEMORY: u64 = 1 << 20;

cases!("limits":
    handles_run_out,
    a_full_table_makes_nothing,
    a_full_table_receives_no_capability,
    a_full_table_lets_a_waiting_receive_fail,
    an_answer_brings_what_there_is_room_for,
    regions_run_out,
    memory_runs_out,
    mailboxes_run_out,
    messages_run_out,
    signals_run_out,
    threads_run_out,
    lineages_run_out,
    a_dropped_source_gives_its_lineage_back,
    an_answer_gives_the_lineages_of_loans_back,
    revoked_handles_take_a_slot_until_dropped,
    a_restart_gives_everything_back,
    one_service_cannot_use_up_another_ones,
);

/// Has a puppet do something until its quota is used up; how often it could.
fn until_refused(play: &Play, actor: Actor, number: Number, words: &[u64]) -> Step<Vec<u64>> {
    let mut made = Vec::new();
    loop {
        match play.ask(actor, number, words)? {
            Ok(value) => made.push(value),
            Err(error) => {
                equal(number.description().name, error, Error::QuotaExceeded)?;
                return Ok(made);
            }
        }
    }
}

/// As many can be made as the quota says; one that is dropped can be made again.
fn run_out(play: &Play, number: Number, words: &[u64], quota: usize) -> Step {
    let made = until_refused(play, SUBJECT, number, words)?;
    equal("how many there are", made.len(), quota)?;
    let mut last = made[1];
    for _ in 0..3 {
        play.value(SUBJECT, Number::CapabilityDrop, &[last])?;
        let again = until_refused(play, SUBJECT, number, words)?;
        equal("how many can be made again", again.len(), 1)?;
        last = again[0];
    }
    Ok(())
}

fn handles_run_out(play: &Play) -> Step {
    let handle = signal(play, SUBJECT)?;
    let used = play.statistics(SUBJECT)?.handles;
    let words = play.stunt(SUBJECT, Stunt::FillHandles, &[handle])?;
    // The order itself takes a slot, for its answer.
    let [made, error, again, error_again, ..] = words;
    equal("handles made", made, HANDLES - used - 1)?;
    for status in [error, error_again] {
        equal("error", outcome(status, 0), Err(Error::QuotaExceeded))?;
    }
    equal("a freed slot can be used", again, 1)?;
    equal("handles in the end", play.statistics(SUBJECT)?.handles, used)
}

fn a_full_table_makes_nothing(play: &Play) -> Step {
    let (_, client) = served(play)?;
    let own = mailbox(play, SUBJECT, 1)?;
    let places = play.places(SUBJECT)?;
    let (_, stack) = mapped(play, SUBJECT, PAGE)?;
    fill_table(play, SUBJECT, own)?;
    let before = play.statistics(SUBJECT)?;
    let calls: [(Number, &[u64]); 7] = [
        (Number::CapabilityDerive, &[client, 0, 0]),
        (Number::CapabilityDerive, &[client, 0, DERIVE_REVOCABLE]),
        (Number::ObjectMint, &[own, 0, 0]),
        (Number::RegionCreate, &[PAGE]),
        (Number::MailboxCreate, &[1]),
        (Number::SignalCreate, &[]),
        (Number::ThreadCreate, &[places.thread, stack + PAGE, own, 0]),
    ];
    for (number, words) in calls {
        play.refused(SUBJECT, number, words, Error::QuotaExceeded)?;
    }
    let after = play.statistics(SUBJECT)?;
    equal("memory and handles", (after.memory, after.handles), (before.memory, before.handles))
}

fn a_full_table_receives_no_capability(play: &Play) -> Step {
    let own = mailbox(play, SUBJECT, 4)?;
    let handle = signal(play, SUBJECT)?;
    play.draft_grants(SUBJECT, &[copied(handle, Rights::WAIT), copied(own, Rights::SEND)])?;
    play.value(SUBJECT, Number::Send, &[own])?;
    // First without room, then with one slot of the two.
    for free in [0, 1] {
        let words = [handle, own, free];
        let [first, _, second, ..] = play.stunt(SUBJECT, Stunt::ReceiveFull, &words)?;
        equal("no room", outcome(first, 0), Err(Error::QuotaExceeded))?;
        equal("little room", outcome(second, 0), Err(Error::QuotaExceeded))?;
    }
    let [first, _, second, count, ..] =
        play.stunt(SUBJECT, Stunt::ReceiveFull, &[handle, own, 2])?;
    equal("no room", outcome(first, 0), Err(Error::QuotaExceeded))?;
    equal("room", outcome(second, 0), Ok(0))?;
    equal("capabilities", count, 2)
}

fn a_full_table_lets_a_waiting_receive_fail(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let second = play.thread(PARTNER)?;
    play.begin(PARTNER, Number::Receive, &[server, FOREVER])?;
    let bits = signal(play, second)?;
    let copies = fill_table(play, second, bits)?;
    let handle = signal(play, SUBJECT)?;
    let grants = [copied(handle, Rights::WAIT), copied(handle, Rights::NOTIFY)];
    play.draft_grants(SUBJECT, &grants)?;
    // The sender need not know: the message is stored, and the receiver learns why it got none.
    play.value(SUBJECT, Number::Send, &[client])?;
    for copy in copies {
        play.value(second, Number::CapabilityDrop, &[copy])?;
    }
    play.finishes(PARTNER, Err(Error::QuotaExceeded))?;
    equal("capabilities", play.receive(PARTNER, server)?.grant_count, 2)
}

fn an_answer_brings_what_there_is_room_for(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let handle = signal(play, PARTNER)?;
    let second = play.thread(SUBJECT)?;
    let own = signal(play, second)?;
    let call = super::serving(play, server, client)?;
    // Of a full table the slot of the last order is free. To take orders again, a slot is needed: a
    // capability that moves with a queued call frees it.
    let copies = fill_table(play, second, own)?;
    play.draft_grants(second, &[moved(copies[0], Rights::TRANSFER)])?;
    play.begin(second, Number::Call, &[client, FOREVER])?;
    play.draft_grants(PARTNER, &[copied(handle, Rights::WAIT), copied(handle, Rights::NOTIFY)])?;
    play.value(PARTNER, Number::Reply, &[call.reply.0])?;
    play.receive(PARTNER, server)?;
    play.finishes(SUBJECT, Ok(0))?;
    let answer = play.letter(SUBJECT)?;
    equal("capabilities", answer.grant_count, 2)?;
    holds("the first arrived", !answer.grants()[0].handle.is_null())?;
    holds("the second did not", answer.grants()[1].handle.is_null())
}

fn regions_run_out(play: &Play) -> Step {
    run_out(play, Number::RegionCreate, &[PAGE], OBJECTS)
}

fn memory_runs_out(play: &Play) -> Step {
    play.start(SUBJECT)?;
    let used = play.statistics(SUBJECT)?.memory;
    let left = MEMORY - used;
    play.refused(SUBJECT, Number::RegionCreate, &[left + 1], Error::QuotaExceeded)?;
    let all = region(play, SUBJECT, left)?;
    equal("memory", play.statistics(SUBJECT)?.memory, MEMORY)?;
    play.refused(SUBJECT, Number::RegionCreate, &[1], Error::QuotaExceeded)?;
    play.value(SUBJECT, Number::CapabilityDrop, &[all])?;
    equal("memory", play.statistics(SUBJECT)?.memory, used)?;
    region(play, SUBJECT, left).map(drop)
}

fn mailboxes_run_out(play: &Play) -> Step {
    run_out(play, Number::MailboxCreate, &[1], OBJECTS)
}

fn messages_run_out(play: &Play) -> Step {
    let words = [MESSAGES + 1];
    play.refused(SUBJECT, Number::MailboxCreate, &words, Error::QuotaExceeded)?;
    let large = mailbox(play, SUBJECT, MESSAGES - 1)?;
    play.refused(SUBJECT, Number::MailboxCreate, &[2], Error::QuotaExceeded)?;
    mailbox(play, SUBJECT, 1)?;
    play.refused(SUBJECT, Number::MailboxCreate, &[1], Error::QuotaExceeded)?;
    play.value(SUBJECT, Number::CapabilityDrop, &[large])?;
    mailbox(play, SUBJECT, MESSAGES - 1).map(drop)
}

fn signals_run_out(play: &Play) -> Step {
    run_out(play, Number::SignalCreate, &[], OBJECTS)
}

fn threads_run_out(play: &Play) -> Step {
    let mut threads = Vec::new();
    for _ in 1..THREADS {
        threads.push(play.thread(SUBJECT)?);
    }
    let entry = play.places(SUBJECT)?.thread;
    let (_, stack) = mapped(play, SUBJECT, PAGE)?;
    let own = mailbox(play, SUBJECT, 1)?;
    let words = [entry, stack + PAGE, own, 0];
    play.refused(SUBJECT, Number::ThreadCreate, &words, Error::QuotaExceeded)?;
    // One that ends makes room.
    play.exit(threads[1])?;
    play.value(SUBJECT, Number::ThreadCreate, &words)?;
    play.refused(SUBJECT, Number::ThreadCreate, &words, Error::QuotaExceeded)
}

fn lineages_run_out(play: &Play) -> Step {
    let source = signal(play, SUBJECT)?;
    let rights = word(Rights::WAIT | PASS);
    let mut copies = Vec::new();
    for _ in 0..=LINEAGES {
        copies.push(play.derive(SUBJECT, source, Rights::WAIT | PASS)?);
    }
    for copy in &copies[..LINEAGES] {
        // Further copies of one source take no further lineage.
        for _ in 0..2 {
            let child = play.derive_revocable(SUBJECT, *copy, Rights::WAIT)?;
            play.value(SUBJECT, Number::CapabilityDrop, &[child])?;
        }
    }
    let words = [copies[LINEAGES], rights, DERIVE_REVOCABLE];
    play.refused(SUBJECT, Number::CapabilityDerive, &words, Error::QuotaExceeded)?;
    play.value(SUBJECT, Number::CapabilityRevoke, &[copies[3]])?;
    play.value(SUBJECT, Number::CapabilityDerive, &words).map(drop)
}

fn a_dropped_source_gives_its_lineage_back(play: &Play) -> Step {
    let source = signal(play, SUBJECT)?;
    for _ in 0..2 * LINEAGES {
        let copy = play.derive(SUBJECT, source, Rights::WAIT | PASS)?;
        let child = play.derive_revocable(SUBJECT, copy, Rights::WAIT)?;
        play.value(SUBJECT, Number::CapabilityDrop, &[copy])?;
        play.value(SUBJECT, Number::CapabilityDrop, &[child])?;
    }
    Ok(())
}

fn an_answer_gives_the_lineages_of_loans_back(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let (region, address) = mapped(play, SUBJECT, PAGE)?;
    let loan = super::lent(region, Rights::READ, address, PAGE);
    for _ in 0..LINEAGES {
        play.draft_grants(SUBJECT, &[loan, loan, loan])?;
        let call = super::serving(play, server, client)?;
        for grant in call.grants() {
            play.value(PARTNER, Number::CapabilityDrop, &[grant.handle.0])?;
        }
        play.reply(PARTNER, call.reply, 0)?;
        play.finishes(SUBJECT, Ok(0))?;
    }
    Ok(())
}

fn revoked_handles_take_a_slot_until_dropped(play: &Play) -> Step {
    let source = signal(play, SUBJECT)?;
    let copy = play.derive_revocable(SUBJECT, source, Rights::WAIT)?;
    let held = play.statistics(SUBJECT)?.handles;
    play.value(SUBJECT, Number::CapabilityRevoke, &[source])?;
    equal("handles", play.statistics(SUBJECT)?.handles, held)?;
    play.value(SUBJECT, Number::CapabilityDrop, &[copy])?;
    equal("handles", play.statistics(SUBJECT)?.handles, held - 1)
}

fn a_restart_gives_everything_back(play: &Play) -> Step {
    for _ in 0..3 {
        let (_, client) = served(play)?;
        let own = region(play, SUBJECT, PAGE)?;
        for number in [Number::SignalCreate, Number::MailboxCreate, Number::RegionCreate] {
            holds("something is made", !until_refused(play, SUBJECT, number, &[1])?.is_empty())?;
        }
        play.derive_revocable(SUBJECT, client, CLIENT)?;
        play.copy(SUBJECT, own, Rights::READ, PARTNER)?;
        fill_table(play, SUBJECT, own)?;
        play.last_stunt(SUBJECT, Stunt::Illegal, &[])?;
        equal("memory of an ended service", play.statistics(SUBJECT)?.memory, 0)?;
        play.stop(PARTNER)?;
    }
    Ok(())
}

fn one_service_cannot_use_up_another_ones(play: &Play) -> Step {
    for number in [Number::SignalCreate, Number::MailboxCreate, Number::RegionCreate] {
        until_refused(play, SUBJECT, number, &[1])?;
    }
    let handle = signal(play, PARTNER)?;
    fill_table(play, SUBJECT, play.named(SUBJECT, "orders")?)?;
    for (number, quota) in [(Number::MailboxCreate, OBJECTS), (Number::RegionCreate, OBJECTS)] {
        equal("objects", until_refused(play, PARTNER, number, &[1])?.len(), quota)?;
    }
    equal("signals", until_refused(play, PARTNER, Number::SignalCreate, &[])?.len(), 3)?;
    play.value(PARTNER, Number::CapabilityDrop, &[handle]).map(drop)
}

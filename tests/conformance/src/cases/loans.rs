//! Loans: pages that are another's for the length of a call.

use super::{
    BOTH, CLIENT, cases, copied, lent, mapped, moved, region, served, serving, signal, word,
};
use crate::expect::{Step, equal, holds, is_fault};
use crate::play::{PARTNER, Play, SUBJECT, WITNESS, all};
use phi_abi::layout::PAGE;
use phi_abi::{
    Error, FOREVER, FaultKind, Grant, Handle, Kind, LINEAGE_DEPTH, Message, Number, Rights,
};

cases!("loans":
    lent_pages_are_mapped_on_arrival,
    lent_pages_go_back_with_the_answer,
    a_loan_is_revoked_after_the_answer,
    read_only_loans_cannot_be_written,
    only_the_pages_in_question_are_lent,
    loans_reach_whole_pages,
    loans_stay_within_the_region,
    loans_are_of_regions,
    loans_must_be_readable,
    loans_need_the_rights,
    the_lender_keeps_its_access,
    loans_cannot_be_copied_or_moved,
    loans_are_mapped_once_and_for_all,
    loans_may_be_lent_on,
    loans_lent_on_reach_no_further,
    a_dropped_loan_is_unmapped,
    four_loans_in_one_call,
    a_lending_call_waits_for_the_answer,
    a_lending_call_times_out_in_the_queue,
    lent_pages_outlive_the_lender,
    a_server_that_ends_gives_pages_back,
    revoking_takes_lent_pages_away,
    a_loan_revoked_in_the_queue_does_not_arrive,
    loans_are_counted,
    each_loan_needs_a_lineage,
    loans_are_no_deeper_than_lineages,
);

/// A call of the subject's that lends, being served by the partner.
struct Lent {
    /// Of the region, the subject's.
    region: u64,
    /// Of the region's first page.
    address: u64,
    /// The partner's mailbox, and the subject's capability to it.
    mailboxes: (u64, u64),
    /// What the partner got.
    call: Message,
}

impl Lent {
    fn loan(&self) -> u64 {
        self.call.grants()[0].handle.0
    }
}

/// The subject makes a region of four pages, each with a number in its first word, and unmaps it:
/// where services share an address space, only what is lent is then in reach.
fn numbered(play: &Play) -> Step<(u64, u64)> {
    let (region, address) = mapped(play, SUBJECT, 4 * PAGE)?;
    for page in 0..4 {
        play.write(SUBJECT, address + page * PAGE, 100 + page)?;
    }
    play.value(SUBJECT, Number::RegionUnmap, &[region])?;
    Ok((region, address))
}

/// The subject maps a region again and reads a word.
fn look(play: &Play, region: u64, address: u64) -> Step<u64> {
    play.value(SUBJECT, Number::RegionMap, &[region, word(Rights::READ)])?;
    let content = play.read(SUBJECT, address)?;
    play.value(SUBJECT, Number::RegionUnmap, &[region])?;
    Ok(content)
}

/// The subject lends the middle two of four pages.
fn lend(play: &Play, rights: Rights) -> Step<Lent> {
    let mailboxes = served(play)?;
    let (region, address) = numbered(play)?;
    play.draft_grants(SUBJECT, &[lent(region, rights, address + PAGE, 2 * PAGE)])?;
    let call = serving(play, mailboxes.0, mailboxes.1)?;
    Ok(Lent { region, address, mailboxes, call })
}

fn answer(play: &Play, lent: &Lent) -> Step {
    play.reply(PARTNER, lent.call.reply, 1)?;
    play.finishes(SUBJECT, Ok(0))
}

fn lent_pages_are_mapped_on_arrival(play: &Play) -> Step {
    let lent = lend(play, BOTH | Rights::TRANSFER)?;
    let Grant { rights, address, length, mode, .. } = lent.call.grants()[0];
    equal("rights", rights, (BOTH | Rights::TRANSFER).bits())?;
    equal("address and length", (address, length), (lent.address + PAGE, 2 * PAGE))?;
    equal("mode", mode, 3)?;
    equal("content", play.read(PARTNER, address)?, 101)?;
    play.write(PARTNER, address + PAGE, 7)?;
    answer(play, &lent)?;
    equal("what the server wrote", look(play, lent.region, address + PAGE)?, 7)
}

fn lent_pages_go_back_with_the_answer(play: &Play) -> Step {
    let lent = lend(play, BOTH)?;
    equal("content", play.read(PARTNER, lent.address + PAGE)?, 101)?;
    answer(play, &lent)?;
    play.read_faults(PARTNER, lent.address + PAGE)
}

fn a_loan_is_revoked_after_the_answer(play: &Play) -> Step {
    let lent = lend(play, BOTH)?;
    answer(play, &lent)?;
    let loan = lent.loan();
    play.refused(PARTNER, Number::RegionMap, &[loan, word(Rights::READ)], Error::Revoked)?;
    play.refused(PARTNER, Number::RegionUnmap, &[loan], Error::Revoked)?;
    play.value(PARTNER, Number::CapabilityDrop, &[loan]).map(drop)
}

fn read_only_loans_cannot_be_written(play: &Play) -> Step {
    let lent = lend(play, Rights::READ)?;
    equal("content", play.read(PARTNER, lent.address + PAGE)?, 101)?;
    play.write_faults(PARTNER, lent.address + PAGE)?;
    play.finishes(SUBJECT, Err(Error::Dead))
}

fn only_the_pages_in_question_are_lent(play: &Play) -> Step {
    for beyond in [PAGE - 8, 3 * PAGE] {
        let lent = lend(play, Rights::READ)?;
        play.read_faults(PARTNER, lent.address + beyond)?;
        play.stop(SUBJECT)?;
    }
    Ok(())
}

fn loans_reach_whole_pages(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let (region, address) = numbered(play)?;
    // The last byte of one page and the first of the next.
    play.draft_grants(SUBJECT, &[lent(region, Rights::READ, address + PAGE - 1, 2)])?;
    let call = serving(play, server, client)?;
    let Grant { address: arrived, length, .. } = call.grants()[0];
    equal("address and length", (arrived, length), (address + PAGE - 1, 2))?;
    equal("begin of the first page", play.read(PARTNER, address)?, 100)?;
    equal("end of the second page", play.read(PARTNER, address + 2 * PAGE - 8)?, 0)?;
    play.read_faults(PARTNER, address + 2 * PAGE)
}

fn loans_stay_within_the_region(play: &Play) -> Step {
    type Range = fn(u64) -> (u64, u64);
    let ranges: [Range; 6] = [
        |address| (address - 1, 2),
        |address| (address, PAGE + 1),
        |address| (address + PAGE, 1),
        |address| (address, 0),
        |address| (address + 1, u64::MAX),
        |_| (0, PAGE),
    ];
    for range in ranges {
        let (_, client) = served(play)?;
        let (region, address) = mapped(play, SUBJECT, PAGE)?;
        let (address, length) = range(address);
        play.draft_grants(SUBJECT, &[lent(region, Rights::READ, address, length)])?;
        let kind = FaultKind::BadArgument;
        play.faults(SUBJECT, Number::Call, &[client, 0], kind, address)?;
        play.stop(PARTNER)?;
    }
    Ok(())
}

fn loans_are_of_regions(play: &Play) -> Step {
    let (_, client) = served(play)?;
    let handle = signal(play, SUBJECT)?;
    play.draft_grants(SUBJECT, &[lent(handle, Rights::empty(), 0, 1)])?;
    play.faults(SUBJECT, Number::Call, &[client, 0], FaultKind::BadHandle, handle)
}

fn loans_must_be_readable(play: &Play) -> Step {
    let (_, client) = served(play)?;
    let (region, address) = mapped(play, SUBJECT, PAGE)?;
    play.draft_grants(SUBJECT, &[lent(region, Rights::WRITE, address, PAGE)])?;
    let rights = word(Rights::WRITE);
    play.faults(SUBJECT, Number::Call, &[client, 0], FaultKind::BadArgument, rights)
}

fn loans_need_the_rights(play: &Play) -> Step {
    let (_, client) = served(play)?;
    let (region, address) = mapped(play, SUBJECT, PAGE)?;
    let fixed = play.derive(SUBJECT, region, BOTH)?;
    let readable = play.derive(SUBJECT, region, Rights::READ | Rights::TRANSFER)?;
    for (handle, rights) in [(fixed, Rights::READ), (readable, BOTH)] {
        play.draft_grants(SUBJECT, &[lent(handle, rights, address, PAGE)])?;
        play.refused(SUBJECT, Number::Call, &[client, 0], Error::Denied)?;
    }
    Ok(())
}

fn the_lender_keeps_its_access(play: &Play) -> Step {
    let second = play.thread(SUBJECT)?;
    let lent = lend(play, Rights::READ)?;
    play.value(second, Number::RegionMap, &[lent.region, word(BOTH)])?;
    play.write(second, lent.address + PAGE, 55)?;
    equal("what the lender wrote", play.read(PARTNER, lent.address + PAGE)?, 55)?;
    answer(play, &lent)
}

fn loans_cannot_be_copied_or_moved(play: &Play) -> Step {
    let lent = lend(play, BOTH | Rights::TRANSFER)?;
    let (server, loan) = (lent.mailboxes.0, lent.loan());
    for grant in [copied(loan, Rights::READ), moved(loan, Rights::READ)] {
        play.draft_grants(PARTNER, &[grant])?;
        play.refused(PARTNER, Number::Send, &[server], Error::Denied)?;
    }
    let words = [loan, word(Rights::READ), 0];
    play.refused(PARTNER, Number::CapabilityDerive, &words, Error::Denied)?;
    answer(play, &lent)
}

fn loans_are_mapped_once_and_for_all(play: &Play) -> Step {
    let lent = lend(play, Rights::READ)?;
    let loan = lent.loan();
    play.refused(PARTNER, Number::RegionMap, &[loan, word(Rights::READ)], Error::Busy)?;
    play.refused(PARTNER, Number::RegionUnmap, &[loan], Error::Busy)?;
    equal("content", play.read(PARTNER, lent.address + PAGE)?, 101)?;
    answer(play, &lent)
}

fn loans_may_be_lent_on(play: &Play) -> Step {
    let last = super::mailbox(play, WITNESS, 1)?;
    let onward = play.copy(WITNESS, last, CLIENT, PARTNER)?;
    let first = lend(play, BOTH | Rights::TRANSFER)?;
    let address = first.address + PAGE;
    play.draft_grants(PARTNER, &[lent(first.loan(), Rights::READ, address, 8)])?;
    play.begin(PARTNER, Number::Call, &[onward, FOREVER])?;
    let call = play.receive(WITNESS, last)?;
    equal("content", play.read(WITNESS, address)?, 101)?;
    play.reply(WITNESS, call.reply, 1)?;
    play.finishes(PARTNER, Ok(0))?;
    let over = call.grants()[0].handle.0;
    play.refused(WITNESS, Number::RegionUnmap, &[over], Error::Revoked)?;
    play.write(PARTNER, address, 9)?;
    answer(play, &first)?;
    play.read_faults(WITNESS, address)
}

fn loans_lent_on_reach_no_further(play: &Play) -> Step {
    let last = super::mailbox(play, WITNESS, 1)?;
    let onward = play.copy(WITNESS, last, CLIENT, PARTNER)?;
    let first = lend(play, Rights::READ | Rights::TRANSFER)?;
    let loan = first.loan();
    let address = first.address + PAGE;
    play.draft_grants(PARTNER, &[lent(loan, BOTH, address, 8)])?;
    play.refused(PARTNER, Number::Call, &[onward, 0], Error::Denied)?;
    play.draft_grants(PARTNER, &[lent(loan, Rights::READ, address - 1, 8)])?;
    let kind = FaultKind::BadArgument;
    play.faults(PARTNER, Number::Call, &[onward, 0], kind, address - 1)?;
    play.finishes(SUBJECT, Err(Error::Dead))
}

fn a_dropped_loan_is_unmapped(play: &Play) -> Step {
    let lent = lend(play, Rights::READ)?;
    play.value(PARTNER, Number::CapabilityDrop, &[lent.loan()])?;
    answer(play, &lent)?;
    play.stop(SUBJECT)?;
    let lent = lend(play, Rights::READ)?;
    play.value(PARTNER, Number::CapabilityDrop, &[lent.loan()])?;
    play.read_faults(PARTNER, lent.address + PAGE)
}

fn four_loans_in_one_call(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let (region, address) = numbered(play)?;
    let rights = [Rights::READ, BOTH, BOTH, Rights::READ];
    let mut grants = [Grant::default(); 4];
    for (page, (grant, rights)) in (0..4).zip(grants.iter_mut().zip(rights)) {
        *grant = lent(region, rights, address + page * PAGE, PAGE);
    }
    play.draft_grants(SUBJECT, &grants)?;
    let call = serving(play, server, client)?;
    for page in 0..4 {
        equal("content", play.read(PARTNER, address + page * PAGE)?, 100 + page)?;
    }
    play.write(PARTNER, address + PAGE, 70)?;
    play.write(PARTNER, address + 2 * PAGE, 71)?;
    play.reply(PARTNER, call.reply, 0)?;
    play.finishes(SUBJECT, Ok(0))?;
    equal("content", look(play, region, address + 2 * PAGE)?, 71)?;
    play.read_faults(PARTNER, address + 2 * PAGE)
}

fn a_lending_call_waits_for_the_answer(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let (region, address) = mapped(play, SUBJECT, PAGE)?;
    play.begin(PARTNER, Number::Receive, &[server, FOREVER])?;
    play.draft_grants(SUBJECT, &[lent(region, BOTH, address, PAGE)])?;
    // Its time is over at once, but the pages are with the server.
    play.begin(SUBJECT, Number::Call, &[client, 1])?;
    play.finishes(PARTNER, Ok(0))?;
    phi_rt::sleep(2_000_000);
    play.write(PARTNER, address, 17)?;
    play.reply(PARTNER, play.letter(PARTNER)?.reply, 3)?;
    play.finishes(SUBJECT, Ok(0))?;
    equal("what the server wrote", play.read(SUBJECT, address)?, 17)
}

fn a_lending_call_times_out_in_the_queue(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let (region, address) = numbered(play)?;
    play.draft_grants(SUBJECT, &[lent(region, BOTH, address, PAGE)])?;
    play.refused(SUBJECT, Number::Call, &[client, 1_000], Error::TimedOut)?;
    play.refused(PARTNER, Number::Receive, &[server, 0], Error::TimedOut)?;
    play.read_faults(PARTNER, address)
}

fn lent_pages_outlive_the_lender(play: &Play) -> Step {
    let lent = lend(play, BOTH)?;
    play.stop(SUBJECT)?;
    // The server did nothing wrong: it goes on with the pages until it answers.
    equal("content", play.read(PARTNER, lent.address + PAGE)?, 101)?;
    play.write(PARTNER, lent.address + PAGE, 1)?;
    play.draft_label(PARTNER, 1)?;
    play.refused(PARTNER, Number::Reply, &[lent.call.reply.0], Error::Dead)?;
    play.read_faults(PARTNER, lent.address + PAGE)
}

fn a_server_that_ends_gives_pages_back(play: &Play) -> Step {
    let held = lend(play, BOTH)?;
    let address = held.address + PAGE;
    play.write(PARTNER, address, 66)?;
    play.stop(PARTNER)?;
    play.finishes(SUBJECT, Err(Error::Dead))?;
    equal("content", look(play, held.region, address)?, 66)?;
    // It can be lent again, to the next generation.
    let (server, client) = served(play)?;
    play.draft_grants(SUBJECT, &[lent(held.region, Rights::READ, address, PAGE)])?;
    let call = serving(play, server, client)?;
    equal("content", play.read(PARTNER, address)?, 66)?;
    play.reply(PARTNER, call.reply, 0)?;
    play.finishes(SUBJECT, Ok(0))
}

fn revoking_takes_lent_pages_away(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let second = play.thread(SUBJECT)?;
    let source = region(play, SUBJECT, PAGE)?;
    let copy = play.derive_revocable(SUBJECT, source, all(Kind::Region))?;
    let address = play.capability(SUBJECT, copy)?.address;
    play.draft_grants(SUBJECT, &[lent(copy, Rights::READ, address, PAGE)])?;
    let call = serving(play, server, client)?;
    equal("content", play.read(PARTNER, address)?, 0)?;
    play.value(second, Number::CapabilityRevoke, &[source])?;
    // The call goes on, but using the pages is a fault of the server's.
    let words = [call.grants()[0].handle.0];
    play.refused(PARTNER, Number::RegionUnmap, &words, Error::Revoked)?;
    let state = play.touch_ends(PARTNER, false, address)?;
    is_fault("read of revoked pages", state, FaultKind::Read, address)?;
    play.finishes(SUBJECT, Err(Error::Dead))
}

fn a_loan_revoked_in_the_queue_does_not_arrive(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let second = play.thread(SUBJECT)?;
    let source = region(play, SUBJECT, PAGE)?;
    let copy = play.derive_revocable(SUBJECT, source, all(Kind::Region))?;
    let address = play.capability(SUBJECT, copy)?.address;
    play.draft_grants(SUBJECT, &[lent(copy, Rights::READ, address, PAGE)])?;
    play.begin(SUBJECT, Number::Call, &[client, FOREVER])?;
    play.value(second, Number::CapabilityRevoke, &[source])?;
    let call = play.receive(PARTNER, server)?;
    equal("handle of the loan", call.grants()[0].handle, Handle::NULL)?;
    play.reply(PARTNER, call.reply, 0)?;
    play.finishes(SUBJECT, Ok(0))
}

fn loans_are_counted(play: &Play) -> Step {
    play.start(SUBJECT)?;
    let before = play.statistics(SUBJECT)?.loans;
    let lent = lend(play, Rights::READ)?;
    answer(play, &lent)?;
    equal("loans", play.statistics(SUBJECT)?.loans - before, 1)
}

fn each_loan_needs_a_lineage(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let (region, address) = mapped(play, SUBJECT, PAGE)?;
    // Twelve are the quota; eleven are in use, each by a capability of its own.
    let mut copies = [0; 11];
    for copy in &mut copies {
        *copy = play.derive(SUBJECT, region, BOTH | Rights::DERIVE)?;
        play.derive_revocable(SUBJECT, *copy, Rights::READ)?;
    }
    let loan = lent(region, Rights::READ, address, PAGE);
    play.draft_grants(SUBJECT, &[loan, loan])?;
    play.refused(SUBJECT, Number::Call, &[client, 0], Error::QuotaExceeded)?;
    play.draft_grants(SUBJECT, &[loan])?;
    let call = serving(play, server, client)?;
    holds("the loan arrived", !call.grants()[0].handle.is_null())?;
    play.reply(PARTNER, call.reply, 0)?;
    play.finishes(SUBJECT, Ok(0))
}

fn loans_are_no_deeper_than_lineages(play: &Play) -> Step {
    let (_, client) = served(play)?;
    let mut handle = region(play, SUBJECT, PAGE)?;
    let address = play.capability(SUBJECT, handle)?.address;
    for _ in 0..LINEAGE_DEPTH {
        handle = play.derive_revocable(SUBJECT, handle, all(Kind::Region))?;
    }
    play.draft_grants(SUBJECT, &[lent(handle, Rights::READ, address, PAGE)])?;
    play.refused(SUBJECT, Number::Call, &[client, 0], Error::TooDeep)
}

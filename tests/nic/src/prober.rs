//! The service `prober`: asks a driver for all that is wrong; and `rival`, another client, which it starts.

use core::fmt::Write;
use phi_idl::{CallError, Slice};
use phi_nic::{Address, FRAME, LinkError, MEMORY, NicClient, NicError, Opened};
use phi_rt::{
    Capability, Console, Domain, DomainState, Error, Mapping, Region, Rights, Service, Signal,
};

/// How `rival` ends: another client has the card, or it has it itself now.
const TAKEN: u8 = 10;
const HAS: u8 = 11;

/// Nanoseconds between two looks at it, and looks.
const PAUSE: u64 = 1_000_000;
const LOOKS: u32 = 10_000;

/// Nanoseconds after which an answer has come.
const LONG: u64 = 200_000_000;

/// Bytes of the memory for frames.
const LENGTH: u64 = 8192;

/// The service `rival`: opens the card, and ends.
pub fn rival(service: &Service) -> u8 {
    let Ok(card) = service.peer("nic").map(NicClient::new) else { return 2 };
    let Ok(signal) = Signal::create() else { return 3 };
    match open(&card, &signal) {
        Ok(_) => HAS,
        Err(CallError::Refused(NicError::Taken)) => TAKEN,
        Err(_) => 4,
    }
}

/// The service `prober`. Prints what was asked, and `WRONG` beside what was not answered as it is to be.
pub fn main(service: &Service) -> u8 {
    let Ok(output) = service.console("output") else { return 2 };
    match probe(service, &output) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(&output, "WRONG: the prober cannot go on: {error}");
            1
        }
    }
}

/// Opens the card as it is to be done, with memory that nobody needs; gives the session.
fn open(card: &NicClient, signal: &Signal) -> Result<u64, LinkError> {
    let opened = card.open(memory(4096)?, notify(signal)?)?;
    Ok(opened.session)
}

fn notify(signal: &Signal) -> Result<Capability, LinkError> {
    Ok(signal.capability().derive(Rights::NOTIFY | Rights::TRANSFER)?)
}

/// A region of so many bytes, to be given away.
fn memory(length: u64) -> Result<Capability, LinkError> {
    Ok(Region::create(length)?.into_capability())
}

/// Prints how something was answered that is to be refused so.
fn refused(mut output: &Console, what: &str, got: Result<(), LinkError>, expected: NicError) {
    let wrong = if got == Err(CallError::Refused(expected)) { "" } else { "WRONG: " };
    let _ = writeln!(output, "{wrong}{what}: {got:?}");
}

fn probe(service: &Service, mut output: &Console) -> Result<(), LinkError> {
    let missing = |_| CallError::Transport(Error::Denied);
    let card = NicClient::new(service.peer("nic").map_err(missing)?);
    let rival = service.domain("domain:rival").map_err(missing)?;
    let signal = Signal::create()?;
    let is_refused = |what, got, expected| refused(output, what, got, expected);
    let mute = signal.capability().derive(Rights::WAIT | Rights::TRANSFER)?;
    let mute = card.open(memory(4096)?, mute).map(drop);
    is_refused("a signal that cannot be set", mute, NicError::Signal);
    let region = card.open(memory(4096)?, memory(4096)?).map(drop);
    is_refused("no signal at all", region, NicError::Signal);
    let large = card.open(memory(MEMORY + 1)?, notify(&signal)?).map(drop);
    is_refused("too much memory", large, NicError::Memory);
    let none = card.open(notify(&signal)?, notify(&signal)?).map(drop);
    is_refused("no memory at all", none, NicError::Memory);
    let read = Region::create(4096)?.capability().derive(Rights::READ | Rights::TRANSFER)?;
    let read = card.open(read, notify(&signal)?).map(drop);
    is_refused("memory that is only read", read, NicError::Memory);
    let owned = Region::create(4096)?;
    let lent =
        owned.capability().derive_revocable(Rights::READ | Rights::WRITE | Rights::TRANSFER)?;
    let lent = card.open(lent, notify(&signal)?).map(drop);
    is_refused("memory that can be taken back", lent, NicError::Memory);
    is_refused("before anything", card.close(1), NicError::Stale);
    let session = frames(output, &card, &signal)?;
    is_refused("a session that never was", card.close(session + 1), NicError::Stale);
    say(output, "a rival of who has the card", ends_with(&rival, TAKEN)?);
    let again = open(&card, &signal)?;
    let stale = card.send(session, Slice { offset: 0, length: 60 });
    is_refused("the session before", stale, NicError::Stale);
    card.close(again)?;
    is_refused("a session that was closed", card.close(again), NicError::Stale);
    say(output, "frames of the session before", !has_earlier_frames(&card, &signal)?);
    say(output, "a rival of nobody", ends_with(&rival, HAS)?);
    // It has ended with the card in its hands.
    open(&card, &signal)?;
    let _ = writeln!(output, "the card is there");
    Ok(())
}

/// Opens the card, asks to send and to receive what is no frame, and then to send what is one; the session.
fn frames(output: &Console, card: &NicClient, signal: &Signal) -> Result<u64, LinkError> {
    let (mapping, Opened { session, .. }) = open_mapped(card, signal)?;
    let frame = FRAME as u64;
    for (what, offset, length, room) in [
        ("nothing", 0, 0, 0),
        ("less than a head", 0, 13, 13),
        ("more than a frame, and less room", 0, frame + 1, frame - 1),
        ("what reaches beyond the memory", LENGTH - 59, 60, frame),
        ("what begins beyond it", LENGTH, 60, frame),
        ("what wraps", u64::MAX - 59, 60, frame),
        ("what has no end", 0, u64::MAX, u64::MAX),
    ] {
        let sent = card.send(session, Slice { offset, length });
        refused(output, what, sent, NicError::Length);
        let received = card.receive(session, Slice { offset, length: room }).map(drop);
        refused(output, what, received, NicError::Length);
    }
    mapping.write(0, &[0xFF; 60]);
    card.send(session, Slice { offset: 0, length: 60 })?;
    Ok(session)
}

/// Opens the card with memory that is mapped here, too.
fn open_mapped(card: &NicClient, signal: &Signal) -> Result<(Mapping, Opened), LinkError> {
    let mapping = Region::create(LENGTH)?.map(true)?;
    let rights = Rights::READ | Rights::WRITE | Rights::TRANSFER;
    let opened = card.open(mapping.capability().derive(rights)?, notify(signal)?)?;
    Ok((mapping, opened))
}

/// Whether the answer to what was asked in one session is there in the next one. In the first one it is seen to
/// come.
fn has_earlier_frames(card: &NicClient, signal: &Signal) -> Result<bool, LinkError> {
    let (mapping, opened) = open_mapped(card, signal)?;
    ask(card, &mapping, opened)?;
    let mut looks = 0..LOOKS;
    while !takes_answer(card, &mapping, opened.session)? {
        looks.next().ok_or(CallError::Transport(Error::TimedOut))?;
        phi_rt::sleep(PAUSE);
    }
    ask(card, &mapping, opened)?;
    phi_rt::sleep(LONG);
    let (mapping, next) = open_mapped(card, signal)?;
    let answered = takes_answer(card, &mapping, next.session)?;
    card.close(next.session)?;
    Ok(answered)
}

/// Asks which card has the other side's address (ARP, RFC 826).
fn ask(card: &NicClient, mapping: &Mapping, opened: Opened) -> Result<(), LinkError> {
    let Address(own) = opened.address;
    let mut frame = [0; 42];
    frame[..6].fill(0xFF);
    frame[6..12].copy_from_slice(&own);
    frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&own);
    frame[28..32].copy_from_slice(&[10, 77, 0, 2]);
    frame[38..].copy_from_slice(&[10, 77, 0, 1]);
    mapping.write(0, &frame);
    card.send(opened.session, Slice { offset: 0, length: frame.len() as u64 })
}

/// Takes frames until one is the answer to that, or none is left.
fn takes_answer(card: &NicClient, mapping: &Mapping, session: u64) -> Result<bool, LinkError> {
    let mut head = [0; 22];
    loop {
        match card.receive(session, Slice { offset: 0, length: FRAME as u64 }) {
            Ok(_) => {
                mapping.read(0, &mut head);
                if head[12..] == [8, 6, 0, 1, 8, 0, 6, 4, 0, 2] {
                    return Ok(true);
                }
            }
            Err(CallError::Refused(NicError::Nothing)) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

fn say(mut output: &Console, what: &str, holds: bool) {
    let _ = writeln!(output, "{}{what}", if holds { "" } else { "WRONG: " });
}

/// Whether a service that is started now ends with this status.
fn ends_with(domain: &Domain, status: u8) -> Result<bool, LinkError> {
    domain.start()?;
    for _ in 0..LOOKS {
        match domain.state()?.state {
            DomainState::Running => phi_rt::sleep(PAUSE),
            state => return Ok(state == DomainState::Exited(status)),
        }
    }
    Ok(false)
}

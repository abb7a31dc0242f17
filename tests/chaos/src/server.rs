//! Does what clients ask, and checks what it can.

use crate::{PAGE, answer, is_explained, label};
use alloc::collections::{BTreeMap, VecDeque};
use phi_rt::{
    Capability, Event, FOREVER, Incoming, Mailbox, Outgoing, Peer, Region, Rights, Service,
};

/// Capabilities that it keeps, at most.
const KEPT: usize = 8;

struct Server {
    mailbox: Mailbox,
    /// The server behind this one, if there is one.
    back: Option<Peer>,
    kept: VecDeque<Capability>,
    /// The last number of each sender.
    numbers: BTreeMap<u64, u64>,
}

/// The service: serves without end.
pub fn main(service: &Service) -> u8 {
    let mailbox = service.mailbox("work").expect("a mailbox");
    let back = service.peer("back").ok();
    let mut server = Server { mailbox, back, kept: VecDeque::new(), numbers: BTreeMap::new() };
    let mut event = server.mailbox.receive(FOREVER);
    loop {
        let Ok(Event::Message(mut incoming)) = event else { panic!("cannot receive: {event:?}") };
        let answer = server.answer(&mut incoming);
        event = if incoming.is_call() {
            server.mailbox.reply_receive(incoming, answer, FOREVER)
        } else {
            drop(incoming);
            server.mailbox.receive(FOREVER)
        };
    }
}

impl Server {
    fn answer(&mut self, incoming: &mut Incoming) -> Outgoing<'static> {
        match incoming.label() {
            label::ECHO => {
                Outgoing::new(answer::DONE, incoming.bytes()).expect("as long as it was")
            }
            label::SUM => self.sum(incoming),
            label::FILL => self.fill(incoming),
            label::READ => self.read(incoming),
            label::KEEP => self.keep(incoming),
            label::MINT => self.mint(),
            label::NOTE => self.note(incoming),
            label::RELAY => self.relay(incoming),
            other => panic!("asked for {other}"),
        }
    }

    fn sum(&self, incoming: &Incoming) -> Outgoing<'static> {
        // The caller has no lineage left, or ended meanwhile.
        let Some(lent) = incoming.lent(0) else { return Outgoing::empty(answer::LATER) };
        let mut bytes = [0; PAGE];
        let mut sum = 0;
        let mut offset = 0;
        loop {
            let count = lent.read(offset, &mut bytes);
            if count == 0 {
                break;
            }
            sum += bytes[..count].iter().map(|byte| u64::from(*byte)).sum::<u64>();
            offset += count;
        }
        number(sum)
    }

    fn fill(&self, incoming: &Incoming) -> Outgoing<'static> {
        let Some(lent) = incoming.lent_mut(0) else { return Outgoing::empty(answer::LATER) };
        let value = incoming.bytes().first().copied().unwrap_or_default();
        for offset in (0..lent.length()).step_by(64) {
            lent.write(offset, &[value; 64]);
        }
        number(lent.length() as u64)
    }

    fn read(&self, incoming: &mut Incoming) -> Outgoing<'static> {
        let region = incoming.take(0).and_then(|given| Region::try_from(given).ok());
        let Some(mapping) = region.and_then(|region| region.map(false).ok()) else {
            return Outgoing::empty(answer::LATER);
        };
        let mut bytes = [0; 8];
        mapping.read(0, &mut bytes);
        number(u64::from_le_bytes(bytes))
    }

    fn keep(&mut self, incoming: &mut Incoming) -> Outgoing<'static> {
        if let Some(given) = incoming.take(0) {
            self.kept.push_back(given);
        }
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
        Outgoing::empty(answer::DONE)
    }

    fn mint(&self) -> Outgoing<'static> {
        let Ok(object) = self.mailbox.mint(77, Rights::CALL | Rights::TRANSFER) else {
            return Outgoing::empty(answer::LATER);
        };
        let mut made = Outgoing::empty(answer::DONE);
        made.give(object.into_capability()).expect("one fits");
        made
    }

    fn note(&mut self, incoming: &Incoming) -> Outgoing<'static> {
        let bytes = incoming.bytes().try_into().expect("a number");
        let (sender, number) = (incoming.badge(), u64::from_le_bytes(bytes));
        let last = self.numbers.insert(sender, number).unwrap_or_default();
        assert!(last < number, "{sender} sent {number:#x} after {last:#x}");
        Outgoing::empty(answer::DONE)
    }

    fn relay(&self, incoming: &Incoming) -> Outgoing<'static> {
        let request = Outgoing::new(label::ECHO, incoming.bytes()).expect("as long as it was");
        let Some(back) = &self.back else { return Outgoing::empty(answer::LATER) };
        match back.call(request, FOREVER) {
            Ok(back) => Outgoing::new(answer::DONE, back.bytes()).expect("as long as it was"),
            Err(error) => {
                assert!(is_explained(error), "the server behind: {error}");
                Outgoing::empty(answer::LATER)
            }
        }
    }
}

fn number(value: u64) -> Outgoing<'static> {
    Outgoing::new(answer::DONE, &value.to_le_bytes()).expect("eight bytes fit")
}

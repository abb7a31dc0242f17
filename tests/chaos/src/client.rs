//! Asks servers for all that they do, and checks the answers.

use crate::{PAGE, Random, answer, is_explained, label};
use phi_rt::{Error, FOREVER, Incoming, Memory, Outgoing, Peer, Region, Rights, Service};

/// Rounds of work between two questions whether to go on.
const ROUNDS: u64 = 8;

struct Client {
    front: Peer,
    /// Its own memory, if it has any.
    memory: Option<Memory>,
    random: Random,
    /// What every byte of the memory is.
    value: u8,
    /// The number that it sent last.
    number: u64,
}

/// The service: works until the keeper says that it is over.
pub fn main(service: &Service) -> u8 {
    let keeper = service.peer("keeper").expect("a keeper");
    let owns = service.arguments() != "without memory";
    let mut client = service.peer("front").ok().map(|front| Client {
        front,
        memory: owns.then(|| Memory::create(2 * PAGE as u64).expect("memory")),
        random: Random::new(phi_rt::now() ^ service.start().window),
        value: 0,
        // Of this generation, so larger than any of the one before.
        number: u64::from(service.generation()) << 32,
    });
    loop {
        match keeper.call(Outgoing::empty(label::ASK), FOREVER) {
            Ok(told) if told.label() == answer::END => return 0,
            Ok(_) => {}
            Err(error) => panic!("the keeper: {error}"),
        }
        match &mut client {
            Some(client) => client.work(),
            None => phi_rt::sleep(1_000_000),
        }
    }
}

impl Client {
    fn work(&mut self) {
        for _ in 0..ROUNDS {
            match self.random.below(8) {
                0 => self.sum(),
                1 => self.fill(),
                2 => self.pass_on(),
                3 => self.take_back(),
                4 => self.object(),
                5 => self.notes(),
                6 => self.echo(label::RELAY),
                _ => self.echo(label::ECHO),
            }
            let memory = self.memory.iter().flat_map(|memory| memory.iter());
            assert!(memory.copied().all(|byte| byte == self.value), "own memory changed");
        }
    }

    /// What came of a call, unless a death explains that nothing did.
    fn call(&self, message: Outgoing<'_>) -> Option<Incoming> {
        match self.front.call(message, FOREVER) {
            Ok(answer) if answer.label() == answer::DONE => Some(answer),
            Ok(answer) => {
                assert_eq!(answer.label(), answer::LATER, "an answer");
                None
            }
            Err(error) => {
                assert!(is_explained(error), "a call: {error}");
                None
            }
        }
    }

    /// Often enough for a channel to open.
    fn echo(&mut self, label: u64) {
        for _ in 0..self.random.below(16) {
            let bytes =
                [self.random.next().to_le_bytes(), self.random.next().to_le_bytes()].concat();
            let message = Outgoing::new(label, &bytes).expect("16 bytes fit");
            if let Some(answer) = self.call(message) {
                assert_eq!(answer.bytes(), bytes, "an echo");
            }
        }
    }

    fn sum(&mut self) {
        let Some(memory) = &self.memory else { return };
        let end = 1 + self.random.below(2 * PAGE as u64) as usize;
        let mut message = Outgoing::empty(label::SUM);
        message.lend(memory.lend(0..end)).expect("one fits");
        if let Some(answer) = self.call(message) {
            assert_eq!(number(&answer), end as u64 * u64::from(self.value), "a sum");
        }
    }

    fn fill(&mut self) {
        let Some(memory) = &mut self.memory else { return };
        let value = self.random.next() as u8;
        let mut message = Outgoing::new(label::FILL, &[value]).expect("a byte fits");
        let length = memory.len();
        message.lend(memory.lend_mut(0..length)).expect("one fits");
        match self.front.call(message, FOREVER) {
            Ok(answer) if answer.label() == answer::DONE => {
                assert_eq!(number(&answer), length as u64, "what was filled");
            }
            // Partly filled, or not at all.
            Ok(_) => memory.fill(value),
            Err(error) => {
                assert!(is_explained(error), "a loan: {error}");
                memory.fill(value);
            }
        }
        self.value = value;
    }

    /// Has the server read a region that is its as well.
    fn pass_on(&mut self) {
        let content = self.random.next();
        let Some(mapping) = self.region(content) else { return };
        let copy = Rights::READ;
        let mut message = Outgoing::empty(label::READ);
        message.copy(mapping.capability(), copy).expect("one fits");
        if let Some(answer) = self.call(message) {
            assert_eq!(number(&answer), content, "what was passed on");
        }
    }

    /// Passes a region on, and takes it back.
    fn take_back(&mut self) {
        let content = self.random.next();
        let Some(mapping) = self.region(content) else { return };
        let rights = Rights::READ | Rights::DERIVE | Rights::TRANSFER;
        let lent = match mapping.capability().derive_revocable(rights) {
            Ok(lent) => lent,
            Err(error) => panic!("a revocable copy: {error}"),
        };
        let mut message = Outgoing::empty(label::KEEP);
        message.copy(&lent, Rights::READ).expect("one fits");
        let kept = self.call(message);
        drop(kept);
        mapping.capability().revoke().expect("one's own is taken back");
        assert_eq!(lent.derive(Rights::READ), Err(Error::Revoked), "what was taken back");
        let mut bytes = [0; 8];
        mapping.read(0, &mut bytes);
        assert_eq!(u64::from_le_bytes(bytes), content, "what was taken back");
    }

    fn region(&mut self, content: u64) -> Option<phi_rt::Mapping> {
        match Region::create(PAGE as u64).and_then(|region| region.map(true)) {
            Ok(mapping) => {
                mapping.write(0, &content.to_le_bytes());
                Some(mapping)
            }
            // Servers keep some for a while.
            Err(Error::QuotaExceeded) => None,
            Err(error) => panic!("a region: {error}"),
        }
    }

    /// Has the server make an object, and calls it.
    fn object(&mut self) {
        let made = self.call(Outgoing::empty(label::MINT)).and_then(|mut answer| answer.take(0));
        let Some(object) = made.and_then(|object| Peer::try_from(object).ok()) else { return };
        for count in 0..self.random.below(8) {
            let bytes = count.to_le_bytes();
            let message = Outgoing::new(label::ECHO, &bytes).expect("eight bytes fit");
            match object.call(message, FOREVER) {
                Ok(answer) => assert_eq!(answer.bytes(), bytes, "an object's echo"),
                Err(error) => assert!(is_explained(error), "an object: {error}"),
            }
        }
    }

    /// Sends numbers, each larger than the last.
    fn notes(&mut self) {
        for _ in 0..self.random.below(32) {
            self.number += 1;
            let message = Outgoing::new(label::NOTE, &self.number.to_le_bytes());
            match self.front.send(message.expect("eight bytes fit")) {
                Ok(()) | Err(Error::Full) => {}
                Err(error) => assert!(is_explained(error), "a note: {error}"),
            }
        }
    }
}

fn number(answer: &Incoming) -> u64 {
    u64::from_le_bytes(answer.bytes().try_into().expect("a number"))
}

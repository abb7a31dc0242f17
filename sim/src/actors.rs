//! Services that are plain state machines: for the largest runs.

use crate::event::Call;
use crate::machine::{Act, Beginning, Services, Turn};
use crate::world::Role;
use phi_abi::{FOREVER, Grant, Handle, Kind, Message, Number, Rights};
use phi_core::{DomainIndex, MachineError, ThreadIndex};

pub(crate) mod hostile;

/// A service: what its thread does next, given how its last call ended.
pub(crate) trait Actor {
    /// The next call.
    fn next(&mut self, turn: Turn<'_>) -> Call;
}

/// A call without a message.
pub(crate) fn call(number: Number, words: &[u64]) -> Call {
    let mut arguments = [0; 4];
    arguments[..words.len()].copy_from_slice(words);
    Call { number: number as u32, arguments, message: Message::EMPTY }
}

/// Time that an actor sleeps or waits when it has nothing else to do, in nanoseconds.
pub(crate) const PAUSE: u64 = 1_000_000;

/// The services of a world: an actor for every thread.
pub struct Actors {
    roles: Vec<Role>,
    threads: Vec<Option<Box<dyn Actor>>>,
    serial: u64,
}

impl Actors {
    /// No thread yet; domains act as their role says.
    pub fn new(roles: Vec<Role>) -> Actors {
        Actors { roles, threads: Vec::new(), serial: 0 }
    }
}

impl Services for Actors {
    fn thread_start(
        &mut self,
        thread: ThreadIndex,
        domain: DomainIndex,
        _: Beginning,
    ) -> Result<(), MachineError> {
        let role = *self.roles.get(usize::from(domain.0)).ok_or(MachineError)?;
        let place = usize::from(thread.0);
        if self.threads.len() <= place {
            self.threads.resize_with(place + 1, || None);
        }
        self.threads[place] = Some(match role {
            Role::Init => Box::new(Init::default()),
            Role::Server => Box::new(Server::default()),
            Role::Client => Box::new(Client),
            Role::Lender => Box::new(Lender::default()),
            Role::Hostile { rate, hardware } => Box::new(hostile::Hostile::new(rate, hardware)),
        });
        Ok(())
    }

    fn next(&mut self, turn: Turn<'_>) -> Act {
        self.serial += 1;
        let thread = turn.thread;
        let Some(Some(actor)) = self.threads.get_mut(usize::from(thread.0)) else {
            return Act::Call(call(Number::ThreadExit, &[]));
        };
        let mut call = actor.next(turn);
        // Every message is another one, so that the checkers can tell them apart.
        call.message.label = self.serial;
        Act::Call(call)
    }
}

/// The handle of the first capability of a kind with these rights.
pub(crate) fn first(turn: &Turn<'_>, kind: Kind, rights: Rights) -> Option<u64> {
    let mut held = turn.ledger.held(turn.domain);
    let found = held.find(|(_, held)| held.kind == kind && held.rights.contains(rights));
    found.map(|(handle, _)| handle.0)
}

/// Starts the others, again and again, and now and then stops one.
pub(crate) struct Init {
    next: u64,
}

impl Default for Init {
    fn default() -> Init {
        // The first domain is that of `init` itself.
        Init { next: 1 }
    }
}

impl Actor for Init {
    fn next(&mut self, turn: Turn<'_>) -> Call {
        let domains = turn.ledger.held(turn.domain).filter(|(_, held)| held.kind == Kind::Domain);
        let domains: Vec<u64> = domains.map(|(handle, _)| handle.0).collect();
        let place = self.next;
        self.next += 1;
        match domains.get(place as usize) {
            Some(domain) if !turn.settling && turn.random.once_in(40) => {
                call(Number::DomainStop, &[*domain])
            }
            Some(domain) => call(Number::DomainStart, &[*domain]),
            None => {
                *self = Init::default();
                match first(&turn, Kind::Signal, Rights::WAIT) {
                    Some(events) => {
                        let pause = 1 + turn.random.below(PAUSE / 10);
                        call(Number::SignalWait, &[events, u64::MAX, pause])
                    }
                    None => call(Number::ThreadSleep, &[PAUSE]),
                }
            }
        }
    }
}

/// Receives, gives up what came with the message, and answers.
#[derive(Default)]
struct Server {
    given: Vec<Handle>,
    reply: Option<Handle>,
}

impl Actor for Server {
    fn next(&mut self, turn: Turn<'_>) -> Call {
        if let Some(message) = turn.message {
            let arrived = message.grants().iter().filter(|grant| !grant.handle.is_null());
            self.given.extend(arrived.map(|grant| grant.handle));
            self.reply = Some(message.reply).filter(|reply| !reply.is_null());
        }
        if let Some(given) = self.given.pop() {
            return call(Number::CapabilityDrop, &[given.0]);
        }
        let Some(serve) = first(&turn, Kind::Mailbox, Rights::RECEIVE) else {
            return call(Number::ThreadSleep, &[PAUSE]);
        };
        match self.reply.take() {
            Some(reply) => {
                let mut answer = call(Number::ReplyReceive, &[reply.0, serve, FOREVER]);
                answer.message.length = turn.random.below(65) as u16;
                answer
            }
            None => call(Number::Receive, &[serve, FOREVER]),
        }
    }
}

/// Calls the server, again and again.
struct Client;

impl Actor for Client {
    fn next(&mut self, turn: Turn<'_>) -> Call {
        let Some(server) = first(&turn, Kind::Mailbox, Rights::CALL) else {
            return call(Number::ThreadSleep, &[PAUSE]);
        };
        if turn.settling || (turn.outcome.status != 0 && turn.random.once_in(2)) {
            return call(Number::ThreadSleep, &[PAUSE]);
        }
        let mut question = call(Number::Call, &[server, FOREVER]);
        question.message.length = 64;
        question
    }
}

/// Makes a region, and lends pages of it to the server.
#[derive(Default)]
struct Lender {
    region: Option<u64>,
    asked: bool,
}

/// Bytes of the lender's region.
const LENT: u64 = 8 * phi_abi::layout::PAGE;

impl Actor for Lender {
    fn next(&mut self, turn: Turn<'_>) -> Call {
        if std::mem::take(&mut self.asked) && turn.outcome.status == 0 {
            self.region = Some(turn.outcome.value);
        }
        let server = first(&turn, Kind::Mailbox, Rights::CALL);
        let Some(server) = server.filter(|_| !turn.settling) else {
            return call(Number::ThreadSleep, &[PAUSE]);
        };
        let Some(region) = self.region else {
            self.asked = true;
            return call(Number::RegionCreate, &[LENT]);
        };
        let held = turn.ledger.find(turn.domain, Handle(region));
        let Some(pages) = held.and_then(|held| turn.ledger.pages(held)) else {
            self.region = None;
            return call(Number::ThreadSleep, &[PAUSE]);
        };
        let mut question = call(Number::Call, &[server, FOREVER]);
        for _ in 0..1 + turn.random.below(3) {
            let offset = turn.random.below(pages.length);
            let length = 1 + turn.random.below(pages.length - offset);
            let write = if turn.random.once_in(2) { Rights::WRITE } else { Rights::empty() };
            let address = pages.address + offset;
            question.message.push(Grant::loan(
                Handle(region),
                Rights::READ | write,
                address,
                length,
            ));
        }
        question
    }
}

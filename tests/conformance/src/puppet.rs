//! The puppet: follows the conductor's orders.

use crate::order::{Order, Places, Words, decode, encode};
use crate::{invoke, stunt};
use core::sync::atomic::{AtomicU64, Ordering};
use phi_abi::{
    Error, FOREVER, Grant, Handle, MESSAGE_GRANTS, Message, NamedCapability, Number, Outcome,
    Rights, StartBlock,
};
use phi_rt::Service;

/// Address of the start block, for all threads.
static START: AtomicU64 = AtomicU64::new(0);

/// A word of data, for the conductor to write; a fresh start finds it as it was.
static DATA: AtomicU64 = AtomicU64::new(0x5EED);

/// The service. Ends, with a status, only when it has no orders to follow.
pub fn puppet(service: &Service) -> u8 {
    let start: *const StartBlock = service.start();
    START.store(start as u64, Ordering::Relaxed);
    // Its arguments name the mailbox that its orders come to.
    let name = service.arguments().trim();
    match service.capabilities().iter().find(|one| one.name() == name.as_bytes()) {
        Some(mailbox) => {
            Puppet::new(service.start()).follow(mailbox.handle.0);
            2
        }
        None => 3,
    }
}

/// Entry of a further thread, which follows orders from the mailbox with this handle.
extern "C" fn thread(mailbox: u64, _table: u64) -> ! {
    // SAFETY: the first thread stored the address of the start block, which is valid as long as the
    // domain.
    let start = unsafe { &*(START.load(Ordering::Relaxed) as *const StartBlock) };
    Puppet::new(start).follow(mailbox);
    loop {
        let _ = invoke(Number::ThreadExit, [0; 4], core::ptr::null_mut());
    }
}

struct Puppet {
    start: &'static StartBlock,
    draft: Message,
    /// How the last call that was answered for first ended.
    outcome: Outcome,
}

/// What follows from an order.
enum Step {
    /// Its answer.
    Answer(Words),
    /// An answer that carries a capability.
    Give(Grant),
    /// An empty answer, and then a call, with a message at an address or the draft.
    Call(Number, [u64; 4], Option<*mut Message>),
}

impl Puppet {
    fn new(start: &'static StartBlock) -> Puppet {
        Puppet { start, draft: Message::EMPTY, outcome: Outcome::success(0) }
    }

    /// Follows orders until no more can come.
    fn follow(&mut self, mailbox: u64) {
        let mut message = Message::EMPTY;
        let mut result = receive(mailbox, &mut message);
        while result.is_ok() {
            let reply = message.reply.0;
            let step = self.step(&message);
            message = Message::EMPTY;
            result = match step {
                Step::Answer(words) => {
                    message.data = encode(words);
                    message.length = message.data.len() as u16;
                    let words = [reply, mailbox, FOREVER, 0];
                    invoke(Number::ReplyReceive, words, &mut message)
                }
                Step::Give(grant) => {
                    give(reply, grant);
                    receive(mailbox, &mut message)
                }
                Step::Call(number, words, at) => {
                    let _ = invoke(Number::Reply, [reply, 0, 0, 0], &mut message);
                    let at = at.unwrap_or(&mut self.draft);
                    self.outcome = invoke(number, words, at).into();
                    receive(mailbox, &mut message)
                }
            };
            if result == Err(Error::Dead) {
                // The conductor has given up waiting; its next order comes.
                result = receive(mailbox, &mut message);
            }
        }
    }

    fn step(&mut self, message: &Message) -> Step {
        let words = decode(&message.data);
        let [first, second, third, fourth, fifth, sixth, ..] = words;
        let Some(order) = Order::from_label(message.label) else { return answer(&[u64::MAX]) };
        match order {
            Order::Head => {
                self.draft = Message {
                    label: first,
                    badge: fourth,
                    rights: fifth as u32,
                    length: second as u16,
                    grant_count: third as u16,
                    ..Message::EMPTY
                };
                answer(&[])
            }
            Order::Bytes => {
                self.draft.data = message.data;
                answer(&[])
            }
            Order::Grant => {
                let grant = Grant {
                    handle: Handle(second),
                    rights: third as u32,
                    mode: fourth as u32,
                    address: fifth,
                    length: sixth,
                };
                self.draft.grants[first as usize % MESSAGE_GRANTS] = grant;
                answer(&[])
            }
            Order::Call | Order::CallAt | Order::Begin => self.call(order, words),
            Order::Outcome => answer(&[self.outcome.status, self.outcome.value]),
            Order::ShowHead => {
                let Message { label, badge, reply, rights, length, grant_count, .. } = self.draft;
                let counts = [u64::from(rights), u64::from(length), u64::from(grant_count)];
                answer(&[label, badge, reply.0, counts[0], counts[1], counts[2]])
            }
            Order::ShowBytes => Step::Answer(decode(&self.draft.data)),
            Order::ShowGrant => {
                let grant = self.draft.grants[first as usize % MESSAGE_GRANTS];
                let Grant { handle, rights, mode, address, length } = grant;
                answer(&[handle.0, u64::from(rights), u64::from(mode), address, length])
            }
            Order::Take => answer(&message.grants.map(|grant| grant.handle.0)),
            Order::Give => {
                let rights = Rights::from_bits_retain(second as u32);
                let grant = Grant::copy(Handle(first), rights);
                Step::Give(Grant { mode: third as u32, ..grant })
            }
            Order::Named => self.named(message.bytes()),
            Order::Places => Step::Answer(self.places().words()),
            Order::Read => answer(&[read(first)]),
            Order::Write => {
                write(first, second);
                answer(&[])
            }
            Order::Stunt => {
                Step::Answer(stunt::perform(self.start, first, [second, third, fourth]))
            }
        }
    }

    fn call(&mut self, order: Order, words: Words) -> Step {
        let [number, first, second, third, fourth, address, ..] = words;
        let number = u32::try_from(number).ok().and_then(Number::from_number);
        let Some(number) = number else { return answer(&[u64::MAX]) };
        let words = [first, second, third, fourth];
        if order == Order::Begin {
            let at = (address != 0).then_some(address as *mut Message);
            return Step::Call(number, words, at);
        }
        let message: *mut Message = match order {
            Order::CallAt => address as *mut Message,
            _ => &mut self.draft,
        };
        let outcome = Outcome::from(invoke(number, words, message));
        answer(&[outcome.status, outcome.value])
    }

    fn named(&self, name: &[u8]) -> Step {
        match self.start.capabilities().iter().find(|one| one.name() == name) {
            Some(NamedCapability { handle, rights, kind, address, length, .. }) => {
                answer(&[0, handle.0, u64::from(*rights), u64::from(*kind), *address, *length])
            }
            None => answer(&[1]),
        }
    }

    fn places(&self) -> Places {
        let marker = 0u64;
        let (text, text_end) = stunt::text();
        Places {
            thread: thread as *const () as u64,
            text,
            text_end,
            data: DATA.as_ptr() as u64,
            stack: &raw const marker as u64,
            start: START.load(Ordering::Relaxed),
            window: self.start.window,
            generation_priority: u64::from(self.start.generation) << 32
                | u64::from(self.start.priority),
        }
    }
}

fn receive(mailbox: u64, message: &mut Message) -> Result<u64, Error> {
    *message = Message::EMPTY;
    invoke(Number::Receive, [mailbox, FOREVER, 0, 0], message)
}

fn answer(words: &[u64]) -> Step {
    let mut all = Words::default();
    for (place, word) in all.iter_mut().zip(words) {
        *place = *word;
    }
    Step::Answer(all)
}

/// Answers with a capability, or with why that cannot be.
fn give(reply: u64, grant: Grant) {
    let mut message = Message { length: 8, grant_count: 1, ..Message::EMPTY };
    message.grants[0] = grant;
    if let Err(error) = invoke(Number::Reply, [reply, 0, 0, 0], &mut message) {
        let mut message = Message { length: 8, ..Message::EMPTY };
        message.data[0] = error as u8;
        let _ = invoke(Number::Reply, [reply, 0, 0, 0], &mut message);
    }
}

fn read(address: u64) -> u64 {
    let value;
    // SAFETY: a bad address is this service's fault, which is what the conductor wants to see; reading
    // changes nothing. Assembly, since to the compiler no address is bad.
    unsafe { core::arch::asm!("mov {}, [{}]", out(reg) value, in(reg) address) };
    value
}

fn write(address: u64, value: u64) {
    // SAFETY: as `read`; the conductor names memory that nothing here relies on.
    unsafe { core::arch::asm!("mov [{}], {}", in(reg) address, in(reg) value) };
}

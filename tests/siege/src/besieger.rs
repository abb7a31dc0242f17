//! Who makes random calls.

use crate::stunt::{self, STUNTS};
use core::arch::asm;
use phi_abi::{CALLS, Grant, Handle, Kind, MESSAGE_GRANTS, Message, Mode, Number};
use phi_random::Random;
use phi_rt::Service;

/// Calls of a life, at most.
const CALLS_OF_LIFE: u64 = 150;

/// Words that calls have returned, and that look like something.
const KNOWN: usize = 32;

/// Nanoseconds to wait for anything, at most.
const PATIENCE: u64 = 200_000;

struct Life {
    random: Random,
    /// Handles, and their kinds as far as they are known: 0 for none.
    known: [(u64, u32); KNOWN],
}

/// The kind that a call's first word names, as far as there is one.
fn kind_of(number: Number) -> Option<Kind> {
    Some(match number {
        Number::RegionMap | Number::RegionUnmap => Kind::Region,
        Number::ObjectMint | Number::Receive | Number::Send | Number::Call => Kind::Mailbox,
        Number::Reply | Number::ReplyReceive => Kind::Reply,
        Number::SignalNotify | Number::SignalWait | Number::SignalBind => Kind::Signal,
        Number::ThreadPriority => Kind::Thread,
        Number::ConsoleWrite => Kind::Console,
        Number::DomainStart | Number::DomainStop | Number::DomainInspect => Kind::Domain,
        Number::DeviceRegion | Number::IrqCreate | Number::DmaSpaceCreate | Number::PortsCreate => {
            Kind::Hardware
        }
        Number::IrqBind | Number::IrqAcknowledge => Kind::Irq,
        Number::DmaMap | Number::DmaUnmap => Kind::DmaSpace,
        Number::PortRead | Number::PortWrite => Kind::Ports,
        _ => return None,
    })
}

/// The kind of what a call makes.
fn made_by(number: Number) -> Option<Kind> {
    Some(match number {
        Number::RegionCreate => Kind::Region,
        Number::MailboxCreate => Kind::Mailbox,
        Number::ObjectMint => Kind::Object,
        Number::SignalCreate => Kind::Signal,
        Number::ThreadCreate => Kind::Thread,
        _ => return None,
    })
}

/// One life; returns the exit status, if it comes to that.
pub fn main(service: &Service) -> u8 {
    let seed: u64 = service.arguments().parse().unwrap_or(0);
    let random = Random::new(seed << 32 | u64::from(service.generation()));
    let mut life = Life { random, known: [(0, 0); KNOWN] };
    for (place, named) in life.known.iter_mut().zip(service.capabilities()) {
        *place = (named.handle.0, named.kind);
    }
    let calls = life.random.below(CALLS_OF_LIFE);
    for _ in 0..calls {
        life.call();
    }
    let choice = life.random.below(STUNTS + 4);
    let word = life.word();
    stunt::perform(choice, word);
    (choice % 3) as u8
}

impl Life {
    /// A word that may mean something.
    fn word(&mut self) -> u64 {
        let here = 0u64;
        match self.random.below(16) {
            0..8 => self.known[self.random.below(KNOWN as u64) as usize].0,
            8..11 => self.random.below(64),
            11 => 1 << self.random.below(64),
            12 => &raw const here as u64,
            13 => [main as *const () as u64, 0xFFFF_8000_0010_0000, 0xFFFF_FFFF_8020_0000, 1 << 47]
                [self.random.below(4) as usize],
            14 => self.random.below(16) * 4096,
            _ => self.random.word(),
        }
    }

    /// A handle of this kind, or of any, if one is known.
    fn handle(&mut self, kind: Option<Kind>) -> u64 {
        let start = self.random.below(KNOWN as u64) as usize;
        let fits = |(handle, known): &&(u64, u32)| {
            *handle != 0 && kind.is_none_or(|kind| *known == kind as u32)
        };
        let found = self.known[start..].iter().chain(&self.known[..start]).find(fits);
        found.map_or(0, |(handle, _)| *handle)
    }

    fn learn(&mut self, handle: u64, kind: Option<Kind>) {
        let at = self.random.below(KNOWN as u64) as usize;
        self.known[at] = (handle, kind.map_or(0, |kind| kind as u32));
    }

    fn message(&mut self) -> Message {
        let mut message = Message::EMPTY;
        message.label = self.random.word();
        let most = if self.random.below(99) > 0 { 65 } else { 70 };
        message.length = self.random.below(most) as u16;
        let grants = if self.random.below(4) > 0 { 1 } else { MESSAGE_GRANTS as u64 + 1 };
        message.grant_count = self.random.below(grants) as u16;
        let wild = self.random.below(40) == 0;
        for place in &mut message.grants {
            let handle = Handle(self.handle(None));
            let (mut rights, mut mode) = (2, Mode::Copy as u32);
            if wild {
                (rights, mode) = (self.random.word() as u32 & 0x1FFF, self.random.below(5) as u32);
            }
            let (address, length) = (self.word(), self.random.below(3 * 4096));
            *place = Grant { handle, rights, mode, address, length };
        }
        message
    }

    fn call(&mut self) {
        let mut message = self.message();
        let number = match self.random.below(1000) {
            0 => self.random.word() as u32,
            _ => self.random.below(CALLS.len() as u64) as u32,
        };
        let known = Number::from_number(number);
        // These end a life before it has done anything.
        let ends =
            matches!(known, Some(Number::DomainExit | Number::DomainPanic | Number::ThreadExit));
        if ends && self.random.below(8) > 0 {
            return;
        }
        let mut words = [0; 4].map(|_| self.word());
        let patience = self.random.below(PATIENCE);
        // Mostly what makes sense, so that a life comes to something before it ends.
        if self.random.below(200) > 0 {
            let takes = CALLS.get(number as usize).and_then(|call| call.arguments.first());
            if takes.is_some_and(|name| *name != "length" && *name != "capacity") {
                words[0] = self.handle(known.and_then(kind_of));
                if words[0] == 0 {
                    return;
                }
            }
            match known {
                Some(Number::RegionMap) => words[1] = 4 + 8 * self.random.below(2),
                Some(Number::CapabilityDerive) => {
                    words[1] = 3;
                    words[2] = self.random.below(2);
                }
                Some(Number::ReplyReceive) => words[1] = self.handle(Some(Kind::Mailbox)),
                Some(Number::SignalBind) => words[1] = self.handle(Some(Kind::Mailbox)),
                Some(Number::SignalWait) => words[1] |= 1,
                Some(Number::ThreadPriority) => words[1] = self.random.below(12),
                Some(Number::ObjectMint) => words[2] = 0x30,
                Some(Number::DomainInspect) => words[1] = self.random.below(2),
                _ => {}
            }
        }
        match known {
            Some(Number::Call | Number::Receive) => words[1] = patience,
            Some(Number::ReplyReceive | Number::SignalWait) => words[2] = patience,
            Some(Number::ThreadSleep) => words[0] = patience,
            // What a new thread does is its own matter: mostly it faults at once.
            Some(Number::ThreadCreate) if self.random.below(4) > 0 => return,
            Some(Number::MailboxCreate) => words[0] = 1 + self.random.below(8),
            Some(Number::RegionCreate) => words = [1 + self.random.below(1 << 16), 0, 0, 0],
            _ => {}
        }
        let place = match self.random.below(400) {
            0 => self.word(),
            _ => &raw mut message as u64,
        };
        let (status, value) = raw_call(number, words, place);
        if status != 0 {
            return;
        }
        match known {
            Some(Number::CapabilityDerive) => {
                let source = self.known.iter().find(|(handle, _)| *handle == words[0]);
                let kind = source.and_then(|(_, kind)| Kind::from_number(*kind as u8));
                self.learn(value, kind);
            }
            Some(Number::Receive | Number::ReplyReceive) if value == 0 => {
                self.learn(message.reply.0, Some(Kind::Reply));
                self.learn(message.grants[0].handle.0, None);
            }
            Some(Number::CapabilityDrop | Number::Reply) => {
                let dropped = self.known.iter_mut().filter(|(handle, _)| *handle == words[0]);
                dropped.for_each(|place| *place = (0, 0));
            }
            known => {
                if let Some(kind) = known.and_then(made_by) {
                    self.learn(value, Some(kind));
                }
            }
        }
    }
}

/// The trap, with these words; status and value.
fn raw_call(number: u32, words: [u64; 4], message: u64) -> (u64, u64) {
    let (status, value): (u64, u64);
    // SAFETY: nothing that this service has is worth anything: what the call does to its memory is what the
    // siege is about.
    #[expect(unsafe_code, reason = "the trap itself")]
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") u64::from(number) => status,
            in("rdi") words[0],
            in("rsi") words[1],
            inlateout("rdx") words[2] => value,
            in("r10") words[3],
            in("r8") message,
            lateout("rcx") _, lateout("r11") _, lateout("r9") _,
            clobber_abi("sysv64"),
        );
    }
    (status & 0xFFFF_FFFF, value)
}

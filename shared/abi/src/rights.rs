//! Kinds of objects, and the rights that a capability may carry.

use bitflags::bitflags;

/// What a capability refers to. Each kind has its own set of meaningful rights: [`Kind::rights`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Memory, at one address that is the same in every domain that maps it.
    Region = 1,
    /// A bounded queue of messages with one receiving domain.
    Mailbox = 2,
    /// A word of bits that are OR-ed in and taken out.
    Signal = 3,
    /// The right to answer one call, once.
    Reply = 4,
    /// A protection domain: address space, capability table, quota, threads, generation.
    Domain = 5,
    /// A thread of a domain.
    Thread = 6,
    /// A server's own resource: a badge and 16 rights of the server's, reached through its mailbox.
    Object = 7,
    /// The machine's write-only debug console; the badge selects the stream.
    Console = 8,
    /// A source of interrupts.
    Irq = 9,
    /// What one device of the machine can reach of memory.
    DmaSpace = 10,
    /// The machine's devices: from it the capabilities to single ones are made.
    Hardware = 11,
    /// A range of the machine's ports.
    Ports = 12,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Kind; 12] = [
        Kind::Region,
        Kind::Mailbox,
        Kind::Signal,
        Kind::Reply,
        Kind::Domain,
        Kind::Thread,
        Kind::Object,
        Kind::Console,
        Kind::Irq,
        Kind::DmaSpace,
        Kind::Hardware,
        Kind::Ports,
    ];

    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<Kind> {
        Kind::ALL.get((number as usize).checked_sub(1)?).copied()
    }

    /// The rights that mean something on this kind; a derivation never carries others.
    pub const fn rights(self) -> Rights {
        let shared = Rights::DERIVE.union(Rights::TRANSFER);
        match self {
            Kind::Region => shared.union(Rights::READ).union(Rights::WRITE),
            Kind::Mailbox => shared.union(Rights::SEND).union(Rights::CALL).union(Rights::RECEIVE),
            Kind::Signal => shared.union(Rights::NOTIFY).union(Rights::WAIT),
            Kind::Reply => Rights::TRANSFER,
            Kind::Domain => shared.union(Rights::START).union(Rights::STOP).union(Rights::INSPECT),
            Kind::Thread | Kind::Irq | Kind::DmaSpace | Kind::Hardware | Kind::Ports => {
                shared.union(Rights::CONTROL)
            }
            Kind::Object => {
                shared.union(Rights::SEND).union(Rights::CALL).union(Rights::OBJECT_ALL)
            }
            Kind::Console => shared.union(Rights::WRITE),
        }
    }

    /// The kind's name, as tables and messages show it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Region => "region",
            Kind::Mailbox => "mailbox",
            Kind::Signal => "signal",
            Kind::Reply => "reply",
            Kind::Domain => "domain",
            Kind::Thread => "thread",
            Kind::Object => "object",
            Kind::Console => "console",
            Kind::Irq => "irq",
            Kind::DmaSpace => "dma-space",
            Kind::Hardware => "hardware",
            Kind::Ports => "ports",
        }
    }
}

bitflags! {
    /// What the holder of a capability may do. Along a derivation or a transfer, rights only shrink.
    ///
    /// The low 16 bits are ΦCore's; the high 16 belong to the server that minted an
    /// [`Kind::Object`], and ΦCore only shrinks and reports them.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Rights: u32 {
        /// Make further capabilities from this one, with the same or fewer rights.
        const DERIVE = 1 << 0;
        /// Give the capability away in a message.
        const TRANSFER = 1 << 1;
        /// Map a region for reading.
        const READ = 1 << 2;
        /// Map a region for writing; write to a console.
        const WRITE = 1 << 3;
        /// Send without waiting for an answer.
        const SEND = 1 << 4;
        /// Call: send, and wait for the answer.
        const CALL = 1 << 5;
        /// Receive from a mailbox, mint objects on it, bind signals to it.
        const RECEIVE = 1 << 6;
        /// Set bits of a signal.
        const NOTIFY = 1 << 7;
        /// Wait for bits of a signal, and take them.
        const WAIT = 1 << 8;
        /// Start a domain.
        const START = 1 << 9;
        /// Stop a domain.
        const STOP = 1 << 10;
        /// Read a domain's state and statistics.
        const INSPECT = 1 << 11;
        /// Change a thread's priority; use an interrupt, a DMA space or ports; make these from the machine's
        /// devices.
        const CONTROL = 1 << 12;
        /// The first of the 16 rights that a server defines for its own objects.
        const OBJECT_FIRST = 1 << 16;
        /// All 16 rights that a server defines for its own objects.
        const OBJECT_ALL = 0xFFFF_0000;
    }
}

//! The calls: one list, from which everything else follows.

use crate::{Message, Outcome};

/// How a call is reached: four words and at most one message in, two words out.
///
/// # Safety
/// `message` is null or points to a [`Message`] that nothing else touches until the call returns.
/// Calls that take no message ignore it.
pub type CallFunction = unsafe extern "C" fn(
    first: u64,
    second: u64,
    third: u64,
    fourth: u64,
    message: *mut Message,
) -> Outcome;

/// One call, as the reference documents it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallDescription {
    /// Its number.
    pub number: Number,
    /// Its name in `docs/syscalls.md`.
    pub name: &'static str,
    /// Names of its words, in order.
    pub arguments: &'static [&'static str],
    /// Whether ΦCore reads the message.
    pub message_in: bool,
    /// Whether ΦCore writes the message.
    pub message_out: bool,
}

macro_rules! calls {
    ($($(#[doc = $doc:literal])+
       $number:literal $variant:ident $name:literal ($($argument:literal),*) $in:literal $out:literal;)+) => {
        /// The number of a call.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u32)]
        pub enum Number {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        /// Every call, in the order of the numbers.
        pub const CALLS: &[CallDescription] = &[$(CallDescription {
            number: Number::$variant,
            name: $name,
            arguments: &[$($argument),*],
            message_in: $in,
            message_out: $out,
        },)+];
    };
}

calls! {
    /// Makes a weaker copy of a capability. Value: the handle. `flags`: [`crate::DERIVE_REVOCABLE`].
    0 CapabilityDerive "capability_derive" ("handle", "rights", "flags") false false;
    /// Ends everything derived revocably from a capability, directly or not. Value: 0.
    1 CapabilityRevoke "capability_revoke" ("handle") false false;
    /// Gives a handle up. Value: 0.
    2 CapabilityDrop "capability_drop" ("handle") false false;
    /// Describes a capability: a [`crate::CapabilityInfo`] in the message's bytes. Value: 0.
    3 CapabilityInspect "capability_inspect" ("handle") false true;
    /// Makes an object: a badge and rights of the server's, reached through its mailbox. Value: the
    /// handle.
    4 ObjectMint "object_mint" ("mailbox", "badge", "rights") false false;
    /// Makes a region of zeroed memory, paid for by the caller's quota. `flags`: [`crate::REGION_PINNED`].
    /// Value: the handle.
    5 RegionCreate "region_create" ("length", "flags") false false;
    /// Maps a region at its place, with READ or READ and WRITE. Value: the address.
    6 RegionMap "region_map" ("handle", "rights") false false;
    /// Takes a region out of the caller's address space. Value: 0.
    7 RegionUnmap "region_unmap" ("handle") false false;
    /// Makes a mailbox that holds up to `capacity` sent messages. Value: the handle.
    8 MailboxCreate "mailbox_create" ("capacity") false false;
    /// Sends the message and does not wait. Value: 0.
    9 Send "send" ("handle") true false;
    /// Sends the message and waits for the answer, which replaces it. Value: 0.
    10 Call "call" ("handle", "timeout") true true;
    /// Waits for a message, or for bits of a signal bound to the mailbox. Value: 0 for a message; for
    /// signals 1, with the bits in the label.
    11 Receive "receive" ("mailbox", "timeout") false true;
    /// Answers a call with the message; its loans end. Value: 0.
    12 Reply "reply" ("reply") true false;
    /// Reply, then receive, in one step. Value: as of receive.
    13 ReplyReceive "reply_receive" ("reply", "mailbox", "timeout") true true;
    /// Makes a signal. Value: the handle.
    14 SignalCreate "signal_create" () false false;
    /// Sets bits of a signal, and wakes who waits for them. Value: 0.
    15 SignalNotify "signal_notify" ("handle", "bits") false false;
    /// Waits until one of the bits in `mask` is set, and takes those set. Value: the bits taken.
    16 SignalWait "signal_wait" ("handle", "mask", "timeout") false false;
    /// Binds a signal to a mailbox, so that one receive waits for both. Value: 0.
    17 SignalBind "signal_bind" ("signal", "mailbox") false false;
    /// Starts a thread of the caller's domain at `entry` with `argument` as its only argument. Value:
    /// the handle.
    18 ThreadCreate "thread_create" ("entry", "stack", "argument", "priority") false false;
    /// Sets a thread's priority, up to its domain's. Value: 0.
    19 ThreadPriority "thread_priority" ("thread", "priority") false false;
    /// Sleeps; 0 only lets others of the same priority run. Value: 0.
    20 ThreadSleep "thread_sleep" ("nanoseconds") false false;
    /// Ends the calling thread; the last one's end is the domain's, with status 0.
    21 ThreadExit "thread_exit" () false false;
    /// Starts a domain afresh, in a new generation. Value: the generation.
    22 DomainStart "domain_start" ("domain") false false;
    /// Stops a domain. Value: 0.
    23 DomainStop "domain_stop" ("domain") false false;
    /// Describes a domain by topic: a [`crate::DomainInfo`] or [`crate::DomainStatistics`] in the
    /// message's bytes. Value: 0.
    24 DomainInspect "domain_inspect" ("domain", "topic") false true;
    /// Ends the calling domain with a status from 0 to 255.
    25 DomainExit "domain_exit" ("status") false false;
    /// Ends the calling domain as faulted, with the message's bytes as the reason.
    26 DomainPanic "domain_panic" () true false;
    /// The time since the system's start. Value: nanoseconds.
    27 ClockRead "clock_read" () false false;
    /// Writes the message's bytes to the debug console. Value: 0.
    28 ConsoleWrite "console_write" ("console") true false;
    /// Makes a region of a device's memory: whole pages at a physical address. `caching`: a
    /// [`crate::Caching`]. Value: the handle.
    29 DeviceRegion "device_region" ("hardware", "physical", "length", "caching") false false;
    /// Makes a source of interrupts: a [`crate::IrqSource`]. Value: the handle.
    30 IrqCreate "irq_create" ("hardware", "source") false false;
    /// Has each interrupt set bits of a signal, and lets interrupts come. Value: 0.
    31 IrqBind "irq_bind" ("irq", "signal", "bits") false false;
    /// Lets the next interrupt come. Value: how many came since the last acknowledgement.
    32 IrqAcknowledge "irq_acknowledge" ("irq") false false;
    /// Makes the space of what a device can reach, with nothing in it. Value: the handle.
    33 DmaSpaceCreate "dma_space_create" ("hardware", "requester") false false;
    /// Lets a device reach a region, with READ or READ and WRITE. Value: the device's address of it.
    34 DmaMap "dma_map" ("space", "region", "rights") false false;
    /// Takes a region out of a device's reach. Value: 0.
    35 DmaUnmap "dma_unmap" ("space", "region") false false;
    /// Makes a range of ports. Value: the handle.
    36 PortsCreate "ports_create" ("hardware", "first", "count") false false;
    /// Reads a port. `width`: a [`crate::PortWidth`]. Value: what was read.
    37 PortRead "port_read" ("ports", "offset", "width") false false;
    /// Writes a port. `width`: a [`crate::PortWidth`]. Value: 0.
    38 PortWrite "port_write" ("ports", "offset", "width", "value") false false;
}

impl Number {
    /// The call with this number.
    pub fn from_number(number: u32) -> Option<Number> {
        CALLS.get(number as usize).map(|call| call.number)
    }

    /// What the reference says of it.
    pub fn description(self) -> &'static CallDescription {
        &CALLS[self as usize]
    }
}

/// How an image reaches ΦCore on this machine, handed to it at its entry.
#[repr(C)]
pub struct CallTable {
    /// [`crate::ABI_VERSION`] of the machine.
    pub version: u32,
    /// Entries in `functions`.
    pub count: u32,
    /// The calls, by [`Number`].
    pub functions: [CallFunction; CALLS.len()],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_stand_at_their_numbers() {
        for (index, call) in CALLS.iter().enumerate() {
            assert_eq!(call.number as usize, index);
            assert!(call.arguments.len() <= 4, "{} takes more than four words", call.name);
        }
    }
}

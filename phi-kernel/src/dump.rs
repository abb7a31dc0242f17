//! A dump: what ΦCore knows of the system, as one record on the log.
//!
//! It is a line of JSON (`phi-host/src/dump.rs` reads it, and says what each field means) between the word
//! `phi-dump` and the JSON's hash. It is written when somebody asks for it by a non-maskable interrupt,
//! when the system can never go on, when the kernel has found a bug of its own, and, if the command line
//! has the word `dump`, at the system's end.
//!
//! Nothing is allocated for it, and no list is walked: where a bug has left the state half changed, each
//! part still has an end.

use crate::arch::Serial;
use crate::machine::Metal;
use crate::report::{RECORD_SEPARATOR, state, write_text};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicPtr, Ordering};
use phi_abi::{DomainState, DomainStatistics};
use phi_cap::State;
use phi_core::{Activity, DomainIndex, Holding, Kernel, ThreadIndex};
use phi_ipc::MailboxState;
use phi_manifest::plan::Plan;
use phi_mem::{NONE, RegionState};

/// The version of the format.
const VERSION: u32 = 1;

/// The system that runs, for a dump after a bug; null before there is one.
static SYSTEM: AtomicPtr<Kernel<Metal>> = AtomicPtr::new(core::ptr::null_mut());

/// Says which system runs. It must stay where it is for ever.
pub fn set_system(kernel: *mut Kernel<Metal>) {
    SYSTEM.store(kernel, Ordering::Relaxed);
}

/// Writes a dump after a bug of the kernel, if a system runs.
pub fn write_last() {
    let kernel = SYSTEM.load(Ordering::Relaxed);
    // SAFETY: the system stays where it is, and there is one processor. Whoever was changing it never goes
    // on, so that nothing changes any more; it may be half changed, but everything in it is numbers and
    // bounded pools, and a panic on the way ends the machine, as what led here does.
    if let Some(kernel) = unsafe { kernel.as_ref() } {
        write(kernel, "bug");
    }
}

/// Writes a dump of the system, with the reason for it.
pub fn write(kernel: &Kernel<Metal>, reason: &str) {
    let mut output = Output { serial: Serial::log(), piece: [0; PIECE], length: HASH };
    let _ = write!(output.serial, "{RECORD_SEPARATOR}phi-dump ");
    // The line takes everything.
    let _ = write!(output, "{}", Dump { kernel, plan: kernel.machine().plan(), reason });
    output.end_piece();
    let _ = output.serial.write_char(' ');
    for byte in &output.piece[..HASH] {
        let _ = write!(output.serial, "{byte:02x}");
    }
    let _ = output.serial.write_char('\n');
}

/// Bytes of a hash.
const HASH: usize = 32;

/// Bytes that are hashed at a time.
const PIECE: usize = 1024;

/// The log, with a hash of what is written: each piece is hashed together with the hash of what came
/// before it. So the kernel needs no more of BLAKE3 than a bundle does, and no room for the whole.
struct Output {
    serial: Serial,
    /// The hash so far, zeros at first, and what is not in it yet.
    piece: [u8; PIECE],
    /// Bytes of the piece that are used.
    length: usize,
}

impl Output {
    fn end_piece(&mut self) {
        let hash = *blake3::hash(&self.piece[..self.length]).as_bytes();
        self.piece[..HASH].copy_from_slice(&hash);
        self.length = HASH;
    }
}

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.length == PIECE {
                self.end_piece();
            }
            self.piece[self.length] = byte;
            self.length += 1;
        }
        self.serial.write_str(text)
    }
}

struct Dump<'a> {
    kernel: &'a Kernel<Metal>,
    plan: &'a Plan,
    reason: &'a str,
}

impl fmt::Display for Dump<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.kernel.machine().clock.now();
        write!(
            f,
            "{{\"version\":{VERSION},\"reason\":\"{}\",\"time\":{time},\"name\":",
            self.reason
        )?;
        write_text(f, &self.plan.name)?;
        f.write_str(",\"inputs\":")?;
        list(f, self.plan.inputs.iter(), |f, input| write_text(f, &input.name))?;
        f.write_str(",\"services\":")?;
        list(f, 0..self.plan.services.len(), |f, index| {
            self.service(f, DomainIndex(index as u16))
        })?;
        f.write_str(",\"mailboxes\":")?;
        let mailboxes = self.kernel.mailboxes().iter().enumerate();
        let mailboxes = mailboxes.filter(|(_, mailbox)| mailbox.state != MailboxState::Free);
        list(f, mailboxes, |f, (index, mailbox)| {
            let open = mailbox.state == MailboxState::Open;
            write!(f, "{{\"index\":{index},\"owner\":{},\"open\":{open},", mailbox.owner)?;
            write!(f, "\"capacity\":{},\"stored\":{},", mailbox.capacity, mailbox.stored)?;
            f.write_str("\"name\":")?;
            match self.plan.mailboxes.get(index) {
                Some(planned) => write_text(f, &planned.name)?,
                None => f.write_str("null")?,
            }
            f.write_char('}')
        })?;
        f.write_str(",\"signals\":")?;
        let signals = self.kernel.signals().iter().enumerate().filter(|(_, signal)| signal.alive);
        list(f, signals, |f, (index, signal)| {
            let (owner, planned, bits) = (signal.owner, signal.planned, signal.bits);
            write!(
                f,
                "{{\"index\":{index},\"owner\":{owner},\"planned\":{planned},\"bits\":{bits}}}"
            )
        })?;
        f.write_str(",\"regions\":")?;
        let regions = self.kernel.regions().iter().enumerate();
        let regions = regions.filter(|(_, region)| region.state != RegionState::Free);
        list(f, regions, |f, (index, region)| {
            let (owner, planned, place) = (region.owner, region.planned, region.place);
            write!(f, "{{\"index\":{index},\"owner\":{owner},\"planned\":{planned},")?;
            write!(f, "\"address\":{},\"length\":{}}}", place.address, place.length)
        })?;
        f.write_str(",\"capabilities\":")?;
        list(f, self.kernel.holdings(), |f, holding| capability(f, &holding))?;
        f.write_char('}')
    }
}

impl Dump<'_> {
    fn service(&self, f: &mut fmt::Formatter<'_>, domain: DomainIndex) -> fmt::Result {
        let plan = &self.plan.services[usize::from(domain.0)];
        let (info, used) = (self.kernel.info(domain), self.kernel.statistics(domain));
        let account = self.kernel.account(domain);
        f.write_str("{\"name\":")?;
        write_text(f, &plan.name)?;
        let (word, code) = state(info.state);
        write!(f, ",\"generation\":{},\"state\":\"{word}\",\"code\":{code}", info.generation)?;
        if let DomainState::Faulted { address, instruction, .. } = info.state {
            write!(f, ",\"address\":{address},\"instruction\":{instruction}")?;
        }
        let throttled = self.kernel.is_throttled(domain);
        write!(f, ",\"window\":{},\"throttled\":{throttled}", plan.window)?;
        let DomainStatistics { messages, bytes_copied, loans, switches, memory, calls, handles } =
            used;
        write!(f, ",\"messages\":{messages},\"bytes_copied\":{bytes_copied},\"loans\":{loans}")?;
        write!(f, ",\"switches\":{switches},\"memory\":{memory},\"calls\":{calls}")?;
        let quota = account.quota;
        write!(f, ",\"memory_quota\":{},\"handles\":{handles}", quota.memory)?;
        write!(f, ",\"handles_quota\":{},\"threads\":", quota.handles)?;
        let threads = self.kernel.threads_of(domain).enumerate();
        let there = threads.filter(|(_, thread)| self.kernel.activity(*thread) != Activity::Free);
        list(f, there, |f, (slot, thread)| self.thread(f, slot, thread))?;
        f.write_char('}')
    }

    fn thread(&self, f: &mut fmt::Formatter<'_>, slot: usize, thread: ThreadIndex) -> fmt::Result {
        let (word, object, bits) = match self.kernel.activity(thread) {
            Activity::Free | Activity::Dispatched => ("running", NONE, 0),
            Activity::Ready => ("ready", NONE, 0),
            Activity::Parked => ("parked", NONE, 0),
            Activity::Calling(mailbox) => ("calling", mailbox, 0),
            Activity::Served => ("served", NONE, 0),
            Activity::Receiving(mailbox) => ("receiving", mailbox, 0),
            Activity::Waiting(signal, bits) => ("waiting", signal, bits),
            Activity::Sleeping => ("sleeping", NONE, 0),
        };
        let index = thread.0;
        write!(f, "{{\"slot\":{slot},\"index\":{index},\"activity\":\"{word}\",\"object\":")?;
        optional(f, object)?;
        write!(f, ",\"bits\":{bits},\"deadline\":")?;
        match self.kernel.deadline(thread) {
            Some(deadline) => write!(f, "{deadline}}}"),
            None => f.write_str("null}"),
        }
    }
}

fn capability(f: &mut fmt::Formatter<'_>, holding: &Holding) -> fmt::Result {
    let capability = &holding.capability;
    let state = match holding.state {
        State::Revoked => "revoked",
        State::Dead => "dead",
        State::Free | State::Held | State::Retired => "held",
    };
    f.write_str("{\"service\":")?;
    optional(f, holding.domain.map_or(NONE, |domain| u32::from(domain.0)))?;
    write!(f, ",\"handle\":{},\"id\":{},\"state\":\"{state}\"", holding.handle.0, capability.id)?;
    write!(f, ",\"kind\":{},\"rights\":{}", capability.kind as u8, capability.rights.bits())?;
    write!(f, ",\"object\":{},\"badge\":{}", capability.object, capability.badge)?;
    f.write_str(",\"lineage\":")?;
    optional(f, capability.origin.lineage)?;
    f.write_str(",\"child\":")?;
    optional(f, capability.child)?;
    let mapping = capability.mapping;
    write!(f, ",\"mapped\":{},\"loan\":{}}}", mapping.length, mapping.loan)
}

/// A number, or `null` for [`NONE`].
fn optional(f: &mut fmt::Formatter<'_>, number: u32) -> fmt::Result {
    match number {
        NONE => f.write_str("null"),
        number => write!(f, "{number}"),
    }
}

/// A list, with commas between what `entry` writes.
fn list<T>(
    f: &mut fmt::Formatter<'_>,
    items: impl Iterator<Item = T>,
    entry: impl Fn(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    f.write_char('[')?;
    for (number, item) in items.enumerate() {
        if number > 0 {
            f.write_char(',')?;
        }
        entry(f, item)?;
    }
    f.write_char(']')
}

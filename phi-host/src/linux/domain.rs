//! One domain that is loaded: its control area, its threads, and where it lives.

use super::agent;
use super::control::{self, ControlArea, Tally};
use super::device::{Assignment, Device};
use super::direct::{self, Notices, Opened, Side};
use super::events::Start;
use super::host_thread::{self, Begin, Service};
use super::launch::Launcher;
use super::memory::{self, Access};
use super::process::{CommandError, ServiceProcess};
use super::protocol::{Command, Source};
use super::shared_space;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use phi_abi::layout::{STACK_OFFSET, STACK_SIZE, START_OFFSET, START_SIZE};
use phi_abi::{StartBlock, layout};
use phi_core::ThreadIndex;
use phi_manifest::plan::{ImagePlan, SegmentAccess, ServicePlan};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Time that a thread has for leaving its slot.
const PATIENCE: Duration = Duration::from_secs(1);

/// A loaded domain. Dropped, its threads and its memory are gone.
pub struct Domain {
    /// Which start of which domain this is.
    pub start: Start,
    /// Its generation.
    pub generation: u32,
    /// What the supervisor and its threads share.
    pub service: Arc<Service>,
    /// Its threads, by slot.
    pub threads: Vec<Option<ThreadIndex>>,
    /// Where it lives.
    pub home: Home,
    /// CPU time that has been charged to its budget, in nanoseconds.
    pub charged: u64,
    /// Whether its budget is used up.
    pub held: bool,
    /// Base of its window.
    window: u64,
    /// What its threads have done past ΦCore as far as ΦCore has counted it, by slot.
    tallied: Vec<Tally>,
}

/// Where a domain lives.
pub enum Home {
    /// In a process of its own.
    Process(ServiceProcess),
    /// In this process; the addresses and lengths of the memory that is its own.
    Here(Vec<(u64, u64)>),
    /// Nowhere: its process did not comply and was ended.
    Nowhere,
}

impl Domain {
    /// Makes the domain of `plan` with its memory and an image that lies in `bundle`, in a process that
    /// `launcher` starts or, without one, in this process. A driver gets its `device`, and needs a process.
    ///
    /// # Errors
    /// What Linux says.
    pub fn load(
        start: Start,
        plan: &ServicePlan,
        (image, bundle): (&ImagePlan, &OwnedFd),
        block: &StartBlock,
        launcher: Option<&Launcher>,
        device: Option<&Device>,
    ) -> io::Result<Domain> {
        let threads = (plan.quota.threads as usize).clamp(1, control::THREADS);
        let (area, memory) = ControlArea::create(threads)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let doorbell = OwnedFd::from(EventFd::from_flags(flags)?);
        let stack = plan.window + STACK_OFFSET - plan.stack;
        let guard = plan.window + STACK_OFFSET - STACK_SIZE..stack;
        let (notices, reader) = Notices::create()?;
        let (index, around) = (start.domain.0, guard.clone());
        let service = Arc::new(Service::new(index, area, doorbell, around, notices));
        let home = match launcher {
            Some(launcher) => {
                let mut commands = vec![Command::Begin {
                    domain: start.domain.0,
                    threads: threads as u64,
                    guard: guard.start,
                    stack,
                }];
                let assignment = device.map(Device::assignment);
                commands.extend(assignment.map(Command::Drive));
                commands.extend(memory_of(plan, image, block));
                let file = device.map(Device::hand_out).transpose()?;
                let mut process = ServiceProcess::start(launcher, start.domain.0)?;
                let doorbell = service.doorbell.as_fd();
                let mut descriptors =
                    vec![memory.as_fd(), doorbell, bundle.as_fd(), reader.as_fd()];
                descriptors.extend(file.as_ref().map(AsFd::as_fd));
                process.expect_more_descriptors(assignment.map_or(0, Assignment::descriptors));
                process.load(&commands, &descriptors)?;
                Home::Process(process)
            }
            None => Home::Here(Vec::new()),
        };
        let threads = vec![None; threads];
        let tallied = vec![Tally::default(); threads.len()];
        let mut domain = Domain {
            start,
            generation: block.generation,
            service,
            threads,
            home,
            charged: 0,
            held: false,
            window: plan.window,
            tallied,
        };
        if let Home::Here(own) = &mut domain.home {
            map_here(own, &memory_of(plan, image, block), bundle.as_fd())?;
        }
        domain.charged = domain.cpu_time();
        Ok(domain)
    }

    /// Starts the host thread of `thread`, which waits for its dispatch. Returns its slot.
    ///
    /// # Errors
    /// Refused when Linux has no room for it; lost when threads that ended do not leave their slots.
    pub fn thread_start(
        &mut self,
        thread: ThreadIndex,
        entry: u64,
        stack: u64,
        argument: u64,
    ) -> Result<usize, CommandError> {
        let slot = self.free_slot()?;
        let page = self.service.control.page(slot);
        page.begin();
        page.set_held(self.held);
        let begin = Begin { slot, entry, stack, argument };
        let result = match &self.home {
            Home::Process(process) => {
                let slot = slot as u64;
                process.command(&[Command::ThreadStart { slot, entry, stack, argument }], &[])
            }
            Home::Here(_) => host_thread::start(self.service.clone(), begin)
                .map_err(|_| CommandError::Refused(Errno::EAGAIN)),
            Home::Nowhere => Err(CommandError::Lost),
        };
        match result {
            Ok(()) => self.threads[slot] = Some(thread),
            Err(_) => page.set_state(control::IDLE),
        }
        result.map(|()| slot)
    }

    /// Hands one side of a channel of `slots` slots to the thread in `slot`; `memory` is the channel's.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn open_channel(
        &mut self,
        slot: usize,
        index: usize,
        side: Side,
        slots: usize,
        memory: BorrowedFd,
    ) -> Result<(), CommandError> {
        self.map_channel(index, slots, memory)?;
        let (address, slots) = (direct::address(self.window, index), slots as u64);
        let channel = Opened { index: index as u64, address, slots, side };
        match &self.home {
            Home::Process(process) => {
                process.command(&[Command::ChannelOpen { slot: slot as u64, channel }], &[])?;
            }
            _ => self.service.inboxes[slot].put(channel),
        }
        Ok(())
    }

    /// Puts `memory` in the place of a channel of `slots` slots.
    ///
    /// # Errors
    /// [`CommandError`]; then the domain may still have what was there before.
    pub fn map_channel(
        &mut self,
        index: usize,
        slots: usize,
        memory: BorrowedFd,
    ) -> Result<(), CommandError> {
        let (address, length) = (direct::address(self.window, index), direct::length(slots));
        match &mut self.home {
            Home::Process(process) => process.map(address, length, Access::Write, memory, 0),
            Home::Here(own) => {
                let source = memory::Source::Shared(memory, 0);
                memory::map(address, length, Access::Write, source)
                    .map_err(CommandError::Refused)?;
                own.push((address, length));
                Ok(())
            }
            Home::Nowhere => Err(CommandError::Lost),
        }
    }

    /// What its threads have done past ΦCore since they were last asked.
    pub fn take_tally(&mut self) -> Tally {
        let mut sum = Tally::default();
        for (slot, before) in self.tallied.iter_mut().enumerate() {
            let now = self.service.control.page(slot).tally();
            let add = |sum: &mut u64, now: u64, before: u64| {
                *sum = sum.wrapping_add(now.wrapping_sub(before));
            };
            add(&mut sum.calls, now.calls, before.calls);
            add(&mut sum.messages, now.messages, before.messages);
            add(&mut sum.bytes, now.bytes, before.bytes);
            *before = now;
        }
        sum
    }

    /// A slot that no thread uses. One that ended a moment ago may have to leave its slot yet.
    fn free_slot(&self) -> Result<usize, CommandError> {
        let unused = || (0..self.threads.len()).filter(|slot| self.threads[*slot].is_none());
        let area = &self.service.control;
        if let Some(slot) = unused().find(|slot| area.page(*slot).state() == control::IDLE) {
            return Ok(slot);
        }
        let slot = unused().next().ok_or(CommandError::Refused(Errno::EAGAIN))?;
        area.page(slot).wait_while(control::ENDED, Some(PATIENCE));
        match area.page(slot).state() {
            control::IDLE => Ok(slot),
            _ => Err(CommandError::Lost),
        }
    }

    /// Nanoseconds of CPU time that its threads have used.
    pub fn cpu_time(&self) -> u64 {
        match &self.home {
            Home::Process(process) => {
                let time =
                    nix::time::clock_getcpuclockid(process.id()).and_then(|clock| clock.now());
                time.map_or(0, |time| Duration::from(time).as_nanos() as u64)
            }
            Home::Here(_) => shared_space::cpu_time(&self.service),
            Home::Nowhere => 0,
        }
    }

    /// Lets its threads run, or not.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
        match &mut self.home {
            Home::Process(process) => process.stop(held),
            Home::Here(_) => shared_space::hold_threads(&self.service, held),
            Home::Nowhere => {}
        }
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // A process goes with its descriptor.
        if let Home::Here(own) = &self.home {
            shared_space::stop_threads(&self.service);
            for (address, length) in own {
                // It was mapped, so it is whole pages in the windows.
                let _ = memory::unmap(*address, *length);
            }
        }
    }
}

/// The memory that a service has from its plan.
fn memory_of(plan: &ServicePlan, image: &ImagePlan, block: &StartBlock) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut map = |address: u64, length: u64, access: Access, source: Source| {
        if length > 0 {
            commands.push(Command::Map { address, length, access, source });
        }
    };
    for segment in &image.segments {
        let access = match segment.access {
            SegmentAccess::Read => Access::Read,
            SegmentAccess::Write => Access::Write,
            SegmentAccess::Execute => Access::Execute,
        };
        map(segment.address, segment.length, access, Source::Bundle(segment.offset));
        let rest = segment.memory_length.saturating_sub(segment.length);
        map(segment.address + segment.length, rest, access, Source::Zero);
    }
    let stack = plan.window + STACK_OFFSET - plan.stack;
    map(stack, plan.stack, Access::Write, Source::Zero);
    map(plan.window + layout::HEAP_OFFSET, plan.heap, Access::Write, Source::Zero);
    let block = Source::Bytes(bytes_of(block).to_vec());
    map(plan.window + START_OFFSET, START_SIZE, Access::Read, block);
    commands
}

fn bytes_of(block: &StartBlock) -> &[u8] {
    // SAFETY: a start block is `repr(C)` without padding: all its bytes are initialized.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(block).cast(), size_of::<StartBlock>()) }
}

fn map_here(
    own: &mut Vec<(u64, u64)>,
    commands: &[Command],
    bundle: BorrowedFd,
) -> Result<(), Errno> {
    for command in commands {
        if let Command::Map { address, length, access, source } = command {
            agent::map(bundle, *address, *length, *access, source, || Err(Errno::EBADF))?;
            own.push((*address, *length));
        }
    }
    Ok(())
}

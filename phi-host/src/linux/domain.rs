//! One domain that is loaded: its control area, its threads, and where it lives.

use super::agent;
use super::control::{self, ControlArea};
use super::events::Start;
use super::host_thread::{self, Begin, Service};
use super::memory::{self, Access};
use super::process::{CommandError, ServiceProcess};
use super::protocol::{Command, Source};
use super::shared_space;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use phi_abi::layout::{STACK_OFFSET, STACK_SIZE, START_OFFSET, START_SIZE};
use phi_abi::{StartBlock, layout};
use phi_core::ThreadIndex;
use phi_manifest::plan::{SegmentAccess, ServicePlan};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Time that a thread has for leaving its slot.
const PATIENCE: Duration = Duration::from_secs(1);

/// A loaded domain. Dropped, its threads and its memory are gone.
pub struct Domain {
    /// Which start of which domain this is.
    pub start: Start,
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
    /// Makes the domain of `plan` with its memory, in a process that runs `program` or, without
    /// one, in this process.
    ///
    /// # Errors
    /// What Linux says.
    pub fn load(
        start: Start,
        plan: &ServicePlan,
        block: &StartBlock,
        bundle: &OwnedFd,
        program: Option<&Path>,
    ) -> io::Result<Domain> {
        let threads = (plan.quota.threads as usize).clamp(1, control::THREADS);
        let (area, memory) = ControlArea::create(threads)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let doorbell = OwnedFd::from(EventFd::from_flags(flags)?);
        let stack = plan.window + STACK_OFFSET - plan.stack;
        let guard = plan.window + STACK_OFFSET - STACK_SIZE..stack;
        let service = Arc::new(Service { control: area, doorbell, guard: guard.clone() });
        let home = match program {
            Some(program) => {
                let mut commands =
                    vec![Command::Begin { threads: threads as u64, guard: guard.start, stack }];
                commands.extend(memory_of(plan, block));
                let process = ServiceProcess::start(program)?;
                let descriptors = [memory.as_fd(), service.doorbell.as_fd(), bundle.as_fd()];
                process.command(&commands, &descriptors)?;
                Home::Process(process)
            }
            None => Home::Here(Vec::new()),
        };
        let threads = vec![None; threads];
        let mut domain = Domain { start, service, threads, home, charged: 0, held: false };
        if let Home::Here(own) = &mut domain.home {
            map_here(own, &memory_of(plan, block), bundle.as_fd())?;
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
        page.set_state(control::PARKED);
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
fn memory_of(plan: &ServicePlan, block: &StartBlock) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut map = |address: u64, length: u64, access: Access, source: Source| {
        if length > 0 {
            commands.push(Command::Map { address, length, access, source });
        }
    };
    for segment in &plan.image.segments {
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

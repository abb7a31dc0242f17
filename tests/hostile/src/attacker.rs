//! The service that attacks.

use crate::attacks::{ATTACKS, Act, Places, Stunt, WARM};
use crate::channels::{self, Trick};
use core::arch::asm;
use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicU64, Ordering};
use phi_abi::Number;
use phi_abi::layout::{PAGE, REGIONS_OFFSET, WINDOW_SIZE};
use phi_random::Random;
use phi_rt::{Event, FOREVER, Incoming, Memory, Outgoing, Service, Thread, now};

/// Nanoseconds for which the attacker offers its processor.
const YIELDING: u64 = 300_000_000;

/// Attacks as each call says, and answers if it still can.
pub fn attacker(service: &Service) -> u8 {
    let Ok(orders) = service.mailbox("orders") else { return 2 };
    let Ok(victim) = service.peer("victim") else { return 2 };
    let order = loop {
        let Ok(Event::Message(order)) = orders.receive(FOREVER) else { return 3 };
        if order.label() < WARM {
            break order;
        }
        let _ = victim.call(Outgoing::empty(0), FOREVER);
        // So that the judge knows that there is something to attack: with the last one.
        let used = if order.label() > WARM { channels::in_use(service) } else { 0 };
        let _ = order.reply(Outgoing::empty(used));
    };
    let number = usize::try_from(order.label()).unwrap_or(usize::MAX);
    match ATTACKS.get(number).map(|attack| attack.act) {
        Some(Act::Call(number, arguments)) => {
            // SAFETY: whatever it does is looked at from outside.
            unsafe { system_call(number, arguments(&places(service))) };
        }
        Some(Act::Stunt(stunt)) => return perform(service, stunt, order),
        Some(Act::Trick(trick)) => {
            let first = matches!(trick, Trick::Flood | Trick::FloodCalls | Trick::AnswerTwice);
            if !first {
                channels::perform(service, &victim, trick);
                return answer(order);
            }
            let _ = order.reply(Outgoing::empty(0));
            channels::perform(service, &victim, trick);
            phi_rt::sleep(FOREVER);
            return 0;
        }
        None => return 4,
    }
    answer(order)
}

fn answer(order: Incoming) -> u8 {
    let _ = order.reply(Outgoing::empty(0));
    phi_rt::sleep(FOREVER);
    0
}

fn places(service: &Service) -> Places {
    let here = 0u8;
    let page = |address: u64| address & !(PAGE - 1);
    let window = page(service.start() as *const _ as u64) & !(WINDOW_SIZE - 1);
    Places {
        text: page(attacker as *const () as u64),
        stack: page(&raw const here as u64),
        free: window + REGIONS_OFFSET + (1 << 30),
    }
}

/// # Safety
/// The call must not break what the code around it relies on, unless that is the attack.
unsafe fn system_call(number: u64, arguments: [u64; 6]) -> u64 {
    let result;
    // SAFETY: as this function.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

fn fault() {
    // SAFETY: nothing is mapped there, so this ends the service.
    unsafe { (16 as *const u8).read_volatile() };
}

fn perform(service: &Service, stunt: Stunt, order: Incoming) -> u8 {
    let mut word = 1u64;
    let word = &raw mut word as u64;
    let call = |number: u64, arguments: [u64; 3]| {
        let [first, second, third] = arguments;
        // SAFETY: the callers below name only memory of this frame, or attack.
        unsafe { system_call(number, [first, second, third, 8, 0, 0]) }
    };
    match stunt {
        // SAFETY: the call opens nothing.
        Stunt::OldGate => unsafe {
            asm!("int 0x80", inout("rax") 5u64 => _, in("rcx") 0, in("rdx") 0)
        },
        Stunt::ReadDescriptors => (0..1024).for_each(|one| {
            call(0, [one, word, 1]);
        }),
        Stunt::WriteDescriptors => (0..1024).for_each(|one| {
            call(1, [one, word, 8]);
        }),
        Stunt::FloodDoorbell => (0..100_000).for_each(|_| {
            call(1, [1, word, 8]);
        }),
        Stunt::Yield => {
            // Each may cost a whole slice of whoever else is there, so time ends it, not a count.
            let begun = now();
            while now() - begun < YIELDING {
                call(24, [0, 0, 0]);
            }
        }
        Stunt::FillDoorbell => {
            let most = u64::MAX - 1;
            (0..3).for_each(|_| {
                call(1, [1, &raw const most as u64, 8]);
            });
        }
        Stunt::WriteLent => {
            write(order.lent(0).map_or(0, |lent| lent.address()));
        }
        Stunt::KeepLent => {
            let address = order.lent(0).map_or(0, |lent| lent.address());
            let _ = order.reply(Outgoing::empty(0));
            loop {
                // SAFETY: the page is gone, and this ends the service.
                unsafe { (address as *const u8).read_volatile() };
            }
        }
        Stunt::WriteText => write(places(service).text),
        Stunt::ExecuteStack => {
            let code = [0xC3u8; 16];
            // SAFETY: none: the stack is not executable, and this ends the service.
            unsafe { asm!("call {}", in(reg) black_box(&code).as_ptr(), clobber_abi("C")) }
        }
        Stunt::WriteTable => write(table()),
        // SAFETY: the table's second word is its first function.
        Stunt::WriteStub => write(unsafe { (table() as *const u64).add(1).read() }),
        Stunt::BlockSignals => {
            let all = u64::MAX;
            // Sets the mask, as 8 bytes.
            call(14, [2, &raw const all as u64, 0]);
            fault();
        }
        Stunt::DropSignalStack => {
            let none = [0u64, 2, 0];
            call(131, [none.as_ptr() as u64, 0, 0]);
            fault();
        }
        Stunt::ForgeSignalReturn => {
            call(15, [0; 3]);
        }
        Stunt::ExitThread => {
            call(60, [0; 3]);
        }
        Stunt::CorruptControl => corrupt_control(),
        Stunt::ForgeCalls => forge_calls(),
        Stunt::CorruptHostStack => corrupt_host_stack(),
        Stunt::ThreadBomb => thread_bomb(),
        Stunt::FillMemory => fill_memory(),
        Stunt::Loop => loop {
            spin_loop();
        },
    }
    answer(order)
}

fn write(address: u64) {
    // SAFETY: none: it must fault.
    unsafe { (address as *mut u8).write_volatile(0x90) };
}

static TABLE: AtomicU64 = AtomicU64::new(0);

/// Address of the call table, which each thread is handed at its start.
fn table() -> u64 {
    extern "C" fn entry(_: u64, table: u64) -> ! {
        TABLE.store(table, Ordering::Release);
        loop {
            invoke(Number::ThreadExit, [0; 4]);
        }
    }
    let Ok(stack) = Memory::create(4 * PAGE) else { return 0 };
    let top = stack.address() + 4 * PAGE;
    invoke(Number::ThreadCreate, [entry as *const () as u64, top, 0, 1]);
    core::mem::forget(stack);
    loop {
        match TABLE.load(Ordering::Acquire) {
            0 => phi_rt::sleep(1_000_000),
            table => return table,
        }
    }
}

/// Makes a call without a message.
pub fn invoke(number: Number, words: [u64; 4]) {
    // SAFETY: only calls without a message, on things that nothing else uses, are made here.
    let _ = unsafe { phi_rt::system::call(number, words, core::ptr::null_mut()) };
}

/// End of the host thread's stack: the C library's own record of the thread lies there.
fn host_stack_end() -> u64 {
    let end;
    // SAFETY: on Linux, the first word that `fs` names is its own address.
    unsafe { asm!("mov {}, fs:[0]", out(reg) end) };
    end
}

/// Pages of the control area: one of pending bits, and one for each of the manifest's threads.
const CONTROL_PAGES: u64 = 5;

/// Finds the control area by what the stub leaves on its host stack: the address of this thread's
/// page, told by the arguments of a call that was just made.
pub fn control_area() -> Option<u64> {
    const MAGIC: u64 = 0x6D61_6769_6361_6C21;
    invoke(Number::ClockRead, [MAGIC; 4]);
    let end = host_stack_end();
    (end - (60 << 10)..end).step_by(8).find_map(|place| {
        // SAFETY: all of it is this thread's host stack.
        let page = unsafe { (place as *const u64).read_volatile() };
        let near = page.abs_diff(end) < 64 << 20;
        // SAFETY: what lies so near and begins a page is most likely mapped; if not, the judge sees
        // it.
        let found = page.is_multiple_of(PAGE)
            && near
            && unsafe { ((page + 16) as *const u64).read_volatile() } == MAGIC;
        found.then_some(page - PAGE)
    })
}

fn corrupt_control() {
    let Some(area) = control_area() else { return };
    let mut noise = Random::new(1);
    for round in 0..2000u64 {
        for word in (area..area + CONTROL_PAGES * PAGE).step_by(8) {
            // States that mean something now and then.
            let value = if round % 2 == 0 { noise.word() } else { noise.below(7) };
            // SAFETY: the area is shared with the supervisor, and made for concurrent writes.
            unsafe { (word as *mut u64).write_volatile(value) };
        }
        ring();
    }
}

/// Makes the pages of threads that are not there call for the end of this service and of others.
fn forge_calls() {
    let Some(area) = control_area() else { fault_as_lost() };
    const CALLING: u64 = 3;
    for number in 0..40u64 {
        for page in (area + 2 * PAGE..area + CONTROL_PAGES * PAGE).step_by(PAGE as usize) {
            // SAFETY: as for noise; the number of the call lies in the second word's upper half.
            unsafe {
                ((page + 8) as *mut u64).write_volatile(number << 32);
                (page as *mut u64).write_volatile(CALLING);
            }
        }
        // SAFETY: as above.
        unsafe { (area as *mut u64).write_volatile(u64::MAX) };
        ring();
    }
}

/// Ends the service as no attack does: the control area was not found.
fn fault_as_lost() -> ! {
    phi_rt::exit(99)
}

fn ring() {
    let one = 1u64;
    // SAFETY: the call reads one word, which is there.
    unsafe { system_call(1, [1, &raw const one as u64, 8, 0, 0, 0]) };
}

fn corrupt_host_stack() {
    let end = host_stack_end();
    for word in (end - (60 << 10)..end - 64).step_by(8) {
        // SAFETY: none: the host thread is lost from here on.
        unsafe { (word as *mut u64).write_volatile(0x4141_4141_4141_4141) };
    }
}

fn thread_bomb() {
    while let Ok(thread) = Thread::start(PAGE, 1, || phi_rt::sleep(FOREVER)) {
        core::mem::forget(thread);
    }
}

fn fill_memory() {
    while let Ok(mut memory) = Memory::create(64 << 10) {
        memory.fill(0xFF);
        core::mem::forget(memory);
    }
}

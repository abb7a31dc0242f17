//! After [`Kernel::boot`], no call, fault or deadline allocates: an allocator that counts proves it
//! for every call, with messages, loans, revocation and restarts.
#![allow(unsafe_code)] // A global allocator is an unsafe trait.

use std::alloc::{GlobalAlloc, Layout, System as SystemAllocator};
use std::cell::Cell;

use phi_abi::layout::{IMAGE_OFFSET, PAGE, WINDOWS_BASE, window};
use phi_abi::{
    CALLS, Caching, DERIVE_REVOCABLE, FOREVER, Fault, FaultKind, Grant, Handle, IrqSource, Kind,
    Message, Number, PortWidth, Rights, StartBlock,
};
use phi_core::{
    Content, Devices, DmaIndex, DomainIndex, IrqIndex, Kernel, Machine, MachineError,
    MessageSignal, RegionIndex, Span, ThreadIndex,
};
use phi_manifest::plan::{
    AfterRestarts, BudgetPlan, CapabilityPlan, ImagePlan, MailboxPlan, Plan, Quota, RestartPlan,
    RestartPolicy, ServicePlan, Target,
};

thread_local! {
    /// Allocations of this thread.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    ALLOCATIONS.with(|count| count.set(count.get() + 1));
}

// SAFETY: every method hands its arguments unchanged to the system's allocator, which keeps to the
// contract. The counter is a thread-local without a destructor, so counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to this method's contract, which is that of `alloc`.
        unsafe { SystemAllocator.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: `pointer` comes from `alloc` or `realloc` above, with this layout.
        unsafe { SystemAllocator.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `pointer` comes from `alloc` or `realloc` above, with this layout.
        unsafe { SystemAllocator.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SERVICES: usize = 3;

/// Devices that do nothing.
struct Idle;

impl Devices for Idle {
    fn root(&self) -> u64 {
        0
    }

    fn region_create(
        &mut self,
        _: RegionIndex,
        _: Span,
        _: u64,
        _: Caching,
    ) -> Result<(), MachineError> {
        Ok(())
    }

    fn irq_open(&mut self, _: IrqIndex, _: IrqSource) -> Result<MessageSignal, MachineError> {
        Ok(MessageSignal { address: 0, data: 0 })
    }

    fn irq_close(&mut self, _: IrqIndex) {}

    fn irq_mask(&mut self, _: IrqIndex, _: bool) {}

    fn protects(&self) -> bool {
        true
    }

    fn dma_open(&mut self, _: DmaIndex, _: u16) -> Result<(), MachineError> {
        Ok(())
    }

    fn dma_close(&mut self, _: DmaIndex) {}

    fn dma_enable(&mut self, _: DmaIndex, _: bool) {}

    fn dma_map(
        &mut self,
        _: DmaIndex,
        _: RegionIndex,
        span: Span,
        _: Rights,
    ) -> Result<u64, MachineError> {
        Ok(span.address)
    }

    fn dma_unmap(&mut self, _: DmaIndex, _: RegionIndex, _: Span) {}

    fn ports_open(&mut self, _: u16, _: u16) -> Result<(), MachineError> {
        Ok(())
    }

    fn port_read(&mut self, _: u16, _: PortWidth) -> u32 {
        0
    }

    fn port_write(&mut self, _: u16, _: PortWidth, _: u32) {}
}

/// A machine that keeps nothing but start blocks, in places made beforehand.
struct Still {
    devices: Idle,
    clock: u64,
    starts: Vec<StartBlock>,
}

impl Machine for Still {
    fn now(&mut self) -> u64 {
        self.clock
    }

    fn load(&mut self, domain: DomainIndex, start: &StartBlock) -> Result<(), MachineError> {
        self.starts[usize::from(domain.0)].clone_from(start);
        Ok(())
    }

    fn unload(&mut self, _: DomainIndex) {}

    fn thread_start(
        &mut self,
        _: ThreadIndex,
        _: DomainIndex,
        _: u64,
        _: u64,
        _: u64,
    ) -> Result<(), MachineError> {
        Ok(())
    }

    fn thread_stop(&mut self, _: ThreadIndex) {}

    fn region_create(&mut self, _: RegionIndex, _: Span, _: Content) -> Result<(), MachineError> {
        Ok(())
    }

    fn region_destroy(&mut self, _: RegionIndex) {}

    fn map(
        &mut self,
        _: DomainIndex,
        _: RegionIndex,
        _: Span,
        _: Rights,
    ) -> Result<(), MachineError> {
        Ok(())
    }

    fn unmap(&mut self, _: DomainIndex, _: RegionIndex, _: Span) {}

    fn throttle(&mut self, _: DomainIndex, _: bool) {}

    fn console_write(&mut self, _: u64, _: &[u8]) {}

    fn devices(&mut self) -> Option<&mut dyn Devices> {
        Some(&mut self.devices)
    }
}

const QUOTA: Quota = Quota {
    memory: 64 * PAGE,
    handles: 32,
    regions: 4,
    mailboxes: 2,
    messages: 4,
    signals: 4,
    threads: 4,
    lineages: 8,
};

fn held(name: &str, target: Target, rights: Rights) -> CapabilityPlan {
    CapabilityPlan { name: name.into(), target, rights: rights.bits(), badge: 0 }
}

/// `init`, a client and a server.
fn plan() -> Plan {
    let capabilities = |index: u16| {
        let mailbox = held("mailbox", Target::Mailbox(0), Kind::Mailbox.rights());
        let own = held("own", Target::Mailbox(1), Kind::Mailbox.rights());
        let log = held("log", Target::Console(1), Kind::Console.rights());
        let domain = held("domain", Target::Domain(index), Kind::Domain.rights());
        let client = held("client", Target::Domain(1), Kind::Domain.rights());
        let server = held("server", Target::Domain(2), Kind::Domain.rights());
        let hardware = held("hardware", Target::Hardware, Kind::Hardware.rights());
        vec![mailbox, own, log, domain, client, server, hardware]
    };
    let (policy, then) = (RestartPolicy::Never, AfterRestarts::Hold);
    let service = |index: u16| ServicePlan {
        state: 0,
        replacement: None,
        name: format!("service-{index}"),
        image: ImagePlan {
            name: "image".into(),
            hash: [0; 32],
            entry: window(usize::from(index)) + IMAGE_OFFSET,
            segments: Vec::new(),
        },
        driver: None,
        window: window(usize::from(index)),
        stack: PAGE,
        heap: PAGE,
        arguments: String::new(),
        unprotected_dma: false,
        quota: QUOTA,
        priority: 5,
        budget: Some(BudgetPlan { time: 1000, period: 2000 }),
        restart: RestartPlan { policy, backoff: 0, longest: 0, maximum: 0, then },
        supervisor: 0,
        capabilities: capabilities(index),
    };
    let mailbox = |server| MailboxPlan { name: "interface".into(), server, capacity: 4 };
    Plan {
        name: "test".into(),
        services: (0..SERVICES as u16).map(service).collect(),
        mailboxes: vec![mailbox(2), mailbox(1)],
        inputs: Vec::new(),
        plan_address: WINDOWS_BASE,
        until: None,
        mode: phi_manifest::plan::Mode::Full,
    }
}

struct Running {
    kernel: Kernel<Still>,
    made: [bool; CALLS.len()],
}

impl Running {
    fn enter(&mut self, thread: ThreadIndex, number: u32, words: &[u64], message: &Message) {
        let frame = self.kernel.frame_mut(thread);
        frame.number = number;
        frame.arguments = [0; 4];
        frame.arguments[..words.len()].copy_from_slice(words);
        frame.message = *message;
        self.kernel.system_call(thread);
        while self.kernel.dispatch().is_some() {}
    }

    fn call(&mut self, thread: ThreadIndex, number: Number, words: &[u64]) -> u64 {
        self.call_with(thread, number, words, &Message::EMPTY)
    }

    fn call_with(
        &mut self,
        thread: ThreadIndex,
        number: Number,
        words: &[u64],
        message: &Message,
    ) -> u64 {
        self.made[number as usize] = true;
        self.enter(thread, number as u32, words, message);
        self.kernel.frame(thread).outcome.value
    }

    fn handle(&self, domain: usize, name: &str) -> u64 {
        self.kernel.machine().starts[domain].find(name).expect("a planned capability").handle.0
    }

    fn grants(&self, thread: ThreadIndex) -> [Grant; 4] {
        self.kernel.frame(thread).message.grants
    }

    fn reply_handle(&self, thread: ThreadIndex) -> u64 {
        self.kernel.frame(thread).message.reply.0
    }

    /// Lets time pass, and what is due happen.
    fn pass_time(&mut self, nanoseconds: u64) {
        self.kernel.machine_mut().clock += nanoseconds;
        self.kernel.expire();
        while self.kernel.dispatch().is_some() {}
    }

    /// Calls with a loan and with capabilities, signals, and messages that are stored and lost.
    fn talk(&mut self, client: ThreadIndex, server: ThreadIndex) {
        let (mailbox, serve) = (self.handle(1, "mailbox"), self.handle(2, "mailbox"));
        let region = self.call(client, Number::RegionCreate, &[PAGE]);
        let at = self.call(client, Number::RegionMap, &[region, 12]);
        let words = [region, u64::from(Kind::Region.rights().bits()), DERIVE_REVOCABLE];
        let derived = self.call(client, Number::CapabilityDerive, &words);
        self.call(client, Number::CapabilityInspect, &[derived]);
        let signal = self.call(server, Number::SignalCreate, &[]);
        self.call(server, Number::SignalBind, &[signal, serve]);
        self.call(server, Number::SignalNotify, &[signal, 3]);
        assert_eq!(self.call(server, Number::Receive, &[serve, FOREVER]), 1);
        self.call(server, Number::SignalWait, &[signal, 1, 0]);
        self.call(server, Number::Receive, &[serve, FOREVER]);
        let mut request = Message::new(1, b"lend").expect("it fits");
        request.push(Grant::loan(Handle(derived), Rights::READ, at, PAGE));
        self.call_with(client, Number::Call, &[mailbox, FOREVER], &request);
        assert!(!self.grants(server)[0].handle.is_null(), "the loan has arrived");
        self.answer_with_object(server, serve, signal);
        let got = self.grants(client);
        assert!(!got[0].handle.is_null() && !got[1].handle.is_null(), "the answer has arrived");
        // A call that nobody answers in time, and one whose capability is taken back.
        self.call(client, Number::Call, &[mailbox, 10]);
        self.pass_time(10);
        self.call_with(client, Number::Call, &[mailbox, 10], &request);
        self.pass_time(10);
        self.call(client, Number::CapabilityRevoke, &[region]);
        self.call(client, Number::RegionUnmap, &[region]);
        let spare = self.call(server, Number::MailboxCreate, &[2]);
        let mut carried = Message::EMPTY;
        carried.push(Grant::copy(Handle(signal), Rights::NOTIFY));
        for _ in 0..3 {
            self.call_with(server, Number::Send, &[spare], &carried);
        }
        self.call(server, Number::CapabilityDrop, &[spare]);
    }

    /// The server mints an object and answers its caller with it, then receives for a while.
    fn answer_with_object(&mut self, server: ThreadIndex, serve: u64, signal: u64) {
        let reply = self.reply_handle(server);
        let rights = Rights::SEND | Rights::TRANSFER;
        let object = self.call(server, Number::ObjectMint, &[serve, 1, u64::from(rights.bits())]);
        let mut answer = Message::EMPTY;
        answer.push(Grant::transfer(Handle(object), rights));
        answer.push(Grant::copy(Handle(signal), Rights::NOTIFY));
        self.call_with(server, Number::ReplyReceive, &[reply, serve, 1], &answer);
        self.pass_time(1);
    }

    /// One life of client and server, from start to end.
    fn live(&mut self) {
        let [init, client, server] = [0, 1, 2].map(|domain| ThreadIndex(domain * 4));
        let domains = ["client", "server"].map(|name| self.handle(0, name));
        for domain in domains {
            self.call(init, Number::DomainStart, &[domain]);
        }
        self.talk(client, server);
        let serve = self.handle(2, "mailbox");
        let mailbox = self.handle(1, "mailbox");
        self.call(client, Number::Call, &[mailbox, FOREVER]);
        self.call(server, Number::Receive, &[serve, FOREVER]);
        let reply = self.reply_handle(server);
        self.call(server, Number::Reply, &[reply]);
        let thread = self.call(client, Number::ThreadCreate, &[0x1000, 0x2000, 0, 1]);
        self.call(client, Number::ThreadPriority, &[thread, 2]);
        self.call(ThreadIndex(client.0 + 1), Number::ThreadExit, &[]);
        self.call(client, Number::ThreadSleep, &[5]);
        self.pass_time(5);
        let log = self.handle(2, "log");
        let text = Message::new(0, b"text").expect("it fits");
        self.call_with(server, Number::ConsoleWrite, &[log], &text);
        self.call(server, Number::ClockRead, &[]);
        self.kernel.charge(server, 1500);
        self.kernel.preempt(server);
        self.pass_time(10_000);
        self.pass_time(10_000);
        self.call(init, Number::DomainInspect, &[domains[0], 1]);
        self.drive(client);
    }

    /// A device's registers, its interrupt, and what it reaches.
    fn drive(&mut self, driver: ThreadIndex) {
        let hardware = self.handle(1, "hardware");
        let registers = self.call(driver, Number::DeviceRegion, &[hardware, PAGE, PAGE, 0]);
        self.call(driver, Number::RegionMap, &[registers, 12]);
        let irq = self.call(driver, Number::IrqCreate, &[hardware, 1]);
        let signal = self.call(driver, Number::SignalCreate, &[]);
        self.call(driver, Number::IrqBind, &[irq, signal, 1]);
        self.kernel.interrupt(IrqIndex(0));
        self.call(driver, Number::IrqAcknowledge, &[irq]);
        let space = self.call(driver, Number::DmaSpaceCreate, &[hardware, 1]);
        let region = self.call(driver, Number::RegionCreate, &[PAGE]);
        self.call(driver, Number::DmaMap, &[space, region, 12]);
        self.call(driver, Number::DmaUnmap, &[space, region]);
        self.call(driver, Number::DmaMap, &[space, region, 4]);
        self.call(driver, Number::CapabilityRevoke, &[space]);
        let ports = self.call(driver, Number::PortsCreate, &[hardware, 0x3E8, 8]);
        self.call(driver, Number::PortWrite, &[ports, 7, 1, 0xA5]);
        self.call(driver, Number::PortRead, &[ports, 7, 1]);
    }
}

#[test]
fn nothing_allocates_after_boot() {
    let machine = Still { devices: Idle, clock: 0, starts: vec![StartBlock::EMPTY; SERVICES] };
    let kernel = Kernel::boot(machine, &plan()).expect("a plan that boots");
    let mut running = Running { kernel, made: [false; CALLS.len()] };
    while running.kernel.dispatch().is_some() {}
    let [init, client, server] = [0, 1, 2].map(|domain| ThreadIndex(domain * 4));
    let before = ALLOCATIONS.with(Cell::get);
    assert!(before > 0, "boot allocates, so the allocator counts");
    for end in 0..4 {
        running.live();
        match end {
            0 => {
                for name in ["client", "server"] {
                    let domain = running.handle(0, name);
                    running.call(init, Number::DomainStop, &[domain]);
                }
            }
            1 => {
                running.call(client, Number::DomainExit, &[1]);
                running.call_with(server, Number::DomainPanic, &[], &Message::EMPTY);
            }
            2 => {
                running.enter(client, 99, &[], &Message::EMPTY);
                running.call(server, Number::Send, &[0x77]);
            }
            _ => {
                let fault = Fault { kind: FaultKind::Read, address: 1, instruction: 2 };
                running.kernel.fault(client, fault);
                running.kernel.domain_lost(DomainIndex(2), fault);
            }
        }
        assert_eq!(running.kernel.info(DomainIndex(2)).generation, end + 1);
    }
    assert_eq!(ALLOCATIONS.with(Cell::get), before);
    for call in CALLS {
        assert!(running.made[call.number as usize], "{} was not made", call.name);
    }
}

//! A machine whose every request and answer is noted.

use super::codec::{put_bytes, put_word, put_words};
use super::input::{Answer, Entry, Step};
use phi_abi::{Rights, StartBlock};
use phi_core::{Content, DomainIndex, Machine, MachineError, RegionIndex, Span, ThreadIndex};

/// What ΦCore asks of its machine in one step, and the hash of all steps.
pub(super) struct Trace {
    /// The hash of all steps so far.
    chain: [u8; 32],
    /// What the hash of the step under way covers.
    covered: Vec<u8>,
    answers: Vec<Answer>,
    /// Whether a step is under way. What the machine is asked between two steps is not ΦCore's.
    open: bool,
    /// The last time that the machine answered, in nanoseconds since the system's start.
    now: u64,
}

impl Trace {
    /// No step yet of a run of the plan with this hash.
    pub(super) fn new(plan: [u8; 32]) -> Trace {
        let (covered, answers) = (Vec::new(), Vec::new());
        Trace { chain: plan, covered, answers, open: false, now: 0 }
    }

    /// A step begins.
    pub(super) fn begin(&mut self, entry: &Entry) {
        self.covered.clear();
        self.covered.extend_from_slice(&self.chain);
        entry.put(&mut self.covered);
        self.open = true;
    }

    /// Has the step's hash cover `bytes`, too.
    pub(super) fn cover(&mut self, bytes: &[u8]) {
        put_bytes(&mut self.covered, bytes);
    }

    /// The step is over.
    pub(super) fn finish(&mut self, entry: Entry) -> Step {
        self.open = false;
        self.chain = *blake3::hash(&self.covered).as_bytes();
        let mut first = [0; size_of::<u64>()];
        first.copy_from_slice(&self.chain[..size_of::<u64>()]);
        let (answers, hash) = (std::mem::take(&mut self.answers), u64::from_le_bytes(first));
        Step { entry, answers, hash }
    }

    /// The step was none: nothing happened in it.
    pub(super) fn discard(&mut self) {
        self.open = false;
        self.answers.clear();
    }

    /// The hash of all steps.
    pub(super) fn chain(&self) -> [u8; 32] {
        self.chain
    }

    /// The last time that the machine answered, in nanoseconds since the system's start.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Done => put_word(&mut self.covered, 0),
            Answer::Refused => put_word(&mut self.covered, 1),
            Answer::Time(time) => {
                put_words(&mut self.covered, &[2, time]);
                self.now = time;
            }
        }
        self.answers.push(answer);
    }
}

/// A machine, and what ΦCore asks of it.
pub struct Traced<M> {
    pub(super) machine: M,
    pub(super) trace: Option<Box<Trace>>,
}

impl<M> std::ops::Deref for Traced<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.machine
    }
}

impl<M> std::ops::DerefMut for Traced<M> {
    fn deref_mut(&mut self) -> &mut M {
        &mut self.machine
    }
}

impl<M> Traced<M> {
    /// The trace, while a step is under way in it.
    fn open(&mut self) -> Option<&mut Trace> {
        self.trace.as_deref_mut().filter(|trace| trace.open)
    }

    /// Takes note of a request: `number` says which.
    fn asked(&mut self, number: u64, words: &[u64]) {
        if let Some(trace) = self.open() {
            put_word(&mut trace.covered, number);
            put_words(&mut trace.covered, words);
        }
    }

    /// Takes note of what the machine answered, and passes it on.
    fn answered(&mut self, result: Result<(), MachineError>) -> Result<(), MachineError> {
        if let Some(trace) = self.open() {
            trace.answered(if result.is_ok() { Answer::Done } else { Answer::Refused });
        }
        result
    }
}

/// Where a domain's region is, as words.
fn place(domain: DomainIndex, region: RegionIndex, span: Span) -> [u64; 4] {
    [u64::from(domain.0), u64::from(region.0), span.address, span.length]
}

/// What is in use of a start block.
fn put_start(bytes: &mut Vec<u8>, start: &StartBlock) {
    let StartBlock { version, generation, window, heap, heap_size, priority, image, .. } = start;
    put_words(bytes, &[u64::from(*version), u64::from(*generation), *window, *heap, *heap_size]);
    put_words(bytes, &[u64::from(*priority), *image]);
    put_bytes(bytes, start.arguments());
    put_word(bytes, start.capabilities().len() as u64);
    for held in start.capabilities() {
        put_bytes(bytes, held.name());
        put_words(bytes, &[held.handle.0, u64::from(held.rights), u64::from(held.kind)]);
        put_words(bytes, &[held.address, held.length]);
    }
}

impl<M: Machine> Machine for Traced<M> {
    fn now(&mut self) -> u64 {
        let time = self.machine.now();
        if let Some(trace) = self.open() {
            trace.answered(Answer::Time(time));
        }
        time
    }

    fn load(&mut self, domain: DomainIndex, start: &StartBlock) -> Result<(), MachineError> {
        self.asked(3, &[u64::from(domain.0)]);
        if let Some(trace) = self.open() {
            put_start(&mut trace.covered, start);
        }
        let result = self.machine.load(domain, start);
        self.answered(result)
    }

    fn unload(&mut self, domain: DomainIndex) {
        self.asked(4, &[u64::from(domain.0)]);
        self.machine.unload(domain);
    }

    fn thread_start(
        &mut self,
        thread: ThreadIndex,
        domain: DomainIndex,
        entry: u64,
        stack: u64,
        argument: u64,
    ) -> Result<(), MachineError> {
        self.asked(5, &[u64::from(thread.0), u64::from(domain.0), entry, stack, argument]);
        let result = self.machine.thread_start(thread, domain, entry, stack, argument);
        self.answered(result)
    }

    fn thread_stop(&mut self, thread: ThreadIndex) {
        self.asked(6, &[u64::from(thread.0)]);
        self.machine.thread_stop(thread);
    }

    fn region_create(
        &mut self,
        region: RegionIndex,
        span: Span,
        content: Content,
    ) -> Result<(), MachineError> {
        let content_number = match content {
            Content::Zero => 0,
            Content::Plan => 1,
            Content::Input(number) => 2 + u64::from(number),
            Content::Pinned => u64::MAX,
        };
        self.asked(7, &[u64::from(region.0), span.address, span.length, content_number]);
        let result = self.machine.region_create(region, span, content);
        self.answered(result)
    }

    fn region_destroy(&mut self, region: RegionIndex) {
        self.asked(8, &[u64::from(region.0)]);
        self.machine.region_destroy(region);
    }

    fn map(
        &mut self,
        domain: DomainIndex,
        region: RegionIndex,
        span: Span,
        access: Rights,
    ) -> Result<(), MachineError> {
        let [domain_number, region_number, address, length] = place(domain, region, span);
        let access_number = u64::from(access.bits());
        self.asked(9, &[domain_number, region_number, address, length, access_number]);
        let result = self.machine.map(domain, region, span, access);
        self.answered(result)
    }

    fn unmap(&mut self, domain: DomainIndex, region: RegionIndex, span: Span) {
        self.asked(10, &place(domain, region, span));
        self.machine.unmap(domain, region, span);
    }

    fn throttle(&mut self, domain: DomainIndex, stopped: bool) {
        self.asked(11, &[u64::from(domain.0), u64::from(stopped)]);
        self.machine.throttle(domain, stopped);
    }

    fn console_write(&mut self, stream: u64, bytes: &[u8]) {
        self.asked(12, &[stream]);
        if let Some(trace) = self.open() {
            trace.cover(bytes);
        }
        self.machine.console_write(stream, bytes);
    }

    fn devices(&mut self) -> Option<&mut dyn phi_core::Devices> {
        None
    }
}

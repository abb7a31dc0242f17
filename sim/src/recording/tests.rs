//! Worlds of actors are written down and replayed, whole and damaged.

use super::file::{Recording, RecordingError};
use super::input::{Answer, Entry, Input, Step};
use super::journal::Journal;
use super::replay::{Difference, End, Reason, Replayed, replay};
use super::system::Recorded;
use crate::actors::Actors;
use crate::checkers::Checkers;
use crate::checkers::fairness::STEPS;
use crate::event::Call;
use crate::machine::{Act, Services, SimMachine, Turn};
use crate::watch::Watch;
use crate::world::World;
use phi_abi::{Fault, FaultKind, Grant, Handle, Message};
use phi_core::{DomainIndex, Frame, ThreadIndex};
use phi_manifest::plan::Plan;
use phi_random::Random;
use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

const FAULT: Fault = Fault { kind: FaultKind::Killed, address: 3, instruction: u64::MAX };

/// Bytes of the bundle that a world's plan could come from.
const SIZE: u64 = 1 << 20;

/// A file in memory.
#[derive(Clone, Default)]
struct File(Rc<RefCell<Vec<u8>>>);

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A world that runs and is written down.
struct Run<'a> {
    recorded: Recorded<SimMachine<Actors>>,
    watch: Watch<'a>,
    domains: usize,
    random: Random,
    inputs: Vec<Input>,
}

impl Run<'_> {
    fn feed(&mut self, input: Input) -> Option<ThreadIndex> {
        assert!(self.watch.permits(&input, self.domains));
        self.watch.before(self.recorded.kernel_mut(), &input);
        let thread = self.recorded.step(&input);
        self.settle(Some(&input), thread);
        self.inputs.push(input);
        thread
    }

    fn settle(&mut self, input: Option<&Input>, thread: Option<ThreadIndex>) {
        let machine = self.recorded.machine_mut();
        let (events, now) = (std::mem::take(&mut machine.events), machine.clock);
        self.watch.after(self.recorded.kernel(), input, &events, thread, now);
        assert_eq!(self.watch.violation(), None);
    }

    /// Something happens; false when nothing can any more.
    fn step(&mut self) -> bool {
        let chance = self.random.below(100);
        let failures = &mut self.recorded.machine_mut().failures;
        match chance {
            0 => failures.load = 1,
            1 => failures.thread_start = 1,
            2 => failures.region_create = 1,
            3 => failures.map = 1,
            4 => {
                let domain = 1 + self.random.below(6) as u16;
                self.feed(Input::Lost(DomainIndex(domain), FAULT));
            }
            5 => {
                self.recorded.machine_mut().clock += self.random.below(1 << 20);
                self.feed(Input::Expire);
            }
            6..10 => {
                if let Some(thread) = self.random.choose(&self.watch.dispatched) {
                    let end = self.random.once_in(2);
                    self.feed(if end { Input::Preempt(thread) } else { Input::PutBack(thread) });
                }
            }
            10 => {
                let thread = self.random.choose(&self.watch.dispatched);
                // Without `init`, the run would be over.
                let kernel = self.recorded.kernel();
                if let Some(thread) = thread.filter(|thread| kernel.domain_of(*thread).0 != 0) {
                    self.feed(Input::Fault(thread, FAULT));
                }
            }
            // Linux runs none of them for a while.
            11 if self.random.once_in(50) => {
                for _ in 0..2 * STEPS {
                    self.feed(Input::Expire);
                }
            }
            _ => return self.act(),
        }
        true
    }

    /// All ready threads go on, as on Linux, and one of them does something.
    fn act(&mut self) -> bool {
        while self.feed(Input::Dispatch).is_some() {}
        let Some(thread) = self.random.choose(&self.watch.dispatched) else {
            let Some(due) = self.recorded.kernel().next_deadline() else { return false };
            let clock = &mut self.recorded.machine_mut().clock;
            *clock = due.max(*clock);
            self.feed(Input::Expire);
            return true;
        };
        self.feed(Input::Charge(thread, 500));
        let Frame { outcome, message_out, message, .. } = *self.recorded.kernel().frame(thread);
        let turn = Turn {
            thread,
            domain: self.recorded.kernel().domain_of(thread),
            outcome,
            message: message_out.then_some(&message),
            ledger: self.watch.ledger(),
            random: &mut self.random,
            now: self.recorded.kernel().machine().machine.clock,
            settling: false,
        };
        match self.recorded.machine_mut().services.next(turn) {
            Act::Call(Call { number, arguments, message }) => {
                let message = Some(message);
                self.feed(Input::Call { thread, number, arguments, message });
            }
            Act::Fault(fault) => {
                self.feed(Input::Fault(thread, fault));
            }
        }
        self.recorded.machine_mut().clock += 500;
        true
    }
}

fn crowd(seed: u64) -> (Plan, Actors, Random) {
    let mut random = Random::new(seed);
    let (plan, roles) = World::Crowd.plan(&mut random);
    (plan, Actors::new(roles), random)
}

/// Runs the world of a seed from the time `clock` on; the recording, whether it was ended, and what
/// ΦCore was fed with.
fn record(seed: u64, steps: u64, clock: u64, end: bool) -> (Vec<u8>, Vec<Input>) {
    let (plan, actors, random) = crowd(seed);
    let file = File::default();
    let encoded = postcard::to_allocvec(&plan).expect("a plan can be encoded");
    let journal = Journal::of_plan(Box::new(file.clone()), &encoded, SIZE).expect("memory");
    let mut machine = SimMachine::new(actors);
    machine.clock = clock;
    let recorded = Recorded::boot(machine, &plan, Some(journal)).expect("it boots");
    let mut watcher = |_: &crate::event::Event| {};
    let watch = Watch::new(Checkers::of_recording(&plan), &mut watcher);
    let mut run = Run { recorded, watch, domains: plan.services.len(), random, inputs: Vec::new() };
    run.settle(None, None);
    for _ in 0..steps {
        if run.recorded.kernel().halted().is_some() || !run.step() {
            break;
        }
    }
    if end {
        run.recorded.finish().expect("memory");
    }
    let inputs = std::mem::take(&mut run.inputs);
    drop(run);
    (file.0.take(), inputs)
}

fn play(bytes: &[u8]) -> Result<Replayed, RecordingError> {
    replay(&mut Recording::open(bytes)?, &mut |_| {})
}

/// Where each step of a recording begins.
fn offsets(bytes: &[u8]) -> Vec<usize> {
    let mut recording = Recording::open(bytes).expect("a recording");
    let mut offsets = Vec::new();
    while let Some((offset, _)) = recording.next_step().expect("steps") {
        offsets.push(offset as usize);
    }
    offsets
}

#[test]
fn three_hundred_worlds_reach_the_same_states() {
    let mut kinds = [0_u64; 8];
    for seed in 0..300 {
        let (bytes, inputs) = record(seed, 1000, 0, true);
        let replayed = play(&bytes).expect("a recording");
        assert_eq!(replayed.end, End::Complete, "seed {seed}");
        for input in inputs {
            kinds[match input {
                Input::Call { .. } => 0,
                Input::Fault(..) => 1,
                Input::Lost(..) => 2,
                Input::Charge(..) => 3,
                Input::Expire => 4,
                Input::Preempt(_) => 5,
                Input::PutBack(_) => 6,
                Input::Dispatch => 7,
                // Nobody hands an image to a world.
                Input::Offer(..) => unreachable!("a world has no images"),
            }] += 1;
        }
    }
    assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
}

#[test]
fn a_world_at_the_end_of_time_reaches_the_same_states() {
    for seed in 0..20 {
        let (bytes, _) = record(seed, 300, u64::MAX - (1 << 40), true);
        assert_eq!(play(&bytes).expect("a recording").end, End::Complete, "seed {seed}");
    }
}

#[test]
fn a_recording_without_end_is_replayed_up_to_where_it_is_cut() {
    let (whole, _) = record(1, 60, 0, true);
    let steps = offsets(&whole);
    let last = steps.len() as u64;
    for (place, offset) in steps.iter().enumerate().skip(1) {
        for cut in [*offset, offset + 2, offset + 6] {
            let replayed = play(&whole[..cut]).expect("a recording");
            assert_eq!((replayed.end, replayed.steps), (End::Cut, place as u64));
        }
    }
    assert_eq!(play(&whole).expect("a recording").steps, last);
    let (dropped, _) = record(1, 60, 0, false);
    assert_eq!(play(&dropped).expect("a recording").end, End::Cut);
    assert_eq!(dropped, whole[..steps[steps.len() - 1]]);
}

#[test]
fn a_changed_hash_is_found_at_its_step() {
    let (whole, _) = record(2, 200, 0, true);
    let steps = offsets(&whole);
    for (place, next) in steps.iter().enumerate().skip(1).step_by(7) {
        let mut bytes = whole.clone();
        bytes[next - 1] ^= 1;
        let replayed = play(&bytes).expect("a recording");
        let End::Differs(Difference { step, offset, reason, .. }) = replayed.end else {
            panic!("{:?}", replayed.end);
        };
        assert_eq!((step, offset as usize), (place as u64 - 1, steps[place - 1]));
        assert!(matches!(reason, Reason::Hash { .. }));
    }
}

#[test]
fn no_damage_goes_unseen_or_stops_the_replay() {
    let (whole, _) = record(3, 150, 0, true);
    let mut random = Random::new(3);
    let mut ends = [0_u64; 3];
    for _ in 0..1500 {
        let mut bytes = whole.clone();
        match random.below(4) {
            0 => bytes.truncate(random.below(whole.len() as u64) as usize),
            1 => {
                let place = random.below(whole.len() as u64) as usize;
                bytes.insert(place, random.word() as u8);
            }
            2 => {
                let place = random.below(whole.len() as u64) as usize;
                bytes.drain(place..(place + 1 + random.below(9) as usize).min(whole.len()));
            }
            _ => {
                for _ in 0..1 + random.below(3) {
                    let place = random.below(whole.len() as u64) as usize;
                    bytes[place] = random.word() as u8;
                }
            }
        }
        match play(&bytes) {
            Ok(Replayed { end: End::Complete, .. }) => assert_eq!(bytes, whole),
            Ok(Replayed { end: End::Cut, .. }) => ends[0] += 1,
            Ok(Replayed { end: End::Differs(_), .. }) => ends[1] += 1,
            Ok(Replayed { end: End::Violation(violation), .. }) => panic!("{violation}"),
            Err(_) => ends[2] += 1,
        }
    }
    assert!(ends.iter().all(|count| *count > 0), "{ends:?}");
}

#[test]
fn an_input_that_no_machine_gives_is_a_difference() {
    let (whole, _) = record(4, 50, 0, true);
    let second = offsets(&whole)[1];
    let thread = ThreadIndex(u16::MAX);
    let call = Input::Call { thread, number: 0, arguments: [0; 4], message: None };
    let entries = [
        Entry::Boot,
        Entry::Input(call),
        Entry::Input(Input::Fault(thread, FAULT)),
        Entry::Input(Input::Lost(DomainIndex(u16::MAX), FAULT)),
        Entry::Input(Input::Preempt(thread)),
        Entry::Input(Input::PutBack(thread)),
    ];
    for entry in entries {
        let mut bytes = whole[..second].to_vec();
        append(&mut bytes, &Step { entry, answers: Vec::new(), hash: 0 });
        let end = play(&bytes).expect("a recording").end;
        let impossible =
            matches!(&end, End::Differs(Difference { reason: Reason::Impossible, step: 1, .. }));
        assert!(impossible, "{entry}: {end:?}");
    }
}

fn append(bytes: &mut Vec<u8>, step: &Step) {
    let mut written = Vec::new();
    step.put(&mut written);
    bytes.extend_from_slice(&(written.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&written);
}

#[test]
fn other_answers_than_those_asked_for_are_a_difference() {
    let (whole, _) = record(5, 50, 0, true);
    let first = offsets(&whole)[0];
    let (_, step) = Recording::open(&whole[..]).expect("a recording").next_step().unwrap().unwrap();
    assert_eq!(step.entry, Entry::Boot);
    let mut fewer = step.clone();
    fewer.answers.pop();
    let mut more = step.clone();
    more.answers.push(Answer::Time(7));
    let mut refused = step.clone();
    refused.answers[0] = Answer::Refused;
    let mut time = step;
    time.answers[0] = Answer::Time(7);
    for step in [fewer, more, refused, time] {
        let mut bytes = whole[..first].to_vec();
        append(&mut bytes, &step);
        let end = play(&bytes).expect("a recording").end;
        assert!(matches!(end, End::Differs(Difference { step: 0, .. })), "{end:?}");
    }
}

#[test]
fn every_kind_of_step_comes_back_from_its_bytes() {
    let thread = ThreadIndex(40_000);
    let mut message = Message::new(u64::MAX, b"abc").expect("it is short");
    message.push(Grant::loan(Handle(77), phi_abi::Rights::READ, 4096, 1 << 40));
    let beyond = Message { length: u16::MAX, grant_count: u16::MAX, ..Message::EMPTY };
    let arguments = [0, 127, 128, u64::MAX];
    let call = |message| Input::Call { thread, number: u32::MAX, arguments, message };
    let inputs = [
        call(None),
        call(Some(message)),
        call(Some(beyond)),
        Input::Fault(thread, FAULT),
        Input::Lost(DomainIndex(9), FAULT),
        Input::Charge(thread, 1 << 50),
        Input::Expire,
        Input::Preempt(thread),
        Input::PutBack(thread),
        Input::Dispatch,
    ];
    let entries = inputs.map(Entry::Input).into_iter().chain([Entry::Boot, Entry::End]);
    for entry in entries {
        let answers = vec![Answer::Done, Answer::Time(u64::MAX), Answer::Refused, Answer::Time(0)];
        for answers in [Vec::new(), answers] {
            let step = Step { entry, answers, hash: 0x0123_4567_89AB_CDEF };
            let mut bytes = Vec::new();
            step.put(&mut bytes);
            assert_eq!(Step::read(&bytes).as_ref(), Ok(&step));
            for length in 0..bytes.len() {
                // What is cut off is another step, or none, and never the same.
                assert_ne!(Step::read(&bytes[..length]).as_ref(), Ok(&step));
            }
        }
    }
}

#[test]
fn what_is_no_recording_is_refused() {
    let (whole, _) = record(6, 20, 0, true);
    let opened = |bytes: &[u8]| Recording::open(bytes).map(drop);
    assert!(matches!(opened(b""), Err(RecordingError::NoRecording)));
    assert!(matches!(opened(&whole[..70]), Err(RecordingError::NoRecording)));
    let changed = |place: usize| {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x40;
        opened(&bytes)
    };
    assert!(matches!(changed(0), Err(RecordingError::NoRecording)));
    assert!(matches!(changed(8), Err(RecordingError::Version(0x42, _))));
    assert!(matches!(changed(31), Err(RecordingError::Damaged)));
    assert!(matches!(changed(40), Err(RecordingError::Damaged)));
    assert!(matches!(changed(80), Err(RecordingError::Damaged)));
    let mut longer = whole.clone();
    longer.push(0);
    let offset = whole.len() as u64;
    assert!(matches!(play(&longer), Err(RecordingError::Rest { offset: at }) if at == offset));
}

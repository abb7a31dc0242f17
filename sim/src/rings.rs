//! The world of rings: producers and a consumer over the production ring of `shared/ipc`, whose wakes
//! come late, or not at all, or for nothing, and whose sides crash.
//!
//! What is checked: each message arrives at most once, in order and whole; who learns of a ring's end
//! has everything that was in it; and once the faults have stopped, all that was put in arrives. Where
//! no wake is lost, nobody sleeps with a time limit: then the ring's own protocol must do.
//!
//! Interleavings within one operation of a ring are the model checkers' part: see `docs/ring.md`.

mod side;

use crate::checkers::{Property, Violation};
use crate::event::{Event, Hash, RingEvent};
use crate::run::{Outcome, Verdict, caught};
use crate::schedule::{Schedule, Swarm};
use phi_abi::Message;
use phi_ipc::ring::{AtomicU32, Futex};
use phi_random::Random;
use side::{Bells, Did, End, RINGS, Shared, Side, Turn};
use std::cell::RefCell;
use std::collections::VecDeque;

/// The consumer, after the producers.
const CONSUMER: usize = RINGS;

/// Steps in which everything must have arrived once the faults have stopped.
const REST: u64 = 100_000;

/// Steps that a sleep lasts at most, where wakes may be lost.
const DEADLINE: u64 = 2_000;

/// The names of the sides.
pub(crate) fn members() -> Vec<String> {
    let producers = (0..RINGS).map(|number| format!("producer-{number}"));
    producers.chain(["consumer".into()]).collect()
}

/// The probabilities of a run, in 65,536ths; drawn anew for each.
#[derive(Clone, Copy)]
struct Faults {
    /// Of a wake that is lost, for each one.
    lost: u64,
    /// Of a wake that comes late, for each one.
    late: u64,
    /// Of a side that goes on for no reason, for each step.
    spurious: u64,
    /// Of a side that crashes, for each step.
    crash: u64,
}

impl Faults {
    const NONE: Faults = Faults { lost: 0, late: 0, spurious: 0, crash: 0 };

    fn draw(random: &mut Random) -> Faults {
        let mut rate = |most: u64| if random.once_in(2) { 0 } else { random.below(most) };
        Faults { lost: rate(20_000), late: rate(20_000), spurious: rate(2_000), crash: rate(300) }
    }
}

enum State {
    Runs(Side),
    Sleeps(Side, Bells, Option<u64>),
    /// It has crashed, and its rings are closed for it in this step.
    Crashed(u64),
    Ended,
}

/// One life of the rings: from their creation until all sides have ended. The sides come first, so that
/// they are dropped before the rings.
struct Life {
    sides: [State; RINGS + 1],
    rings: [Shared; RINGS],
    /// What was put in and not taken out yet.
    inside: [VecDeque<Message>; RINGS],
}

impl Life {
    fn new(random: &mut Random) -> Option<Life> {
        let mut ring = || Shared::new(1 << random.below(4));
        let rings = [ring()?, ring()?];
        let sides = [
            State::Runs(Side::producer(0, &rings[0]).ok()?),
            State::Runs(Side::producer(1, &rings[1]).ok()?),
            State::Runs(Side::consumer(&rings).ok()?),
        ];
        Some(Life { sides, rings, inside: [VecDeque::new(), VecDeque::new()] })
    }
}

/// A run of this world.
struct Run<'w> {
    life: Life,
    faults: Faults,
    /// Whether sleeps have an end of their own.
    limits: bool,
    /// Wakes on their way: the doorbell, and the step.
    wakes: Vec<(usize, u64)>,
    step: u64,
    ends: bool,
    hash: Hash,
    watcher: &'w mut dyn FnMut(&Event),
    violation: Option<Violation>,
}

/// Makes a run; only the faults of this world are drawn, of `swarm` nothing matters but whether there
/// are any.
pub(crate) fn run(
    swarm: Swarm,
    mut random: Random,
    schedule: &Schedule,
    watcher: &mut dyn FnMut(&Event),
) -> Verdict {
    let (mut steps, mut rest) = (0, 0);
    let result = caught(|| {
        let drawn = Faults::draw(&mut random);
        let faults = if swarm == swarm.without_faults() { Faults::NONE } else { drawn };
        let Some(life) = Life::new(&mut random) else {
            return (Outcome::Crash("no memory for rings".into()), [0; 32]);
        };
        let mut run = Run::new(life, faults, watcher);
        for word in &schedule.steps {
            if run.violation.is_some() {
                break;
            }
            steps += 1;
            run.make(&mut Random::new(*word));
        }
        let outcome = run.rest(Random::new(schedule.swarm.rotate_left(32)), &mut rest);
        (outcome, run.hash.finish())
    });
    let (outcome, hash) = result.unwrap_or_else(|what| (Outcome::Crash(what), [0; 32]));
    Verdict { steps, rest, hash, outcome }
}

impl<'w> Run<'w> {
    fn new(life: Life, faults: Faults, watcher: &'w mut dyn FnMut(&Event)) -> Run<'w> {
        let mut run = Run {
            life,
            faults,
            limits: faults.lost > 0,
            wakes: Vec::new(),
            step: 0,
            ends: false,
            hash: Hash::default(),
            watcher,
            violation: None,
        };
        (0..=RINGS).for_each(|side| run.emit(side, RingEvent::Begins));
        run
    }

    fn emit(&mut self, side: usize, event: RingEvent) {
        let event = Event::Ring(side as u16, event);
        self.hash.add(&event);
        (self.watcher)(&event);
    }

    fn violates(&mut self, what: String) {
        self.violation.get_or_insert(Violation { property: Property::Delivery, what });
    }

    /// One step: maybe a fault, and one side does something.
    fn make(&mut self, random: &mut Random) {
        self.step += 1;
        self.arrive();
        let place = random.below(1 << 16);
        let side = random.below(RINGS as u64 + 1) as usize;
        if place < self.faults.crash {
            self.crash(side, random);
        } else if place < self.faults.crash + self.faults.spurious {
            self.wake(side);
        }
        let runs: Vec<usize> =
            (0..=RINGS).filter(|side| matches!(self.life.sides[*side], State::Runs(_))).collect();
        if let Some(side) = random.choose(&runs) {
            self.go_on(side, random);
        } else if !self.ends && self.life.sides.iter().all(|side| matches!(side, State::Ended)) {
            self.begin_anew(random);
        }
    }

    /// What is due: wakes, ends of sleeps, and ends of what has crashed.
    fn arrive(&mut self) {
        let step = self.step;
        let due = self.wakes.extract_if(.., |(_, due)| *due <= step);
        let bells: Vec<usize> = due.map(|(bell, _)| bell).collect();
        bells.into_iter().for_each(|bell| self.ring(bell));
        for side in 0..=RINGS {
            match self.life.sides[side] {
                State::Sleeps(_, _, Some(end)) if end <= step => self.wake(side),
                State::Crashed(due) if due <= step => self.close(side),
                _ => {}
            }
        }
    }

    /// Wakes who sleeps on a doorbell.
    fn ring(&mut self, bell: usize) {
        let sleeps =
            |side: &State| matches!(side, State::Sleeps(_, bells, _) if bells.contains(&bell));
        if let Some(side) = self.life.sides.iter().position(sleeps) {
            self.wake(side);
        }
    }

    /// Has a side go on, if it sleeps.
    fn wake(&mut self, side: usize) {
        let state = std::mem::replace(&mut self.life.sides[side], State::Ended);
        let slept = matches!(state, State::Sleeps(..));
        self.life.sides[side] = match state {
            State::Sleeps(own, ..) => State::Runs(own),
            other => other,
        };
        if slept {
            self.emit(side, RingEvent::GoesOn);
        }
    }

    /// A side is gone, wherever it was.
    fn crash(&mut self, side: usize, random: &mut Random) {
        if matches!(self.life.sides[side], State::Runs(_) | State::Sleeps(..)) {
            self.life.sides[side] = State::Crashed(self.step + 1 + random.below(200));
            self.emit(side, RingEvent::Crashed);
        }
    }

    /// Closes the rings of a side that has crashed, as a supervisor does.
    fn close(&mut self, side: usize) {
        let bells = Bell::default();
        if side == CONSUMER {
            self.life.rings.iter().for_each(|ring| ring.close_consumer(&bells));
        } else {
            self.life.rings[side].close_producer(&bells);
        }
        self.life.sides[side] = State::Ended;
        self.emit(side, RingEvent::Closed);
        bells.0.into_inner().into_iter().for_each(|bell| self.ring(bell));
    }

    /// All sides have ended: new rings, and new sides.
    fn begin_anew(&mut self, random: &mut Random) {
        // Without memory the old ones stay, and nothing happens.
        let Some(life) = Life::new(random) else { return };
        self.life = life;
        self.wakes.clear();
        (0..=RINGS).for_each(|side| self.emit(side, RingEvent::Begins));
    }

    fn go_on(&mut self, side: usize, random: &mut Random) {
        let turn = Turn { word: random.word(), ends: self.ends };
        let State::Runs(own) = &mut self.life.sides[side] else { return };
        match own.go_on(turn) {
            Did::Nothing => {}
            Did::Pushed(message) => {
                self.life.inside[side].push_back(message);
                self.emit(side, RingEvent::Pushed(message));
            }
            Did::Popped(ring, message) => self.popped(ring, message),
            Did::Finished(ring) => {
                let left = self.life.inside[usize::from(ring)].len();
                if left > 0 {
                    self.violates(format!("ring {ring} has ended, and {left} messages are in it"));
                }
                self.emit(side, RingEvent::Finished(ring));
            }
            Did::Sleeps(bells) => {
                let end = self.limits.then(|| self.step + 1 + random.below(DEADLINE));
                let state = std::mem::replace(&mut self.life.sides[side], State::Ended);
                if let State::Runs(own) = state {
                    self.life.sides[side] = State::Sleeps(own, bells, end);
                }
                self.emit(side, RingEvent::Sleeps);
            }
            Did::Wakes(bell) => self.wakes(side, bell, random),
            Did::Ended(end) => self.ended(side, end),
        }
    }

    fn popped(&mut self, ring: u16, message: Message) {
        self.emit(CONSUMER, RingEvent::Popped(ring, message));
        let label = message.label;
        let what = match self.life.inside[usize::from(ring)].pop_front() {
            Some(first) if first == message => return,
            Some(first) if first.label == label => "which is not whole".into(),
            Some(first) => format!("and {:#x} was next", first.label),
            None => "and the ring was empty".into(),
        };
        self.violates(format!("the consumer took {label:#x} from ring {ring}, {what}"));
    }

    /// A side wakes another: now, later, or never.
    fn wakes(&mut self, side: usize, bell: usize, random: &mut Random) {
        let place = random.below(1 << 16);
        match place.checked_sub(self.faults.lost) {
            None => self.emit(side, RingEvent::WakeLost),
            Some(place) if place < self.faults.late => {
                let most = 1 << random.below(9);
                self.wakes.push((bell, self.step + 1 + random.below(most)));
            }
            Some(_) => self.ring(bell),
        }
    }

    fn ended(&mut self, side: usize, end: End) {
        if end == End::Corrupt {
            self.violates(format!(
                "side {side} finds its ring to be corrupt, and nobody harmed it"
            ));
        }
        self.life.sides[side] = State::Ended;
        self.emit(side, RingEvent::Closed);
    }

    /// Stops all faults, and has the producers end: everything must arrive.
    fn rest(&mut self, mut random: Random, made: &mut u64) -> Outcome {
        self.faults = Faults::NONE;
        self.ends = true;
        let over = |run: &Run<'_>| run.life.sides.iter().all(|side| matches!(side, State::Ended));
        while *made < REST && self.violation.is_none() && !over(self) {
            *made += 1;
            self.make(&mut Random::new(random.word()));
        }
        if let Some(violation) = self.violation.take() {
            return Outcome::Safety(violation);
        }
        if over(self) {
            return Outcome::Ok;
        }
        let waits = |side: &State| !matches!(side, State::Ended);
        let side = self.life.sides.iter().position(waits).unwrap_or(0);
        let name = members().swap_remove(side);
        Outcome::Liveness(format!("{name} has not ended, {REST} steps after the last fault"))
    }
}

/// Takes note of the doorbells that are rung.
#[derive(Default)]
struct Bell(RefCell<Vec<usize>>);

impl Futex for Bell {
    fn wait<'w>(&self, _: impl Iterator<Item = &'w AtomicU32>, _: u32) {}

    fn wake(&self, word: &AtomicU32) {
        self.0.borrow_mut().push(std::ptr::from_ref(word).addr());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens in the runs of some seeds, and their outcomes.
    fn watched(change: impl Fn(&mut Run<'_>, &mut Random)) -> (Vec<RingEvent>, Vec<Outcome>) {
        let (mut events, mut outcomes) = (Vec::new(), Vec::new());
        for seed in 0..40 {
            let mut random = Random::new(seed);
            let faults = Faults::draw(&mut random);
            let life = Life::new(&mut random).expect("memory for rings");
            let mut watcher = |event: &Event| {
                if let Event::Ring(_, event) = event {
                    events.push(*event);
                }
            };
            let mut run = Run::new(life, faults, &mut watcher);
            for _ in 0..3_000 {
                run.make(&mut random);
                change(&mut run, &mut random);
            }
            outcomes.push(run.rest(random, &mut 0));
        }
        (events, outcomes)
    }

    #[test]
    fn everything_happens_and_all_is_well() {
        let (events, outcomes) = watched(|_, _| {});
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Ok), "{outcomes:?}");
        let happens =
            |which: fn(&RingEvent) -> bool| events.iter().filter(|one| which(one)).count();
        assert!(happens(|event| matches!(event, RingEvent::Popped(..))) > 1_000);
        assert!(happens(|event| matches!(event, RingEvent::Sleeps)) > 100);
        assert!(happens(|event| matches!(event, RingEvent::WakeLost)) > 10);
        assert!(happens(|event| matches!(event, RingEvent::Crashed)) > 10);
        assert!(happens(|event| matches!(event, RingEvent::Finished(_))) > 10);
    }

    #[test]
    fn a_message_that_was_never_put_in_is_found() {
        let (_, outcomes) = watched(|run, random| {
            if random.once_in(100) {
                run.life.inside[0].pop_front();
            }
        });
        assert!(outcomes.iter().any(|outcome| matches!(outcome, Outcome::Safety(_))));
    }

    #[test]
    fn wakes_that_are_lost_without_a_limit_to_sleep_are_found() {
        let (_, outcomes) = watched(|run, _| run.limits = false);
        assert!(outcomes.iter().any(|outcome| matches!(outcome, Outcome::Liveness(_))));
    }
}

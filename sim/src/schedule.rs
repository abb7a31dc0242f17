//! The choices of a run: everything that is random in it.

use crate::world::World;
use phi_random::Random;
use std::fmt;

/// The choices of a run. The same schedule gives the same run, on every computer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// What the world, its probabilities, and the phase of rest are drawn from.
    pub swarm: u64,
    /// One word for each step: whatever is random in it follows from the word.
    pub steps: Vec<u64>,
}

impl Schedule {
    /// The schedule of `seed`, `steps` long.
    pub fn of(seed: u64, steps: u64) -> Schedule {
        let mut random = Random::new(seed);
        Schedule { swarm: random.word(), steps: (0..steps).map(|_| random.word()).collect() }
    }

    /// The schedule of `seed`, of a length that is drawn from it too: as often from each power of two to
    /// the next, and at most `most`.
    pub fn drawn(seed: u64, most: u64) -> Schedule {
        let mut random = Random::new(seed.rotate_left(32));
        let scale = random.below(u64::from(most.ilog2()) + 2);
        Schedule::of(seed, random.below(1 << scale).min(most))
    }

    /// The schedule as a text: a first line, what runs, the swarm's word, and one line for each step.
    pub fn encode(&self, subject: Subject) -> String {
        let words = std::iter::once(&self.swarm).chain(&self.steps);
        let head = format!("{HEAD}\n{}\n", subject.name());
        words.fold(head, |text, word| text + &format!("{word:016x}\n"))
    }

    /// What runs, and its schedule, from its text; none if it is no such text.
    pub fn decode(text: &str) -> Option<(Subject, Schedule)> {
        let mut lines = text.lines();
        lines.next().filter(|head| *head == HEAD)?;
        let subject = Subject::named(lines.next()?)?;
        let mut words = lines.map(|line| u64::from_str_radix(line, 16).ok());
        let swarm = words.next()??;
        Some((subject, Schedule { swarm, steps: words.collect::<Option<Vec<u64>>>()? }))
    }
}

/// What a schedule is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// A system of images, which the text does not name.
    Images,
    /// A world of actors.
    World(World),
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Subject::Images => "images",
            Subject::World(world) => world.name(),
        }
    }

    fn named(name: &str) -> Option<Subject> {
        match name {
            "images" => Some(Subject::Images),
            _ => World::named(name).map(Subject::World),
        }
    }
}

/// The first line of a schedule's text.
const HEAD: &str = "phi-sim schedule 2";

/// The probabilities of a run, in 65,536ths for each step. Drawn anew for each run, so that some runs
/// have none of a kind and others many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Swarm {
    /// Whether all ready threads go on at once, as on Linux, or one after another, as on bare metal.
    pub concurrent: bool,
    /// Whether calls take the short way where there is one.
    pub short: bool,
    /// Nanoseconds that a call takes, at most.
    pub call_time: u64,
    /// Calls of a time slice.
    pub slice: u64,
    /// Of a domain lost from outside.
    pub lost: u64,
    /// Of a machine that refuses to load a domain.
    pub load: u64,
    /// Of a machine that refuses a thread.
    pub thread_start: u64,
    /// Of a machine that refuses a region.
    pub region_create: u64,
    /// Of a machine that refuses to map.
    pub map: u64,
    /// Of a clock that jumps.
    pub jump: u64,
    /// Of an interrupt.
    pub interrupt: u64,
    /// Of a domain that is not run for a while.
    pub stall: u64,
    /// Of a device of the services that fails.
    pub device: u64,
    /// Whether a call is posted, and reaches ΦCore with a doorbell. Only of concurrent runs.
    pub posted: bool,
    /// Of a doorbell that comes late, for each one.
    pub late_doorbell: u64,
    /// Of a doorbell that never comes, for each one.
    pub lost_doorbell: u64,
    /// Of a doorbell for a thread that has posted nothing.
    pub idle_doorbell: u64,
}

impl Swarm {
    /// Probabilities drawn from `random`.
    pub fn draw(random: &mut Random) -> Swarm {
        let mut rate = |most: u64| if random.once_in(2) { 0 } else { random.below(most) };
        let (lost, load, thread_start) = (rate(400), rate(200), rate(200));
        let (region_create, map, jump, interrupt) = (rate(200), rate(600), rate(400), rate(4000));
        let (stall, device) = (rate(300), rate(200));
        let (late_doorbell, lost_doorbell, idle_doorbell) = (rate(8000), rate(8000), rate(2000));
        let concurrent = random.once_in(2);
        Swarm {
            concurrent,
            short: random.once_in(2),
            call_time: 50 + random.below(2000),
            slice: 1 + random.below(64),
            lost,
            load,
            thread_start,
            region_create,
            map,
            jump,
            interrupt,
            stall,
            device,
            posted: concurrent && random.once_in(2),
            late_doorbell,
            lost_doorbell,
            idle_doorbell,
        }
    }

    fn rates(&self) -> [(&'static str, u64); 12] {
        [
            ("lost", self.lost),
            ("load", self.load),
            ("thread-start", self.thread_start),
            ("region-create", self.region_create),
            ("map", self.map),
            ("jump", self.jump),
            ("interrupt", self.interrupt),
            ("stall", self.stall),
            ("device", self.device),
            ("late-doorbell", self.late_doorbell),
            ("lost-doorbell", self.lost_doorbell),
            ("idle-doorbell", self.idle_doorbell),
        ]
    }

    /// The same without a fault of the machine.
    pub fn without_faults(self) -> Swarm {
        Swarm {
            lost: 0,
            load: 0,
            thread_start: 0,
            region_create: 0,
            map: 0,
            jump: 0,
            stall: 0,
            device: 0,
            posted: false,
            late_doorbell: 0,
            lost_doorbell: 0,
            idle_doorbell: 0,
            ..self
        }
    }
}

impl fmt::Display for Swarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.concurrent, self.posted) {
            (true, true) => "all ready threads at once, calls posted",
            (true, false) => "all ready threads at once",
            (false, _) => "one thread at a time",
        })?;
        if self.short && !self.concurrent {
            f.write_str(", the short way")?;
        }
        write!(
            f,
            "; calls of up to {} ns, slices of {}; in 65,536 steps",
            self.call_time, self.slice
        )?;
        let faults = self.rates().into_iter().filter(|(_, rate)| *rate > 0);
        let texts: Vec<String> = faults.map(|(name, rate)| format!(" {name} {rate}")).collect();
        f.write_str(if texts.is_empty() { " no fault" } else { "" })?;
        f.write_str(&texts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_comes_back_from_its_text() {
        let schedule = Schedule::of(3, 20);
        for subject in World::ALL.map(Subject::World).into_iter().chain([Subject::Images]) {
            let text = schedule.encode(subject);
            assert_eq!(Schedule::decode(&text), Some((subject, schedule.clone())));
        }
    }

    #[test]
    fn a_drawn_length_is_within_its_bound_and_often_short() {
        let lengths: Vec<u64> =
            (0..200).map(|seed| Schedule::drawn(seed, 10_000).steps.len() as u64).collect();
        assert!(lengths.iter().all(|length| *length <= 10_000));
        assert!(lengths.iter().any(|length| *length < 100));
        assert!(lengths.iter().any(|length| *length > 5_000));
        assert_eq!(Schedule::drawn(7, 10_000), Schedule::drawn(7, 10_000));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "",
            "phi-sim schedule 2",
            "phi-sim schedule 1\npair\n1\n",
            "phi-sim schedule 2\nno\n1\n",
            "phi-sim schedule 2\npair\n1\nx\n",
        ] {
            assert_eq!(Schedule::decode(text), None, "{text}");
        }
    }
}

//! The choices of a run: everything that is random in it.

use crate::random::Random;

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

    /// The schedule as a text: a first line, the swarm's word, and one line for each step.
    pub fn encode(&self) -> String {
        let words = std::iter::once(&self.swarm).chain(&self.steps);
        words.fold(format!("{HEAD}\n"), |text, word| text + &format!("{word:016x}\n"))
    }

    /// A schedule from its text; none if it is no such text.
    pub fn decode(text: &str) -> Option<Schedule> {
        let mut lines = text.lines();
        lines.next().filter(|head| *head == HEAD)?;
        let mut words = lines.map(|line| u64::from_str_radix(line, 16).ok());
        let swarm = words.next()??;
        Some(Schedule { swarm, steps: words.collect::<Option<Vec<u64>>>()? })
    }
}

/// The first line of a schedule's text.
const HEAD: &str = "phi-sim schedule 1";

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
}

impl Swarm {
    /// Probabilities drawn from `random`.
    pub fn draw(random: &mut Random) -> Swarm {
        let mut rate = |most: u64| if random.once_in(2) { 0 } else { random.below(most) };
        let (lost, load, thread_start) = (rate(400), rate(200), rate(200));
        let (region_create, map, jump, interrupt) = (rate(200), rate(600), rate(400), rate(4000));
        Swarm {
            concurrent: random.once_in(2),
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
        }
    }

    /// The same without a fault of the machine.
    pub fn without_faults(self) -> Swarm {
        let (lost, load, thread_start, region_create, map, jump) = (0, 0, 0, 0, 0, 0);
        Swarm { lost, load, thread_start, region_create, map, jump, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_comes_back_from_its_text() {
        let schedule = Schedule::of(3, 20);
        assert_eq!(Schedule::decode(&schedule.encode()), Some(schedule));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in
            ["", "phi-sim schedule 1", "phi-sim schedule 2\n1\n", "phi-sim schedule 1\n1\nx\n"]
        {
            assert_eq!(Schedule::decode(text), None, "{text}");
        }
    }
}

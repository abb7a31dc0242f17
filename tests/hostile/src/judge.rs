//! The service that has the attacks made.

use crate::attacks::{ATTACKS, Attack, End, WARM};
use crate::channels::WARMING;
use crate::victim::UNHARMED;
use core::fmt::Write;
use phi_abi::{DomainState, FaultKind};
use phi_rt::{Console, Domain, Error, Memory, Outgoing, Peer, Service, now, sleep};

/// Nanoseconds that an attack has for an end.
const PATIENCE: u64 = 3_000_000_000;

/// Nanoseconds between two looks, and between two rounds.
const PAUSE: u64 = 1_000_000;
const REST: u64 = 400_000_000;

/// Rounds of all attacks: what the second one leaves behind is a leak.
const ROUNDS: u32 = 2;

/// Has every attack made, in rounds; prints a line for each. Status 0 if all ended as they must.
pub fn judge(service: &Service) -> u8 {
    let (Ok(output), Ok(domain), Ok(attacker), Ok(victim)) = (
        service.console("output"),
        service.domain("domain:attacker"),
        service.peer("attacker"),
        service.peer("victim"),
    ) else {
        return 2;
    };
    let Ok(memory) = Memory::create(2 * 4096) else { return 3 };
    let mut bench = Bench { output, domain, attacker, victim, memory };
    let mut failed = 0;
    for round in 1..=ROUNDS {
        for (number, attack) in ATTACKS.iter().enumerate() {
            if !bench.judge(number, attack) {
                failed += 1;
            }
        }
        let _ = writeln!(&bench.output, "round {round} done");
        sleep(REST);
    }
    let passed = ATTACKS.len() as u32 * ROUNDS - failed;
    let _ = writeln!(&bench.output, "{passed} passed, {failed} failed");
    u8::from(failed > 0)
}

/// All that the judge works with.
struct Bench {
    output: Console,
    domain: Domain,
    attacker: Peer,
    victim: Peer,
    /// Lent to the attacker.
    memory: Memory,
}

impl Bench {
    fn judge(&mut self, number: usize, attack: &Attack) -> bool {
        let begun = match self.domain.start() {
            Ok(_) => now(),
            Err(error) => {
                return self.print(attack, false, format_args!("does not start: {error}"));
            }
        };
        if attack.channels && !self.warm() {
            return self.print(attack, false, format_args!("its channels are not in use"));
        }
        let end = self.order(number, attack);
        // First while the attack may go on. What goes on is ended; what has ended refuses.
        let meanwhile = self.is_unharmed();
        let _ = self.domain.stop();
        let unharmed = meanwhile && self.is_unharmed();
        let good = attack.end.allows(end) && unharmed;
        let time = (now() - begun) / 1_000_000;
        let harm = if unharmed { "" } else { ", and the victim is harmed" };
        if !good || time > 2 * PATIENCE / 1_000_000 {
            return self.print(attack, false, format_args!("{end:?} after {time} ms{harm}"));
        }
        self.print(attack, true, format_args!("{end:?}"))
    }

    /// Whether the victim answers, and its data is as it was.
    fn is_unharmed(&self) -> bool {
        let victim = self.victim.call(Outgoing::empty(0), PATIENCE);
        victim.is_ok_and(|answer| answer.label() == UNHARMED)
    }

    /// Has messages between all three go past ΦCore; whether they do.
    fn warm(&self) -> bool {
        let mut used = None;
        for round in 1..=WARMING {
            let label = if round == WARMING { WARM + 1 } else { WARM };
            let answer = self.attacker.call(Outgoing::empty(label), PATIENCE);
            used = answer.ok().map(|answer| answer.label());
        }
        used == Some(2)
    }

    /// Has the attacker attack, and waits for the end.
    fn order(&mut self, number: usize, attack: &Attack) -> End {
        let mut order = Outgoing::empty(number as u64);
        if attack.lent {
            // A message holds it.
            let _ = order.lend(self.memory.lend(0..4096));
        }
        // What is no answer is not waited for.
        let short = attack.channels && matches!(attack.end, End::Silent | End::Other);
        let patience = if short { PATIENCE / 16 } else { PATIENCE };
        let result = self.attacker.call(order, patience);
        match result {
            Ok(_) if !attack.goes_on => return End::Answers,
            Err(Error::TimedOut) => return End::Silent,
            _ => {}
        }
        let begun = now();
        while now() - begun < PATIENCE {
            match self.domain.state().map(|info| info.state) {
                Ok(DomainState::Faulted { kind, .. }) => return End::Faults(kind),
                Ok(DomainState::Running) => sleep(PAUSE),
                _ => return End::Other,
            }
        }
        End::Silent
    }

    fn print(&self, attack: &Attack, good: bool, what: core::fmt::Arguments<'_>) -> bool {
        let verdict = if good { "ok  " } else { "FAIL" };
        let _ = writeln!(&self.output, "{verdict} {}: {what}", attack.name);
        good
    }
}

impl End {
    fn allows(self, end: End) -> bool {
        match self {
            End::Ends => matches!(end, End::Faults(_)),
            End::Other => true,
            End::Killed => end == End::Faults(FaultKind::Killed),
            expected => expected == end,
        }
    }
}

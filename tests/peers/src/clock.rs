//! The processor's time stamp counter, as the images of `tests/benchmark` read it.

use std::time::Instant;

/// Now.
pub fn counter() -> u64 {
    // SAFETY: reading the counter touches no memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// How long something took by the counter and by the clock, to tell one by the other.
pub struct Watch {
    start: Instant,
    counter: u64,
}

impl Watch {
    /// Begins.
    pub fn start() -> Watch {
        Watch { start: Instant::now(), counter: counter() }
    }

    /// Both, as fields of a JSON object.
    pub fn json(&self) -> String {
        let (nanoseconds, ticks) = (self.start.elapsed().as_nanos(), counter() - self.counter);
        format!("\"nanoseconds\":{nanoseconds},\"ticks\":{ticks}")
    }
}

/// Least, median and 99th percentile of some differences of the counter, as a JSON object.
pub fn distribution(mut samples: Vec<u64>) -> String {
    samples.sort_unstable();
    let at = |percent: usize| {
        let index = samples.len().saturating_sub(1) * percent / 100;
        samples.get(index).copied().unwrap_or_default()
    };
    format!("{{\"min\":{},\"p50\":{},\"p99\":{}}}", at(0), at(50), at(99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples = (1..=100).rev().collect();
        assert_eq!(distribution(samples), r#"{"min":1,"p50":50,"p99":99}"#);
        assert_eq!(distribution(Vec::new()), r#"{"min":0,"p50":0,"p99":0}"#);
    }
}

//! What the tool is doing, as one line on a terminal that is gone at the end.

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// A line that says what is being done. Nothing is shown when standard error is no terminal.
pub struct Progress {
    bar: ProgressBar,
    shown: Cell<Instant>,
}

/// The parts of a bar.
const PARTS: u64 = 1000;

/// Time from one change of a bar to the next.
const PAUSE: Duration = Duration::from_millis(100);

impl Progress {
    /// Begins a line.
    pub fn new(what: impl Into<String>) -> Progress {
        Progress::begin(ProgressBar::new_spinner(), "{spinner} {msg}", what.into())
    }

    /// Begins a line with a bar.
    pub fn of(what: impl Into<String>) -> Progress {
        Progress::begin(ProgressBar::new(PARTS), "[{bar:30}] {percent}% {msg}", what.into())
    }

    fn begin(bar: ProgressBar, template: &str, what: String) -> Progress {
        let bar = bar.with_finish(ProgressFinish::AndClear);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.tick();
        Progress { bar, shown: Cell::new(Instant::now()) }
    }

    /// Says what is being done now.
    pub fn show(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
        self.bar.tick();
    }

    /// Says how much is done, from 0 to 1, and what; not more often than one can read.
    pub fn advance(&self, share: f64, what: impl FnOnce() -> String) {
        if self.shown.get().elapsed() >= PAUSE {
            self.shown.set(Instant::now());
            self.bar.set_message(what());
            self.bar.set_position((share.clamp(0.0, 1.0) * PARTS as f64) as u64);
        }
    }
}

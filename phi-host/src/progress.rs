//! What the tool is doing, as one line on a terminal that is gone at the end.

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// A line that says what is being done. Nothing is shown when standard error is no terminal.
pub struct Progress(ProgressBar);

impl Progress {
    /// Begins a line.
    pub fn new(what: impl Into<String>) -> Progress {
        let bar = ProgressBar::new_spinner().with_finish(ProgressFinish::AndClear);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.set_message(what.into());
        bar.tick();
        Progress(bar)
    }

    /// Says what is being done now.
    pub fn show(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
        self.0.tick();
    }
}

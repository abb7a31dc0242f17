//! `phi-host top`.

mod model;
mod screen;

use super::print;
use super::running::{self, Running, RunningArgument};
use crate::ebpf::{Attached, Edges, NotAttached, Off};
use crate::failure::{Failure, Kind};
use model::{Model, Sort};
use ratatui::Terminal;
use ratatui::backend::{Backend, TestBackend};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Keys: q leaves, s sorts by the next column, p pauses. Times of messages come from eBPF: a run with --edges
or as root has them; otherwise the screen says what is off, and shows the rest.

Examples:
  phi-host top
  phi-host top wordcount --interval 500
  phi-host top wordcount --once";

/// Columns and rows of what `--once` prints.
const ONCE: (u16, u16) = (100, 40);

/// Watch the services of a system that runs: CPU, memory, messages, and what each waits for
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Top {
    #[command(flatten)]
    running: RunningArgument,
    /// Milliseconds between two looks
    #[arg(long, default_value = "1000", value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(50..=60_000))]
    interval: u64,
    /// What the services are sorted by
    #[arg(long, value_enum, default_value = "cpu")]
    sort: Sort,
    /// Look on without eBPF, whose programs make each message a little slower
    #[arg(long)]
    no_edges: bool,
    /// Print one screen as text, and end
    #[arg(long)]
    once: bool,
}

impl Top {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
        if !self.once && !terminal {
            return Err(Failure::new(Kind::Mistake, "this is no terminal")
                .help("print one screen as text: phi-host top --once"));
        }
        let running = self.running.one()?;
        let mut watch = Watch::new(running, self.sort, !self.no_edges)?;
        if self.once {
            std::thread::sleep(self.pause());
            watch.look()?;
            return print(&text(&watch.model)?).map(|()| 0);
        }
        let mut terminal = ratatui::try_init().map_err(|error| no_terminal(&error))?;
        let result = self.loop_on(&mut terminal, &mut watch);
        ratatui::restore();
        if result? == Left::Ended {
            eprintln!("phi-host: {} has ended", watch.running.name);
        }
        Ok(0)
    }

    fn pause(&self) -> Duration {
        Duration::from_millis(self.interval)
    }

    /// Shows the system until somebody leaves or it ends.
    fn loop_on<B: Backend>(
        &self,
        terminal: &mut Terminal<B>,
        watch: &mut Watch,
    ) -> Result<Left, Failure>
    where
        B::Error: std::fmt::Display,
    {
        let mut look = Instant::now() + self.pause();
        loop {
            let drawn = terminal.draw(|frame| screen::draw(frame, &watch.model));
            drawn.map_err(|error| no_terminal(&error))?;
            let rest = look.saturating_duration_since(Instant::now());
            let pressed = event::poll(rest).and_then(|there| match there {
                true => event::read().map(Some),
                false => Ok(None),
            });
            match pressed.map_err(|error| no_terminal(&error))? {
                Some(event) => {
                    if press(&mut watch.model, &event) {
                        return Ok(Left::Wanted);
                    }
                }
                None => {
                    look = Instant::now() + self.pause();
                    if !watch.model.paused && !watch.look_or_end()? {
                        return Ok(Left::Ended);
                    }
                }
            }
        }
    }
}

/// Why the screen was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    /// Somebody wanted to.
    Wanted,
    /// The system ended.
    Ended,
}

/// Does what a key asks for; whether to leave.
fn press(model: &mut Model, event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    if key.kind != KeyEventKind::Press {
        return false;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return true,
        // The terminal sends it as a key.
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
        KeyCode::Char('s') => model.sort = model.sort.next(),
        KeyCode::Char('p') | KeyCode::Char(' ') => model.paused = !model.paused,
        _ => {}
    }
    false
}

/// One screen as text.
fn text(model: &Model) -> Result<String, Failure> {
    let (columns, rows) = ONCE;
    let terminal = Terminal::new(TestBackend::new(columns, rows));
    let mut terminal = terminal.map_err(|error| no_terminal(&error))?;
    terminal.draw(|frame| screen::draw(frame, model)).map_err(|error| no_terminal(&error))?;
    Ok(screen::text(terminal.backend().buffer()))
}

fn no_terminal(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Kind::Computer, format!("the terminal cannot be used: {error}"))
        .help("print one screen as text: phi-host top --once")
}

/// A system that is looked at again and again.
struct Watch {
    running: Running,
    attached: Option<Attached>,
    model: Model,
}

impl Watch {
    /// Looks for the first time.
    fn new(mut running: Running, sort: Sort, edges: bool) -> Result<Watch, Failure> {
        let (attached, off) = match edges {
            false => (None, None),
            true => match Attached::new(&mut running.client, &running.system, false) {
                Ok(attached) => (Some(attached), None),
                Err(NotAttached::Off(off)) => (None, Some(off)),
                Err(NotAttached::Client(error)) => {
                    return Err(running::failure(&running.name, &error));
                }
            },
        };
        let mut model = Model::new(running.name.clone(), running.system.clone(), sort);
        model.off = match edges {
            true => off.map(|Off { what, why, .. }| format!("{what} is off: {why}")),
            false => Some("times of messages are off: --no-edges".into()),
        };
        let mut watch = Watch { running, attached, model };
        watch.look()?;
        Ok(watch)
    }

    /// As [`Watch::look`]; `false` when the system has ended.
    fn look_or_end(&mut self) -> Result<bool, Failure> {
        match self.look() {
            Err(failure) if failure.kind == Kind::Ended => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Looks again.
    fn look(&mut self) -> Result<(), Failure> {
        let services = self.running.client.services();
        let (time, services) =
            services.map_err(|error| running::failure(&self.running.name, &error))?;
        if let Some(attached) = &mut self.attached {
            attached.follow(&services);
            let names = services.iter().map(|service| service.name.clone()).collect();
            let mailboxes = self.running.system.mailboxes.clone();
            match attached.tracer().snapshot() {
                Ok(snapshot) => self.model.edges = Some(Edges::named(names, mailboxes, snapshot)),
                Err(off) => self.model.off = Some(format!("{} is off: {}", off.what, off.why)),
            }
            if let Some(off) = attached.off().last() {
                self.model.off = Some(format!("{} is off: {}", off.what, off.why));
            }
        }
        self.model.take(time, services);
        Ok(())
    }
}

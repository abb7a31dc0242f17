//! `phi-host trace`.

use super::running::{self, Running, RunningArgument};
use crate::control::protocol::ServiceView;
use crate::ebpf::layout::{Event, Kind as EventKind};
use crate::ebpf::{Attached, EventStream, NotAttached, Off, label};
use crate::failure::{Failure, Kind};
use crate::interrupt::Interrupt;
use crate::trace::{Names, Packet, Story, encode};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Needs eBPF (see phi-host doctor); ends with status 4 where it is off. Ends when the system does, with
Ctrl-C, or as --events and --seconds say. A trace for Perfetto can be opened at https://ui.perfetto.dev.

Examples:
  phi-host trace
  phi-host trace wordcount --service reader --kind call --kind answer
  phi-host trace wordcount --json --seconds 5
  phi-host trace wordcount --perfetto wordcount.pftrace --seconds 5";

/// Time between two looks at which processes there are.
const LOOK: Duration = Duration::from_millis(250);

/// Time to wait for events at a time.
const WAIT: Duration = Duration::from_millis(50);

/// Print what the services of a system that runs do, event by event, as it happens
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Trace {
    #[command(flatten)]
    running: RunningArgument,
    /// Only events of this service, or messages to it; may be given several times
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<String>,
    /// Only events of this kind, as the sites are called in docs/ebpf.md; may be given several times
    #[arg(long = "kind", value_name = "KIND", value_parser = kind)]
    kinds: Vec<EventKind>,
    /// Only events with this label; may be given several times
    #[arg(long = "label", value_name = "NUMBER")]
    labels: Vec<u64>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Write a trace for Perfetto to a file, and print nothing
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    perfetto: Option<PathBuf>,
    /// End after so many events
    #[arg(long, value_name = "NUMBER")]
    events: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
}

fn kind(text: &str) -> Result<EventKind, String> {
    let found = EventKind::ALL.iter().find(|kind| kind.site() == text);
    found.copied().ok_or_else(|| {
        let all: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.site()).collect();
        format!("the kinds are {}", all.join(", "))
    })
}

impl Trace {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let interrupt = Interrupt::new()?;
        let mut running = self.running.one()?;
        let failed = |error| running::failure(&running.name, &error);
        let (_, services) = running.client.services().map_err(failed)?;
        let filter = self.filter(&services)?;
        let attached = Attached::new(&mut running.client, &running.system, true);
        let attached = attached.map_err(|error| not_attached(&running.name, error))?;
        let events = attached.tracer().events().map_err(|off| is_off(&off))?;
        let names = Names::of(&services);
        let mut output = match &self.perfetto {
            Some(file) => Output::perfetto(file, names)?,
            None => Output::Lines(self.json, names, BufWriter::new(io::stdout())),
        };
        let seen = self.follow(&mut running, attached, events, &filter, &mut output, &interrupt)?;
        output.end().map_err(|error| Failure::output(&error))?;
        if self.perfetto.is_some() {
            eprintln!("phi-host: {seen} events");
        }
        Ok(0)
    }

    /// Which events are wanted.
    fn filter(&self, services: &[ServiceView]) -> Result<Filter, Failure> {
        let index = |name: &String| {
            let found = services.iter().find(|service| service.name == *name);
            found.map(|service| service.index as u16).ok_or_else(|| {
                let names: Vec<&str> = services.iter().map(|one| one.name.as_str()).collect();
                Failure::new(Kind::Mistake, "the system has no such service")
                    .at(name.as_str())
                    .help(format!("its services are {}", names.join(", ")))
            })
        };
        Ok(Filter {
            services: self.services.iter().map(index).collect::<Result<Vec<u16>, Failure>>()?,
            kinds: self.kinds.clone(),
            labels: self.labels.clone(),
        })
    }

    /// Takes events until the end; how many were wanted.
    fn follow(
        &self,
        running: &mut Running,
        mut attached: Attached,
        mut events: EventStream,
        filter: &Filter,
        output: &mut Output,
        interrupt: &Interrupt,
    ) -> Result<u64, Failure> {
        let end = self.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut look = Instant::now() + LOOK;
        let (mut seen, mut over) = (0, false);
        loop {
            events.wait(WAIT);
            for event in events.by_ref() {
                let event = event.map_err(|error| {
                    Failure::new(Kind::Bug, format!("an event makes no sense: {error}"))
                })?;
                if !filter.wants(&event) {
                    continue;
                }
                output.event(&event).map_err(|error| Failure::output(&error))?;
                seen += 1;
                if self.events.is_some_and(|most| seen >= most) {
                    return Ok(seen);
                }
            }
            output.flush().map_err(|error| Failure::output(&error))?;
            if over || interrupt.is_pending() || end.is_some_and(|end| Instant::now() >= end) {
                return Ok(seen);
            }
            if Instant::now() >= look {
                look = Instant::now() + LOOK;
                match running.client.services() {
                    Ok((_, services)) => {
                        attached.follow(&services);
                        output.names(&services);
                    }
                    // What it told last is taken before the end.
                    Err(error) if error.is_gone() => over = true,
                    Err(error) => return Err(running::failure(&running.name, &error)),
                }
            }
        }
    }
}

/// Why the programs could not be attached.
fn not_attached(name: &str, error: NotAttached) -> Failure {
    match error {
        NotAttached::Off(off) => is_off(&off),
        NotAttached::Client(error) => running::failure(name, &error),
    }
}

fn is_off(off: &Off) -> Failure {
    Failure::new(Kind::Computer, format!("{} is off: {}", off.what, off.why))
        .help(format!("{}; phi-host doctor tries everything", off.how))
}

/// Which events are wanted: what is empty wants all.
struct Filter {
    services: Vec<u16>,
    kinds: Vec<EventKind>,
    labels: Vec<u64>,
}

impl Filter {
    fn wants(&self, event: &Event) -> bool {
        let concerned = |domain: &u16| *domain == event.domain || Some(*domain) == event.server;
        (self.services.is_empty() || self.services.iter().any(concerned))
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (self.labels.is_empty() || self.labels.contains(&event.label))
    }
}

impl Names {
    fn of(services: &[ServiceView]) -> Names {
        Names {
            services: services.iter().map(|service| service.name.clone()).collect(),
            processes: services.iter().map(|service| service.process).collect(),
        }
    }
}

/// Where events go.
enum Output {
    /// To standard output, a line each, as JSON or for people.
    Lines(bool, Names, BufWriter<io::Stdout>),
    /// To a file.
    Perfetto(Box<Story>, BufWriter<File>),
}

impl Output {
    fn perfetto(file: &PathBuf, names: Names) -> Result<Output, Failure> {
        let created = File::create(file).map_err(|error| {
            Failure::new(Kind::Computer, format!("the trace cannot be written: {error}"))
                .in_file(file)
                .help("name a file in a folder that is there and has room")
        })?;
        Ok(Output::Perfetto(Box::new(Story::new(names)), BufWriter::new(created)))
    }

    fn names(&mut self, services: &[ServiceView]) {
        if let Output::Lines(_, names, _) = self {
            *names = Names::of(services);
        }
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        match self {
            Output::Lines(true, names, output) => writeln!(output, "{}", as_json(event, names)),
            Output::Lines(false, names, output) => writeln!(output, "{}", as_text(event, names)),
            Output::Perfetto(story, output) => write_all(output, &story.tell(event)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Lines(.., output) => output.flush(),
            Output::Perfetto(_, output) => output.flush(),
        }
    }

    fn end(mut self) -> io::Result<()> {
        if let Output::Perfetto(story, output) = &mut self {
            write_all(output, &story.end())?;
        }
        self.flush()
    }
}

fn write_all(output: &mut impl Write, packets: &[Packet]) -> io::Result<()> {
    packets.iter().try_for_each(|packet| output.write_all(&encode(packet)))
}

fn as_json(event: &Event, names: &Names) -> serde_json::Value {
    let mut value = json!(event);
    value["service"] = json!(names.service(event.domain));
    value["to"] = json!(event.server.map(|server| names.service(server)));
    value
}

fn as_text(event: &Event, names: &Names) -> String {
    let Event { time, kind, domain, thread, server, handle, length, value, .. } = *event;
    let (seconds, rest) = (time / 1_000_000_000, time % 1_000_000_000);
    let who = format!("{}/{thread}", names.service(domain));
    let to = server.map_or(String::new(), |server| format!(" → {}", names.service(server)));
    let label = label(event.label);
    format!(
        "{seconds}.{rest:09} {who:<18} {:<19}{to} label {label}, handle {handle:#x}, length {length}, \
         value {value}",
        kind.site()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(domain: u16, server: Option<u16>, label: u64) -> Event {
        let (kind, handle) = (EventKind::Call, 1);
        Event { time: 1, kind, domain, thread: 0, server, handle, label, length: 0, value: 0 }
    }

    #[test]
    fn filters_want_what_they_name() {
        let all = Filter { services: vec![], kinds: vec![], labels: vec![] };
        assert!(all.wants(&event(0, None, 0)));
        let some = Filter { services: vec![1], kinds: vec![EventKind::Call], labels: vec![3, 4] };
        assert!(some.wants(&event(1, None, 3)) && some.wants(&event(0, Some(1), 4)));
        assert!(!some.wants(&event(0, Some(2), 3)) && !some.wants(&event(1, None, 5)));
        let other = Filter { kinds: vec![EventKind::Send], ..some };
        assert!(!other.wants(&event(1, None, 3)));
    }

    #[test]
    fn kinds_are_called_as_their_sites() {
        assert_eq!(kind("loan_begin"), Ok(EventKind::LoanBegin));
        assert!(kind("loan").unwrap_err().contains("loan_begin"));
    }
}

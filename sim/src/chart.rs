//! A run as a picture: a message sequence chart in SVG. One line down for each domain, time from above,
//! an arrow for each message that arrived.

use crate::event::{Event, RingEvent};
use phi_abi::{Message, Number};
use phi_core::ThreadIndex;
use std::fmt::Write;

/// Points between two lines, between two rows, and above the first row.
const COLUMN: usize = 150;
const ROW: usize = 24;
const TOP: usize = 50;

/// Rows of a picture, at most: the last ones of a longer run.
const ROWS: usize = 2000;

/// One row of a picture.
enum Row {
    /// Something that happened to one domain.
    Note(u16, String),
    /// A message from one domain to another.
    Arrow(u16, u16, String),
}

/// A picture in the making; feed it with every event of a run.
pub struct Chart {
    names: Vec<String>,
    domains: Vec<Option<u16>>,
    /// What each thread has under way: label of its message, and its domain.
    sent: Vec<(u64, u16)>,
    actor: Option<(u16, u64, bool)>,
    rows: std::collections::VecDeque<Row>,
}

impl Chart {
    /// A picture of a run of domains with these names.
    pub fn new(names: Vec<String>) -> Chart {
        Chart {
            names,
            domains: Vec::new(),
            sent: Vec::new(),
            actor: None,
            rows: std::collections::VecDeque::new(),
        }
    }

    fn domain(&self, thread: ThreadIndex) -> Option<u16> {
        self.domains.get(usize::from(thread.0)).copied().flatten()
    }

    fn row(&mut self, row: Row) {
        if self.rows.len() == ROWS {
            self.rows.pop_front();
        }
        self.rows.push_back(row);
    }

    /// Takes note of an event.
    pub fn add(&mut self, event: &Event) {
        match event {
            Event::ThreadStarted(thread, domain) => {
                let place = usize::from(thread.0);
                if self.domains.len() <= place {
                    self.domains.resize(place + 1, None);
                }
                self.domains[place] = Some(domain.0);
            }
            Event::Loaded(domain, _) => self.row(Row::Note(domain.0, "starts".into())),
            Event::Unloaded(domain) => self.row(Row::Note(domain.0, "ends".into())),
            Event::Lost(domain) => self.row(Row::Note(domain.0, "is lost".into())),
            Event::Stalled(domain, true) => self.row(Row::Note(domain.0, "stands still".into())),
            Event::Stalled(domain, false) => self.row(Row::Note(domain.0, "goes on".into())),
            Event::DeviceFailed => self.row(Row::Note(1, "its device fails".into())),
            Event::Ring(side, event) => self.ring(*side, event),
            Event::MachineFailed => self.row(Row::Note(0, "the machine refuses".into())),
            Event::Called(thread, call) => {
                let Some(domain) = self.domain(*thread) else { return };
                let label = call.message.label;
                match Number::from_number(call.number) {
                    Some(Number::Send | Number::Call) => {
                        self.sent.retain(|(other, _)| *other != label);
                        self.sent.push((label, domain));
                    }
                    Some(Number::CapabilityRevoke) => {
                        self.row(Row::Note(domain, "revokes".into()));
                    }
                    _ => {}
                }
                let number = call.number;
                let answers =
                    number == Number::Reply as u32 || number == Number::ReplyReceive as u32;
                self.actor = Some((domain, label, answers));
            }
            Event::Ended(thread, outcome, Some(message)) if outcome.status == 0 => {
                self.arrived(*thread, message);
            }
            Event::Settled(_) => self.actor = None,
            _ => {}
        }
    }

    fn ring(&mut self, side: u16, event: &RingEvent) {
        let text = match event {
            RingEvent::Popped(ring, message) => {
                let label = format!("message {:#x}", message.label);
                return self.row(Row::Arrow(*ring, side, label));
            }
            RingEvent::Begins => "begins".into(),
            RingEvent::Finished(ring) => format!("has all of ring {ring}"),
            RingEvent::Sleeps => "sleeps".into(),
            RingEvent::GoesOn => "goes on".into(),
            RingEvent::WakeLost => "is not woken".into(),
            RingEvent::Crashed => "crashes".into(),
            RingEvent::Closed => "is closed".into(),
            RingEvent::Pushed(_) => return,
        };
        self.row(Row::Note(side, text));
    }

    fn arrived(&mut self, thread: ThreadIndex, message: &Message) {
        let Some(to) = self.domain(thread) else { return };
        let label = message.label;
        if let Some(place) = self.sent.iter().position(|(other, _)| *other == label) {
            let (_, from) = self.sent.remove(place);
            let kind = if message.reply.is_null() { "send" } else { "call" };
            self.row(Row::Arrow(from, to, format!("{kind} {label:#x}")));
        } else if let Some((from, answer, true)) = self.actor
            && answer == label
        {
            self.row(Row::Arrow(from, to, format!("answer {label:#x}")));
        }
    }

    /// The picture, as a whole SVG file.
    pub fn svg(&self) -> String {
        let (width, height) = (COLUMN * self.names.len(), TOP + ROW * (self.rows.len() + 1));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"11\">\n\
             <defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" \
             markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker></defs>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
        );
        let place = |domain: usize| COLUMN / 2 + COLUMN * domain;
        for (domain, name) in self.names.iter().enumerate() {
            let (x, name) = (place(domain), escape(name));
            // A string takes everything.
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"20\" text-anchor=\"middle\" font-weight=\"bold\">{name}</text>\
                 <line x1=\"{x}\" y1=\"30\" x2=\"{x}\" y2=\"{height}\" stroke=\"silver\"/>"
            );
        }
        for (number, row) in self.rows.iter().enumerate() {
            let y = TOP + ROW * number;
            let _ = match row {
                Row::Note(domain, text) => {
                    let (x, text) = (place(usize::from(*domain)), escape(text));
                    writeln!(
                        svg,
                        "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" fill=\"firebrick\">\
                         {text}</text>"
                    )
                }
                Row::Arrow(from, to, text) => {
                    let (from, to) = (place(usize::from(*from)), place(usize::from(*to)));
                    // To oneself: a short arrow from the side.
                    let start = if from == to { from + COLUMN / 3 } else { from };
                    let (middle, above, text) = ((start + to) / 2, y - 3, escape(text));
                    writeln!(
                        svg,
                        "<line x1=\"{start}\" y1=\"{y}\" x2=\"{to}\" y2=\"{y}\" stroke=\"black\" \
                         marker-end=\"url(#head)\"/><text x=\"{middle}\" y=\"{above}\" \
                         text-anchor=\"middle\">{text}</text>"
                    )
                }
            };
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// A text as XML takes it.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::watch;
    use crate::schedule::Schedule;
    use crate::world::World;

    #[test]
    fn a_run_is_drawn_with_its_messages_and_answers() {
        let schedule = Schedule::of(1, 300);
        let mut chart = Chart::new(World::Pair.members(&schedule));
        watch(World::Pair, &schedule, |event| chart.add(event));
        let svg = chart.svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        for expected in ["call 0x", "answer 0x", "starts"] {
            assert!(svg.contains(expected), "there is no `{expected}`");
        }
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escape("a<b>&"), "a&lt;b&gt;&amp;");
    }
}

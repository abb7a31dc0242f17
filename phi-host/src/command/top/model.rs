//! What `phi-host top` knows: two looks at the services, and what lies between them.

use crate::control::protocol::{ServiceState, ServiceView, SystemView};
use crate::ebpf::Edges;
use clap::ValueEnum;

/// What the services are sorted by.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    /// CPU time, most first
    Cpu,
    /// Memory, most first
    Memory,
    /// Messages, most first
    Messages,
    /// The plan's order
    Plan,
}

impl Sort {
    /// The next one.
    pub fn next(self) -> Sort {
        match self {
            Sort::Cpu => Sort::Memory,
            Sort::Memory => Sort::Messages,
            Sort::Messages => Sort::Plan,
            Sort::Plan => Sort::Cpu,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Cpu => "CPU",
            Sort::Memory => "memory",
            Sort::Messages => "messages",
            Sort::Plan => "plan",
        }
    }
}

/// A service at the last look, and since the one before.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// What it is.
    pub service: ServiceView,
    /// Share of one processor, in percent.
    pub processor: f64,
    /// Messages that it sent, in one second.
    pub messages: f64,
}

/// All that is shown.
pub struct Model {
    /// The name of the run.
    pub name: String,
    /// What runs.
    pub system: SystemView,
    /// When it was looked at last, in nanoseconds since its start.
    pub time: u64,
    /// What the services are sorted by.
    pub sort: Sort,
    /// Whether nothing is looked at for now.
    pub paused: bool,
    /// Who talks to whom, if that is known.
    pub edges: Option<Edges>,
    /// What is off, and why.
    pub off: Option<String>,
    rows: Vec<Row>,
}

impl Model {
    /// Before the first look.
    pub fn new(name: String, system: SystemView, sort: Sort) -> Model {
        let (edges, off, rows) = (None, None, Vec::new());
        Model { name, system, time: 0, sort, paused: false, edges, off, rows }
    }

    /// Takes what `services` were at `time`.
    pub fn take(&mut self, time: u64, services: Vec<ServiceView>) {
        let passed = time.saturating_sub(self.time);
        let before = std::mem::take(&mut self.rows);
        let first = before.is_empty();
        let rate = |more: u64| if passed == 0 { 0.0 } else { more as f64 / passed as f64 };
        self.rows = services
            .into_iter()
            .map(|service| {
                let old = before.iter().find(|row| row.service.index == service.index);
                let old = old.map(|row| &row.service);
                // CPU time is that of the current start; messages are those of all.
                let same = old.filter(|old| old.generation == service.generation);
                let used = same.map_or(0, |old| old.processor_nanoseconds);
                let used = service.processor_nanoseconds.saturating_sub(used);
                let sent = old.map_or(0, |old| old.messages);
                let sent = service.messages.saturating_sub(sent);
                let (processor, messages) = match first {
                    true => (0.0, 0.0),
                    false => (rate(used) * 100.0, rate(sent) * 1e9),
                };
                Row { service, processor, messages }
            })
            .collect();
        self.time = time;
    }

    /// The services as they are sorted.
    pub fn rows(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        match self.sort {
            Sort::Cpu => rows.sort_by(|one, other| other.processor.total_cmp(&one.processor)),
            Sort::Memory => rows.sort_by_key(|row| std::cmp::Reverse(row.service.memory)),
            Sort::Messages => rows.sort_by(|one, other| other.messages.total_cmp(&one.messages)),
            Sort::Plan => {}
        }
        rows
    }

    /// How many services run, and how many faulted.
    pub fn counts(&self) -> (usize, usize) {
        let count = |of: fn(&ServiceState) -> bool| {
            self.rows.iter().filter(|row| of(&row.service.state)).count()
        };
        let faulted = |state: &ServiceState| matches!(state, ServiceState::Faulted { .. });
        (count(|state| *state == ServiceState::Running), count(faulted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(index: u32, generation: u32, used: u64, messages: u64) -> ServiceView {
        ServiceView {
            name: format!("service-{index}"),
            index,
            generation,
            state: ServiceState::Running,
            processor_nanoseconds: used,
            messages,
            memory: u64::from(index) * 4096,
            ..ServiceView::default()
        }
    }

    #[test]
    fn rates_are_what_came_between_two_looks() {
        let mut model = Model::new("run".into(), SystemView::default(), Sort::Plan);
        model.take(1_000_000_000, vec![service(0, 1, 700, 5), service(1, 1, 900, 9)]);
        assert!(model.rows().iter().all(|row| row.processor == 0.0 && row.messages == 0.0));
        // Half a second later one has used half of it; the other was started again.
        let half = 500_000_000;
        let later = vec![service(0, 1, 700 + half / 2, 15), service(1, 2, half / 4, 10)];
        model.take(1_000_000_000 + half, later);
        let rows = model.rows();
        let rates = |row: &Row| (row.processor, row.messages);
        assert_eq!(rates(rows[0]), (50.0, 20.0));
        assert_eq!(rates(rows[1]), (25.0, 2.0));
        assert_eq!(model.counts(), (2, 0));
    }

    #[test]
    fn services_are_sorted_as_wanted() {
        let mut model = Model::new("run".into(), SystemView::default(), Sort::Cpu);
        model.take(0, vec![service(0, 1, 0, 0), service(1, 1, 0, 0), service(2, 1, 0, 0)]);
        model.take(100, vec![service(0, 1, 5, 7), service(1, 1, 9, 0), service(2, 1, 0, 9)]);
        let mut order = |sort| {
            model.sort = sort;
            model.rows().iter().map(|row| row.service.index).collect::<Vec<u32>>()
        };
        assert_eq!(order(Sort::Cpu), [1, 0, 2]);
        assert_eq!(order(Sort::Memory), [2, 1, 0]);
        assert_eq!(order(Sort::Messages), [2, 0, 1]);
        assert_eq!(order(Sort::Plan), [0, 1, 2]);
        let all = [Sort::Cpu, Sort::Memory, Sort::Messages, Sort::Plan];
        assert_eq!(all.map(Sort::next), [Sort::Memory, Sort::Messages, Sort::Plan, Sort::Cpu]);
    }
}

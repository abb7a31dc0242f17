//! The screen of `phi-host top`.

use super::model::{Model, Row as ServiceRow};
use crate::control::protocol::ServiceState;
use crate::ebpf::label;
use crate::ebpf::layout::{Edge, EdgeKey};
use crate::table::{bytes, time};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table};

/// Edges that are shown below the services, at most.
const EDGES: usize = 12;

/// Draws all that `model` knows, as far as there is room.
pub fn draw(frame: &mut Frame, model: &Model) {
    let rows = model.rows();
    // The busiest first: they are counted since the programs were attached.
    let mut edges: Vec<&(EdgeKey, Edge)> =
        model.edges.iter().flat_map(|edges| edges.edges()).collect();
    edges.sort_by_key(|(_, edge)| std::cmp::Reverse(edge.calls + edge.sends));
    edges.truncate(EDGES);
    let below = match (&model.edges, &model.off) {
        (Some(_), None) => edges.len() as u16 + 2,
        (Some(_), Some(_)) => edges.len() as u16 + 3,
        (None, _) => 2,
    };
    let parts = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(4),
        Constraint::Max(below),
        Constraint::Length(1),
    ]);
    let [head, services, messages, foot] = parts.areas(frame.area());
    frame.render_widget(Paragraph::new(header(model)), head);
    frame.render_widget(service_table(&rows), services);
    draw_edges(frame, messages, model, &edges);
    let state = if model.paused { "paused" } else { "q leave  s sort  p pause" };
    frame.render_widget(Paragraph::new(Line::from(state).dim()), foot);
}

fn header(model: &Model) -> Vec<Line<'static>> {
    let (running, faulted) = model.counts();
    let system = &model.system;
    let first = format!(
        "{}: {} of {} services run, {faulted} faulted, for {}",
        model.name,
        running,
        system.services,
        time(model.time)
    );
    let second = format!(
        "supervisor {}, {}{}, sorted by {}",
        system.supervisor,
        system.mode,
        if system.recorded { ", recorded" } else { "" },
        model.sort.name()
    );
    vec![Line::from(first).bold(), Line::from(second)]
}

fn service_table(rows: &[&ServiceRow]) -> Table<'static> {
    let head = ["service", "gen", "state", "CPU %", "memory", "msg/s", "waits for"];
    let widths = [
        Constraint::Length(13),
        Constraint::Length(3),
        Constraint::Length(7),
        Constraint::Length(5),
        Constraint::Length(10),
        Constraint::Length(7),
        Constraint::Min(20),
    ];
    let rows = rows.iter().map(|row| {
        let service = &row.service;
        let waits = service.waits().join("; ");
        let cells = [
            service.name.clone(),
            service.generation.to_string(),
            state(&service.state).into(),
            format!("{:>5.1}", row.processor),
            format!("{:>10}", bytes(service.memory)),
            format!("{:>7.0}", row.messages),
            waits,
        ];
        Row::new(cells).style(colour(&service.state))
    });
    Table::new(rows, widths).header(Row::new(head).style(Style::new().bold()))
}

/// A service's state in a word.
fn state(state: &ServiceState) -> &'static str {
    match state {
        ServiceState::Created => "created",
        ServiceState::Running => "running",
        ServiceState::Exited(_) => "ended",
        ServiceState::Faulted { .. } => "FAULTED",
        ServiceState::Stopped => "stopped",
    }
}

fn colour(state: &ServiceState) -> Style {
    match state {
        ServiceState::Running => Style::new(),
        ServiceState::Faulted { .. } => Style::new().fg(Color::Red),
        _ => Style::new().dim(),
    }
}

fn draw_edges(frame: &mut Frame, area: Rect, model: &Model, shown: &[&(EdgeKey, Edge)]) {
    let off = model.off.as_ref().map(|off| Line::from(off.clone()).dim());
    let Some(edges) = &model.edges else {
        let help = off.is_some().then(|| Line::from("see phi-host doctor").dim());
        let lines: Vec<Line> = off.into_iter().chain(help).collect();
        return frame.render_widget(Paragraph::new(lines), area);
    };
    let room = if off.is_some() { 1 } else { 0 };
    let [table, note] =
        Layout::vertical([Constraint::Min(1), Constraint::Length(room)]).areas(area);
    let head = ["client", "server", "interface", "label", "calls", "sends", "p50 <", "p99 <"];
    let rows = shown.iter().map(|(key, edge)| {
        let percentile = |share| edge.percentile(share).map_or("–".into(), time);
        Row::new([
            edges.service(Some(key.client)),
            edges.service(key.server),
            edges.interface(key).unwrap_or("–").to_owned(),
            label(key.label),
            edge.calls.to_string(),
            edge.sends.to_string(),
            percentile(0.5),
            percentile(0.99),
        ])
    });
    let widths = [14, 14, 12, 7, 8, 8, 8, 8].map(Constraint::Max);
    let table_of = Table::new(rows, widths).header(Row::new(head).style(Style::new().bold()));
    frame.render_widget(table_of, table);
    frame.render_widget(Paragraph::new(off.into_iter().collect::<Vec<Line>>()), note);
}

/// What stands on a screen, without the empty lines.
pub fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let lines = buffer.content.chunks(width).map(|row| {
        let line: String = row.iter().map(|cell| cell.symbol()).collect();
        line.trim_end().to_owned()
    });
    lines.filter(|line| !line.is_empty()).map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::super::model::Sort;
    use super::super::press;
    use super::*;
    use crate::control::protocol::{Activity, MailboxName, ServiceView, SystemView, ThreadView};
    use crate::ebpf::layout::BUCKETS;
    use crate::ebpf::{Edges, Snapshot};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

    fn model() -> Model {
        let system = SystemView {
            supervisor: 42,
            services: 2,
            mode: "processes".into(),
            ..SystemView::default()
        };
        let mailbox = MailboxName { index: 0, name: Some("echo".into()), server: "server".into() };
        let service = |index: u32, name: &str, activity| ServiceView {
            name: name.into(),
            index,
            generation: 3,
            state: ServiceState::Running,
            memory: 8192,
            threads: vec![ThreadView { slot: 0, activity, remaining: None }],
            thread_count: 1,
            ..ServiceView::default()
        };
        let services = |used: u64| {
            let client = service(0, "client", Activity::AwaitingAnswer(Some("server".into())));
            let server = service(1, "server", Activity::Receiving(mailbox.clone()));
            let client = ServiceView { messages: used / 100_000, ..client };
            vec![client, ServiceView { processor_nanoseconds: used, ..server }]
        };
        let mut model = Model::new("run".into(), system, Sort::Cpu);
        model.take(0, services(0));
        model.take(1_000_000_000, services(250_000_000));
        model
    }

    fn screen(model: &Model) -> String {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        text(terminal.backend().buffer())
    }

    #[test]
    fn a_small_terminal_shows_everything() {
        let mut model = model();
        model.off = Some("eBPF is off: no root".into());
        let expected = "\
run: 2 of 2 services run, 0 faulted, for 1.00 s
supervisor 42, processes, sorted by CPU
service       gen state   CPU % memory     msg/s   waits for
server        3   running  25.0      8 KiB       0 message at echo of server
client        3   running   0.0      8 KiB    2500 answer of server
eBPF is off: no root
see phi-host doctor
q leave  s sort  p pause
";
        assert_eq!(screen(&model), expected);
    }

    #[test]
    fn edges_show_how_long_answers_take() {
        let mut histogram = [0; BUCKETS];
        histogram[10] = 99;
        histogram[20] = 1;
        let key = EdgeKey { client: 0, server: Some(1), mailbox: 0, label: 7 };
        let edge = Edge {
            calls: 100,
            answers: 100,
            failures: 0,
            sends: 5,
            bytes: 0,
            answer_bytes: 0,
            nanoseconds: 0,
            histogram,
        };
        let mut model = model();
        let snapshot = Snapshot { edges: vec![(key, edge)], ..Snapshot::default() };
        let names = ["client", "server"].map(str::to_owned).into();
        model.edges = Some(Edges::named(names, vec!["echo".into()], snapshot));
        let screen = screen(&model);
        let line = screen.lines().find(|line| line.contains("100")).expect("the edge");
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            words,
            ["client", "server", "echo", "7", "100", "5", "2.05", "µs", "2.05", "µs"]
        );
    }

    #[test]
    fn keys_do_what_the_help_says() {
        let mut model = model();
        let key = |code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
        assert!(!press(&mut model, &key(KeyCode::Char('s'))));
        assert_eq!(model.sort, Sort::Memory);
        assert!(!press(&mut model, &key(KeyCode::Char('p'))));
        assert!(model.paused && screen(&model).ends_with("paused\n"));
        assert!(press(&mut model, &key(KeyCode::Char('q'))));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(press(&mut model, &Event::Key(interrupt)));
        assert!(!press(&mut model, &key(KeyCode::Char('c'))));
    }
}

//! Reading one service.

use phi_abi::layout::{HEAP_SIZE, PAGE, REGIONS_OFFSET, STACK_SIZE, STATE_SIZE, WINDOW_SIZE};
use phi_abi::{ARGUMENT_BYTES, CONSOLE_LOG, CONSOLE_TRANSCRIPT, Kind, NAME_BYTES, Rights};

use super::table::{Entry, Key, Table, listed, one_of};
use super::{SERVICE_NAME_BYTES, check_name};
use crate::diagnostic::{Findings, Rule};
use crate::entries::{
    DRIVERS, Driver, ImageName, Interface, PRIORITY, Places, Reference, Service, Stream, Use,
    device_of,
};
use crate::plan::{AfterRestarts, BudgetPlan, DriverPlan, Quota, RestartPlan, RestartPolicy};
use crate::units;

const KEYS: &[Key] = &[
    Key { name: "image", example: "image = \"my-package:my-binary\"" },
    Key { name: "driver", example: "driver = { name = \"host-disk\", disk = \"data\" }" },
    Key { name: "priority", example: "priority = 10" },
    Key { name: "memory", example: "memory = \"4 MiB\"" },
    Key { name: "stack", example: "stack = \"64 KiB\"" },
    Key { name: "heap", example: "heap = \"256 KiB\"" },
    Key { name: "state", example: "state = \"64 KiB\"" },
    Key { name: "handles", example: "handles = 64" },
    Key { name: "regions", example: "regions = 8" },
    Key { name: "mailboxes", example: "mailboxes = 4" },
    Key { name: "messages", example: "messages = 64" },
    Key { name: "signals", example: "signals = 8" },
    Key { name: "threads", example: "threads = 4" },
    Key { name: "lineages", example: "lineages = 32" },
    Key { name: "budget", example: "budget = \"5 ms / 10 ms\"" },
    Key { name: "hardware", example: "hardware = true" },
    Key { name: "dma", example: "dma = \"unprotected\"" },
    Key { name: "arguments", example: "arguments = \"top=20\"" },
    Key { name: "restart", example: "restart = { policy = \"always\" }" },
    Key { name: "serves", example: "serves = { count = { capacity = 16 } }" },
    Key { name: "uses", example: "uses = { count = { from = \"counter\" } }" },
    Key { name: "inputs", example: "inputs = [\"text\"]" },
    Key { name: "controls", example: "controls = [\"worker\"]" },
    Key { name: "consoles", example: "consoles = { output = \"transcript\" }" },
];

const RESTART: &[Key] = &[
    Key { name: "policy", example: "policy = \"always\"" },
    Key { name: "backoff", example: "backoff = \"10 ms\"" },
    Key { name: "longest", example: "longest = \"1 s\"" },
    Key { name: "maximum", example: "maximum = 3" },
    Key { name: "then", example: "then = \"stop\"" },
];

const DRIVER: &[Key] = &[
    Key { name: "name", example: "name = \"host-disk\"" },
    Key { name: "disk", example: "disk = \"data\"" },
    Key { name: "nic", example: "nic = \"net\"" },
    Key { name: "tty", example: "tty = \"line\"" },
];

const SERVES: &[Key] = &[Key { name: "capacity", example: "capacity = 16" }];

const USES: &[Key] = &[
    Key { name: "from", example: "from = \"counter\"" },
    Key { name: "interface", example: "interface = \"count\"" },
    Key { name: "rights", example: "rights = [\"call\"]" },
];

/// Of every kind of thing that a quota counts, at most; handles, threads and the like are numbered
/// in 16 bits by ΦCore or its machines.
const COUNT: u32 = 65_536;

/// Regions, at most: so many that each still has a place of 2 MiB.
const REGIONS: u32 = ((WINDOW_SIZE - REGIONS_OFFSET) >> 21) as u32;

/// The rights that a client's capability may carry, by their names in a manifest.
const CLIENT_RIGHTS: [(&str, Rights); 4] = [
    ("call", Rights::CALL),
    ("send", Rights::SEND),
    ("derive", Rights::DERIVE),
    ("transfer", Rights::TRANSFER),
];

/// The streams of the machine's console.
const STREAMS: [(&str, u64); 2] = [("transcript", CONSOLE_TRANSCRIPT), ("log", CONSOLE_LOG)];

const RESTARTS: RestartPlan = RestartPlan {
    policy: RestartPolicy::Never,
    backoff: 0,
    longest: 0,
    maximum: 0,
    then: AfterRestarts::Hold,
};

/// Reads a service. What cannot be read is reported, and has its default.
pub(super) fn service(entry: &Entry<'_>, findings: &Findings) -> Service {
    check_name("a service", entry.name, entry.place, SERVICE_NAME_BYTES, findings);
    if entry.name == "init" {
        let cause = "a service has the name `init`, which belongs to the system's first service";
        findings.add(Rule::ReservedName, entry.place, cause, "give it another name");
    }
    let title = format!("service `{}`", entry.name);
    match Table::of(title, entry, "[service.reader]", KEYS, findings) {
        Some(table) => from_table(entry, table),
        None => {
            // It has its name, so that who refers to it is not blamed.
            let nothing = toml::de::DeTable::new();
            let ignored = Findings::default();
            let table = Table::new(String::new(), entry.place, &nothing, KEYS, &ignored);
            let mut service = from_table(entry, table);
            service.places.unread = KEYS.iter().map(|key| key.name).collect();
            service
        }
    }
}

fn from_table(entry: &Entry<'_>, table: Table<'_>) -> Service {
    let restart = restart(&table);
    let arguments = arguments(&table);
    let driver = driver(&table);
    let image = match (table.entry("driver"), table.entry("image")) {
        (Some(_), None) => driver.as_ref().map(|driver| ImageName::of_driver(&driver.plan.name)),
        _ => table.required("image").and_then(|(text, place)| image(&table, text, place)),
    };
    let dma = [("protected", false), ("unprotected", true)];
    let places = Places {
        name: entry.place,
        memory: table.place_of("memory"),
        handles: table.place_of("handles"),
        threads: table.place_of("threads"),
        state: table.place_of("state"),
        unread: Vec::new(),
    };
    let mut service = Service {
        name: entry.name.into(),
        image: image.unwrap_or_default(),
        driver,
        priority: table.number("priority", 0..=PRIORITY.into()).unwrap_or(10) as u8,
        quota: quota(&table),
        stack: table.whole_pages("stack", PAGE..=STACK_SIZE - PAGE).unwrap_or(64 << 10),
        heap: table.whole_pages("heap", 0..=HEAP_SIZE).unwrap_or(256 << 10),
        state: table.whole_pages("state", 0..=STATE_SIZE).unwrap_or(0),
        hardware: table.flag("hardware").unwrap_or(false),
        unprotected_dma: table.choice("dma", Rule::UnknownDma, &dma).unwrap_or(false),
        budget: budget(&table),
        arguments,
        restart,
        serves: table.named("serves").iter().map(|entry| interface(&table, entry)).collect(),
        uses: table.named("uses").iter().filter_map(|entry| usage(&table, entry)).collect(),
        inputs: table.list("inputs").unwrap_or_default(),
        controls: table.list("controls").unwrap_or_default(),
        consoles: table.named("consoles").iter().map(|entry| stream(&table, entry)).collect(),
        places,
    };
    service.places.unread = table.into_unread();
    service
}

fn quota(table: &Table<'_>) -> Quota {
    let count = |name, default| table.number(name, 0..=COUNT).unwrap_or(default);
    Quota {
        memory: table.whole_pages("memory", PAGE..=WINDOW_SIZE).unwrap_or(4 << 20),
        handles: count("handles", 64),
        regions: table.number("regions", 0..=REGIONS).unwrap_or(8),
        mailboxes: count("mailboxes", 4),
        messages: count("messages", 64),
        signals: count("signals", 8),
        threads: table.number("threads", 1..=COUNT).unwrap_or(4),
        lineages: count("lineages", 32),
    }
}

fn image(table: &Table<'_>, text: &str, place: usize) -> Option<ImageName> {
    let fits = |name: &str| {
        let first = name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_');
        first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    match text.split_once(':') {
        Some((package, binary)) if fits(package) && fits(binary) => {
            Some(ImageName { package: package.into(), binary: binary.into() })
        }
        _ => {
            let cause = format!("`image` of {} names no image: `{text}`", table.title);
            let cure = "write PACKAGE:BINARY, a cargo package and a binary of it, \
                        as in `image = \"my-package:my-binary\"`";
            table.mistake(Rule::BadImage, "image", place, cause, cure.into());
            None
        }
    }
}

/// What the key `driver` says.
fn driver(table: &Table<'_>) -> Option<Driver> {
    let entry = table.entry("driver")?;
    let inner = inner(table, "driver", &entry, DRIVER)?;
    let (name, place) = inner.required("name")?;
    let Some(key) = device_of(name) else {
        let cause = format!("`driver` of {} names none that there is: `{name}`", table.title);
        let cure = one_of(name, DRIVERS.into_iter().map(|(name, _)| name));
        table.mistake(Rule::UnknownDriver, "driver", place, cause, cure);
        return None;
    };
    for (_, other) in DRIVERS.into_iter().filter(|(_, other)| *other != key) {
        if inner.entry(other).is_some() {
            let cause =
                format!("`driver` of {} is `{name}`, which drives no `{other}`", table.title);
            let cure = format!("leave `{other}` out");
            inner.mistake(Rule::UnknownKey, other, place, cause, cure);
        }
    }
    let (device, place) = inner.required(key)?;
    check_name(&format!("a {key}"), device, place, NAME_BYTES, table.findings);
    Some(Driver { plan: DriverPlan { name: name.into(), device: device.into() }, place })
}

fn budget(table: &Table<'_>) -> Option<BudgetPlan> {
    let (text, place) = table.text("budget")?;
    let Some((time, period)) = units::budget(text) else {
        let cause = format!("`budget` of {} is none: `{text}`", table.title);
        let cure = "write the CPU time and its period, as in `budget = \"5 ms / 10 ms\"`";
        table.mistake(Rule::BadBudget, "budget", place, cause, cure.into());
        return None;
    };
    if time == 0 || time > period {
        let cause = format!("`budget` of {} is nothing, or more than its period", table.title);
        let cure =
            "give it some time, and at most the whole period; leave `budget` out for no limit";
        table.mistake(Rule::BudgetRange, "budget", place, cause, cure.into());
        return None;
    }
    Some(BudgetPlan { time, period })
}

fn arguments(table: &Table<'_>) -> String {
    let Some((text, place)) = table.text("arguments") else { return String::new() };
    if text.len() > ARGUMENT_BYTES {
        let cause = format!("`arguments` of {} have {} bytes", table.title, text.len());
        let cure = format!("write at most {ARGUMENT_BYTES} bytes, or make it an input");
        table.mistake(Rule::ArgumentsTooLong, "arguments", place, cause, cure);
    }
    text.into()
}

/// A table within a service's table; what is wrong with it is wrong with the service's key `name`.
fn inner<'t>(
    table: &Table<'t>,
    name: &'static str,
    entry: &Entry<'t>,
    keys: &'static [Key],
) -> Option<Table<'t>> {
    let path = if entry.name == name { name.into() } else { format!("{name}.{}", entry.name) };
    let title = format!("`{path}` of {}", table.title);
    let example = KEYS.iter().find(|key| key.name == name).map_or("", |key| key.example);
    Table::of(title, entry, example, keys, table.findings)
}

fn restart(table: &Table<'_>) -> RestartPlan {
    let Some(entry) = table.entry("restart") else { return RESTARTS };
    let Some(table) = inner(table, "restart", &entry, RESTART) else { return RESTARTS };
    let policies = [("always", RestartPolicy::Always), ("never", RestartPolicy::Never)];
    let policy = table.choice("policy", Rule::UnknownPolicy, &policies);
    let ends = [("hold", AfterRestarts::Hold), ("stop", AfterRestarts::Stop)];
    let then = table.choice("then", Rule::UnknownPolicy, &ends).unwrap_or(AfterRestarts::Hold);
    let backoff = table.time("backoff");
    let longest = table.time("longest");
    let maximum = table.number("maximum", 1..=u32::MAX);
    let is_never = policy == Some(RestartPolicy::Never) || table.entry("policy").is_none();
    for name in ["backoff", "longest", "maximum"] {
        if let Some(entry) = table.entry(name).filter(|_| is_never) {
            let cause = format!("{} has `{name}`, but never restarts", table.title);
            let cure = format!("add `policy = \"always\"`, or remove `{name}`");
            table.mistake(Rule::RestartsNever, name, entry.place, cause, cure);
        }
    }
    match policy {
        Some(RestartPolicy::Always) => RestartPlan {
            policy: RestartPolicy::Always,
            backoff: backoff.unwrap_or(10_000_000),
            longest: longest.unwrap_or(10_000_000_000),
            maximum: maximum.unwrap_or(3),
            then,
        },
        _ => RestartPlan { then, ..RESTARTS },
    }
}

fn interface(table: &Table<'_>, entry: &Entry<'_>) -> Interface {
    check_name("an interface", entry.name, entry.place, NAME_BYTES, table.findings);
    let inner = inner(table, "serves", entry, SERVES);
    let capacity = inner.and_then(|inner| inner.number("capacity", 1..=65_536)).unwrap_or(16);
    Interface { name: entry.name.into(), capacity, place: entry.place }
}

fn usage(table: &Table<'_>, entry: &Entry<'_>) -> Option<Use> {
    check_name("a capability", entry.name, entry.place, NAME_BYTES, table.findings);
    let used = inner(table, "uses", entry, USES)?;
    let rights = rights(&used);
    let reference = |(name, place): (&str, usize)| Reference { name: name.into(), place };
    let from = used.required("from").map(reference);
    let interface = match used.entry("interface") {
        Some(_) => used.text("interface").map(reference),
        None => Some(Reference { name: entry.name.into(), place: entry.place }),
    };
    Some(Use {
        name: entry.name.into(),
        from: from?,
        interface: interface?,
        rights,
        place: entry.place,
    })
}

fn rights(used: &Table<'_>) -> Rights {
    if used.entry("rights").is_none() {
        return Rights::CALL;
    }
    // What cannot be read is taken for the default.
    let Some(list) = used.list("rights") else { return Rights::CALL };
    let mut rights = Rights::empty();
    let mut known = true;
    for Reference { name, place } in &list {
        let Some((_, right)) = CLIENT_RIGHTS.iter().find(|(right, _)| right == name) else {
            known = false;
            let (rule, cause, cure) = unknown_right(used, name);
            used.mistake(rule, "rights", *place, cause, cure);
            continue;
        };
        if rights.contains(*right) {
            let cause = format!("`rights` of {} name `{name}` twice", used.title);
            used.mistake(Rule::RepeatedRight, "rights", *place, cause, "remove one".into());
        }
        rights |= *right;
    }
    if known && !rights.intersects(Rights::CALL | Rights::SEND) {
        let cause = format!("{} can neither call nor send", used.title);
        let cure = "add `call` or `send` to its `rights`".into();
        used.mistake(Rule::UselessRights, "rights", used.place_of("rights"), cause, cure);
    }
    rights
}

/// What is wrong with a right that clients' capabilities do not have.
fn unknown_right(used: &Table<'_>, name: &str) -> (Rule, String, String) {
    let names = CLIENT_RIGHTS.iter().map(|(right, _)| *right);
    let other = Rights::from_name(&name.to_ascii_uppercase()).filter(|_| name != "object_all");
    match other.filter(|_| name.bytes().all(|byte| byte.is_ascii_lowercase())) {
        Some(right) if Kind::Mailbox.rights().contains(right) => {
            let cause = format!("`rights` of {} name `{name}`, which is the server's", used.title);
            (Rule::RightNotCarried, cause, format!("clients have {}", listed(names)))
        }
        Some(_) => {
            let cause =
                format!("`rights` of {} name `{name}`, which mailboxes do not have", used.title);
            (Rule::RightNotCarried, cause, format!("clients have {}", listed(names)))
        }
        None => {
            let cause = format!("`rights` of {} name an unknown right `{name}`", used.title);
            (Rule::UnknownRight, cause, one_of(name, names))
        }
    }
}

fn stream(table: &Table<'_>, entry: &Entry<'_>) -> Stream {
    check_name("a capability", entry.name, entry.place, NAME_BYTES, table.findings);
    let stream = match entry.value.get_ref() {
        toml::de::DeValue::String(text) => {
            let known = STREAMS.iter().find(|(name, _)| name == text);
            if known.is_none() {
                let title = &table.title;
                let cause = format!("console `{}` of {title} is unknown: `{text}`", entry.name);
                let cure = one_of(text, STREAMS.iter().map(|(name, _)| *name));
                table.mistake(
                    Rule::UnknownStream,
                    "consoles",
                    entry.value.span().start,
                    cause,
                    cure,
                );
            }
            known.map(|(_, stream)| *stream)
        }
        _ => {
            let cause = format!("console `{}` of {} is not a text", entry.name, table.title);
            let cure = "write it as in `consoles = { output = \"transcript\" }`".into();
            table.mistake(Rule::WrongType, "consoles", entry.value.span().start, cause, cure);
            None
        }
    };
    Stream { name: entry.name.into(), stream: stream.unwrap_or_default(), place: entry.place }
}

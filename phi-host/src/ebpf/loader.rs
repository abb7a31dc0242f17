//! Loads the programs through libbpf, and attaches them.

use super::layout::{Edge, EdgeKey, Event, Kind, LayoutError, Lost, ServiceCounts};
use super::sites::{self, Sites};
use super::{Door, OWN, Off, Snapshot, TraceOptions};
use crate::linux::Watcher;
use libbpf_rs::{
    Link, MapCore, MapFlags, MapHandle, Object, ObjectBuilder, OpenObject, ProgramMut, RingBuffer,
    RingBufferBuilder, UprobeMultiOpts,
};
use nix::unistd::{Pid, getpid};
use phi_core::DomainIndex;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What `ebpf/build` made of `ebpf/edges.bpf.c`.
static EDGES: &[u8] = include_bytes!("../../../ebpf/objects/edges.bpf.o");

/// Likewise, of `ebpf/attempts.bpf.c`.
static ATTEMPTS: &[u8] = include_bytes!("../../../ebpf/objects/attempts.bpf.o");

/// The provider of all sites.
const PROVIDER: &str = "phi";

/// The sites of a service's process. The first are enough for the counts.
const IN_SERVICE: [Kind; 6] =
    [Kind::ThreadBegin, Kind::Call, Kind::Answer, Kind::Send, Kind::Receive, Kind::Reply];
const IN_SERVICE_COUNTED: usize = 4;

/// The sites of the supervisor. The first are enough for the counts.
const IN_SUPERVISOR: [Kind; 13] = [
    Kind::CapabilityStart,
    Kind::CapabilityMake,
    Kind::CapabilityDerive,
    Kind::CapabilityTransfer,
    Kind::ServiceStart,
    Kind::ServiceExit,
    Kind::ServiceFault,
    Kind::ServiceStop,
    Kind::CapabilityRevoke,
    Kind::LoanBegin,
    Kind::LoanEnd,
    Kind::Release,
    Kind::Throttle,
];
const IN_SUPERVISOR_COUNTED: usize = 8;

/// The program that stands at all sites.
const SITE: &str = "site";

/// The program that measures CPU time.
const PROCESSOR: &str = "processor";

/// The constants that are set before loading: `stream`.
const OPTIONS: &str = ".rodata.options";

/// The programs, loaded and attached. Dropped, they are gone.
pub struct Tracer {
    /// Of the supervisor's sites, and of the scheduler.
    _links: Vec<Link>,
    /// Of each service's process.
    services: BTreeMap<DomainIndex, Link>,
    object: Object,
    program: PathBuf,
    /// Where the sites of the services' program stand.
    sites: Sites,
    stream: bool,
    off: Vec<Off>,
}

impl Tracer {
    /// Loads the programs and attaches them to the supervisor's sites: this process is to run a
    /// system, or another one does.
    ///
    /// # Errors
    /// Linux refuses the programs, or a site.
    pub fn new(options: &TraceOptions) -> Result<Tracer, Off> {
        quiet();
        let mut off = Vec::new();
        let (object, link) = match load(options.stream, true) {
            Ok(object) => {
                let link = program(&object, PROCESSOR).and_then(|program| {
                    program.attach_trace().map_err(|error| refused("CPU time", &error))
                });
                (object, link)
            }
            // It stands on what locked-down and older kernels do not give.
            Err(reason) => (load(options.stream, false)?, Err(reason)),
        };
        let mut links = Vec::new();
        match link {
            Ok(link) => links.push(link),
            Err(reason) => off.push(Off { what: "CPU time per service".into(), ..reason }),
        }
        let mut kinds = wanted(&IN_SUPERVISOR, IN_SUPERVISOR_COUNTED, options.stream).to_vec();
        if options.threads {
            kinds.extend(wanted(&IN_SERVICE, IN_SERVICE_COUNTED, options.stream));
        }
        let (file, process) = match options.supervisor {
            None => (PathBuf::from(OWN), getpid()),
            Some(process) => (format!("/proc/{process}/exe").into(), Pid::from_raw(process)),
        };
        links.push(attach(&object, &file, &sites_of(&file)?, process, &kinds, None)?);
        let (program, stream) = (options.program.clone(), options.stream);
        let (sites, services) = (sites_of(&program)?, BTreeMap::new());
        Ok(Tracer { _links: links, services, object, program, sites, stream, off })
    }

    /// What is off all the same.
    pub fn off(&self) -> &[Off] {
        &self.off
    }

    /// Tells the programs where the messages through capabilities go that were there before them.
    ///
    /// # Errors
    /// Linux does not take it.
    pub fn announce(&self, doors: &[Door]) -> Result<(), Off> {
        let map = map(&self.object, "doors")?;
        for Door { domain, handle, mailbox, server } in doors {
            let key = [&u64::from(*domain).to_ne_bytes()[..], &handle.to_ne_bytes()].concat();
            let mut behind = [0; 8];
            behind[..4].copy_from_slice(&mailbox.to_ne_bytes());
            behind[4..6].copy_from_slice(&server.to_ne_bytes());
            // What the sites have told meanwhile is newer.
            match map.update(&key, &behind, MapFlags::NO_EXIST) {
                Err(error) if error.kind() == libbpf_rs::ErrorKind::AlreadyExists => {}
                result => result.map_err(|error| refused("eBPF", &error))?,
            }
        }
        Ok(())
    }

    /// Attaches the programs to a service's process that runs already.
    ///
    /// # Errors
    /// Linux refuses.
    pub fn attach_service(&mut self, domain: u16, process: i32) -> Result<(), Off> {
        let kinds = wanted(&IN_SERVICE, IN_SERVICE_COUNTED, self.stream);
        let domain = DomainIndex(domain);
        let process = Pid::from_raw(process);
        let link = attach(&self.object, &self.program, &self.sites, process, kinds, Some(domain))?;
        self.services.insert(domain, link);
        Ok(())
    }

    /// What was counted until now. Counts go on meanwhile.
    ///
    /// # Errors
    /// Linux does not give the counts, or they are not what the programs write.
    pub fn snapshot(&self) -> Result<Snapshot, Off> {
        let flags = MapFlags::ANY;
        let read = |error: libbpf_rs::Error| refused("reading the counts", &error);
        let strange = |error: LayoutError| refused("reading the counts", &error);
        let mut snapshot = Snapshot::default();
        let edges = map(&self.object, "edges")?;
        for key in edges.keys() {
            if let Some(value) = edges.lookup(&key, flags).map_err(read)? {
                let key = EdgeKey::decode(&key).map_err(strange)?;
                snapshot.edges.push((key, Edge::decode(&value).map_err(strange)?));
            }
        }
        snapshot.edges.sort_by_key(|(key, _)| *key);
        let services = map(&self.object, "services")?;
        for key in services.keys() {
            if let Some(value) = services.lookup(&key, flags).map_err(read)? {
                snapshot.services.push(ServiceCounts::decode(&value).map_err(strange)?);
            }
        }
        let lost = map(&self.object, "lost")?;
        if let Some(value) = lost.lookup(&0u32.to_ne_bytes(), flags).map_err(read)? {
            snapshot.lost = Lost::decode(&value).map_err(strange)?;
        }
        Ok(snapshot)
    }

    /// The events, from the oldest that nobody has taken on. Take them with one stream only; it may
    /// go to another thread.
    ///
    /// # Errors
    /// Linux does not give the ring.
    pub fn events(&self) -> Result<EventStream, Off> {
        EventStream::new(&map(&self.object, "events")?)
    }
}

impl Watcher for Tracer {
    fn process_started(&mut self, domain: DomainIndex, process: Pid) {
        if let Err(reason) = self.attach_service(domain.0, process.as_raw()) {
            let what = format!("counting what domain {} does", domain.0);
            self.off.push(Off { what, ..reason });
        }
    }
}

/// Events as the programs tell them. The iterator ends when there are no more for now; it may go on
/// later.
pub struct EventStream {
    ring: RingBuffer<'static>,
    taken: Arc<Mutex<VecDeque<Result<Event, LayoutError>>>>,
    _map: MapHandle,
}

impl EventStream {
    fn new(map: &MapHandle) -> Result<EventStream, Off> {
        let read = |error: libbpf_rs::Error| refused("reading events", &error);
        let map = MapHandle::try_from(map).map_err(read)?;
        let taken = Arc::new(Mutex::new(VecDeque::new()));
        let queue = taken.clone();
        let mut builder = RingBufferBuilder::new();
        builder
            .add(&map, move |bytes| {
                queue
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_back(Event::decode(bytes));
                0
            })
            .map_err(read)?;
        let ring = builder.build().map_err(read)?;
        Ok(EventStream { ring, taken, _map: map })
    }

    /// Waits until there are events, at most `timeout`.
    pub fn wait(&mut self, timeout: Duration) {
        // An interruption is as good as a timeout.
        let _ = self.ring.poll(timeout);
    }
}

impl Iterator for EventStream {
    type Item = Result<Event, LayoutError>;

    fn next(&mut self) -> Option<Result<Event, LayoutError>> {
        let take = || self.taken.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        take().or_else(|| {
            let _ = self.ring.consume();
            take()
        })
    }
}

/// The first `counted` kinds, or all for a stream.
fn wanted(all: &[Kind], counted: usize, stream: bool) -> &[Kind] {
    if stream { all } else { &all[..counted] }
}

/// The sites of a program's file.
fn sites_of(file: &Path) -> Result<Sites, Off> {
    let unusable = |why: String| Off {
        what: "eBPF".into(),
        why: format!("the sites of {} cannot be read: {why}", file.display()),
        how: "build phi-host again".into(),
    };
    let bytes = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
    sites::find(&bytes, PROVIDER).ok_or_else(|| unusable("it is no whole ELF file".into()))
}

fn load(stream: bool, processor: bool) -> Result<Object, Off> {
    let refused = |error: libbpf_rs::Error| refused("eBPF", &error);
    let mut object: OpenObject = ObjectBuilder::default().open_memory(EDGES).map_err(refused)?;
    for mut map in object.maps_mut() {
        if map.name() == OPTIONS {
            map.set_initial_value(&u32::from(stream).to_ne_bytes()).map_err(refused)?;
        }
    }
    for mut program in object.progs_mut() {
        if program.name() == PROCESSOR {
            program.set_autoload(processor);
        }
    }
    object.load().map_err(refused)
}

/// Loads and attaches one of the programs that do nothing: `entry` or `veto`.
///
/// # Errors
/// Linux refuses it.
pub fn attempt_program(name: &str) -> Result<(), Off> {
    quiet();
    let refused = |error: libbpf_rs::Error| Off {
        how: "boot a kernel without lockdown, and for lsm with bpf in its lsm= list".into(),
        ..refused("eBPF", &error)
    };
    let mut object = ObjectBuilder::default().open_memory(ATTEMPTS).map_err(refused)?;
    for mut program in object.progs_mut() {
        let wanted = program.name() == name;
        program.set_autoload(wanted);
    }
    let object = object.load().map_err(refused)?;
    program(&object, name)?.attach().map(drop).map_err(refused)
}

fn program<'a>(object: &'a Object, name: &str) -> Result<ProgramMut<'a>, Off> {
    object.progs_mut().find(|program| program.name() == name).ok_or_else(|| Off {
        what: "eBPF".into(),
        why: format!("the object has no program `{name}`"),
        how: "build phi-host again".into(),
    })
}

fn map(object: &Object, name: &str) -> Result<MapHandle, Off> {
    let map = object.maps().find(|map| map.name() == name).ok_or_else(|| Off {
        what: "eBPF".into(),
        why: format!("the object has no map `{name}`"),
        how: "build phi-host again".into(),
    })?;
    MapHandle::try_from(&map).map_err(|error| refused("eBPF", &error))
}

/// Attaches the program to the sites of `kinds` in one process, all by one link. The process is
/// that of `domain`; without one, the sites' own word counts.
fn attach(
    object: &Object,
    file: &Path,
    sites: &Sites,
    process: Pid,
    kinds: &[Kind],
    domain: Option<DomainIndex>,
) -> Result<Link, Off> {
    let domain = domain.map_or(0, |domain| u64::from(domain.0) + 1);
    let mut options = UprobeMultiOpts::default();
    for kind in kinds {
        for site in sites.get(kind.site()).into_iter().flatten() {
            options.offsets.push(site.place);
            options.ref_ctr_offsets.push(site.counter);
            options.cookies.push(domain << 32 | *kind as u64);
        }
    }
    program(object, SITE)?
        .attach_uprobe_multi_with_opts(process.as_raw(), file, "", options)
        .map_err(|error| refused("eBPF", &error))
}

fn refused(what: &str, error: &dyn std::error::Error) -> Off {
    let mut why = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        why = format!("{why}: {inner}");
        source = inner.source();
    }
    let how = if nix::unistd::geteuid().is_root() {
        "see which part this kernel refuses: phi-host doctor"
    } else {
        "run as root, or with the capabilities CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE"
    };
    Off { what: what.into(), why, how: how.into() }
}

/// Has libbpf say nothing on its own: what went wrong is in its errors.
fn quiet() {
    libbpf_rs::set_print(None);
}

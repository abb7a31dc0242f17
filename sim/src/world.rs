//! The worlds of actors: plans, and what each domain does.

use crate::rings;
use crate::schedule::Schedule;
use phi_abi::layout::{IMAGE_OFFSET, PAGE, WINDOWS_BASE, window};
use phi_abi::{CONSOLE_LOG, Kind, Rights};
use phi_manifest::plan::{
    AfterRestarts, BudgetPlan, CapabilityPlan, ImagePlan, InputPlan, MailboxPlan, Plan, Quota,
    RestartPlan, RestartPolicy, Segment, SegmentAccess, ServicePlan, Target,
};
use phi_random::Random;

/// What a domain of a world does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Starts the others.
    Init,
    /// Answers calls.
    Server,
    /// Calls the server.
    Client,
    /// Lends pages to the server.
    Lender,
    /// Does anything; once in `rate` calls what no correct program does, never for 0.
    Hostile {
        /// Calls from one such to the next, on average.
        rate: u64,
        /// Whether it holds the machine's hardware.
        hardware: bool,
    },
}

/// Which world.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum World {
    /// `init`, a server, a client, a lender, and three that do anything.
    Crowd,
    /// As [`World::Crowd`]; those that do anything share the machine's hardware.
    Devices,
    /// `init`, a server and a client: for measuring.
    Pair,
    /// `init`, the driver of a block device, and two clients that keep logs on it.
    Storage,
    /// Two producers and a consumer, over the rings of shared memory alone: no ΦCore.
    Rings,
}

impl World {
    /// All of them.
    pub const ALL: [World; 5] =
        [World::Crowd, World::Devices, World::Pair, World::Storage, World::Rings];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            World::Crowd => "crowd",
            World::Devices => "devices",
            World::Pair => "pair",
            World::Storage => "storage",
            World::Rings => "rings",
        }
    }

    /// What is in it, in a few words.
    pub const fn description(self) -> &'static str {
        match self {
            World::Crowd => "a server, a client, a lender, and three that do anything",
            World::Devices => "as crowd, with interrupts and devices that reach memory",
            World::Pair => "a server and a client",
            World::Storage => "a driver with a failing disk, and two clients with logs on it",
            World::Rings => "producers and a consumer over the rings of shared memory",
        }
    }

    /// The world of that name.
    pub fn named(name: &str) -> Option<World> {
        World::ALL.into_iter().find(|world| world.name() == name)
    }

    /// The names of its domains.
    pub fn members(self, schedule: &Schedule) -> Vec<String> {
        if self == World::Rings {
            return rings::members();
        }
        let (plan, _) = self.plan(&mut Random::new(schedule.swarm));
        plan.services.into_iter().map(|service| service.name).collect()
    }

    /// Its plan, and what its domains do; what is not fixed comes from `random`. Empty for
    /// [`World::Rings`].
    pub fn plan(self, random: &mut Random) -> (Plan, Vec<Role>) {
        let mut roles = vec![Role::Init, Role::Server, Role::Client];
        if matches!(self, World::Crowd | World::Devices) {
            roles.push(Role::Lender);
            for _ in 0..3 {
                let rate = random.choose(&[0, 0, 50, 300, 2000]).unwrap_or(0);
                roles.push(Role::Hostile { rate, hardware: self == World::Devices });
            }
        }
        match self {
            World::Storage => roles.push(Role::Client),
            World::Rings => roles.clear(),
            World::Crowd | World::Devices | World::Pair => {}
        }
        (plan(&roles, random), roles)
    }
}

impl Role {
    /// What its domain is called.
    const fn name(self) -> &'static str {
        match self {
            Role::Init => "init",
            Role::Server => "server",
            Role::Client => "client",
            Role::Lender => "lender",
            Role::Hostile { .. } => "any",
        }
    }
}

fn image(index: usize) -> ImagePlan {
    let text = window(index) + IMAGE_OFFSET;
    let segment = |address, access| {
        let (memory_length, offset, length) = (PAGE, PAGE, PAGE);
        Segment { address, memory_length, offset, length, access }
    };
    ImagePlan {
        name: "actor".into(),
        hash: [0; 32],
        entry: text,
        segments: vec![
            segment(text, SegmentAccess::Execute),
            segment(text + PAGE, SegmentAccess::Write),
        ],
    }
}

fn capability(name: String, target: Target, rights: Rights, badge: u64) -> CapabilityPlan {
    CapabilityPlan { name, target, rights: rights.bits(), badge }
}

/// What a domain begins with: `init` the others, all the server's mailbox, and those that do anything
/// each other's.
fn capabilities(roles: &[Role], index: usize) -> Vec<CapabilityPlan> {
    let shared = Rights::DERIVE | Rights::TRANSFER;
    let own = roles[index];
    let mut held = Vec::new();
    if own == Role::Init {
        for other in 0..roles.len() {
            let target = Target::Domain(other as u16);
            held.push(capability(format!("domain-{other}"), target, Kind::Domain.rights(), 0));
        }
        held.push(capability("events".into(), Target::Events, shared | Rights::WAIT, 0));
        return held;
    }
    let any = matches!(own, Role::Hostile { .. });
    for (other, role) in roles.iter().enumerate() {
        let target = Target::Mailbox(other as u16);
        let other_any = matches!(role, Role::Hostile { .. });
        if other == index && (any || own == Role::Server) {
            held.push(capability("serve".into(), target, Kind::Mailbox.rights(), 0));
        } else if *role == Role::Server || (any && other_any) {
            let rights = shared | Rights::SEND | Rights::CALL;
            held.push(capability(format!("to-{other}"), target, rights, 100 + index as u64));
        }
    }
    if let Role::Hostile { hardware: true, .. } = own {
        let rights = shared | Rights::CONTROL;
        held.push(capability("hardware".into(), Target::Hardware, rights, 0));
    }
    if any {
        let log = Target::Console(CONSOLE_LOG);
        held.push(capability("input".into(), Target::Input(0), shared | Rights::READ, 0));
        held.push(capability("log".into(), log, Kind::Console.rights(), 0));
    }
    held
}

fn service(roles: &[Role], index: usize, random: &mut Random) -> ServicePlan {
    let any = matches!(roles[index], Role::Hostile { .. });
    let quota = Quota {
        memory: (3 + if any { 8 + random.below(24) } else { 32 }) * PAGE,
        handles: if any { 12 + random.below(20) as u32 } else { 32 },
        regions: 4,
        mailboxes: 3,
        messages: 8,
        signals: 3,
        threads: if any { 1 + random.below(4) as u32 } else { 1 },
        lineages: 3 + random.below(8) as u32,
    };
    let budget = BudgetPlan { time: 20_000, period: 100_000 };
    let restart = RestartPlan {
        policy: RestartPolicy::Never,
        backoff: 0,
        longest: 0,
        maximum: 0,
        then: AfterRestarts::Hold,
    };
    ServicePlan {
        state: 0,
        replacement: None,
        name: format!("{}-{index}", roles[index].name()),
        image: image(index),
        driver: None,
        window: window(index),
        stack: PAGE,
        heap: PAGE,
        arguments: String::new(),
        unprotected_dma: false,
        quota,
        priority: if index == 0 { 12 } else { 9 + random.below(3) as u8 },
        budget: (any && random.once_in(4)).then_some(budget),
        restart,
        supervisor: 0,
        capabilities: capabilities(roles, index),
    }
}

fn plan(roles: &[Role], random: &mut Random) -> Plan {
    let mailbox = |server| {
        let name = format!("m{server}");
        MailboxPlan { name, server: server as u16, capacity: 4 }
    };
    let (name, address, length, offset) = ("input".into(), WINDOWS_BASE, PAGE + 5, 0);
    Plan {
        name: "world".into(),
        services: (0..roles.len()).map(|index| service(roles, index, random)).collect(),
        mailboxes: (0..roles.len()).map(mailbox).collect(),
        inputs: vec![InputPlan { name, address, length, offset }],
        plan_address: WINDOWS_BASE + 16 * PAGE,
        until: None,
        mode: phi_manifest::plan::Mode::Full,
    }
}

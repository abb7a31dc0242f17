//! The worlds.

use crate::{Passing, Sight, Sightings, Verb, WITHOUT_END, World};
use phi_abi::layout::{IMAGE_OFFSET, PAGE, WINDOWS_BASE, window};
use phi_abi::{Kind, Mode, Rights};
use phi_core::DomainIndex;
use phi_manifest::plan::{
    AfterRestarts, CapabilityPlan, ImagePlan, MailboxPlan, Plan, Quota, RestartPlan, RestartPolicy,
    ServicePlan, Target,
};

/// How far the worlds are followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// As far as a test may take, some seconds for all of them.
    Small,
    /// As far as a run of some minutes goes.
    Full,
}

const READ: Rights = Rights::READ;
const WRITE: Rights = Rights::READ.union(Rights::WRITE);
const SHARED: Rights = Rights::DERIVE.union(Rights::TRANSFER);
const CLIENT: Rights = SHARED.union(Rights::SEND).union(Rights::CALL);
const SERVER: Rights = CLIENT.union(Rights::RECEIVE);

/// The rights that copies of a region are asked for: all, and few, which can be passed on and not
/// copied.
const ALL: Rights = SHARED.union(WRITE);
const FEW: Rights = Rights::TRANSFER.union(READ);

fn capability(target: Target, rights: Rights) -> CapabilityPlan {
    // Equal domains are only equal while their badges are.
    CapabilityPlan { name: "held".to_string(), target, rights: rights.bits(), badge: 1 }
}

fn service(index: u16, handles: u32, lineages: u32, held: Vec<CapabilityPlan>) -> ServicePlan {
    let window = window(usize::from(index));
    let entry = window + IMAGE_OFFSET;
    ServicePlan {
        state: 0,
        replacement: None,
        name: format!("domain-{index}"),
        image: ImagePlan { name: "image".to_string(), hash: [0; 32], entry, segments: Vec::new() },
        driver: None,
        window,
        stack: PAGE,
        heap: 0,
        arguments: String::new(),
        unprotected_dma: false,
        quota: Quota {
            memory: 3 * PAGE,
            handles,
            regions: 1,
            mailboxes: 1,
            messages: 1,
            signals: 0,
            threads: 1,
            lineages,
        },
        priority: 1,
        budget: None,
        restart: RestartPlan {
            policy: RestartPolicy::Never,
            backoff: 0,
            longest: 0,
            maximum: 0,
            then: AfterRestarts::Hold,
        },
        supervisor: 0,
        capabilities: held,
    }
}

/// `init` and the services, with one mailbox of domain 1 for all.
fn plan(services: Vec<ServicePlan>) -> Plan {
    let domains = 0..services.len() as u16 + 1;
    let held = domains.map(|domain| capability(Target::Domain(domain), Kind::Domain.rights()));
    let mut all = vec![service(0, services.len() as u32 + 3, 0, held.collect())];
    all.extend(services);
    Plan {
        name: "world".to_string(),
        services: all,
        mailboxes: vec![MailboxPlan { name: "served".to_string(), server: 1, capacity: 1 }],
        inputs: Vec::new(),
        plan_address: WINDOWS_BASE + 16 * PAGE,
        until: None,
        mode: phi_manifest::plan::Mode::Full,
    }
}

/// Domain 1 serves the mailbox; `clients` more can send and call.
fn served(clients: u16, handles: u32, lineages: u32) -> Plan {
    let mailbox = |rights| vec![capability(Target::Mailbox(0), rights)];
    let server = service(1, handles, lineages, mailbox(SERVER));
    let client = |index| service(index, handles, lineages, mailbox(CLIENT));
    plan(std::iter::once(server).chain((2..2 + clients).map(client)).collect())
}

/// The domains in their own order.
fn order(domains: u16) -> Vec<DomainIndex> {
    (0..domains).map(DomainIndex).collect()
}

fn passing(kind: Kind, mode: Mode, rights: Rights) -> Option<Passing> {
    Some(Passing { kind, mode, rights })
}

/// Two domains derive, pass on, revoke and drop capabilities to one region, and map it.
fn lineages(depth: usize) -> World {
    let maker = vec![
        Verb::CreateRegion,
        Verb::Derive(Kind::Region, ALL, true),
        Verb::Derive(Kind::Region, FEW, false),
        Verb::Revoke(Kind::Region),
        Verb::Drop(Kind::Region),
        Verb::Map(WRITE),
        Verb::Send(passing(Kind::Region, Mode::Move, ALL)),
        Verb::Send(passing(Kind::Region, Mode::Copy, FEW)),
    ];
    let user = vec![
        Verb::Receive(0),
        Verb::Derive(Kind::Region, ALL, true),
        Verb::Revoke(Kind::Region),
        Verb::Drop(Kind::Region),
        Verb::Map(READ),
        Verb::Exit,
    ];
    World {
        name: "lineages",
        plan: served(1, 4, 2),
        started: 2,
        alphabets: vec![vec![], user, maker],
        orders: vec![order(3)],
        depth,
        sights: vec![Sight::Chain, Sight::RevokedInTransit],
        seen: Sightings::default(),
    }
}

/// One server and two equal clients: calls with and without timeouts, answers, capabilities in both.
fn calls(depth: usize) -> World {
    let client = vec![
        Verb::Call(None, WITHOUT_END),
        Verb::Call(None, 10),
        Verb::Send(passing(Kind::Mailbox, Mode::Copy, CLIENT)),
        Verb::Drop(Kind::Mailbox),
        Verb::Exit,
    ];
    let server = vec![
        Verb::Receive(WITHOUT_END),
        Verb::Reply(None),
        Verb::Reply(passing(Kind::Reply, Mode::Move, Rights::TRANSFER)),
        Verb::Reply(passing(Kind::Mailbox, Mode::Move, CLIENT)),
        Verb::Derive(Kind::Mailbox, CLIENT, true),
        Verb::Revoke(Kind::Mailbox),
        Verb::Drop(Kind::Reply),
        Verb::Fault,
    ];
    let [zero, one, two, three] = [0, 1, 2, 3].map(DomainIndex);
    let mut sights =
        vec![Sight::Queue, Sight::LateAnswer, Sight::TimedOut, Sight::Restarted, Sight::Standstill];
    // A revocation of a delivered call is seven actions away.
    if depth >= 7 {
        sights.push(Sight::CallRevoked);
    }
    World {
        name: "calls",
        plan: served(2, 3, 1),
        started: 3,
        alphabets: vec![vec![Verb::Start], server, client.clone(), client],
        orders: vec![order(4), vec![zero, one, three, two]],
        depth,
        sights,
        seen: Sightings::default(),
    }
}

/// A client lends pages to a server, which lends them on to a second; anybody revokes, drops or ends.
fn loans(depth: usize) -> World {
    let lend = |rights| Verb::Call(passing(Kind::Region, Mode::Loan, rights), WITHOUT_END);
    let client = vec![
        Verb::CreateRegion,
        Verb::Derive(Kind::Region, ALL, true),
        Verb::Revoke(Kind::Region),
        Verb::Map(WRITE),
        lend(WRITE.union(Rights::TRANSFER)),
        Verb::Call(passing(Kind::Region, Mode::Move, FEW), 10),
        Verb::Exit,
    ];
    let server = vec![
        Verb::Receive(WITHOUT_END),
        Verb::Reply(None),
        Verb::Drop(Kind::Region),
        Verb::Drop(Kind::Reply),
        Verb::Map(READ),
        lend(READ.union(Rights::TRANSFER)),
        Verb::Send(passing(Kind::Region, Mode::Copy, READ)),
        Verb::Fault,
    ];
    let second = vec![Verb::Receive(WITHOUT_END), Verb::Reply(None), Verb::Exit];
    let mailbox = |number, rights| capability(Target::Mailbox(number), rights);
    let mut plan = plan(vec![
        service(1, 5, 1, vec![mailbox(0, Rights::RECEIVE), mailbox(1, CLIENT)]),
        service(2, 4, 2, vec![mailbox(0, CLIENT)]),
        service(3, 3, 0, vec![mailbox(1, Rights::RECEIVE)]),
    ]);
    plan.mailboxes.push(MailboxPlan { name: "second".to_string(), server: 3, capacity: 1 });
    World {
        name: "loans",
        plan,
        started: 3,
        alphabets: vec![vec![], server, client, second],
        orders: vec![order(4)],
        depth,
        sights: vec![Sight::Orphan, Sight::TimedOut, Sight::Standstill],
        seen: Sightings::default(),
    }
}

/// A maker shares a region revocably with a lender, who lends it to a server; the maker takes it back.
fn shares(depth: usize) -> World {
    let rights = ALL.difference(Rights::DERIVE);
    let maker = vec![
        Verb::CreateRegion,
        Verb::Derive(Kind::Region, ALL, true),
        Verb::Revoke(Kind::Region),
        Verb::Send(passing(Kind::Region, Mode::Move, ALL)),
        Verb::Drop(Kind::Region),
        Verb::Exit,
    ];
    let lender = vec![
        Verb::Receive(0),
        Verb::Map(READ),
        Verb::Drop(Kind::Region),
        Verb::Call(passing(Kind::Region, Mode::Loan, rights), WITHOUT_END),
        Verb::Exit,
    ];
    let server = vec![
        Verb::Receive(WITHOUT_END),
        Verb::Reply(None),
        Verb::Drop(Kind::Region),
        Verb::Drop(Kind::Reply),
        Verb::Fault,
    ];
    let mailbox = |number, rights| capability(Target::Mailbox(number), rights);
    let mut plan = plan(vec![
        service(1, 3, 0, vec![mailbox(0, Rights::RECEIVE)]),
        service(2, 4, 1, vec![mailbox(1, Rights::SEND)]),
        service(3, 4, 1, vec![mailbox(1, Rights::RECEIVE), mailbox(0, Rights::CALL)]),
    ]);
    plan.mailboxes.push(MailboxPlan { name: "shared".to_string(), server: 3, capacity: 1 });
    World {
        name: "shares",
        plan,
        started: 3,
        alphabets: vec![vec![], server, maker, lender],
        orders: vec![order(4)],
        depth,
        sights: vec![Sight::LoanRevoked, Sight::RevokedInTransit, Sight::Orphan],
        seen: Sightings::default(),
    }
}

/// `init` starts and stops a server and a client, which make mailboxes, mint objects and end.
fn lives(depth: usize) -> World {
    let init = vec![Verb::Start, Verb::Stop];
    let server = vec![
        Verb::CreateMailbox,
        Verb::Mint(CLIENT),
        Verb::Receive(WITHOUT_END),
        Verb::Reply(passing(Kind::Mailbox, Mode::Copy, CLIENT)),
        Verb::Reply(passing(Kind::Object, Mode::Move, CLIENT)),
        Verb::Drop(Kind::Mailbox),
        Verb::Exit,
    ];
    let client = vec![
        Verb::Call(None, WITHOUT_END),
        Verb::Send(passing(Kind::Object, Mode::Move, CLIENT)),
        Verb::Drop(Kind::Object),
        Verb::Fault,
    ];
    World {
        name: "lives",
        plan: served(1, 4, 1),
        started: 0,
        alphabets: vec![init, server, client],
        orders: vec![order(3)],
        depth,
        sights: vec![Sight::Restarted, Sight::Standstill],
        seen: Sightings::default(),
    }
}

/// All worlds.
pub fn worlds(size: Size) -> Vec<World> {
    let depth = |small, full| if size == Size::Small { small } else { full };
    vec![
        lineages(depth(5, 10)),
        calls(depth(6, 10)),
        loans(depth(7, 10)),
        shares(depth(8, 11)),
        lives(depth(7, 11)),
    ]
}

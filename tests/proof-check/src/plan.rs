//! The system that both sides begin with: `init`, which takes no part, and three services that can
//! send to one another.

use phi_abi::layout::{IMAGE_OFFSET, PAGE, WINDOWS_BASE, window};
use phi_abi::{Kind, Rights};
use phi_manifest::plan::{
    AfterRestarts, CapabilityPlan, ImagePlan, MailboxPlan, Plan, Quota, RestartPlan, RestartPolicy,
    Segment, SegmentAccess, ServicePlan, Target,
};

/// Services that take part: domains `1..=SERVICES`.
pub const SERVICES: u16 = 3;

/// Slots of each service's table.
pub(crate) const HANDLES: u32 = 26;

/// Lineages that each service may pay for.
const LINEAGES: u32 = 8;

/// Regions that each service may have.
pub const REGIONS: u32 = 4;

/// Mailboxes that each service may have.
pub const MAILBOXES: u32 = 3;

/// Signals that each service may have.
pub const SIGNALS: u32 = 3;

/// Threads of each service that make calls, and wait in them.
pub const HELPERS: u32 = 3;

/// What a service holds to another one's mailbox.
fn client() -> Rights {
    Rights::DERIVE | Rights::TRANSFER | Rights::SEND | Rights::CALL
}

/// What a service begins with: its own mailbox and the others', in the order of the services.
fn held(service: u16) -> Vec<(u16, Rights)> {
    let rights = |other| if other == service { Kind::Mailbox.rights() } else { client() };
    (1..=SERVICES).map(|other| (other, rights(other))).collect()
}

fn capability(target: Target, rights: Rights) -> CapabilityPlan {
    CapabilityPlan { name: "held".to_string(), target, rights: rights.bits(), badge: 0 }
}

fn image(index: usize) -> ImagePlan {
    let address = window(index) + IMAGE_OFFSET;
    let access = SegmentAccess::Execute;
    let segment = Segment { address, memory_length: PAGE, offset: PAGE, length: PAGE, access };
    ImagePlan { name: "image".to_string(), hash: [0; 32], entry: address, segments: vec![segment] }
}

fn service(index: u16) -> ServicePlan {
    let capabilities = if index == 0 {
        let domain = |other| capability(Target::Domain(other), Kind::Domain.rights());
        (1..=SERVICES).map(domain).collect()
    } else {
        let mailbox = |(other, rights)| capability(Target::Mailbox(other), rights);
        held(index).into_iter().map(mailbox).collect()
    };
    ServicePlan {
        state: 0,
        replacement: None,
        name: format!("service-{index}"),
        image: image(usize::from(index)),
        driver: None,
        window: window(usize::from(index)),
        stack: PAGE,
        heap: PAGE,
        arguments: String::new(),
        unprotected_dma: false,
        quota: Quota {
            memory: 64 * PAGE,
            handles: HANDLES,
            regions: REGIONS,
            mailboxes: MAILBOXES,
            messages: MAILBOXES,
            signals: SIGNALS,
            threads: 1 + HELPERS,
            lineages: LINEAGES,
        },
        priority: 10,
        budget: None,
        restart: RestartPlan {
            policy: RestartPolicy::Never,
            backoff: 0,
            longest: 0,
            maximum: 0,
            then: AfterRestarts::Hold,
        },
        supervisor: 0,
        capabilities,
    }
}

/// The plan for ΦCore.
pub fn plan() -> Plan {
    let mailbox = |server| MailboxPlan { name: format!("mailbox-{server}"), server, capacity: 4 };
    Plan {
        name: "proof-check".to_string(),
        services: (0..=SERVICES).map(service).collect(),
        mailboxes: (0..=SERVICES).map(mailbox).collect(),
        inputs: Vec::new(),
        plan_address: WINDOWS_BASE,
        until: None,
        mode: phi_manifest::plan::Mode::Full,
    }
}

/// The same for the model: the lines that its script begins with.
pub fn planning() -> Vec<String> {
    let domains = SERVICES + 1;
    let sizes =
        format!("sizes {domains} {HANDLES} {LINEAGES} {REGIONS} {MAILBOXES} {SIGNALS} {HELPERS}");
    let mut lines = vec![sizes];
    lines.extend((0..domains).map(|server| format!("object {server} mailbox")));
    for holder in 1..=SERVICES {
        let grant = |(mailbox, rights): (u16, Rights)| {
            format!("grant {holder} {mailbox} {}", rights.bits())
        };
        lines.extend(held(holder).into_iter().map(grant));
    }
    lines.push("boot".to_string());
    lines
}

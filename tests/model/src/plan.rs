//! The system that the model is compared on: `init` and two services, with small quotas.

use phi_abi::layout::{IMAGE_OFFSET, PAGE, WINDOWS_BASE, window};
use phi_abi::{CONSOLE_TRANSCRIPT, Kind, Rights};
use phi_manifest::plan::{
    AfterRestarts, CapabilityPlan, ImagePlan, InputPlan, MailboxPlan, Plan, Quota, RestartPlan,
    RestartPolicy, Segment, SegmentAccess, ServicePlan, Target,
};

/// Domains, `init` included.
pub const DOMAINS: usize = 3;

/// Priority of every domain.
pub const PRIORITY: u8 = 10;

fn capability(name: String, target: Target, rights: Rights, badge: u64) -> CapabilityPlan {
    CapabilityPlan { name, target, rights: rights.bits(), badge }
}

/// What a service begins with: its own mailbox, those of the others, the input and the transcript;
/// and `init` also the domains and its events.
fn capabilities(index: usize) -> Vec<CapabilityPlan> {
    let client = Kind::Mailbox.rights() - Rights::RECEIVE;
    let mut held = Vec::new();
    for other in 0..DOMAINS {
        let rights = if other == index { Kind::Mailbox.rights() } else { client };
        let badge = if other == index { 0 } else { 0xB000 + index as u64 };
        held.push(capability(format!("m{other}"), Target::Mailbox(other as u16), rights, badge));
    }
    let read = Kind::Region.rights() - Rights::WRITE;
    held.push(capability("input".into(), Target::Input(0), read, 0));
    let transcript = Target::Console(CONSOLE_TRANSCRIPT);
    held.push(capability("transcript".into(), transcript, Kind::Console.rights(), 0));
    if index == 0 {
        for other in 1..DOMAINS {
            let target = Target::Domain(other as u16);
            held.push(capability(format!("d{other}"), target, Kind::Domain.rights(), 0));
        }
        held.push(capability("events".into(), Target::Events, Kind::Signal.rights(), 0));
    }
    held
}

fn service(index: usize) -> ServicePlan {
    let text = window(index) + IMAGE_OFFSET;
    let segment = |address, access| Segment {
        address,
        memory_length: PAGE,
        offset: PAGE,
        length: PAGE,
        access,
    };
    let segments =
        vec![segment(text, SegmentAccess::Execute), segment(text + PAGE, SegmentAccess::Write)];
    ServicePlan {
        state: 0,
        replacement: None,
        name: format!("s{index}"),
        image: ImagePlan { name: "image".into(), hash: [0; 32], entry: text, segments },
        driver: None,
        window: window(index),
        stack: PAGE,
        heap: PAGE,
        arguments: String::new(),
        unprotected_dma: false,
        quota: Quota {
            memory: 12 * PAGE,
            handles: 20,
            regions: 3,
            mailboxes: 2,
            messages: 5,
            signals: 2,
            threads: 3,
            lineages: 9,
        },
        priority: PRIORITY,
        budget: None,
        restart: RestartPlan {
            policy: RestartPolicy::Never,
            backoff: 0,
            longest: 0,
            maximum: 0,
            then: AfterRestarts::Hold,
        },
        supervisor: 0,
        capabilities: capabilities(index),
    }
}

/// The plan.
pub fn plan() -> Plan {
    let mailbox = |index| MailboxPlan { name: format!("m{index}"), server: index, capacity: 3 };
    let input =
        InputPlan { name: "input".into(), address: WINDOWS_BASE, length: PAGE + 5, offset: 0 };
    Plan {
        name: "model".into(),
        services: (0..DOMAINS).map(service).collect(),
        mailboxes: (0..DOMAINS as u16).map(mailbox).collect(),
        inputs: vec![input],
        plan_address: WINDOWS_BASE + 16 * PAGE,
        until: None,
        mode: phi_manifest::plan::Mode::Full,
    }
}

//! Small plans: `init` and a few services that know each other.

use phi_abi::layout::{IMAGE_OFFSET, PAGE, WINDOWS_BASE, window};
use phi_abi::{CONSOLE_LOG, Kind, Rights};
use phi_manifest::plan::{
    AfterRestarts, CapabilityPlan, ImagePlan, InputPlan, MailboxPlan, Plan, Quota, RestartPlan,
    RestartPolicy, Segment, SegmentAccess, ServicePlan, Target,
};
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

/// Pages that a service's data, stack and heap take.
pub(crate) const IMAGE_PAGES: u64 = 3;

/// Pages of the quota that are left for regions.
pub(crate) const REGION_PAGES: u64 = 64;

/// Priority of every service but `init`, whose is one more.
pub(crate) const PRIORITY: u8 = 10;

/// Sent messages that a service's planned mailbox stores.
pub(crate) const CAPACITY: u32 = 4;

/// Bytes of the input.
pub(crate) const INPUT_LENGTH: u64 = PAGE + 5;

/// The badge on what `holder` sends to `server`.
pub(crate) fn badge(holder: u16, server: u16) -> u64 {
    0xB000 + 256 * u64::from(server) + u64::from(holder)
}

fn capability(name: String, target: Target, rights: Rights, badge: u64) -> CapabilityPlan {
    CapabilityPlan { name, target, rights: rights.bits(), badge }
}

fn image(index: usize) -> ImagePlan {
    let text = window(index) + IMAGE_OFFSET;
    let segment = |address, access| Segment {
        address,
        memory_length: PAGE,
        offset: PAGE,
        length: PAGE,
        access,
    };
    ImagePlan {
        name: "image".to_string(),
        hash: [0; 32],
        entry: text + 16,
        segments: vec![
            segment(text, SegmentAccess::Execute),
            segment(text + PAGE, SegmentAccess::Write),
        ],
    }
}

/// What service `index` of `count` begins with: `serve`, its own mailbox; `to-N`, a client's
/// capability to service N's; `input`; `log`; and `init` also `domain-N`, `events` and `plan`.
fn capabilities(index: u16, count: u16) -> Vec<CapabilityPlan> {
    let shared = Rights::DERIVE | Rights::TRANSFER;
    let client = shared | Rights::SEND | Rights::CALL;
    let mut held = Vec::new();
    for other in 0..count {
        let target = Target::Mailbox(other);
        held.push(if other == index {
            capability("serve".to_string(), target, Kind::Mailbox.rights(), 0)
        } else {
            capability(format!("to-{other}"), target, client, badge(index, other))
        });
    }
    held.push(capability("input".to_string(), Target::Input(0), shared | Rights::READ, 0));
    let log = Target::Console(CONSOLE_LOG);
    held.push(capability("log".to_string(), log, Kind::Console.rights(), 0));
    if index == 0 {
        for other in 0..count {
            let target = Target::Domain(other);
            held.push(capability(format!("domain-{other}"), target, Kind::Domain.rights(), 0));
        }
        let wait = shared | Rights::WAIT;
        held.push(capability("events".to_string(), Target::Events, wait, 0));
        held.push(capability("plan".to_string(), Target::Plan, shared | Rights::READ, 0));
    }
    held
}

fn service(index: u16, count: u16) -> ServicePlan {
    let name = if index == 0 { "init".to_string() } else { format!("service-{index}") };
    ServicePlan {
        state: 0,
        replacement: None,
        name,
        image: image(usize::from(index)),
        driver: None,
        window: window(usize::from(index)),
        stack: PAGE,
        heap: PAGE,
        arguments: format!("number {index}"),
        unprotected_dma: false,
        quota: Quota {
            memory: (IMAGE_PAGES + REGION_PAGES) * PAGE,
            handles: 32,
            regions: 4,
            mailboxes: 3,
            messages: 8,
            signals: 3,
            threads: 4,
            lineages: 10,
        },
        priority: if index == 0 { PRIORITY + 1 } else { PRIORITY },
        budget: None,
        restart: RestartPlan {
            policy: RestartPolicy::Never,
            backoff: 0,
            longest: 0,
            maximum: 0,
            then: AfterRestarts::Hold,
        },
        supervisor: 0,
        capabilities: capabilities(index, count),
    }
}

/// A system of `count` services, `init` included.
pub(crate) fn plan(count: u16) -> Plan {
    let mailbox = |server| MailboxPlan { name: format!("m{server}"), server, capacity: CAPACITY };
    let input = InputPlan {
        name: "text".to_string(),
        address: WINDOWS_BASE,
        length: INPUT_LENGTH,
        offset: 0,
    };
    Plan {
        name: "test".to_string(),
        services: (0..count).map(|index| service(index, count)).collect(),
        mailboxes: (0..count).map(mailbox).collect(),
        inputs: vec![input],
        plan_address: WINDOWS_BASE + 16 * PAGE,
        until: None,
        mode: phi_manifest::plan::Mode::Full,
    }
}

/// Such a system in which service 1 also begins with `hardware`.
pub(crate) fn with_hardware(count: u16) -> Plan {
    let mut plan = plan(count);
    let rights = Kind::Hardware.rights();
    let hardware = capability("hardware".to_string(), Target::Hardware, rights, 0);
    plan.services[1].capabilities.push(hardware);
    plan
}

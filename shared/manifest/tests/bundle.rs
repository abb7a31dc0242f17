//! Bundles: what is written is read again, and nothing else is.

mod sample;

use phi_abi::layout::{
    HEAP_SIZE, IMAGE_OFFSET, IMAGE_SIZE, PAGE, STACK_SIZE, STATE_SIZE, WINDOW_SIZE, WINDOWS_BASE,
};
use phi_abi::{Kind, PRIORITIES, Rights};
use phi_manifest::bundle::{Bundle, BundleError};
use phi_manifest::plan::{
    BudgetPlan, CapabilityPlan, DriverPlan, MailboxPlan, Plan, ReplacementPlan, SegmentAccess,
    ServicePlan, Target,
};
use std::collections::BTreeSet;

/// Where a bundle says how long it is, where its plan is, how long that is, and what it hashes to.
const SIZE: usize = 48;
const PLAN_OFFSET: usize = 56;
const PLAN_LENGTH: usize = 64;
const HASH: std::ops::Range<usize> = 8..40;

fn put(bytes: &mut [u8], at: usize, word: u64) {
    bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
}

/// Makes the checksum right, as whoever writes a hostile bundle would.
fn seal(bytes: &mut [u8]) {
    let hash = *blake3::hash(&bytes[HASH.end..]).as_bytes();
    bytes[HASH].copy_from_slice(&hash);
}

/// The bundle `bytes` with another plan, which is its last part.
fn with_plan(bytes: &[u8], plan: &Plan) -> Vec<u8> {
    let offset = Bundle::open(bytes).expect("good").plan_offset();
    let encoded = postcard::to_allocvec(plan).expect("a plan");
    let mut bytes = bytes[..offset as usize].to_vec();
    bytes.extend_from_slice(&encoded);
    bytes.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
    let size = bytes.len() as u64;
    put(&mut bytes, SIZE, size);
    put(&mut bytes, PLAN_LENGTH, encoded.len() as u64);
    seal(&mut bytes);
    bytes
}

#[test]
fn what_is_written_is_read_again() {
    let (bytes, plan) = sample::bundle();
    let bundle = Bundle::open(&bytes).expect("good");
    assert_eq!(bundle.plan(), &plan);
    assert_eq!(bundle.bytes(), bytes);
    assert_eq!(bundle.plan_bytes(), postcard::to_allocvec(&plan).expect("a plan"));
    assert_eq!([bundle.input(0), bundle.input(1), bundle.input(2)], [&b"some text"[..], b"", b""]);
    for service in &plan.services {
        let image = sample::image(service.window);
        assert_eq!(service.image.entry, image.entry);
        for (segment, part) in service.image.segments.iter().zip(&image.parts) {
            assert_eq!(bundle.segment(segment), part.content);
            assert_eq!((segment.address, segment.access), (part.address, part.access));
            assert_eq!(segment.memory_length, part.memory_length);
        }
        assert_eq!(service.image.segments.len(), image.parts.len());
    }
}

#[test]
fn loaders_may_fill_up_to_less_than_a_page() {
    let (mut bytes, plan) = sample::bundle();
    let length = bytes.len();
    bytes.resize(length + PAGE as usize - 1, 0xAA);
    let bundle = Bundle::open(&bytes).expect("good");
    assert_eq!((bundle.bytes().len(), bundle.plan()), (length, &plan));
    bytes.push(0);
    let (said, there) = (length as u64, bytes.len() as u64);
    assert_eq!(Bundle::open(&bytes).expect_err("too long"), BundleError::Size { said, there });
}

/// All bytes of the header are tried, and of the rest enough to meet every part.
#[test]
fn a_changed_byte_is_refused() {
    let (mut bytes, _) = sample::bundle();
    let places = (0..128).chain((128..bytes.len()).step_by(101)).chain([bytes.len() - 1]);
    let mut refused = BTreeSet::new();
    for (number, place) in places.enumerate() {
        let bit = 1 << (number % 8);
        bytes[place] ^= bit;
        let error = Bundle::open(&bytes).expect_err("a changed byte");
        refused.insert(kind(&error));
        bytes[place] ^= bit;
    }
    // The checksum catches what the header's own fields do not.
    assert_eq!(refused, ["damaged", "no bundle", "size", "version"].into());
    assert!(Bundle::open(&bytes).is_ok());
}

/// The name of an error's kind.
fn kind(error: &BundleError) -> &'static str {
    match error {
        BundleError::NoBundle => "no bundle",
        BundleError::Version(_) => "version",
        BundleError::Size { .. } => "size",
        BundleError::Damaged => "damaged",
        BundleError::Unreadable => "unreadable",
        BundleError::Plan(_) => "plan",
    }
}

#[test]
fn a_cut_bundle_is_refused() {
    let (bytes, _) = sample::bundle();
    for length in (0..200).chain((200..bytes.len()).step_by(97)).chain([bytes.len() - 1]) {
        let error = Bundle::open(&bytes[..length]).expect_err("cut off");
        match length {
            0..128 => assert_eq!(error, BundleError::NoBundle),
            _ => assert_eq!(
                error,
                BundleError::Size { said: bytes.len() as u64, there: length as u64 }
            ),
        }
    }
}

#[test]
fn hostile_headers_are_refused() {
    let (good, _) = sample::bundle();
    let changed = |at: usize, word: u64| {
        let mut bytes = good.clone();
        put(&mut bytes, at, word);
        seal(&mut bytes);
        Bundle::open(&bytes).expect_err("hostile")
    };
    let there = good.len() as u64;
    assert_eq!(changed(40, 1), BundleError::Version(1));
    for said in [0, 127, there - PAGE, there + 1, u64::MAX] {
        assert_eq!(changed(SIZE, said), BundleError::Size { said, there });
    }
    for offset in [1, there, u64::MAX, u64::MAX - PAGE + 1] {
        assert_eq!(changed(PLAN_OFFSET, offset), BundleError::Unreadable, "{offset:#x}");
    }
    for length in [0, 1, there, u64::MAX] {
        assert_eq!(changed(PLAN_LENGTH, length), BundleError::Unreadable, "{length:#x}");
    }
}

/// A change that makes a plan hostile.
type Change = fn(&mut Plan);

fn driver(name: &str, device: &str) -> DriverPlan {
    DriverPlan { name: name.into(), device: device.into() }
}

fn client(plan: &mut Plan) -> &mut ServicePlan {
    &mut plan.services[1]
}

/// The first capability of a service becomes this one.
fn holds(plan: &mut Plan, target: Target, rights: Rights) {
    client(plan).capabilities[0].target = target;
    client(plan).capabilities[0].rights = rights.bits();
}

const SYSTEM: &[(&str, Change)] = &[
    ("it has no service", |plan| plan.services.clear()),
    ("it has too many services", |plan| {
        let one = plan.services[0].clone();
        plan.services.resize(1025, one);
    }),
    ("`until` names no service", |plan| plan.until = Some(3)),
    ("its plan has no place", |plan| plan.plan_address += 1),
    ("its plan has no place", |plan| plan.plan_address -= PAGE),
    ("its plan has no place", |plan| plan.plan_address = WINDOWS_BASE + WINDOW_SIZE / 2),
    ("its server is no service", |plan| plan.mailboxes[0].server = 3),
    ("its capacity is not from 1 to 65536", |plan| plan.mailboxes[0].capacity = 0),
    ("its capacity is not from 1 to 65536", |plan| plan.mailboxes[0].capacity = 65_537),
    ("it does not begin on a page", |plan| plan.inputs[0].address += 1),
    ("it does not begin on a page", |plan| plan.inputs[0].offset += 1),
    ("it is too long", |plan| plan.inputs[0].length = u64::MAX),
    ("content lies outside the bundle", |plan| plan.inputs[0].length = 1 << 40),
    ("content lies outside the bundle", |plan| plan.inputs[0].offset = u64::MAX - PAGE + 1),
    ("it overlaps the one before it", |plan| plan.inputs[1].address = plan.inputs[0].address),
    ("it overlaps the one before it", |plan| plan.inputs[1].address = WINDOWS_BASE + PAGE),
    ("it overlaps the one before it", |plan| plan.inputs[0].address = 0),
    ("it does not fit its window", |plan| {
        plan.inputs[1].address = WINDOWS_BASE + WINDOW_SIZE / 2 - PAGE;
    }),
    ("it is too long", |plan| plan.inputs[1].address = u64::MAX - PAGE + 1),
];

const SERVICE: &[(&str, Change)] = &[
    ("its name is too long", |plan| client(plan).name.clear()),
    ("its name is too long", |plan| client(plan).name = "n".repeat(33)),
    ("its window is another one's", |plan| client(plan).window += WINDOW_SIZE),
    ("its stack is too large, or not whole pages", |plan| client(plan).stack = 0),
    ("its stack is too large, or not whole pages", |plan| client(plan).stack += 1),
    ("its stack is too large, or not whole pages", |plan| client(plan).stack = STACK_SIZE),
    ("its heap is too large, or not whole pages", |plan| client(plan).heap = 1),
    ("its heap is too large, or not whole pages", |plan| client(plan).heap = HEAP_SIZE + PAGE),
    ("its arguments are too long", |plan| client(plan).arguments = "a".repeat(1025)),
    ("its priority is too high", |plan| client(plan).priority = PRIORITIES),
    ("its budget is nothing, or more than its period", |plan| {
        client(plan).budget = Some(BudgetPlan { time: 0, period: 1 });
    }),
    ("its budget is nothing, or more than its period", |plan| {
        client(plan).budget = Some(BudgetPlan { time: 2, period: 1 });
    }),
    ("its state is too large, or not whole pages", |plan| client(plan).state = 1),
    ("its state is too large, or not whole pages", |plan| {
        client(plan).state = STATE_SIZE + PAGE;
    }),
    ("its image, stack, heap and state exceed its memory", |plan| {
        let service = client(plan);
        service.state = PAGE;
        service.quota.memory = service.stack + service.heap + 2 * PAGE;
    }),
    ("`init` has a replacement", |plan| {
        let image = plan.services[0].image.clone();
        plan.services[0].replacement = Some(ReplacementPlan { image, after: 0 });
    }),
    ("its entry is not in its text", |plan| {
        let mut image = client(plan).image.clone();
        image.entry += PAGE;
        client(plan).replacement = Some(ReplacementPlan { image, after: 0 });
    }),
    ("a capability refers to nothing", |plan| holds(plan, Target::State, Rights::READ)),
    ("it may have no thread", |plan| client(plan).quota.threads = 0),
    ("its regions have no place", |plan| client(plan).quota.regions = 30_721),
    ("its supervisor is no service", |plan| client(plan).supervisor = 3),
    ("its image, stack, heap and state exceed its memory", |plan| {
        let service = client(plan);
        service.quota.memory = service.stack + service.heap + 2 * PAGE - 1;
    }),
    ("it holds too many capabilities", |plan| {
        let one = client(plan).capabilities[0].clone();
        client(plan).capabilities.resize(129, one);
    }),
    ("its capabilities exceed its quota of handles", |plan| client(plan).quota.handles = 8),
    ("a capability's name is too long", |plan| client(plan).capabilities[0].name.clear()),
    ("a capability's name is too long", |plan| {
        client(plan).capabilities[0].name = "n".repeat(33);
    }),
    ("a capability refers to nothing", |plan| holds(plan, Target::Mailbox(3), Rights::CALL)),
    ("a capability refers to nothing", |plan| holds(plan, Target::Domain(3), Rights::START)),
    ("a capability refers to nothing", |plan| holds(plan, Target::Input(2), Rights::READ)),
    ("a capability has unknown rights", |plan| client(plan).capabilities[0].rights = 1 << 13),
    ("a capability's rights do not fit its kind", |plan| {
        holds(plan, Target::Mailbox(0), Rights::READ);
    }),
    ("a capability's rights do not fit its kind", |plan| {
        holds(plan, Target::Console(0), Rights::READ);
    }),
    ("a capability's rights do not fit its kind", |plan| {
        holds(plan, Target::Events, Kind::Domain.rights());
    }),
    ("a capability writes to an input", |plan| holds(plan, Target::Plan, Rights::WRITE)),
    ("a capability writes to an input", |plan| {
        holds(plan, Target::Input(0), Kind::Region.rights())
    }),
];

const IMAGE: &[(&str, Change)] = &[
    ("its driver has no name", |plan| client(plan).driver = Some(driver("", "data"))),
    ("its driver has no name", |plan| client(plan).driver = Some(driver("host-disk", ""))),
    ("it is a driver, and has a replacement", |plan| {
        let image = client(plan).image.clone();
        client(plan).replacement = Some(ReplacementPlan { image, after: 0 });
        client(plan).driver = Some(driver("host-disk", "data"));
    }),
    ("its entry is not in its text", |plan| {
        client(plan).driver = Some(driver("host-disk", "data"));
        client(plan).image.segments.clear();
    }),
    ("its entry is not in its text", |plan| client(plan).image.segments.clear()),
    ("its entry is not in its text", |plan| client(plan).image.entry += PAGE),
    ("its entry is not in its text", |plan| {
        client(plan).image.segments[1].access = SegmentAccess::Read;
    }),
    ("a segment is not whole pages", |plan| client(plan).image.segments[0].address += 1),
    ("a segment is not whole pages", |plan| client(plan).image.segments[0].memory_length += 1),
    ("a segment is not whole pages", |plan| client(plan).image.segments[0].offset += 1),
    ("a segment is not whole pages", |plan| client(plan).image.segments[0].length -= 1),
    ("a segment lies outside its place", |plan| client(plan).image.segments[0].address -= PAGE),
    ("a segment lies outside its place", |plan| client(plan).image.segments.swap(0, 1)),
    ("a segment lies outside its place", |plan| {
        let service = client(plan);
        service.image.segments[2].address = service.window + IMAGE_OFFSET + IMAGE_SIZE - PAGE;
    }),
    ("a segment lies outside its place", |plan| {
        client(plan).image.segments[2].memory_length = u64::MAX - PAGE + 1;
    }),
    ("a segment has more content than memory", |plan| {
        client(plan).image.segments[2].length = 3 * PAGE;
    }),
    ("content lies outside the bundle", |plan| client(plan).image.segments[0].offset = 1 << 40),
    ("content lies outside the bundle", |plan| {
        client(plan).image.segments[0].offset = u64::MAX - PAGE + 1;
    }),
    ("read-only memory is zero", |plan| client(plan).image.segments[0].length = 0),
    ("text is zero", |plan| client(plan).image.segments[1].length = 0),
];

#[test]
fn hostile_plans_are_refused() {
    let (bytes, plan) = sample::bundle();
    assert!(Bundle::open(&with_plan(&bytes, &plan)).is_ok());
    for (rule, change) in SYSTEM.iter().chain(SERVICE).chain(IMAGE) {
        let mut hostile = plan.clone();
        change(&mut hostile);
        match Bundle::open(&with_plan(&bytes, &hostile)) {
            Err(BundleError::Plan(error)) => assert_eq!(error.rule, *rule),
            other => panic!("not refused because {rule}, but: {other:?}"),
        }
    }
}

/// The rules of the source are those that are tried here.
#[test]
fn every_rule_for_plans_is_tried() {
    let source = include_str!("../src/validate.rs");
    let texts = source.split('"').skip(1).step_by(2);
    let parts = ["system", "service", "mailbox", "input", "{} {}: {}"];
    let rules: BTreeSet<&str> = texts.filter(|text| !parts.contains(text)).collect();
    let tried: BTreeSet<&str> =
        SYSTEM.iter().chain(SERVICE).chain(IMAGE).map(|(rule, _)| *rule).collect();
    assert_eq!(rules, tried);
}

#[test]
fn the_part_that_breaks_a_rule_is_named() {
    let (bytes, mut plan) = sample::bundle();
    plan.services[2].priority = 32;
    let error = Bundle::open(&with_plan(&bytes, &plan)).expect_err("hostile");
    assert_eq!(
        error.to_string(),
        "the plan in the bundle is not valid: service 2: its priority is too high"
    );
}

#[test]
fn what_is_at_the_limits_is_good() {
    let (bytes, mut plan) = sample::bundle();
    plan.mailboxes.push(MailboxPlan { name: "m".into(), server: 0, capacity: 65_536 });
    let service = &mut plan.services[1];
    service.stack = STACK_SIZE - PAGE;
    service.heap = HEAP_SIZE;
    service.quota.memory = service.stack + service.heap + 2 * PAGE;
    service.quota.handles = 128;
    service.quota.regions = 30_720;
    service.priority = PRIORITIES - 1;
    service.budget = Some(BudgetPlan { time: 1, period: 1 });
    service.name = "n".repeat(32);
    service.arguments = "a".repeat(1024);
    let name = "n".repeat(32);
    let rights = Kind::Mailbox.rights().bits();
    let held = CapabilityPlan { name, target: Target::Mailbox(3), rights, badge: u64::MAX };
    service.capabilities.resize(128, held);
    let bytes = with_plan(&bytes, &plan);
    assert_eq!(Bundle::open(&bytes).expect("good").plan(), &plan);
}

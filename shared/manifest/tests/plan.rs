//! What a good manifest becomes.

mod sample;

use phi_abi::layout::{PAGE, WINDOW_SIZE, WINDOWS_BASE, window};
use phi_abi::{PRIORITIES, Rights};
use phi_manifest::plan::{
    AfterRestarts, BudgetPlan, CapabilityPlan, MailboxPlan, Plan, Quota, RestartPlan,
    RestartPolicy, Target,
};
use phi_manifest::{InputError, check};

fn held(plan: &Plan, service: usize) -> Vec<(&str, Target, Rights, u64)> {
    let row = |capability: &'_ CapabilityPlan| {
        (capability.target, Rights::from_bits_retain(capability.rights), capability.badge)
    };
    let capabilities = plan.services[service].capabilities.iter();
    let rows = capabilities.map(|one| (one.name.as_str(), row(one)));
    rows.map(|(name, (target, rights, badge))| (name, target, rights, badge)).collect()
}

const PASSED_ON: Rights = Rights::DERIVE.union(Rights::TRANSFER);
const DOMAIN: Rights = Rights::START.union(Rights::STOP).union(Rights::INSPECT);

#[test]
fn images_come_in_the_order_of_the_services() {
    let names: Vec<String> =
        sample::manifest().images().iter().map(|image| image.to_string()).collect();
    assert_eq!(names, ["phi-init:init", "sample:client", "sample:server"]);
    let plan = sample::plan();
    let planned: Vec<&str> =
        plan.services.iter().map(|service| service.image.name.as_str()).collect();
    assert_eq!(planned, names);
}

#[test]
fn init_is_first_and_holds_what_it_needs() {
    let plan = sample::plan();
    let init = &plan.services[0];
    assert_eq!(
        (init.name.as_str(), init.priority, init.window),
        ("init", PRIORITIES - 1, window(0))
    );
    assert_eq!(
        held(&plan, 0),
        [
            ("plan", Target::Plan, Rights::READ, 0),
            ("events", Target::Events, Rights::WAIT, 0),
            ("log", Target::Console(1), Rights::WRITE, 0),
            // The other one is controlled by this one.
            ("domain:client", Target::Domain(1), DOMAIN, 0),
        ]
    );
}

#[test]
fn services_are_as_written() {
    let plan = sample::plan();
    let [_, client, server] = &plan.services[..] else { panic!("three services") };
    assert_eq!((client.name.as_str(), client.window, client.supervisor), ("client", window(1), 0));
    assert_eq!((client.priority, client.stack, client.heap), (7, 2 * PAGE, 0));
    assert_eq!(client.arguments, "a b");
    assert_eq!(client.budget, Some(BudgetPlan { time: 1_000_000, period: 4_000_000 }));
    let quota = Quota {
        memory: 1 << 20,
        handles: 64,
        regions: 8,
        mailboxes: 4,
        messages: 64,
        signals: 8,
        threads: 2,
        lineages: 32,
    };
    assert_eq!(client.quota, quota);
    assert_eq!(
        (client.restart.policy, client.restart.then),
        (RestartPolicy::Never, AfterRestarts::Hold)
    );
    assert_eq!((server.name.as_str(), server.window, server.supervisor), ("server", window(2), 1));
    let restart = RestartPlan {
        policy: RestartPolicy::Always,
        backoff: 2_000_000_000,
        longest: 60_000_000_000,
        maximum: 9,
        then: AfterRestarts::Stop,
    };
    assert_eq!(server.restart, restart);
    assert_eq!(plan.until, Some(1));
}

#[test]
fn capabilities_are_as_written() {
    let plan = sample::plan();
    let mailbox =
        |name: &str, server, capacity| MailboxPlan { name: name.into(), server, capacity };
    let mailboxes = [mailbox("answers", 1, 16), mailbox("sort", 2, 3), mailbox("count", 2, 16)];
    assert_eq!(plan.mailboxes, mailboxes);
    assert_eq!(
        held(&plan, 1),
        [
            ("answers", Target::Mailbox(0), Rights::RECEIVE | PASSED_ON, 0),
            ("first", Target::Mailbox(2), Rights::CALL, 1),
            ("sort", Target::Mailbox(1), Rights::CALL | Rights::SEND | PASSED_ON, 1),
            ("other", Target::Input(1), Rights::READ | PASSED_ON, 0),
            ("text", Target::Input(0), Rights::READ | PASSED_ON, 0),
            ("events", Target::Events, Rights::WAIT, 0),
            ("domain:server", Target::Domain(2), DOMAIN, 0),
            ("output", Target::Console(0), Rights::WRITE, 0),
            ("errors", Target::Console(1), Rights::WRITE, 0),
        ]
    );
    assert_eq!(
        held(&plan, 2),
        [
            ("sort", Target::Mailbox(1), Rights::RECEIVE | PASSED_ON, 0),
            ("count", Target::Mailbox(2), Rights::RECEIVE | PASSED_ON, 0),
            ("back", Target::Mailbox(0), Rights::SEND, 2),
        ]
    );
}

#[test]
fn inputs_have_places_with_gaps() {
    let manifest = sample::manifest();
    let places = |lengths: &[u64]| {
        let plan = manifest.plan(lengths).expect("a plan");
        let inputs: Vec<(u64, u64)> =
            plan.inputs.iter().map(|input| (input.address - WINDOWS_BASE, input.length)).collect();
        (inputs, plan.plan_address - WINDOWS_BASE)
    };
    // 10 KiB are kept for the first, and a page is kept even for nothing.
    assert_eq!(places(&[0, 0]), (vec![(0, 0), (4 * PAGE, 0)], 6 * PAGE));
    assert_eq!(places(&[10 << 10, 1]), (vec![(0, 10 << 10), (4 * PAGE, 1)], 6 * PAGE));
    let long = 2 * PAGE + 1;
    assert_eq!(places(&[1, long]), (vec![(0, 1), (4 * PAGE, long)], 8 * PAGE));
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let manifest = sample::manifest();
    let text = |lengths: &[u64]| manifest.plan(lengths).expect_err("refused").to_string();
    assert_eq!(text(&[1]), "the system has 2 inputs, and 1 were given");
    assert_eq!(text(&[10_241, 0]), "the input `text` has 10241 bytes, and its `maximum` is 10 KiB");
    assert_eq!(
        text(&[0, WINDOW_SIZE / 2]),
        "the inputs have more bytes in all than a system has room for, 32 GiB"
    );
    assert_eq!(manifest.plan(&[0, u64::MAX]), Err(InputError::NoRoom));
    // The last page before the limit is for the plan.
    let most = WINDOW_SIZE / 2 - 6 * PAGE;
    assert!(manifest.plan(&[0, most]).is_ok());
    assert_eq!(manifest.plan(&[0, most + 1]), Err(InputError::NoRoom));
}

#[test]
fn the_largest_system_has_a_plan() {
    // As many services as there may be, and as many as `init` and each other one may supervise.
    let mut text = "[system]\nname = \"large\"\n[service]\n".to_string();
    for number in 0..1023 {
        let controls: Vec<String> = match number {
            0..125 => (0..8)
                .map(|one| 125 + number * 8 + one)
                .filter(|one| *one < 1023)
                .map(|one| format!("\"s{one}\""))
                .collect(),
            _ => Vec::new(),
        };
        text +=
            &format!("s{number} = {{ image = \"p:b\", controls = [{}] }}\n", controls.join(", "));
    }
    let manifest = check("phi.toml", &text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let plan = manifest.plan(&[]).expect("a plan");
    assert_eq!(plan.services.len(), 1024);
    assert_eq!(plan.services[0].capabilities.len(), 128);
    assert_eq!((plan.services[126].supervisor, plan.services[1023].supervisor), (1, 113));
}

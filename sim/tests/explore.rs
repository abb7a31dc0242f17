//! Runs of the worlds of actors.

use phi_sim::event::Event;
use phi_sim::run::{Outcome, explore, measure, watch};
use phi_sim::schedule::Schedule;
use phi_sim::world::World;
use std::collections::BTreeSet;

/// Makes the runs of `seeds` seeds, and expects each to be as it should be.
fn all_is_well(world: World, seeds: u64, steps: u64) {
    for seed in 0..seeds {
        let verdict = explore(world, seed, steps);
        let (name, place) = (world.name(), verdict.steps);
        assert_eq!(verdict.outcome, Outcome::Ok, "{name}, seed {seed}, step {place}");
    }
}

#[test]
fn crowds_are_safe_and_live() {
    all_is_well(World::Crowd, 1_200, 2_000);
}

/// Seeds that once failed, with what long runs make: see `docs/findings.md`.
const FOUND: [(World, u64); 1] = [(World::Crowd, 1_006_038)];

#[test]
fn what_long_runs_have_found_stays_well() {
    for (world, seed) in FOUND {
        let verdict = explore(world, seed, 10_000);
        assert_eq!(verdict.outcome, Outcome::Ok, "{}, seed {seed}", world.name());
    }
}

#[test]
fn devices_are_safe_and_live() {
    all_is_well(World::Devices, 400, 2_000);
}

#[test]
fn pairs_are_safe_and_live() {
    all_is_well(World::Pair, 200, 1_000);
}

#[test]
fn storage_keeps_what_it_has_acknowledged() {
    all_is_well(World::Storage, 400, 2_000);
}

#[test]
fn rings_deliver() {
    all_is_well(World::Rings, 400, 2_000);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for world in World::ALL {
        for seed in [1, 2, 3] {
            assert_eq!(explore(world, seed, 2_000), explore(world, seed, 2_000));
        }
    }
}

#[test]
fn different_seeds_give_different_runs() {
    for world in World::ALL {
        let hashes: BTreeSet<[u8; 32]> =
            (0..30).map(|seed| explore(world, seed, 200).hash).collect();
        assert_eq!(hashes.len(), 30);
    }
}

/// What a run of each world hashes to, on every computer. After a change of ΦCore or of the simulator
/// that is meant to change runs, put here what the test prints.
const GOLDEN: [(World, &str); World::ALL.len()] = [
    (World::Crowd, "2c365d114b906737"),
    (World::Devices, "91c2453e99baec5e"),
    (World::Pair, "d7e1e013fdc6a8ec"),
    (World::Storage, "f2d50a4aaf6999e0"),
    (World::Rings, "63150dd415488ed1"),
];

#[test]
fn runs_are_the_same_on_every_computer() {
    let found = World::ALL.map(|world| {
        let hash = explore(world, 7, 2_000).hash;
        (world, hash[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    });
    let found = found.each_ref().map(|(world, hash)| (*world, hash.as_str()));
    assert_eq!(found, GOLDEN);
}

/// How often something happens in the runs of some seeds.
fn count(world: World, which: impl Fn(&Event) -> bool) -> u64 {
    let mut count = 0;
    for seed in 0..40 {
        watch(world, &Schedule::of(seed, 2_000), |event| count += u64::from(which(event)));
    }
    count
}

#[test]
fn every_fault_happens() {
    let happens = |which: fn(&Event) -> bool| count(World::Crowd, which);
    assert!(happens(|event| matches!(event, Event::Lost(_))) > 100);
    assert!(happens(|event| matches!(event, Event::MachineFailed)) > 20);
    assert!(happens(|event| matches!(event, Event::Stalled(_, true))) > 20);
    let posted = happens(|event| matches!(event, Event::Posted(_)));
    let rung = happens(|event| matches!(event, Event::Rung(_)));
    assert!(posted > 5_000 && rung > 5_000, "{posted} calls posted, {rung} doorbells");
    let devices = |which: fn(&Event) -> bool| count(World::Devices, which);
    assert!(devices(|event| matches!(event, Event::Interrupted(_))) > 30);
    assert!(devices(|event| matches!(event, Event::DmaMapped(..))) > 150);
    assert!(devices(|event| matches!(event, Event::DmaEnabled(_, false))) > 100);
    assert!(devices(|event| matches!(event, Event::DmaFaulted(_))) > 10);
    assert!(count(World::Storage, |event| matches!(event, Event::DeviceFailed)) > 20);
}

#[test]
fn a_measured_run_makes_all_its_steps() {
    for world in [World::Pair, World::Storage, World::Rings] {
        let speed = measure(world, 7, 10_000).expect("a run that ends well");
        assert_eq!(speed.steps, 10_000);
        assert!(speed.seconds > 0.0);
    }
}

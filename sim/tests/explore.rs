//! Runs of the worlds of actors.

use phi_sim::run::{Outcome, explore, measure};
use phi_sim::world::World;
use std::collections::BTreeSet;

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [1, 2, 3] {
        assert_eq!(explore(World::Crowd, seed, 2000), explore(World::Crowd, seed, 2000));
    }
}

#[test]
fn different_seeds_give_different_runs() {
    let hashes: BTreeSet<[u8; 32]> =
        (0..50).map(|seed| explore(World::Crowd, seed, 200).hash).collect();
    assert_eq!(hashes.len(), 50);
}

#[test]
fn two_thousand_seeds_are_safe_and_live() {
    for seed in 0..2000 {
        let verdict = explore(World::Crowd, seed, 2000);
        assert_eq!(verdict.outcome, Outcome::Ok, "seed {seed}, step {}", verdict.steps);
    }
}

#[test]
fn a_measured_run_makes_all_its_steps() {
    let speed = measure(World::Pair, 7, 10_000).expect("a run that ends well");
    assert_eq!(speed.steps, 10_000);
    assert!(speed.seconds > 0.0);
}

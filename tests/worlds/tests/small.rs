//! The worlds, followed as far as a test may take: every rule holds, and everything is seen that a
//! world is there for.

use phi_worlds::{Size, World, worlds};
use stateright::{Checker, HasDiscoveries, Model};

fn explore(name: &str) {
    let find = |world: &World| world.name == name;
    let world = worlds(Size::Small).into_iter().find(find).expect("a world of this name");
    let checker = world.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let discoveries = checker.discoveries().into_iter();
    let found: Vec<String> = discoveries
        .map(|(rule, path)| {
            let last = path.last_state().clone();
            format!("{rule}: {last:?}, after {:#?}", path.into_actions())
        })
        .collect();
    assert!(found.is_empty(), "{name}: {}", found.join("\n"));
    assert_eq!(checker.model().unseen(), [], "{name} does not show what it is there for");
    assert!(checker.unique_state_count() > 500, "{name} has few states");
}

#[test]
fn lineages() {
    explore("lineages");
}

#[test]
fn calls() {
    explore("calls");
}

#[test]
fn loans() {
    explore("loans");
}

#[test]
fn shares() {
    explore("shares");
}

#[test]
fn lives() {
    explore("lives");
}

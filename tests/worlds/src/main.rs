//! Explores the worlds, and prints a table: `cargo run --release -p phi-worlds [world] [depth]`.

use phi_worlds::{Size, World, worlds};
use stateright::{Checker, HasDiscoveries, Model};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next();
    let depth = arguments.next().and_then(|depth| depth.parse().ok());
    let chosen = |world: &World| name.as_deref().is_none_or(|name| name == world.name);
    let mut worlds: Vec<World> = worlds(Size::Full).into_iter().filter(chosen).collect();
    if worlds.is_empty() {
        eprintln!("there is no such world; there are: lineages, calls, loans, shares, lives");
        return ExitCode::FAILURE;
    }
    if let Some(depth) = depth {
        worlds.iter_mut().for_each(|world| world.depth = depth);
    }
    println!(
        "{:<10} {:>10} {:>12} {:>6} {:>8}",
        "world", "states", "transitions", "depth", "seconds"
    );
    let sound = worlds.into_iter().map(explore).filter(|sound| !sound).count() == 0;
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Explores one world and prints its line; whether everything holds that must.
fn explore(world: World) -> bool {
    let (name, depth) = (world.name, world.depth);
    let start = Instant::now();
    let checker = world.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, transitions) = (checker.unique_state_count(), checker.state_count());
    let seconds = start.elapsed().as_secs_f64();
    println!("{name:<10} {states:>10} {transitions:>12} {depth:>6} {seconds:>8.1}");
    let mut sound = true;
    for (property, path) in checker.discoveries() {
        sound = false;
        println!("  does not hold: {property}");
        println!("  {:?}", path.last_state());
        path.into_actions().iter().for_each(|action| println!("    {action:?}"));
    }
    for sight in checker.model().unseen() {
        sound = false;
        println!("  never seen: {}", sight.name());
    }
    sound
}

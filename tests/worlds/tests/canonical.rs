//! The canonical form takes nothing away that matters: two states that it takes for equal go on in
//! the same way, action by action, wherever they were met.

use phi_worlds::{Size, State, World, worlds};
use std::collections::{BTreeSet, HashMap};

/// Depth up to which all pairs of equal states are compared.
const DEPTH: usize = 5;

/// Where a state leads to.
fn successors(world: &World, state: &State) -> BTreeSet<u64> {
    let actions = state.actions(world);
    actions.iter().filter_map(|action| state.after(world, action)).map(|next| next.key()).collect()
}

fn compare(world: &mut World) -> usize {
    world.depth = DEPTH + 1;
    let first = State::first(world);
    let mut known = HashMap::from([(first.key(), successors(world, &first))]);
    let mut level = vec![first];
    let mut met_again = 0;
    for _ in 1..DEPTH {
        let mut next_level = Vec::new();
        for state in &level {
            for action in state.actions(world) {
                let Some(next) = state.after(world, &action) else { continue };
                let leads_to = successors(world, &next);
                match known.get(&next.key()) {
                    Some(before) => {
                        assert_eq!(*before, leads_to, "{}: after {action:?}", world.name);
                        met_again += 1;
                    }
                    None => {
                        known.insert(next.key(), leads_to);
                        next_level.push(next);
                    }
                }
            }
        }
        level = next_level;
    }
    met_again
}

#[test]
fn equal_states_go_on_in_the_same_way() {
    for mut world in worlds(Size::Small) {
        let met_again = compare(&mut world);
        assert!(met_again > 50, "{}: equal states were met {met_again} times", world.name);
    }
}

//! A world: a plan, what each domain can do in it, and how far that is followed.

use crate::{Action, Rule, Sight, Sightings, State, Verb};
use phi_core::DomainIndex;
use phi_manifest::plan::Plan;
use stateright::{Model, Property};

/// A small system and everything that its domains may do.
#[derive(Clone)]
pub struct World {
    /// Its name.
    pub name: &'static str,
    /// What ΦCore boots. Domain 0 is `init`.
    pub plan: Plan,
    /// Services that run from the start: the first ones after `init`.
    pub started: u16,
    /// What each domain's thread can do, by domain.
    pub alphabets: Vec<Vec<Verb>>,
    /// The domains in those orders between which nothing in this world can tell. The first is that of
    /// the plan.
    pub orders: Vec<Vec<DomainIndex>>,
    /// Actions that are followed, at most.
    pub depth: usize,
    /// What must be seen on the way, for the world to be worth its name.
    pub sights: Vec<Sight>,
    /// What has been seen, by any action, also one to a state that was known.
    pub seen: Sightings,
}

macro_rules! rules {
    ($($rule:ident $name:literal;)+) => {
        /// The rules, with what the checker calls them.
        pub const RULES: &[(Rule, &str)] = &[$((Rule::$rule, $name),)+];

        fn rules() -> Vec<Property<World>> {
            vec![$(Property::<World>::always($name, |_: &World, state: &State| {
                !state.findings().iter().any(|finding| finding.rule == Rule::$rule)
            }),)+]
        }
    };
}

rules! {
    Revocation "what was revoked cannot be used";
    Rights "rights only shrink";
    Pages "pages are mapped as held";
    Replies "a delivered call has one reply";
    Quotas "quotas are conserved";
    Contract "the machine's contract is kept";
    Custody "capabilities are never lost or made up";
    Waits "nobody waits in vain";
    Endings "every call can end";
    Survival "ΦCore does not panic";
}

impl World {
    /// What this world was meant to show and has not, after its exploration.
    pub fn unseen(&self) -> Vec<Sight> {
        self.sights.iter().filter(|sight| !self.seen.contains(**sight)).copied().collect()
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(self)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(state.actions(self));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        state.after(self, &action)
    }

    fn properties(&self) -> Vec<Property<World>> {
        rules()
    }
}

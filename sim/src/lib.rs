//! The third machine: ΦCore under deterministic simulation.
//!
//! The production [`phi_core::Kernel`] runs over a machine with virtual time and no threads. Who runs,
//! how time passes and what fails is drawn from one seed, so a run repeats to the bit, and a failing
//! run is a list of choices that can be shrunk and replayed.
//!
//! Principles:
//! - **One source of chance**: [`phi_random::Random`]. No clock, no address, no hash map's order.
//! - **Checkers know nothing of ΦCore's insides**: they see what was asked and answered and the
//!   machine's books, and hold it against a model of their own.
//! - **Swarm**: each run draws the probabilities of its faults, so that some runs have none of a kind
//!   and others many (Groce et al., "Swarm testing", ISSTA 2012).
//!
//! - **Faults stop**: after the steps with faults there are none, and what must happen must happen then.
//!
//! `docs/simulator.md` tells of the worlds, the faults and the checkers.
//!
//! Limits: what happens inside a call of ΦCore, or inside one operation of a ring, is one step; a run
//! ends with `init`.

pub mod actors;
pub mod chart;
pub mod checkers;
pub mod devices;
pub mod disk;
pub mod event;
pub mod images;
pub mod machine;
pub mod recording;
mod rings;
pub mod run;
pub mod schedule;
pub mod shrink;
mod simulation;
mod storage;
mod watch;
pub mod world;

//! Tests of ΦCore on a machine that only keeps books. After every call of every test, all invariants
//! of the private state are checked.

mod hardware;
mod invariants;
mod machine;
mod plan;
mod ports;
mod system;

mod capabilities;
mod devices;
mod direct;
mod domains;
mod fast;
mod faults;
mod grants;
mod loans;
mod messages;
mod random;
mod replacement;
mod revocation;
mod schedule;
mod signals;
mod sweep;
mod threads;

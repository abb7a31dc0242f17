//! What a service links: its entry, its heap, and safe types over ΦCore's calls.
//!
//! A service is a library, tested natively, plus an image of a few lines:
//!
//! ```ignore
//! //! The image of `console`.
//! #![no_std]
//! #![no_main]
//! phi_rt::image!(phi_console::main);
//! ```
//!
//! where `main` is `fn(&phi_rt::Service) -> u8`: it finds there the capabilities that its manifest
//! names, and what it returns is the service's exit status. The image is a static-PIE without libc,
//! thread-local storage or an interpreter. Its package says so in `Cargo.toml`:
//!
//! ```toml
//! [features]
//! # Builds the images. They must be built by themselves (`cargo build -p PACKAGE --features image`):
//! # beside a std program, cargo would give their dependencies std too.
//! image = []
//!
//! [[bin]]
//! name = "console"
//! path = "src/bin/console.rs"
//! required-features = ["image"]
//! test = false
//! bench = false
//! doc = false
//! ```
//!
//! and its `build.rs` is:
//!
//! ```ignore
//! //! Links the images as freestanding static-PIE; see phi-rt.
//!
//! fn main() {
//!     println!("cargo:rerun-if-changed=build.rs");
//!     for argument in "-nostartfiles -nodefaultlibs -nostdlib -static-pie -Wl,-z,noexecstack,-z,separate-code,--build-id=none,--no-dynamic-linker,-z,text,--no-undefined".split(' ') {
//!         println!("cargo:rustc-link-arg-bins={argument}");
//!     }
//! }
//! ```
//!
//! Principles:
//! - **Owned capabilities**: each handle has one owner, whose drop gives the handle up. Nothing in
//!   the safe interface names a handle twice, so no safe program faults on a stale one.
//! - **A loan is a borrow**: [`Memory::lend`] borrows the memory for as long as the call lasts, and
//!   what the other side may do with the pages is what a Rust borrow allows.
//! - **Memory that somebody else may write is never a slice**: shared and lent pages are read and
//!   written by copying ([`Mapping`], [`LentBytes`]). Only inputs, which nobody can write, and
//!   memory of one's own are slices.
//! - **No machine**: everything goes through the call table, so the same bytes run everywhere, and
//!   a test can stand in for ΦCore (feature `fake`).
//!
//! Limits: a thread's stack is a region of its own, which is given back only by
//! [`Thread::join`]. A server that uses loans trusts its client not to revoke them during the call:
//! the pages would vanish under it, and its next access would end it. Images are for x86-64 so far.
#![no_std]

#[cfg(any(feature = "fake", test))]
#[macro_use]
extern crate std;

extern crate alloc;

mod capability;
mod clock;
mod console;
mod device;
mod domain;
#[cfg(any(feature = "fake", test))]
pub mod fake;
#[doc(hidden)]
pub mod image;
mod lent;
mod lock;
mod mailbox;
mod memory_functions;
mod message;
mod region;
mod service;
mod signal;
mod state;
pub mod system;
#[cfg(test)]
mod tests;
mod thread;

pub use capability::{Capability, WrongKind};
pub use clock::{now, sleep};
pub use console::Console;
pub use device::{DmaSpace, Hardware, Irq, Ports, Registers, Width};
pub use domain::Domain;
pub use lent::{LentBytes, LentBytesMut};
pub use lock::{Mutex, MutexGuard, YieldingLock};
pub use mailbox::{Event, Mailbox, Peer};
pub use message::{Incoming, Outgoing, TooLong};
pub use phi_abi::{Caching, DomainInfo, DomainState, Error, FOREVER, FaultKind, IrqSource, Rights};
pub use region::{Input, Loan, LoanMut, Mapping, Memory, Region};
pub use service::{NameError, Problem, Service, exit};
pub use signal::Signal;
pub use state::{HandOver, NoRoom, Reader, Refusal, Restored, State, Writer};
pub use thread::Thread;

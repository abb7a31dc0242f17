//! x86_64: booted by PVH, with a local APIC and two 16550 serial lines.

mod boot;
mod call_page;
mod clock;
mod context;
mod descriptors;
mod entry;
mod exit;
mod extended_state;
mod paging;
mod processor;
mod serial;
mod traps;
mod user_copy;

pub use boot::{Boot, EARLY_END, set_up};
pub use call_page::CALL_TABLE;
pub use clock::Clock;
pub use context::Context;
pub use descriptors::clear_segments;
pub use exit::{Ending, exit};
pub use extended_state::ExtendedStates;
pub use paging::{Access, AddressSpace, KernelSpace, direct, physical};
pub use serial::Serial;
pub use traps::{Event, run};
pub use user_copy::{BadPointer, copy_from_user, copy_to_user};

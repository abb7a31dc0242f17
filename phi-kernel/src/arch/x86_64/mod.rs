//! x86_64: entered as PVH does, with a local APIC and two 16550 serial lines.

mod boot;
mod call_page;
mod callee_state;
mod clock;
mod context;
mod descriptors;
mod devices;
mod direct_way;
mod entry;
mod exit;
mod extended_state;
mod handover;
mod machine_check;
mod paging;
mod processor;
mod request;
mod serial;
mod traps;
mod user_copy;

pub use boot::{Boot, EARLY_END, memory, open_calls, set_up, text_and_data};
pub use call_page::CALL_TABLE;
pub use callee_state::{CalleeState, stack_from};
pub use clock::{Clock, acknowledge};
pub use context::{Call, Context};
pub use descriptors::clear_segments;
pub use devices::{Board, DeviceFault, ports};
pub use exit::{Ending, exit};
pub use extended_state::ExtendedStates;
pub use handover::{collect, deliver};
pub use paging::{Access, AddressSpace, KernelSpace, direct, physical};
pub use request::{Request, take_request};
pub use serial::Serial;
pub use traps::{Event, Interrupt, leave_undelivered, resume, run, take_interrupt};
pub use user_copy::{BadPointer, copy_from_user, copy_to_user};

//! Memory, as ΦCore sees it: regions at places of their own, physical frames, and lists by index.
//!
//! Principles:
//! - **Bookkeeping only.** Nothing here touches the memory that it keeps account of; a machine does.
//!   So nothing here is unsafe, and all of it is tested on the host.
//! - **Fixed pools.** Whatever allocates does so in its constructor and never again.
//! - **Indexes, not pointers.** Lists are threaded through arrays ([`Links`]), so a member is removed
//!   in constant time and a list costs eight bytes.
//!
//! Limits: pools have fewer than 2^32 - 1 members; frames are pages of 4 KiB.
#![no_std]
extern crate alloc;

mod frames;
mod list;
mod region;

pub use frames::{FrameAllocator, FrameRange};
pub use list::{Links, List, NONE};
pub use region::{Place, Region, RegionState};

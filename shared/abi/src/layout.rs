//! One layout of addresses for all machines.
//!
//! Every service has a window of its own, and every region a place of its own, so no two services'
//! addresses overlap: a pointer inside a shared region means the same on both sides, and an image
//! is relocated once, when the bundle is built. Isolation comes from what is mapped.
//!
//! Within a window, from its base:
//!
//! | offset | what |
//! |---|---|
//! | 0 | never mapped |
//! | [`START_OFFSET`] | the start block, read-only |
//! | [`IMAGE_OFFSET`] | the image's segments |
//! | [`STATE_OFFSET`] | what outlives the service's restarts, if its manifest says so |
//! | [`MACHINE_OFFSET`] | what the machine needs there; never the service's |
//! | [`STACK_OFFSET`] | the first thread's stack ends here, growing down; below it, a guard |
//! | [`HEAP_OFFSET`] | the heap |
//! | [`REGIONS_OFFSET`] | places of the regions that the service creates |

/// Bytes in a page: the unit of mapping, of loans and of memory quotas.
pub const PAGE: u64 = 4096;

/// Bytes in a service's window.
pub const WINDOW_SIZE: u64 = 1 << 36;

/// Base of window 0, which holds the regions that the plan itself makes: inputs, and the plan.
/// Service number `i` (init is 0) has window `i + 1`.
pub const WINDOWS_BASE: u64 = 1 << 44;

/// Services in a system, at most.
pub const SERVICES: usize = 1024;

/// Where the start block lies.
pub const START_OFFSET: u64 = 0x1_0000;

/// Bytes reserved for the start block.
pub const START_SIZE: u64 = 4 * PAGE;

/// Where the image begins.
pub const IMAGE_OFFSET: u64 = 0x10_0000;

/// Bytes of image, at most.
pub const IMAGE_SIZE: u64 = 0x1000_0000;

/// Where the region begins that outlives the service's restarts.
pub const STATE_OFFSET: u64 = 0x1800_0000;

/// Bytes of such a region, at most. A guard lies behind it.
pub const STATE_SIZE: u64 = MACHINE_OFFSET - STATE_OFFSET - PAGE;

/// Where the machine's own part begins; it reaches to the lowest stack.
pub const MACHINE_OFFSET: u64 = 0x2000_0000;

const _: () = assert!(IMAGE_OFFSET + IMAGE_SIZE < STATE_OFFSET);
const _: () = assert!(STATE_OFFSET < MACHINE_OFFSET);
const _: () = assert!(MACHINE_OFFSET < STACK_OFFSET - STACK_SIZE);

/// Where the first thread's stack ends.
pub const STACK_OFFSET: u64 = 0x4000_0000;

/// Bytes of stack, at most.
pub const STACK_SIZE: u64 = 0x1000_0000;

/// Where the heap begins.
pub const HEAP_OFFSET: u64 = 0x8000_0000;

/// Bytes of heap, at most.
pub const HEAP_SIZE: u64 = 0x8000_0000;

/// Where the places of a service's own regions begin; they reach to the window's end.
pub const REGIONS_OFFSET: u64 = 0x1_0000_0000;

/// Base of the window of service number `service`.
pub const fn window(service: usize) -> u64 {
    WINDOWS_BASE + (service as u64 + 1) * WINDOW_SIZE
}

/// Bytes between the places of two regions of a service that may create `regions` of them: the
/// window's region part shared out evenly, in units of 2 MiB. A region is at least one page smaller,
/// so that an unmapped guard lies between any two.
pub const fn region_stride(regions: u32) -> u64 {
    let regions = if regions == 0 { 1 } else { regions as u64 };
    ((WINDOW_SIZE - REGIONS_OFFSET) / regions) & !0x1F_FFFF
}

/// `bytes` rounded up to whole pages; `None` when that is beyond 64 bits.
pub const fn pages(bytes: u64) -> Option<u64> {
    match bytes.checked_add(PAGE - 1) {
        Some(sum) => Some(sum & !(PAGE - 1)),
        None => None,
    }
}

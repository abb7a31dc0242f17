//! The call page: the same read-only, executable page in every domain, with the [`CallTable`] that
//! images are handed, and the few instructions behind each of its entries.

use phi_abi::CallTable;
use phi_abi::layout::{PAGE, SERVICES, window};
use phi_abi::{ABI_VERSION, CALLS};

/// Where it lies in every domain: above all windows, under an entry of the root table of its own.
pub const CALL_TABLE: u64 = 0x7000_0000_0000;

/// Offset of the first entry's instructions.
const STUBS: usize = size_of::<CallTable>().next_multiple_of(STUB);

/// Bytes between the instructions of two entries.
const STUB: usize = 16;

const _: () = assert!(CALL_TABLE >= window(SERVICES) && CALL_TABLE < 1 << 47);
const _: () = assert!((STUBS + STUB * CALLS.len()) as u64 <= PAGE);

/// The page's content. `CallTable` holds pointers, so its fields are written one by one.
pub fn content() -> [u8; PAGE as usize] {
    // What is left is `int3`.
    let mut page = [0xCC; PAGE as usize];
    page[0..4].copy_from_slice(&ABI_VERSION.to_le_bytes());
    page[4..8].copy_from_slice(&(CALLS.len() as u32).to_le_bytes());
    for index in 0..CALLS.len() {
        let offset = STUBS + index * STUB;
        let entry = core::mem::offset_of!(CallTable, functions) + index * 8;
        page[entry..entry + 8].copy_from_slice(&(CALL_TABLE + offset as u64).to_le_bytes());
        // mov eax, index
        page[offset] = 0xB8;
        page[offset + 1..offset + 5].copy_from_slice(&(index as u32).to_le_bytes());
        // mov r10, rcx; syscall; ret
        let rest = [0x49, 0x89, 0xCA, 0x0F, 0x05, 0xC3];
        page[offset + 5..offset + 5 + rest.len()].copy_from_slice(&rest);
    }
    page
}

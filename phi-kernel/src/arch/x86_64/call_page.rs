//! The call page: the same read-only, executable page in every domain, with the [`CallTable`] that
//! images are handed, and the few instructions behind each of its entries: a trap, or, in a unikernel, what a
//! trap would have done and a jump.

use phi_abi::CallTable;
use phi_abi::layout::{PAGE, SERVICES, window};
use phi_abi::{ABI_VERSION, CALLS};

/// Where it lies in every domain: above all windows, under an entry of the root table of its own.
pub const CALL_TABLE: u64 = 0x7000_0000_0000;

/// Offset of the first entry's instructions.
const STUBS: usize = size_of::<CallTable>().next_multiple_of(STUB);

/// Bytes between the instructions of two entries.
const STUB: usize = 32;

const _: () = assert!(CALL_TABLE >= window(SERVICES) && CALL_TABLE < 1 << 47);
const _: () = assert!((STUBS + STUB * CALLS.len()) as u64 <= PAGE);

/// The page's content; with `entry`, for threads that have the kernel's privileges, and jump there. `CallTable`
/// holds pointers, so its fields are written one by one.
pub fn content(entry: Option<u64>) -> [u8; PAGE as usize] {
    // What is left is `int3`.
    let mut page = [0xCC; PAGE as usize];
    page[0..4].copy_from_slice(&ABI_VERSION.to_le_bytes());
    page[4..8].copy_from_slice(&(CALLS.len() as u32).to_le_bytes());
    for index in 0..CALLS.len() {
        let offset = STUBS + index * STUB;
        let function = core::mem::offset_of!(CallTable, functions) + index * 8;
        page[function..function + 8].copy_from_slice(&(CALL_TABLE + offset as u64).to_le_bytes());
        let stub = &mut page[offset..offset + STUB];
        // mov eax, index
        stub[0] = 0xB8;
        stub[1..5].copy_from_slice(&(index as u32).to_le_bytes());
        // mov r10, rcx
        stub[5..8].copy_from_slice(&[0x49, 0x89, 0xCA]);
        match entry {
            // syscall; ret
            None => stub[8..11].copy_from_slice(&[0x0F, 0x05, 0xC3]),
            Some(entry) => {
                // pop rcx; pushfq; pop r11; cli; mov r9, entry; jmp r9
                stub[8..15].copy_from_slice(&[0x59, 0x9C, 0x41, 0x5B, 0xFA, 0x49, 0xB9]);
                stub[15..23].copy_from_slice(&entry.to_le_bytes());
                stub[23..26].copy_from_slice(&[0x41, 0xFF, 0xE1]);
            }
        }
    }
    page
}

//! Target `image`: any bytes are refused, or become pages within a window.

use phi_abi::layout::{IMAGE_OFFSET, IMAGE_SIZE, PAGE, window};
use phi_abi::{ABI_VERSION, VersionNote};
use phi_manifest::image::{ImagePart, RelocatedImage, relocate};
use phi_manifest::plan::SegmentAccess;

/// Relocates `input` to two windows; whether it is an image.
///
/// # Panics
/// When what comes out breaks a promise of `RelocatedImage`, or the windows make a difference.
pub fn run(input: &[u8]) -> bool {
    let (first, second) = (relocate(input, window(1)), relocate(input, window(2)));
    let (first, second) = match (first, second) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(first), Err(second)) => {
            assert_eq!(first, second, "the window decides whether an image is good");
            assert!(!first.to_string().is_empty());
            return false;
        }
        (first, second) => panic!("{first:?} in one window, {second:?} in another"),
    };
    examine(&first, window(1));
    examine(&second, window(2));
    let shape = |image: &RelocatedImage, window: u64| {
        let shape = |part: &ImagePart| (part.address - window, part.memory_length, part.access);
        (image.entry - window, image.parts.iter().map(shape).collect::<Vec<_>>())
    };
    assert_eq!(shape(&first, window(1)), shape(&second, window(2)));
    true
}

fn examine(image: &RelocatedImage, window: u64) {
    let mut end = window + IMAGE_OFFSET;
    let mut entered = false;
    for part in &image.parts {
        let ImagePart { address, memory_length, content, access } = part;
        assert!(*address >= end, "parts overlap or are not in order");
        assert!(address.is_multiple_of(PAGE) && memory_length.is_multiple_of(PAGE));
        assert!(content.len().is_multiple_of(PAGE as usize));
        assert!(content.len() as u64 <= *memory_length, "more content than memory");
        end = address + memory_length;
        entered |= *access == SegmentAccess::Execute && (*address..end).contains(&image.entry);
    }
    assert!(end <= window + IMAGE_OFFSET + IMAGE_SIZE, "the image leaves its window");
    assert!(entered, "the entry is not in the text");
}

/// An image of a page of text, one of constants, and one of data.
pub fn sample_parts(window: u64) -> RelocatedImage {
    let base = window + IMAGE_OFFSET;
    let accesses = [SegmentAccess::Read, SegmentAccess::Execute, SegmentAccess::Write];
    let part = |(page, access)| ImagePart {
        address: base + page * PAGE,
        memory_length: PAGE,
        content: vec![page as u8 + 1; PAGE as usize],
        access,
    };
    let parts = (0..).zip(accesses).map(part).collect();
    RelocatedImage { entry: base + PAGE + 16, parts }
}

/// A small ELF file that is accepted: text at page 1, which begins with the note of the ABI's version, and data
/// at page 2, with the dynamic section and one relocation in it, all in 512 bytes of file.
pub fn sample() -> Vec<u8> {
    let (text, data) = (PAGE, 2 * PAGE);
    let mut file = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    // Type, machine; entry; where the program headers are, how long each is, and how many.
    put(16, &[3, 0, 62, 0]);
    put(24, &(text + 8).to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(54, &[56, 0, 4, 0]);
    // Kind, flags, offset, address, length in the file and in memory.
    let headers: [(u32, u32, u64, u64, u64, u64); 4] = [
        (1, 5, 320, text, 64, 64),
        (1, 6, 384, data, 128, PAGE + 1),
        (2, 6, 384, data, 48, 48),
        (4, 5, 320, text, 20, 20),
    ];
    for (index, (kind, flags, offset, address, file_length, memory_length)) in
        headers.into_iter().enumerate()
    {
        let at = 64 + 56 * index;
        put(at, &kind.to_le_bytes());
        put(at + 4, &flags.to_le_bytes());
        let words = [offset, address, address, file_length, memory_length, PAGE];
        for (number, word) in words.into_iter().enumerate() {
            put(at + 8 + 8 * number, &word.to_le_bytes());
        }
    }
    // DT_RELA, DT_RELASZ, and one relative relocation behind them.
    let words = [7, data + 48, 8, 24, 0, 0, data + 80, 8, text + 4];
    for (number, word) in words.into_iter().enumerate() {
        put(384 + 8 * number, &word.to_le_bytes());
    }
    let owner = u32::from_le_bytes(VersionNote::OWNER);
    for (number, word) in [4, 4, VersionNote::KIND, owner, ABI_VERSION].into_iter().enumerate() {
        put(320 + 4 * number, &word.to_le_bytes());
    }
    file
}

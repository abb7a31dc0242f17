//! Images: what a linker makes is relocated, and everything else is refused.

use phi_abi::ABI_VERSION;
use phi_abi::layout::{IMAGE_OFFSET, IMAGE_SIZE, PAGE, window};
use phi_manifest::image::{ImageError, relocate};
use phi_manifest::plan::SegmentAccess;
use proptest::prelude::*;

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;
const NOTE: u32 = 4;
const THREAD_LOCAL: u32 = 7;

const EXECUTE: u32 = 1;
const WRITE: u32 = 2;
const READ: u32 = 4;

/// A program header.
#[derive(Clone, Copy)]
struct Header {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file_length: u64,
    memory_length: u64,
}

/// An image to be changed: text at page 1, constants at page 2, and data at page 3 that begins with
/// the dynamic section, has its relocations at 256, and two pages of zeros behind it. The constants begin with
/// notes.
#[derive(Clone)]
struct Elf {
    headers: Vec<Header>,
    entry: u64,
    /// Tags and values.
    dynamic: Vec<(u64, u64)>,
    /// Place, type and addend.
    relocations: Vec<(u64, u32, u64)>,
    /// Notes, in words: one of somebody else, and the one of the ABI's version.
    notes: Vec<u32>,
}

const OTHERS: u32 = u32::from_le_bytes(*b"GNU\0");
const OURS: u32 = u32::from_le_bytes(*b"phi\0");

const TEXT: u64 = PAGE;
const CONSTANTS: u64 = 2 * PAGE;
const DATA: u64 = 3 * PAGE;
const RELOCATIONS: u64 = DATA + 256;

impl Elf {
    fn new() -> Elf {
        let header = |kind, flags, address, length| Header {
            kind,
            flags,
            offset: address,
            address,
            file_length: length,
            memory_length: length,
        };
        let data = header(LOAD, READ | WRITE, DATA, 1000);
        Elf {
            headers: vec![
                header(LOAD, READ | EXECUTE, TEXT, 100),
                header(LOAD, READ, CONSTANTS, PAGE),
                Header { memory_length: 3 * PAGE, ..data },
                header(DYNAMIC, READ | WRITE, DATA, 64),
                header(NOTE, READ, CONSTANTS, 48),
            ],
            entry: TEXT + 8,
            dynamic: vec![(7, RELOCATIONS), (8, 48), (9, 24), (0, 0)],
            relocations: vec![(DATA + 512, 8, TEXT + 4), (DATA + 520, 8, DATA)],
            notes: vec![4, 8, 3, OTHERS, 1, 2, 4, 4, 1, OURS, ABI_VERSION],
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut file = vec![0x11; 4 * PAGE as usize];
        file[..64].fill(0);
        file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\x00");
        let mut put = |at: u64, bytes: &[u8]| {
            file[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        };
        put(16, &3u16.to_le_bytes());
        put(18, &62u16.to_le_bytes());
        put(24, &self.entry.to_le_bytes());
        put(32, &64u64.to_le_bytes());
        put(54, &56u16.to_le_bytes());
        put(56, &(self.headers.len() as u16).to_le_bytes());
        for (index, header) in (0..).zip(&self.headers) {
            let at = 64 + 56 * index;
            put(at, &header.kind.to_le_bytes());
            put(at + 4, &header.flags.to_le_bytes());
            let words = [
                header.offset,
                header.address,
                header.address,
                header.file_length,
                header.memory_length,
                PAGE,
            ];
            put(at + 8, words.map(u64::to_le_bytes).as_flattened());
        }
        for (index, (tag, value)) in (0..).zip(&self.dynamic) {
            put(DATA + 16 * index, [*tag, *value].map(u64::to_le_bytes).as_flattened());
        }
        let notes: Vec<u8> = self.notes.iter().flat_map(|word| word.to_le_bytes()).collect();
        put(CONSTANTS, &notes);
        for (index, (place, kind, addend)) in (0..).zip(&self.relocations) {
            let words = [*place, u64::from(*kind), *addend];
            put(RELOCATIONS + 24 * index, words.map(u64::to_le_bytes).as_flattened());
        }
        file
    }
}

#[test]
fn an_image_of_another_abi_version_is_refused() {
    let refused = |notes: Vec<u32>| relocate(&Elf { notes, ..Elf::new() }.bytes(), window(1)).err();
    assert_eq!(refused(vec![4, 4, 1, OURS, ABI_VERSION]), None);
    let other = ABI_VERSION + 1;
    assert_eq!(refused(vec![4, 4, 1, OURS, other]), Some(ImageError::Version(Some(other))));
    // Another type, another length, another owner; lengths that lead out of them.
    for notes in [
        vec![],
        vec![4, 4, 2, OURS, ABI_VERSION],
        vec![4, 8, 1, OURS, ABI_VERSION, 0],
        vec![4, 4, 1, OTHERS, ABI_VERSION],
        vec![u32::MAX, u32::MAX, 1, OURS, ABI_VERSION],
        vec![0; 12],
    ] {
        assert_eq!(refused(notes.clone()), Some(ImageError::Version(None)), "{notes:?}");
    }
}

#[test]
fn an_image_is_relocated_to_its_window() {
    let base = window(5) + IMAGE_OFFSET;
    let image = relocate(&Elf::new().bytes(), window(5)).expect("good");
    assert_eq!(image.entry, base + TEXT + 8);
    let parts: Vec<_> = image
        .parts
        .iter()
        .map(|part| {
            (part.address - base, part.memory_length, part.content.len() as u64, part.access)
        })
        .collect();
    assert_eq!(
        parts,
        [
            (TEXT, PAGE, PAGE, SegmentAccess::Execute),
            (CONSTANTS, PAGE, PAGE, SegmentAccess::Read),
            // Zeros at the end are left to whoever loads it.
            (DATA, 3 * PAGE, PAGE, SegmentAccess::Write),
        ]
    );
    let data = &image.parts[2].content;
    assert_eq!(data[512..520], (base + TEXT + 4).to_le_bytes());
    assert_eq!(data[520..528], (base + DATA).to_le_bytes());
    // What the segment does not cover is zero, whatever the file holds there.
    assert_eq!((data[999], data[1000]), (0x11, 0));
    assert_eq!((image.parts[0].content[99], image.parts[0].content[100]), (0x11, 0));
}

#[test]
fn neighbours_of_the_same_access_are_one_part() {
    let mut elf = Elf::new();
    elf.headers[1].flags = READ | EXECUTE;
    let parts = relocate(&elf.bytes(), window(0)).expect("good").parts;
    assert_eq!(parts.len(), 2);
    assert_eq!((parts[0].memory_length, parts[0].content.len() as u64), (2 * PAGE, 2 * PAGE));
    // Two that share a page: the second begins where the first ends.
    let mut elf = Elf::new();
    let second = Header { offset: TEXT + 100, address: TEXT + 100, ..elf.headers[0] };
    elf.headers.insert(1, second);
    let parts = relocate(&elf.bytes(), window(0)).expect("good").parts;
    assert_eq!((parts.len(), parts[0].memory_length), (3, PAGE));
    assert_eq!((parts[0].content[199], parts[0].content[200]), (0x11, 0));
}

#[test]
fn an_image_without_relocations_or_data_is_good() {
    let mut elf = Elf::new();
    elf.headers.drain(2..4);
    let image = relocate(&elf.bytes(), window(0)).expect("good");
    assert_eq!(image.parts.len(), 2);
}

/// A change that makes an image bad.
type Change = fn(&mut Elf);

/// What makes an image bad, and why it is refused.
const BAD: &[(ImageError, Change)] = &[
    (ImageError::Interpreter, |elf| elf.headers[3].kind = INTERPRETER),
    (ImageError::ThreadLocal, |elf| elf.headers[3].kind = THREAD_LOCAL),
    (ImageError::Library, |elf| elf.dynamic[2] = (1, 1)),
    (ImageError::RelocationForm, |elf| elf.dynamic[2] = (17, RELOCATIONS)),
    (ImageError::RelocationForm, |elf| elf.dynamic[2] = (23, RELOCATIONS)),
    (ImageError::RelocationForm, |elf| elf.dynamic[2] = (36, RELOCATIONS)),
    (ImageError::WritableText, |elf| elf.headers[0].flags = READ | WRITE | EXECUTE),
    (ImageError::Relocation(6), |elf| elf.relocations[1].1 = 6),
    (ImageError::Entry, |elf| elf.entry = CONSTANTS),
    (ImageError::Entry, |elf| elf.entry = TEXT + PAGE),
    (ImageError::Entry, |elf| elf.entry = u64::MAX),
    (ImageError::Entry, |elf| elf.headers.clear()),
    (ImageError::TooLarge, |elf| elf.headers[2].memory_length = IMAGE_SIZE),
    (ImageError::TooLarge, |elf| elf.headers[2].memory_length = u64::MAX - DATA),
    // Beyond 64 bits.
    (ImageError::Layout, |elf| elf.headers[2].memory_length = u64::MAX),
    // More in the file than in memory, or than there is.
    (ImageError::Layout, |elf| elf.headers[0].memory_length = 99),
    (ImageError::Layout, |elf| elf.headers[0].offset = 4 * PAGE - 99),
    (ImageError::Layout, |elf| elf.headers[0].offset = u64::MAX),
    // Not in order, and one over another.
    (ImageError::Layout, |elf| elf.headers.swap(0, 1)),
    (ImageError::Layout, |elf| elf.headers[1].address = TEXT + 50),
    // Two accesses to one page.
    (ImageError::Layout, |elf| elf.headers[1].address = TEXT + 200),
    // The dynamic section, the relocations, and where those go.
    (ImageError::Layout, |elf| elf.headers[3].address = 6 * PAGE),
    (ImageError::Layout, |elf| elf.headers[3].address = u64::MAX),
    (ImageError::Layout, |elf| elf.dynamic[0].1 = 6 * PAGE),
    (ImageError::Layout, |elf| elf.dynamic[0].1 = u64::MAX),
    (ImageError::Layout, |elf| elf.dynamic[1].1 = 6 * PAGE),
    (ImageError::Layout, |elf| elf.relocations[0].0 = 6 * PAGE - 7),
    (ImageError::Layout, |elf| elf.relocations[0].0 = u64::MAX),
];

#[test]
fn bad_images_are_refused() {
    for (number, (error, change)) in BAD.iter().enumerate() {
        let mut elf = Elf::new();
        change(&mut elf);
        assert_eq!(relocate(&elf.bytes(), window(0)).as_ref(), Err(error), "number {number}");
    }
}

#[test]
fn other_files_are_refused() {
    let good = Elf::new().bytes();
    let changed = |at: usize, byte: u8| {
        let mut file = good.clone();
        file[at] = byte;
        relocate(&file, window(0)).expect_err("another file")
    };
    // The magic, 32 bits, big-endian, another version, another machine, the headers' size and place.
    for (at, byte) in [(0, 0), (4, 1), (5, 2), (6, 2), (18, 3), (54, 32), (39, 1)] {
        assert_eq!(changed(at, byte), ImageError::NoImage, "byte {at}");
    }
    // An executable that is bound to its addresses, and an object file.
    assert_eq!([changed(16, 2), changed(16, 1)], [ImageError::Fixed, ImageError::Fixed]);
    // The last word of the last header, its alignment, is not looked at.
    for length in 0..64 + 5 * 56 - 8 {
        assert_eq!(relocate(&good[..length], window(0)), Err(ImageError::NoImage), "{length}");
    }
}

#[test]
fn a_cut_image_is_refused() {
    let good = Elf::new().bytes();
    for length in (64 + 5 * 56 - 8..DATA as usize + 1000).step_by(13) {
        assert_eq!(relocate(&good[..length], window(0)), Err(ImageError::Layout), "{length}");
    }
}

/// What a relocated image promises to whoever writes it into a bundle.
fn holds_together(file: &[u8]) -> Result<(), TestCaseError> {
    let Ok(image) = relocate(file, window(1)) else { return Ok(()) };
    let mut free = window(1) + IMAGE_OFFSET;
    let end = free + IMAGE_SIZE;
    let mut entry = false;
    for part in &image.parts {
        let content = part.content.len() as u64;
        prop_assert!([part.address, part.memory_length, content].map(|n| n % PAGE) == [0; 3]);
        prop_assert!(part.address >= free);
        free = part.address + part.memory_length;
        prop_assert!(free <= end && content <= part.memory_length);
        prop_assert!(part.access == SegmentAccess::Write || content == part.memory_length);
        let text = part.access == SegmentAccess::Execute;
        entry |= text && (part.address..free).contains(&image.entry);
    }
    prop_assert!(entry);
    Ok(())
}

/// Numbers at which readers go wrong.
fn number() -> impl Strategy<Value = u64> {
    let near = |at: u64| (0u64..17).prop_map(move |offset| at.wrapping_add(offset).wrapping_sub(8));
    prop_oneof![
        near(0),
        near(PAGE),
        near(DATA),
        near(4 * PAGE),
        near(IMAGE_SIZE),
        near(1 << 32),
        near(1 << 63),
        any::<u64>(),
        0..8 * PAGE,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_files_are_refused(file in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert_eq!(relocate(&file, window(0)), Err(ImageError::NoImage));
    }

    /// Words of the headers, the dynamic section and the relocations become any others.
    #[test]
    fn changed_images_hold_together_or_are_refused(
        changes in proptest::collection::vec((0usize..100, number()), 1..6),
    ) {
        let mut file = Elf::new().bytes();
        for (place, word) in changes {
            let at = match place {
                0..40 => 16 + 8 * place,
                _ => DATA as usize + 8 * (place - 40),
            };
            file[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        holds_together(&file)?;
    }

    /// Any number of headers with any numbers in them.
    #[test]
    fn any_headers_hold_together_or_are_refused(
        headers in proptest::collection::vec(
            (0u32..8, 0u32..8, number(), number(), number(), number()), 0..6,
        ),
        entry in number(),
    ) {
        let mut elf = Elf::new();
        elf.entry = entry;
        for (kind, flags, offset, address, file_length, memory_length) in headers {
            elf.headers.push(Header { kind, flags, offset, address, file_length, memory_length });
        }
        holds_together(&elf.bytes())?;
    }
}

//! What perf needs for the names of functions in images: an id in the memory that processes map, and an ELF
//! file with the same id and the symbols.
//!
//! The images of a run lie in one memory file. Its first page, which nobody maps, is an ELF header with a
//! build id: Linux tells perf the id with the mapping. The file that [`symbols`] makes is that memory once
//! more, with symbols, each at its place in the memory file.
//!
//! Limits: images that a service gets while its system runs, by `phi-host replace`, have no symbols.
//!
//! Source: the ELF specification (System V ABI, generic part), and GNU's note of a build id.

use elf::ElfBytes;
use elf::abi::{
    EM_X86_64, ET_DYN, EV_CURRENT, NT_GNU_BUILD_ID, PF_R, PF_X, PT_LOAD, PT_NOTE, SHF_ALLOC,
    SHF_EXECINSTR, SHT_NOTE, SHT_NULL, SHT_PROGBITS, SHT_STRTAB, SHT_SYMTAB, STT_FUNC,
};
use phi_abi::layout::{IMAGE_OFFSET, PAGE};
use phi_manifest::bundle::Bundle;

/// Bytes of a build id, as of GNU's.
const ID: usize = 20;

const HEADER: usize = 64;
const SEGMENT: usize = 56;
const SECTION: usize = 64;
const SYMBOL: usize = 24;

/// Where in the first page the note is, and its length.
const NOTE: usize = HEADER + 2 * SEGMENT;
const NOTE_LENGTH: usize = 16 + ID;

/// The memory file: the part of a bundle in which its images are, and nothing else, behind a page for perf.
pub fn memory(bundle: &Bundle<'_>) -> Vec<u8> {
    let all =
        bundle.plan().services.iter().flat_map(|service| [service.image(0), service.image(1)]);
    let segments = all.flatten().flat_map(|image| &image.segments);
    let end = segments.map(|segment| segment.offset + segment.length).max().unwrap_or(0);
    let images = bundle.bytes().get(..end as usize).unwrap_or(bundle.bytes());
    let images = images.get(PAGE as usize..).unwrap_or_default();
    [&first_page(images), images].concat()
}

/// An ELF file of a bundle's memory file, with the functions of all images: `file` gives the ELF file of the
/// image with a name.
pub fn symbols<'a>(bundle: &Bundle<'_>, file: impl Fn(&str) -> Option<&'a [u8]>) -> Vec<u8> {
    let mut placed = Vec::new();
    for service in &bundle.plan().services {
        let base = service.window + IMAGE_OFFSET;
        for image in [service.image(0), service.image(1)].into_iter().flatten() {
            let Some(file) = file(&image.name) else { continue };
            placed.extend(functions(file).into_iter().filter_map(|function| {
                let address = base.checked_add(function.place)?;
                let offset = image.segments.iter().find_map(|segment| {
                    let inside = address.checked_sub(segment.address)?;
                    (inside < segment.length).then_some(segment.offset + inside)
                });
                Some(Function { place: offset?, ..function })
            }));
        }
    }
    with_symbols(&memory(bundle), &placed)
}

/// A function.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Function {
    /// Where it begins: an address in its image's file, or an offset in the memory file.
    place: u64,
    /// Bytes.
    length: u64,
    /// As the compiler wrote it.
    name: String,
}

/// The functions of an image, from its ELF file; none if it is none.
fn functions(image: &[u8]) -> Vec<Function> {
    let read = || {
        let image = ElfBytes::<elf::endian::LittleEndian>::minimal_parse(image).ok()?;
        let (symbols, names) = image.symbol_table().ok()??;
        let functions = symbols.iter().filter(|symbol| {
            symbol.st_symtype() == STT_FUNC && !symbol.is_undefined() && symbol.st_size > 0
        });
        let functions = functions.filter_map(|symbol| {
            let name = names.get(symbol.st_name as usize).ok()?.to_owned();
            Some(Function { place: symbol.st_value, length: symbol.st_size, name })
        });
        Some(functions.collect())
    };
    read().unwrap_or_default()
}

/// Numbers of a structure, one after the other.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn bytes(mut self, bytes: &[u8]) -> Fields {
        self.0.extend_from_slice(bytes);
        self
    }

    fn half(self, value: u16) -> Fields {
        self.bytes(&value.to_le_bytes())
    }

    fn word(self, value: u32) -> Fields {
        self.bytes(&value.to_le_bytes())
    }

    fn long(self, value: u64) -> Fields {
        self.bytes(&value.to_le_bytes())
    }
}

/// The ELF header: of a file with `sections` sections, whose table is at `table`.
fn header(table: u64, sections: u16) -> Fields {
    let fields = Fields::default()
        .bytes(&[0x7F, b'E', b'L', b'F', 2, 1, EV_CURRENT, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .half(ET_DYN)
        .half(EM_X86_64)
        .word(EV_CURRENT.into())
        .long(0)
        .long(HEADER as u64)
        .long(table)
        .word(0);
    let fields = fields.half(HEADER as u16).half(SEGMENT as u16).half(2);
    fields.half(SECTION as u16).half(sections).half(sections.saturating_sub(1))
}

fn segment(kind: u32, flags: u32, place: usize, length: usize) -> Fields {
    let (place, length) = (place as u64, length as u64);
    let fields = Fields::default().word(kind).word(flags).long(place).long(place).long(place);
    fields.long(length).long(length).long(4)
}

/// The page before these images.
fn first_page(images: &[u8]) -> Vec<u8> {
    let id = blake3::hash(images);
    let note =
        Fields::default().word(4).word(ID as u32).word(NT_GNU_BUILD_ID as u32).bytes(b"GNU\0");
    let mut page = header(0, 0)
        .bytes(&segment(PT_NOTE, PF_R, NOTE, NOTE_LENGTH).0)
        .bytes(&segment(PT_LOAD, PF_R | PF_X, PAGE as usize, images.len()).0)
        .bytes(&note.0)
        .bytes(&id.as_bytes()[..ID])
        .0;
    page.resize(PAGE as usize, 0);
    page
}

/// A section of the file: its name, kind, flags, place, length, the section that it belongs with, and the
/// bytes of one entry.
struct Section(&'static str, u32, u32, usize, usize, u32, u64);

/// The memory file `memory`, with symbols for `functions`, whose places are offsets in it.
fn with_symbols(memory: &[u8], functions: &[Function]) -> Vec<u8> {
    let mut file = memory.to_vec();
    file.resize(file.len().next_multiple_of(8).max(PAGE as usize), 0);
    let text = file.len() - PAGE as usize;
    let (mut symbols, mut names) = (vec![0; SYMBOL], vec![0]);
    for Function { place, length, name } in functions {
        let symbol = Fields::default().word(names.len() as u32).bytes(&[STT_FUNC, 0]).half(2);
        symbols.extend(symbol.long(*place).long(*length).0);
        names.extend(name.bytes().chain([0]));
    }
    let (symbols_at, names_at) = (file.len(), file.len() + symbols.len());
    let section_names_at = names_at + names.len();
    let (allocated, code) = (SHF_ALLOC, SHF_ALLOC | SHF_EXECINSTR);
    let mut sections = [
        Section("", SHT_NULL, 0, 0, 0, 0, 0),
        Section(".note.gnu.build-id", SHT_NOTE, allocated, NOTE, NOTE_LENGTH, 0, 0),
        Section(".text", SHT_PROGBITS, code, PAGE as usize, text, 0, 0),
        Section(".symtab", SHT_SYMTAB, 0, symbols_at, symbols.len(), 4, SYMBOL as u64),
        Section(".strtab", SHT_STRTAB, 0, names_at, names.len(), 0, 0),
        Section(".shstrtab", SHT_STRTAB, 0, section_names_at, 0, 0, 0),
    ];
    let section_names: Vec<u8> =
        sections.iter().flat_map(|section| section.0.bytes().chain([0])).collect();
    sections[5].4 = section_names.len();
    for part in [&symbols, &names, &section_names] {
        file.extend_from_slice(part);
    }
    file.resize(file.len().next_multiple_of(8), 0);
    let head = header(file.len() as u64, sections.len() as u16).0;
    file[..HEADER].copy_from_slice(&head);
    let mut name = 0;
    for Section(text, kind, flags, place, length, link, entry) in sections {
        let address = if flags & SHF_ALLOC != 0 { place as u64 } else { 0 };
        let fields = Fields::default().word(name).word(kind).long(flags.into()).long(address);
        let fields = fields.long(place as u64).long(length as u64).word(link);
        // All symbols are local: the first that is not would come after them, and after the one that is none.
        let others = if kind == SHT_SYMTAB { functions.len() as u32 + 1 } else { 0 };
        file.extend(fields.word(others).long(4).long(entry).0);
        name += text.len() as u32 + 1;
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_the_memorys_id_and_its_functions() {
        let images = vec![7u8; 2 * PAGE as usize];
        let memory = [first_page(&images), images].concat();
        let function = |place, name: &str| Function { place, length: 16, name: name.into() };
        let wanted = [function(0x1010, "one"), function(0x2020, "_RNvC3two3two")];
        let file = with_symbols(&memory, &wanted);
        assert_eq!(functions(&file), wanted);
        let id = |bytes: &[u8]| bytes[NOTE..NOTE + NOTE_LENGTH].to_vec();
        assert_eq!(id(&file), id(&memory));
        assert_ne!(id(&file), id(&first_page(b"others")));
        let parsed = ElfBytes::<elf::endian::LittleEndian>::minimal_parse(&file).unwrap();
        let note = parsed.section_header_by_name(".note.gnu.build-id").unwrap().unwrap();
        let note = parsed.section_data_as_notes(&note).unwrap().next().unwrap();
        let elf::note::Note::GnuBuildId(note) = note else { panic!("{note:?}") };
        assert_eq!(note.0, &memory[NOTE + 16..NOTE + 16 + ID]);
        let text = parsed.section_header_by_name(".text").unwrap().unwrap();
        assert_eq!((text.sh_addr, text.sh_offset), (PAGE, PAGE));
        assert_eq!(&file[PAGE as usize..memory.len()], &memory[PAGE as usize..]);
    }

    #[test]
    fn what_is_no_image_has_no_functions() {
        assert!(functions(b"").is_empty());
        assert!(functions(&first_page(b"")).is_empty());
    }
}

//! Service images: reading the ELF that cargo built, and relocating it to its service's window.
//!
//! An image is a static position-independent executable for x86-64 that needs nobody: no
//! interpreter, no libraries, no thread-local storage, no undefined symbols, and only relative
//! relocations. A note says for which version of the ABI it was built ([`phi_abi::VersionNote`]).
//! Neither kernel reads ELF: what comes out of here is flat pages.
//!
//! Source: System V ABI, generic part and AMD64 supplement.

use core::fmt;

use phi_abi::layout::{IMAGE_OFFSET, IMAGE_SIZE, PAGE, pages};
use phi_abi::{ABI_VERSION, VersionNote};

use crate::plan::SegmentAccess;

/// Why an image is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ImageError {
    /// Not a 64-bit little-endian ELF file for x86-64, or cut off.
    NoImage,
    /// Not position-independent.
    Fixed,
    /// It needs an interpreter.
    Interpreter,
    /// It needs a shared library.
    Library,
    /// It has thread-local storage.
    ThreadLocal,
    /// A segment is both writable and executable.
    WritableText,
    /// A segment, its content or a relocation lies outside the image, or they overlap.
    Layout,
    /// A relocation of another type than relative.
    Relocation(u32),
    /// It has relocations of another form than RELA.
    RelocationForm,
    /// It is larger than a window's image part.
    TooLarge,
    /// Its entry is not in its text.
    Entry,
    /// It was built for another version of the ABI; or for none, if it has no note.
    Version(Option<u32>),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            ImageError::NoImage => "it is no 64-bit ELF file for x86-64",
            ImageError::Fixed => "it is not position-independent; link it with -static-pie",
            ImageError::Interpreter => {
                "it asks for an interpreter; link it with --no-dynamic-linker"
            }
            ImageError::Library => "it needs a shared library; link it with -nostdlib",
            ImageError::ThreadLocal => "it has thread-local storage, which services do not",
            ImageError::WritableText => "a segment is both writable and executable",
            ImageError::Layout => "a part of it lies outside of it, or overlaps another",
            ImageError::Relocation(kind) => {
                return write!(
                    f,
                    "it has a relocation of type {kind}; only relative ones are known"
                );
            }
            ImageError::RelocationForm => {
                "it has packed or lazy relocations; link it without -z pack-relative-relocs and with -z now"
            }
            ImageError::TooLarge => "it is larger than the image part of a window (256 MiB)",
            ImageError::Entry => "its entry is not in its text",
            ImageError::Version(Some(version)) => {
                return write!(
                    f,
                    "it was built for ABI version {version}, and this is version {ABI_VERSION}"
                );
            }
            ImageError::Version(None) => {
                "it does not say for which ABI version it was built; make it by phi_rt::image!"
            }
        };
        f.write_str(text)
    }
}

impl std::error::Error for ImageError {}

/// Pages of a relocated image with one access.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImagePart {
    /// Address of the first byte, a multiple of the page size.
    pub address: u64,
    /// Bytes in memory, a multiple of the page size.
    pub memory_length: u64,
    /// The content, in whole pages; the rest of the memory is zero.
    pub content: Vec<u8>,
    /// Who may do what.
    pub access: SegmentAccess,
}

/// An image, relocated to a window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelocatedImage {
    /// Address of its entry.
    pub entry: u64,
    /// Its parts, in ascending order.
    pub parts: Vec<ImagePart>,
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PT_TLS: u32 = 7;
const DT_NEEDED: u64 = 1;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_REL: u64 = 17;
const DT_JMPREL: u64 = 23;
const DT_RELR: u64 = 36;
const R_X86_64_RELATIVE: u32 = 8;

struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file_length: u64,
    memory_length: u64,
}

fn half(bytes: &[u8], at: usize) -> Result<u16, ImageError> {
    let field = bytes.get(at..at.checked_add(2).ok_or(ImageError::NoImage)?);
    field.and_then(|field| field.try_into().ok()).map(u16::from_le_bytes).ok_or(ImageError::NoImage)
}

fn single(bytes: &[u8], at: usize) -> Result<u32, ImageError> {
    Ok(u32::from(half(bytes, at)?) | u32::from(half(bytes, at + 2)?) << 16)
}

fn double(bytes: &[u8], at: usize) -> Result<u64, ImageError> {
    Ok(u64::from(single(bytes, at)?) | u64::from(single(bytes, at + 4)?) << 32)
}

fn headers(file: &[u8]) -> Result<Vec<ProgramHeader>, ImageError> {
    let identification = file.get(..20).ok_or(ImageError::NoImage)?;
    // 64 bits, little-endian, version 1; machine 62 is x86-64.
    if !identification.starts_with(b"\x7fELF\x02\x01\x01") || half(file, 18)? != 62 {
        return Err(ImageError::NoImage);
    }
    if half(file, 16)? != 3 {
        return Err(ImageError::Fixed);
    }
    let first = usize::try_from(double(file, 32)?).map_err(|_| ImageError::NoImage)?;
    let (size, count) = (usize::from(half(file, 54)?), usize::from(half(file, 56)?));
    if size != 56 || first > file.len() {
        return Err(ImageError::NoImage);
    }
    (0..count)
        .map(|index| {
            let at = first + index * size;
            Ok(ProgramHeader {
                kind: single(file, at)?,
                flags: single(file, at + 4)?,
                offset: double(file, at + 8)?,
                address: double(file, at + 16)?,
                file_length: double(file, at + 32)?,
                memory_length: double(file, at + 40)?,
            })
        })
        .collect()
}

fn access(flags: u32) -> Result<SegmentAccess, ImageError> {
    match (flags & 2 != 0, flags & 1 != 0) {
        (true, true) => Err(ImageError::WritableText),
        (true, false) => Ok(SegmentAccess::Write),
        (false, true) => Ok(SegmentAccess::Execute),
        (false, false) => Ok(SegmentAccess::Read),
    }
}

fn range(start: u64, length: u64, limit: usize) -> Result<std::ops::Range<usize>, ImageError> {
    let end = start.checked_add(length).ok_or(ImageError::Layout)?;
    match usize::try_from(end) {
        Ok(end) if end <= limit => Ok(start as usize..end),
        _ => Err(ImageError::Layout),
    }
}

/// Reads the image `file` and relocates it to the window at `window`.
///
/// # Errors
/// [`ImageError`], for anything but an image as the module describes it.
pub fn relocate(file: &[u8], window: u64) -> Result<RelocatedImage, ImageError> {
    let headers = headers(file)?;
    if headers.iter().any(|header| header.kind == PT_INTERP) {
        return Err(ImageError::Interpreter);
    }
    if headers.iter().any(|header| header.kind == PT_TLS) {
        return Err(ImageError::ThreadLocal);
    }
    let base = window + IMAGE_OFFSET;
    let mut memory = flatten(file, &headers)?;
    let dynamic = headers.iter().find(|header| header.kind == PT_DYNAMIC);
    if let Some(dynamic) = dynamic {
        let table = range(dynamic.address, dynamic.file_length, memory.len())?;
        let relocations = relocations(&memory[table])?;
        apply(&mut memory, &relocations, base)?;
    }
    let mut parts: Vec<ImagePart> = Vec::new();
    for header in headers.iter().filter(|header| header.kind == PT_LOAD) {
        add_part(&mut parts, &memory, header, base)?;
    }
    let entry = base.checked_add(double(file, 24)?).ok_or(ImageError::Entry)?;
    let text = parts.iter().filter(|part| part.access == SegmentAccess::Execute);
    let within =
        |part: &ImagePart| (part.address..part.address + part.memory_length).contains(&entry);
    if !text.into_iter().any(within) {
        return Err(ImageError::Entry);
    }
    match version(&memory, &headers)? {
        Some(ABI_VERSION) => {}
        other => return Err(ImageError::Version(other)),
    }
    for part in &mut parts {
        trim(part);
    }
    Ok(RelocatedImage { entry, parts })
}

/// The version of the ABI that the image's notes tell; none if they do not.
fn version(memory: &[u8], headers: &[ProgramHeader]) -> Result<Option<u32>, ImageError> {
    for header in headers.iter().filter(|header| header.kind == PT_NOTE) {
        let mut notes = &memory[range(header.address, header.file_length, memory.len())?];
        // A note that is cut off ends them.
        while let (Ok(owner), Ok(length), Ok(kind)) =
            (single(notes, 0), single(notes, 4), single(notes, 8))
        {
            let whole = |length: u32| (length as usize).next_multiple_of(4);
            let content = 12 + whole(owner);
            let ours = notes.get(12..content) == Some(&VersionNote::OWNER);
            if ours && kind == VersionNote::KIND && length == 4 {
                return Ok(single(notes, content).ok());
            }
            notes = notes.get(content + whole(length)..).unwrap_or_default();
        }
    }
    Ok(None)
}

/// The image's memory from its address 0 on, as loading would make it.
fn flatten(file: &[u8], headers: &[ProgramHeader]) -> Result<Vec<u8>, ImageError> {
    let mut end = 0;
    for header in headers.iter().filter(|header| header.kind == PT_LOAD) {
        let last = header.address.checked_add(header.memory_length).ok_or(ImageError::Layout)?;
        if header.address < end || header.file_length > header.memory_length {
            return Err(ImageError::Layout);
        }
        end = last;
    }
    let length = pages(end).filter(|length| *length <= IMAGE_SIZE).ok_or(ImageError::TooLarge)?;
    let mut memory = vec![0; length as usize];
    for header in headers.iter().filter(|header| header.kind == PT_LOAD) {
        let content = range(header.offset, header.file_length, file.len())?;
        let place = range(header.address, header.file_length, memory.len())?;
        memory[place].copy_from_slice(&file[content]);
    }
    Ok(memory)
}

/// Where the relocations lie in the image's memory.
fn relocations(dynamic: &[u8]) -> Result<std::ops::Range<u64>, ImageError> {
    let (mut address, mut length) = (0, 0);
    for entry in dynamic.chunks_exact(16) {
        match (double(entry, 0)?, double(entry, 8)?) {
            (DT_NEEDED, _) => return Err(ImageError::Library),
            (DT_REL | DT_JMPREL | DT_RELR, _) => return Err(ImageError::RelocationForm),
            (DT_RELA, value) => address = value,
            (DT_RELASZ, value) => length = value,
            _ => {}
        }
    }
    Ok(address..address.checked_add(length).ok_or(ImageError::Layout)?)
}

fn apply(
    memory: &mut [u8],
    relocations: &std::ops::Range<u64>,
    base: u64,
) -> Result<(), ImageError> {
    let table = range(relocations.start, relocations.end - relocations.start, memory.len())?;
    for entry in memory[table].to_vec().chunks_exact(24) {
        let kind = single(entry, 8)?;
        if kind != R_X86_64_RELATIVE {
            return Err(ImageError::Relocation(kind));
        }
        let place = range(double(entry, 0)?, 8, memory.len())?;
        let value = base.wrapping_add(double(entry, 16)?);
        memory[place].copy_from_slice(&value.to_le_bytes());
    }
    Ok(())
}

/// Adds the pages of one loadable segment; pages next to others of the same access join them.
fn add_part(
    parts: &mut Vec<ImagePart>,
    memory: &[u8],
    header: &ProgramHeader,
    base: u64,
) -> Result<(), ImageError> {
    let access = access(header.flags)?;
    let start = header.address / PAGE * PAGE;
    let end = pages(header.address + header.memory_length).ok_or(ImageError::Layout)?;
    let content = memory.get(start as usize..end as usize).ok_or(ImageError::Layout)?;
    if content.is_empty() {
        return Ok(());
    }
    if let Some(last) = parts.last_mut() {
        let last_end = last.address + last.memory_length;
        if last_end > base + start && last.access != access {
            // Two accesses on one page: the linker was not told to separate them.
            return Err(ImageError::Layout);
        }
        if last_end >= base + start && last.access == access {
            let new = (base + end).saturating_sub(last_end).min(content.len() as u64);
            last.content.extend_from_slice(&content[content.len() - new as usize..]);
            last.memory_length += new;
            return Ok(());
        }
    }
    let (address, memory_length) = (base + start, end - start);
    parts.push(ImagePart { address, memory_length, content: content.to_vec(), access });
    Ok(())
}

/// Leaves out whole pages of zeros at the end of writable memory.
fn trim(part: &mut ImagePart) {
    if part.access == SegmentAccess::Write {
        let used = part.content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        part.content.truncate(used.next_multiple_of(PAGE as usize));
    }
}

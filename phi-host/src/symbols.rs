//! What addresses mean: functions, files and lines, from the ELF files that were built.
//!
//! Principles:
//! - **Nothing is read before somebody asks**: debug information is parsed when an address is to be
//!   described, which is rare.
//! - **Addresses come from hostile places** (a service writes to the log what it likes), so there is a
//!   limit to how many are described.
//!
//! Limits: what was inlined is named as the compiler's line tables name it.

use addr2line::gimli::{
    BaseAddresses, DebugFrame, Dwarf, EndianSlice, LittleEndian, Register, RegisterRule,
    UnwindContext, UnwindSection,
};
use addr2line::gimli::{CfaRule, X86_64};
use elf::ElfBytes;
use elf::abi::PT_LOAD;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Addresses that are described in one run, at most.
const DESCRIPTIONS: usize = 256;

/// Frames of a stack, at most.
const FRAMES: usize = 64;

/// Bytes of a line of the log that is looked at.
const LINE: usize = 512;

/// A program, as it lies in memory.
pub struct Module {
    name: String,
    file: Arc<[u8]>,
    bias: u64,
    range: Range<u64>,
}

impl Module {
    /// The ELF file.
    pub fn file(&self) -> &[u8] {
        &self.file
    }

    /// What is added to the file's addresses.
    pub fn bias(&self) -> u64 {
        self.bias
    }
}

type Reader<'a> = EndianSlice<'a, LittleEndian>;

/// The content of a section of an ELF file; empty where there is none.
fn section<'a>(file: &'a [u8], name: &str) -> &'a [u8] {
    let content = || {
        let file = ElfBytes::<elf::endian::LittleEndian>::minimal_parse(file).ok()?;
        let header = file.section_header_by_name(name).ok()??;
        Some(file.section_data(&header).ok()?.0)
    };
    content().unwrap_or_default()
}

/// The addresses of an ELF file's code.
fn code(file: &[u8]) -> Option<Range<u64>> {
    let file = ElfBytes::<elf::endian::LittleEndian>::minimal_parse(file).ok()?;
    let parts =
        file.segments()?.iter().filter(|part| part.p_type == PT_LOAD && part.p_flags & 1 != 0);
    // The kernel has one more part of code, at its physical address.
    let part = parts.max_by_key(|part| part.p_vaddr)?;
    Some(part.p_vaddr..part.p_vaddr.checked_add(part.p_memsz)?)
}

/// The programs of a system.
#[derive(Default)]
pub struct Symbols {
    modules: Vec<Module>,
    /// The project's folder, which is left out of files' names.
    project: Option<PathBuf>,
}

impl Symbols {
    /// None yet, of programs of the project in `project`.
    pub fn of(project: &Path) -> Symbols {
        Symbols { modules: Vec::new(), project: project.canonicalize().ok() }
    }

    /// Adds a program that lies `bias` beyond its file's addresses. What is no ELF file has no symbols.
    pub fn add(&mut self, name: &str, file: Arc<[u8]>, bias: u64) {
        let Some(code) = code(&file) else { return };
        let range = code.start.saturating_add(bias)..code.end.saturating_add(bias);
        self.modules.push(Module { name: name.into(), file, bias, range });
    }

    /// The programs, in the order in which they were added.
    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.modules.iter()
    }

    fn module(&self, address: u64) -> Option<&Module> {
        self.modules.iter().find(|module| module.range.contains(&address))
    }

    /// What the instruction at `address` belongs to, the innermost of what was inlined first; nothing
    /// where that is not known.
    pub fn describe(&self, address: u64) -> Vec<String> {
        let Some(module) = self.module(address) else { return Vec::new() };
        let load = |id: addr2line::gimli::SectionId| {
            Ok::<Reader<'_>, ()>(EndianSlice::new(section(&module.file, id.name()), LittleEndian))
        };
        let Ok(dwarf) = Dwarf::load(load) else { return Vec::new() };
        let Ok(context) = addr2line::Context::from_dwarf(dwarf) else { return Vec::new() };
        let Ok(mut frames) = context.find_frames(address - module.bias).skip_all_loads() else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            let function = frame.function.as_ref().and_then(|name| name.demangle().ok());
            let mut line = function.map_or("?".into(), |name| name.into_owned());
            if let Some(location) = frame.location
                && let Some(file) = location.file
            {
                let _ = write!(line, " ({}", self.short(file));
                if let Some(number) = location.line {
                    let _ = write!(line, ":{number}");
                }
                line.push(')');
            }
            let _ = write!(line, " in {}", module.name);
            lines.push(line);
        }
        lines
    }

    /// A file's name, from the project's folder on.
    fn short<'a>(&self, file: &'a str) -> &'a str {
        let inside = self
            .project
            .as_ref()
            .and_then(|project| Path::new(file).strip_prefix(project).ok().and_then(Path::to_str));
        inside.unwrap_or(file)
    }

    /// The return addresses on a stack, innermost first, from the registers of a function on it.
    pub fn unwind(&self, stack: &Stack) -> Vec<u64> {
        let mut registers = stack.registers;
        let mut addresses = vec![registers.instruction];
        while addresses.len() < FRAMES {
            // A call that never returns may be its function's last instruction.
            let at = registers.instruction - u64::from(addresses.len() > 1);
            let Some(caller) = self.caller(at, &registers, stack) else { break };
            // Stacks grow downward, so that this ends.
            if caller.stack <= registers.stack || self.module(caller.instruction).is_none() {
                break;
            }
            addresses.push(caller.instruction);
            registers = caller;
        }
        addresses
    }

    /// The registers of the function that called the one at `address`.
    fn caller(&self, address: u64, registers: &Registers, stack: &Stack) -> Option<Registers> {
        let module = self.module(address)?;
        let mut frames = DebugFrame::new(section(&module.file, ".debug_frame"), LittleEndian);
        frames.set_address_size(8);
        let mut context = UnwindContext::new();
        let bases = BaseAddresses::default();
        let row = frames
            .unwind_info_for_address(
                &bases,
                &mut context,
                address - module.bias,
                DebugFrame::cie_from_offset,
            )
            .ok()?;
        let CfaRule::RegisterAndOffset { register, offset } = *row.cfa() else { return None };
        let frame = registers.get(register)?.checked_add_signed(offset)?;
        let saved = |register: Register| match row.register(register) {
            Some(RegisterRule::Offset(offset)) => stack.word(frame.checked_add_signed(offset)?),
            // A row says nothing of registers that are as they were.
            None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => {
                registers.get(register)
            }
            _ => None,
        };
        let instruction = stack.word(frame.checked_sub(8)?)?;
        let mut caller = Registers { instruction, stack: frame, preserved: [0; 6] };
        for (value, register) in caller.preserved.iter_mut().zip(PRESERVED) {
            *value = saved(register)?;
        }
        Some(caller)
    }
}

/// The registers that a function preserves (System V ABI, AMD64 supplement, 3.2.1), but for the stack's.
const PRESERVED: [Register; 6] =
    [X86_64::RBX, X86_64::RBP, X86_64::R12, X86_64::R13, X86_64::R14, X86_64::R15];

/// Registers of a function that was interrupted, as far as they matter to its caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
pub struct Registers {
    /// The instruction pointer.
    pub instruction: u64,
    /// The stack pointer.
    pub stack: u64,
    /// RBX, RBP, and R12 to R15.
    pub preserved: [u64; 6],
}

impl Registers {
    fn get(&self, register: Register) -> Option<u64> {
        if register == X86_64::RSP {
            return Some(self.stack);
        }
        let place = PRESERVED.iter().position(|preserved| *preserved == register)?;
        Some(self.preserved[place])
    }
}

/// A stack that somebody wrote down.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
pub struct Stack {
    /// The registers of its innermost function.
    pub registers: Registers,
    /// Its words, from the stack pointer on.
    pub words: Vec<u64>,
}

impl Stack {
    fn word(&self, address: u64) -> Option<u64> {
        let distance = address.checked_sub(self.registers.stack)?;
        if !distance.is_multiple_of(8) {
            return None;
        }
        self.words.get(usize::try_from(distance / 8).ok()?).copied()
    }
}

/// A log, with a description below each line that names the place of a fault.
pub struct SymbolizedLog<'a> {
    log: &'a mut dyn Write,
    symbols: &'a Symbols,
    /// The line so far, as far as it is looked at.
    line: Vec<u8>,
    left: usize,
}

impl<'a> SymbolizedLog<'a> {
    /// Writes to `log`, with addresses described by `symbols`.
    pub fn new(log: &'a mut dyn Write, symbols: &'a Symbols) -> SymbolizedLog<'a> {
        SymbolizedLog { log, symbols, line: Vec::new(), left: DESCRIPTIONS }
    }

    /// Describes a stack, a line for each function.
    ///
    /// # Errors
    /// The log's.
    pub fn stack(&mut self, stack: &Stack) -> io::Result<()> {
        for (number, address) in self.symbols.unwind(stack).into_iter().enumerate() {
            writeln!(self.log, "  {number:>2}: {address:#x}")?;
            self.describe(address - u64::from(number > 0))?;
        }
        self.log.flush()
    }

    fn describe(&mut self, address: u64) -> io::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        for line in self.symbols.describe(address) {
            writeln!(self.log, "      {line}")?;
            self.left = self.left.saturating_sub(1);
        }
        Ok(())
    }

    fn end_line(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        match fault(&line) {
            Some(address) => self.describe(address),
            None => Ok(()),
        }
    }
}

/// The instruction that a line about a fault names, as ΦCore writes it.
fn fault(line: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(line).ok()?;
    let (before, address) = line.rsplit_once(", instruction 0x")?;
    before.contains(" faulted: ").then(|| u64::from_str_radix(address, 16).ok())?
}

impl Write for SymbolizedLog<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end + 1);
            self.log.write_all(line)?;
            self.remember(&line[..end]);
            self.end_line()?;
            rest = after;
        }
        self.log.write_all(rest)?;
        self.remember(rest);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.log.flush()
    }
}

impl SymbolizedLog<'_> {
    fn remember(&mut self, bytes: &[u8]) {
        let room = LINE - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The symbols of this test's own program, where it lies.
    fn own() -> Symbols {
        let program = std::env::current_exe().unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let name = program.to_str().unwrap();
        let first = maps.lines().find(|line| line.ends_with(name)).unwrap();
        let bias = u64::from_str_radix(first.split_once('-').unwrap().0, 16).unwrap();
        let mut symbols = Symbols::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        symbols.add("this test", std::fs::read(&program).unwrap().into(), bias);
        symbols
    }

    #[inline(never)]
    fn somewhere() -> u64 {
        somewhere as *const () as u64
    }

    #[test]
    fn a_function_has_a_name_a_file_and_a_line() {
        let lines = own().describe(somewhere());
        let [line] = &lines[..] else { panic!("one function: {lines:?}") };
        assert!(line.contains("::somewhere (phi-host/src/symbols.rs:"), "{line}");
        assert!(line.ends_with(") in this test"), "{line}");
        assert_eq!(own().describe(8), [""; 0]);
    }

    #[test]
    fn what_is_no_elf_file_has_no_symbols() {
        let mut symbols = Symbols::default();
        for file in [&b""[..], b"\x7fELF", &[0; 4096]] {
            symbols.add("none", file.into(), 0);
        }
        assert_eq!((symbols.modules().count(), symbols.describe(0)), (0, Vec::new()));
    }

    #[test]
    fn lines_about_faults_get_a_place_and_others_do_not() {
        let symbols = own();
        let mut log = Vec::new();
        let fault = format!("a/1 faulted: read at 0x0, instruction {:#x}\n", somewhere());
        let text = format!("{fault}said, instruction {:#x}\nno end", somewhere());
        let mut writer = SymbolizedLog::new(&mut log, &symbols);
        for piece in text.as_bytes().chunks(7) {
            writer.write_all(piece).unwrap();
        }
        let log = String::from_utf8(log).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 4, "{log}");
        assert!(lines[1].starts_with("      ") && lines[1].contains("::somewhere ("), "{log}");
    }

    #[test]
    fn who_makes_many_faults_gets_no_more_descriptions() {
        let symbols = Symbols::default();
        let mut log = Vec::new();
        let mut writer = SymbolizedLog::new(&mut log, &symbols);
        writer.left = 0;
        writer.write_all(b"a/1 faulted: read, instruction 0x1\n").unwrap();
        writer.write_all(&[b'x'; 4 * LINE]).unwrap();
        assert_eq!((writer.line.len(), log.len()), (LINE, 35 + 4 * LINE));
    }

    #[test]
    fn lines_that_name_no_instruction_are_left_alone() {
        for line in ["a faulted: panic", "x, instruction 0x5", "a faulted: b, instruction 0x", ""] {
            assert_eq!(fault(line.as_bytes()), None, "{line}");
        }
        assert_eq!(fault(b"\xFF faulted: b, instruction 0x1"), None);
        assert_eq!(fault(b"a/2 faulted: read at 0x1, instruction 0x1f"), Some(0x1F));
    }

    #[test]
    fn a_stack_is_read_within_its_words() {
        let registers = Registers { instruction: 0, stack: 0x1000, preserved: [0; 6] };
        let stack = Stack { registers, words: vec![7, 8] };
        let words = [0xFF8, 0x1000, 0x1004, 0x1008, 0x1010, u64::MAX].map(|at| stack.word(at));
        assert_eq!(words, [None, Some(7), None, Some(8), None, None]);
        assert_eq!(Symbols::default().unwind(&stack), [0]);
    }
}

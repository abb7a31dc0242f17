//! A processor that keeps all that it has found, pages and tables, for as long as it may, with identifiers and
//! without: after each of many random steps, what it keeps of the space in use is what the tables say.

mod memory;

use memory::Memory;
use phi_abi::layout::PAGE;
use phi_mem::{FrameAllocator, FrameRange};
use phi_tables::{ADDRESS, ENTRIES, Format, Identifier, Processor, Space, index};
use std::collections::BTreeMap;
use std::ops::Range;

const STEPS: usize = 1_000_000;
const DOMAINS: usize = 3;

/// Frames for tables; a page may be any frame beyond.
const FRAMES: u64 = 100;

const FORMAT: Format = Format { table: 0b111, large: true };
const IS_LARGE: u64 = 0x80;

/// Where every domain has its pages: three times 2 MiB.
const BASE: u64 = 0x1000_0000_0000;
const PAGES: u64 = 3 * 512;
const OWN: Range<usize> = index(BASE, 3)..index(BASE, 3) + 1;

/// Bits of pages.
const ACCESSES: [u64; 2] = [0b101, 0b111];

/// The kernel's tables, in a frame of their own.
const KERNEL: u64 = PAGE;

/// What is kept of an address: of 2 MiB the first one's.
type Kept<T> = BTreeMap<(u64, u64), T>;

/// The processor: the manual says what it may keep (5.10.2.2, 5.10.3.1), and what has it forget (5.10.4.1).
struct Keeper {
    register: u64,
    has_identifiers: bool,
    /// By identifier and address, the entries that were found, and the tables.
    pages: Kept<u64>,
    large_pages: Kept<u64>,
    tables: Kept<u64>,
}

impl Keeper {
    fn new(has_identifiers: bool) -> Keeper {
        let (pages, large_pages, tables) = Default::default();
        Keeper { register: KERNEL, has_identifiers, pages, large_pages, tables }
    }

    fn identifier(&self) -> u64 {
        self.register & 0xFFF
    }

    fn set_register(&mut self, value: u64) {
        let (keep, value) = (value >> 63 != 0, value & !(1 << 63));
        assert!(self.has_identifiers || !keep && value & 0xFFF == 0, "a reserved bit is set");
        self.register = value;
        if !keep {
            self.forget(self.identifier());
        }
    }

    fn forget(&mut self, identifier: u64) {
        self.pages.retain(|(of, _), _| *of != identifier);
        self.large_pages.retain(|(of, _), _| *of != identifier);
        self.tables.retain(|(of, _), _| *of != identifier);
    }

    /// Looks an address up, and keeps what it finds: by a table that it keeps, perhaps.
    fn look_up(&mut self, address: u64, memory: &Memory) {
        let (identifier, around) = (self.identifier(), address & !(512 * PAGE - 1));
        let table = self.tables.get(&(identifier, around)).copied().or_else(|| {
            let mut table = self.register & ADDRESS;
            for level in [3, 2] {
                table = Some(memory_entry(memory, table, address, level) & ADDRESS)
                    .filter(|next| *next != 0)?;
            }
            let entry = memory_entry(memory, table, address, 1);
            if entry & IS_LARGE != 0 {
                self.large_pages.insert((identifier, around), entry);
                return None;
            }
            (entry != 0).then_some(entry & ADDRESS)
        });
        let Some(table) = table else { return };
        self.tables.insert((identifier, around), table);
        let entry = memory_entry(memory, table, address, 0);
        if entry != 0 {
            self.pages.insert((identifier, address), entry);
        }
    }

    /// Checks what is kept of the space in use: pages, and of larger parts `inner` and the first.
    fn check(&self, memory: &Memory, inner: usize) {
        let own = (self.identifier(), 0)..(self.identifier() + 1, 0);
        let walk = |address| memory.walk(self.register & ADDRESS, address);
        let found =
            |entry: u64| (entry != 0).then_some(((entry & ADDRESS) / PAGE, entry & !ADDRESS));
        for ((_, address), entry) in self.pages.range(own.clone()) {
            assert_eq!(found(*entry), walk(*address), "a page that is kept");
        }
        for index in [0, inner] {
            let offset = index as u64 * PAGE;
            for ((_, address), entry) in self.large_pages.range(own.clone()) {
                let entry = (entry & !IS_LARGE) + offset;
                assert_eq!(found(entry), walk(address + offset), "a large page that is kept");
            }
            for ((_, address), table) in self.tables.range(own.clone()) {
                let entry = memory_entry(memory, *table, address + offset, 0);
                assert_eq!(found(entry), walk(address + offset), "a table that is kept");
            }
        }
    }
}

fn memory_entry(memory: &Memory, table: u64, address: u64, level: u32) -> u64 {
    memory.tables[(table / PAGE) as usize][index(address, level)]
}

impl Processor for Keeper {
    fn root(&self) -> u64 {
        self.register & ADDRESS
    }

    fn forget_page(&mut self, address: u64) {
        let (identifier, around) = (self.identifier(), address & !(512 * PAGE - 1));
        self.pages.remove(&(identifier, address));
        self.large_pages.remove(&(identifier, around));
        self.tables.retain(|(of, _), _| *of != identifier);
    }

    fn forget_active(&mut self) {
        self.set_register(self.register);
    }

    fn forget_identifier(&mut self, Identifier(identifier): Identifier) {
        assert!(self.has_identifiers, "there is no such instruction");
        self.forget(identifier.into());
    }
}

struct World {
    memory: Memory,
    processor: Keeper,
    spaces: Vec<Space>,
    random: fastrand::Rng,
    /// How often another space came into use, and something was kept of it still.
    remembered: usize,
}

fn identifier(domain: usize, processor: &Keeper) -> Option<Identifier> {
    processor.has_identifiers.then_some(Identifier(domain as u16 + 1))
}

impl World {
    fn new(has_identifiers: bool) -> World {
        let frames = FrameAllocator::new(&[FrameRange { first: 2, count: FRAMES }]);
        let mut memory = Memory { frames, tables: vec![[0; ENTRIES]; FRAMES as usize + 2] };
        let mut processor = Keeper::new(has_identifiers);
        let mut space = |domain| {
            let identifier = identifier(domain, &processor);
            Space::new(FORMAT, identifier, &mut memory, &mut processor).expect("memory")
        };
        let spaces = (0..DOMAINS).map(&mut space).collect();
        let random = fastrand::Rng::with_seed(20_261_127);
        World { memory, processor, spaces, random, remembered: 0 }
    }

    /// Some pages of a domain: a few, as many as are forgotten at once, whole large pages, or anything.
    fn span(&mut self) -> Range<u64> {
        let start = self.random.u64(..PAGES);
        match self.random.u8(..4) {
            0 => start..PAGES.min(start + self.random.u64(1..4)),
            1 => start..PAGES.min(start + self.random.u64(30..36)),
            2 => start / 512 * 512..start / 512 * 512 + 512,
            _ => start..self.random.u64(start + 1..=PAGES),
        }
    }

    fn map(&mut self, domain: usize, span: &Range<u64>) {
        let space = &mut self.spaces[domain];
        let (start, count) = (BASE + span.start * PAGE, span.end - span.start);
        space.reserve(start, count, &mut self.memory).expect("memory");
        let unaligned = self.random.u64(..2);
        let first = (self.random.u64(2..1_000) * 512) + span.start % 512 + unaligned;
        let flags = ACCESSES[self.random.usize(..ACCESSES.len())];
        let frames = FrameRange { first, count };
        space.map(start, frames, flags, &mut self.memory, &mut self.processor);
    }

    fn activate(&mut self, domain: usize) {
        let space = &self.spaces[domain];
        if !space.is_active(&self.processor) {
            self.processor.set_register(space.root_register());
            let identifier = self.processor.identifier();
            self.remembered +=
                usize::from(self.processor.pages.keys().any(|key| key.0 == identifier));
        }
    }

    /// Ends the space of a domain, and makes another, of the same memory if possible.
    fn restart(&mut self, domain: usize) {
        let space = self.spaces.remove(domain);
        if space.is_active(&self.processor) {
            self.processor.set_register(KERNEL);
        }
        space.free(OWN, &mut self.memory);
        let identifier = identifier(domain, &self.processor);
        let new = Space::new(FORMAT, identifier, &mut self.memory, &mut self.processor);
        self.spaces.insert(domain, new.expect("memory"));
    }

    fn step(&mut self) {
        let domain = self.random.usize(..DOMAINS);
        let span = self.span();
        match self.random.u16(..1_000) {
            0..200 => self.map(domain, &span),
            200..350 => {
                let (start, count) = (BASE + span.start * PAGE, span.end - span.start);
                let space = &mut self.spaces[domain];
                space.unmap(start, count, &mut self.memory, &mut self.processor);
            }
            350..450 => self.activate(domain),
            450..460 => self.restart(domain),
            _ => self.processor.look_up(BASE + span.start * PAGE, &self.memory),
        }
        self.processor.check(&self.memory, self.random.usize(..ENTRIES));
    }
}

/// Makes the steps; how often something was kept of a space while others were in use.
fn remembered(has_identifiers: bool) -> usize {
    let mut world = World::new(has_identifiers);
    (0..STEPS).for_each(|_| world.step());
    world.remembered
}

#[test]
fn without_identifiers_nothing_old_is_found() {
    assert_eq!(remembered(false), 0);
}

#[test]
fn with_identifiers_nothing_old_is_found_and_much_is_kept() {
    let remembered = remembered(true);
    assert!(remembered > STEPS / 200, "{remembered}");
}

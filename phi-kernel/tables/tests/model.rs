//! A million random steps of mapping, unmapping, handing over, taking back, and ending, on the tables that the
//! kernel uses, with real frames: what a walker of the tables finds is what a model says, and nothing leaks.

mod memory;

use memory::Memory;
use phi_abi::layout::PAGE;
use phi_mem::{FrameAllocator, FrameRange};
use phi_tables::{ENTRIES, Format, Tables, Words, index};
use std::ops::Range;

const STEPS: usize = 1_000_000;

/// Steps between two looks at everything.
const WHOLE: usize = 10_000;

/// Frames of the machine: too few for all that is wanted at times.
const FRAMES: u64 = 12_000;

/// Regions that there can be at once, and the pages of one's place.
const REGIONS: usize = 16;
const PLACE: u64 = 2_048;

/// Where regions are.
const BASE: u64 = 0x1000_0000_0000;

/// The processor's: present, writable, and for services; and an IOMMU's: read and write. One IOMMU has no large
/// pages.
const PROCESSOR: Format = Format { table: 0b111, large: true };
const IOMMU: Format = Format { table: 0b011, large: true };
const OLD_IOMMU: Format = Format { table: 0b011, large: false };
const SPACES: [Format; 4] = [PROCESSOR, PROCESSOR, IOMMU, OLD_IOMMU];

/// Bits of pages, with one above the address.
const ACCESSES: [u64; 3] = [0b011, 0b101, 0b111 | 1 << 63];

/// The entries of a space's first table that it makes itself.
const OWN: Range<usize> = index(BASE, 3)..index(BASE, 3) + 1;

/// A region, and what the model says of its pages in each space.
struct Region {
    runs: Vec<FrameRange>,
    pages: u64,
    mapped: [Vec<u64>; SPACES.len()],
}

impl Region {
    fn frame(&self, page: u64) -> u64 {
        let mut before = 0;
        for run in &self.runs {
            if page < before + run.count {
                return run.first + page - before;
            }
            before += run.count;
        }
        unreachable!("the page is the region's")
    }
}

struct World {
    memory: Memory,
    spaces: Vec<Tables>,
    regions: Vec<Option<Region>>,
    random: fastrand::Rng,
    /// How often pages were mapped, unmapped, and could not be for want of memory; and the large pages found.
    mapped: usize,
    unmapped: usize,
    refused: usize,
    large: usize,
}

fn address(region: usize, page: u64) -> u64 {
    BASE + (region as u64 * PLACE + page) * PAGE
}

impl World {
    fn new() -> World {
        let range = FrameRange { first: 3, count: FRAMES };
        let frames = FrameAllocator::new(&[range]);
        let tables = vec![[u64::MAX; ENTRIES]; (FRAMES + 3) as usize];
        let mut memory = Memory { frames, tables };
        let space = |format: &Format| Tables::new(*format, &mut memory).expect("memory");
        let spaces = SPACES.iter().map(space).collect();
        let regions = (0..REGIONS).map(|_| None).collect();
        let random = fastrand::Rng::with_seed(20_261_126);
        World { memory, spaces, regions, random, mapped: 0, unmapped: 0, refused: 0, large: 0 }
    }

    fn create(&mut self, number: usize) {
        let (pages, alignment) = match self.random.u8(..4) {
            // Frames from anywhere.
            0 | 1 => (self.random.u64(1..200), 0),
            // In a row, and aligned as the region is, or not.
            2 => (self.random.u64(512..1_300), 512),
            _ => (self.random.u64(512..1_300), 1),
        };
        let frames = &mut self.memory.frames;
        let mut runs = Vec::new();
        if alignment > 0 {
            runs.extend(frames.allocate_run(pages, alignment).map(|first| (first, pages)));
        } else if frames.free_frames() >= pages {
            runs.extend((0..pages).filter_map(|_| frames.allocate()).map(|first| (first, 1)));
        }
        if runs.is_empty() {
            return;
        }
        let runs = runs.into_iter().map(|(first, count)| FrameRange { first, count }).collect();
        let mapped = SPACES.map(|_| vec![0; pages as usize]);
        self.regions[number] = Some(Region { runs, pages, mapped });
    }

    /// Some pages of a region: a few, whole large pages, or all.
    fn span(&mut self, pages: u64) -> Range<u64> {
        let random = &mut self.random;
        match random.u8(..8) {
            0 | 1 => 0..pages,
            2 => 0..pages.min(512),
            3 if pages > 512 => 512..pages.min(1024),
            4 => {
                let start = random.u64(..pages);
                start..random.u64(start + 1..=pages)
            }
            _ => {
                let start = random.u64(..pages);
                start..pages.min(start + random.u64(1..4))
            }
        }
    }

    /// Maps pages of a region as the kernel does; `flags` 0 to unmap them.
    fn change(&mut self, space: usize, number: usize, span: &Range<u64>, flags: u64) {
        let Some(region) = &mut self.regions[number] else { return };
        let (tables, memory) = (&mut self.spaces[space], &mut self.memory);
        let (start, count) = (address(number, span.start), span.end - span.start);
        if flags == 0 {
            let pages = &region.mapped[space][span.start as usize..span.end as usize];
            let used = pages.iter().any(|flags| *flags != 0);
            assert_eq!(tables.unmap(start, count, memory), used, "what walkers must forget");
            self.unmapped += 1;
        } else {
            if tables.reserve(start, count, memory).is_none() {
                self.refused += 1;
                return;
            }
            let mut before = 0;
            for run in &region.runs {
                let part = before.max(span.start)..(before + run.count).min(span.end);
                if part.start < part.end {
                    let first = run.first + part.start - before;
                    let frames = FrameRange { first, count: part.end - part.start };
                    tables.map(address(number, part.start), frames, flags, memory);
                }
                before += run.count;
            }
            self.mapped += 1;
        }
        region.mapped[space][span.start as usize..span.end as usize].fill(flags);
        // The ends, what is beside them, and something between.
        let inner = self.random.u64(span.clone());
        for page in [span.start.saturating_sub(1), span.start, inner, span.end - 1, span.end] {
            self.check(space, number, page);
        }
    }

    fn check(&self, space: usize, number: usize, page: u64) {
        let Some(region) = &self.regions[number] else { return };
        let found = self.memory.walk(self.spaces[space].root(), address(number, page));
        let flags = region.mapped[space].get(page as usize).copied().unwrap_or(0);
        let expected = (flags != 0).then(|| (region.frame(page), flags));
        assert_eq!(found, expected, "space {space}, region {number}, page {page}");
    }

    /// Everything, and the count of frames.
    fn check_all(&mut self) {
        let mut used = 0;
        for (number, region) in self.regions.iter().enumerate() {
            let pages = region.as_ref().map_or(0, |region| region.pages);
            used += pages;
            for space in 0..SPACES.len() {
                for page in 0..PLACE {
                    match region {
                        Some(_) => self.check(space, number, page),
                        None => {
                            let root = self.spaces[space].root();
                            assert_eq!(self.memory.walk(root, address(number, page)), None);
                        }
                    }
                }
            }
        }
        for tables in &self.spaces {
            let (count, large) = self.count(tables.root(), 3);
            // Each large page keeps the table that it took the place of.
            used += count + large;
            self.large += large as usize;
        }
        let free = self.memory.frames.free_frames();
        // Tables that large pages left are kept too, until something is reserved.
        let kept = FRAMES - free - used;
        assert!(kept < 8, "{kept} frames are nobody's");
    }

    /// Tables under one, itself included, and large pages.
    fn count(&self, table: u64, level: u32) -> (u64, u64) {
        let (mut tables, mut large) = (1, 0);
        if level > 0 {
            for index in 0..ENTRIES {
                match self.memory.entry(table, index) {
                    0 => {}
                    entry if level == 1 && entry & 0x80 != 0 => large += 1,
                    entry => {
                        let (more, others) = self.count(entry & 0x000F_FFFF_FFFF_F000, level - 1);
                        tables += more;
                        large += others;
                    }
                }
            }
        }
        (tables, large)
    }

    /// Takes a region out of every space.
    fn revoke(&mut self, number: usize) {
        let Some(pages) = self.regions[number].as_ref().map(|region| region.pages) else { return };
        for space in 0..SPACES.len() {
            self.change(space, number, &(0..pages), 0);
        }
    }

    fn destroy(&mut self, number: usize) {
        self.revoke(number);
        for run in self.regions[number].take().map_or(Vec::new(), |region| region.runs) {
            assert_eq!(self.memory.frames.free(run.first, run.count), run.count);
        }
    }

    fn end(&mut self, space: usize) {
        let format = SPACES[space];
        // Where there is no memory for another one, it goes on.
        let Some(new) = Tables::new(format, &mut self.memory) else { return };
        let old = std::mem::replace(&mut self.spaces[space], new);
        old.free(OWN, &mut self.memory);
        for region in self.regions.iter_mut().flatten() {
            region.mapped[space].fill(0);
        }
    }

    /// Maps where there is no memory for tables, and unmaps, which must succeed.
    fn without_memory(&mut self, space: usize, number: usize, span: &Range<u64>, access: u64) {
        let taken: Vec<u64> = std::iter::from_fn(|| self.memory.frames.allocate()).collect();
        self.change(space, number, span, access);
        let inner = self.random.u64(span.clone());
        self.change(space, number, &(inner..span.end), 0);
        for frame in taken {
            self.memory.frames.free(frame, 1);
        }
    }

    fn step(&mut self) {
        let (space, number) = (self.random.usize(..SPACES.len()), self.random.usize(..REGIONS));
        let Some(pages) = self.regions[number].as_ref().map(|region| region.pages) else {
            return self.create(number);
        };
        let span = self.span(pages);
        let access = ACCESSES[self.random.usize(..ACCESSES.len())];
        match self.random.u16(..1_000) {
            0..500 => self.change(space, number, &span, access),
            500..800 => self.change(space, number, &span, 0),
            800..950 => {
                let other = self.random.usize(..SPACES.len());
                self.change(space, number, &span, 0);
                self.change(other, number, &span, access);
            }
            950..960 => self.without_memory(space, number, &span, access),
            960..980 => self.revoke(number),
            980..995 => self.destroy(number),
            _ => self.end(space),
        }
    }
}

#[test]
fn a_million_steps_agree_with_the_model_and_leak_nothing() {
    let mut world = World::new();
    for step in 0..STEPS {
        world.step();
        if step % WHOLE == 0 {
            world.check_all();
        }
    }
    let World { mapped, unmapped, refused, large, .. } = world;
    println!("{mapped} mapped, {unmapped} unmapped, {refused} refused, {large} large pages found");
    assert!(mapped + unmapped > STEPS && mapped > STEPS / 3, "little happens");
    assert!(refused > 1_000, "there was always memory");
    assert!(large > 100, "large pages are seldom");
    for number in 0..REGIONS {
        world.destroy(number);
    }
    for tables in world.spaces {
        tables.free(OWN, &mut world.memory);
    }
    assert_eq!(world.memory.frames.free_frames(), FRAMES);
}

#[test]
fn a_place_without_memory_for_its_tables_stays_as_it_is() {
    let frames = FrameAllocator::new(&[FrameRange { first: 0, count: 6 }]);
    let mut memory = Memory { frames, tables: vec![[0; ENTRIES]; 6] };
    let mut tables = Tables::new(PROCESSOR, &mut memory).expect("memory");
    assert!(tables.reserve(BASE, 1, &mut memory).is_some());
    // One table is left, and two are wanted.
    assert!(tables.reserve(BASE, 1_536, &mut memory).is_some());
    assert!(tables.reserve(BASE, 2_048, &mut memory).is_none());
    let none =
        tables.map(BASE + 1_536 * PAGE, FrameRange { first: 512, count: 512 }, 7, &mut memory);
    assert!(!none);
    assert_eq!(memory.walk(tables.root(), BASE + 1_536 * PAGE), None);
    tables.free(OWN, &mut memory);
    assert_eq!(memory.frames.free_frames(), 6);
}

#![expect(unsafe_code, reason = "the methods of the trait are")]

use super::*;
use alloc::collections::BTreeMap;
use core::cell::RefCell;

/// Where places begin that the tests' firmware left free.
const FREE: u64 = 0xE000_0000;

/// Devices whose configuration space is memory, with words in which only some bits can be written.
#[derive(Default)]
struct Bus {
    words: RefCell<BTreeMap<(PciAddress, u16), u32>>,
    writable: BTreeMap<(PciAddress, u16), u32>,
}

impl ConfigRegionAccess for &Bus {
    unsafe fn read(&self, address: PciAddress, offset: u16) -> u32 {
        let words = self.words.borrow();
        let there = words.contains_key(&(address, 0));
        let absent = if there { 0 } else { u32::MAX };
        words.get(&(address, offset)).copied().unwrap_or(absent)
    }

    unsafe fn write(&self, address: PciAddress, offset: u16, value: u32) {
        let mut words = self.words.borrow_mut();
        let word = words.entry((address, offset)).or_default();
        let writable = self.writable.get(&(address, offset)).copied().unwrap_or(u32::MAX);
        *word = *word & !writable | value & writable;
    }
}

impl Bus {
    /// With one more device, whose words from `0x10` on are `registers`, each with the length that it keeps.
    fn with(mut self, device: u8, registers: &[(u32, u64)]) -> Bus {
        let address = PciAddress::new(0, 0, device, 0);
        let mut words = self.words.borrow_mut();
        words.insert((address, 0), 0x1000_1AF4);
        let none = core::iter::repeat(&(0, 1 << 32));
        for (slot, (word, length)) in (0..6).zip(registers.iter().chain(none)) {
            words.insert((address, 0x10 + 4 * slot), *word);
            let writable = (*length as u32).wrapping_neg() & !0xF;
            self.writable.insert((address, 0x10 + 4 * slot), writable);
        }
        drop(words);
        self
    }

    /// With words of device 1 in its configuration space.
    fn saying(self, words: &[(u16, u32)]) -> Bus {
        for (offset, word) in words {
            self.words.borrow_mut().insert((PciAddress::new(0, 0, 1, 0), *offset), *word);
        }
        self
    }

    fn functions(&self) -> Vec<Function> {
        functions(self, 0, 1, FREE)
    }

    fn word(&self, offset: u16) -> u32 {
        word(self, PciAddress::new(0, 0, 1, 0), offset)
    }
}

fn places(functions: &[Function]) -> Vec<(u64, u64)> {
    let windows = functions.iter().flat_map(|function| function.windows.iter().flatten());
    windows.map(|window| (window.address, window.length)).collect()
}

#[test]
fn registers_stay_where_the_firmware_put_them_and_others_get_a_place() {
    let bus = Bus::default()
        .with(1, &[(0xE000_0000, 0x1000), (0, 0x10_0000)])
        .with(2, &[(0, 0x2000), (0xC001, 0x20), (0x8000_0004, 0x4000), (0, 1 << 32)]);
    let found = bus.functions();
    let expected = [
        (0xE000_0000, 0x1000),
        (0xE010_0000, 0x10_0000),
        (0xE000_2000, 0x2000),
        (0x8000_0000, 0x4000),
    ];
    assert_eq!(places(&found), expected);
    // The device was told, and what it was told while it was measured is gone.
    assert_eq!(bus.word(0x14), 0xE010_0000);
    assert_eq!(bus.word(0x10), 0xE000_0000);
}

#[test]
fn registers_of_64_bits_take_two_words_and_keep_both() {
    let bus = Bus::default().with(1, &[(0x4, 0x4000), (0x38, 1), (0, 0x1000)]);
    let found = bus.functions();
    assert_eq!(places(&found), [(0x38_0000_0000, 0x4000), (FREE, 0x1000)]);
    assert_eq!(bus.word(0x14), 0x38);
}

#[test]
fn who_says_that_it_is_where_another_is_gets_nothing_there() {
    let bus = Bus::default().with(1, &[(0xE000_0000, 0x4000)]).with(2, &[(0xE000_2000, 0x1000)]);
    assert_eq!(places(&bus.functions()), [(0xE000_0000, 0x4000)]);
}

#[test]
fn what_does_not_fit_stays_without_a_place() {
    let bus = Bus::default().with(1, &[(0, 0x4000_0000), (0, 0x1000)]);
    assert_eq!(places(&bus.functions()), [(FREE, 0x1000)]);
}

#[test]
fn memory_of_a_reserved_kind_is_none() {
    let bus = Bus::default().with(1, &[(0b010, 0x1000), (0b110, 0x1000), (0, 0x1000)]);
    assert_eq!(places(&bus.functions()), [(FREE, 0x1000)]);
}

#[test]
fn the_last_register_alone_is_not_one_of_64_bits() {
    let nothing = (0, 1 << 32);
    let registers = [nothing, nothing, nothing, nothing, nothing, (0b100, 0x1000)];
    assert_eq!(places(&Bus::default().with(1, &registers).functions()), []);
}

/// A device with a list of capabilities: MSI-X at 0x50 if it has it, else MSI, with addresses as wide as said.
fn with_messages(table: bool, wide: bool) -> (Bus, Function) {
    let control = if wide { 0x80 << 16 } else { 0 };
    let bus = Bus::default().with(1, &[(0xE000_0000, 0x1000)]).saying(&[
        (0x04, 1 << 20),
        (0x34, 0x40),
        (0x40, 0x5009),
        (0x50, if table { 0x4000_6011 } else { 0x6009 }),
        (0x54, 0x800),
        (0x60, 0x0005 | control),
    ]);
    let function = bus.functions().remove(0);
    (bus, function)
}

#[test]
fn a_device_with_a_table_of_messages_says_where_it_is() {
    let (bus, function) = with_messages(true, true);
    let messages = set_messages(&bus, &function, 0xFEE0_0000, 7);
    assert_eq!(messages, Some(Messages::Table(0xE000_0800)));
    assert_eq!(bus.word(0x50), 0x8000_6011, "on, and no longer masked");
    assert_eq!(bus.word(0x60) & 1 << 16, 0, "the other kind stays off");
}

#[test]
fn a_table_beyond_its_registers_is_none() {
    for place in [0xFF8, 0x1000, 0x7FFF_FFF8, 0x801, 0x807] {
        let (bus, function) = with_messages(true, true);
        let bus = bus.saying(&[(0x54, place)]);
        assert_eq!(set_messages(&bus, &function, 0xFEE0_0000, 7), None, "{place:#x}");
    }
}

#[test]
fn a_message_of_configuration_space_is_written_where_it_belongs() {
    let (bus, function) = with_messages(false, true);
    assert_eq!(set_messages(&bus, &function, 0x1_FEE0_0000, 7), Some(Messages::Configured));
    assert_eq!([0x64, 0x68, 0x6C].map(|at| bus.word(at)), [0xFEE0_0000, 1, 7]);
    assert_eq!(bus.word(0x60), 0x0081_0005);

    let (bus, function) = with_messages(false, false);
    assert_eq!(set_messages(&bus, &function, 0xFEE0_0000, 7), Some(Messages::Configured));
    assert_eq!([0x64, 0x68].map(|at| bus.word(at)), [0xFEE0_0000, 7]);
    assert_eq!(set_messages(&bus, &function, 0x1_FEE0_0000, 7), None, "it has no room for that");
}

#[test]
fn a_list_that_goes_in_a_circle_ends() {
    for circle in [0x4009, 0x4000, 0x4109] {
        let bus =
            Bus::default().with(1, &[]).saying(&[(0x04, 1 << 20), (0x34, 0x40), (0x40, circle)]);
        let function = bus.functions().remove(0);
        assert_eq!(set_messages(&bus, &function, 0xFEE0_0000, 7), None);
        assert!(!reset(&bus, &function));
    }
}

#[test]
fn a_device_is_reset_if_it_says_that_it_can_be() {
    for (can, expected) in [(1 << 28, 0x8000), (0, 0)] {
        let list = [(0x04, 1 << 20), (0x34, 0x80), (0x80, 0x0010), (0x84, can)];
        let bus = Bus::default().with(1, &[]).saying(&list);
        let function = bus.functions().remove(0);
        assert_eq!(reset(&bus, &function), can != 0);
        assert_eq!(bus.word(0x88), expected);
    }
}

/// Devices that say anything, another thing each time.
struct Liars(RefCell<fastrand::Rng>);

impl ConfigRegionAccess for &Liars {
    unsafe fn read(&self, _: PciAddress, _: u16) -> u32 {
        let mut random = self.0.borrow_mut();
        // Words with few bits are what firmware and devices usually say.
        let word = random.u32(..);
        word & *random.choice(&[u32::MAX, 0xFFFF_0000, 0x00F0_00FC, 0x11]).unwrap_or(&0)
    }

    unsafe fn write(&self, _: PciAddress, _: u16, _: u32) {}
}

#[test]
fn devices_that_say_anything_get_places_that_do_not_touch() {
    let mut tables = 0;
    for seed in 0..2_000 {
        let liars = Liars(RefCell::new(fastrand::Rng::with_seed(seed)));
        let found = functions(&liars, 0, 2, FREE);
        let mut places = places(&found);
        places.sort_unstable();
        for pair in places.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "seed {seed}: {pair:x?}");
        }
        for function in &found {
            let windows = function.windows.iter().flatten();
            let within = |table: u64| {
                windows
                    .clone()
                    .any(|window| window.range().is_some_and(|range| range.contains(&table)))
            };
            if let Some(Messages::Table(table)) = set_messages(&liars, function, 0xFEE0_0000, 1) {
                assert!(within(table), "seed {seed}");
                tables += 1;
            }
            let _ = reset(&liars, function);
        }
    }
    assert!(tables > 50, "so few had anything that this shows nothing: {tables}");
}

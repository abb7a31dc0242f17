//! Device memory, interrupts, and what devices reach.

use super::hardware::{PHYSICAL, REFUSED, ROOT};
use super::plan::with_hardware;
use super::system::{End, System, carrying};
use crate::{DmaIndex, IrqIndex, ThreadIndex};
use phi_abi::layout::PAGE;
use phi_abi::{Error, FOREVER, FaultKind, Grant, Handle, IrqSource, Kind, Message, Number, Rights};
use std::vec::Vec;

const BOTH: u64 = Rights::READ.union(Rights::WRITE).bits() as u64;

const READ: u64 = Rights::READ.bits() as u64;

const ALL: Rights = Rights::CONTROL.union(Rights::DERIVE).union(Rights::TRANSFER);

/// A platform (domain 1), a driver (2) and a client (3).
struct Board {
    system: System,
    platform: ThreadIndex,
    driver: ThreadIndex,
    client: ThreadIndex,
    hardware: u64,
}

impl Board {
    fn new() -> Board {
        let system = System::start(&with_hardware(4));
        let [platform, driver, client] = [1, 2, 3].map(|domain| system.first(domain));
        let hardware = system.handle(1, "hardware");
        Board { system, platform, driver, client, hardware }
    }

    /// A DMA space that the platform has made and given the driver revocably: both handles.
    fn space(&mut self, requester: u64) -> (u64, u64) {
        let words = [self.hardware, requester];
        let own = self.system.value(self.platform, Number::DmaSpaceCreate, &words);
        (own, self.hand_over(own))
    }

    /// An interrupt, in the same way.
    fn irq(&mut self) -> (u64, u64) {
        let words = [self.hardware, 0x18];
        let own = self.system.value(self.platform, Number::IrqCreate, &words);
        (own, self.hand_over(own))
    }

    fn hand_over(&mut self, own: u64) -> u64 {
        let copy = self.system.derive(self.platform, own, ALL, true);
        let grant = Grant::transfer(Handle(copy), ALL);
        self.system.pass(self.platform, self.driver, &[grant])[0].handle.0
    }

    fn region(&mut self, thread: ThreadIndex, pages: u64) -> (u64, u64) {
        let region = self.system.value(thread, Number::RegionCreate, &[pages * PAGE, 1]);
        (region, self.system.inspect(thread, region).address)
    }

    /// The pages that the device of the only space reaches.
    fn reached(&self) -> Vec<u64> {
        let spaces = self.system.kernel.machine().hardware.spaces.values();
        spaces.flat_map(|reach| reach.pages.keys().map(|(_, page)| *page)).collect()
    }

    fn is_enabled(&self) -> bool {
        self.system.kernel.machine().hardware.spaces.values().any(|reach| reach.enabled)
    }

    /// Has an interrupt come.
    fn interrupt(&mut self) {
        self.system.kernel.interrupt(IrqIndex(0));
        self.system.settle();
    }
}

#[test]
fn hardware_says_where_the_firmware_does() {
    let mut board = Board::new();
    let info = board.system.inspect(board.platform, board.hardware);
    assert_eq!((info.kind, info.address), (Kind::Hardware, ROOT));
}

#[test]
fn device_memory_is_mapped_and_neither_lent_nor_reached_by_devices() {
    let mut board = Board::new();
    let before = board.system.kernel.statistics(crate::DomainIndex(1)).memory;
    let words = [board.hardware, 0xFEB0_0000, 2 * PAGE, 0];
    let region = board.system.value(board.platform, Number::DeviceRegion, &words);
    board.system.value(board.platform, Number::RegionMap, &[region, BOTH]);
    let now = board.system.kernel.statistics(crate::DomainIndex(1)).memory;
    assert_eq!(now, before, "nobody pays for it");
    let address = board.system.inspect(board.platform, region).address;
    let loan = Grant::loan(Handle(region), Rights::READ, address, PAGE);
    let to = board.system.handle(1, "to-2");
    let message = carrying(&[loan]);
    let fault = (FaultKind::BadArgument, region);
    board.system.faults(board.platform, Number::Call, &[to, FOREVER], message, fault);

    let mut board = Board::new();
    let (space, _) = board.space(0x18);
    let words = [board.hardware, 0xFEB0_0000, PAGE, 1];
    let region = board.system.value(board.platform, Number::DeviceRegion, &words);
    let fault = (FaultKind::BadArgument, region);
    let words = [space, region, READ];
    board.system.faults(board.platform, Number::DmaMap, &words, Message::EMPTY, fault);
}

#[test]
fn what_is_never_right_is_a_fault_and_what_the_machine_refuses_is_denied() {
    let wrong: [(Number, &[u64], u64); 9] = [
        (Number::DeviceRegion, &[PAGE + 1, PAGE, 0], PAGE + 1),
        (Number::DeviceRegion, &[PAGE, 0, 0], 0),
        (Number::DeviceRegion, &[PAGE, PAGE - 1, 0], PAGE - 1),
        (Number::DeviceRegion, &[0u64.wrapping_sub(PAGE), 2 * PAGE, 0], 2 * PAGE),
        (Number::DeviceRegion, &[PAGE, PAGE, 2], 2),
        (Number::IrqCreate, &[1 << 40], 1 << 40),
        (Number::DmaSpaceCreate, &[1 << 16], 1 << 16),
        (Number::RegionCreate, &[2], 2),
        (Number::DmaMap, &[0, Rights::WRITE.bits() as u64], Rights::WRITE.bits() as u64),
    ];
    for (number, words, argument) in wrong {
        let mut board = Board::new();
        let mut all = std::vec![if number == Number::RegionCreate { PAGE } else { board.hardware }];
        all.extend(words);
        let fault = (FaultKind::BadArgument, argument);
        board.system.faults(board.platform, number, &all, Message::EMPTY, fault);
    }
    let mut board = Board::new();
    let hardware = board.hardware;
    for (number, words) in [
        (Number::DeviceRegion, [hardware, REFUSED, PAGE, 0]),
        (Number::IrqCreate, [hardware, u64::from(u16::MAX), 0, 0]),
        (Number::DmaSpaceCreate, [hardware, u64::from(u16::MAX), 0, 0]),
    ] {
        assert_eq!(board.system.error(board.platform, number, &words), Error::Denied);
    }
    let weak = board.system.derive(board.platform, hardware, Rights::TRANSFER, false);
    for number in [Number::IrqCreate, Number::DmaSpaceCreate] {
        assert_eq!(board.system.error(board.platform, number, &[weak, 1]), Error::Denied);
    }
}

#[test]
fn an_interrupt_sets_its_signal_once_until_it_is_acknowledged() {
    let mut board = Board::new();
    let (_, irq) = board.irq();
    let driver = board.driver;
    assert_eq!(board.system.inspect(driver, irq).address, 0xFEE0_0000);
    board.interrupt();
    let signal = board.system.value(driver, Number::SignalCreate, &[]);
    board.system.value(driver, Number::IrqBind, &[irq, signal, 4]);
    assert_eq!(board.system.error(driver, Number::IrqBind, &[irq, signal, 4]), Error::Busy);
    let wait = [signal, u64::MAX, 0];
    assert_eq!(board.system.error(driver, Number::SignalWait, &wait), Error::TimedOut);
    for _ in 0..3 {
        board.interrupt();
    }
    assert_eq!(board.system.value(driver, Number::SignalWait, &wait), 4);
    assert_eq!(board.system.error(driver, Number::SignalWait, &wait), Error::TimedOut);
    // Two more came, so that nothing says that what they were for was seen.
    assert_eq!(board.system.value(driver, Number::IrqAcknowledge, &[irq]), 3);
    assert_eq!(board.system.value(driver, Number::SignalWait, &wait), 4);
    assert_eq!(board.system.value(driver, Number::IrqAcknowledge, &[irq]), 1);
    assert_eq!(board.system.error(driver, Number::SignalWait, &wait), Error::TimedOut);
    assert_eq!(board.system.value(driver, Number::IrqAcknowledge, &[irq]), 0);
    assert!(!board.system.kernel.machine().hardware.irqs[&0], "it may come again");
    // A thread that waits goes on at once.
    let wait = [signal, u64::MAX, FOREVER];
    assert_eq!(board.system.invoke(driver, Number::SignalWait, &wait), End::Blocked);
    board.interrupt();
    assert_eq!(board.system.end(driver), End::Value(4));
}

#[test]
fn a_binding_ends_with_each_of_its_parts() {
    type Ends = fn(&mut Board, u64, u64, u64);
    let ends: [Ends; 4] = [
        // The signal.
        |board, _, _, signal| {
            board.system.value(board.driver, Number::CapabilityDrop, &[signal]);
        },
        // The driver.
        |board, _, _, _| board.system.stop_service(2),
        // What the driver was given.
        |board, own, irq, signal| {
            board.system.value(board.platform, Number::CapabilityRevoke, &[own]);
            let words = [irq, signal, 1];
            assert_eq!(board.system.error(board.driver, Number::IrqBind, &words), Error::Revoked);
        },
        // The platform, and with it the source.
        |board, _, irq, _| {
            board.system.stop_service(1);
            assert_eq!(
                board.system.error(board.driver, Number::IrqAcknowledge, &[irq]),
                Error::Dead
            );
            assert!(board.system.kernel.machine().hardware.irqs.is_empty());
        },
    ];
    for end in ends {
        let mut board = Board::new();
        let (own, irq) = board.irq();
        let signal = board.system.value(board.driver, Number::SignalCreate, &[]);
        board.system.value(board.driver, Number::IrqBind, &[irq, signal, 1]);
        end(&mut board, own, irq, signal);
        assert!(board.system.kernel.machine().hardware.irqs.values().all(|masked| *masked));
        board.interrupt();
    }
}

#[test]
fn a_device_reaches_what_is_mapped_at_the_address_that_everybody_has() {
    let mut board = Board::new();
    let (_, space) = board.space(0x18);
    let driver = board.driver;
    let (region, address) = board.region(driver, 2);
    let map = [space, region, BOTH];
    assert_eq!(board.system.value(driver, Number::DmaMap, &map), address);
    assert_eq!(board.system.error(driver, Number::DmaMap, &map), Error::Busy);
    assert_eq!(board.reached(), [address, address + PAGE]);
    assert!(board.is_enabled());
    // The processor's mapping comes and goes on its own.
    board.system.value(driver, Number::RegionMap, &[region, BOTH]);
    board.system.value(driver, Number::DmaUnmap, &[space, region]);
    assert!(board.reached().is_empty() && !board.is_enabled());
    assert_eq!(board.system.kernel.machine().access(2, 4, address), Rights::empty());
    board.system.value(driver, Number::DmaMap, &map);
    board.system.value(driver, Number::RegionUnmap, &[region]);
    assert_eq!(board.reached().len(), 2);
    board.system.value(driver, Number::DmaUnmap, &[space, region]);
    board.system.value(driver, Number::DmaUnmap, &[space, region]);
    board.system.kernel.machine_mut().hardware.fails = 1;
    assert_eq!(board.system.error(driver, Number::DmaMap, &map), Error::Machine);
    assert!(board.reached().is_empty() && !board.is_enabled());
}

#[test]
fn what_a_device_reaches_ends_with_whatever_gave_it() {
    type Ends = fn(&mut Board, u64, u64, u64);
    let ends: [Ends; 5] = [
        |board, _, _, region| {
            board.system.value(board.driver, Number::CapabilityDrop, &[region]);
        },
        |board, own, _, _| {
            board.system.value(board.platform, Number::CapabilityRevoke, &[own]);
        },
        |board, _, _, _| board.system.stop_service(2),
        |board, _, _, _| board.system.stop_service(1),
        |board, own, space, _| {
            board.system.value(board.platform, Number::CapabilityDrop, &[own]);
            board.system.value(board.driver, Number::CapabilityDrop, &[space]);
        },
    ];
    for end in ends {
        let mut board = Board::new();
        let (own, space) = board.space(0x18);
        let (region, _) = board.region(board.driver, 1);
        board.system.value(board.driver, Number::DmaMap, &[space, region, READ]);
        end(&mut board, own, space, region);
        assert!(board.reached().is_empty() && !board.is_enabled());
    }
}

#[test]
fn a_device_reaches_what_is_lent_until_the_answer() {
    let mut board = Board::new();
    let (_, space) = board.space(0x18);
    let (client, driver) = (board.client, board.driver);
    let (region, address) = board.region(client, 4);
    let to = board.system.handle(3, "to-2");
    let both = Rights::READ | Rights::WRITE;
    let loan = Grant::loan(Handle(region), both, address + PAGE, 2 * PAGE);
    let call = board.system.invoke_with(client, Number::Call, &[to, FOREVER], carrying(&[loan]));
    assert_eq!(call, End::Blocked);
    let serve = board.system.handle(2, "serve");
    assert_eq!(board.system.invoke(driver, Number::Receive, &[serve, 0]), End::Value(0));
    let message = board.system.message(driver);
    let lent = message.grants[0].handle.0;
    let map = [space, lent, BOTH];
    assert_eq!(board.system.value(driver, Number::DmaMap, &map), address + PAGE);
    assert_eq!(board.reached(), [address + PAGE, address + 2 * PAGE]);
    board.system.value(driver, Number::Reply, &[message.reply.0]);
    assert!(board.reached().is_empty() && !board.is_enabled());
}

#[test]
fn where_the_machine_fails_a_device_has_less_and_never_more() {
    let mut board = Board::new();
    let (_, space) = board.space(0x18);
    let (client, driver) = (board.client, board.driver);
    let (region, address) = board.region(client, 4);
    let grant = Grant::copy(Handle(region), Rights::READ | Rights::TRANSFER);
    let whole = board.system.pass(client, driver, &[grant])[0].handle.0;
    board.system.value(driver, Number::DmaMap, &[space, whole, READ]);
    let to = board.system.handle(3, "to-2");
    let loan = Grant::loan(Handle(region), Rights::READ, address + PAGE, PAGE);
    board.system.invoke_with(client, Number::Call, &[to, FOREVER], carrying(&[loan]));
    let serve = board.system.handle(2, "serve");
    board.system.value(driver, Number::Receive, &[serve, 0]);
    let lent = board.system.message(driver).grants[0].handle.0;
    board.system.value(driver, Number::DmaMap, &[space, lent, READ]);
    // What is left to map is the loan's page, before others that are to go.
    board.system.kernel.machine_mut().hardware.fails = 1;
    board.system.value(driver, Number::DmaUnmap, &[space, whole]);
    assert!(board.reached().is_empty(), "{:x?}", board.reached());
}

#[test]
fn without_protection_only_who_may_maps_and_what_is_pinned_has_its_own_address() {
    let mut board = Board::new();
    board.system.kernel.machine_mut().hardware.open = true;
    let (_, space) = board.space(0x18);
    let driver = board.driver;
    let (region, address) = board.region(driver, 1);
    let map = [space, region, READ];
    assert_eq!(board.system.error(driver, Number::DmaMap, &map), Error::Denied);
    board.system.kernel.domains[2].unprotected_dma = true;
    assert_eq!(board.system.value(driver, Number::DmaMap, &map), address + PHYSICAL);
    let log = board.system.kernel.machine().written(phi_abi::CONSOLE_LOG);
    let line =
        "service-2/1 is unprotected: its device can reach all memory, as its manifest allows\n";
    assert_eq!(core::str::from_utf8(&log), Ok(line));
}

#[test]
fn a_device_that_reaches_too_far_is_stopped_and_its_driver_ends() {
    let mut board = Board::new();
    let (_, space) = board.space(0x18);
    let (region, _) = board.region(board.driver, 1);
    board.system.value(board.driver, Number::DmaMap, &[space, region, READ]);
    board.system.kernel.dma_fault(DmaIndex(0), 0x5000);
    board.system.settle();
    assert_eq!(board.system.fault(2), (FaultKind::Dma, 0x5000));
    assert!(board.reached().is_empty() && !board.is_enabled());
    // Nobody drives it now: who made the space has done nothing.
    board.system.kernel.dma_fault(DmaIndex(0), 0x6000);
    board.system.kernel.dma_fault(DmaIndex(999), 0x7000);
    let state = board.system.kernel.info(crate::DomainIndex(1)).state;
    assert_eq!(state, phi_abi::DomainState::Running);
}

#[test]
fn a_device_has_one_space_and_pools_run_out() {
    let mut board = Board::new();
    let (own, _) = board.space(0x18);
    let words = [board.hardware, 0x18];
    let platform = board.platform;
    assert_eq!(board.system.error(platform, Number::DmaSpaceCreate, &words), Error::Busy);
    board.system.value(platform, Number::CapabilityRevoke, &[own]);
    board.system.value(platform, Number::CapabilityDrop, &[own]);
    let again = board.system.value(platform, Number::DmaSpaceCreate, &words);
    board.system.value(platform, Number::CapabilityDrop, &[again]);
    let line = IrqSource::Line { number: 4, level: true, active_low: false }.encode();
    let mut made = 0;
    while let End::Value(_) =
        board.system.invoke(platform, Number::IrqCreate, &[board.hardware, line])
    {
        made += 1;
    }
    let left = board.system.kernel.capabilities.free_slots(1);
    assert!(left == 0 && made > 8, "{made} were made, and {left} slots are left");
}

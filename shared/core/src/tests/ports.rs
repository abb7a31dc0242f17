//! Ranges of ports.

use super::hardware::REFUSED_PORT;
use super::plan::with_hardware;
use super::system::System;
use crate::ThreadIndex;
use crate::ports::PORTS;
use phi_abi::{Error, FaultKind, Grant, Handle, Message, Number, Rights};

const ALL: Rights = Rights::CONTROL.union(Rights::DERIVE).union(Rights::TRANSFER);

/// A platform, a driver, and the platform's hardware.
fn system() -> (System, ThreadIndex, ThreadIndex, u64) {
    let system = System::start(&with_hardware(4));
    let (platform, driver) = (system.first(1), system.first(2));
    let hardware = system.handle(1, "hardware");
    (system, platform, driver, hardware)
}

#[test]
fn what_is_written_to_a_port_is_read_there_by_its_width() {
    let (mut system, platform, _, hardware) = system();
    let ports = system.value(platform, Number::PortsCreate, &[hardware, 0x3E8, 8]);
    system.value(platform, Number::PortWrite, &[ports, 4, 4, 0x1234_5678]);
    for (offset, width, expected) in [(4, 4, 0x1234_5678), (4, 2, 0x5678), (7, 1, 0x12), (0, 2, 0)]
    {
        let read = system.value(platform, Number::PortRead, &[ports, offset, width]);
        assert_eq!(read, expected, "{offset} {width}");
    }
    assert_eq!(system.kernel.machine().hardware.ports[&0x3EC], 0x78);
}

#[test]
fn nothing_beyond_the_range_is_reached() {
    let most = u64::from(u16::MAX);
    let wrong: [(Number, &[u64], u64); 13] = [
        (Number::PortsCreate, &[1 << 16, 1], 1 << 16),
        (Number::PortsCreate, &[0, 0], 0),
        (Number::PortsCreate, &[2, most], most),
        (Number::PortsCreate, &[0, 1 << 16], 1 << 16),
        (Number::PortRead, &[8, 1], 8),
        (Number::PortRead, &[5, 4], 5),
        (Number::PortRead, &[u64::MAX, 1], u64::MAX),
        (Number::PortRead, &[0, 3], 3),
        (Number::PortRead, &[0, 0], 0),
        (Number::PortWrite, &[7, 2, 0], 7),
        (Number::PortWrite, &[0, 8, 0], 8),
        (Number::PortWrite, &[0, 1, 0x100], 0x100),
        (Number::PortWrite, &[0, 4, 1 << 32], 1 << 32),
    ];
    for (number, words, argument) in wrong {
        let (mut system, platform, _, hardware) = system();
        let ports = system.value(platform, Number::PortsCreate, &[hardware, 0x3E8, 8]);
        let mut all = std::vec![if number == Number::PortsCreate { hardware } else { ports }];
        all.extend(words);
        let fault = (FaultKind::BadArgument, argument);
        system.faults(platform, number, &all, Message::EMPTY, fault);
    }
}

#[test]
fn no_two_ranges_overlap_and_there_is_an_end_to_them() {
    let (mut system, platform, _, hardware) = system();
    let ports = system.value(platform, Number::PortsCreate, &[hardware, 16, 8]);
    for (first, count) in [(16, 8), (15, 2), (23, 1), (0, 100), (18, 2)] {
        let error = system.error(platform, Number::PortsCreate, &[hardware, first, count]);
        assert_eq!(error, Error::Busy, "{first} {count}");
    }
    for (first, count) in [(15, 1), (24, 1), (u64::from(u16::MAX), 1)] {
        system.value(platform, Number::PortsCreate, &[hardware, first, count]);
    }
    system.value(platform, Number::CapabilityDrop, &[ports]);
    for number in 0..u64::from(PORTS) - 3 {
        system.value(platform, Number::PortsCreate, &[hardware, 0x1000 + number, 1]);
    }
    let error = system.error(platform, Number::PortsCreate, &[hardware, 16, 8]);
    assert_eq!(error, Error::QuotaExceeded);
}

#[test]
fn who_has_not_the_right_and_what_the_machine_uses_is_denied() {
    let (mut system, platform, _, hardware) = system();
    let own = [hardware, REFUSED_PORT, 1];
    assert_eq!(system.error(platform, Number::PortsCreate, &own), Error::Denied);
    let weak = system.derive(platform, hardware, Rights::TRANSFER, false);
    assert_eq!(system.error(platform, Number::PortsCreate, &[weak, 16, 8]), Error::Denied);
    let ports = system.value(platform, Number::PortsCreate, &[hardware, 16, 8]);
    let weak = system.derive(platform, ports, Rights::TRANSFER, false);
    assert_eq!(system.error(platform, Number::PortRead, &[weak, 0, 1]), Error::Denied);
    assert_eq!(system.error(platform, Number::PortWrite, &[weak, 0, 1, 0]), Error::Denied);
}

#[test]
fn what_was_handed_out_can_be_taken_back_and_ends_with_its_maker() {
    let (mut system, platform, driver, hardware) = system();
    let ports = system.value(platform, Number::PortsCreate, &[hardware, 16, 8]);
    let hand_over = |system: &mut System| {
        let copy = system.derive(platform, ports, ALL, true);
        system.pass(platform, driver, &[Grant::transfer(Handle(copy), ALL)])[0].handle.0
    };
    let first = hand_over(&mut system);
    system.value(driver, Number::PortWrite, &[first, 0, 1, 7]);
    system.value(platform, Number::CapabilityRevoke, &[ports]);
    assert_eq!(system.error(driver, Number::PortRead, &[first, 0, 1]), Error::Revoked);
    let second = hand_over(&mut system);
    assert_eq!(system.value(driver, Number::PortRead, &[second, 0, 1]), 7);
    system.stop_service(1);
    assert_eq!(system.error(driver, Number::PortRead, &[second, 0, 1]), Error::Dead);
}

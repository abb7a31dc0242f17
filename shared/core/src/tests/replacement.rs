//! Images that are offered, taken and given up, and what becomes of who waits meanwhile.

use super::system::{End, System, message};
use crate::{DomainIndex, Image, OfferError};
use phi_abi::{DomainInfo, Error, FOREVER, Number, STATUS_HANDED_OVER, TOPIC_STATE};

const IMAGE: Image = Image { number: 7, entry: 0x4000, data: 4096 };

fn offered(system: &mut System) -> bool {
    let (init, domain) = (system.first(0), system.handle(0, "domain-1"));
    system.value(init, Number::DomainInspect, &[domain, TOPIC_STATE]);
    DomainInfo::decode(&system.message(init).data).expect("a state").offered
}

fn offer(system: &mut System, image: Image) -> Result<(), OfferError> {
    let result = system.kernel.offer(DomainIndex(1), image);
    system.settle();
    result
}

#[test]
fn an_offer_tells_the_supervisor_and_the_next_start_takes_it() {
    let mut system = System::of(2);
    let init = system.first(0);
    let events = system.handle(0, "events");
    assert_eq!(offer(&mut system, IMAGE), Ok(()));
    assert_eq!(system.value(init, Number::SignalWait, &[events, u64::MAX, 0]), 1 << 1);
    assert!(offered(&mut system));
    assert_eq!(system.kernel.image_of(DomainIndex(1)), 0, "what runs stays");
    system.stop_service(1);
    assert!(offered(&mut system));
    assert_eq!(system.start_service(1), 2);
    assert!(!offered(&mut system));
    assert_eq!(system.kernel.image_of(DomainIndex(1)), IMAGE.number);
    system.stop_service(1);
    system.start_service(1);
    assert_eq!(system.kernel.image_of(DomainIndex(1)), IMAGE.number, "it is the service's now");
}

#[test]
fn the_last_offer_counts_and_a_crash_takes_it_too() {
    let mut system = System::of(2);
    assert_eq!(offer(&mut system, IMAGE), Ok(()));
    assert_eq!(offer(&mut system, Image { number: 8, ..IMAGE }), Ok(()));
    system.invoke(system.first(1), Number::DomainPanic, &[]);
    system.start_service(1);
    assert_eq!(system.kernel.image_of(DomainIndex(1)), 8);
}

#[test]
fn what_does_not_fit_or_has_no_service_is_refused() {
    let mut system = System::of(2);
    let large = Image { data: 1 << 40, ..IMAGE };
    assert!(
        matches!(offer(&mut system, large), Err(OfferError::Memory(needed)) if needed > 1 << 40)
    );
    assert_eq!(system.kernel.offer(DomainIndex(0), IMAGE), Err(OfferError::NoService));
    assert_eq!(system.kernel.offer(DomainIndex(9), IMAGE), Err(OfferError::NoService));
    assert!(!offered(&mut system));
}

/// A system in which service 2 has a call queued at service 1, which has received one of service 3.
fn with_calls() -> System {
    let mut system = System::of(4);
    let (server, queued, served) = (system.first(1), system.first(2), system.first(3));
    let to = system.handle(3, "to-1");
    assert_eq!(
        system.invoke_with(served, Number::Call, &[to, FOREVER], message(3, b"")),
        End::Blocked
    );
    let own = system.handle(1, "serve");
    system.value(server, Number::Receive, &[own, FOREVER]);
    let to = system.handle(2, "to-1");
    assert_eq!(
        system.invoke_with(queued, Number::Call, &[to, FOREVER], message(2, b"")),
        End::Blocked
    );
    system
}

#[test]
fn who_waits_in_the_mailbox_waits_for_the_new_image() {
    for ends_itself in [false, true] {
        let mut system = with_calls();
        assert_eq!(offer(&mut system, IMAGE), Ok(()));
        match ends_itself {
            true => drop(system.invoke(
                system.first(1),
                Number::DomainExit,
                &[u64::from(STATUS_HANDED_OVER)],
            )),
            false => system.stop_service(1),
        }
        assert_eq!(system.end(system.first(2)), End::Blocked);
        assert_eq!(system.end(system.first(3)), End::Error(Error::Dead), "it was received");
        let to = system.handle(3, "to-1");
        let sender = system.first(3);
        assert_eq!(system.invoke_with(sender, Number::Send, &[to], message(9, b"")), End::Value(0));
        system.start_service(1);
        let (server, own) = (system.first(1), system.handle(1, "serve"));
        for label in [2, 9] {
            system.value(server, Number::Receive, &[own, FOREVER]);
            assert_eq!(system.message(server).label, label);
        }
    }
}

#[test]
fn without_an_offer_or_after_a_fault_nobody_waits() {
    for offers in [false, true] {
        let mut system = with_calls();
        if offers {
            assert_eq!(offer(&mut system, IMAGE), Ok(()));
            system.invoke(system.first(1), Number::DomainPanic, &[]);
        } else {
            system.stop_service(1);
        }
        assert_eq!(system.end(system.first(2)), End::Error(Error::Dead));
    }
}

#[test]
fn an_image_that_cannot_be_started_is_given_up_with_who_waits_for_it() {
    let mut system = with_calls();
    assert_eq!(offer(&mut system, IMAGE), Ok(()));
    system.stop_service(1);
    system.kernel.machine_mut().failures.load = 1;
    let (init, domain) = (system.first(0), system.handle(0, "domain-1"));
    assert_eq!(system.error(init, Number::DomainStart, &[domain]), Error::Machine);
    assert_eq!(system.end(system.first(2)), End::Error(Error::Dead));
    assert!(!offered(&mut system));
    system.start_service(1);
    assert_eq!(system.kernel.image_of(DomainIndex(1)), 0, "the one of before");
}

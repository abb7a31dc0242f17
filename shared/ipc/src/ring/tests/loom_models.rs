//! All schedules, and all values that relaxed loads may see, of small uses of the ring.
//!
//! A lost wake-up shows as a deadlock, a payload that nothing orders as a causality violation. The
//! tests under `weakened` show that the models notice: each weakens one ordering of `ordering.rs`.

use super::super::ordering::{Site, WEAKENED};
use super::storage::Storage;
use super::*;
// Not loom's: its destructor panics again when a model ends in a deadlock.
use std::sync::Arc;

/// How often a schedule may take the processor from a thread that could go on. Without a bound, the
/// models in which both sides sleep take hours.
const PREEMPTIONS: usize = 4;

/// What the threads of a model share.
struct Shared {
    storage: Storage,
    futex: TestFutex,
}

/// Runs `producer` and `consumer` on a ring of `capacity` slots, in every schedule with at most
/// [`PREEMPTIONS`].
fn model(
    capacity: usize,
    producer: impl Fn(Producer<'_>, &TestFutex) + Copy + Send + Sync + 'static,
    consumer: impl Fn(Consumer<'_>, &TestFutex) + Copy + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(move || {
        let shared = Arc::new(Shared { storage: Storage::new(capacity), futex: TestFutex::new() });
        let other = Arc::clone(&shared);
        let thread = loom::thread::spawn(move || {
            producer(Producer::new(&other.storage.memory()), &other.futex);
        });
        consumer(Consumer::new(&shared.storage.memory()), &shared.futex);
        thread.join().unwrap();
    });
}

/// Sends messages 1 to `count`, and closes.
fn send(count: u64, mut producer: Producer<'_>, futex: &TestFutex) {
    for label in 1..=count {
        assert!(send_all(&mut producer, futex, &message(label, 8)));
    }
    producer.close(futex);
}

/// Takes messages 1 to `count`, then the end.
fn take(count: u64, mut consumer: Consumer<'_>, futex: &TestFutex) {
    for label in 1..=count {
        assert_eq!(receive_next(&mut consumer, futex), Some(message(label, 8)));
    }
    assert_eq!(receive_next(&mut consumer, futex), None);
}

/// A producer that never waits and a consumer that never sleeps: the orderings of the slots alone,
/// with a wrap-around, since there are more messages than slots.
fn polled(capacity: usize, count: u64) {
    model(
        capacity,
        move |mut producer, _| {
            let mut label = 1;
            while label <= count {
                match producer.push(&message(label, 8)) {
                    Ok(()) => label += 1,
                    Err(error) => {
                        assert_eq!(error, PushError::Full);
                        loom::thread::yield_now();
                    }
                }
            }
        },
        move |mut consumer, _| {
            let mut label = 1;
            let mut received = Message::EMPTY;
            while label <= count {
                match consumer.pop(&mut received) {
                    Ok(()) => {
                        assert_eq!(received, message(label, 8));
                        label += 1;
                    }
                    Err(error) => {
                        assert_eq!(error, PopError::Empty);
                        loom::thread::yield_now();
                    }
                }
            }
        },
    );
}

/// A consumer that sleeps when the ring is empty, and a producer that has room for everything.
fn sleeping_consumer() {
    model(
        2,
        |producer, futex| send(2, producer, futex),
        |consumer, futex| take(2, consumer, futex),
    );
}

/// A producer that sleeps when the ring is full, and a consumer that takes one message and ends.
fn sleeping_producer() {
    model(
        1,
        |mut producer, futex| {
            for label in 1..=2 {
                assert!(send_all(&mut producer, futex, &message(label, 8)));
            }
        },
        |mut consumer, futex| {
            let mut received = Message::EMPTY;
            while consumer.receive(&mut received, futex).is_err() {
                loom::thread::yield_now();
            }
        },
    );
}

/// A producer that sends one message and closes, and a consumer that looks once for each.
fn close_after_message() {
    model(
        2,
        |mut producer, futex| {
            assert_eq!(producer.push(&message(1, 8)), Ok(()));
            producer.close(futex);
        },
        |mut consumer, _| {
            let mut received = Message::EMPTY;
            if consumer.pop(&mut received) == Err(PopError::Closed) {
                panic!("the end came before the message");
            }
        },
    );
}

#[test]
fn messages_arrive_whole_and_in_order() {
    polled(2, 2);
}

#[test]
fn messages_arrive_whole_and_in_order_around_a_ring_of_one_slot() {
    polled(1, 2);
}

#[test]
fn messages_arrive_whole_and_in_order_around_a_ring_of_two_slots() {
    polled(2, 3);
}

#[test]
fn no_message_is_slept_over() {
    sleeping_consumer();
}

#[test]
fn no_free_slot_is_slept_over() {
    sleeping_producer();
}

#[test]
fn both_may_sleep() {
    model(
        1,
        |producer, futex| send(2, producer, futex),
        |consumer, futex| take(2, consumer, futex),
    );
}

#[test]
fn messages_come_before_the_end() {
    close_after_message();
}

#[test]
fn a_consumer_that_waits_learns_of_the_end() {
    model(2, |producer, futex| producer.close(futex), |consumer, futex| take(0, consumer, futex));
}

#[test]
fn a_producer_that_waits_learns_of_the_end() {
    model(
        1,
        |mut producer, futex| while send_all(&mut producer, futex, &message(1, 8)) {},
        |consumer, futex| consumer.close(futex),
    );
}

#[test]
fn a_batch_needs_one_ring() {
    model(
        2,
        |mut producer, futex| {
            assert_eq!(producer.push(&message(1, 8)), Ok(()));
            assert_eq!(producer.push(&message(2, 8)), Ok(()));
            producer.ring(futex);
        },
        |mut consumer, futex| {
            assert_eq!(receive_next(&mut consumer, futex), Some(message(1, 8)));
            assert_eq!(receive_next(&mut consumer, futex), Some(message(2, 8)));
        },
    );
}

#[test]
fn a_server_waits_for_any_of_its_rings() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let shared = Arc::new([
            Shared { storage: Storage::new(1), futex: TestFutex::new() },
            Shared { storage: Storage::new(1), futex: TestFutex::new() },
        ]);
        let clients = [0, 1].map(|client| {
            let shared = Arc::clone(&shared);
            loom::thread::spawn(move || {
                let mut producer = Producer::new(&shared[client].storage.memory());
                assert_eq!(producer.send(&message(1, 0), &shared[0].futex), Ok(()));
            })
        });
        let mut consumers = [0, 1].map(|client| Consumer::new(&shared[client].storage.memory()));
        let mut received = Message::EMPTY;
        let mut count = 0;
        while count < 2 {
            Consumer::wait_any(consumers.iter(), &shared[0].futex, 0);
            count += consumers
                .iter_mut()
                .filter_map(|consumer| consumer.pop(&mut received).ok())
                .count();
        }
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
}

mod weakened {
    use super::*;

    /// Runs `models` with one ordering weakened.
    fn with(site: Site, model: impl FnOnce()) {
        WEAKENED.set(Some(site));
        model();
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn publish_is_noticed() {
        with(Site::Publish, || polled(2, 2));
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn observe_is_noticed() {
        with(Site::Observe, || polled(2, 2));
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn release_is_noticed() {
        with(Site::Release, || polled(1, 2));
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn reclaim_is_noticed() {
        with(Site::Reclaim, || polled(1, 2));
    }

    #[test]
    #[should_panic(expected = "the end came before the message")]
    fn close_is_noticed() {
        with(Site::Close, close_after_message);
    }

    #[test]
    #[should_panic(expected = "the end came before the message")]
    fn closed_is_noticed() {
        with(Site::Closed, close_after_message);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn ring_of_the_producer_is_noticed() {
        with(Site::Ring, sleeping_consumer);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn ring_of_the_consumer_is_noticed() {
        with(Site::Ring, sleeping_producer);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn sleep_of_the_consumer_is_noticed() {
        with(Site::Sleep, sleeping_consumer);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn sleep_of_the_producer_is_noticed() {
        with(Site::Sleep, sleeping_producer);
    }
}

//! Random schedules of longer uses of the ring than loom can exhaust. Shuttle knows no weak
//! orderings: this is about the protocol alone.

use super::storage::Storage;
use super::*;
use shuttle::sync::Arc;

/// Messages in one run.
const COUNT: u64 = 40;

/// Sends all messages through a ring of `capacity` slots, and checks each.
fn stream(capacity: usize) {
    let storage = Arc::new(Storage::new(capacity));
    let futex = Arc::new(TestFutex::new());
    let thread = {
        let (storage, futex) = (Arc::clone(&storage), Arc::clone(&futex));
        shuttle::thread::spawn(move || {
            let mut producer = Producer::new(&storage.memory());
            for label in 0..COUNT {
                let sent = send_all(&mut producer, &futex, &message(label, label as usize % 65));
                assert!(sent, "the consumer closed");
            }
            producer.close(&*futex);
        })
    };
    let mut consumer = Consumer::new(&storage.memory());
    for label in 0..COUNT {
        let received = receive_next(&mut consumer, &futex);
        assert_eq!(received, Some(message(label, label as usize % 65)));
    }
    assert_eq!(receive_next(&mut consumer, &futex), None);
    thread.join().unwrap();
}

/// A question and its answer at a time, over a pair of rings, as a call does it.
fn calls() {
    let storages = Arc::new([Storage::new(1), Storage::new(1)]);
    let futexes = Arc::new([TestFutex::new(), TestFutex::new()]);
    let thread = {
        let (storages, futexes) = (Arc::clone(&storages), Arc::clone(&futexes));
        shuttle::thread::spawn(move || {
            let mut questions = Consumer::new(&storages[0].memory());
            let mut answers = Producer::new(&storages[1].memory());
            while let Some(question) = receive_next(&mut questions, &futexes[0]) {
                assert!(send_all(&mut answers, &futexes[1], &message(question.label + 1, 8)));
            }
        })
    };
    let mut questions = Producer::new(&storages[0].memory());
    let mut answers = Consumer::new(&storages[1].memory());
    for label in 0..COUNT / 4 {
        assert!(send_all(&mut questions, &futexes[0], &message(label, 8)));
        assert_eq!(receive_next(&mut answers, &futexes[1]), Some(message(label + 1, 8)));
    }
    questions.close(&futexes[0]);
    thread.join().unwrap();
}

/// A consumer that closes while the producer may wait for room.
fn end_from_the_consumer() {
    let storage = Arc::new(Storage::new(2));
    let futex = Arc::new(TestFutex::new());
    let thread = {
        let (storage, futex) = (Arc::clone(&storage), Arc::clone(&futex));
        shuttle::thread::spawn(move || {
            let mut producer = Producer::new(&storage.memory());
            while send_all(&mut producer, &futex, &message(1, 64)) {}
        })
    };
    let mut consumer = Consumer::new(&storage.memory());
    for _ in 0..COUNT / 4 {
        assert_eq!(receive_next(&mut consumer, &futex), Some(message(1, 64)));
    }
    consumer.close(&*futex);
    thread.join().unwrap();
}

#[test]
fn messages_arrive_whole_and_in_order() {
    shuttle::check_random(|| stream(4), 2_000);
    shuttle::check_pct(|| stream(2), 2_000, 3);
}

#[test]
fn calls_are_answered() {
    shuttle::check_random(calls, 2_000);
    shuttle::check_pct(calls, 2_000, 3);
}

#[test]
fn a_producer_that_waits_learns_of_the_end() {
    shuttle::check_random(end_from_the_consumer, 2_000);
    shuttle::check_pct(end_from_the_consumer, 2_000, 3);
}

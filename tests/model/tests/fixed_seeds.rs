//! The bodies of the fuzz targets, on bytes from fixed seeds and on the files of the corpora.

use phi_abi::{CALLS, Number};
use phi_model::bytes::{from_seed, mutated};
use phi_model::{bundle, calls, idl, image, manifest, ring};
use std::path::Path;

/// Runs `body` on the files of a target's corpus, of which it takes some: what another version made is refused at once,
/// and says nothing of what comes behind.
fn corpus<R>(target: &str, body: fn(&[u8]) -> R, is_good: impl Fn(&R) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).expect("a corpus for each target");
    let run = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.expect("a file of the corpus").path();
        println!("{}", path.display());
        body(&std::fs::read(&path).expect("a file that can be read"))
    };
    let good = files.map(run).filter(is_good).count();
    assert!(good > 0, "no file of the corpus is accepted: docs/fuzzing.md says how to renew it");
}

/// How many of so many changes of `base` a body accepts.
fn accepted(base: &[u8], count: u64, body: fn(&[u8]) -> bool) -> usize {
    (0..count).filter(|seed| body(&mutated(base, *seed))).count()
}

#[test]
fn calls_end_as_the_model_says() {
    corpus("calls", calls::run, |seen| seen.calls > 0);
    let mut all = calls::Seen::default();
    for seed in 0..40 {
        let seen = calls::run(&from_seed(seed, 16_384));
        all.calls += seen.calls;
        all.succeeded.iter_mut().zip(seen.succeeded).for_each(|(sum, count)| *sum += count);
        all.tombstones += seen.tombstones;
        all.loans += seen.loans;
        all.depth = all.depth.max(seen.depth);
    }
    // A comparison in which little happens would say little.
    for (call, succeeded) in CALLS.iter().zip(all.succeeded) {
        let ends = [Number::ThreadExit, Number::DomainExit, Number::DomainPanic];
        // Nobody holds the hardware.
        let devices = call.number as u32 >= Number::DeviceRegion as u32;
        let returns = !ends.contains(&call.number) && !devices;
        assert!(succeeded >= 20 || !returns, "{} succeeded {succeeded} times", call.name);
    }
    assert!(all.calls > 10_000 && all.tombstones > 200, "{all:?}");
    assert!(all.loans > 50 && all.depth > 4, "{all:?}");
}

#[test]
fn any_manifest_is_refused_or_becomes_a_bundle() {
    corpus("manifest", manifest::run, |good| *good);
    assert!(manifest::run(manifest::SAMPLE.as_bytes()));
    let good = accepted(manifest::SAMPLE.as_bytes(), 1000, manifest::run);
    assert!((1..1000).contains(&good), "{good}");
}

#[test]
fn any_bundle_is_refused_or_lies_within_itself() {
    corpus("bundle", bundle::run, |became| *became == bundle::Became::Booted);
    let sample = bundle::sample();
    assert_eq!(bundle::run(&sample), bundle::Became::Booted);
    let good = accepted(&sample, 400, |input| bundle::run(input) == bundle::Became::Booted);
    assert!((10..400).contains(&good), "{good}");
}

#[test]
fn any_image_is_refused_or_lies_within_its_window() {
    corpus("image", image::run, |good| *good);
    let sample = image::sample();
    assert!(image::run(&sample));
    let good = accepted(&sample, 3000, image::run);
    assert!((100..3000).contains(&good), "{good}");
}

#[test]
fn any_message_is_answered_and_no_handle_is_lost() {
    corpus("idl", idl::run, |(calls, answers)| *calls > 0 && *answers > 0);
    let mut understood = (0, 0);
    for seed in 0..500 {
        let (calls, answers) = idl::run(&from_seed(seed, 2048));
        understood = (understood.0 + calls, understood.1 + answers);
    }
    assert!(understood.0 > 1000 && understood.1 > 1000, "{understood:?}");
}

#[test]
fn a_ring_is_a_queue_and_survives_scribbling() {
    corpus("ring", ring::run, |passed| *passed > 0);
    let passed: usize = (0..2000).map(|seed| ring::run(&from_seed(seed, 512))).sum();
    assert!(passed > 10_000, "{passed}");
}

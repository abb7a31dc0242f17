//! Hands what libFuzzer finds to `phi_model::image::run`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    phi_model::image::run(input);
});

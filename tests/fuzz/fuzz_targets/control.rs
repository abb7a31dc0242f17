//! Hands what libFuzzer finds to `phi_host::linux::hostile::run`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    phi_host::linux::hostile::run(input);
});

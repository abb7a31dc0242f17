//! The image of `aimer`.
#![no_std]
#![no_main]
phi_rt::image!(phi_device_tests::aimer::main);

//! The image of `victim`.
#![no_std]
#![no_main]
phi_rt::image!(phi_device_tests::victim::main);

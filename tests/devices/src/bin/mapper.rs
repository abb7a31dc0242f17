//! The image of `mapper`.
#![no_std]
#![no_main]
phi_rt::image!(phi_device_tests::mapper::main);

//! The image of `ticker`.
#![no_std]
#![no_main]
phi_rt::image!(phi_device_tests::ticker::main);

//! The image of `measurer`.
#![no_std]
#![no_main]
phi_rt::image!(phi_disk_tests::measurer::main);

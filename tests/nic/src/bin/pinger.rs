//! The image of `pinger`.
#![no_std]
#![no_main]
phi_rt::image!(phi_nic_tests::pinger::main);

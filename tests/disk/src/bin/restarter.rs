//! The image of `restarter`.
#![no_std]
#![no_main]
phi_rt::image!(phi_disk_tests::restarter::main);

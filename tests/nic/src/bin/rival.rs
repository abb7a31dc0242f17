//! The image of `rival`.
#![no_std]
#![no_main]
phi_rt::image!(phi_nic_tests::prober::rival);

//! The image of `taker`.
#![no_std]
#![no_main]
phi_rt::image!(phi_benchmark::taker);

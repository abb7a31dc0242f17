//! The image of `leader`.
#![no_std]
#![no_main]
phi_rt::image!(phi_benchmark::start::leader);

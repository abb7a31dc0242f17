//! The image of `revoker`.
#![no_std]
#![no_main]
phi_rt::image!(phi_benchmark::revoker);

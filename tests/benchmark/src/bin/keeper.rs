//! The image of `keeper`.
#![no_std]
#![no_main]
phi_rt::image!(phi_benchmark::start::keeper);

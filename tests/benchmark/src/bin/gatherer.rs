//! The image of `gatherer`.
#![no_std]
#![no_main]
phi_rt::image!(phi_benchmark::gatherer);

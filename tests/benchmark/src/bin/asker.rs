//! The image of `asker`.
#![no_std]
#![no_main]
phi_rt::image!(phi_benchmark::one_way::asker);

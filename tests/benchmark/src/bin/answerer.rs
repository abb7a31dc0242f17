//! The image of `answerer`.
#![no_std]
#![no_main]
phi_rt::image!(phi_benchmark::answerer);

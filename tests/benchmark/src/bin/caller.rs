//! The image of `caller`.
#![no_std]
#![no_main]
phi_rt::image!(phi_benchmark::caller);

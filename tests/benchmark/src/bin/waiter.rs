//! The image of `waiter`.
#![no_std]
#![no_main]
phi_rt::image!(phi_benchmark::start::waiter);

//! The image of `init`.
#![no_std]
#![no_main]
phi_rt::image!(phi_init::main);

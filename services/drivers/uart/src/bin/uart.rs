//! The image of `uart`.
#![no_std]
#![no_main]
phi_rt::image!(phi_uart::main);

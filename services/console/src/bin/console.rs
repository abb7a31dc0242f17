//! The image of `console`.
#![no_std]
#![no_main]
phi_rt::image!(phi_console::main);

//! The image of `besieger`.
#![no_std]
#![no_main]
phi_rt::image!(phi_siege::besieger::main);

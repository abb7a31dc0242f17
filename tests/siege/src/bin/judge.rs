//! The image of `judge`.
#![no_std]
#![no_main]
phi_rt::image!(phi_siege::judge::main);

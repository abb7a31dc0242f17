//! The image of `reaper`.
#![no_std]
#![no_main]
phi_rt::image!(phi_blockcopy::reaper::main);

//! The image of `bystander`.
#![no_std]
#![no_main]
phi_rt::image!(phi_siege::bystander::main);

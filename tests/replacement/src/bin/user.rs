//! The image of `user`.
#![no_std]
#![no_main]
phi_rt::image!(phi_replacement::user);

//! The image of the counter, second edition.
#![no_std]
#![no_main]
phi_rt::image!(phi_replacement::second);

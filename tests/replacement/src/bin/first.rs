//! The image of the counter, first edition.
#![no_std]
#![no_main]
phi_rt::image!(phi_replacement::first);

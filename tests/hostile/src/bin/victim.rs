//! The image of `victim`.
#![no_std]
#![no_main]
phi_rt::image!(phi_hostile::victim);

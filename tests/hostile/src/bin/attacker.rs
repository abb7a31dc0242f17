//! The image of `attacker`.
#![no_std]
#![no_main]
phi_rt::image!(phi_hostile::attacker);

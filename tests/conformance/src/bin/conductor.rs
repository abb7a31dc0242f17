//! The image of `conductor`.
#![no_std]
#![no_main]
phi_rt::image!(phi_conformance::conductor);

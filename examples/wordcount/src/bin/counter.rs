//! The image of `counter`.
#![no_std]
#![no_main]
phi_rt::image!(phi_wordcount::counter);

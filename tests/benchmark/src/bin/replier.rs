//! The image of `replier`.
#![no_std]
#![no_main]
phi_rt::image!(phi_benchmark::one_way::replier);

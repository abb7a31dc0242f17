//! The image of `holder`.
#![no_std]
#![no_main]
phi_rt::image!(phi_benchmark::holder);

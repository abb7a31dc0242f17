//! The image of `lender`.
#![no_std]
#![no_main]
phi_rt::image!(phi_benchmark::lender);

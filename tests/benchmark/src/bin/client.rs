//! The image of `client`.
#![no_std]
#![no_main]
phi_rt::image!(phi_benchmark::client);

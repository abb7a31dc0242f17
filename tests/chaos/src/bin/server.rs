//! The image of `server`.
#![no_std]
#![no_main]
phi_rt::image!(phi_chaos::server);

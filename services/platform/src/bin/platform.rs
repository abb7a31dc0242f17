//! The image of `platform`.
#![no_std]
#![no_main]
phi_rt::image!(phi_platform_service::main);

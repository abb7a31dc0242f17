//! The image of `copier`.
#![no_std]
#![no_main]
phi_rt::image!(phi_blockcopy::copier::main);

//! The image of `echoer`.
#![no_std]
#![no_main]
phi_rt::image!(phi_tty_tests::main);

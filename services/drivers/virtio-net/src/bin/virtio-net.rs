//! The image of `virtio-net`.
#![no_std]
#![no_main]
phi_rt::image!(phi_virtio_net::main);

//! The image of `virtio-disk`.
#![no_std]
#![no_main]
phi_rt::image!(phi_virtio_disk::main);

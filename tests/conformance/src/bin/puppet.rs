//! The image of the services that the conductor plays with.
#![no_std]
#![no_main]
phi_rt::image!(phi_conformance::puppet);

//! The image of `reader`.
#![no_std]
#![no_main]
phi_rt::image!(phi_wordcount::reader);

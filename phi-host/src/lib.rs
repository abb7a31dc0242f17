//! ΦOS on Linux: the machine that runs services as processes, and the `phi-host` command, which
//! checks, builds, runs and boots systems.
//!
//! Principles:
//! - **One bundle for all machines**: what [`linux`] runs and [`qemu`] boots are the same bytes.
//! - **Every failure says what happened, where, and what to do**, and its kind is the exit status:
//!   [`failure`].
//! - **Nothing stays behind**: no temporary files, and no processes once this one is gone.
//!
//! Limits: Linux on x86-64. Systems lie in the Cargo workspace that has their images' packages.

pub mod bench;
pub mod cargo;
pub mod command;
pub mod control;
pub mod disk;
pub mod doctor;
pub mod dump;
pub mod ebpf;
pub mod failure;
pub mod images;
pub mod interrupt;
pub mod linux;
pub mod perf;
pub mod progress;
pub mod qemu;
pub mod statistics;
pub mod symbols;
pub mod system;
pub mod table;
pub mod trace;

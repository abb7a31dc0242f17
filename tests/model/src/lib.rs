//! A reference model of ΦCore, and the bodies of the fuzz targets: plain functions of bytes that
//! panic when something is wrong. `cargo test` runs them on fixed seeds, `tests/fuzz` on what libFuzzer
//! finds; `docs/fuzzing.md` says how.
//!
//! Limits: the model knows no budgets, no priorities and no failures of the machine, which change when
//! something happens and not what.

pub mod bundle;
pub mod bytes;
pub mod calls;
pub mod compare;
pub mod idl;
pub mod image;
mod machine;
pub mod manifest;
pub mod model;
pub mod plan;
pub mod ring;

//! The programs that a machine boots: the kernel, and the UEFI loader.

use crate::cargo;
use crate::failure::{Failure, Kind};
use std::path::{Path, PathBuf};

/// The kernel's compilation target.
const KERNEL_TARGET: &str = "x86_64-unknown-none";

/// The loader's.
const LOADER_TARGET: &str = "x86_64-unknown-uefi";

/// Builds the kernel of `project`; gives its file.
///
/// # Errors
/// Cargo or the target is missing, or the kernel does not build.
pub fn kernel(project: &Path) -> Result<PathBuf, Failure> {
    let arguments = ["--profile=kernel", "--package=phi-kernel"];
    build(project, KERNEL_TARGET, &arguments, "phi-kernel", "the kernel")
}

/// Builds the UEFI loader of `project`; gives its file.
///
/// # Errors
/// As for the kernel.
pub fn loader(project: &Path) -> Result<PathBuf, Failure> {
    let arguments = ["--profile=loader", "--package=phi-loader", "--features=firmware"];
    build(project, LOADER_TARGET, &arguments, "phi-loader", "the loader")
}

fn build(
    project: &Path,
    target: &str,
    arguments: &[&str],
    program: &str,
    what: &str,
) -> Result<PathBuf, Failure> {
    if !cargo::has_target(target) {
        return Err(Failure::new(Kind::Computer, "a Rust target is not installed")
            .at(target)
            .help(format!("rustup target add {target}")));
    }
    let target = format!("--target={target}");
    let arguments: Vec<String> =
        arguments.iter().copied().chain([&*target]).map(String::from).collect();
    let mut programs = cargo::build(project, &arguments, what)?;
    programs.remove(program).ok_or_else(|| {
        Failure::new(Kind::Bug, format!("cargo has not built {what}")).in_file(project)
    })
}

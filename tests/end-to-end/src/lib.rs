//! What the end-to-end tests share: the project's folder, the `phi-host` command as a user builds
//! it, and whether the bare-metal machine can run here.
//!
//! Principles: the tests drive the command and nothing inside it; they run it on real processes and
//! in real QEMU boots. Limits: they need cargo, and for bare metal QEMU and a Rust target; a plain
//! `cargo test` on a machine without those says so and skips, `./phi test` installs them and skips
//! nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The UEFI firmware, of Debian's package `ovmf`.
pub const FIRMWARE: &str = "/usr/share/ovmf/OVMF.fd";

/// The project's folder.
pub fn project() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).expect("tests/end-to-end lies two folders deep").to_path_buf()
}

/// The folder that cargo builds into.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => project().join(folder),
        None => project().join("target"),
    }
}

/// The `phi-host` command in its release build, built first if need be.
pub fn phi_host() -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let program = BUILT.get_or_init(|| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["build", "--quiet", "--release", "--package", "phi-host"]);
        if with_ebpf() {
            command.args(["--features", "ebpf"]);
        }
        let status = command.current_dir(project()).status().expect("cargo runs");
        assert!(status.success(), "phi-host does not build");
        target().join("release/phi-host")
    });
    let mut command = Command::new(program);
    command.current_dir(project());
    command
}

/// Whether systems can be booted on bare metal here. Where `PHI_REQUIRE_METAL` is set, as `./phi
/// test` does, it is an error that they cannot.
pub fn metal() -> bool {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output();
    let target = sysroot.ok().and_then(|output| {
        let folder = String::from_utf8(output.stdout).ok()?;
        Some(Path::new(folder.trim()).join("lib/rustlib/x86_64-unknown-none").is_dir())
    });
    let emulator = Command::new("qemu-system-x86_64").arg("--version").output();
    let present = target == Some(true) && emulator.is_ok();
    has(present, "on bare metal", "the Rust target x86_64-unknown-none and qemu-system-x86_64")
}

/// Whether `what` is present. Where it is not, that is an error if `PHI_REQUIRE_METAL` is set; otherwise it is said
/// that there are no tests `there`.
fn has(present: bool, there: &str, what: &str) -> bool {
    if !present {
        let needed = std::env::var_os("PHI_REQUIRE_METAL").is_some();
        assert!(!needed, "needed {there}: {what}");
        eprintln!("skipped {there}, which needs {what}; ./phi test installs that");
    }
    present
}

/// Whether systems can be booted by UEFI here. Where `PHI_REQUIRE_METAL` is set, it is an error that they
/// cannot.
pub fn firmware() -> bool {
    has(Path::new(FIRMWARE).exists(), "with UEFI", "the Debian package ovmf") && metal()
}

/// Whether disks can be booted in Bochs here. Where `PHI_REQUIRE_METAL` is set, it is an error that they cannot.
pub fn bochs() -> bool {
    // It has no argument that only says something.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let present = std::env::split_paths(&path).any(|folder| folder.join("bochs-bin").is_file());
    has(present, "in Bochs", "the Debian package bochs") && firmware()
}

/// Whether `phi-host` is built with eBPF: where libbpf can be built, as `./phi` decides. Where
/// `PHI_REQUIRE_EBPF` is set, it is built so whatever comes of it.
pub fn with_ebpf() -> bool {
    let headers = ["/usr/include/libelf.h", "/usr/include/zlib.h"];
    std::env::var_os("PHI_REQUIRE_EBPF").is_some()
        || headers.iter().all(|header| Path::new(header).exists())
}

/// Whether eBPF has to work here: it is built in, and the kernel gives this process the
/// capabilities for it. Says so where it has not.
pub fn ebpf() -> bool {
    /// CAP_PERFMON and CAP_BPF, and CAP_SYS_ADMIN, which is what root in a container lacks.
    const NEEDED: u64 = 1 << 38 | 1 << 39 | 1 << 21;
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says what we may");
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = u64::from_str_radix(held.expect("capabilities").trim(), 16).expect("a number");
    let works = with_ebpf() && held & NEEDED == NEEDED;
    if !works {
        eprintln!(
            "skipped with eBPF: it needs libelf-dev and zlib1g-dev, and root; see phi-host doctor"
        );
    }
    works
}

/// Runs a command to its end, and asserts its exit status; a difference shows everything it
/// printed.
pub fn expect(command: &mut Command, status: i32) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert_eq!(
        output.status.code(),
        Some(status),
        "{command:?} printed\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

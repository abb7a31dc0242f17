//! Links the kernel at the addresses of its own linker script.

fn main() {
    let script = "src/arch/x86_64/kernel.ld";
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={script}");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        // The target makes position-independent executables by default; this one has its address.
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        println!("cargo:rustc-link-arg-bins=--script={}", script.display());
        for argument in ["--no-pie", "-znoexecstack", "-zmax-page-size=4096", "--build-id=none"] {
            println!("cargo:rustc-link-arg-bins={argument}");
        }
    }
}

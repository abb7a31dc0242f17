//! Links the program so that the same sources make the same bytes.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("uefi") {
        // A hash instead of the time.
        println!("cargo:rustc-link-arg-bins=/Brepro");
    }
}

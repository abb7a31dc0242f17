//! Links the images as freestanding static-PIE; see phi-rt.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for argument in "-nostartfiles -nodefaultlibs -nostdlib -static-pie -Wl,-z,noexecstack,-z,separate-code,--build-id=none,--no-dynamic-linker,-z,text,--no-undefined".split(' ') {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}

//! Release builds for Linux: what each small query runs stands together in the program (`src/hot.ld`).

use std::env;
use std::path::Path;

fn main() {
    let of = |name| env::var(name).unwrap_or_default();
    let order = Path::new(&of("CARGO_MANIFEST_DIR")).join("src/hot.ld");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", order.display());
    let linux = of("CARGO_CFG_TARGET_OS") == "linux" && of("CARGO_CFG_TARGET_ENV") == "gnu";
    // A linker of the builder's own choice may know no linker scripts.
    let chosen = of("CARGO_ENCODED_RUSTFLAGS").contains("link");
    if linux && !chosen && of("OPT_LEVEL") != "0" && order.exists() {
        println!("cargo::rustc-link-arg-bin=pgweir=-Wl,-T,{}", order.display());
    }
}

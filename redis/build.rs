//! Builds the library with which a server of our own sees the world's clock, if it can run here.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=clock/clock.rs");
    println!("cargo::rustc-check-cfg=cfg(has_clock)");
    let variable = |name| env::var(name).unwrap_or_default();
    let is_known = matches!(variable("CARGO_CFG_TARGET_ARCH").as_str(), "x86_64" | "aarch64");
    let is_linux = variable("CARGO_CFG_TARGET_OS") == "linux" && variable("CARGO_CFG_TARGET_ENV") == "gnu";
    // The server runs on this machine, and so does the linker.
    if !is_known || !is_linux || variable("TARGET") != variable("HOST") {
        return;
    }
    let library = Path::new(&variable("OUT_DIR")).join("clock.so");
    let built = Command::new(variable("RUSTC"))
        .args(["--edition=2024", "--crate-type=cdylib", "--crate-name=clock", "-Copt-level=2"])
        .args(["-Cpanic=abort", "-Cstrip=symbols", "clock/clock.rs", "-o"])
        .arg(&library)
        .status();
    if built.is_ok_and(|status| status.success()) {
        println!("cargo::rustc-cfg=has_clock");
    }
}

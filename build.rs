//! Tells the crate how it is optimized: a slow test in an unoptimized build says how to make it fast.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let level = std::env::var("OPT_LEVEL").unwrap_or_default();
    println!("cargo::rustc-env=RETRYPROOF_OPT_LEVEL={level}");
}

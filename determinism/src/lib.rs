#![doc = include_str!("../README.md")]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unreachable_pub, reason = "the linker finds these functions by their names")]
mod linux;

/// Reports whether this system is supported: Linux with glibc. On others, this crate does nothing.
pub const IS_SUPPORTED: bool = cfg!(all(target_os = "linux", target_env = "gnu"));

/// Runs when the program starts, before `main`.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
// SAFETY: the section has functions without arguments, which the C library calls once.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
extern "C" fn start() {
    retryproof::adapter::simulate_operating_system();
}

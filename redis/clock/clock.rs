//! A library for `LD_PRELOAD`, with which a Redis server sees the world's clock. It is built by `build.rs`, and needs
//! nothing but the C library.
//!
//! The file in `RETRYPROOF_CLOCK` has the time in nanoseconds since 1970. Zero is the real time. The time stands still until
//! the proxy writes another one. The server measures its own timers by the monotonic clock, which stays real.

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU64, Ordering};

#[repr(C)]
#[derive(Clone, Copy)]
pub struct TimeSpec {
    seconds: i64,
    nanos: c_long,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct TimeVal {
    seconds: i64,
    micros: c_long,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn getenv(name: *const c_char) -> *const c_char;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn close(file: c_int) -> c_int;
    fn mmap(
        at: *mut c_void,
        length: usize,
        protection: c_int,
        flags: c_int,
        file: c_int,
        from: i64,
    ) -> *mut c_void;
}

#[cfg(target_arch = "x86_64")]
const CLOCK_GETTIME: c_long = 228;
#[cfg(target_arch = "aarch64")]
const CLOCK_GETTIME: c_long = 113;

const REAL: c_int = 0;
const REAL_COARSE: c_int = 5;
const NANOS: i64 = 1_000_000_000;

/// The time of the world.
static PAGE: AtomicPtr<AtomicI64> = AtomicPtr::new(ptr::null_mut());
/// The number of attempts to open the page.
static TRIES: AtomicU64 = AtomicU64::new(0);

fn real(clock: c_int) -> TimeSpec {
    let mut time = TimeSpec { seconds: 0, nanos: 0 };
    // SAFETY: the kernel writes one time to the given place.
    unsafe { syscall(CLOCK_GETTIME, c_long::from(clock), &mut time as *mut TimeSpec) };
    time
}

fn page() -> Option<&'static AtomicI64> {
    let mut page = PAGE.load(Ordering::Relaxed);
    if page.is_null() {
        if TRIES.fetch_add(1, Ordering::Relaxed) > 0 {
            return None;
        }
        // SAFETY: the name is a C string, and so is what the environment has. The file is as long as the mapping, and is
        // never cut off. It is mapped for as long as the process lives.
        unsafe {
            let name: &CStr = c"RETRYPROOF_CLOCK";
            let path = getenv(name.as_ptr());
            if path.is_null() {
                return None;
            }
            let file = open(path, 0);
            if file < 0 {
                return None;
            }
            let mapped = mmap(ptr::null_mut(), 8, 1, 1, file, 0);
            close(file);
            if mapped as isize == -1 {
                return None;
            }
            page = mapped.cast();
        }
        PAGE.store(page, Ordering::Relaxed);
    }
    // SAFETY: it is mapped, and has one time.
    Some(unsafe { &*page })
}

/// The time of the world. `None` is the real time.
fn now() -> Option<i64> {
    page().map(|page| page.load(Ordering::Relaxed)).filter(|time| *time != 0)
}

/// # Safety
/// As that of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut TimeSpec) -> c_int {
    let known = if clock == REAL || clock == REAL_COARSE { now() } else { None };
    let known = known.map(|now| TimeSpec { seconds: now / NANOS, nanos: (now % NANOS) as c_long });
    // SAFETY: the caller gives a place for a time.
    unsafe { *time = known.unwrap_or_else(|| real(clock)) };
    0
}

/// # Safety
/// As that of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(time: *mut TimeVal, _zone: *mut c_void) -> c_int {
    let mut spec = TimeSpec { seconds: 0, nanos: 0 };
    // SAFETY: as above.
    unsafe {
        clock_gettime(REAL, &mut spec);
        *time = TimeVal { seconds: spec.seconds, micros: spec.nanos / 1_000 };
    }
    0
}

/// # Safety
/// As that of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(place: *mut i64) -> i64 {
    let mut spec = TimeSpec { seconds: 0, nanos: 0 };
    // SAFETY: as above. The place may be null.
    unsafe {
        clock_gettime(REAL, &mut spec);
        if !place.is_null() {
            *place = spec.seconds;
        }
    }
    spec.seconds
}

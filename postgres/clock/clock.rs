//! A library for `LD_PRELOAD`, with which a PostgreSQL server sees the world's clock. It is built by `build.rs`, and needs
//! nothing but the C library.
//!
//! The file in `RETRYPROOF_CLOCK` has the time of each process, in nanoseconds since 1970 at eight bytes times its number.
//! Zero is the real time. The time stands still until the proxy writes another one, but timers still run out: a process
//! whose timer has run out in real time sees the time of that timer, and one that has waited sees the time after it.

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

#[repr(C)]
pub struct Timer {
    interval: TimeVal,
    value: TimeVal,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn getpid() -> c_int;
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
mod numbers {
    pub const CLOCK_GETTIME: i64 = 228;
    pub const SETITIMER: i64 = 38;
    pub const EPOLL_PWAIT: i64 = 281;
}

#[cfg(target_arch = "aarch64")]
mod numbers {
    pub const CLOCK_GETTIME: i64 = 113;
    pub const SETITIMER: i64 = 103;
    pub const EPOLL_PWAIT: i64 = 22;
}

const REAL: c_int = 0;
const MONOTONIC: c_int = 1;
const REAL_COARSE: c_int = 5;
/// The numbers of processes are smaller than this on Linux.
const PROCESSES: usize = 1 << 22;
const NANOS: i64 = 1_000_000_000;

/// The times of all processes.
static PAGE: AtomicPtr<AtomicI64> = AtomicPtr::new(ptr::null_mut());
/// The process for which the following holds, because a new process begins as a copy.
static OWNER: AtomicI64 = AtomicI64::new(0);
/// The time of the page at which the process waited or set its timer, and the time that has passed in it since.
static SEEN: AtomicI64 = AtomicI64::new(0);
static PASSED: AtomicI64 = AtomicI64::new(0);
/// The length of the timer that is set, and the real moment of its end. Zero is no timer.
static LENGTH: AtomicI64 = AtomicI64::new(0);
static END: AtomicI64 = AtomicI64::new(0);
/// The number of attempts to open the page.
static TRIES: AtomicU64 = AtomicU64::new(0);

fn real(clock: c_int) -> TimeSpec {
    let mut time = TimeSpec { seconds: 0, nanos: 0 };
    // SAFETY: the kernel writes one time to the given place.
    unsafe { syscall(numbers::CLOCK_GETTIME as c_long, c_long::from(clock), &mut time as *mut TimeSpec) };
    time
}

fn monotonic() -> i64 {
    let TimeSpec { seconds, nanos } = real(MONOTONIC);
    seconds * NANOS + nanos as i64
}

fn page() -> Option<&'static AtomicI64> {
    let mut page = PAGE.load(Ordering::Relaxed);
    if page.is_null() {
        if TRIES.fetch_add(1, Ordering::Relaxed) > 0 {
            return None;
        }
        // SAFETY: the name is a C string, and so is what the environment has. The file is longer than the mapping, and is
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
            let mapped = mmap(ptr::null_mut(), PROCESSES * 8, 1, 1, file, 0);
            close(file);
            if mapped as isize == -1 {
                return None;
            }
            page = mapped.cast();
        }
        PAGE.store(page, Ordering::Relaxed);
    }
    // SAFETY: the number of a process is smaller than the number of times.
    Some(unsafe { &*page.add(getpid() as usize % PROCESSES) })
}

/// The time of this process. `None` is the real time.
fn now() -> Option<i64> {
    let time = page()?.load(Ordering::Relaxed);
    if time == 0 {
        return None;
    }
    // SAFETY: it has no conditions.
    let process = i64::from(unsafe { getpid() });
    if OWNER.swap(process, Ordering::Relaxed) != process || SEEN.swap(time, Ordering::Relaxed) != time {
        PASSED.store(0, Ordering::Relaxed);
    }
    let length = LENGTH.load(Ordering::Relaxed);
    if length > 0 && monotonic() >= END.load(Ordering::Relaxed) {
        LENGTH.store(0, Ordering::Relaxed);
        PASSED.fetch_add(length, Ordering::Relaxed);
    }
    Some(time + PASSED.load(Ordering::Relaxed))
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

/// # Safety
/// As that of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn setitimer(which: c_int, new: *const Timer, old: *mut Timer) -> c_int {
    now();
    if which == 0 && !new.is_null() {
        // SAFETY: the caller gives a timer.
        let value = unsafe { (*new).value };
        let length = value.seconds * NANOS + value.micros as i64 * 1_000;
        END.store(monotonic() + length, Ordering::Relaxed);
        LENGTH.store(length, Ordering::Relaxed);
    }
    // SAFETY: the same arguments.
    unsafe { syscall(numbers::SETITIMER as c_long, c_long::from(which), new, old) as c_int }
}

/// # Safety
/// As that of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_wait(epoll: c_int, events: *mut c_void, most: c_int, timeout: c_int) -> c_int {
    // SAFETY: the same arguments, and no mask of signals.
    let count = unsafe {
        let (epoll, most, timeout) = (c_long::from(epoll), c_long::from(most), c_long::from(timeout));
        syscall(numbers::EPOLL_PWAIT as c_long, epoll, events, most, timeout, ptr::null::<c_void>(), 8_usize)
    };
    if count == 0 && timeout > 0 && now().is_some() {
        PASSED.fetch_add(i64::from(timeout) * 1_000_000, Ordering::Relaxed);
    }
    count as c_int
}

//! Functions with the names of functions of the C library. The linker finds these first. Each of them asks the scenario of
//! the current thread for the answer. On a thread outside of all scenarios, it calls the function of the C library.

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use libc::{
    clockid_t, pthread_attr_t, pthread_t, size_t, sockaddr, sockaddr_in, sockaddr_in6, socklen_t, ssize_t,
    time_t, timespec, timeval,
};
use retryproof::adapter;

/// A function of the C library, which is looked up once.
struct Original {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Original {
    const fn new(name: &'static CStr) -> Self {
        Self { name, found: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Its address.
    fn get(&self) -> *mut c_void {
        let mut found = self.found.load(Ordering::Relaxed);
        if found.is_null() {
            // SAFETY: the name ends with a zero.
            found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr() as *const c_char) };
            if found.is_null() {
                // Without it the program cannot go on, and a panic would need it as well.
                std::process::abort();
            }
            self.found.store(found, Ordering::Relaxed);
        }
        found
    }
}

/// Whether a clock has the time of day.
fn is_time_of_day(clock: clockid_t) -> bool {
    matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI)
}

fn seconds(time: Duration) -> time_t {
    time_t::try_from(time.as_secs()).unwrap_or(time_t::MAX)
}

/// # Safety
/// As for the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    static ORIGINAL: Original = Original::new(c"clock_gettime");
    if is_time_of_day(clock) && !time.is_null() {
        if let Some(now) = adapter::time_of_day() {
            let now = timespec { tv_sec: seconds(now), tv_nsec: c_long::from(now.subsec_nanos() as i32) };
            // SAFETY: the caller gives a place for a time.
            unsafe { time.write(now) };
            return 0;
        }
    }
    // SAFETY: the function has this type.
    let original: unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int =
        unsafe { mem::transmute(ORIGINAL.get()) };
    // SAFETY: the caller's arguments.
    unsafe { original(clock, time) }
}

/// # Safety
/// As for the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(time: *mut timeval, zone: *mut c_void) -> c_int {
    static ORIGINAL: Original = Original::new(c"gettimeofday");
    if !time.is_null() {
        if let Some(now) = adapter::time_of_day() {
            let now = timeval { tv_sec: seconds(now), tv_usec: now.subsec_micros().into() };
            // SAFETY: the caller gives a place for a time.
            unsafe { time.write(now) };
            return 0;
        }
    }
    // SAFETY: the function has this type.
    let original: unsafe extern "C" fn(*mut timeval, *mut c_void) -> c_int =
        unsafe { mem::transmute(ORIGINAL.get()) };
    // SAFETY: the caller's arguments.
    unsafe { original(time, zone) }
}

/// # Safety
/// As for the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(place: *mut time_t) -> time_t {
    static ORIGINAL: Original = Original::new(c"time");
    if let Some(now) = adapter::time_of_day() {
        if !place.is_null() {
            // SAFETY: the caller gives a place for a time, or none.
            unsafe { place.write(seconds(now)) };
        }
        return seconds(now);
    }
    // SAFETY: the function has this type.
    let original: unsafe extern "C" fn(*mut time_t) -> time_t = unsafe { mem::transmute(ORIGINAL.get()) };
    // SAFETY: the caller's argument.
    unsafe { original(place) }
}

/// Fills the place with random numbers of the scenario.
///
/// # Safety
/// There must be room for that number of bytes.
unsafe fn fill(place: *mut c_void, length: size_t) -> bool {
    if place.is_null() || length == 0 {
        return false;
    }
    // SAFETY: as above. The bytes need not have been written before, so they are written first.
    let bytes = unsafe {
        ptr::write_bytes(place.cast::<u8>(), 0, length);
        slice::from_raw_parts_mut(place.cast(), length)
    };
    adapter::random_bytes(bytes)
}

/// # Safety
/// As for the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(place: *mut c_void, length: size_t, flags: c_uint) -> ssize_t {
    static ORIGINAL: Original = Original::new(c"getrandom");
    // SAFETY: the caller's arguments.
    if unsafe { fill(place, length) } {
        return ssize_t::try_from(length).unwrap_or(ssize_t::MAX);
    }
    // SAFETY: the function has this type.
    let original: unsafe extern "C" fn(*mut c_void, size_t, c_uint) -> ssize_t =
        unsafe { mem::transmute(ORIGINAL.get()) };
    // SAFETY: the caller's arguments.
    unsafe { original(place, length, flags) }
}

/// # Safety
/// As for the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getentropy(place: *mut c_void, length: size_t) -> c_int {
    static ORIGINAL: Original = Original::new(c"getentropy");
    // SAFETY: the caller's arguments.
    if length <= 256 && unsafe { fill(place, length) } {
        return 0;
    }
    // SAFETY: the function has this type.
    let original: unsafe extern "C" fn(*mut c_void, size_t) -> c_int =
        unsafe { mem::transmute(ORIGINAL.get()) };
    // SAFETY: the caller's arguments.
    unsafe { original(place, length) }
}

/// Libraries that do not rely on the C library for it ask the kernel. A call with fewer arguments leaves the others
/// undefined, which nobody reads.
///
/// # Safety
/// As for the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    static ORIGINAL: Original = Original::new(c"syscall");
    if number == libc::SYS_getrandom {
        // SAFETY: the caller's arguments: a place, and its length.
        if unsafe { fill(a as *mut c_void, b as size_t) } {
            return b;
        }
    }
    // SAFETY: the function has this type, with any number of arguments.
    let original: unsafe extern "C" fn(c_long, ...) -> c_long = unsafe { mem::transmute(ORIGINAL.get()) };
    // SAFETY: the caller's arguments.
    unsafe { original(number, a, b, c, d, e, f) }
}

/// The address of a socket, if it is one of the Internet.
///
/// # Safety
/// The address must be as long as that.
unsafe fn internet(address: *const sockaddr, length: socklen_t) -> Option<SocketAddr> {
    let length = usize::try_from(length).ok()?;
    if address.is_null() || length < mem::size_of::<libc::sa_family_t>() {
        return None;
    }
    // SAFETY: it is long enough to have a family.
    let family = c_int::from(unsafe { (*address).sa_family });
    match family {
        libc::AF_INET if length >= mem::size_of::<sockaddr_in>() => {
            // SAFETY: an address of this family, as long as one. It need not be aligned.
            let known = unsafe { address.cast::<sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from(u32::from_be(known.sin_addr.s_addr));
            Some(SocketAddr::from((ip, u16::from_be(known.sin_port))))
        }
        libc::AF_INET6 if length >= mem::size_of::<sockaddr_in6>() => {
            // SAFETY: as above.
            let known = unsafe { address.cast::<sockaddr_in6>().read_unaligned() };
            let ip = Ipv6Addr::from(known.sin6_addr.s6_addr);
            Some(SocketAddr::from((ip, u16::from_be(known.sin6_port))))
        }
        _ => None,
    }
}

/// Whether a socket is one of TCP. Resolvers of names connect sockets of UDP.
fn is_tcp(socket: c_int) -> bool {
    let (mut kind, mut length) = (0, mem::size_of::<c_int>() as socklen_t);
    let (place, length): (*mut c_int, *mut socklen_t) = (&mut kind, &mut length);
    // SAFETY: there is room for the answer.
    let result = unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_TYPE, place.cast(), length) };
    result == 0 && kind == libc::SOCK_STREAM
}

/// # Safety
/// As for the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn connect(socket: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    static ORIGINAL: Original = Original::new(c"connect");
    // SAFETY: the caller's address.
    if let Some(address) = unsafe { internet(address, length) }.filter(|_| is_tcp(socket)) {
        adapter::note_connection_to(address);
    }
    // SAFETY: the function has this type.
    let original: unsafe extern "C" fn(c_int, *const sockaddr, socklen_t) -> c_int =
        unsafe { mem::transmute(ORIGINAL.get()) };
    // SAFETY: the caller's arguments.
    unsafe { original(socket, address, length) }
}

/// It may end by `pthread_exit`, which unwinds.
type ThreadFunction = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// The beginning of a thread.
struct ThreadStart {
    enter: Box<dyn FnOnce() + Send>,
    function: ThreadFunction,
    argument: *mut c_void,
}

extern "C-unwind" fn start_thread(start: *mut c_void) -> *mut c_void {
    // SAFETY: `pthread_create` below has made it so, for this call alone.
    let ThreadStart { enter, function, argument } = *unsafe { Box::from_raw(start.cast::<ThreadStart>()) };
    enter();
    function(argument)
}

/// A thread takes part in the scenario of the thread that starts it.
///
/// # Safety
/// As for the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    function: ThreadFunction,
    argument: *mut c_void,
) -> c_int {
    static ORIGINAL: Original = Original::new(c"pthread_create");
    // SAFETY: the function has this type.
    let original: unsafe extern "C" fn(
        *mut pthread_t,
        *const pthread_attr_t,
        ThreadFunction,
        *mut c_void,
    ) -> c_int = unsafe { mem::transmute(ORIGINAL.get()) };
    if !adapter::is_in_run() {
        // SAFETY: the caller's arguments.
        return unsafe { original(thread, attributes, function, argument) };
    }
    let start = ThreadStart { enter: Box::new(adapter::in_this_run()), function, argument };
    let start = Box::into_raw(Box::new(start));
    // SAFETY: the caller's arguments, and a function with the argument that it expects.
    let result = unsafe { original(thread, attributes, start_thread, start.cast()) };
    if result != 0 {
        // SAFETY: no thread has been started, so nobody else has it.
        drop(unsafe { Box::from_raw(start) });
    }
    result
}

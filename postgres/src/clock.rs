//! The clock of a server of our own: each backend sees the time of the world of its client.
//!
//! The server is started with a library that reads the time from a file, see `clock/clock.rs`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(has_clock)]
const LIBRARY: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/clock.so")));
#[cfg(not(has_clock))]
const LIBRARY: Option<&[u8]> = None;

/// The length of the file, which has eight bytes for each number of a process.
const LENGTH: u64 = 8 << 22;

/// The environment that a server needs.
pub(crate) type Environment = Vec<(&'static str, PathBuf)>;

/// See the module.
#[derive(Debug)]
pub(crate) struct ServerClock {
    times: File,
    /// The time zero of each world: the real time at which the server began, in whole seconds, unless the time is simulated.
    zero: Duration,
    sets: AtomicU64,
}

impl ServerClock {
    /// Makes the file and the library in the directory of a server. Returns the clock and the environment that the
    /// server needs, or `None` if the library is not made for this system.
    #[allow(
        clippy::disallowed_methods,
        reason = "programs also compare times of the server with their own clock"
    )]
    pub(crate) fn install(directory: &Path) -> io::Result<Option<(Self, Environment)>> {
        let Some(library) = LIBRARY else { return Ok(None) };
        let (path, preloaded) = (directory.join("clock"), directory.join("clock.so"));
        fs::write(&preloaded, library)?;
        let times = File::create(&path)?;
        // It takes no room on the disk, except for the times that are set.
        times.set_len(LENGTH)?;
        let now = retryproof::adapter::beginning_of_time()
            .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let clock = Self { times, zero: Duration::from_secs(now.as_secs()), sets: AtomicU64::new(0) };
        Ok(Some((clock, vec![("LD_PRELOAD", preloaded), ("RETRYPROOF_CLOCK", path)])))
    }

    /// Sets the time of a backend, since its world began.
    pub(crate) fn set(&self, backend: u32, now: Duration) {
        // The server counts microseconds. The part below tells the library that this is another statement.
        let micros = (self.zero + now).as_micros() as u64;
        self.write(backend, micros * 1_000 + self.sets.fetch_add(1, Ordering::Relaxed) % 1_000);
    }

    /// Gives a number of a process its real time back, because another process may get the number.
    pub(crate) fn clear(&self, backend: u32) {
        self.write(backend, 0);
    }

    fn write(&self, backend: u32, time: u64) {
        // Without it, the backend sees the last time that was set.
        let _ = self.times.write_at(&time.to_ne_bytes(), u64::from(backend) * 8 % LENGTH);
    }
}

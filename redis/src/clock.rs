//! The clock of a server of our own, which sees the time of the world.
//!
//! The server is started with a library that reads the time from a file, see `clock/clock.rs`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(has_clock)]
const LIBRARY: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/clock.so")));
#[cfg(not(has_clock))]
const LIBRARY: Option<&[u8]> = None;

/// See the module.
#[derive(Debug)]
pub(crate) struct ServerClock {
    file: File,
    /// The time zero of each world: the real time at which the server began, in whole seconds, unless the time is
    /// simulated.
    pub(crate) zero: Duration,
}

/// The library and the file of a clock.
#[derive(Debug)]
pub(crate) struct ClockPaths {
    pub(crate) library: PathBuf,
    pub(crate) file: PathBuf,
}

#[allow(
    clippy::disallowed_methods,
    reason = "programs also compare times of the server with their own clock"
)]
pub(crate) fn real_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl ServerClock {
    /// Makes the file and the library in the directory of a server, or `None` if the library is not made for this
    /// system, or cannot be loaded from there.
    pub(crate) fn install(directory: &Path) -> io::Result<Option<(Self, ClockPaths)>> {
        let Some(library) = LIBRARY else { return Ok(None) };
        // The names of libraries to load are separated by these.
        if directory.to_string_lossy().contains([' ', ':']) {
            return Ok(None);
        }
        let paths = ClockPaths { library: directory.join("clock.so"), file: directory.join("clock") };
        fs::write(&paths.library, library)?;
        let file = File::create(&paths.file)?;
        let zero = retryproof::adapter::beginning_of_time().unwrap_or_else(real_time);
        let clock = Self { file, zero: Duration::from_secs(zero.as_secs()) };
        clock.set(Duration::ZERO);
        Ok(Some((clock, paths)))
    }

    /// Sets the time since the world began.
    pub(crate) fn set(&self, now: Duration) {
        let nanos = (self.zero + now).as_nanos() as u64;
        // Without it, the server sees the last time that was set.
        let _ = self.file.write_at(&nanos.to_ne_bytes(), 0);
    }
}

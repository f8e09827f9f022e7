//! The state of the threads of this program, as Linux shows it: whether a thread runs, waits for a lock, or is gone.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The state of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Activity {
    /// It has ended.
    Gone,
    /// It waits for a lock, a condition variable, or the end of another thread.
    Asleep,
    /// It waits in another system call: for a pipe, for a socket.
    InSystemCall,
    /// It runs, or is about to, or waits for memory or a disk, or sleeps for a time.
    Busy,
}

/// The numbers of the system calls in which a thread waits for a lock, and in which it sleeps for a time.
const CALLS: Option<(&str, [&str; 2])> = match () {
    () if cfg!(all(target_os = "linux", target_arch = "x86_64")) => Some(("202", ["35", "230"])),
    () if cfg!(all(target_os = "linux", target_arch = "aarch64")) => Some(("98", ["101", "115"])),
    () => None,
};

/// The folder in which the system shows a thread.
#[derive(Clone, Debug)]
pub(crate) struct ThreadFolder {
    path: PathBuf,
    /// The name under which the system knows a thread of a slot, if it has one of its own. A thread that code on the slot
    /// starts without a name inherits it.
    family: Option<String>,
}

/// The number of families so far.
static FAMILIES: AtomicU64 = AtomicU64::new(0);

impl ThreadFolder {
    /// The folder of the current thread. `None` if the system has none.
    pub(crate) fn here() -> Option<Self> {
        CALLS?;
        let path = std::fs::read_link("/proc/thread-self").ok()?;
        Some(Self { path: Path::new("/proc").join(path), family: None })
    }

    /// The folder of the current thread, which is one of a slot.
    pub(crate) fn of_slot() -> Option<Self> {
        let mut folder = Self::here()?;
        let name = format!("slot-{}", FAMILIES.fetch_add(1, Ordering::Relaxed));
        folder.family = std::fs::write(folder.path.join("comm"), &name).is_ok().then_some(name);
        Some(folder)
    }

    /// Returns the state of the thread.
    pub(crate) fn activity(&self) -> Activity {
        activity(&self.path)
    }

    /// Returns the state of the busiest thread that code on this slot has started, if there is one. Threads with a name
    /// of their own are not known.
    pub(crate) fn activity_of_children(&self) -> Option<Activity> {
        let family = self.family.as_deref()?;
        let threads = std::fs::read_dir(self.path.parent()?).ok()?;
        let is_child = |path: &PathBuf| {
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            name.trim_end() == family && *path != self.path
        };
        threads.flatten().map(|thread| thread.path()).filter(is_child).map(|path| activity(&path)).max()
    }
}

fn activity(thread: &Path) -> Activity {
    let Some((lock, sleep)) = CALLS else { return Activity::Busy };
    let Ok(doing) = std::fs::read_to_string(thread.join("syscall")) else { return Activity::Gone };
    match doing.split_whitespace().next() {
        Some(call) if call == lock => Activity::Asleep,
        Some(call) if call == "running" || sleep.contains(&call) => Activity::Busy,
        Some(_) if is_in_kernel(thread) => Activity::Busy,
        Some(_) => Activity::InSystemCall,
        None => Activity::Gone,
    }
}

/// Reports whether the thread waits for the system itself, such as for memory or a disk.
fn is_in_kernel(thread: &Path) -> bool {
    let stat = std::fs::read_to_string(thread.join("stat")).unwrap_or_default();
    // The state comes after the name, which is in parentheses.
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['D', 'R']))
}

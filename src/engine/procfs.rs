//! The state of the threads of this program, as Linux shows it: whether a thread runs, waits for a lock, or is gone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ThreadFolder(PathBuf);

/// The threads of slots, and the names that the system knows them by. A thread that code under test starts without a
/// name inherits the name of the thread that started it.
#[derive(Debug)]
struct Families {
    slots: BTreeSet<PathBuf>,
    names: BTreeSet<String>,
}

static FAMILIES: Mutex<Families> = Mutex::new(Families { slots: BTreeSet::new(), names: BTreeSet::new() });

impl ThreadFolder {
    /// The folder of the current thread. `None` if the system has none.
    pub(crate) fn here() -> Option<Self> {
        CALLS?;
        let path = std::fs::read_link("/proc/thread-self").ok()?;
        Some(Self(Path::new("/proc").join(path)))
    }

    /// Returns the state of the thread.
    pub(crate) fn activity(&self) -> Activity {
        activity(&self.0)
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

fn families<R>(work: impl FnOnce(&mut Families) -> R) -> R {
    work(&mut FAMILIES.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The current thread is one of a slot until this value is dropped.
#[must_use = "it lasts until it is dropped"]
pub(crate) struct SlotFamily(Option<ThreadFolder>);

impl SlotFamily {
    pub(crate) fn of(thread: Option<ThreadFolder>) -> Self {
        if let Some(ThreadFolder(path)) = &thread {
            let name = std::fs::read_to_string(path.join("comm"));
            families(|families| {
                families.slots.insert(path.clone());
                families.names.extend(name);
            });
        }
        Self(thread)
    }
}

impl Drop for SlotFamily {
    fn drop(&mut self) {
        if let Some(ThreadFolder(path)) = &self.0 {
            families(|families| families.slots.remove(path));
        }
    }
}

/// The activity of the busiest thread that code on any slot has started, if there is one. Threads with a name of their
/// own are not known.
pub(crate) fn activity_of_children() -> Option<Activity> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?;
    let own = PathBuf::from("/proc").join(std::process::id().to_string()).join("task");
    let is_child = |path: &PathBuf| {
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        families(|families| families.names.contains(&name) && !families.slots.contains(path))
    };
    let all = threads.flatten().map(|thread| own.join(thread.file_name()));
    all.filter(is_child).map(|path| activity(&path)).max()
}

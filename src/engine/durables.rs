//! The test's values that survive crashes, by name. A process gets one like it gets a service.

use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::search::choice::Name;

/// A value, and the name of its type.
type Entry = (&'static str, Arc<dyn Any + Send + Sync>);

/// The values of one world. It holds them without the world, which would never be dropped otherwise.
#[derive(Default)]
pub(crate) struct Durables(Mutex<BTreeMap<Name, Entry>>);

impl fmt::Debug for Durables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durables").finish_non_exhaustive()
    }
}

impl Durables {
    pub(crate) fn add<T: Send + 'static>(&self, name: Name, value: Arc<Mutex<T>>) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.insert(name, (type_name::<T>(), value));
    }

    pub(crate) fn get(&self, name: Name) -> Option<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned()
    }
}

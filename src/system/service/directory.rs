//! The services of a world: the built-in ones, and those that the test has registered by name.

use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Service;
use super::email::EmailService;
use super::error_tracker::ErrorTracker;
use super::faulty::Faulty;
use super::fulfillment::Fulfillment;
use super::payments::Payments;
use super::store::Database;
use crate::search::choice::Name;

/// The name of the store, as a service and as a state.
pub(crate) const STORE: &str = "store";

/// A service that every world has under this name. It is created on first use.
pub(crate) trait BuiltIn: Service + Default {
    const NAME: &'static str;
}

impl BuiltIn for Payments {
    const NAME: &'static str = "payments";
}

impl BuiltIn for EmailService {
    const NAME: &'static str = "email";
}

impl BuiltIn for Fulfillment {
    const NAME: &'static str = "fulfillment";
}

impl BuiltIn for ErrorTracker {
    const NAME: &'static str = "error_tracker";
}

impl BuiltIn for Database {
    const NAME: &'static str = STORE;
}

/// Names that a test cannot give to its own service: those of the built-in services, and one that shares the scenario
/// text.
const TAKEN: [&str; 6] =
    [Payments::NAME, EmailService::NAME, Fulfillment::NAME, ErrorTracker::NAME, Database::NAME, "queue"];

/// The reason why a process has no such service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoService {
    #[error(
        "there is no service `{name}`; register it with `world.service(\"{name}\", …)`, before `world.process(…)`"
    )]
    Unknown { name: Name },
    #[error("the service `{name}` is {known}, but the code asks for {wanted}")]
    OtherType { name: Name, known: &'static str, wanted: &'static str },
    #[error(
        "the service `{name}` already exists; give each service its own name, other than `queue` and the names of the built-in services"
    )]
    Taken { name: Name },
}

/// A service with its fault layer, shared by all handles to it.
type Shared<S> = Arc<Mutex<Faulty<S>>>;

/// The methods of a fault layer that do not depend on the service's type.
trait AnyFaulty: Send + Sync {
    fn state(&self) -> Option<String>;
    fn looks_at_the_clock(&self) -> bool;
}

impl<S: Service> AnyFaulty for Mutex<Faulty<S>> {
    fn state(&self) -> Option<String> {
        self.lock().unwrap_or_else(PoisonError::into_inner).state()
    }

    fn looks_at_the_clock(&self) -> bool {
        self.lock().unwrap_or_else(PoisonError::into_inner).looks_at_the_clock()
    }
}

/// A service: once with its type, once without.
struct Entry {
    typed: Arc<dyn Any + Send + Sync>,
    any: Arc<dyn AnyFaulty>,
    of: &'static str,
}

/// The services of one world.
#[derive(Default)]
pub(crate) struct Directory {
    services: Mutex<BTreeMap<Name, Entry>>,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

impl Directory {
    /// Adds a service.
    pub(crate) fn add<S: Service>(&self, name: Name, service: S) -> Result<Shared<S>, NoService> {
        if TAKEN.contains(&name.as_str()) {
            return Err(NoService::Taken { name });
        }
        self.put(name, service)
    }

    fn put<S: Service>(&self, name: Name, service: S) -> Result<Shared<S>, NoService> {
        let mut services = self.services();
        if services.contains_key(&name) {
            return Err(NoService::Taken { name });
        }
        let faulty = Arc::new(Mutex::new(Faulty::new(service)));
        services.insert(name, Entry { typed: faulty.clone(), any: faulty.clone(), of: type_name::<S>() });
        Ok(faulty)
    }

    /// Returns a built-in service, which is created on first use.
    pub(crate) fn built_in<S: BuiltIn>(&self) -> Shared<S> {
        let name = S::NAME.into();
        let known = self.get(name).or_else(|_| self.put(name, S::default()));
        known.expect("no other service may have that name")
    }

    /// The store, if it has been used.
    pub(crate) fn store_if_there(&self) -> Option<Shared<Database>> {
        self.get(STORE.into()).ok()
    }

    /// The durable rows of the store, as JSON, if the store has been used.
    pub(crate) fn stored(&self) -> Option<(Name, String)> {
        let store = self.store_if_there()?;
        let rows = store.lock().unwrap_or_else(PoisonError::into_inner).service.compared();
        Some((STORE.into(), rows))
    }

    /// The name of the store, if there is one, and the keys of the rows that it had and that are not compared.
    pub(crate) fn not_compared(&self) -> Option<(Name, Vec<String>)> {
        let store = self.store_if_there()?;
        let store = store.lock().unwrap_or_else(PoisonError::into_inner);
        Some((STORE.into(), store.service.not_compared().map(str::to_owned).collect()))
    }

    /// Whether anything in the store has a time to live.
    pub(crate) fn has_expiring_rows(&self) -> bool {
        let store = self.store_if_there();
        store.is_some_and(|store| store.lock().unwrap_or_else(PoisonError::into_inner).service.has_expiring())
    }

    /// The service of that name.
    pub(crate) fn get<S: Service>(&self, name: Name) -> Result<Shared<S>, NoService> {
        let services = self.services();
        let Some(found) = services.get(&name) else { return Err(NoService::Unknown { name }) };
        let other = NoService::OtherType { name, known: found.of, wanted: type_name::<S>() };
        found.typed.clone().downcast().map_err(|_| other)
    }

    fn services(&self) -> MutexGuard<'_, BTreeMap<Name, Entry>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<dyn AnyFaulty>> {
        self.services().values().map(|entry| entry.any.clone()).collect()
    }

    /// Everything that the services' answers depend on, if each service exposes its state.
    pub(crate) fn states(&self) -> Option<Vec<String>> {
        self.all().iter().map(|faulty| faulty.state()).collect()
    }

    /// Reports whether the answers of some service depend on when records were made.
    pub(crate) fn look_at_the_clock(&self) -> bool {
        self.all().iter().any(|faulty| faulty.looks_at_the_clock())
    }
}

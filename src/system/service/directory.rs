//! The services of a world: the built-in ones, and those that the test has registered by name.

use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::Service;
use super::door::Faulty;
use super::email::EmailService;
use super::error_tracker::ErrorTracker;
use super::fulfillment::Fulfillment;
use super::payments::Payments;
use super::store::Database;
use crate::search::choice::Name;

/// The name of the store, as a service and as a state.
pub(crate) const STORE: &str = "store";

/// Names that a test cannot give to its own service: those of the built-in services, and one that shares the scenario
/// text.
const TAKEN: [&str; 6] = ["payments", "email", "fulfillment", "error_tracker", STORE, "queue"];

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
trait AnyDoor: Send + Sync {
    fn state(&self) -> Option<String>;
    fn looks_at_the_clock(&self) -> bool;
}

impl<S: Service> AnyDoor for Mutex<Faulty<S>> {
    fn state(&self) -> Option<String> {
        self.lock().unwrap_or_else(PoisonError::into_inner).state()
    }

    fn looks_at_the_clock(&self) -> bool {
        self.lock().unwrap_or_else(PoisonError::into_inner).looks_at_the_clock()
    }
}

/// A service that the test has registered: once with its type, once without.
struct CustomEntry {
    typed: Arc<dyn Any + Send + Sync>,
    any: Arc<dyn AnyDoor>,
    of: &'static str,
}

/// The services of one world.
#[derive(Default)]
pub(crate) struct Directory {
    pub(crate) payments: Shared<Payments>,
    pub(crate) email: Shared<EmailService>,
    pub(crate) fulfillment: Shared<Fulfillment>,
    own: Mutex<BTreeMap<Name, CustomEntry>>,
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
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.contains_key(&name) {
            return Err(NoService::Taken { name });
        }
        let door = Arc::new(Mutex::new(Faulty::new(service)));
        own.insert(name, CustomEntry { typed: door.clone(), any: door.clone(), of: type_name::<S>() });
        Ok(door)
    }

    /// The error tracker. It is created on first use, because few worlds need it.
    pub(crate) fn error_tracker(&self) -> Shared<ErrorTracker> {
        let name = Name::from("error_tracker");
        let known = self.get(name).or_else(|_| self.put(name, ErrorTracker::default()));
        known.expect("nothing else may have that name")
    }

    /// The store. It is created on first use.
    pub(crate) fn store(&self) -> Shared<Database> {
        self.store_if_there().unwrap_or_else(|| {
            self.put(STORE.into(), Database::default()).expect("nothing else may have that name")
        })
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

    /// The service of that name.
    pub(crate) fn get<S: Service>(&self, name: Name) -> Result<Shared<S>, NoService> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = own.get(&name) else { return Err(NoService::Unknown { name }) };
        let other = NoService::OtherType { name, known: found.of, wanted: type_name::<S>() };
        found.typed.clone().downcast().map_err(|_| other)
    }

    fn all(&self) -> Vec<Arc<dyn AnyDoor>> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Arc<dyn AnyDoor>> =
            vec![self.payments.clone(), self.email.clone(), self.fulfillment.clone()];
        all.extend(own.values().map(|own| own.any.clone()));
        all
    }

    /// Everything that the services' answers depend on, if each service exposes its state.
    pub(crate) fn states(&self) -> Option<Vec<String>> {
        self.all().iter().map(|door| door.state()).collect()
    }

    /// Reports whether the answers of some service depend on when records were made.
    pub(crate) fn look_at_the_clock(&self) -> bool {
        self.all().iter().any(|door| door.looks_at_the_clock())
    }
}

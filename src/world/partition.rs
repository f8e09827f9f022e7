//! Partitions of a log, and notifiers.

use serde::Serialize;

use super::World;
use crate::process::{Notifier, Observation, Partition};
use crate::search::choice::Name;
use crate::system::exact_json;
use crate::system::service::notifier::NotifierService;
use crate::system::service::partition::PartitionService;

impl World {
    /// Registers a notifier, as PostgreSQL's LISTEN and NOTIFY. See [`Notifier`] for an example.
    ///
    /// # Panics
    /// Panics if the name is taken.
    #[track_caller]
    pub fn notifier(&self, name: impl Into<Name>) -> Notifier {
        Notifier::new(self.service(name, NotifierService::default()))
    }

    /// Registers a partition of a log, as Kafka has it, with these messages. Its consumers are tasks of processes
    /// ([`Process::spawn`](crate::Process::spawn)) that poll it ([`Process::partition`](crate::Process::partition)). Its
    /// messages and its committed offset are compared when the run ends.
    ///
    /// # Panics
    /// Panics if the name is taken, or if a message cannot be written as JSON.
    #[track_caller]
    pub fn partition<T: Serialize>(
        &self,
        name: impl Into<Name>,
        messages: impl IntoIterator<Item = T>,
    ) -> Partition<T> {
        let name = name.into();
        let encode = |message: T| {
            serde_json::to_string(&message).unwrap_or_else(|error| {
                panic!("a message of the partition `{name}` cannot be written as JSON: {error}")
            })
        };
        let messages = messages.into_iter().map(encode).collect();
        let client = self.service(name, PartitionService::new(messages));
        let seen = client.clone();
        self.add_observed(Observation { name, look: Box::new(move || seen.inspect(exact_json::text)) });
        Partition::new(client, "test".to_owned())
    }
}

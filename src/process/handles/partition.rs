//! A consumer's and a producer's handle for a partition of a log.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::Client;
use crate::engine::state::lock;
use crate::search::choice::Name;
use crate::system::service::ServiceError;
use crate::system::service::partition::{PartitionReply, PartitionRequest, PartitionService, Position};

/// A message of a [`Partition`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<T> {
    /// Its place in the partition, counted from 0.
    pub offset: u64,
    /// Its content.
    pub value: T,
}

/// Why a partition did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// Another consumer has the partition by now: this one was silent for too long.
    #[error("the partition `{partition}` was assigned to another consumer; stop, and poll again")]
    Rebalanced {
        /// The partition.
        partition: Name,
    },
    /// A message is not a value of the consumer's type.
    #[error("message {offset} of the partition `{partition}` does not decode: {reason}")]
    Undecodable {
        /// The partition.
        partition: Name,
        /// The offset of the message.
        offset: u64,
        /// The reason.
        reason: String,
    },
    /// A value cannot be written as JSON.
    #[error("a message for the partition `{partition}` cannot be written as JSON: {reason}")]
    Unencodable {
        /// The partition.
        partition: Name,
        /// The reason.
        reason: String,
    },
    /// The call failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// A partition of a log, as Kafka has it: one consumer at a time reads its messages in order, and commits the offset of
/// the next one. [`World::partition`](crate::World::partition) makes one, and
/// [`Process::partition`](crate::Process::partition) gives a consumer its handle.
///
/// A consumer whose process crashes, or that is silent for 45 seconds, loses the partition to the next one that polls.
/// That one begins at the committed offset. A commit of the former one is refused.
///
/// ```
/// use retryproof::service::payments::Charge;
/// use retryproof::{Explore, World};
/// use std::time::Duration;
///
/// let explore = |commits_first: bool| {
///     Explore::new().deviations(1).run(async move |world: &World| {
///         let orders = world.partition("orders", [1_u32, 2]);
///         world.process("worker", move |p| {
///             let (orders, payments, clock) = (p.partition::<u32>("orders"), p.payments(), p.clock());
///             p.spawn("consumer", async move {
///                 loop {
///                     for order in orders.poll(10).await? {
///                         if commits_first {
///                             orders.commit(order.offset + 1).await?; // the bug: a crash loses the order
///                         }
///                         let charge = Charge::of_order(order.value, 500);
///                         payments.charge(charge.key(format!("order-{}", order.value))).await?;
///                         orders.commit(order.offset + 1).await?;
///                     }
///                     clock.sleep(Duration::from_secs(5)).await;
///                 }
///                 #[allow(unreachable_code)]
///                 Ok::<(), Box<dyn std::error::Error>>(())
///             });
///         });
///         world.settle_until(|_| orders.committed() == 2).await;
///     })
/// };
/// assert!(explore(false).is_retryproof());
/// let report = explore(true);
/// assert!(report.violations()[0].summary.starts_with("payments.charge never happened"), "{report}");
/// ```
pub struct Partition<T> {
    client: Client<PartitionService>,
    /// The name of the consumer: an incarnation of a process.
    consumer: String,
    position: Arc<Mutex<Option<Position>>>,
    values: PhantomData<fn(T) -> T>,
}

impl<T> fmt::Debug for Partition<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partition").field("name", &self.client.name).finish_non_exhaustive()
    }
}

impl<T> Clone for Partition<T> {
    fn clone(&self) -> Self {
        let Self { client, consumer, position, values } = self;
        Self {
            client: client.clone(),
            consumer: consumer.clone(),
            position: position.clone(),
            values: *values,
        }
    }
}

impl<T> Partition<T> {
    /// The handle of an incarnation of a process.
    pub(crate) fn of_process(client: Client<PartitionService>, process: Name, incarnation: u32) -> Self {
        lock(&client.faulty).service.add_process(process);
        Self::new(client, format!("{process}/{incarnation}"))
    }

    pub(crate) fn new(client: Client<PartitionService>, consumer: String) -> Self {
        Self { client, consumer, position: Arc::default(), values: PhantomData }
    }

    /// Returns the offset of the first message that is not committed, for the test.
    pub fn committed(&self) -> u64 {
        self.client.inspect(PartitionService::committed)
    }

    /// Commits the offset of the next message: all messages before it are done.
    ///
    /// # Errors
    /// Returns an error if another consumer has the partition by now, or if the call failed.
    #[track_caller]
    pub fn commit(&self, next: u64) -> impl Future<Output = Result<(), PartitionError>> + use<T> {
        let position = *lock(&self.position);
        let call = self.client.call(PartitionRequest::Commit { next, position });
        let partition = self.client.name;
        async move {
            match call.await {
                Ok(_) => Ok(()),
                Err(ServiceError::Refused { status: 409, .. }) => {
                    Err(PartitionError::Rebalanced { partition })
                }
                Err(error) => Err(error.into()),
            }
        }
    }
}

impl<T: Serialize> Partition<T> {
    /// Appends a message, and returns its offset.
    ///
    /// # Errors
    /// Returns an error if the value cannot be written as JSON, or if the call failed. It may have happened nevertheless.
    #[track_caller]
    pub fn append(&self, value: &T) -> impl Future<Output = Result<u64, PartitionError>> + use<T> {
        let partition = self.client.name;
        let call = serde_json::to_string(value)
            .map(|message| self.client.call(PartitionRequest::Append { message }))
            .map_err(|error| PartitionError::Unencodable { partition, reason: error.to_string() });
        async move {
            match call?.await? {
                PartitionReply::Appended { offset } => Ok(offset),
                _ => unreachable!("the answer to an append"),
            }
        }
    }
}

impl<T: DeserializeOwned> Partition<T> {
    /// Returns the next messages, at most `most`, and moves on to those after them. Returns none if there are none, or
    /// if another consumer has the partition.
    ///
    /// # Errors
    /// Returns an error if a message does not decode, or if the call failed. The next poll returns the same messages.
    #[track_caller]
    pub fn poll(
        &self,
        most: usize,
    ) -> impl Future<Output = Result<Vec<Message<T>>, PartitionError>> + use<T> {
        let (partition, known, consumer) = (self.client.name, self.position.clone(), self.consumer.clone());
        let position = *lock(&known);
        let call = self.client.call(PartitionRequest::Poll { consumer, position, most });
        async move {
            let PartitionReply::Polled { position, messages } = call.await? else {
                unreachable!("the answer to a poll")
            };
            let decode = |(offset, message): (u64, String)| match serde_json::from_str(&message) {
                Ok(value) => Ok(Message { offset, value }),
                Err(error) => {
                    Err(PartitionError::Undecodable { partition, offset, reason: error.to_string() })
                }
            };
            let messages = messages.into_iter().map(decode).collect::<Result<Vec<_>, _>>()?;
            *lock(&known) = position;
            Ok(messages)
        }
    }
}

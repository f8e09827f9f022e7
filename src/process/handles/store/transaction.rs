//! A transaction of the store.

use super::release;
use crate::process::handles::client::Client;
use crate::system::connections::ConnectionTicket;
use crate::system::service::store::{Database, TxId};

/// A transaction of the [`Store`](crate::Store). Until it is committed, its changes are neither durable nor visible to
/// others. It is rolled back when it is dropped, and when its process crashes.
///
/// A row that it changes, or reads with [`for_update`](Transaction::for_update), is locked until it ends, and other
/// writers wait. Reads do not wait.
///
/// A statement that fails with [`StoreError::Service`](crate::StoreError::Service),
/// [`StoreError::Conflict`](crate::StoreError::Conflict) or [`StoreError::Deadlock`](crate::StoreError::Deadlock) has
/// rolled the transaction back. A statement that fails with another error has done nothing, and the transaction
/// continues.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction {
    pub(super) client: Client<Database>,
    pub(super) id: TxId,
    pub(super) connection: Option<ConnectionTicket>,
}

impl Drop for Transaction {
    fn drop(&mut self) {
        release::roll_back(&self.client, self.id);
        if let Some(connection) = self.connection.take() {
            let shared = self.client.link.shared();
            let wakes = shared.state().connections.disconnect(connection);
            shared.wake(wakes);
        }
    }
}

//! A transaction of the store, as a job has it.

use super::release;
use crate::process::handles::client::Client;
use crate::system::connections::ConnectionTicket;
use crate::system::service::store::{Database, TxId};

/// A transaction of the [`Store`](crate::Store). Nothing that it changes is seen by others, or lasts, before it is
/// committed; dropped, it is rolled back, and so it is when its process dies.
///
/// A row that it changes, or asks for with [`for_update`](Transaction::for_update), is locked until it ends: others who
/// want to change it wait. Reads wait for nobody.
///
/// A statement that fails with [`StoreError::Service`](crate::StoreError::Service), [`StoreError::Conflict`](crate::StoreError::Conflict) or [`StoreError::Deadlock`](crate::StoreError::Deadlock) has rolled
/// the transaction back. One that fails otherwise has done nothing, and the transaction goes on.
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

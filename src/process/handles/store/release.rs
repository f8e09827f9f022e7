//! Releases rows that were locked.

use crate::engine::state::lock;
use crate::process::handles::client::Client;
use crate::system::service::store::{Database, TxId};

/// Wakes the tasks that wait for rows that were just unlocked.
pub(super) fn wake_released(client: &Client<Database>) {
    let keys = lock(&client.faulty).service.take_released();
    if !keys.is_empty() {
        let shared = client.link.shared();
        let wakes = shared.state().connections.released(&keys);
        shared.wake(wakes);
    }
}

/// Rolls a transaction back, and wakes the tasks that wait for its rows.
pub(super) fn roll_back(client: &Client<Database>, transaction: TxId) {
    lock(&client.faulty).service.roll_back(transaction);
    wake_released(client);
}

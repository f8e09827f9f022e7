//! A cache of idempotency keys, and a client that its first user builds.

use std::collections::BTreeMap;

use expect_test::expect;
use retryproof::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use retryproof::sync::{Arc, LazyLock, Mutex, Once, OnceLock};
use retryproof::thread;

use crate::support::has_line;
use crate::{assert_fails, assert_holds};

/// Charges, and the keys with which they were made.
struct Payments {
    keys: Mutex<BTreeMap<&'static str, u32>>,
    charges: AtomicU32,
}

impl Payments {
    fn charge(&self) -> u32 {
        self.charges.fetch_add(1, SeqCst)
    }

    fn look_then_insert(&self, key: &'static str) {
        if self.keys.lock().unwrap().contains_key(key) {
            return;
        }
        let charge = self.charge();
        self.keys.lock().unwrap().insert(key, charge);
    }

    fn entry(&self, key: &'static str) {
        self.keys.lock().unwrap().entry(key).or_insert_with(|| self.charge());
    }
}

fn two_deliveries(job: fn(&Payments)) {
    let payments = Arc::new(Payments { keys: Mutex::new(BTreeMap::new()), charges: AtomicU32::new(0) });
    let others = payments.clone();
    let other = thread::spawn(move || job(&others));
    job(&payments);
    other.join().unwrap();
    assert_eq!(payments.charges.load(SeqCst), 1, "charged twice");
}

#[test]
fn a_key_that_is_looked_up_and_then_inserted_is_used_twice() {
    let report =
        assert_fails("charged twice", || two_deliveries(|payments| payments.look_then_insert("order-6")));
    has_line(&report, expect!["|                      thread 1: AtomicU32#1.fetch_add(1, SeqCst) → 1"]);
}

#[test]
fn a_key_that_is_entered_is_used_once() {
    assert_holds(|| two_deliveries(|payments| payments.entry("order-6")));
}

static BUILT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(0));

struct Client;

impl Client {
    fn build() -> Self {
        BUILT.fetch_add(1, SeqCst);
        Self
    }
}

fn two_users(client: fn(&(AtomicBool, OnceLock<Client>, Once))) {
    let shared = Arc::new((AtomicBool::new(false), OnceLock::new(), Once::new()));
    let others = shared.clone();
    let other = thread::spawn(move || client(&others));
    client(&shared);
    other.join().unwrap();
    assert_eq!(BUILT.load(SeqCst), 1, "built twice");
}

#[test]
fn a_flag_does_not_keep_a_client_from_being_built_twice() {
    assert_fails("built twice", || {
        two_users(|(is_built, _, _)| {
            if !is_built.load(SeqCst) {
                Client::build();
                is_built.store(true, SeqCst);
            }
        });
    });
    // `set` comes too late: it only drops the second client.
    let report = assert_fails("built twice", || {
        two_users(|(_, client, _)| {
            if client.get().is_none() {
                let _ = client.set(Client::build());
            }
        });
    });
    has_line(&report, expect!["integration/tests/model/initialized_once.rs:…  OnceLock#1.get() → empty"]);
}

#[test]
fn a_client_that_is_built_by_the_first_one_is_built_once() {
    assert_holds(|| {
        two_users(|(_, client, _)| {
            client.get_or_init(Client::build);
        })
    });
    assert_holds(|| {
        two_users(|(_, _, once)| {
            once.call_once(|| {
                Client::build();
            });
        });
    });
    assert_holds(|| {
        two_users(|(is_built, _, _)| {
            if !is_built.swap(true, SeqCst) {
                Client::build();
            }
        });
    });
}

static CLIENT: LazyLock<Client> = LazyLock::new(Client::build);

#[test]
fn a_static_is_made_once_in_each_execution() {
    assert_holds(|| {
        two_users(|_| {
            let _: &Client = &CLIENT;
        })
    });
}

#[test]
fn a_value_of_a_once_lock_is_seen_whole() {
    assert_holds(|| {
        let cell = Arc::new(OnceLock::new());
        let writes = cell.clone();
        let writer = thread::spawn(move || assert_eq!(writes.set(6_u32), Ok(())));
        assert!(matches!(cell.get(), None | Some(6)));
        writer.join().unwrap();
        assert_eq!(cell.get(), Some(&6));
        assert_eq!(cell.set(7), Err(7));
    });
}

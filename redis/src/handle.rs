//! The test's side: a server for each scenario, and its URL for each process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retryproof::wire::Wire;
use retryproof::{Process, World};
use serde_json::Value;

use crate::commands::{Command, Kind};
use crate::door::{Door, explained};
use crate::resp::{self, shown};
use crate::server::{Leased, lock};
use crate::state;

/// The name in reports, and that of the state.
const NAME: &str = "redis";

/// Adds Redis to a world.
pub trait WorldExt {
    /// Returns a server for this scenario. It is empty, and all its keys are compared with those of the fault-free run when
    /// the scenario ends. Its name in reports is `redis`.
    ///
    /// # Panics
    /// If there is no Redis (see [`is_available`](crate::is_available)), or if the world has one already.
    fn redis(&self) -> Redis;
}

impl WorldExt for World {
    #[track_caller]
    fn redis(&self) -> Redis {
        let lease = Leased::take();
        let wire = self.wire(NAME, Door::new(NAME, lease.clone()));
        let redis = Redis { lease, wire, expiring: Arc::default(), known: Arc::default() };
        let observed = redis.clone();
        self.observe(NAME, move || observed.keys());
        redis
    }
}

/// Answers to the test's own questions, and the number of commands of jobs and the time at which they were right.
type Known = ((u64, Duration), BTreeMap<Vec<Vec<u8>>, Value>);

/// Redis in one scenario, from the test's side. Nothing goes wrong with what the test does.
#[derive(Clone, Debug)]
pub struct Redis {
    lease: Arc<Leased>,
    /// The test's own address, which knows the time.
    wire: Wire,
    /// Keys that are compared although they expire. One may end with `*`.
    expiring: Arc<Mutex<BTreeSet<String>>>,
    known: Arc<Mutex<Known>>,
}

impl Redis {
    /// The URL for the code of a process, instead of its `REDIS_URL`. The host and the port differ in each incarnation of the
    /// process.
    #[track_caller]
    pub fn url(&self, p: &Process) -> String {
        self.lease.address.url_at(&p.wire(NAME).address().to_string())
    }

    /// The URL of the real server, for a client of the test's own. What goes over it is not explored.
    pub fn direct_url(&self) -> String {
        self.lease.address.url()
    }

    /// Runs a command: `redis.run(&["SET", "visits", "5"])`. Returns its answer: a text, a number, a list or null.
    ///
    /// The answer of a command that reads is kept until a job changes something or time passes, so it is cheap to ask before each step, as
    /// [`World::settle_until`] does.
    ///
    /// # Panics
    /// If the command fails.
    #[track_caller]
    pub fn run(&self, command: &[impl AsRef<[u8]>]) -> Value {
        let words: Vec<Vec<u8>> = command.iter().map(|word| word.as_ref().to_vec()).collect();
        let shown: Vec<_> = words.iter().map(|word| shown(word)).collect();
        let reads = Command::new(words.clone()).is_some_and(|command| command.kind() == Kind::Read);
        let asked = (self.lease.writes(), self.wire.now());
        self.lease.set_time(asked.1);
        let mut known = lock(&self.known);
        if known.0 != asked || !reads {
            *known = (asked, BTreeMap::new());
        }
        if let Some(answer) = known.1.get(&words) {
            return answer.clone();
        }
        let answer = self.lease.admin().run(&words);
        let answer = json(
            answer.unwrap_or_else(|error| panic!("`{}` failed: {}", shown.join(" "), explained(&error))),
        );
        match reads {
            true => drop(known.1.insert(words, answer.clone())),
            // A job may wait for it, or listen.
            false => {
                self.lease.note_write();
                self.wire.resume_waiting();
            }
        }
        answer
    }

    /// Also compares keys that expire within a month, with the rest of their time in seconds: `session:*`, or one key.
    pub fn compare_expiring(&self, keys: &str) -> &Self {
        lock(&self.expiring).insert(keys.to_owned());
        self
    }

    fn keys(&self) -> BTreeMap<String, Value> {
        let expiring = lock(&self.expiring).clone();
        let is_compared = |key: &str| {
            expiring.iter().any(|known| match known.strip_suffix('*') {
                Some(begin) => key.starts_with(begin),
                None => key == known,
            })
        };
        self.lease.set_time(self.wire.now());
        let keys = state::keys(&self.lease, &is_compared);
        keys.unwrap_or_else(|error| panic!("the keys cannot be read: {}", explained(&error)))
    }
}

fn json(value: resp::Value) -> Value {
    match value {
        resp::Value::Nil => Value::Null,
        resp::Value::Integer(number) => number.into(),
        resp::Value::Array(values) => values.into_iter().map(json).collect(),
        resp::Value::Simple(text) | resp::Value::Error(text) => text.into(),
        resp::Value::Bytes(bytes) => shown(&bytes).into(),
    }
}

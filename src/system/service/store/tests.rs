//! Two transactions, interleaved by hand.

use super::*;
use crate::search::choice::Actor;
use crate::system::effect::Ledger;
use Isolation::{ReadCommitted, Serializable};

const S: Duration = Duration::from_secs(1);

/// A database, and the time.
#[derive(Default)]
struct Desk {
    database: Database,
    now: Duration,
    lag: Duration,
}

impl Desk {
    fn with(rows: &[(&str, i64)]) -> Self {
        let mut desk = Self::default();
        rows.iter().for_each(|(key, number)| {
            desk.ask(None, put(key, *number));
        });
        desk
    }

    fn ask(&mut self, transaction: Option<TxId>, ask: Ask) -> Reply {
        let (now, lag, by, service) = (self.now, self.lag, Actor::Test, "store".into());
        let mut ledger = Ledger::default();
        let (given, place, tells) = (false, None, false);
        let mut cx = ServiceContext {
            ledger: &mut ledger,
            service,
            now,
            by,
            given,
            place,
            lag,
            tells,
            inputs: None,
            webhooks: Vec::new(),
        };
        let request = Request { ask, transaction };
        assert_eq!(self.database.blocks(&request, now), None, "who asks has waited");
        self.database.answer(request, &mut cx).expect("a database refuses nothing")
    }

    fn blocks(&self, transaction: TxId, ask: Ask) -> Option<TxId> {
        let request = Request { ask, transaction: Some(transaction) };
        self.database.blocks(&request, self.now).map(|(_, holder)| holder)
    }

    fn begin(&mut self, isolation: Isolation) -> TxId {
        self.database.begin(isolation)
    }

    fn get(&mut self, transaction: Option<TxId>, key: &str) -> Option<i64> {
        match self.ask(transaction, Ask::Get { key: key.to_owned() }) {
            Reply::Row(FetchedRow { row, .. }) => row.map(|row| row.value.0.parse().expect("a number")),
            other => panic!("{other:?}"),
        }
    }

    fn version(&mut self, key: &str) -> Option<u64> {
        match self.ask(None, Ask::Get { key: key.to_owned() }) {
            Reply::Row(FetchedRow { row, .. }) => row.map(|row| row.version),
            other => panic!("{other:?}"),
        }
    }

    fn keys(&mut self, transaction: Option<TxId>, prefix: &str) -> Vec<String> {
        match self.ask(transaction, Ask::Scan { prefix: prefix.to_owned() }) {
            Reply::Rows(rows) => rows.into_keys().collect(),
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self, transaction: TxId) -> Reply {
        self.ask(Some(transaction), Ask::Commit {})
    }
}

fn json(number: i64) -> Json {
    Json(number.to_string().into())
}

fn put(key: &str, number: i64) -> Ask {
    Ask::Put { key: key.to_owned(), value: json(number) }
}

fn incr(key: &str) -> Ask {
    Ask::Incr { key: key.to_owned(), by: 1 }
}

fn for_update(key: &str) -> Ask {
    Ask::ForUpdate { key: key.to_owned() }
}

fn compare_and_set(key: &str, version: u64, number: i64) -> Ask {
    Ask::CompareAndSet { key: key.to_owned(), version, value: json(number) }
}

const DONE: Reply = Reply::Done(true);
const NOT_DONE: Reply = Reply::Done(false);

fn conflict(key: &str) -> Reply {
    Reply::Failed(StoreError::Conflict { key: key.to_owned() })
}

#[test]
fn what_is_not_committed_is_seen_by_nobody_else_and_undone_by_a_rollback() {
    let mut desk = Desk::with(&[("a", 1)]);
    let (one, two) = (desk.begin(ReadCommitted), desk.begin(ReadCommitted));
    desk.ask(Some(one), put("a", 2));
    desk.ask(Some(one), put("b", 3));
    assert_eq!(desk.get(Some(one), "a"), Some(2), "its own writes it sees");
    assert_eq!((desk.get(Some(two), "a"), desk.get(None, "a")), (Some(1), Some(1)), "no dirty read");
    assert_eq!(desk.get(None, "b"), None);
    desk.database.roll_back(one);
    assert_eq!((desk.get(Some(two), "a"), desk.get(None, "b")), (Some(1), None));
    assert_eq!(desk.commit(one), Reply::Failed(StoreError::RolledBack));
    assert_eq!(desk.ask(Some(one), put("a", 4)), Reply::Failed(StoreError::RolledBack));
    assert_eq!(desk.get(None, "a"), Some(1));
}

#[test]
fn read_committed_reads_what_is_committed_by_then() {
    let mut desk = Desk::with(&[("a", 1)]);
    let (one, two) = (desk.begin(ReadCommitted), desk.begin(ReadCommitted));
    assert_eq!((desk.get(Some(two), "a"), desk.keys(Some(two), "")), (Some(1), vec!["a".to_owned()]));
    desk.ask(Some(one), put("a", 2));
    desk.ask(Some(one), put("b", 2));
    assert_eq!(desk.commit(one), DONE);
    assert_eq!(desk.get(Some(two), "a"), Some(2), "not repeatable");
    assert_eq!(desk.keys(Some(two), ""), ["a", "b"], "a phantom");
    assert_eq!(desk.commit(two), DONE);
}

#[test]
fn read_committed_loses_an_update() {
    let mut desk = Desk::with(&[("stock", 10)]);
    let (one, two) = (desk.begin(ReadCommitted), desk.begin(ReadCommitted));
    let seen = (desk.get(Some(one), "stock").unwrap(), desk.get(Some(two), "stock").unwrap());
    desk.ask(Some(one), put("stock", seen.0 - 1));
    assert_eq!(desk.blocks(two, put("stock", 9)), Some(one), "a write waits for the row");
    assert_eq!(desk.commit(one), DONE);
    assert_eq!(desk.database.take_released(), ["stock"]);
    desk.ask(Some(two), put("stock", seen.1 - 1));
    assert_eq!(desk.commit(two), DONE);
    assert_eq!(desk.get(None, "stock"), Some(9), "two were taken");
}

#[test]
fn read_committed_loses_none_that_is_counted_up_or_locked_first() {
    let mut desk = Desk::with(&[("a", 1)]);
    let (one, two) = (desk.begin(ReadCommitted), desk.begin(ReadCommitted));
    assert_eq!(desk.ask(Some(one), incr("a")), Reply::Number(2));
    assert_eq!(desk.blocks(two, incr("a")), Some(one));
    desk.commit(one);
    assert_eq!(desk.ask(Some(two), incr("a")), Reply::Number(3), "it sees what was committed meanwhile");
    desk.commit(two);

    let (one, two) = (desk.begin(ReadCommitted), desk.begin(ReadCommitted));
    desk.ask(Some(one), for_update("a"));
    assert_eq!(desk.blocks(two, for_update("a")), Some(one));
    assert_eq!(desk.blocks(one, for_update("a")), None, "not for itself");
    assert_eq!(desk.get(Some(two), "a"), Some(3), "a read waits for nobody");
    desk.database.roll_back(one);
    assert_eq!(desk.blocks(two, for_update("a")), None);
}

#[test]
fn serializable_reads_from_its_first_statement_on() {
    let mut desk = Desk::with(&[("a", 1)]);
    let two = desk.begin(Serializable);
    desk.ask(None, put("a", 2));
    assert_eq!(desk.get(Some(two), "a"), Some(2), "begun, but not looked yet");
    desk.ask(None, put("a", 3));
    desk.ask(None, put("b", 3));
    assert_eq!((desk.get(Some(two), "a"), desk.keys(Some(two), "")), (Some(2), vec!["a".to_owned()]));
    assert_eq!(desk.commit(two), DONE, "it only read: as if it had run before");
}

#[test]
fn serializable_loses_no_update() {
    let mut desk = Desk::with(&[("stock", 10)]);
    let (one, two) = (desk.begin(Serializable), desk.begin(Serializable));
    let seen = (desk.get(Some(one), "stock").unwrap(), desk.get(Some(two), "stock").unwrap());
    desk.ask(Some(one), put("stock", seen.0 - 1));
    assert_eq!(desk.commit(one), DONE);
    assert_eq!(desk.ask(Some(two), put("stock", seen.1 - 1)), conflict("stock"));
    assert_eq!(desk.commit(two), Reply::Failed(StoreError::RolledBack));
    let again = desk.begin(Serializable);
    let seen = desk.get(Some(again), "stock").unwrap();
    desk.ask(Some(again), put("stock", seen - 1));
    assert_eq!(desk.commit(again), DONE);
    assert_eq!(desk.get(None, "stock"), Some(8));
}

#[test]
fn serializable_lets_no_write_skew_and_no_phantom_pass() {
    // Each transaction sees two doctors on call and decides that its own doctor can go home.
    let mut desk = Desk::with(&[("on-call:a", 1), ("on-call:b", 1)]);
    let (one, two) = (desk.begin(Serializable), desk.begin(Serializable));
    for transaction in [one, two] {
        assert_eq!(
            (desk.get(Some(transaction), "on-call:a"), desk.get(Some(transaction), "on-call:b")),
            (Some(1), Some(1))
        );
    }
    desk.ask(Some(one), put("on-call:a", 0));
    desk.ask(Some(two), put("on-call:b", 0));
    assert_eq!((desk.commit(one), desk.commit(two)), (DONE, conflict("on-call:a")));

    let (one, two) = (desk.begin(Serializable), desk.begin(Serializable));
    for (transaction, key) in [(one, "order:1"), (two, "order:2")] {
        assert!(desk.keys(Some(transaction), "order:").is_empty());
        desk.ask(Some(transaction), put(key, 1));
    }
    assert_eq!((desk.commit(one), desk.commit(two)), (DONE, conflict("order:1")));
    assert_eq!(desk.database.take_released().len(), 4, "the loser's locks are given up, too");
}

#[test]
fn serializable_conflicts_over_a_row_that_was_not_there() {
    let mut desk = Desk::default();
    let (one, two) = (desk.begin(Serializable), desk.begin(Serializable));
    for transaction in [one, two] {
        assert_eq!(desk.get(Some(transaction), "a"), None);
    }
    desk.ask(Some(one), put("a", 1));
    desk.ask(Some(two), put("b", 1));
    assert_eq!((desk.commit(one), desk.commit(two)), (DONE, conflict("a")));
    assert_eq!(desk.get(None, "b"), None);
}

#[test]
fn two_that_wait_for_each_other_are_a_deadlock_and_the_last_to_wait_gives_way() {
    let mut desk = Desk::with(&[("a", 1), ("b", 1), ("c", 1)]);
    let ids = [(); 3].map(|()| desk.begin(ReadCommitted));
    for (id, key) in ids.into_iter().zip(["a", "b", "c"]) {
        desk.ask(Some(id), put(key, 2));
    }
    let [one, two, three] = ids;
    assert_eq!(desk.database.waits(one, "b", two), Ok(()));
    assert_eq!(desk.database.waits(two, "c", three), Ok(()));
    let deadlock = StoreError::Deadlock { key: "a".to_owned() };
    assert_eq!(desk.database.waits(three, "a", one), Err(deadlock));
    assert_eq!(desk.database.take_released(), ["c"]);
    assert_eq!(desk.blocks(two, put("c", 3)), None);
    desk.database.goes_on(two);
    desk.ask(Some(two), put("c", 3));
    assert_eq!((desk.commit(two), desk.get(None, "c")), (DONE, Some(3)));
}

#[test]
fn what_would_change_nothing_waits_for_nobody() {
    let mut desk = Desk::with(&[("a", 1)]);
    let (one, two) = (desk.begin(ReadCommitted), desk.begin(ReadCommitted));
    desk.ask(Some(one), put("a", 2));
    desk.ask(Some(one), put("new", 2));
    assert_eq!(desk.blocks(two, compare_and_set("a", 7, 3)), None);
    assert_eq!(desk.blocks(two, compare_and_set("a", 1, 3)), Some(one));
    let insert = |key: &str| Ask::Insert { key: key.to_owned(), value: json(1) };
    assert_eq!(desk.blocks(two, insert("a")), None, "it is there already");
    assert_eq!(desk.blocks(two, insert("new")), Some(one), "perhaps it will be there");
    desk.commit(one);
    let duplicate = Reply::Failed(StoreError::Duplicate { key: "new".to_owned() });
    assert_eq!(desk.ask(Some(two), insert("new")), duplicate);
    assert_eq!(desk.ask(Some(two), incr("new")), Reply::Number(3), "the transaction goes on");
    assert_eq!(desk.commit(two), DONE);
}

#[test]
fn rows_that_are_locked_are_skipped() {
    let mut desk = Desk::with(&[("job:1", 1), ("job:2", 1), ("job:3", 1), ("other", 1)]);
    let (one, two) = (desk.begin(ReadCommitted), desk.begin(ReadCommitted));
    let skip = |most| Ask::SkipLocked { prefix: "job:".to_owned(), most };
    let keys = |reply| match reply {
        Reply::Rows(rows) => rows.into_keys().collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(keys(desk.ask(Some(one), skip(2))), ["job:1", "job:2"]);
    assert_eq!(keys(desk.ask(Some(two), skip(2))), ["job:3"]);
    assert_eq!(desk.blocks(one, for_update("job:3")), Some(two));
    assert_eq!(desk.blocks(two, for_update("other")), None);
}

#[test]
fn a_version_is_compared_and_goes_on_after_a_deletion() {
    let mut desk = Desk::with(&[("a", 1)]);
    assert_eq!(desk.ask(None, compare_and_set("a", 1, 2)), DONE);
    assert_eq!(desk.ask(None, compare_and_set("a", 1, 3)), NOT_DONE);
    assert_eq!((desk.get(None, "a"), desk.version("a")), (Some(2), Some(2)));
    assert_eq!(desk.ask(None, Ask::Delete { key: "a".to_owned() }), DONE);
    assert_eq!(desk.ask(None, Ask::Delete { key: "a".to_owned() }), NOT_DONE);
    assert_eq!(desk.ask(None, compare_and_set("a", 0, 4)), DONE, "0: there is no row");
    assert_eq!(desk.version("a"), Some(4), "no version comes twice");
    assert_eq!(desk.ask(None, compare_and_set("a", 2, 5)), NOT_DONE);
}

#[test]
fn a_lock_goes_when_its_time_is_over_and_is_given_back_by_its_owner_alone() {
    let mut desk = Desk::default();
    let take = |owner| Ask::SetIfAbsent { key: "lock".to_owned(), value: json(owner), ttl: Some(30 * S) };
    let give_back = |owner| Ask::DeleteIf { key: "lock".to_owned(), value: json(owner) };
    assert_eq!(desk.ask(None, take(1)), DONE);
    desk.now = 29 * S;
    assert_eq!(desk.ask(None, take(2)), NOT_DONE);
    desk.now = 30 * S;
    assert_eq!(desk.get(None, "lock"), None);
    assert_eq!(desk.ask(None, take(2)), DONE);
    assert_eq!(desk.ask(None, give_back(1)), NOT_DONE, "it was the first one's and is the second one's");
    assert_eq!(desk.get(None, "lock"), Some(2));
    assert_eq!(desk.ask(None, give_back(2)), DONE);
    desk.ask(None, take(3));
    assert_eq!(desk.ask(None, incr("lock")), Reply::Number(4));
    desk.now = 60 * S;
    assert_eq!(desk.get(None, "lock"), None, "counting up does not prolong it");
}

#[test]
fn only_a_number_is_counted_up() {
    let mut desk = Desk::default();
    assert_eq!(desk.ask(None, incr("a")), Reply::Number(1));
    for value in ["\"text\"", "1.5", &i64::MAX.to_string(), "null"] {
        desk.ask(None, Ask::Put { key: "a".to_owned(), value: Json(value.into()) });
        let error = Reply::Failed(StoreError::NotANumber { key: "a".to_owned() });
        assert_eq!(desk.ask(None, incr("a")), error, "{value}");
    }
}

#[test]
fn a_replica_shows_what_was_there_before() {
    let mut desk = Desk::default();
    desk.database.add_replicas();
    desk.ask(None, put("a", 1));
    desk.now = 10 * S;
    desk.ask(None, put("a", 2));
    desk.now = 20 * S;
    desk.ask(None, Ask::Delete { key: "a".to_owned() });
    let mut shown = |lag| {
        desk.lag = lag * S;
        (desk.get(None, "a"), desk.keys(None, "").len())
    };
    assert_eq!(shown(0), (None, 0));
    assert_eq!(shown(1), (Some(2), 1));
    assert_eq!(shown(11), (Some(1), 1));
    assert_eq!(shown(21), (None, 0), "it was not there yet");
    let transaction = desk.begin(ReadCommitted);
    desk.lag = 11 * S;
    assert_eq!(desk.get(Some(transaction), "a"), None, "a transaction reads from the primary");
}

#[test]
fn what_stays_is_compared_and_what_goes_by_itself_is_not() {
    let mut desk = Desk::with(&[("a \"b\"", 1), ("gone", 1)]);
    desk.ask(None, Ask::Delete { key: "gone".to_owned() });
    desk.ask(None, Ask::SetIfAbsent { key: "lock".to_owned(), value: json(1), ttl: Some(S) });
    desk.ask(None, Ask::SetIfAbsent { key: "stays".to_owned(), value: json(2), ttl: None });
    let open = desk.begin(ReadCommitted);
    desk.ask(Some(open), put("not yet", 1));
    assert_eq!(desk.database.compared(), r#"{"a \"b\"":1,"stays":2}"#);
}

#[test]
fn whatever_matters_later_is_in_the_state() {
    let mut desk = Desk::with(&[("a", 1)]);
    let mut states = vec![desk.database.state()];
    desk.ask(None, put("a", 1));
    states.push(desk.database.state());
    desk.ask(None, put("a", 2));
    states.push(desk.database.state());
    desk.ask(None, Ask::SetIfAbsent { key: "lock".to_owned(), value: json(1), ttl: Some(S) });
    states.push(desk.database.state());
    let before = states.len();
    states.dedup();
    assert_eq!(states.len(), before);
}

use super::*;

/// The name and the effect of each statement, outside of a transaction and inside of one that has written.
fn told(text: &str) -> Vec<String> {
    let volatile = BTreeSet::from(["charge".to_owned(), "Refund".to_owned()]);
    let read = |mut transaction| read(text, &[], &mut transaction, &mut SqlSession::default(), &volatile);
    let alone = read(Transaction::default());
    let within = read(Transaction { is_open: true, wrote: true, ..Transaction::default() });
    let both = alone.into_iter().zip(within);
    both.map(|(alone, within)| {
        assert_eq!(alone.name, within.name);
        format!("{} {:?} {:?}", alone.name, alone.effect, within.effect)
    })
    .collect()
}

#[test]
fn statements_are_named_by_verb_and_table() {
    for (text, expected) in [
        ("INSERT INTO orders (id) VALUES ($1)", "insert-orders Lasting Passing"),
        ("insert into public.\"Orders\" default values", "insert-Orders Lasting Passing"),
        ("UPDATE ONLY jobs SET state = 'done'", "update-jobs Lasting Passing"),
        ("DELETE FROM jobs WHERE id = $1", "delete-jobs Lasting Passing"),
        ("SELECT id FROM jobs FOR UPDATE SKIP LOCKED", "select-jobs Passing Passing"),
        ("SELECT 'insert into x', \"update\" FROM a.b", "select-b Passing Passing"),
        ("-- a comment\n/* and /* one */ more */ SELECT 1", "select Passing Passing"),
        ("WITH taken AS (SELECT id FROM jobs LIMIT 1) SELECT * FROM taken", "select-jobs Passing Passing"),
        ("WITH taken AS (SELECT id FROM jobs) DELETE FROM jobs USING taken", "delete-jobs Lasting Passing"),
        ("SELECT nextval('ids')", "select-nextval Lasting Lasting"),
        ("SELECT pg_notify('channel', 'text')", "select-pg_notify Lasting Passing"),
        ("SELECT pg_advisory_xact_lock(1)", "select-pg_advisory_xact_lock Passing Passing"),
        ("SELECT pg_advisory_lock(1)", "select-pg_advisory_lock Lasting Lasting"),
        ("SELECT charge(6)", "select-charge Lasting Passing"),
        ("SELECT CHARGE(6) FROM pg_class", "select-pg_class Lasting Passing"),
        ("SELECT \"Refund\"(6)", "select-Refund Lasting Passing"),
        ("SELECT refund(6)", "select-refund Passing Passing"),
        ("SELECT lowrite(1, 'text')", "select-lowrite Lasting Passing"),
        ("SELECT * FROM pg_try_advisory_lock($1)", "select-pg_try_advisory_lock Lasting Lasting"),
        ("SELECT * FROM pg_notify('channel', '')", "select-pg_notify Lasting Passing"),
        ("SELECT 1 FROM pg_class c, orders o", "select-pg_class Passing Passing"),
        (
            "SELECT 1 FROM pg_class c JOIN pg_index i ON c.oid = i.indrelid, orders",
            "select-pg_class Passing Passing",
        ),
        ("SELECT 1 FROM pg_jobs", "select-pg_jobs Passing Passing"),
        ("SELECT 1 FROM public.pg_class", "select-pg_class Passing Passing"),
        ("SELECT 1 FROM pg_catalog.pg_show_all_settings()", "select-pg_show_all_settings Passing Passing"),
        ("SELECT * INTO backup FROM orders", "select-orders Lasting Passing"),
        ("COPY items (a) FROM STDIN", "copy-items Lasting Passing"),
        ("CREATE TABLE IF NOT EXISTS items ()", "create-items Lasting Passing"),
        ("TRUNCATE TABLE items", "truncate-items Lasting Passing"),
        ("NOTIFY channel", "notify-channel Lasting Passing"),
        ("MERGE INTO stock USING x ON a = b WHEN MATCHED THEN DELETE", "merge-stock Lasting Passing"),
        ("EXPLAIN ANALYZE UPDATE jobs SET a = 1", "update-jobs Lasting Passing"),
        ("COMMIT", "commit Passing Lasting"),
        ("END", "commit Passing Lasting"),
        ("ROLLBACK TO SAVEPOINT a", "rollback Free Free"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", "begin Free Free"),
        ("SET search_path TO x", "set Free Free"),
        ("LISTEN a", "listen Free Free"),
        ("SELECT oid FROM pg_catalog.pg_type WHERE typname = $1", "select-pg_type Free Free"),
        (
            "SELECT 1 FROM (VALUES (1)) AS v (a) LEFT JOIN pg_catalog.pg_attribute ON true, pg_type WHERE (1, 2) = (1, 2)",
            "select-values Free Free",
        ),
        ("SELECT a, b FROM information_schema.columns ORDER BY a, b", "select-columns Free Free"),
        ("DO $body$ BEGIN; INSERT INTO x VALUES (';'); END $body$", "do Lasting Passing"),
    ] {
        assert_eq!(told(text), [expected], "{text}");
    }
}

#[test]
fn statements_in_one_text_are_read_in_order() {
    let text = "BEGIN; INSERT INTO a VALUES (E'\\';'); COMMIT; SELECT 1 FROM b;";
    let mut transaction = Transaction::default();
    let read_in = |text: &str, transaction: &mut Transaction| {
        read(text, &[], transaction, &mut SqlSession::default(), &BTreeSet::new())
    };
    let read = read_in(text, &mut transaction);
    let in_order: Vec<_> = read.iter().map(|s| format!("{} {:?}", s.name, s.effect)).collect();
    assert_eq!(in_order, ["begin Free", "insert-a Passing", "commit Lasting", "select-b Passing"]);
    assert_eq!(transaction, Transaction::default());
    // The server only warns of the second `BEGIN`.
    let again = read_in("BEGIN; INSERT INTO a VALUES (1); BEGIN; COMMIT", &mut transaction);
    assert_eq!(again[3].effect, Effect::Lasting);
    // A commit of what has failed is a rollback, and one after `ROLLBACK TO` is not.
    for (text, effect) in [("COMMIT", Effect::Passing), ("ROLLBACK TO a; COMMIT", Effect::Lasting)] {
        let mut failed =
            Transaction { is_open: true, is_failed: true, wrote: true, ..Transaction::default() };
        let read = read_in(text, &mut failed);
        assert_eq!(read.last().map(|s| s.effect), Some(effect), "{text}");
    }
    assert!(told("  ; -- nothing\n ;").is_empty());
}

/// The statements of a text that may be refused. Each begins with `BEGIN`.
fn refused(text: &str, values: &[&str]) -> Vec<String> {
    let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
    let read = read(text, &values, &mut Transaction::default(), &mut SqlSession::default(), &BTreeSet::new());
    let conflicts = read.iter().filter_map(|s| Some((&s.name, s.conflict?)));
    conflicts.map(|(name, conflict)| format!("{name} {conflict:?}")).collect()
}

#[test]
fn a_statement_is_refused_only_where_it_can_be_in_the_way() {
    let serializable = "; SELECT 1 FROM a; UPDATE b SET c = 1; COMMIT";
    assert_eq!(
        refused(&format!("BEGIN ISOLATION LEVEL SERIALIZABLE{serializable}"), &[]),
        ["select-a Serialization", "update-b Serialization", "commit Serialization"]
    );
    let repeatable = format!("BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ{serializable}");
    assert_eq!(refused(&repeatable, &[]), ["update-b Serialization"]);
}

#[test]
fn a_deadlock_needs_locks_of_different_rows() {
    for text in [
        "UPDATE a SET b = 1; UPDATE a SET b = 1",
        "BEGIN; SELECT 1 FROM a; UPDATE a SET b = 1; COMMIT",
        // New rows are in nobody's way.
        "BEGIN; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); UPDATE c SET d = 1",
        "BEGIN; UPDATE a SET b = 1; INSERT INTO b VALUES (1)",
        // These may be the same rows.
        "BEGIN; SELECT id FROM a LIMIT 1 FOR UPDATE; UPDATE a SET b = 1 WHERE id = 6",
        "BEGIN; SELECT 1 FROM a WHERE id = 6 FOR UPDATE; UPDATE a SET b = 1 WHERE id = 6 AND b = 0",
        "BEGIN; UPDATE a SET b = 1 WHERE id = 6; UPDATE a SET b = 1 WHERE id = 7 OR id = 6",
        "BEGIN; UPDATE a SET b = 1 WHERE id = 6; UPDATE a SET b = 1 WHERE id IN (7, 6)",
        "BEGIN; UPDATE a SET b = 1 WHERE id = 6; UPDATE a SET b = 1 WHERE NOT id = 7",
        "BEGIN; UPDATE a SET b = $2 WHERE id = $1; DELETE FROM a WHERE id = $1",
        "BEGIN; UPDATE a SET b = 1 WHERE id = 6; UPDATE a SET b = 1 WHERE id = $1",
        // These do not wait.
        "BEGIN; UPDATE b SET c = 1; SELECT 1 FROM a FOR UPDATE SKIP LOCKED",
        "BEGIN; UPDATE b SET c = 1; SELECT 1 FROM a FOR UPDATE NOWAIT",
    ] {
        assert!(refused(text, &["$1:x", "$1:y"]).is_empty(), "{text}");
    }
    for (text, expected) in [
        (
            "BEGIN; SELECT 1 FROM a FOR UPDATE; SELECT 1 FROM a; UPDATE b SET c = 1; COMMIT",
            "update-b Deadlock",
        ),
        ("BEGIN; UPDATE a SET b = 1 WHERE id = 6; UPDATE a SET b = 1 WHERE id = 7", "update-a Deadlock"),
        ("BEGIN; UPDATE a SET b = 1 WHERE id = $1; UPDATE a SET b = 1 WHERE a.id = $2", "update-a Deadlock"),
        ("BEGIN; UPDATE a SET b = 1; LOCK TABLE c", "lock-c Deadlock"),
        (
            "BEGIN; DELETE FROM a; INSERT INTO b VALUES (1) ON CONFLICT (c) DO UPDATE SET d = 1",
            "insert-b Deadlock",
        ),
    ] {
        assert_eq!(refused(text, &["$1:x", "$1:y"]), [expected], "{text}");
    }
}

#[test]
fn an_executed_statement_is_the_one_that_was_prepared() {
    let mut session = SqlSession::default();
    let mut read = |text: &str| {
        let read = read(text, &[], &mut Transaction::default(), &mut session, &BTreeSet::new());
        read.iter().map(|s| format!("{} {:?} {}", s.name, s.effect, s.defines)).collect::<Vec<_>>()
    };
    assert_eq!(read("PREPARE a (int) AS SELECT 1 FROM orders WHERE id = $1"), ["prepare Free false"]);
    assert_eq!(read("EXECUTE a (1)"), ["select-orders Passing false"]);
    assert_eq!(
        read("PREPARE b AS UPDATE orders SET c = 1; EXECUTE b; PREPARE c AS CREATE TABLE x (); EXECUTE c"),
        ["prepare Free false", "update-orders Lasting false", "prepare Free false", "create-x Lasting true"]
    );
    assert_eq!(read("DEALLOCATE a; EXECUTE a (1)"), ["deallocate Free false", "execute-a Lasting false"]);
    assert_eq!(read("DISCARD ALL; EXECUTE b"), ["discard Free false", "execute-b Lasting false"]);
}

#[test]
fn the_limits_of_waits_are_those_of_the_settings() {
    let limits = |text: &str| {
        let (mut transaction, mut session) = (Transaction::default(), SqlSession::default());
        read(text, &[], &mut transaction, &mut session, &BTreeSet::new());
        transaction
            .limits
            .or(session.limits)
            .longest_wait()
            .map(|(limit, is_lock)| (limit.as_millis(), is_lock))
    };
    for (text, expected) in [
        ("SET lock_timeout = '5s'", Some((5_000, true))),
        ("SET SESSION statement_timeout TO 200", Some((200, false))),
        ("SET lock_timeout TO '1min'; SET statement_timeout = '2 s'", Some((2_000, false))),
        ("SET lock_timeout = '1s'; SET statement_timeout = '2s'", Some((1_000, true))),
        ("BEGIN; SET LOCAL lock_timeout = '1s'", Some((1_000, true))),
        ("BEGIN; SET LOCAL lock_timeout = '1s'; ROLLBACK", None),
        ("SELECT set_config('statement_timeout', '3s', false)", Some((3_000, false))),
        ("BEGIN; SELECT set_config('lock_timeout', '10', true); COMMIT", None),
        ("SET lock_timeout = '5s'; SET lock_timeout = 0", None),
        ("SET lock_timeout = '5s'; SET lock_timeout TO DEFAULT", None),
        ("SET lock_timeout = '5s'; RESET lock_timeout", None),
        ("SET lock_timeout = '5s'; DISCARD ALL", None),
        ("SET search_path = '5s'", None),
    ] {
        assert_eq!(limits(text), expected, "{text}");
    }
}

#[test]
fn a_statement_that_makes_a_table_defines_it() {
    let defines = |text: &str| {
        let read = read(text, &[], &mut Transaction::default(), &mut SqlSession::default(), &BTreeSet::new());
        read[0].defines
    };
    for text in [
        "SELECT * INTO backup FROM orders",
        "WITH a AS (SELECT 1) SELECT * INTO b FROM a",
        "CREATE TABLE a AS SELECT 1",
        "CREATE MATERIALIZED VIEW a AS SELECT 1",
        "REFRESH MATERIALIZED VIEW a",
    ] {
        assert!(defines(text), "{text}");
    }
    for text in [
        "INSERT INTO a SELECT * FROM b",
        "WITH a AS (SELECT 1) INSERT INTO b SELECT * FROM a",
        "CREATE TEMP TABLE a ()",
        "SELECT * INTO TEMPORARY a FROM b",
    ] {
        assert!(!defines(text), "{text}");
    }
}

#[test]
fn no_text_is_too_odd() {
    let signs = ["'", "\"", "$", "$a$", "e'", "\\", "/*", "*/", "--", "\n", "(", ";", "é", "1", "a", "."];
    for one in signs {
        for two in signs {
            for three in signs {
                told(&format!("{one}{two}{three}"));
            }
        }
    }
}

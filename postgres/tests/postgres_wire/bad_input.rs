//! Odd messages of a client, odd surroundings of a test: each gets a clear error or the thing it asked for, and nothing
//! hangs.
//!
//! A part: the rest of these texts is the server's or the driver's, or has a path.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, fs};

use retryproof::{Verdict, World};
use retryproof_postgres::WorldExt;
use sqlx::postgres::{PgListener, PgPoolCopyExt};
use sqlx::{Error, PgPool};

use crate::{
    SHOP, assert_green, assert_red, backends, is_available, is_own_server, one_deviation, pool, with_pool,
};

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn startup(version: u32, texts: &str) -> Vec<u8> {
    let body = [&version.to_be_bytes()[..], texts.as_bytes()].concat();
    [&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()
}

const LOGIN: &str = "user\0postgres\0database\0db\0\0";

/// Everything that a client receives that first sends `first`, waits until it is answered, then sends `second` and reads to
/// the end.
fn answered(first: Vec<u8>, second: Vec<u8>) -> String {
    let world = World::fake();
    let db = world.postgres(&SHOP);
    let received = Arc::new(Mutex::new(String::new()));
    let (noted, of_boot) = (received.clone(), db.clone());
    world.process("worker", move |p| {
        let url = of_boot.url(p);
        let address =
            url.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("a URL").to_owned();
        let (first, second, noted) = (first.clone(), second.clone(), noted.clone());
        p.handle_blocking(move |_: u32| {
            let mut socket = TcpStream::connect(&address).unwrap();
            let mut bytes = vec![0; 4096];
            socket.write_all(&first).unwrap();
            let read = socket.read(&mut bytes).unwrap();
            bytes.truncate(read);
            if !second.is_empty() {
                // The other end may already have hung up in the middle of it.
                let _ = socket.write_all(&second);
                let _ = socket.read_to_end(&mut bytes);
            }
            *noted.lock().unwrap() = String::from_utf8_lossy(&bytes).into_owned();
        });
    });
    world.enqueue(6_u32);
    world.drain_all().run().unwrap();
    // The client is gone, and so is what it had begun.
    drop(world);
    assert_eq!(backends(&db, "AND state <> 'idle'"), 0);
    let received = received.lock().unwrap();
    received.clone()
}

#[test]
fn a_first_message_that_is_none_is_refused() {
    if !is_own_server() {
        return;
    }
    let http = answered(b"GET / HTTP/1.1\r\n\r\n".to_vec(), Vec::new());
    assert!(http.contains("retryproof: this is not a PostgreSQL client"), "{http}");
    let old = answered(startup(2 << 16, LOGIN), Vec::new());
    assert!(old.contains("retryproof: protocol 2.0 is not spoken here, only 3"), "{old}");
    let replication = answered(startup(3 << 16, "user\0postgres\0replication\0true\0\0"), Vec::new());
    assert!(replication.contains("retryproof: the replication protocol is not supported"), "{replication}");
    // Without encryption, whose refusal is one letter.
    assert_eq!(answered(startup(80_877_103, ""), Vec::new()), "N");
    assert_eq!(answered(startup(80_877_104, ""), Vec::new()), "N");
    let stranger = answered(startup(3 << 16, "user\0nobody-here\0\0"), Vec::new());
    assert!(stranger.contains("role \"nobody-here\" does not exist"), "{stranger}");
}

#[test]
fn a_later_message_that_is_none_is_refused() {
    if !is_own_server() {
        return;
    }
    let login = || startup(3 << 16, LOGIN);
    let odd = answered(login(), message(b'!', b"what"));
    assert!(odd.contains("retryproof: a message of type '!' is not part of the protocol"), "{odd}");
    let long = answered(login(), [b"Q", &u32::MAX.to_be_bytes()[..]].concat());
    assert!(long.contains("the proxy carries at most 4194304"), "{long}");
    // What only the server can know, the server says.
    let bind = [message(b'B', b"\0no such statement\0\0\0\0\0\0\0"), message(b'S', b""), message(b'X', b"")];
    let unknown = answered(login(), bind.concat());
    assert!(unknown.contains("prepared statement \"no such statement\" does not exist"), "{unknown}");
    // A batch that never ends is held in memory only up to a limit.
    let data = message(b'd', &vec![b'x'; 4 << 20][..(4 << 20) - 5]);
    let copy = message(b'Q', b"COPY orders FROM STDIN\0");
    let endless = answered(login(), [copy, data.repeat(17)].concat());
    assert!(endless.contains("a batch or a copy of more than 67108864 bytes"), "{endless}");
    let cut = message(b'Q', b"SELECT 1\0");
    let half = [&cut[..cut.len() - 1], &message(b'X', b"")[..]].concat();
    assert!(!answered(login(), half).is_empty());
}

#[test]
fn a_batch_that_is_flushed_is_answered_before_it_ends() {
    if !is_own_server() {
        return;
    }
    let parse = message(b'P', b"\0SELECT 41 + 1\0\0\0");
    let bind = message(b'B', b"\0\0\0\0\0\0\0\0");
    let execute = message(b'E', b"\0\0\0\0\0");
    let (flush, sync, end) = (message(b'H', b""), message(b'S', b""), message(b'X', b""));
    let flushed = [parse, flush.clone(), bind, execute, flush, sync, end].concat();
    let text = answered(startup(3 << 16, LOGIN), flushed);
    assert!(text.contains("42") && text.contains("SELECT 1"), "{text}");
}

#[test]
fn an_error_in_a_flushed_batch_skips_the_rest_of_it() {
    if !is_own_server() {
        return;
    }
    let parse = |sql: &str| message(b'P', format!("\0{sql}\0\0\0").as_bytes());
    let bind = message(b'B', b"\0\0\0\0\0\0\0\0");
    let execute = message(b'E', b"\0\0\0\0\0");
    let (flush, sync, end) = (message(b'H', b""), message(b'S', b""), message(b'X', b""));
    let batch = [
        parse("SELECT 1 / 0"),
        bind.clone(),
        execute.clone(),
        flush.clone(),
        parse("SELECT 'skipped'"),
        flush.clone(),
        bind.clone(),
        execute.clone(),
        flush,
        sync.clone(),
        // The next batch runs as usual.
        parse("SELECT 40 + 2"),
        bind,
        execute,
        sync,
        end,
    ];
    let text = answered(startup(3 << 16, LOGIN), batch.concat());
    assert!(text.contains("division by zero") && text.contains("42"), "{text}");
    assert!(!text.contains("skipped"), "{text}");
}

/// Pays with messages that no driver here sends: the statement is flushed, and the batch ends later.
fn pay_in_a_flushed_batch(address: &str, sql: &str) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(address)?;
    let read = |socket: &mut TcpStream, end: &[u8]| {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end) {
            let mut byte = [0];
            socket.read_exact(&mut byte)?;
            bytes.push(byte[0]);
        }
        Ok::<_, std::io::Error>(())
    };
    socket.write_all(&startup(3 << 16, LOGIN))?;
    read(&mut socket, b"Z\0\0\0\x05I")?;
    let parse = message(b'P', format!("\0{sql}\0\0\0").as_bytes());
    let bind = message(b'B', b"\0\0\0\0\0\0\0\0");
    socket.write_all(&[parse, bind, message(b'E', b"\0\0\0\0\0"), message(b'H', b"")].concat())?;
    read(&mut socket, b"UPDATE 1\0")?;
    socket.write_all(&message(b'S', b""))?;
    read(&mut socket, b"Z\0\0\0\x05I")
}

#[test]
fn a_flushed_statement_lasts_when_its_batch_ends() {
    if !is_own_server() {
        return;
    }
    let explored = |sql: &'static str| {
        one_deviation("flushed").crashes(0).deliveries(0).run(async |world: &World| {
            let db = world.postgres(&SHOP);
            db.execute("INSERT INTO orders VALUES (6, 0)");
            let of_boot = db.clone();
            world.process("worker", move |p| {
                let url = of_boot.url(p);
                let address =
                    url.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("a URL").to_owned();
                p.handle_blocking(move |_: u32| pay_in_a_flushed_batch(&address, sql));
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    let report = explored("UPDATE orders SET cents = cents + 1");
    assert_red(&report, &["db.commit:call=reply-lost"]);
    // The fault-free run, one fault of what a broken connection undoes, and three of its end.
    assert_eq!(report.runs(), 1 + 1 + 3, "{report}");
    let careful = explored("UPDATE orders SET cents = 1");
    assert_eq!((careful.verdict(), careful.runs()), (Verdict::RetryProof, 5), "{careful}");
}

#[test]
fn a_client_that_never_reads_ends_with_its_process() {
    if !is_available() {
        return;
    }
    let report = one_deviation("deaf").run(async |world: &World| {
        let db = world.postgres(&SHOP);
        let of_boot = db.clone();
        world.process("worker", move |p| {
            let url = of_boot.url(p);
            let address =
                url.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("a URL").to_owned();
            p.handle_blocking(move |_: u32| {
                let mut socket = TcpStream::connect(&address).unwrap();
                socket.write_all(&startup(3 << 16, LOGIN)).unwrap();
                for _ in 0..3 {
                    // A crash closes the socket.
                    let _ = socket.write_all(&message(b'Q', b"SELECT repeat('x', 1000000)\0"));
                }
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert!(report.runs() > 2, "{report}");
    assert!(matches!(report.verdict(), retryproof::Verdict::RetryProof), "{report}");
}

#[test]
fn a_reply_without_end_breaks_the_connection() {
    if !is_available() {
        return;
    }
    let world = World::fake();
    let db = world.postgres(&SHOP);
    world.process("worker", move |p| {
        let pool = pool(&db.url(p), 1);
        p.handle(async move |_: u32| {
            let long = sqlx::query_scalar::<_, String>("SELECT repeat('x', 70000000)").fetch_one(&pool).await;
            assert!(matches!(long, Err(Error::Io(_))), "{long:?}");
            let short: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&pool).await?;
            assert_eq!(short, 1);
            Ok::<_, Error>(())
        });
    });
    world.enqueue(6_u32);
    world.drain_all().run().unwrap();
}

async fn copy(pool: PgPool, is_careful: bool) -> Result<(), Error> {
    if is_careful {
        sqlx::query("DELETE FROM receipts").execute(&pool).await?;
    }
    let mut copy = pool.copy_in_raw("COPY receipts (order_id) FROM STDIN").await?;
    copy.send(&b"6\n"[..]).await?;
    copy.finish().await?;
    Ok(())
}

#[test]
fn a_copy_is_one_call() {
    if !is_available() {
        return;
    }
    // One delivery at a time, because nothing keeps two of them from deleting first.
    let explore = || one_deviation("copy").deliveries(0).preemptions(0);
    let report = with_pool(&explore(), async |pool: PgPool| copy(pool, false).await);
    assert_red(&report, &["db.copy-receipts:call=reply-lost"]);
    assert_green(&with_pool(&explore(), async |pool: PgPool| copy(pool, true).await));
}

/// Returns the answer to a batch after the handshake, and the number of receipts after it.
fn in_a_batch(batch: &[Vec<u8>]) -> String {
    let end = [
        message(b'S', b""),
        message(b'Q', b"SELECT count(*) || ' rows' FROM receipts\0"),
        message(b'X', b""),
    ];
    answered(startup(3 << 16, LOGIN), [batch.concat(), end.concat()].concat())
}

#[test]
fn a_copy_may_stand_beside_other_statements() {
    if !is_own_server() {
        return;
    }
    let insert = "INSERT INTO orders VALUES (6, 0), (7, 0), (8, 0)";
    let copy = "COPY receipts (order_id) FROM STDIN";
    let data = [message(b'd', b"6\n"), message(b'd', b"7\n")].concat();
    let done = message(b'c', b"");
    // In one text, also twice.
    let text = message(b'Q', format!("{insert}; {copy}; {copy}; SELECT 'after'\0").as_bytes());
    let twice = in_a_batch(&[text, data.clone(), done.clone(), message(b'd', b"8\n"), done.clone()]);
    assert!(twice.contains("after") && twice.contains("3 rows"), "{twice}");
    // In one batch, whose end before the data does not count.
    let extended = |sql: &str| {
        let parse = message(b'P', format!("\0{sql}\0\0\0").as_bytes());
        [parse, message(b'B', b"\0\0\0\0\0\0\0\0"), message(b'E', b"\0\0\0\0\0")].concat()
    };
    let sync = message(b'S', b"");
    let batch =
        in_a_batch(&[extended(insert), extended(copy), sync.clone(), data.clone(), done.clone(), sync]);
    assert!(batch.contains("2 rows"), "{batch}");
    // One that fails, and one that its client ends.
    let failed = in_a_batch(&[message(b'Q', format!("{copy}\0").as_bytes()), message(b'd', b"9\n"), done]);
    assert!(failed.contains("is not present in table") && failed.contains("0 rows"), "{failed}");
    let given_up = in_a_batch(&[
        message(b'Q', format!("{insert}; {copy}\0").as_bytes()),
        data,
        message(b'f', b"enough\0"),
    ]);
    assert!(given_up.contains("enough") && given_up.contains("0 rows"), "{given_up}");
}

#[test]
fn a_statement_that_is_described_in_its_batch_is_a_call() {
    if !is_own_server() {
        return;
    }
    let parse = message(b'P', b"a\0UPDATE orders SET cents = cents + 1 WHERE id = $1\0\0\0");
    let describe = message(b'D', b"Sa\0");
    let bind = message(b'B', b"\0a\0\0\0\0\x01\0\0\0\x016\0\0");
    let batch = [parse, describe, bind, message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat();
    let report = one_deviation("described").crashes(0).deliveries(0).run(async |world: &World| {
        let db = world.postgres(&SHOP);
        db.execute("INSERT INTO orders VALUES (6, 0)");
        let of_boot = db.clone();
        let batch = batch.clone();
        world.process("worker", move |p| {
            let url = of_boot.url(p);
            let address =
                url.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("a URL").to_owned();
            let batch = batch.clone();
            p.handle_blocking(move |_: u32| {
                let mut socket = TcpStream::connect(&address)?;
                socket.write_all(&startup(3 << 16, LOGIN))?;
                let mut bytes = [0; 4096];
                let _ = socket.read(&mut bytes)?;
                socket.write_all(&batch)?;
                match socket.read(&mut bytes)? {
                    0 => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
                    _ => Ok(()),
                }
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_red(&report, &["db.update-orders:call=reply-lost"]);
}

#[test]
fn a_backend_that_is_ended_by_an_administrator_is_an_error_for_its_client() {
    if !is_available() {
        return;
    }
    let report = with_pool(&one_deviation("ended"), async |pool: PgPool| {
        let ended = sqlx::query("SELECT pg_terminate_backend(pg_backend_pid())").execute(&pool).await;
        assert!(ended.is_err());
        sqlx::query("UPDATE orders SET state = 'paid'").execute(&pool).await.map(drop)
    });
    assert_green(&report);
}

#[test]
fn a_listener_listens() {
    if !is_available() {
        return;
    }
    let world = World::fake();
    let db = world.postgres(&SHOP);
    world.process("worker", move |p| {
        let pool = pool(&db.url(p), 2);
        p.handle(async move |_: u32| {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen("orders").await?;
            listener.unlisten_all().await
        });
    });
    world.enqueue(6_u32);
    world.drain_all().run().unwrap();
}

/// Uses a database in a process of its own, with other surroundings.
#[test]
#[ignore = "run by the tests below"]
fn helper() {
    if is_available() {
        World::fake().postgres(&SHOP);
    }
}

fn with_surroundings(variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "--nocapture", "bad_input::helper"]);
    for variable in ["DATABASE_URL", "RETRYPROOF_NO_SKIP", "CI", "RETRYPROOF_POSTGRES_BIN"] {
        command.env_remove(variable);
    }
    let Output { status, stdout, stderr } =
        command.envs(variables.iter().copied()).output().expect("the test can be run");
    (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn without_a_server_a_test_is_skipped_and_in_ci_it_fails() {
    let nowhere = ("RETRYPROOF_POSTGRES_BIN", "/nowhere");
    let (passes, text) = with_surroundings(&[nowhere]);
    assert!(passes, "{text}");
    assert_eq!(text.matches("SKIPPED: no PostgreSQL here; install it").count(), 1, "{text}");
    for ci in ["CI", "RETRYPROOF_NO_SKIP"] {
        let (passes, text) = with_surroundings(&[nowhere, (ci, "1")]);
        assert!(!passes, "{text}");
        assert!(text.contains("SKIPPED: no PostgreSQL here; install it"), "{text}");
    }
}

#[test]
fn a_wrong_url_says_what_is_wrong_with_it() {
    for (url, reason) in [
        ("postgres://postgres@127.0.0.1:1/x", "the PostgreSQL server cannot be reached: Connection refused"),
        ("postgres://postgres@127.0.0.1:door/x", "DATABASE_URL is no URL of a server: `door` is no port"),
        (
            "postgres://postgres@127.0.0.1/x?sslmode=require",
            "sslmode=require: the connection to the server has no TLS here",
        ),
        ("postgres://%2Fnowhere/x", "the PostgreSQL server cannot be reached: No such file or directory"),
    ] {
        let (passes, text) = with_surroundings(&[("DATABASE_URL", url)]);
        assert!(!passes && text.contains(reason), "{url}: {text}");
    }
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-postgres");
    fs::create_dir_all(&folder).unwrap();
    for name in ["initdb", "pg_ctl"] {
        let program = folder.join(name);
        fs::write(&program, "#!/bin/sh\necho 'no space left' >&2\nexit 1\n").unwrap();
        let mut permissions = fs::metadata(&program).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
        fs::set_permissions(&program, permissions).unwrap();
    }
    let (passes, text) = with_surroundings(&[("RETRYPROOF_POSTGRES_BIN", folder.to_str().unwrap())]);
    assert!(!passes && text.contains("initdb failed: no space left"), "{text}");
}

#[test]
fn migrations_that_fail_say_so_and_leave_no_database() {
    static BROKEN: retryproof_postgres::Postgres = retryproof_postgres::Postgres::schema("CREATE TABEL x ()");
    static SLOW: retryproof_postgres::Postgres = retryproof_postgres::Postgres::migrated(|_| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Err("the file is missing".into())
        })
    });
    if !is_available() {
        return;
    }
    for (postgres, reason) in [(&BROKEN, "syntax error at or near \"TABEL\""), (&SLOW, "the file is missing")]
    {
        let report = one_deviation("broken").run(async |world: &World| {
            world.postgres(postgres);
        });
        assert_eq!(report.verdict(), retryproof::Verdict::Violated, "{report}");
        let text = report.to_string();
        assert!(text.contains("the migrations failed:") && text.contains(reason), "{text}");
    }
}

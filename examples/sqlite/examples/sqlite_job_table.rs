//! Two workers that poll a table of jobs in SQLite, with a loop of their own and no job library.
//!
//! ```console
//! $ cargo run -p retryproof-sqlite --example sqlite_job_table
//! ```
//!
//! You will see three reports. A worker that looks and then takes has a job paid twice without any failure, when the other
//! worker takes it in between. A worker that takes in one statement still pays twice when it crashes after the payment. With
//! an idempotency key as well, every scenario ends well.

use std::io::{self, Write};
use std::rc::Rc;

use retryproof::service::payments::Charge;
use retryproof::{Explore, Report, World};
use retryproof_sqlite::memory::{self, Memory};
use retryproof_sqlite::table::{Care, TABLES, work};
use retryproof_sqlx::Pool;

/// Two processes whose loops poll the table. The harness knows only that statements are calls.
fn explored(care: Care) -> Report {
    Explore::new().name(format!("{care:?}")).deviations(1).run(async move |world: &World| {
        let database = Rc::new(Memory::new(TABLES));
        database
            .connection
            .execute_batch("INSERT INTO jobs (id, amount) VALUES (1, 500), (2, 700)")
            .expect("rows");
        for worker in ["one", "two"] {
            let name = database.name().to_owned();
            world.process(worker, move |p| {
                let (payments, clock) = (p.payments(), p.clock());
                let pool = Pool::new(memory::pool(&name), p.external("db"));
                // A lease measured by SQLite's own clock would never end here.
                let now = move || clock.now().as_secs() as i64;
                let pay = async move |job: retryproof_sqlite::table::Taken, key: Option<String>| {
                    let charge = Charge::of_order(job.id.unsigned_abs(), job.cents);
                    payments.charge(key.map_or(charge.clone(), |key| charge.key(key))).await.map(|_| ())
                };
                p.spawn("loop", work(pool, care, now, pay));
            });
        }
        let all_done =
            |_: &World| database.rows("SELECT id, state FROM jobs WHERE state <> 'done'").is_empty();
        assert!(world.settle_until(all_done).await, "a job was never done");
    })
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for care in [Care::LooksThenTakes, Care::TakesAtOnce, Care::WithKey] {
        writeln!(out, "{}\n", explored(care))?;
    }
    Ok(())
}

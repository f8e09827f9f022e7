//! Jobs with the store that only another worker can break.

use super::{assert_green, assert_row, explore, one_deviation, preemptions};
use retryproof::store::Isolation::{self, ReadCommitted, Serializable};
use retryproof::{Explore, Process, Report, StoreError};

#[derive(Clone, Copy)]
enum Count {
    ReadAddSave,
    InTransaction(Isolation),
    Locked,
    Incr,
    CompareAndSet,
}

/// Explores two jobs that add to one counter, each once no matter how often it is delivered.
fn counting(settings: &Explore, how: Count) -> Report {
    explore(settings, &[("count", 0)], &[1, 10], move |p| {
        let store = p.store();
        p.handle(async move |job: u32| {
            let job = i64::from(job);
            match how {
                Count::ReadAddSave => {
                    let row = store.get::<i64>("count").await?;
                    store.put("count", &(row.map_or(0, |row| row.value) + job)).await
                }
                Count::InTransaction(isolation) => {
                    let mut tx = store.transaction(isolation).await;
                    let row = tx.get::<i64>("count").await?;
                    tx.put("count", &(row.map_or(0, |row| row.value) + job)).await?;
                    tx.commit().await
                }
                Count::Locked => {
                    let mut tx = store.transaction(ReadCommitted).await;
                    let row = tx.for_update::<i64>("count").await?;
                    tx.put("count", &(row.map_or(0, |row| row.value) + job)).await?;
                    tx.commit().await
                }
                Count::Incr => store.incr("count", job).await.map(drop),
                Count::CompareAndSet => loop {
                    let (value, version) =
                        store.get::<i64>("count").await?.map_or((0, 0), |row| (row.value, row.version));
                    if store.compare_and_set("count", version, &(value + job)).await? {
                        return Ok(());
                    }
                },
            }
        });
    })
}

#[test]
fn resource_counter() {
    let lost = counting(&preemptions(1), Count::ReadAddSave);
    assert_row(&lost, "count", "1", "1.1/store.get:next=other");
    let lost = counting(&preemptions(1), Count::InTransaction(ReadCommitted));
    assert_row(&lost, "count", "1", "1.1/store.get:next=other");
    for how in [Count::InTransaction(Serializable), Count::Locked, Count::Incr, Count::CompareAndSet] {
        assert_green(&counting(&preemptions(3), how));
    }
}

#[test]
fn what_was_lost_is_shown_with_the_steps_that_crossed() {
    let report = counting(&preemptions(1), Count::ReadAddSave);
    let text = report.to_string();
    let crossed = text.split("interleaving\n").nth(1).expect("a crossing").lines().take(3);
    let crossed: Vec<_> = crossed.map(|line| line.split(" (").next().unwrap().trim()).collect();
    assert_eq!(
        crossed,
        ["attempt 1 of job#1: store.get", "attempt 1 of job#2: store.put", "attempt 1 of job#1: store.put"]
    );
}

/// Two customers, one seat.
fn reserving(settings: &Explore, versioned: bool) -> Report {
    explore(settings, &[("free", 1)], &[1, 2], move |p: &Process| {
        let store = p.store();
        p.handle(async move |customer: u32| {
            let Some(free) = store.get::<i64>("free").await? else { return Ok(()) };
            if free.value == 0 {
                return Ok(());
            }
            if versioned {
                if !store.compare_and_set("free", free.version, &0).await? {
                    return Err(StoreError::Conflict { key: "free".to_owned() });
                }
            } else {
                store.put("free", &0).await?;
            }
            store.put(format!("reserved:{customer}"), &true).await
        });
    })
}

#[test]
fn optimistic_lock() {
    let both = reserving(&preemptions(1), false);
    assert_row(&both, "reserved:2", "true", "1.1/store.get:next=other");
    // The job that loses goes back to the queue, and then finds the seat taken.
    assert_green(&reserving(&preemptions(3), true));
}

#[test]
fn two_deliveries_at_once_of_a_guarded_job() {
    // With read committed and no lock on the guard, neither job sees the guard, and both count.
    let guarded = |isolation: Isolation| {
        explore(&one_deviation(), &[("stock", 10)], &[6], move |p| {
            let store = p.store();
            p.handle(async move |order: u32| {
                let mut tx = store.transaction(isolation).await;
                if tx.get::<bool>(format!("paid:{order}")).await?.is_none() {
                    tx.put(format!("paid:{order}"), &true).await?;
                    tx.incr("stock", -1).await?;
                }
                tx.commit().await
            });
        })
    };
    assert_row(&guarded(ReadCommitted), "stock", "8", "1.1/store.get:pause=past-lease");
    assert_green(&guarded(Serializable));
}

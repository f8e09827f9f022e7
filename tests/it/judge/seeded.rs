//! Texts that code makes of random numbers and of the clock in its own way are compared up to renaming, too.

use super::*;
use retryproof::{Rng, StoreError};

/// A token of 16 letters and digits, as `nanoid` draws it.
fn letters(rng: &Rng) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    (0..16).map(|_| char::from(LETTERS[rng.below(62) as usize])).collect()
}

/// A token from a generator that is seeded with one drawn number.
fn from_a_seed(rng: &Rng) -> String {
    let mut state = rng.next_u64();
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + (state >> 33) as u8 % 26)
    };
    (0..20).map(|_| next()).collect()
}

/// A token that is drawn once, kept in a row, and used by each attempt. `mixes_up`: a retry stores a fresh one elsewhere.
fn kept_token(token: fn(&Rng) -> String, mixes_up: bool) -> Report {
    judged(
        move |p| {
            let (store, email, rng) = (p.store(), p.email(), p.rng());
            p.handle(async move |user: u32| {
                let text = |error: StoreError| error.to_string();
                let row = format!("token:{user}");
                let again = store.get::<String>(&row).await.map_err(text)?.map(|row| row.value);
                let is_retry = again.is_some();
                let kept = match again {
                    Some(kept) => kept,
                    None => {
                        let drawn = token(&rng);
                        store.set_if_absent(&row, &drawn, None).await.map_err(text)?;
                        store.get::<String>(&row).await.map_err(text)?.expect("it is there now").value
                    }
                };
                let shown = if mixes_up && is_retry { token(&rng) } else { kept.clone() };
                store
                    .put(format!("shown:{user}"), &format!("https://shop.example/{shown}"))
                    .await
                    .map_err(text)?;
                let mail = mail("ada@example.com").key(format!("reset-{user}"));
                let mail = mail.data("link", format!("https://shop.example/reset?token={kept}&user={user}"));
                email.send(mail).await.map(drop).map_err(|e| e.to_string())
            });
        },
        |world| {
            world.enqueue_bulk([7_u32, 8]);
        },
    )
}

#[test]
fn a_token_that_is_kept_is_the_same_wherever_it_stands() {
    for token in [letters, from_a_seed] {
        assert_green(&kept_token(token, false));
        let report = kept_token(token, true);
        assert_eq!(report.verdict(), Verdict::Violated, "{report}");
        assert!(report.violations().iter().all(|v| v.summary.contains("store.shown")), "{report}");
    }
}

/// The name of a row is a token, which a retry draws anew.
fn token_as_a_key(leaves_the_first: bool) -> Report {
    with(
        &Explore::new().name("test").deviations(1).deliveries(0),
        move |p| {
            let (store, rng) = (p.store(), p.rng());
            p.handle(async move |user: u32| {
                let text = |error: StoreError| error.to_string();
                let drawn = letters(&rng);
                if !leaves_the_first {
                    if let Some(old) = store.get::<String>("current").await.map_err(text)? {
                        store.delete(format!("session:{}", old.value)).await.map_err(text)?;
                    }
                }
                store.put("current", &drawn).await.map_err(text)?;
                store.put(format!("session:{drawn}"), &user).await.map_err(text)
            });
        },
        |world| {
            world.enqueue(7_u32);
        },
    )
}

#[test]
fn a_row_whose_key_is_drawn() {
    assert_green(&token_as_a_key(false));
    let report = token_as_a_key(true);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(report.violations()[0].summary.contains("store.session:"), "{report}");
}

/// A word that a coin decides is no generated text.
#[test]
fn a_drawn_word_is_compared() {
    let report = judged(
        |p| {
            let (store, rng) = (p.store(), p.rng());
            p.handle(async move |order: u32| {
                let word = ["accepted", "declined", "deferred"][rng.below(3) as usize];
                store.put(format!("decision:{order}"), &word).await.map_err(|e| e.to_string())
            });
        },
        |world| {
            world.enqueue_bulk(1..=6_u32);
        },
    );
    assert_red(&report, Code::StateAfterCrash, "store.decision:");
}

/// Seconds since 1970 as a date of UTC, without a library.
fn date(seconds: u64) -> String {
    let (day, rest) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (rest / 3_600, rest % 3_600 / 60, rest % 60);
    // 2026-01-30 is day 20,483. The tests stay within two months of it.
    let day = day - 20_483 + 30;
    let (month, day) = if day > 31 { (2, day - 31) } else { (1, day) };
    format!("2026-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// An order with the time at which it was paid, written in one of the ways of programs. The world begins a minute before
/// midnight, at the end of January 2026. `late`: a retry writes a time that is an hour off.
fn paid_at(write: fn(u64) -> serde_json::Value, late: bool) -> Report {
    const BEGIN: u64 = 1_769_903_940;
    judged(
        move |p| {
            let (store, clock) = (p.store(), p.clock());
            p.handle(async move |order: u32| {
                let text = |error: StoreError| error.to_string();
                let is_retry = store.get::<bool>("begun").await.map_err(text)?.is_some();
                store.put("begun", &true).await.map_err(text)?;
                let off = if late && is_retry { 3_600 } else { 0 };
                let paid = write(BEGIN + clock.now().as_secs() + off);
                let row = serde_json::json!({ "order": order, "paid": paid });
                store.put(format!("order:{order}"), &row).await.map_err(text)
            });
        },
        |world| {
            world.enqueue(7_u32);
        },
    )
}

#[test]
fn a_time_is_later_in_a_retry_however_it_is_written() {
    let ways: [fn(u64) -> serde_json::Value; 6] = [
        |at| at.into(),
        |at| (at * 1_000 + 250).into(),
        |at| (at as f64 + 0.25).into(),
        |at| date(at).into(),
        |at| format!("paid on {}", date(at).replace(['-', ':'], "")).into(),
        |at| date(at)[..19].replace('T', " at ").into(),
    ];
    for (at, way) in ways.into_iter().enumerate() {
        let report = paid_at(way, false);
        assert_eq!(report.verdict(), Verdict::RetryProof, "way {at}: {report}");
        let report = paid_at(way, true);
        assert_eq!(report.verdict(), Verdict::Violated, "way {at}: {report}");
    }
}

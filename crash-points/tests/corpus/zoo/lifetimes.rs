//! Temporaries, borrows, coercions: what breaks if a tail expression is touched.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Debug;
use std::sync::Mutex;

use super::crash_points;
use crate::support::{Loud, note, specimens};

specimens![
    temporaries_in_the_tail,
    extended_temporaries,
    extended_through_branches,
    lock_in_the_tail,
    borrow_in_the_tail,
    drop_order,
    reborrow,
    unsizing,
    function_items_meet,
    closures_become_pointers,
    boxed_error,
    returned_closure,
    returned_iterator,
    borrowed_return,
    move_and_copy_captures,
    mutable_capture,
    two_phase_borrow,
    cow,
    generics,
    scoped_threads,
];

#[crash_points]
fn temporaries_in_the_tail(input: i64) -> i64 {
    let kept = Loud(1);
    note(kept.value());
    Loud(input).itself().value()
}

#[crash_points]
fn extended_temporaries(input: i64) -> i64 {
    let kept = { &Loud(input) };
    let other = &{ Loud(2) };
    note("both live");
    kept.value() ^ other.value()
}

#[crash_points]
fn extended_through_branches(input: i64) -> i64 {
    let kept = if input > 3 {
        &Loud(input)
    } else {
        note("else");
        &Loud(-1)
    };
    let matched: &dyn Debug = match input {
        0 => &"zero",
        1 => &Loud(1),
        _ => &input,
    };
    note(matched);
    kept.value()
}

#[crash_points]
fn lock_in_the_tail(input: i64) -> usize {
    let shared = Mutex::new(vec![input; (input & 3) as usize]);
    shared.lock().unwrap().push(1);
    let length = { shared.lock().unwrap().len() };
    note(length);
    shared.lock().unwrap().len()
}

#[crash_points]
fn borrow_in_the_tail(input: i64) -> i64 {
    let cell = RefCell::new(input);
    {
        *cell.borrow_mut() ^= 1;
    }
    let x = *cell.borrow();
    x
}

#[crash_points]
fn drop_order(input: i64) -> Loud {
    let _a = Loud(10);
    let _ = Loud(11);
    let b = Loud(12);
    {
        let _c = Loud(13);
        Loud(14);
    }
    match Loud(15).value() ^ input {
        n if n > 20 => drop(b),
        _ => {
            let _d = b;
            note("moved");
        }
    }
    Loud(input)
}

fn bump(slot: &mut i64) -> &mut i64 {
    *slot ^= 1;
    slot
}

#[crash_points]
fn reborrow(input: i64) -> i64 {
    let mut value = input;
    let slot = &mut value;
    let again: &mut i64 = if input > 0 { slot } else { bump(slot) };
    bump(again);
    let last = { bump(again) };
    *last ^= 4;
    value
}

#[crash_points]
fn unsizing(input: i64) -> usize {
    let boxed: Box<dyn Fn(i64) -> Box<dyn Debug>> = if input > 1 {
        Box::new(|x| Box::new(x))
    } else {
        note("else");
        Box::new(|x| {
            note(x);
            Box::new("small")
        })
    };
    note(boxed(input));
    let slice: &[i64] = match input {
        0 => &[],
        1 => {
            note("one");
            &[1]
        }
        _ => &[1, 2],
    };
    slice.len()
}

fn one(x: i64) -> i64 {
    x ^ 1
}

fn two(x: i64) -> i64 {
    x ^ 2
}

#[crash_points]
fn function_items_meet(input: i64) -> i64 {
    let f = if input % 2 == 0 {
        note("even");
        one
    } else {
        two
    };
    let g = match input {
        0 => one,
        1 => |x: i64| {
            note("closure");
            x
        },
        _ => two,
    };
    g(f(input))
}

#[crash_points]
fn closures_become_pointers(input: i64) -> i64 {
    let f: fn(i64) -> i64 = |x| {
        note(x);
        x ^ 8
    };
    let table: [fn(i64) -> i64; 2] = [f, one];
    table.iter().fold(input, |x, f| f(x))
}

#[crash_points]
fn boxed_error(input: i64) -> Result<i64, Box<dyn std::error::Error>> {
    if input > 30 {
        return Err("large".into());
    }
    let n: i64 = format!("{input}").trim_start_matches('-').parse::<u8>()?.into();
    if n == 3 {
        Err(std::fmt::Error)?
    }
    Ok(n)
}

#[crash_points]
fn adder<'a>(by: &'a i64) -> impl Fn(i64) -> i64 + use<'a> {
    note("made");
    move |x| {
        note("called");
        x ^ *by
    }
}

#[crash_points]
fn returned_closure(input: i64) -> i64 {
    let by = 5;
    let add = adder(&by);
    add(add(input)) ^ adder(&input)(input / 2)
}

#[crash_points]
fn numbers(input: i64) -> impl Iterator<Item = i64> + Clone {
    let from = input & 7;
    (from..from + 5).filter(move |n| {
        let odd = n % 2 == 1;
        odd || *n == from
    })
}

#[crash_points]
fn returned_iterator(input: i64) -> Vec<i64> {
    let all = numbers(input);
    all.clone()
        .zip(all.skip(1))
        .map(|(a, b)| {
            note(a);
            a * b
        })
        .collect()
}

#[crash_points]
fn longer<'a>(a: &'a str, b: &'a str) -> &'a str {
    if a.len() > b.len() {
        return a;
    }
    b
}

#[crash_points]
fn borrowed_return(input: i64) -> String {
    let text = input.to_string();
    let longest = {
        let other = "xyz".to_owned();
        longer(&text, &other).len()
    };
    format!("{longest}{}", longer(&text, ""))
}

#[crash_points]
fn move_and_copy_captures(input: i64) -> (String, i64) {
    let owned = format!("{input}");
    let borrowed = || {
        note(&owned);
        owned.len()
    };
    let length = borrowed();
    let moved = move || {
        let owned = owned;
        owned + "!"
    };
    (moved(), length as i64)
}

#[crash_points]
fn mutable_capture(input: i64) -> i64 {
    let mut count = input;
    let mut turn = |by: i64| {
        count ^= by;
        count
    };
    turn(1);
    turn(6);
    count
}

#[crash_points]
fn two_phase_borrow(input: i64) -> Vec<usize> {
    let mut list = vec![(input & 0xff) as usize];
    list.push(
        {
            note("inner");
            list[0]
        } + 1,
    );
    list.push(list.len());
    list
}

#[crash_points]
fn cow(input: i64) -> Cow<'static, str> {
    if input == 0 {
        return "zero".into();
    }
    let text = input.to_string();
    Cow::Owned(text)
}

#[crash_points]
fn largest<T, const N: usize>(items: [T; N]) -> Option<T>
where
    T: PartialOrd + Debug,
{
    let mut largest = None;
    for item in items {
        note(&item);
        if largest.as_ref().is_none_or(|best| item > *best) {
            largest = Some(item);
        }
    }
    largest
}

#[crash_points]
fn generics(input: i64) -> (Option<i64>, Option<String>) {
    let a = largest([input, 3, 2]);
    (a, largest([input.to_string(), "5".to_owned()]))
}

#[crash_points]
fn scoped_threads(input: i64) -> i64 {
    let mut parts = [input, 2, 3];
    std::thread::scope(|scope| {
        for part in &mut parts {
            scope.spawn(move || {
                *part ^= 5;
            });
        }
    });
    parts.iter().fold(0, |sum, part| sum ^ part)
}

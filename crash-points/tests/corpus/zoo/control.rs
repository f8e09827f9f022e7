//! Branches, loops, labels, diverging.

use super::crash_points;
use crate::support::{note, specimens};

specimens![
    plain_statements,
    two_on_one_line,
    if_else_chain,
    let_chain,
    let_else,
    match_arms,
    while_let_with_label,
    loop_with_value,
    labelled_block,
    nested_loops,
    recursion,
    early_return,
    question_mark,
    question_mark_option,
    never_returns_a_value,
    diverges_in_the_middle,
    panics_in_an_arm,
    unit_tail,
    blocks_as_operands,
    shadowing,
    mutation_through_arms,
    slice_patterns,
    said_to_be_unreachable,
];

#[crash_points]
fn plain_statements(input: i64) -> i64 {
    let a = input.wrapping_mul(3);
    let b;
    b = a ^ 7;
    note(a);
    note(b);
    a.wrapping_add(b)
}

#[crash_points]
#[rustfmt::skip]
fn two_on_one_line(input: i64) -> i64 {
    let a = input.wrapping_add(1); note(a); let b = a; note(b); b
}

#[crash_points]
fn if_else_chain(input: i64) -> &'static str {
    if input < 0 {
        note("negative");
        "negative"
    } else if input == 0 {
        "zero"
    } else if {
        note("asked");
        input % 2 == 0
    } {
        "even"
    } else {
        note("odd");
        "odd"
    }
}

#[crash_points]
fn let_chain(input: i64) -> i64 {
    let half = (input % 2 == 0).then_some(input / 2);
    if let Some(half) = half
        && half > 3
        && let Some(next) = half.checked_sub(5)
    {
        note(next);
        next
    } else {
        note("none");
        -1
    }
}

#[crash_points]
fn let_else(input: i64) -> Result<u8, String> {
    let Ok(small) = u8::try_from(input) else {
        note("too large");
        return Err(format!("{input}"));
    };
    let (0..=9 | 20..) = small else {
        return Err("teens".into());
    };
    note(small);
    Ok(small)
}

#[crash_points]
fn match_arms(input: i64) -> i64 {
    match input {
        0 => 1,
        n if n < 0 => {
            note("negative");
            n.wrapping_neg()
        }
        1..=9 => {
            note("small");
            2
        }
        n if {
            note("guard");
            n % 3 == 0
        } =>
        {
            n / 3
        }
        _ => input,
    }
}

#[crash_points]
fn while_let_with_label(input: i64) -> Vec<i64> {
    let mut stack = vec![input.clamp(0, 9)];
    let mut seen = Vec::new();
    'turns: while let Some(top) = stack.pop() {
        seen.push(top);
        for next in 0..top {
            if next == 5 {
                note("five");
                continue 'turns;
            }
            if seen.len() > 40 {
                break 'turns;
            }
            stack.push(next / 2);
        }
    }
    seen
}

#[crash_points]
fn loop_with_value(input: i64) -> i64 {
    let mut n = input.unsigned_abs() | 1;
    let turns = loop {
        n = n.wrapping_mul(6364136223846793005).wrapping_add(1);
        if n % 7 == 0 {
            note(n);
            break n;
        }
    };
    (turns % 1000) as i64
}

#[crash_points]
fn labelled_block(input: i64) -> i64 {
    let found = 'search: {
        if input > 10 {
            break 'search input;
        }
        note("small");
        if input < 0 {
            break 'search 0;
        }
        7
    };
    found - 1
}

#[crash_points]
fn nested_loops(input: i64) -> i64 {
    let mut sum = 0;
    'outer: for i in 0..input.clamp(0, 12) {
        let mut j = 0;
        while j < i {
            j += 1;
            match (i + j) % 5 {
                0 => continue 'outer,
                1 => {
                    sum += 100;
                    break;
                }
                _ => {}
            }
            sum += i * j;
        }
    }
    sum
}

#[crash_points]
fn recursion(input: i64) -> u64 {
    let n = input.clamp(0, 15);
    if n < 2 {
        return n as u64;
    }
    let one = recursion(n - 1);
    one + recursion(n - 2)
}

#[crash_points]
fn early_return(input: i64) -> i64 {
    if input > 5 {
        return 1;
    }
    {
        if input > 3 {
            return {
                note("inner");
                2
            };
        }
    }
    3
}

#[crash_points]
fn question_mark(input: i64) -> Result<u8, std::num::TryFromIntError> {
    let wide = i32::try_from(input)?;
    note(wide);
    Ok(u8::try_from(wide)?)
}

#[crash_points]
fn question_mark_option(input: i64) -> Option<char> {
    let index = usize::try_from(input).ok()?;
    let c = "crash".chars().nth(index)?;
    c.is_alphabetic().then_some(c)
}

#[crash_points]
fn stop(input: i64) -> ! {
    note("stop");
    panic!("stopped at {input}")
}

#[crash_points]
fn never_returns_a_value(input: i64) -> i64 {
    if input % 2 == 0 {
        stop(input);
    }
    input
}

#[crash_points]
fn diverges_in_the_middle(input: i64) -> i64 {
    let x = match input {
        0 => return 0,
        1 => stop(1),
        2 => unreachable!("two"),
        n => n,
    };
    loop {
        note("once");
        if x < 0 {
            break;
        }
        return x;
    }
    -1
}

#[crash_points]
fn panics_in_an_arm(input: i64) -> i64 {
    match input {
        3 => {
            note("three");
            panic!("three");
        }
        4 => todo!(),
        _ => {}
    }
    input.checked_mul(2).expect("no overflow")
}

#[crash_points]
fn unit_tail(input: i64) {
    if input > 0 {
        note("positive")
    }
    match input {
        7 => note("seven"),
        _ => (),
    }
}

#[crash_points]
fn blocks_as_operands(input: i64) -> (i64, [i64; 3]) {
    let a = {
        note(1);
        input
    } ^ {
        note(2);
        5
    };
    let b = [{
        note(3);
        a
    }; 3];
    (
        {
            note(4);
            a
        },
        b,
    )
}

#[crash_points]
fn shadowing(input: i64) -> String {
    let x = input;
    let x = {
        let x = x ^ 1;
        note(x);
        x
    };
    let x = format!("{x}");
    x
}

#[crash_points]
fn mutation_through_arms(input: i64) -> Vec<i64> {
    let mut list = vec![1, 2, 3];
    match list.iter_mut().find(|item| **item == input) {
        Some(item) => {
            *item += 10;
            note(&*item);
        }
        None => list.push(input),
    }
    list
}

#[crash_points]
fn slice_patterns(input: i64) -> i64 {
    let digits: Vec<u8> = input.to_string().bytes().collect();
    match digits.as_slice() {
        [b'-', rest @ ..] => {
            note(rest.len());
            -1
        }
        [one] => i64::from(*one),
        [first, .., last] => {
            let sum = first + last;
            i64::from(sum)
        }
        [] => 0,
    }
}

#[crash_points]
fn said_to_be_unreachable(input: i64) -> i64 {
    if input == 1 {
        stop(input);
        #[allow(unreachable_code)]
        {
            note("never");
        }
    }
    input
}

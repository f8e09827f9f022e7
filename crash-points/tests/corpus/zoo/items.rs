//! Methods, impl blocks, traits, nested items, constants.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Index};

use super::crash_points;
use crate::support::{note, specimens};

specimens![
    methods,
    trait_methods,
    operators,
    own_iterator,
    display,
    associated_consts,
    nested_items,
    const_contexts,
    unsafe_code_is_elsewhere,
    extern_functions,
    destructors,
    attributes_on_statements,
    inner_attributes,
    documented,
    generic_impl,
    entry_api,
];

#[derive(Debug, Clone, Default, PartialEq)]
struct Account {
    balance: i64,
    log: Vec<String>,
}

#[crash_points]
impl Account {
    const LIMIT: i64 = {
        let limit = 50;
        limit
    };

    const fn limit() -> i64 {
        let limit = Self::LIMIT;
        limit
    }

    fn new(balance: i64) -> Self {
        let log = Vec::new();
        Self { balance, log }
    }

    #[inline]
    fn deposit(&mut self, amount: i64) -> Result<&mut Self, String> {
        if amount > Self::limit() {
            return Err(format!("{amount} is over the limit"));
        }
        self.balance = self.balance.checked_add(amount).ok_or("overflow")?;
        self.log.push(format!("+{amount}"));
        Ok(self)
    }

    fn close(mut self) -> (i64, Vec<String>) {
        self.log.push("closed".to_owned());
        (self.balance, self.log)
    }

    fn in_box(self: Box<Self>) -> i64 {
        note("box");
        self.balance
    }
}

fn methods(input: i64) -> Result<(i64, i64, Vec<String>), String> {
    let mut account = Account::new(input);
    account.deposit(1)?.deposit(input)?;
    let boxed = Box::new(account.clone()).in_box();
    let (balance, log) = account.close();
    Ok((boxed, balance, log))
}

trait Priced {
    fn price(&self) -> i64;

    /// A default method.
    #[crash_points]
    fn taxed(&self) -> i64 {
        let price = self.price();
        note(price);
        price.wrapping_add(price / 10)
    }

    fn named(&self) -> &'static str;
}

#[crash_points]
impl Priced for i64 {
    fn price(&self) -> i64 {
        note("price");
        self.wrapping_mul(2)
    }

    fn named(&self) -> &'static str {
        "number"
    }
}

#[crash_points]
impl<P: Priced> Priced for [P] {
    fn price(&self) -> i64 {
        let mut sum = 0i64;
        for item in self {
            sum = sum.wrapping_add(item.taxed());
        }
        sum
    }

    fn named(&self) -> &'static str {
        "several"
    }
}

fn trait_methods(input: i64) -> (i64, &'static str) {
    let items = [input, 2];
    (
        items.as_slice().taxed(),
        if input > 0 {
            input.named()
        } else {
            items.as_slice().named()
        },
    )
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Pair(i64, i64);

#[crash_points]
impl Add for Pair {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let Self(a, b) = self;
        Self(a ^ other.0, b ^ other.1)
    }
}

#[crash_points]
impl Index<usize> for Pair {
    type Output = i64;

    fn index(&self, index: usize) -> &i64 {
        note(index);
        match index {
            0 => {
                note("first");
                &self.0
            }
            1 => &self.1,
            _ => panic!("a pair has two"),
        }
    }
}

fn operators(input: i64) -> (Pair, i64) {
    let sum = Pair(input, 1) + Pair(2, input);
    (sum, sum[(input & 3) as usize])
}

struct Countdown(i64);

#[crash_points]
impl Iterator for Countdown {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        if self.0 <= 0 {
            return None;
        }
        self.0 -= 1;
        Some(self.0)
    }
}

fn own_iterator(input: i64) -> Vec<i64> {
    Countdown(input.clamp(-1, 5)).chain(Countdown(1)).collect()
}

#[crash_points]
impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.0)?;
        f.write_str(" ")?;
        write!(f, "{}>", self.1)
    }
}

fn display(input: i64) -> String {
    Pair(input, 0).to_string()
}

fn associated_consts(input: i64) -> i64 {
    Account::LIMIT ^ Account::limit() ^ Account::new(input).balance
}

#[crash_points]
fn nested_items(input: i64) -> i64 {
    const SHIFT: i64 = {
        let shift = 3;
        shift
    };
    static NAMES: [&str; 2] = ["a", "b"];
    fn inner(x: i64) -> i64 {
        let y = x ^ SHIFT;
        y
    }
    #[crash_points]
    fn inner_with_points(x: i64) -> i64 {
        let y = inner(x);
        y ^ 1
    }
    struct Local(i64);
    impl Local {
        fn get(&self) -> i64 {
            note("local");
            self.0
        }
    }
    note(NAMES[(input & 1) as usize]);
    Local(inner_with_points(input)).get()
}

#[crash_points]
fn const_contexts(input: i64) -> usize {
    const fn double(n: usize) -> usize {
        let m = n * 2;
        m
    }
    let a = const {
        let n = 2;
        double(n)
    };
    let b: [u8; {
        let n = 1;
        double(n)
    }] = [{
        note("item");
        7
    }; double({
        let n = 1;
        n
    })];
    let c = std::array::from_fn::<i64, { double(2) }, _>(|i| {
        note(i);
        i as i64 ^ input
    });
    match input {
        0 => a,
        1 => b.len(),
        _ => c.len() + (c[0] & 7) as usize,
    }
}

#[crash_points]
fn unsafe_code_is_elsewhere(input: i64) -> i64 {
    // Blocks of it are in the snapshots: this workspace forbids it.
    let bytes = input.to_ne_bytes();
    i64::from_ne_bytes(bytes)
}

#[crash_points]
extern "C" fn from_c(x: i64) -> i64 {
    let y = x ^ 9;
    note(y);
    y
}

fn extern_functions(input: i64) -> i64 {
    let f: extern "C" fn(i64) -> i64 = from_c;
    f(input)
}

struct Guard(i64);

#[crash_points]
impl Drop for Guard {
    fn drop(&mut self) {
        note("guard");
        note(self.0);
    }
}

fn destructors(input: i64) -> i64 {
    let _guard = Guard(input);
    assert!(input != 4, "four");
    input ^ 1
}

#[crash_points]
fn attributes_on_statements(input: i64) -> i64 {
    #[cfg(not(feature = "enabled"))]
    let a = input;
    #[cfg(feature = "enabled")]
    let a = {
        let a = input;
        a
    };
    #[cfg(any())]
    let a = does_not_exist();
    #[cfg_attr(all(), cfg(any()))]
    does_not_exist();
    #[allow(unused_variables)]
    let unused = { 1 };
    #[cfg(any())]
    {
        does_not_exist()
    }
    #[cfg(not(any()))]
    {
        a ^ 1
    }
}

#[crash_points]
fn inner_attributes(input: i64) -> i64 {
    #![allow(unused_variables)]
    let unused = 1;
    {
        #![allow(unused_mut)]
        let mut a = input;
        a ^ 2
    }
}

/// Has documentation.
#[crash_points]
#[must_use]
#[inline(never)]
fn documented(input: i64) -> i64 {
    //! Inside, too.
    /* and comments */
    let a = input; // here
    // there
    a ^ 3
}

struct Stack<T>(Vec<T>);

#[crash_points]
impl<T> Stack<T>
where
    T: Clone + fmt::Debug,
{
    fn with<const N: usize>(items: [T; N]) -> Self {
        note(N);
        Self(items.to_vec())
    }

    fn top(&self) -> Option<&T> {
        let last = self.0.last()?;
        Some(last)
    }

    fn map<U>(&self, f: impl Fn(&T) -> U) -> Vec<U> {
        let mut all = Vec::with_capacity(self.0.len());
        for item in &self.0 {
            all.push(f(item));
        }
        all
    }
}

fn generic_impl(input: i64) -> (Option<i64>, Vec<usize>) {
    let numbers = Stack::with([1, input]);
    let texts = Stack::with([input.to_string()]);
    (numbers.top().copied(), texts.map(String::len))
}

#[crash_points]
fn entry_api(input: i64) -> BTreeMap<char, usize> {
    let mut counts = BTreeMap::new();
    for c in input.to_string().chars() {
        *counts.entry(c).or_insert_with(|| {
            note(c);
            0
        }) += 1;
    }
    counts
}

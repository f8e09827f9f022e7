//! Code that macros take in or give out.

use super::crash_points;
use crate::support::{note, specimens};

specimens![
    macros_as_statements,
    macro_tail,
    whole_function,
    parts_of_a_function,
    generated_impl,
    every_fragment_there_is,
    annotated_from_outside,
    let_from_a_macro
];

#[crash_points]
fn macros_as_statements(input: i64) -> Vec<i64> {
    let mut list = vec![input];
    assert!(input != 5, "five");
    thread_local! {
        static LAST: std::cell::Cell<i64> = const { std::cell::Cell::new(0) };
    }
    LAST.set(input);
    macro_rules! push {
        ($($e:expr),*) => { $(list.push($e);)* };
    }
    push!(1, LAST.get());
    push! { input ^ 3 }
    push![7];
    list
}

#[crash_points]
fn macro_tail(input: i64) -> Vec<u8> {
    note("before");
    vec![1; (input & 3) as usize]
}

macro_rules! define {
    ($name:ident, $by:expr) => {
        #[crash_points]
        fn $name(input: i64) -> i64 {
            let by = $by;
            note(by);
            let shifted = {
                note("inner");
                input ^ by
            };
            shifted ^ 1
        }
    };
}
define!(whole_function, 5);

macro_rules! with_body {
    ($name:ident($input:ident) $body:block $(then $more:stmt)* ; $tail:expr) => {
        #[crash_points]
        fn $name($input: i64) -> i64 {
            let value = $body;
            note(value);
            $($more)*
            $tail
        }
    };
}
with_body!(parts_of_a_function(input) {
    note("body");
    input ^ 4
} then let _a = 1 then let _b = 2; { note("tail"); input ^ 2 });

macro_rules! implement {
    ($($type:ident),*) => {
        $(
            #[derive(Debug)]
            struct $type(i64);

            #[crash_points]
            impl $type {
                fn get(&self) -> i64 {
                    note(stringify!($type));
                    self.0
                }
            }
        )*
    };
}
implement!(First, Second);

fn generated_impl(input: i64) -> i64 {
    First(input).get() ^ Second(1).get()
}

macro_rules! every_fragment {
    ($name:ident, $type:ty, $vis:vis, $pat:pat, $label:lifetime, $expr:expr, $block:block, $path:path, $lit:literal,
     $meta:meta, $item:item) => {
        #[crash_points]
        #[$meta]
        $vis fn $name(x: $type) -> $type {
            $item
            $label: loop {
                let $pat = $lit;
                $path(x);
                break $label;
            }
            let _: $type = $expr;
            if inner(x) > 1 $block else { x ^ $expr }
        }
    };
}
every_fragment!(every_fragment_there_is, i64, pub(super), _, 'out, { let a = 1 + 1; a }, { let b = 1; b ^ 3 }, note, 2,
    inline, fn inner(x: i64) -> i64 { x });

macro_rules! annotate {
    ($item:item) => {
        #[crash_points]
        $item
    };
}
annotate! {
    #[inline]
    fn annotated_from_outside(input: i64) -> i64 {
        let a = input ^ 2;
        a
    }
}

macro_rules! bind {
    ($name:ident = $value:expr) => {
        let $name = $value;
    };
}

#[crash_points]
fn let_from_a_macro(input: i64) -> i64 {
    bind!(a = input ^ 6);
    note(a);
    bind! { b = a }
    a ^ b ^ input
}

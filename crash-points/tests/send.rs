//! A point does not change which futures are `Send` or `Sync`, or the size of a future.
#![allow(clippy::let_and_return, reason = "a `let` and a tail are two points")]

use std::cell::Cell;
use std::rc::Rc;

mod plain {
    pub(crate) use plain_attribute::crash_points;
}
mod annotated {
    pub(crate) use crash_points::crash_points;
}

async fn pause() {
    std::future::ready(()).await;
}

macro_rules! both {
    ($($item:item)*) => {
        mod plain_functions { use super::{*, plain::crash_points}; $(#[crash_points] $item)* }
        mod annotated_functions { use super::{*, annotated::crash_points}; $(#[crash_points] $item)* }
    };
}

both! {
    pub(crate) async fn simple(x: u32) -> u32 {
        let y = x + 1;
        pause().await;
        let z = y + 1;
        pause().await;
        z
    }

    pub(crate) async fn not_send_between_waits(x: u32) -> u32 {
        let y = {
            let shared = Rc::new(Cell::new(x));
            shared.set(shared.get() + 1);
            shared.get()
        };
        pause().await;
        {
            let shared = Rc::new(y);
            *shared
        }
    }

    pub(crate) async fn generic<T: Send + Sync + Clone>(x: &T) -> T {
        for _ in 0..2 {
            pause().await;
            let inner = async { pause().await; x.clone() };
            drop(inner.await);
        }
        x.clone()
    }

    pub(crate) fn closures(x: u32) -> impl Fn(u32) -> u32 + Send + Sync + Copy + 'static {
        let y = x + 1;
        move |z| {
            let sum = y + z;
            sum
        }
    }
}

fn send<T: Send>(value: T) -> usize {
    size_of_val(&value)
}

macro_rules! assert_alike {
    ($($call:expr),* $(,)?) => {
        $(assert_eq!({ use plain_functions::*; send($call) }, { use annotated_functions::*; send($call) });)*
    };
}

#[test]
fn futures_stay_send_and_of_their_size() {
    assert_alike!(
        simple(1),
        not_send_between_waits(1),
        generic(&1),
        generic(&String::new()),
        closures(1)
    );
    assert_eq!(plain_functions::closures(1)(2), annotated_functions::closures(1)(2));
}

#[cfg(feature = "enabled")]
#[test]
fn what_the_harness_keeps_can_go_to_other_threads() {
    fn sync<T: Send + Sync + 'static>() {}
    sync::<crash_points::Function>();
    sync::<crash_points::Point>();
    sync::<crash_points::Listener>();
}

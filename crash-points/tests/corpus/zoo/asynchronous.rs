//! Async functions, blocks, closures and traits.

use std::pin::Pin;

use super::crash_points;
use crate::support::{Loud, block_on, note, pause, specimens};

specimens![
    async_function,
    async_blocks,
    async_closure,
    async_move_in_loop,
    async_question_mark,
    async_method,
    boxed_future,
    async_recursion,
    dropped_half_way,
    async_trait_first,
    async_trait_second,
    async_trait_on_a_method,
    returns_impl_future,
    await_in_odd_places,
];

#[crash_points]
async fn twice(x: i64) -> i64 {
    note("in");
    pause().await;
    let y = x ^ 1;
    pause().await;
    y
}

fn async_function(input: i64) -> i64 {
    block_on(twice(input))
}

#[crash_points]
fn async_blocks(input: i64) -> i64 {
    let text = input.to_string();
    let borrowed = async {
        note(&text);
        pause().await;
        text.len()
    };
    let length = block_on(borrowed);
    let owned = async move {
        pause().await;
        text + "!"
    };
    note(block_on(owned));
    length as i64
}

#[crash_points]
fn async_closure(input: i64) -> i64 {
    let mut count = input;
    let mut turn = async |by: i64| {
        count ^= by;
        pause().await;
        count
    };
    let sum = block_on(async {
        let a = turn(1).await;
        a ^ turn(2).await
    });
    sum ^ count
}

#[crash_points]
async fn sum(to: i64) -> i64 {
    let mut sum = 0;
    for i in 0..to {
        let part = async move {
            pause().await;
            i * 2
        };
        if i == 7 {
            continue;
        }
        sum += part.await;
    }
    sum
}

fn async_move_in_loop(input: i64) -> i64 {
    block_on(sum(input.clamp(0, 20)))
}

#[crash_points]
async fn narrow(x: i64) -> Result<u8, std::num::TryFromIntError> {
    let wide = i32::try_from(x)?;
    pause().await;
    let inner: Result<u8, _> = async {
        let narrow = u8::try_from(wide)?;
        Ok(narrow)
    }
    .await;
    inner
}

fn async_question_mark(input: i64) -> Result<u8, std::num::TryFromIntError> {
    block_on(narrow(input))
}

struct Shop(Vec<i64>);

#[crash_points]
impl Shop {
    async fn buy(&mut self, id: i64) -> Option<&mut i64> {
        self.0.push(id);
        pause().await;
        let last = self.0.last_mut()?;
        *last ^= 1;
        Some(last)
    }

    fn sell<'a>(&'a self, at: usize) -> impl Future<Output = Option<&'a i64>> + 'a {
        note("sell");
        async move {
            pause().await;
            self.0.get(at)
        }
    }
}

fn async_method(input: i64) -> Option<i64> {
    let mut shop = Shop(Vec::new());
    *block_on(shop.buy(input))? ^= 2;
    block_on(shop.sell((input & 1) as usize)).copied()
}

#[crash_points]
fn boxed<'a>(x: &'a i64) -> Pin<Box<dyn Future<Output = i64> + Send + 'a>> {
    note("boxed");
    Box::pin(async move {
        pause().await;
        *x ^ 1
    })
}

fn boxed_future(input: i64) -> i64 {
    block_on(boxed(&input))
}

#[crash_points]
async fn down(n: i64) -> i64 {
    if n <= 0 {
        return 0;
    }
    pause().await;
    let rest = Box::pin(down(n - 1)).await;
    rest + n
}

fn async_recursion(input: i64) -> i64 {
    block_on(down(input.min(6)))
}

#[crash_points]
async fn holds(input: i64) {
    let _a = Loud(input);
    for _ in 0..4 {
        let _b = Loud(1);
        pause().await;
    }
}

fn dropped_half_way(input: i64) {
    use std::task::{Context, Waker};
    let mut future = Box::pin(holds(input));
    for _ in 0..=(input & 1) {
        assert!(
            future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
    }
    drop(future);
}

#[async_trait::async_trait]
trait Job: Send + Sync {
    async fn perform(&self, id: i64) -> Result<String, String>;

    #[crash_points]
    async fn retry(&self, id: i64) -> i64 {
        note("retry");
        pause().await;
        id ^ 1
    }
}

struct First;
struct Second;
struct Third;

#[async_trait::async_trait]
#[crash_points]
impl Job for First {
    async fn perform(&self, id: i64) -> Result<String, String> {
        pause().await;
        if id < 0 {
            return Err("negative".into());
        }
        let text = id.to_string();
        Ok(text)
    }
}

#[crash_points]
#[async_trait::async_trait]
impl Job for Second {
    async fn perform(&self, id: i64) -> Result<String, String> {
        let small = u8::try_from(id).map_err(|e| e.to_string())?;
        pause().await;
        Ok(format!("{small}"))
    }
}

#[async_trait::async_trait]
impl Job for Third {
    #[crash_points]
    async fn perform(&self, id: i64) -> Result<String, String> {
        let Some(next) = id.checked_add(1) else {
            note("overflow");
            return Err("overflow".into());
        };
        pause().await;
        Ok(next.to_string())
    }
}

fn performed(job: &dyn Job, input: i64) -> Result<String, String> {
    block_on(async {
        note(job.retry(input).await);
        job.perform(input).await
    })
}

fn async_trait_first(input: i64) -> Result<String, String> {
    performed(&First, input)
}

fn async_trait_second(input: i64) -> Result<String, String> {
    performed(&Second, input)
}

fn async_trait_on_a_method(input: i64) -> Result<String, String> {
    performed(&Third, input)
}

#[crash_points]
fn later(input: i64) -> impl Future<Output = i64> + Send + 'static {
    async move {
        note("later");
        pause().await;
        input ^ 3
    }
}

fn returns_impl_future(input: i64) -> i64 {
    block_on(later(input))
}

#[crash_points]
async fn odd(input: i64) -> i64 {
    let a = if twice(input).await > 3 {
        later(1).await
    } else {
        later(2).await
    };
    match later(input).await {
        0 => {
            pause().await;
            a
        }
        n => {
            n ^ later({
                pause().await;
                a
            })
            .await
        }
    }
}

fn await_in_odd_places(input: i64) -> i64 {
    block_on(odd(input))
}

//! Each point has the place of its statement, and points fire in the order of the statements.
//!
//! The specimens below have their expectations in comments: `// point` at the end of each line with a point, once for
//! each point of that line. This file is its own expected output, so it needs no update when lines move.
#![cfg(feature = "enabled")]
#![allow(clippy::let_and_return, reason = "a `let` and a tail are two points")]

use std::cell::RefCell;

use crash_points::{Function, Point, crash_points};

thread_local! { static PASSED: RefCell<Vec<Point>> = const { RefCell::new(Vec::new()) } }

/// The points that are passed while `f` runs.
fn passed<T>(f: impl FnOnce() -> T) -> Vec<Point> {
    PASSED.take();
    let former = crash_points::listen(Some(|point| PASSED.with_borrow_mut(|passed| passed.push(point))));
    drop(f());
    crash_points::listen(former);
    PASSED.take()
}

fn ordinals<T>(f: impl FnOnce() -> T) -> Vec<u32> {
    passed(f).iter().map(|point| point.ordinal).collect()
}

/// The table of the first function that `f` enters.
fn table<T>(f: impl FnOnce() -> T) -> &'static Function {
    passed(f).first().expect("it has points").function
}

/// Compares a table with the comments between `fn name` and the next line `}` with the same indentation.
fn check(function: &Function) {
    let lines: Vec<&str> = include_str!("places.rs").lines().collect();
    let name = function
        .name
        .rsplit_once("::")
        .map_or(function.name, |(_, method)| method);
    let header = format!("fn {name}(");
    let before = &lines[..function.points[0].line as usize];
    let start = before
        .iter()
        .rposition(|line| line.contains(&header))
        .expect("the function is in this file");
    let indent = lines[start].len() - lines[start].trim_start().len();
    let end = format!("{:indent$}}}", "");
    let mut wanted = Vec::new();
    for (number, line) in (1..).zip(&lines).skip(start).take_while(|(_, line)| **line != end) {
        let comment = line.rsplit_once("// ").map_or("", |(_, comment)| comment);
        wanted.extend(comment.split(' ').filter(|word| *word == "point").map(|_| number));
    }
    let actual: Vec<u32> = function.points.iter().map(|place| place.line).collect();
    assert_eq!(actual, wanted, "{}", function.name);
    assert!(!wanted.is_empty(), "{} expects nothing", function.name);
    assert_eq!(function.file, file!());
    assert_eq!(function.module, module_path!());
}

#[crash_points]
#[rustfmt::skip]
fn branches(x: u32) -> u32 {
    let y = x // point
        .wrapping_add(1)
        .wrapping_mul(2);
    #[allow(unused_variables)]
    #[cfg(not(any()))]
    let z = 3; // point
    const NOT_HERE: u32 = 1;
    if y > 10 { // point
        return y; // point
    } else if y == NOT_HERE {
        return 1; // point
    }
    let Some(found) = (1..3) // point
        .map(|n| {
            let m = n + y; // point
            m * 2 // point
        })
        .find(|n| n % 2 == 0) else {
            return 0; // point
        };
    assert_ne!( // point
        found, 1
    );
    found // point
        + match x {
            0 => 1,
            _ => {
                2 // point
            }
        }
}

#[test]
fn each_point_is_on_the_line_of_its_statement() {
    check(table(|| branches(1)));
}

#[crash_points]
#[rustfmt::skip]
fn one_line(x: u32) -> u32 {
    let a = x; let b = a; { let c = b; c } // point point point point point
}

#[test]
fn several_on_a_line_differ_in_their_column() {
    let of = table(|| one_line(1));
    check(of);
    let columns: Vec<u32> = of.points.iter().map(|place| place.column).collect();
    assert_eq!(columns, [5, 16, 27, 29, 40]);
}

#[crash_points]
#[rustfmt::skip]
async fn asynchronous(x: u32) -> u32 {
    let inner = async move { // point
        std::future::ready(x).await; // point
        x // point
    };
    let a = inner.await; // point
    a + 1 // point
}

#[test]
fn async_blocks_share_the_table() {
    let run = || block_on(asynchronous(1));
    assert_eq!(ordinals(run), [0, 3, 1, 2, 4]);
    check(table(run));
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => unreachable!("nothing here waits"),
    }
}

struct Order;

#[crash_points]
impl Order {
    fn method(&self) -> u32 {
        let a = 1; // point

        a // point
    }
}

#[async_trait::async_trait]
trait Job {
    async fn perform(&self, id: u32) -> u32;
    async fn retry(&self, id: u32) -> u32;
}

#[async_trait::async_trait]
#[crash_points]
impl Job for Order {
    async fn perform(&self, id: u32) -> u32 {
        let a = id; // point
        a + 1 // point
    }

    async fn retry(&self, id: u32) -> u32 {
        let _ = id; // point
        self.method() // point
    }
}

struct Other;

#[async_trait::async_trait]
impl Job for Other {
    #[crash_points]
    async fn perform(&self, id: u32) -> u32 {
        id
    }

    #[crash_points]
    async fn retry(&self, id: u32) -> u32 {
        id
    }
}

#[test]
fn methods_have_tables_of_their_own() {
    check(table(|| Order.method()));
    assert_eq!(table(|| Order.method()).name, "Order::method");
}

#[test]
fn with_async_trait_the_lines_are_the_users() {
    let perform = || block_on(Order.perform(1));
    assert_eq!(table(perform).name, "Order::perform");
    for function in [table(perform), table(|| block_on(Order.retry(1)))] {
        // One more point because `#[async_trait]` came first: at the `{`, before the future is made.
        let Function {
            name,
            module,
            file,
            points: [_, points @ ..],
        } = *function
        else {
            panic!("no points")
        };
        check(&Function {
            name,
            module,
            file,
            points,
        });
    }
    assert_eq!(table(|| block_on(Other.perform(1))).name, "perform");
    assert_eq!(table(|| block_on(Other.retry(1))).name, "retry");
}

#[crash_points]
fn a_loop(turns: u32) -> u32 {
    let mut sum = 0;
    for turn in 0..turns {
        if turn == 1 {
            continue;
        }
        sum += turn;
    }
    sum
}

#[test]
fn they_fire_in_the_order_of_the_statements() {
    assert_eq!(ordinals(|| a_loop(0)), [0, 1, 5]);
    assert_eq!(ordinals(|| a_loop(3)), [0, 1, 2, 4, 2, 3, 2, 4, 5]);
}

#[test]
fn what_fired_is_what_is_in_the_table() {
    for point in passed(|| a_loop(3)) {
        let place = point.function.points[point.ordinal as usize];
        assert_eq!(point.place(), place);
        assert_eq!(
            point.to_string(),
            format!("{}:{}:{}", file!(), place.line, place.column)
        );
    }
}

#[crash_points]
fn recursive(n: u32) -> u32 {
    if n == 0 {
        return 0;
    }
    recursive(n - 1)
}

#[test]
fn recursion_passes_the_same_points_again() {
    assert_eq!(ordinals(|| recursive(2)), [0, 2, 0, 2, 0, 1]);
    let all = passed(|| recursive(2));
    assert!(all.iter().all(|point| std::ptr::eq(point.function, all[0].function)));
}

macro_rules! generated {
    ($name:ident) => {
        #[crash_points]
        fn $name() -> u32 {
            let a = 1;
            let b = a;
            b
        }
    };
}
generated!(first_generated);
generated!(second_generated);

#[test]
fn points_of_one_place_differ_in_their_ordinal() {
    let all = passed(first_generated);
    assert_eq!(all.iter().map(|point| point.ordinal).collect::<Vec<_>>(), [0, 1, 2]);
    // All points are at the call of the macro: one line, and another line for the other call.
    let first = all[0].place();
    assert!(all.iter().all(|point| point.place().line == first.line));
    assert_eq!(table(second_generated).points[0].line, first.line + 1);
}

#[crash_points]
fn generic<T: Default>() -> T {
    let value = T::default();
    value
}

#[test]
fn a_generic_function_has_one_table() {
    let (a, b) = (table(generic::<u8>), table(generic::<String>));
    assert!(std::ptr::eq(a, b));
}

#[crash_points]
fn configured() -> u32 {
    #[cfg(any())]
    missing();
    #[cfg(not(any()))]
    let a = 1;
    #[cfg_attr(all(), cfg(any()))]
    missing();
    a
}

#[crash_points]
fn return_configured_away() -> u32 {
    #[cfg(any())]
    return 1;
    let a = 2;
    a
}

#[crash_points]
fn all_configured_away() {
    #[cfg(any())]
    missing();
}

#[test]
fn a_point_goes_with_its_statement() {
    assert_eq!(ordinals(configured), [1, 3]);
    assert_eq!(ordinals(return_configured_away), [1, 2]);
    assert_eq!(ordinals(all_configured_away), [0_u32; 0]);
}

mod elsewhere {
    pub(super) mod inner {
        pub(crate) use ::crash_points as re_exported;
    }
}

#[crash_points(crate = elsewhere::inner::re_exported)]
fn by_another_path() -> u32 {
    1
}

#[test]
fn the_crate_may_go_by_another_path() {
    assert_eq!(ordinals(by_another_path), [0]);
}

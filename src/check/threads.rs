//! Work done by several threads, in pieces, whose results are used in the order in which the pieces were taken: so what
//! comes of it does not depend on how many threads there are.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex};

use crate::state::lock;

/// Pieces for each thread that may be under way or wait for those before them: so that what waits stays bounded.
const MOST_WAITING: usize = 4;

/// Where pieces come from, and results go to.
pub(super) trait Source {
    type Piece;
    type Result;

    /// The next piece. None: there is none until all results are back. `is_back`: they are; then there is none at all.
    fn take(&mut self, is_back: bool) -> Option<Self::Piece>;

    /// Uses the result of a piece, in the order in which the pieces were taken. False: no more pieces are to be taken,
    /// and no more results used.
    fn use_up(&mut self, result: Self::Result) -> bool;
}

struct Desk<'s, S: Source> {
    source: &'s mut S,
    taken: usize,
    used: usize,
    waiting: BTreeMap<usize, S::Result>,
    over: bool,
    panic: Option<Box<dyn Any + Send>>,
}

/// Does all the work there is. Each thread makes a tool of its own with `tool` and works with that; the calling thread
/// is one of them.
///
/// # Panics
/// When a thread does, as it did.
pub(super) fn side_by_side<S, T>(
    threads: usize,
    source: &mut S,
    tool: impl Fn() -> T + Sync,
    work: impl Fn(&mut T, S::Piece) -> S::Result + Sync,
) where
    S: Source + Send,
    S::Result: Send,
{
    let waiting = BTreeMap::new();
    let desk = Mutex::new(Desk { source, taken: 0, used: 0, waiting, over: false, panic: None });
    let changed = Condvar::new();
    let labour = || {
        let done = catch_unwind(AssertUnwindSafe(|| {
            let mut tool = tool();
            while let Some((number, piece)) = take(&desk, &changed, threads * MOST_WAITING) {
                let result = work(&mut tool, piece);
                give(&desk, &changed, number, result);
            }
        }));
        if let Err(panic) = done {
            let mut desk = lock(&desk);
            desk.over = true;
            desk.panic.get_or_insert(panic);
            changed.notify_all();
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(labour);
        }
        labour();
    });
    if let Some(panic) = desk.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).panic {
        resume_unwind(panic);
    }
}

/// The next piece, as soon as there is one.
fn take<S: Source>(desk: &Mutex<Desk<'_, S>>, changed: &Condvar, most: usize) -> Option<(usize, S::Piece)> {
    let mut desk = lock(desk);
    loop {
        if desk.over {
            return None;
        }
        let is_back = desk.taken == desk.used;
        if desk.taken - desk.used < most {
            if let Some(piece) = desk.source.take(is_back) {
                desk.taken += 1;
                return Some((desk.taken - 1, piece));
            }
            if is_back {
                desk.over = true;
                changed.notify_all();
                return None;
            }
        }
        desk = changed.wait(desk).unwrap_or_else(std::sync::PoisonError::into_inner);
    }
}

fn give<S: Source>(desk: &Mutex<Desk<'_, S>>, changed: &Condvar, number: usize, result: S::Result) {
    let desk = &mut *lock(desk);
    desk.waiting.insert(number, result);
    while let Some(result) = desk.waiting.remove(&desk.used).filter(|_| !desk.over) {
        desk.used += 1;
        desk.over |= !desk.source.use_up(result);
    }
    changed.notify_all();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in rounds: each round has as many as the one before had results, up to a limit.
    struct Rounds {
        left: usize,
        next: usize,
        used: Vec<usize>,
        stop_at: usize,
    }

    impl Source for Rounds {
        type Piece = usize;
        type Result = usize;

        fn take(&mut self, is_back: bool) -> Option<usize> {
            if self.left == 0 && is_back && self.used.len() < 500 {
                self.left = self.used.len() + 1;
            }
            self.left = self.left.checked_sub(1)?;
            self.next += 1;
            Some(self.next - 1)
        }

        fn use_up(&mut self, result: usize) -> bool {
            self.used.push(result);
            result != self.stop_at
        }
    }

    fn squares(threads: usize, stop_at: usize) -> Vec<usize> {
        let mut rounds = Rounds { left: 0, next: 0, used: Vec::new(), stop_at };
        let work = |turns: &mut u64, number: usize| {
            *turns += 1;
            // Some take longer than others.
            (0..number % 7 * 1_000).for_each(|_| std::hint::spin_loop());
            number * number
        };
        side_by_side(threads, &mut rounds, || 0, work);
        rounds.used
    }

    #[test]
    fn results_are_used_in_order_whoever_did_the_work() {
        let expected: Vec<_> = (0..511).map(|number| number * number).collect();
        for threads in [1, 2, 3, 8] {
            assert_eq!(squares(threads, usize::MAX), expected, "{threads} threads");
        }
    }

    #[test]
    fn after_the_last_result_that_is_wanted_none_is_used() {
        for threads in [1, 2, 3, 8] {
            assert_eq!(squares(threads, 100), (0..=10).map(|number| number * number).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_panic_ends_the_work_of_all_and_is_the_callers() {
        for threads in [1, 2, 4] {
            let mut rounds = Rounds { left: 100, next: 0, used: Vec::new(), stop_at: usize::MAX };
            let work = |(): &mut (), number: usize| match number {
                50 => resume_unwind(Box::new("no such square")),
                number => number,
            };
            let all = AssertUnwindSafe(|| side_by_side(threads, &mut rounds, || (), work));
            let panic = catch_unwind(all).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"no such square"), "{threads} threads");
            assert!(rounds.used.len() <= 50 && rounds.used.is_sorted(), "{:?}", rounds.used);
        }
    }
}

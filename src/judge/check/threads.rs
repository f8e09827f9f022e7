//! Distributes work to several threads in pieces, and uses the results in the order in which the pieces were taken, so
//! that the result does not depend on the number of threads.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::PoisonError;
#[cfg(not(all(test, feature = "loom")))]
use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(all(test, feature = "loom"))]
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The maximum number of pieces per thread that are in progress or waiting for earlier ones, to bound what waits.
const MOST_WAITING: usize = 4;

/// Provides pieces of work, and takes their results.
pub(super) trait Source {
    type Piece;
    type Result;

    /// Returns the next piece, or `None` if no piece is left until all results are back. If `is_back`, they are, and
    /// `None` is final.
    fn take(&mut self, is_back: bool) -> Option<Self::Piece>;

    /// Uses the result of a piece, in the order in which the pieces were taken. Returns false if no more pieces and
    /// results are wanted.
    fn use_up(&mut self, result: Self::Result) -> bool;
}

impl<S: Source> Source for &mut S {
    type Piece = S::Piece;
    type Result = S::Result;

    fn take(&mut self, is_back: bool) -> Option<Self::Piece> {
        (**self).take(is_back)
    }

    fn use_up(&mut self, result: Self::Result) -> bool {
        (**self).use_up(result)
    }
}

/// The state that the threads share.
struct Desk<S: Source> {
    papers: Mutex<Papers<S>>,
    changed: Condvar,
    /// The maximum number of pieces that are in progress or waiting for earlier ones.
    most: usize,
}

struct Papers<S: Source> {
    source: S,
    taken: usize,
    used: usize,
    waiting: BTreeMap<usize, S::Result>,
    over: bool,
    panic: Option<Box<dyn Any + Send>>,
}

/// Does all the work. Each thread, including the calling one, makes its own tool with `tool`, and works with it.
///
/// # Panics
/// Panics if a thread panics, with the same payload.
pub(super) fn side_by_side<S, T>(
    threads: usize,
    source: &mut S,
    tool: impl Fn() -> T + Sync,
    work: impl Fn(&mut T, S::Piece) -> S::Result + Sync,
) where
    S: Source + Send,
    S::Result: Send,
{
    let desk = Desk::new(source, threads);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| desk.labour(&tool, &work));
        }
        desk.labour(&tool, &work);
    });
    if let Some(panic) = desk.papers.into_inner().unwrap_or_else(PoisonError::into_inner).panic {
        resume_unwind(panic);
    }
}

impl<S: Source> Desk<S> {
    fn new(source: S, threads: usize) -> Self {
        let waiting = BTreeMap::new();
        let papers = Mutex::new(Papers { source, taken: 0, used: 0, waiting, over: false, panic: None });
        Self { papers, changed: Condvar::new(), most: threads * MOST_WAITING }
    }

    #[track_caller]
    fn lock(&self) -> MutexGuard<'_, Papers<S>> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until nothing is left.
    fn labour<T>(&self, tool: &impl Fn() -> T, work: &impl Fn(&mut T, S::Piece) -> S::Result) {
        let done = catch_unwind(AssertUnwindSafe(|| {
            let mut tool = tool();
            while let Some((number, piece)) = self.take() {
                let result = work(&mut tool, piece);
                self.give(number, result);
            }
        }));
        if let Err(panic) = done {
            let mut papers = self.lock();
            papers.over = true;
            papers.panic.get_or_insert(panic);
            self.changed.notify_all();
        }
    }

    /// Waits for the next piece.
    fn take(&self) -> Option<(usize, S::Piece)> {
        let mut papers = self.lock();
        loop {
            if papers.over {
                return None;
            }
            let is_back = papers.taken == papers.used;
            if papers.taken - papers.used < self.most {
                if let Some(piece) = papers.source.take(is_back) {
                    papers.taken += 1;
                    return Some((papers.taken - 1, piece));
                }
                if is_back {
                    papers.over = true;
                    self.changed.notify_all();
                    return None;
                }
            }
            papers = self.changed.wait(papers).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give(&self, number: usize, result: S::Result) {
        let papers = &mut *self.lock();
        papers.waiting.insert(number, result);
        while let Some(result) = papers.waiting.remove(&papers.used).filter(|_| !papers.over) {
            papers.used += 1;
            papers.over |= !papers.source.use_up(result);
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Provides numbers in rounds. Each round has as many as the previous one had results, up to a limit.
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
            // Some pieces take longer than others.
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

#[cfg(all(test, feature = "loom"))]
mod modelled {
    use std::sync::Arc;

    use super::*;
    use crate::thread;

    /// A fixed number of pieces, none of which may be taken while some are in progress.
    struct Pieces {
        left: usize,
        used: Vec<usize>,
        /// The number of results that are wanted.
        wanted: usize,
    }

    impl Pieces {
        fn new(left: usize) -> Self {
            Self { left, used: Vec::new(), wanted: usize::MAX }
        }
    }

    impl Source for Pieces {
        type Piece = usize;
        type Result = usize;

        fn take(&mut self, _: bool) -> Option<usize> {
            self.left = self.left.checked_sub(1)?;
            Some(self.left)
        }

        fn use_up(&mut self, result: usize) -> bool {
            self.used.push(result);
            self.used.len() < self.wanted
        }
    }

    /// Both threads finish in every interleaving, and their results are used in the order in which the pieces were
    /// taken. The standard library guarantees that `side_by_side` waits for its threads. Loom has no scoped threads.
    #[test]
    fn two_at_a_desk_come_to_an_end() {
        crate::memory::Model::new().max_preemptions(2).check(|| {
            let desk = Arc::new(Desk::new(Pieces::new(2), 2));
            let others = desk.clone();
            let other = thread::spawn(move || others.labour(&|| (), &|(), piece| piece));
            desk.labour(&|| (), &|(), piece| piece);
            other.join().unwrap();
            let papers = desk.lock();
            assert_eq!(papers.source.used, [1, 0]);
            assert!(papers.over && papers.panic.is_none());
        });
    }

    /// A thread that waits for the other's result learns that no more results are wanted.
    #[test]
    fn one_that_has_enough_ends_the_work_of_the_other() {
        crate::memory::Model::new().max_preemptions(2).check(|| {
            let desk = Arc::new(Desk::new(Pieces { wanted: 1, ..Pieces::new(2) }, 2));
            let others = desk.clone();
            let other = thread::spawn(move || others.labour(&|| (), &|(), piece| piece));
            desk.labour(&|| (), &|(), piece| piece);
            other.join().unwrap();
            assert_eq!(desk.lock().source.used, [1]);
        });
    }

    #[test]
    fn a_panic_of_one_ends_the_work_of_the_other() {
        crate::memory::Model::new().max_preemptions(2).check(|| {
            let desk = Arc::new(Desk::new(Pieces::new(1), 2));
            let others = desk.clone();
            let work = |(): &mut (), _: usize| resume_unwind(Box::new("no such piece"));
            let other = thread::spawn(move || others.labour(&|| (), &work));
            desk.labour(&|| (), &work);
            other.join().unwrap();
            assert!(desk.lock().panic.is_some());
        });
    }
}

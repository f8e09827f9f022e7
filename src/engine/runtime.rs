//! The tokio context of a process: paused, tied to the world's clock, taken from a pool and returned while clean.

#[cfg(feature = "tokio")]
pub(crate) use with_tokio::{Context, Pool, is_driven_here, lend, poll_once, wait};
#[cfg(not(feature = "tokio"))]
pub(crate) use without::{Context, Pool, is_driven_here, lend, poll_once, wait};

#[cfg(feature = "tokio")]
mod with_tokio {
    use std::cell::{Cell, RefCell};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::pin::pin;
    use std::rc::Rc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};
    use std::task::{Context as TaskContext, Poll, Waker};
    use std::time::Duration;

    use tokio::runtime::{Builder, Handle, Runtime};
    use tokio::time::{Instant, advance, sleep_until};

    use crate::engine::life::{self, Life, LifeSlot};
    use crate::engine::panics;
    use crate::engine::state::{WakeQueue, lock};

    /// Tokio's timers reach two years into the future. No wait of a job is longer than this.
    const HORIZON: Duration = Duration::from_secs(365 * 86_400);

    /// A runtime that may be dropped anywhere, including inside another runtime.
    #[derive(Debug)]
    struct OwnedRuntime(Option<Runtime>);

    impl std::ops::Deref for OwnedRuntime {
        type Target = Runtime;

        fn deref(&self) -> &Runtime {
            self.0.as_ref().expect("it is there until it is dropped")
        }
    }

    impl Drop for OwnedRuntime {
        fn drop(&mut self) {
            self.0.take().into_iter().for_each(Runtime::shutdown_background);
        }
    }

    /// Is called when a runtime has nothing to do and would wait for sockets or advance time.
    #[derive(Debug, Default)]
    struct IdleMonitor {
        is_watched: AtomicBool,
        times: AtomicU32,
        /// The number of calls that are ignored first.
        let_pass: AtomicU32,
        driver: Mutex<Option<Waker>>,
    }

    impl IdleMonitor {
        fn watch(&self, let_pass: u32) {
            self.times.store(0, Ordering::SeqCst);
            self.let_pass.store(let_pass, Ordering::SeqCst);
            self.is_watched.store(true, Ordering::SeqCst);
        }

        fn end(&self) {
            self.is_watched.store(false, Ordering::SeqCst);
            *lock(&self.driver) = None;
        }

        /// A runtime that is woken here still polls its sockets, but does not advance time.
        fn hear(&self) {
            if !self.is_watched.load(Ordering::Relaxed) {
                return;
            }
            if self.times.fetch_add(1, Ordering::SeqCst) >= self.let_pass.load(Ordering::SeqCst) {
                if let Some(driver) = &*lock(&self.driver) {
                    driver.wake_by_ref();
                }
            }
        }

        fn times(&self) -> u32 {
            self.times.load(Ordering::SeqCst)
        }
    }

    #[derive(Debug)]
    struct CleanRuntime {
        runtime: OwnedRuntime,
        started: Instant,
        /// The owner of its threads for blocking tasks.
        owner: LifeSlot,
        /// Whether it has such threads. Code on them cannot be ended, so the runtime is not reused.
        has_threads: Arc<AtomicBool>,
        idle: Arc<IdleMonitor>,
    }

    thread_local! {
        /// Whether the first context that this thread entered belongs to this crate.
        static IS_OURS: Cell<bool> = const { Cell::new(false) };
        /// The current context of this thread, in worlds with external systems.
        static HERE: RefCell<Option<Rc<CleanRuntime>>> = const { RefCell::new(None) };
        /// Whether this thread is driving it now.
        static IS_DRIVEN: Cell<bool> = const { Cell::new(false) };
        /// The runtime for the test body's own external calls, in real time. It is kept so that connections can be
        /// kept, too.
        static REAL: RefCell<Option<Rc<OwnedRuntime>>> = const { RefCell::new(None) };
    }

    /// Restores the former context of this thread.
    struct RestoreGuard(Option<Rc<CleanRuntime>>);

    impl Drop for RestoreGuard {
        fn drop(&mut self) {
            HERE.set(self.0.take());
        }
    }

    /// Waits for an external call of the test body, in real time.
    pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
        let real = REAL.with_borrow_mut(|real| {
            let build = || Builder::new_current_thread().enable_all().build();
            let build =
                || Rc::new(OwnedRuntime(Some(build().expect("a current-thread tokio runtime can be built"))));
            real.get_or_insert_with(build).clone()
        });
        real.block_on(future)
    }

    /// Reports whether this thread cannot wait for a call: it drives a context already, or is in none.
    pub(crate) fn is_driven_here() -> bool {
        IS_DRIVEN.get() || HERE.with_borrow(|here| here.as_ref().is_none_or(|here| !here.is_alone()))
    }

    /// Polls until the future has ended or cannot continue immediately, in the current context of this thread,
    /// together with the tasks spawned in it. Time does not advance.
    pub(crate) fn poll_once<T>(mut poll: impl FnMut(&mut TaskContext<'_>) -> Poll<T>) -> Poll<T> {
        struct EndGuard<'c>(&'c CleanRuntime, bool);
        impl Drop for EndGuard<'_> {
            fn drop(&mut self) {
                self.0.idle.end();
                IS_DRIVEN.set(self.1);
            }
        }
        let here = HERE.with_borrow(Clone::clone).expect("a call is made in the context of a process");
        here.idle.watch(0);
        let _end = EndGuard(&here, IS_DRIVEN.replace(true));
        here.runtime.block_on(std::future::poll_fn(|cx| {
            *lock(&here.idle.driver) = Some(cx.waker().clone());
            match poll(cx) {
                Poll::Ready(value) => Poll::Ready(Poll::Ready(value)),
                // It polls its sockets between the first time and the last.
                Poll::Pending if here.idle.times() > 1 => Poll::Ready(Poll::Pending),
                Poll::Pending => Poll::Pending,
            }
        }))
    }

    /// Records that a context was entered, until this is dropped.
    struct EnterGuard(bool);

    impl EnterGuard {
        fn now() -> Self {
            Self(IS_OURS.replace(IS_OURS.get() || Handle::try_current().is_err()))
        }
    }

    impl Drop for EnterGuard {
        fn drop(&mut self) {
            IS_OURS.set(self.0);
        }
    }

    impl CleanRuntime {
        /// Reports whether this thread may drive the runtime although it has entered a context, because it does not
        /// drive one. A thread that entered one of this crate's contexts first does not drive one, unless user code
        /// does so inside it. The only way to know is to try.
        fn is_alone(&self) -> bool {
            IS_OURS.get() && catch_unwind(AssertUnwindSafe(|| self.runtime.block_on(async {}))).is_ok()
        }

        /// Drives the runtime. Inside another runtime (`#[tokio::test]`) this needs a thread of its own, because a
        /// thread can drive only one.
        fn block_on<R: Send>(&self, future: impl Future<Output = R> + Send) -> R {
            if Handle::try_current().is_err() || self.is_alone() {
                return self.runtime.block_on(future);
            }
            let life = lock(&self.owner).clone();
            let driven = std::thread::scope(|scope| {
                let drive = || match &life {
                    Some(life) => life::run_as_crashable(life, || self.runtime.block_on(future)),
                    None => self.runtime.block_on(future),
                };
                scope.spawn(drive).join()
            });
            driven.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }
    }

    /// Reusable runtimes without tasks. Building one costs more than a run.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Pool(Rc<RefCell<Vec<Rc<CleanRuntime>>>>);

    impl Pool {
        fn take(&self) -> Rc<CleanRuntime> {
            self.0.borrow_mut().pop().unwrap_or_else(|| {
                let (owner, has_threads) = (LifeSlot::default(), Arc::new(AtomicBool::new(false)));
                let (lent, asks, parks, threads) =
                    (owner.clone(), owner.clone(), owner.clone(), has_threads.clone());
                let idle = Arc::<IdleMonitor>::default();
                let hears = idle.clone();
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .start_paused(true)
                    // Otherwise every 31st turn since the runtime was built polls another queue first, and a reused
                    // runtime would run the same tasks in another order.
                    .global_queue_interval(1)
                    // Called when a thread is requested, before it starts. The process may be dead by the time that
                    // it runs.
                    .thread_name_fn(move || {
                        threads.store(true, Ordering::SeqCst);
                        if let Some(life) = &*lock(&asks) {
                            life.shared.threads.ask();
                        }
                        "tokio-rt-worker".to_owned()
                    })
                    // Each thread ends with its task: see `PoolThreads`.
                    .thread_keep_alive(Duration::ZERO)
                    .on_thread_park(move || {
                        // The threads use the slot, too.
                        let life = lock(&parks).clone();
                        life.into_iter().for_each(|life| life.shared.rest_threads());
                        hears.hear();
                    })
                    .on_thread_start(move || {
                        panics::keep_quiet();
                        life::lend_thread(lent.clone());
                        let life = lock(&lent).clone();
                        life.into_iter().for_each(|life| life.shared.begin_thread());
                    })
                    .build()
                    .expect("a current-thread tokio runtime can be built");
                let started = {
                    let _entered = runtime.enter();
                    Instant::now()
                };
                Rc::new(CleanRuntime {
                    runtime: OwnedRuntime(Some(runtime)),
                    started,
                    owner,
                    has_threads,
                    idle,
                })
            })
        }
    }

    /// The tokio context of one incarnation. It costs nothing until something is polled in it.
    #[derive(Debug)]
    pub(crate) struct Context {
        pool: Pool,
        used: Option<PooledRuntime>,
    }

    #[derive(Debug)]
    struct PooledRuntime {
        clean: Rc<CleanRuntime>,
        /// The number of tasks when all of them last waited.
        resting: usize,
        /// The same moment on both clocks.
        world: Duration,
        tokio: Instant,
    }

    impl Context {
        pub(crate) fn new(pool: Pool) -> Self {
            Self { pool, used: None }
        }

        fn used(&mut self, now: Duration) -> &mut PooledRuntime {
            let used = self.used.get_or_insert_with(|| {
                let clean = self.pool.take();
                let tokio = {
                    let _entered = clean.runtime.enter();
                    // Tokio's timers tick in milliseconds since the runtime was built. Start at a whole one, so that
                    // rounding is the same in every run.
                    let past = (Instant::now() - clean.started).subsec_nanos() % 1_000_000;
                    if past != 0 {
                        go_forward(Duration::from_nanos(u64::from(1_000_000 - past)));
                    }
                    Instant::now()
                };
                PooledRuntime { clean, resting: 0, world: now, tokio }
            });
            if now > used.world {
                let _entered = used.clean.runtime.enter();
                go_forward(now - used.world);
                used.world = now;
                used.tokio = Instant::now();
            }
            used
        }

        /// Runs `code` with this context as tokio's current one.
        pub(crate) fn within<R>(&mut self, now: Duration, life: &Arc<Life>, code: impl FnOnce() -> R) -> R {
            if self.used.is_none() {
                *lock(&self.used(now).clean.owner) = Some(life.clone());
            }
            if life.shared.externals.have_calls() {
                let here = self.used(now).clean.clone();
                let _former = RestoreGuard(HERE.replace(Some(here)));
                return self.within_test(now, code);
            }
            self.within_test(now, code)
        }

        /// The same for the test body, which is not a process.
        pub(crate) fn within_test<R>(&mut self, now: Duration, code: impl FnOnce() -> R) -> R {
            let runtime = &self.used(now).clean.runtime;
            let _ours = EnterGuard::now();
            let _entered = runtime.enter();
            code()
        }

        /// Reports whether spawned tasks have not ended.
        pub(crate) fn has_tasks(&self) -> bool {
            self.used.as_ref().is_some_and(|used| used.clean.runtime.metrics().num_alive_tasks() > 0)
        }

        /// Reports whether it has threads for blocking tasks. While one of them works, its clock does not advance.
        pub(crate) fn has_threads(&self) -> bool {
            self.used.as_ref().is_some_and(|used| used.clean.has_threads.load(Ordering::SeqCst))
        }

        /// Lets spawned tasks run for a turn, without advancing time.
        pub(crate) fn turn(&mut self, now: Duration) {
            let used = self.used(now);
            used.clean.block_on(async {
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            });
        }

        /// Lets spawned tasks run until all of them wait, without advancing time. Data that has arrived at a socket
        /// is read.
        pub(crate) fn rest(&mut self, now: Duration) {
            if self.used.is_none() {
                return;
            }
            let clean: &CleanRuntime = &self.used(now).clean;
            clean.idle.watch(0);
            clean.block_on(std::future::poll_fn(|cx| {
                *lock(&clean.idle.driver) = Some(cx.waker().clone());
                // It polls its sockets twice between the first time and the last.
                match clean.idle.times() > 2 {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            }));
            clean.idle.end();
        }

        /// Reports whether it was already driven past `limit`. This happens if another process called the executor
        /// earlier.
        pub(crate) fn is_past(&self, limit: Duration) -> bool {
            self.used.as_ref().is_some_and(|used| used.world > limit)
        }

        /// Reports whether there are more tasks than when all of them last waited.
        pub(crate) fn has_new_tasks(&mut self) -> bool {
            self.used.as_mut().is_some_and(|used| {
                let alive = used.clean.runtime.metrics().num_alive_tasks();
                let more = alive > used.resting;
                used.resting = used.resting.min(alive);
                more
            })
        }

        /// Treats all current tasks as permanent.
        pub(crate) fn leave_tasks(&mut self) {
            if let Some(used) = &mut self.used {
                used.resting = used.clean.runtime.metrics().num_alive_tasks();
            }
        }

        /// Lets spawned tasks and timers run until the executor is needed, or until `limit`. With `in_steps` it stops
        /// at each timer, because data that a task then writes to a socket must arrive before time advances. Returns
        /// the time at the end, and whether the executor is needed.
        pub(crate) fn drive(
            &mut self,
            now: Duration,
            limit: Option<Duration>,
            woken: &WakeQueue,
            in_steps: bool,
        ) -> (Duration, bool) {
            let used = self.used(now);
            let idle = used.clean.idle.clone();
            if in_steps {
                idle.watch(1);
            }
            let wait = limit.map_or(HORIZON, |limit| (limit.saturating_sub(used.world)).min(HORIZON));
            let until = used.tokio + wait;
            let called = used.clean.block_on(async {
                let mut over = pin!(sleep_until(until));
                std::future::poll_fn(|cx| {
                    woken.set_driver(Some(cx.waker().clone()));
                    if in_steps {
                        *lock(&idle.driver) = Some(cx.waker().clone());
                    }
                    if woken.is_called_for() || (in_steps && idle.times() > 1) {
                        return Poll::Ready(true);
                    }
                    over.as_mut().poll(cx).map(|()| false)
                })
                .await
            });
            woken.set_driver(None);
            if in_steps {
                idle.end();
            }
            let passed = {
                let _entered = used.clean.runtime.enter();
                Instant::now() - used.tokio
            };
            used.tokio += passed;
            used.world += passed;
            (used.world, called)
        }

        /// Ends the context: its tasks die. A runtime without tasks goes back into the pool.
        pub(crate) fn end(&mut self) {
            let has_tasks = self.has_tasks();
            let Some(used) = self.used.take() else { return };
            if used.clean.has_threads.load(Ordering::SeqCst) {
                // Threads that have not begun find that the runtime is gone.
                let life = lock(&used.clean.owner).clone();
                drop(used);
                life.into_iter().for_each(|life| life.shared.threads.dismiss());
            } else if !has_tasks {
                *lock(&used.clean.owner) = None;
                self.pool.0.borrow_mut().push(used.clean);
            }
        }
    }

    /// The current context of this thread, for use on another thread.
    pub(crate) struct RuntimeLoan(Option<Handle>);

    pub(crate) fn lend() -> RuntimeLoan {
        RuntimeLoan(Handle::try_current().ok())
    }

    impl RuntimeLoan {
        /// Runs `code` in the context.
        pub(crate) fn within<R>(&self, code: impl FnOnce() -> R) -> R {
            let _entered = self.0.as_ref().map(Handle::enter);
            code()
        }
    }

    /// Advances tokio's clock. The future advances it when it is first polled, and then only yields.
    fn go_forward(by: Duration) {
        let mut cx = TaskContext::from_waker(Waker::noop());
        let _ = pin!(advance(by)).as_mut().poll(&mut cx);
    }
}

#[cfg(not(feature = "tokio"))]
mod without {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context as TaskContext, Poll, Wake, Waker};
    use std::thread::{self, Thread};
    use std::time::Duration;

    use crate::engine::life::Life;
    use crate::engine::state::WakeQueue;

    struct ParkedThread(Thread);

    impl Wake for ParkedThread {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Waits for an external call of the test body.
    pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(ParkedThread(thread::current())));
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
                return value;
            }
            thread::park();
        }
    }

    pub(crate) fn is_driven_here() -> bool {
        false
    }

    /// Polls once.
    pub(crate) fn poll_once<T>(mut poll: impl FnMut(&mut TaskContext<'_>) -> Poll<T>) -> Poll<T> {
        poll(&mut TaskContext::from_waker(Waker::noop()))
    }

    #[derive(Clone, Debug, Default)]
    pub(crate) struct Pool {}

    pub(crate) struct RuntimeLoan;

    pub(crate) fn lend() -> RuntimeLoan {
        RuntimeLoan
    }

    impl RuntimeLoan {
        pub(crate) fn within<R>(&self, code: impl FnOnce() -> R) -> R {
            code()
        }
    }

    #[derive(Debug)]
    pub(crate) struct Context;

    impl Context {
        pub(crate) fn new(_: Pool) -> Self {
            Self
        }

        pub(crate) fn within<R>(&mut self, _: Duration, _: &Arc<Life>, code: impl FnOnce() -> R) -> R {
            code()
        }

        pub(crate) fn within_test<R>(&mut self, _: Duration, code: impl FnOnce() -> R) -> R {
            code()
        }

        pub(crate) fn has_tasks(&self) -> bool {
            false
        }

        pub(crate) fn has_threads(&self) -> bool {
            false
        }

        pub(crate) fn is_past(&self, _: Duration) -> bool {
            false
        }

        pub(crate) fn has_new_tasks(&mut self) -> bool {
            false
        }

        pub(crate) fn leave_tasks(&mut self) {}

        pub(crate) fn turn(&mut self, _: Duration) {}

        pub(crate) fn rest(&mut self, _: Duration) {}

        /// Without tokio nothing runs on its own. Time simply advances.
        pub(crate) fn drive(
            &mut self,
            now: Duration,
            limit: Option<Duration>,
            woken: &WakeQueue,
            _: bool,
        ) -> (Duration, bool) {
            woken.set_driver(None);
            (limit.unwrap_or(now), woken.is_called_for())
        }

        pub(crate) fn end(&mut self) {}
    }
}

//! Outside of a model, the types are those of the standard library.

use std::cell::Cell;
use std::time::Duration;

use retryproof::model::Model;
use retryproof::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst, fence};
use retryproof::sync::{Arc, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock, mpsc};
use retryproof::thread;

retryproof::thread_local! {
    static DEPTH: Cell<u32> = Cell::new(1);
}

static COUNT: LazyLock<Mutex<u32>> = LazyLock::new(|| Mutex::new(1));

#[test]
fn they_work_between_threads_of_the_operating_system() {
    let shared = Arc::new((AtomicU32::new(0), Mutex::new(0), Condvar::new(), RwLock::new(0)));
    let others = shared.clone();
    let other = thread::Builder::new().name("other".to_owned()).spawn(move || {
        others.0.fetch_add(1, SeqCst);
        *others.1.lock().unwrap() += 1;
        others.2.notify_all();
        *others.3.write().unwrap() += 1;
        fence(SeqCst);
        thread::current().name().map(str::to_owned)
    });
    let (_, lock, changed, _) = &*shared;
    drop(changed.wait_while(lock.lock().unwrap(), |number| *number == 0).unwrap());
    assert_eq!(other.unwrap().join().unwrap().as_deref(), Some("other"));
    assert_eq!((shared.0.load(SeqCst), *shared.3.read().unwrap()), (1, 1));
    assert!(shared.1.try_lock().is_ok());
    let (_, timed_out) = shared.2.wait_timeout(shared.1.lock().unwrap(), Duration::from_millis(1)).unwrap();
    assert!(timed_out.timed_out());
    assert_eq!(Arc::strong_count(&shared), 1);
    assert!(Arc::try_unwrap(shared).is_ok());
}

#[test]
fn channels_and_what_is_made_once() {
    let (sender, receiver) = mpsc::channel();
    let worker = thread::spawn(move || receiver.iter().sum::<u32>());
    sender.clone().send(1).unwrap();
    sender.send(2).unwrap();
    drop(sender);
    assert_eq!(worker.join().unwrap(), 3);
    let once = OnceLock::new();
    assert_eq!((once.get(), once.get_or_init(|| 6), once.set(7)), (None, &6, Err(7)));
    let (called, calls) = (Once::new(), AtomicU32::new(0));
    called.call_once(|| {
        calls.fetch_add(1, SeqCst);
    });
    called.call_once(|| {
        calls.fetch_add(1, SeqCst);
    });
    assert!(called.is_completed());
    assert_eq!(calls.into_inner(), 1);
}

#[test]
fn a_thread_that_panics_is_joined_as_ever_and_poisons() {
    let lock = Arc::new(Mutex::new(0));
    let others = lock.clone();
    let other = thread::spawn(move || {
        let _held = others.lock();
        std::panic::resume_unwind(Box::new("gone"));
    });
    assert_eq!(other.join().unwrap_err().downcast_ref(), Some(&"gone"));
    assert!(lock.is_poisoned());
}

#[test]
fn a_static_has_one_value_outside_and_one_in_each_execution() {
    *COUNT.lock().unwrap() += 1;
    let model = || {
        let other = thread::spawn(|| {
            DEPTH.with(|depth| depth.set(depth.get() + 1));
            *COUNT.lock().unwrap() += 10;
        });
        *COUNT.lock().unwrap() += 10;
        other.join().unwrap();
        assert_eq!(*COUNT.lock().unwrap(), 21);
        assert_eq!(DEPTH.with(Cell::get), 1, "another thread's");
    };
    Model::new().check(model);
    assert_eq!(*COUNT.lock().unwrap(), 2);
    assert_eq!(DEPTH.with(Cell::get), 1);
}

#[test]
fn models_run_side_by_side() {
    // On threads of the operating system, which share one static.
    let all: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn(|| {
                Model::new().check(|| {
                    let other = retryproof::thread::spawn(|| *COUNT.lock().unwrap() += 1);
                    *COUNT.lock().unwrap() += 1;
                    other.join().unwrap();
                    assert_eq!(*COUNT.lock().unwrap(), 3);
                });
            })
        })
        .collect();
    all.into_iter().for_each(|one| one.join().unwrap());
}

#[tokio::test]
async fn a_model_runs_beside_tokio() {
    tokio::time::sleep(Duration::from_millis(1)).await;
    Model::new().check(|| {
        let is_set = Arc::new(AtomicBool::new(false));
        let sets = is_set.clone();
        let other = thread::spawn(move || sets.store(true, SeqCst));
        other.join().unwrap();
        assert!(is_set.load(SeqCst));
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[test]
fn what_may_be_sent_and_shared_is_what_it_is_in_the_standard_library() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Arc<AtomicU32>>();
    is_shared::<Mutex<Cell<u32>>>();
    is_shared::<RwLock<u32>>();
    is_shared::<OnceLock<u32>>();
    is_shared::<LazyLock<u32>>();
    is_shared::<Condvar>();
    is_shared::<mpsc::Sender<u32>>();
    is_shared::<thread::JoinHandle<u32>>();
    is_shared::<retryproof::model::ModelReport>();
}

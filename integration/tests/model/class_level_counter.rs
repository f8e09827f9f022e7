//! A counter that the threads of a worker share (feature `loom`), with no await and no crash point between its steps.

use retryproof::model::{Model, ModelReport};
use retryproof::sync::LazyLock;
use retryproof::sync::atomic::{AtomicU32, Ordering::SeqCst};
use retryproof::{Verdict, thread};

const HEAD: &str = include_str!("../../../tests/zoo/models.md");

static SENT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(0));

fn counting(name: &'static str, job: fn()) -> ModelReport {
    Model::new().name(name).run(move || {
        let workers = [thread::spawn(job), thread::spawn(job)];
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!(SENT.load(SeqCst), 2, "an email was not counted");
    })
}

fn read_add_write() {
    SENT.store(SENT.load(SeqCst) + 1, SeqCst);
}

fn add() {
    SENT.fetch_add(1, SeqCst);
}

fn rows() -> Vec<String> {
    let kept = [("read, add, write", read_add_write as fn()), ("`fetch_add`", add)];
    let row = |(job, run)| {
        let report = counting("counter", run);
        let last = report.steps().iter().rfind(|step| step.thread > 0).filter(|_| report.summary().is_some());
        let last = last.map_or("–".to_owned(), |step| format!("`{}`", step.operation));
        let (verdict, executions) = (report.verdict(), report.executions());
        format!("| class-level counter | {job} | {verdict:?} | {last} | {executions} |")
    };
    kept.into_iter().map(row).collect()
}

/// Compares the second table of ZOO.md with what was found, or writes it.
fn shows_models(rows: &[String]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../ZOO.md");
    let page = std::fs::read_to_string(&path).expect("ZOO.md can be read");
    let (before, shown) = page.split_once(HEAD).expect("ZOO.md has the head of the second table");
    let found: String = rows.iter().map(|row| format!("{row}\n")).collect();
    if std::env::var_os("RETRYPROOF_BLESS").is_some() {
        return std::fs::write(&path, format!("{before}{HEAD}{found}")).expect("ZOO.md can be written");
    }
    assert_eq!(shown, found, "ZOO.md shows other models");
}

#[test]
fn class_level_counter() {
    let lost = counting("read, add, write", read_add_write);
    assert_eq!(lost.verdict(), Verdict::Violated, "{lost}");
    // A part: the text of a panic has its place in this file.
    assert!(lost.summary().unwrap().contains("an email was not counted"), "{lost}");
    // Both threads have read 0 before either has written.
    let steps = lost.steps().iter().filter(|step| step.thread > 0).map(|step| step.operation.as_str());
    let steps: Vec<_> = steps.filter(|step| step.starts_with("AtomicU32")).collect();
    let (load, store) = ("AtomicU32#1.load(SeqCst) → 0", "AtomicU32#1.store(1, SeqCst)");
    assert_eq!(steps, [load, load, store, store], "{lost}");

    let counted = counting("fetch_add", add);
    assert_eq!((counted.verdict(), counted.exhausted()), (Verdict::RetryProof, true), "{counted}");
    shows_models(&rows());
}

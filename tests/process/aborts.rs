//! Builds and jobs that abort: refused at once, or reported before the abort.
//!
//! A part: the output of a process has paths, seeds and times that differ in each run.

use std::process::Command;

use expect_test::expect;
use retryproof::service::payments::Charge;
use retryproof::{ServiceError, World};

use crate::support::has_line;
use crate::support::own_test;

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the second panic");
    }
}

#[retryproof::test(deviations = 1)]
#[ignore = "aborts on purpose; run by the test beside it"]
async fn panics_twice(world: &World) {
    world.process("worker", |p| {
        let payments = p.payments();
        p.handle(async move |order: u32| {
            let bomb = Bomb;
            payments.charge(Charge::of_order(order, 500).key("k")).await.expect("the first panic");
            std::mem::forget(bomb);
            Ok::<(), ServiceError>(())
        });
    });
    world.enqueue(1_u32);
    world.settle().await;
}

#[test]
fn a_second_panic_aborts_and_the_replay_line_is_told_before() {
    let output = own_test(module_path!(), "panics_twice").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(told.contains("the first panic") || told.contains("the second panic"), "{told}");
    has_line(
        &told,
        expect![[
            r#"RETRYPROOF_REPLAY='aborts::panics_twice job#1.1/payments.charge:call=unavailable' cargo test"#
        ]],
    );
}

const MANIFEST: &str = r#"
[workspace]
[package]
name = "aborting"
version = "0.0.0"
edition = "2024"
[dependencies]
retryproof = { path = "ROOT", default-features = false }
[profile.dev]
panic = "abort"
"#;

const MAIN: &str = r#"
fn main() {
    let report = retryproof::Explore::new().name("test").run(async |world: &retryproof::World| {
        world.process("worker", |p| {
p.handle(async |_: u32| ());
});
        world.enqueue(1_u32);
        world.settle().await;
    });
    print!("{report}");
}
"#;

#[test]
fn a_build_that_aborts_on_panic_is_refused_up_front() {
    let root = env!("CARGO_MANIFEST_DIR");
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("aborting");
    std::fs::create_dir_all(folder.join("src")).unwrap();
    std::fs::write(folder.join("Cargo.toml"), MANIFEST.replace("ROOT", root)).unwrap();
    std::fs::write(folder.join("src/main.rs"), MAIN).unwrap();
    std::fs::copy(format!("{root}/Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    has_line(
        &told,
        expect![[
            r#"this build aborts on panic (`panic = "abort"`), but a crash at a line or in a blocking handler must unwind the stack; run it with `cargo test`, which always unwinds, or remove that line from the profile"#
        ]],
    );
    has_line(&told, expect!["test: the exploration is incomplete"]);
}

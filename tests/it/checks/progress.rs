//! The progress line, from end to end: in a pseudo terminal, which `script` (util-linux) makes.

use std::process::Stdio;
use std::time::Duration;

use retryproof::{Explore, Verdict, World};

use super::{Order, keyed, own_test, paying};
use crate::support::on_a_terminal;

/// Waits in real time in each run.
async fn slowly(world: &World, time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "what takes long in real time is what is tested")]
    std::thread::sleep(time);
    world.process("worker", paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)));
    world.enqueue(Order { id: 1 });
    world.settle().await;
}

#[test]
#[ignore = "run by the tests beside it"]
fn takes_three_seconds() {
    for threads in [1, 2] {
        let report = Explore::new()
            .name(format!("with-{threads}"))
            .deviations(9)
            .max_time(Duration::from_secs(3))
            .threads(threads)
            .run(async |world: &World| slowly(world, Duration::from_millis(20)).await);
        assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
    }
}

#[test]
#[ignore = "run by the tests beside it"]
fn takes_no_time() {
    let report = Explore::new().deviations(1).run(async |world: &World| slowly(world, Duration::ZERO).await);
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

/// Returns what a test prints, on a terminal or into a pipe.
fn printed(test: &str, on_terminal: bool, ci: Option<&str>) -> String {
    let plain = own_test(module_path!(), test);
    let mut command = if on_terminal { on_a_terminal(&plain) } else { plain };
    command.env("TERM", "xterm").env_remove("CI").env_remove("RETRYPROOF_REPLAY").stdin(Stdio::null());
    command.envs(ci.map(|ci| ("CI", ci)));
    let output = command.output().expect("util-linux has `script`");
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{text}");
    // The test runner prints the rest.
    assert!(text.contains("1 passed"), "{text}");
    text
}

#[test]
fn on_a_terminal_a_line_tells_how_far_it_is_and_elsewhere_none_does() {
    let slow = "takes_three_seconds";
    let (shown, piped, in_ci, short) = std::thread::scope(|scope| {
        let all = [
            scope.spawn(|| printed(slow, true, None)),
            scope.spawn(|| printed(slow, false, None)),
            scope.spawn(|| printed(slow, true, Some("true"))),
            scope.spawn(|| printed("takes_no_time", true, None)),
        ];
        let [shown, piped, in_ci, short] = all.map(|run| run.join().unwrap());
        (shown, piped, in_ci, short)
    });
    for name in ["with-1: ", "with-2: "] {
        let line = shown.split(name).nth(1).unwrap_or_else(|| panic!("no line of {name}: {shown}"));
        let line = line.split(['\r', '\n', '\u{1b}']).next().unwrap();
        assert!(line.starts_with(|c: char| c.is_ascii_digit()), "{line:?} in {shown:?}");
        for part in [" of at least ", " runs, no violation, about ", " s left"] {
            assert!(line.contains(part), "{line:?} in {shown:?}");
        }
    }
    // The line is gone when the test ends: the last operation clears it.
    let (_, after) = shown.rsplit_once(" s left").unwrap();
    assert!(after.contains("\u{1b}[2K") || after.contains("\u{1b}[0J"), "{after:?}");
    for silent in [piped, in_ci, short] {
        assert!(!silent.contains(" of at least "), "{silent:?}");
    }
}

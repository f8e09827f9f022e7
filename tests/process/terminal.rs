//! Color, and backtraces.

use crate::{play, report_in, scene};

/// Returns the report of a scene in a pseudo terminal, which `script` (util-linux) makes.
#[cfg(target_os = "linux")]
fn on_terminal(variables: &[(&str, &str)]) -> String {
    let mut script = crate::support::on_a_terminal(&scene("charges"));
    crate::surround(&mut script);
    script.envs(variables.iter().copied());
    play(&mut script).red().replace("\r\n", "\n")
}

#[test]
#[cfg(target_os = "linux")]
fn colour_is_for_terminals_and_no_color_and_ci_say_no() {
    let red = "\u{1b}[31m";
    let coloured = on_terminal(&[]);
    assert!(coloured.contains(red), "{coloured:?}");
    assert!(on_terminal(&[("NO_COLOR", "")]).contains(red), "empty is not set");
    assert!(on_terminal(&[("CI", "false")]).contains(red), "nor is `false`");
    let piped = play(&mut scene("charges")).red();
    for plain in [on_terminal(&[("NO_COLOR", "1")]), on_terminal(&[("CI", "true")]), piped.clone()] {
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
        assert_eq!(report_in(&plain), report_in(&piped));
    }
}

#[test]
fn a_backtrace_is_that_of_the_test_and_in_a_replay_those_of_the_job() {
    let with = |value: &str, replay: Option<&str>| {
        let mut scene = scene("panics_often");
        scene.env("RUST_BACKTRACE", value).envs(replay.map(|replay| ("RETRYPROOF_REPLAY", replay)));
        play(&mut scene).red()
    };
    let (none, some, full) = (with("0", None), with("1", None), with("full", None));
    let backtraces = |text: &str| text.matches("stack backtrace:").count();
    // The job panicked in many runs, and none of that is printed.
    assert_eq!([&none, &some, &full].map(|text| backtraces(text)), [0, 1, 1], "{some}");
    let panics = |text: &str| text.lines().filter(|line| line.starts_with("a panic of the job: ")).count();
    for text in [&none, &some, &full] {
        assert_eq!(panics(text), 0, "{text}");
        assert_eq!(report_in(text), report_in(&none));
    }
    let scenario = none.split("RETRYPROOF_REPLAY='").nth(1).unwrap().split('\'').next().unwrap();
    assert_eq!(scenario, "scenes::panics_often job#1.1/payments.charge:call=reply-lost");
    let (quiet, loud) = (with("0", Some(scenario)), with("1", Some(scenario)));
    assert_eq!((panics(&quiet), panics(&loud)), (0, 1), "{loud}");
    assert_eq!(backtraces(&loud), 2, "that of the job, and that of the test: {loud}");
    assert_eq!(report_in(&loud), report_in(&quiet));
}

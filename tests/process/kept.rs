//! Failing scenarios are stored, and run first the next time.
//!
//! A part: the output of a process has paths, seeds and times that differ in each run.

use std::path::Path;
use std::process::Command;

use expect_test::expect;

use crate::support::has_line;
use crate::{Folder, play, scene};

const TEST: &str = "scenes::charges";
const FIRST: &str = "scenes::charges job#1.1/payments.charge:call=reply-lost";
const HEADER: &str = "# retryproof scenarios, format 1\n";
/// The file of a scene's scenarios, in the folder.
const FILE: &str = "retryproof-process/scenes.charges.txt";
const ALL: &str = "13 runs, all scenarios of up to 1 deviation";

fn charges(folder: &Folder, version: &str) -> Command {
    let mut scene = scene("charges");
    scene.env("RETRYPROOF_KEEP", folder.text()).env("SCENE", version);
    scene
}

#[test]
fn what_fails_is_kept_and_tried_first_and_goes_when_it_passes() {
    let folder = Folder::new();
    let text = play(&mut charges(&folder, "")).red();
    assert!(text.contains(ALL), "{text}");
    let file = folder.join(FILE);
    assert!(text.contains(&format!("kept in {}: the next run of this test tries it first", file.display())));
    let kept = folder.read(FILE);
    assert!(kept.starts_with(&format!("{HEADER}{FIRST}\n")), "{kept}");
    assert!(kept.lines().count() > 2, "one of each cause: {kept}");
    let tried = kept.lines().count() - 1;

    // It still fails: nothing else runs, and the file stays as it is.
    let again = play(&mut charges(&folder, "")).red();
    let words = format!(
        "{} runs: the reference run and {tried} scenarios kept from earlier runs; {tried} of {} runs failed",
        tried + 1,
        tried + 1
    );
    assert!(again.contains(&words), "{again}");
    assert!(again.contains(&format!("RETRYPROOF_REPLAY='{FIRST}'")), "{again}");
    assert_eq!(folder.read(FILE), kept);
    // Unless storing is turned off.
    assert!(play(charges(&folder, "").env("RETRYPROOF_KEEP", "off")).red().contains(ALL));
    assert_eq!(folder.read(FILE), kept);

    // Fixed: everything is explored, and the file is removed.
    play(&mut charges(&folder, "keyed")).green();
    assert!(!file.exists());
}

#[test]
fn what_is_kept_does_not_count_among_the_runs_of_a_test_that_passes() {
    let folder = Folder::new();
    play(&mut charges(&folder, "")).red();
    let summary = folder.join("summary.md");
    play(charges(&folder, "keyed").env("GITHUB_STEP_SUMMARY", &summary)).green();
    assert!(folder.read("summary.md").contains(ALL));
}

#[test]
fn a_run_that_gets_stuck_is_kept_too() {
    let folder = Folder::new();
    let stuck =
        |version: &str| play(scene("gets_stuck").env("RETRYPROOF_KEEP", folder.text()).env("SCENE", version));
    assert!(stuck("").red().contains("scenes::gets_stuck gets stuck"));
    let again = stuck("").red();
    has_line(
        &again,
        expect![
            "2 runs: the reference run and 1 scenario kept from earlier runs; 1 of 2 runs failed; the other"
        ],
    );
    has_line(&again, expect![[r#"scenes::gets_stuck gets stuck"#]]);
    stuck("mended").green();
    assert!(!folder.join("retryproof-process/scenes.gets_stuck.txt").exists());
}

#[test]
fn what_lies_outside_of_the_bounds_or_no_longer_fits_condemns_nobody() {
    let folder = Folder::new();
    let file = "retryproof-process/scenes.charges_without_faults.txt";
    let test = "scenes::charges_without_faults";
    // A fault although there may be none, two deviations although there may be only one, and a call that is no longer
    // made. The job itself is correct if no reply is lost and no worker crashes, so it has a key, except for what runs
    // first.
    let lines = [
        format!("{test} job#1.1/payments.charge:call=reply-lost"),
        format!("{test} job#1.1/payments.charge:happened=crash job#1.2/payments.charge:happened=crash"),
        format!("{test} job#1.1/inventory.take:call=reply-lost"),
    ];
    folder.write(file, &format!("{HEADER}{}\n", lines.join("\n")));
    let mut scene = scene("charges_without_faults");
    let text = play(scene.env("RETRYPROOF_KEEP", folder.text())).red();
    // None of them runs: everything is explored, and the file has what fails now.
    assert!(!text.contains("kept from earlier runs"), "{text}");
    has_line(&text, expect!["8 runs, all scenarios of up to 1 deviation; 5 of 8 runs failed"]);
    let kept = folder.read(file);
    assert!(!kept.contains("reply-lost") && !kept.contains("job#1.2"), "{kept}");
}

#[test]
fn without_the_variable_they_are_kept_in_the_target_folder() {
    let program = std::env::current_exe().unwrap();
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists()).unwrap();
    let file = target.join("retryproof/retryproof-process/scenes.charges_by_check.txt");
    let _ = std::fs::remove_file(&file);
    let run =
        |version: &str| play(scene("charges_by_check").env_remove("RETRYPROOF_KEEP").env("SCENE", version));
    run("").red();
    assert!(std::fs::read_to_string(&file).unwrap().starts_with(HEADER));
    run("keyed").green();
    assert!(!file.exists());
}

#[test]
fn regressions_stay_where_a_test_asks_for_them() {
    let (package, keep) = (Folder::new(), Folder::new());
    let file = "retryproof-regressions/process/scenes.charges_for_ever.txt";
    let run = |version: &str, ci: bool| {
        let mut scene = scene("charges_for_ever");
        scene
            .env("CARGO_MANIFEST_DIR", package.text())
            .env("RETRYPROOF_KEEP", keep.text())
            .env("SCENE", version);
        play(scene.envs(ci.then_some(("CI", "true"))))
    };
    // Nobody would commit what CI adds.
    run("", true).red();
    assert!(!package.join(file).exists());
    run("", false).red();
    let kept = package.read(file);
    assert!(kept.starts_with(&format!("{HEADER}scenes::charges_for_ever job#1.1/")), "{kept}");
    run("keyed", false).green();
    assert_eq!(package.read(file), kept, "they stay");
    // The scenarios are back, and run first, also in CI. Nothing is added twice.
    let again = run("", true).red();
    has_line(
        &again,
        expect![
            "5 runs: the reference run and 4 scenarios kept from earlier runs; 4 of 5 runs failed; the other"
        ],
    );
    run("", false).red();
    assert_eq!(package.read(file), kept);
    // Regardless of the bounds, with a message if they no longer fit.
    let test = "scenes::charges_for_ever";
    package.write(
        file,
        &format!("{HEADER}{test} job#1.1/inventory.take:call=reply-lost\n{test} job#1.1:start=crash job#1.2/payments.charge:happened=crash\n"),
    );
    assert!(run("", false).red().contains("1 scenario kept from earlier runs"));
    let text = run("keyed", false).green();
    has_line(
        text.replace(package.text(), "PACKAGE").replace(keep.text(), "KEEP"),
        expect![
            "retryproof: PACKAGE/retryproof-regressions/process/scenes.charges_for_ever.txt: `scenes::charges_for_ever job#1.1/inventory.take:call=reply-lost` no longer fits the code (`job#1.1/inventory.take:call=reply-lost` was never met; the run met 8 choices, the last being `job#1.1:ack`); delete its line"
        ],
    );
}

#[test]
fn a_file_of_another_version_is_told_and_the_verdict_unharmed() {
    let folder = Folder::new();
    let warning = "the first line is not `# retryproof scenarios, format 1`";
    for text in [format!("# retryproof scenarios, format 9\n{FIRST}\n"), "\0\u{1}garbage".to_owned()] {
        folder.write(FILE, &text);
        assert!(play(&mut charges(&folder, "keyed")).green().contains(warning));
        folder.write(FILE, &text);
        let red = play(&mut charges(&folder, "")).red();
        assert!(red.contains(warning) && red.contains(ALL), "{red}");
        // The file had the failures of the last run, and now has those of this one.
        assert!(folder.read(FILE).starts_with(&format!("{HEADER}{FIRST}\n")));
    }
    // A broken line is skipped, but not the others.
    folder.write(FILE, &format!("{HEADER}scenes::charges broken\n{FIRST}\n"));
    let text = play(&mut charges(&folder, "")).red();
    has_line(
        text.replace(folder.text(), "FOLDER"),
        expect![
            "retryproof: FOLDER/retryproof-process/scenes.charges.txt:2: `broken` (word 2 of the scenario) is not `choice=option`, as in `job#1.1:end=crash`; paste the whole line that the report prints; the line is skipped"
        ],
    );
    has_line(
        &text,
        expect![
            "2 runs: the reference run and 1 scenario kept from earlier runs; 1 of 2 runs failed; the other"
        ],
    );
    // Not a text file.
    std::fs::write(folder.join(FILE), [0xff, 0xfe, 0xff]).unwrap();
    assert!(play(&mut charges(&folder, "keyed")).green().contains("it cannot be read: "));
}

#[test]
fn regressions_of_another_version_are_left_as_they_are() {
    let package = Folder::new();
    let file = "retryproof-regressions/process/scenes.charges_for_ever.txt";
    let theirs = "# retryproof scenarios, format 9\nwho knows\n";
    package.write(file, theirs);
    let text = play(scene("charges_for_ever").env("CARGO_MANIFEST_DIR", package.text())).red();
    has_line(
        text.replace(package.text(), "PACKAGE"),
        expect![
            "retryproof: PACKAGE/retryproof-regressions/process/scenes.charges_for_ever.txt: the first line is not `# retryproof scenarios, format 1`, so this version cannot use the file; delete it: scenarios that still fail will be found again"
        ],
    );
    assert_eq!(package.read(file), theirs);
}

#[test]
fn where_nothing_can_be_written_the_verdict_is_the_same() {
    let folder = Folder::new();
    folder.write("a-file", "");
    let locked = folder.join("locked");
    std::fs::create_dir(&locked).unwrap();
    lock(&locked);
    let mut places = vec![folder.join("a-file")];
    // Root can write everywhere.
    if std::fs::write(locked.join("x"), "").is_err() {
        places.push(locked.clone());
    }
    if cfg!(target_os = "linux") {
        places.push("/proc/retryproof".into());
    }
    for place in places {
        let warning = "cannot store failing scenarios here: ";
        let red = play(scene("charges").env("RETRYPROOF_KEEP", &place)).red();
        assert!(red.contains(warning) && red.contains(ALL) && !red.contains("kept in "), "{red}");
        let green = play(scene("charges").env("RETRYPROOF_KEEP", &place).env("SCENE", "keyed")).green();
        assert!(!green.contains("retryproof:"), "nothing to be kept: {green}");
    }
}

fn lock(folder: &Path) {
    let mut permissions = std::fs::metadata(folder).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(folder, permissions).unwrap();
}

#[test]
fn many_write_the_same_file_at_once() {
    let (folder, package) = (Folder::new(), Folder::new());
    let expected = {
        let alone = Folder::new();
        play(&mut charges(&alone, "")).red();
        alone.read(FILE)
    };
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| play(&mut charges(&folder, "")).red());
            scope.spawn(|| play(scene("charges_for_ever").env("CARGO_MANIFEST_DIR", package.text())).red());
        }
    });
    assert_eq!(folder.read(FILE), expected);
    let beside = std::fs::read_dir(folder.join("retryproof-process")).unwrap().count();
    assert_eq!(beside, 1, "nothing is left beside it");
    // Each line is complete. The same line may occur several times, and runs once.
    let kept = package.read("retryproof-regressions/process/scenes.charges_for_ever.txt");
    let expected = expected.replace(TEST, "scenes::charges_for_ever");
    assert!(kept.lines().all(|line| expected.lines().any(|known| known == line)), "{kept}");
    assert!(expected.lines().all(|line| kept.lines().any(|known| known == line)), "{kept}");
    let text = play(scene("charges_for_ever").env("CARGO_MANIFEST_DIR", package.text())).red();
    let tried = expected.lines().count() - 1;
    assert!(text.contains(&format!("and {tried} scenarios kept from earlier runs")), "{text}");
}

#[test]
fn a_replay_neither_tries_nor_keeps() {
    let folder = Folder::new();
    play(&mut charges(&folder, "")).red();
    let kept = folder.read(FILE);
    let text = play(charges(&folder, "").env("RETRYPROOF_REPLAY", FIRST)).red();
    has_line(&text, expect![[r#"2 runs: the reference run and the replayed scenario"#]]);
    play(charges(&folder, "keyed").env("RETRYPROOF_REPLAY", FIRST)).green();
    assert_eq!(folder.read(FILE), kept);
}

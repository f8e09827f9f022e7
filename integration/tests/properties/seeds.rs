//! The seed of a failing case is in the report and in a file, is tried first, and can be run alone. The property is a
//! test of this binary, which runs itself again. `SCENE` says whether its job is fixed.
//!
//! A part: the output of a process has paths, seeds and times that differ in each run.

use std::path::{Path, PathBuf};

use expect_test::expect;

use crate::support::has_line;
use crate::*;

const FILE: &str = "retryproof-integration-properties/seeds.scene.seeds";
const HEADER: &str = "# retryproof seeds, format 1\n";

fn run_scene(keep: Option<&str>) {
    let scene = std::env::var("SCENE").unwrap_or_default();
    let name = if keep.is_some() { "seeds::stated" } else { "seeds::scene" };
    let property = property().explore(Explore::new().name(name));
    let property = keep.into_iter().fold(property, |property, keep| property.keep(keep));
    property.check(orders(), async |world: &World, orders: &Workload| {
        let is_mended = scene == "mended";
        charging(world, orders, move |_, order| {
            if order < 200 || is_mended { keyed(order) } else { Charge::of_order(order, 1) }
        });
        orders.enqueue(world);
        world.settle().await;
    });
}

#[test]
#[ignore = "run by the tests beside it"]
fn scene() {
    run_scene(None);
}

#[test]
#[ignore = "run by the tests beside it"]
fn stated() {
    run_scene(Some("tests/orders.seeds"));
}

/// A temporary folder, which is removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("properties-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.join(file)).unwrap()
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::create_dir_all(self.0.join(file).parent().unwrap()).unwrap();
        std::fs::write(self.0.join(file), text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn play(folder: &Folder, test: &str, variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = support::own_test(module_path!(), test);
    for variable in ["RETRYPROOF_SEED", "PROPTEST_CASES", "SCENE", "RETRYPROOF_REPLAY"] {
        command.env_remove(variable);
    }
    command.env("RETRYPROOF_KEEP", &folder.0).env("RETRYPROOF_HTML_DIR", &folder.0);
    command.env_remove("RETRYPROOF_HTML").env("CARGO_MANIFEST_DIR", &folder.0).env("RUST_BACKTRACE", "0");
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.success(), text)
}

#[track_caller]
fn red(folder: &Folder, variables: &[(&str, &str)]) -> String {
    let (passed, text) = play(folder, "scene", variables);
    assert!(!passed && text.contains("seeds::scene is NOT retry-proof"), "{text}");
    text
}

#[track_caller]
fn green(folder: &Folder, variables: &[(&str, &str)]) -> String {
    let (passed, text) = play(folder, "scene", variables);
    assert!(passed, "{text}");
    text
}

#[test]
fn a_seed_is_kept_and_tried_first_and_goes_when_its_case_holds() {
    let folder = Folder::new("kept");
    let first = red(&folder, &[]);
    let seed = &first.split("\n  seed ").nth(1).unwrap()[..16];
    let file = folder.0.join(FILE);
    assert!(
        first.contains(&format!("kept in {}: the next run of this test tries it first", file.display())),
        "{first}"
    );
    let kept = folder.read(FILE);
    assert_eq!(kept, format!("{HEADER}{seed} # Workload(u32 200 in high)\n"));
    assert!(!first.contains("the first case\n"), "another one held before: {first}");
    let again = red(&folder, &[]);
    assert!(again.contains(&format!("  seed {seed}, the first case\n")), "{again}");
    assert_eq!(folder.read(FILE), kept, "it stands there once");
    assert!(folder.read("report.html").contains("seeds::scene"));
    green(&folder, &[("SCENE", "mended")]);
    assert!(!file.exists() && !folder.0.join("report.html").exists());
    // With only the seed from the line of the report.
    let line = format!("RETRYPROOF_SEED='seeds::scene {seed}' cargo test");
    assert!(first.contains(&line), "{first}");
    let alone = red(&folder, &[("RETRYPROOF_SEED", &format!("seeds::scene {seed}"))]);
    has_line(&alone, expect![[r#"Workload(u32 200 in high)"#]]);
    std::fs::remove_file(&file).unwrap();
    green(&folder, &[("RETRYPROOF_SEED", "seeds::scene 0000000000000000"), ("SCENE", "mended")]);
    // The seed of another test.
    red(&folder, &[("RETRYPROOF_SEED", "seeds::other 0000000000000000")]);
    let (passed, text) = play(&folder, "scene", &[("RETRYPROOF_SEED", "seeds::scene half")]);
    assert!(!passed && text.contains("RETRYPROOF_SEED: `seeds::scene half` is not a seed"), "{text}");
}

#[test]
fn a_stated_file_stays() {
    let folder = Folder::new("stated");
    let (passed, text) = play(&folder, "stated", &[]);
    assert!(!passed, "{text}");
    let kept = folder.read("tests/orders.seeds");
    assert!(kept.starts_with(HEADER) && kept.lines().count() == 2, "{kept}");
    let (passed, text) = play(&folder, "stated", &[("SCENE", "mended")]);
    assert!(passed, "{text}");
    assert_eq!(folder.read("tests/orders.seeds"), kept);
    let (_, text) = play(&folder, "stated", &[]);
    // The line begins with a seed.
    assert!(text.contains(", the first case\n"), "{text}");
}

#[test]
fn a_file_of_another_version_or_tool_is_told_and_the_verdict_unharmed() {
    let folder = Folder::new("other");
    for theirs in ["cc 8f3a # by proptest itself\n", "# retryproof seeds, format 9\n0000000000000001\n"] {
        folder.write(FILE, theirs);
        let text = red(&folder, &[]);
        // The line begins with a path of this machine.
        assert!(text.contains("its first line is not `# retryproof seeds, format 1`"), "{text}");
        assert!(!text.contains("kept in "), "{text}");
        assert_eq!(folder.read(FILE), theirs, "it is left alone");
        green(&folder, &[("SCENE", "mended")]);
    }
    folder.write(FILE, &format!("{HEADER}who knows\n"));
    assert!(green(&folder, &[("SCENE", "mended")]).contains(":2: `who` is not a seed"));
}

#[test]
fn where_nothing_can_be_written_the_verdict_is_the_same() {
    let folder = Folder::new("file");
    folder.write("a-file", "");
    let keep = folder.0.join("a-file");
    let keep = [("RETRYPROOF_KEEP", keep.to_str().unwrap())];
    let text = red(&folder, &keep);
    assert!(text.contains("cannot store failing scenarios here: ") && !text.contains("kept in "), "{text}");
    green(&folder, &[keep[0], ("SCENE", "mended")]);
    red(&folder, &[("RETRYPROOF_KEEP", "off")]);
}

#[test]
fn the_number_of_cases_is_proptests() {
    let property = Property::new().explore(Explore::new().name("cases"));
    let body = async |world: &World, orders: &Workload| {
        charging(world, orders, |_, order| keyed(order));
        orders.enqueue(world);
        world.settle().await;
    };
    assert_eq!(property.clone().cases(7).run(orders(), body).unwrap(), 7);
    let expected = std::env::var("PROPTEST_CASES").map_or(256, |cases| cases.parse().unwrap());
    assert_eq!(property.run(orders(), body).unwrap(), expected);
}

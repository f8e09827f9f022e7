//! Writes and checks ZOO.md.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use retryproof::{Report, Verdict};

use crate::specimen::{Family, Specimen, scenario_of};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("ZOO.md")
}

fn page() -> String {
    std::fs::read_to_string(path()).unwrap_or_default()
}

const HEAD: &str = "\
# The zoo

Jobs that must be told apart: each bad job beside its correct twin.
The table shows what retryproof finds in them with its default settings, or with the settings in brackets.
`tests/zoo/` contains the jobs, one file per family, and checks the verdict of each job and the reason for it.
`RETRYPROOF_BLESS=1 cargo test --release --test zoo the_table` writes this page, and the tests compare it with what they find.
The times depend on the machine, are rounded, and are not compared.

| family | job | verdict | code | smallest scenario | runs | time |
| --- | --- | --- | --- | --- | ---: | ---: |
";

/// The second part: models of memory that threads share, which need the feature `loom`.
const MODELS: &str = include_str!("models.md");

/// Returns the cells of a row, without the time.
fn cells(family: &Family, specimen: &Specimen, report: &Report) -> String {
    let mut job = specimen.what.to_owned();
    if !specimen.settings().is_empty() {
        job = format!("{job} [{}]", specimen.settings());
    }
    let scenario = match report.violations().first() {
        Some(first) => match scenario_of(first, report.test()) {
            none if none.is_empty() => "fault-free run".to_owned(),
            scenario => format!("`{scenario}`"),
        },
        None if report.verdict() == Verdict::Stuck && report.runs() == 1 => "fault-free run".to_owned(),
        None => "–".to_owned(),
    };
    let code = report.code().map_or("", |code| code.as_str());
    format!("| {} | {job} | {:?} | {code} | {scenario} | {} |", family.name, report.verdict(), report.runs())
}

/// Returns a message if the table does not show what was found.
pub(crate) fn differs(family: &Family, specimen: &Specimen, report: &Report) -> Option<String> {
    let cells = cells(family, specimen, report);
    let shown = page().lines().any(|line| line.starts_with(&cells));
    let blessed = std::env::var_os("RETRYPROOF_BLESS").is_some();
    (!shown && !blessed).then(|| {
        format!("ZOO.md does not show\n    {cells}\n  RETRYPROOF_BLESS=1 cargo test --release --test zoo the_table writes it")
    })
}

/// Rounds a time so much that it rarely changes.
fn coarse(time: Duration) -> &'static str {
    match time.as_millis() {
        0 => "< 1 ms",
        1..10 => "< 10 ms",
        10..100 => "< 100 ms",
        100..1_000 => "< 1 s",
        _ => "> 1 s",
    }
}

/// Each job's test compares the results. This test only checks that the table has a row for each job, in order, and no
/// others.
#[test]
fn the_table_has_a_row_for_each() {
    let families = crate::families();
    if std::env::var_os("RETRYPROOF_BLESS").is_some() {
        return write(&families);
    }
    let page = page();
    assert!(page.starts_with(HEAD), "ZOO.md begins with something else than `HEAD`");
    let (rows, _) = page[HEAD.len()..].split_once(MODELS).expect("ZOO.md has `MODELS`");
    let shown: Vec<_> = rows.lines().map(first_cells).collect();
    let kept = families.iter().flat_map(|family| family.specimens.iter().map(move |one| (family.name, one)));
    let kept: Vec<_> = kept
        .map(|(family, one)| match one.settings() {
            "" => [family.to_owned(), one.what.to_owned()],
            settings => [family.to_owned(), format!("{} [{settings}]", one.what)],
        })
        .collect();
    assert_eq!(shown, kept);
}

/// A report has few entries for one bug: usually one, and never more than three.
#[test]
fn one_bug_is_few_entries() {
    let (mut counts, mut entries) = (Vec::new(), Vec::new());
    let mut most = (0, String::new());
    for family in crate::families() {
        for specimen in family.specimens.iter().filter(|specimen| specimen.verdict == Verdict::Violated) {
            let report = specimen.explore(&family);
            entries.push((report.violations().len(), format!("{}: {}", family.name, specimen.what)));
            let mut bugs: BTreeMap<&str, usize> = BTreeMap::new();
            for violation in report.violations() {
                *bugs.entry(&violation.summary).or_default() += 1;
            }
            for (summary, count) in bugs {
                counts.push(count);
                if count > most.0 {
                    most = (count, format!("{}: {}: {summary}\n{report}", family.name, specimen.what));
                }
            }
        }
    }
    counts.sort();
    assert!(counts.len() > 50, "the zoo has many bugs: {counts:?}");
    assert_eq!(counts[counts.len() / 2], 1, "{counts:?}");
    assert!(most.0 <= 3, "{} entries: {}", most.0, most.1);
    // Of a whole report, in which a bad job may do several things wrong.
    entries.sort();
    assert_eq!(entries[entries.len() / 2].0, 1, "{entries:?}");
    let more: Vec<_> = entries.iter().filter(|(count, _)| *count > 3).collect();
    assert!(more.is_empty(), "{more:?}");
}

/// The families of `docs/spec/jobs.md` are those of this folder, in the same order. That of the models needs the
/// feature `loom`, and is in the table of models.
#[test]
fn the_specification_has_the_same_families() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/spec/jobs.md");
    let page = std::fs::read_to_string(page).unwrap();
    let specified: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split('`').next())
        .filter(|family| *family != "class-level counter")
        .collect();
    let kept: Vec<_> = crate::families().iter().map(|family| family.name).collect();
    assert_eq!(specified, kept);
}

fn first_cells(line: &str) -> [String; 2] {
    let mut cells = line.split(" | ").map(|cell| cell.trim_start_matches("| ").to_owned());
    [(); 2].map(|()| cells.next().unwrap_or_default())
}

fn write(families: &[Family]) {
    let models = page().split_once(MODELS).map(|(_, rows)| rows.to_owned()).unwrap_or_default();
    let mut page = HEAD.to_owned();
    for family in families {
        for specimen in &family.specimens {
            #[expect(clippy::disallowed_methods, reason = "it is measured how long it takes")]
            let begun = Instant::now();
            let report = specimen.explore(family);
            let cells = cells(family, specimen, &report);
            page.push_str(&format!("{cells} {} |\n", coarse(begun.elapsed())));
        }
    }
    std::fs::write(path(), page + MODELS + &models).expect("ZOO.md can be written");
}

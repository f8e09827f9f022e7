//! The job with which README.md and the crate's page begin, and its report: both pages show literally what is here. It
//! also checks that guide/src/violations.md explains each code. This is a separate binary, because its reports show
//! the names that tests at the top of a binary have.
//!
//! `RETRYPROOF_BLESS=1 cargo test --test readme` writes the report and the map into `docs/`, README.md and the guide.

use std::path::{Path, PathBuf};

use crash_points::crash_points;
use retryproof::service::fulfillment::{Fulfillment, Shipment};
use retryproof::service::payments::{Charge, Payments};
use retryproof::{Client, Code, Durable, Explore, ServiceError, World};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct CompleteOrder {
    order_id: u32,
}

#[ignore = "red on purpose: the README shows its report"]
// shown: bad
#[retryproof::test]
async fn orders_are_paid_once(world: &World) {
    world.process("worker", |p| {
        let (payments, parcels) = (p.payments(), p.fulfillment());
        p.handle(async move |job: CompleteOrder| {
            payments.charge(Charge::of_order(job.order_id, 2_598)).await?;
            parcels.request(Shipment::of_order(job.order_id, "pr_3", 1).address("1 Main St")).await
        });
    });
    world.enqueue(CompleteOrder { order_id: 6 });
    world.settle().await;
}
// shown: end

#[retryproof::test]
async fn orders_with_keys_are_paid_once(world: &World) {
    world.process("worker", |p| {
        let (payments, parcels) = (p.payments(), p.fulfillment());
        // shown: good
        p.handle(async move |job: CompleteOrder| {
            let key = format!("order-{}", job.order_id);
            payments.charge(Charge::of_order(job.order_id, 2_598).key(&key)).await?;
            parcels.request(Shipment::of_order(job.order_id, "pr_3", 1).address("1 Main St").key(&key)).await
        });
        // shown: end
    });
    world.enqueue(CompleteOrder { order_id: 6 });
    world.settle().await;
}

// shown: lines
#[crash_points]
async fn complete_order(
    order: &Durable<&'static str>,
    payments: &Client<Payments>,
    parcels: &Client<Fulfillment>,
) -> Result<(), ServiceError> {
    if order.get() == "done" {
        return Ok(());
    }
    payments.charge(Charge::of_order(6, 2_598).key("charge-order-6")).await?;
    order.set("paid");
    parcels.request(Shipment::of_order(6, "pr_3", 1).address("1 Main St")).await?;
    order.set("done");
    Ok(())
}
// shown: end

mod support;

fn map() -> String {
    let report = Explore::new().name("complete_order").deviations(1).run(async |world: &World| {
        let order = world.durable("order", "new");
        world.process("worker", move |p| {
            let (order, payments, parcels) = (order.clone(), p.payments(), p.fulfillment());
            p.handle(async move |_: CompleteOrder| complete_order(&order, &payments, &parcels).await);
        });
        world.enqueue(CompleteOrder { order_id: 6 });
        world.settle().await;
    });
    report.by_line().to_string()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns what the test above prints when it fails: the text of its panic.
fn report() -> String {
    let output = support::own_test(module_path!(), "orders_are_paid_once")
        .env_remove("RETRYPROOF_REPLAY")
        .env("RETRYPROOF_KEEP", "off")
        .env("RETRYPROOF_HTML", "off")
        .env("RETRYPROOF_RESULTS", "off")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    assert!(!output.status.success(), "the job of the README passes");
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    let from = printed.find("orders_are_paid_once is NOT retry-proof").expect(&printed);
    let length = printed[from..].find("\nnote: run with `RUST_BACKTRACE").expect(&printed);
    format!("{}\n", printed[from..from + length].trim_end())
}

/// Returns the part of the report that README.md shows: what is wrong and where, how to replay it, and the first help.
fn short(report: &str) -> String {
    let (wrong, rest) = report.split_once("\nwhat happened\n").expect("a report says what happened");
    let (_, replay) = rest.split_once("\nreplay\n").expect("a report says how it is run again");
    let (replay, rest) = replay.split_once("\n\n").expect("more follows");
    let wrong = wrong.rsplit_once("\nin ").map_or(wrong, |(wrong, _)| wrong).trim_end();
    let help = rest.lines().find(|line| line.starts_with("help: ")).expect("a report says what to do");
    format!("{wrong}\n…\nreplay\n{replay}\n…\n{help}\n")
}

/// Returns the part of this file after `// shown: what`, without its indentation.
fn shown(what: &str) -> String {
    let source = include_str!("readme.rs");
    let from = source.find(&format!("// shown: {what}\n")).expect(what);
    let lines = source[from..].lines().skip(1).take_while(|line| !line.trim().starts_with("// shown: end"));
    let lines: Vec<_> = lines.collect();
    let indent = lines[0].len() - lines[0].trim_start().len();
    lines.iter().map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect()
}

/// Returns the block of a page between a line that opens a fence and the line that closes it.
fn block(page: &str, opening: &str) -> std::ops::Range<usize> {
    let from =
        page.find(opening).unwrap_or_else(|| panic!("no block opens with {opening:?}")) + opening.len();
    from..from + page[from..].find("```").expect("a block ends")
}

/// Returns the crate's page as text.
fn crate_page() -> String {
    let lib = read(&root().join("src/lib.rs"));
    let lines = lib.lines().filter_map(|line| line.strip_prefix("//!"));
    lines.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
}

#[test]
fn the_report_is_the_real_one() {
    let (snapshot, readme) = (root().join("docs/report.txt"), root().join("README.md"));
    let (report, page) = (report(), read(&readme));
    let range = block(&page, "```text\norders_are_paid");
    let range = range.start - "orders_are_paid".len()..range.end;
    if std::env::var_os("RETRYPROOF_BLESS").is_some() {
        std::fs::write(snapshot, &report).unwrap();
        std::fs::write(readme, format!("{}{}{}", &page[..range.start], short(&report), &page[range.end..]))
            .unwrap();
        return;
    }
    let hint = "the report has changed; RETRYPROOF_BLESS=1 cargo test --test readme writes it anew";
    assert_eq!(read(&snapshot), report, "{hint}");
    assert_eq!(page[range], short(&report), "{hint}");
    assert!(short(&report).lines().count() <= 16, "README.md shows too much of it");
    let long: Vec<_> = report.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(long.is_empty(), "a terminal of 100 columns wraps {long:#?}");
}

#[test]
fn the_map_is_the_real_one() {
    let (snapshot, guide) = (root().join("docs/map.txt"), root().join("guide/src/crash-points.md"));
    let (map, page) = (map(), read(&guide));
    let range = block(&page, "```text\ncomplete_order ·");
    let range = range.start - "complete_order ·".len()..range.end;
    if std::env::var_os("RETRYPROOF_BLESS").is_some() {
        std::fs::write(snapshot, &map).unwrap();
        std::fs::write(guide, format!("{}{map}{}", &page[..range.start], &page[range.end..])).unwrap();
        return;
    }
    let hint = "the map has changed; RETRYPROOF_BLESS=1 cargo test --test readme writes it anew";
    assert_eq!(read(&snapshot), map, "{hint}");
    assert_eq!(page[range], map, "{hint}");
    assert!(page.contains(&shown("lines")), "the guide does not show:\n{}", shown("lines"));
}

#[test]
fn both_pages_show_the_jobs_that_are_tested_here() {
    for (name, page) in [("README.md", read(&root().join("README.md"))), ("src/lib.rs", crate_page())] {
        for what in ["bad", "good"] {
            assert!(page.contains(&shown(what)), "{name} does not show:\n{}", shown(what));
        }
    }
}

#[test]
fn the_crates_page_includes_the_report() {
    let lib = read(&root().join("src/lib.rs"));
    // A part: the rest is the file.
    assert!(lib.contains("#![doc = include_str!(\"../docs/report.txt\")]"));
}

/// The page's examples are doctests, which check that each example violates its code.
#[test]
fn the_page_of_violations_has_each_code_with_its_words_and_an_example() {
    let page = read(&root().join("guide/src/violations.md"));
    let (contents, sections) = page.split_at(page.find("\n## RP").expect("a section"));
    let sections: Vec<_> = sections.split("\n## ").skip(1).collect();
    assert_eq!(sections.len(), Code::ALL.len());
    for (section, code) in sections.iter().zip(Code::ALL) {
        // Line breaks do not matter.
        let words = section.split_whitespace().collect::<Vec<_>>().join(" ");
        let capital = |text: &str| format!("{}{}", text[..1].to_uppercase(), &text[1..]);
        for part in [
            format!("{code} **{}** (`Code::{code:?}`)", capital(code.title())),
            format!("*Help:* {}.", code.help()),
        ] {
            assert!(words.contains(&part), "guide/src/violations.md does not say `{part}`:\n{section}");
        }
        let condemned = [
            format!("assert_eq!(report.code(), Some(Code::{code:?}));"),
            // If another violation comes first.
            format!("violation.code == Code::{code:?}"),
        ];
        let is_condemned = condemned.iter().any(|part| words.contains(part));
        assert!(is_condemned, "guide/src/violations.md does not condemn its example for {code}:\n{section}");
        let row = format!("| [{code}](#{}) | {} |\n", code.as_str().to_lowercase(), code.title());
        assert!(contents.contains(&row), "guide/src/violations.md has no row `{row}`");
    }
}

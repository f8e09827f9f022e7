//! The report as a page for a browser: one file without external resources, with a diagram of each violation's run.
//!
//! A page consists of parts, one for each test, which processes write and read as files. Nothing in a page depends on the
//! machine or on the time.

mod markup;
mod lanes;
mod section;

pub(crate) use section::MOST_DRAWN;

use std::collections::BTreeSet;

use markup::Markup;
use serde::{Deserialize, Serialize};

use crate::judge::report::Report;
use crate::system::effect::{fingerprint, hex};

/// The first line of a part, followed by the version of this crate. Only parts of one version fit together.
const HEADER: &str = "retryproof report part, version ";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A page grows no longer than this by whole parts.
const MOST_BYTES: usize = 4 << 20;

/// The part of a page about one test.
#[derive(Debug)]
pub(crate) struct Part {
    head: PartHead,
    html: String,
}

/// The entry of a test in the list at the top of a page.
#[derive(Debug, Serialize, Deserialize)]
struct PartHead {
    /// The anchor, which is unique in the page.
    id: String,
    binary: String,
    test: String,
    passes: bool,
    verdict: String,
    /// The first violation.
    headline: String,
}

/// Why a part is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PartError {
    #[error("it was written by another version of retryproof than {VERSION}")]
    OtherVersion,
    #[error("it is damaged")]
    Damaged,
}

impl Part {
    /// Renders the result of a test of this binary. `added` are lines to print in addition to the report.
    pub(crate) fn of(report: &Report, binary: &str, passes: bool, added: &[String]) -> Self {
        let id = hex("t", fingerprint(&[binary, &report.test]) >> 32, 8);
        let headline = report.violations.first().map(|violation| violation.summary.clone());
        let reason = || report.reason.as_ref().and_then(|reason| reason.lines().next()).map(str::to_owned);
        let head = PartHead {
            binary: binary.to_owned(),
            test: report.test.clone(),
            passes,
            verdict: section::verdict(report, passes).to_owned(),
            headline: headline.or_else(reason).unwrap_or_default(),
            id,
        };
        let html = section::section(report, &head.id, passes, added).into_html();
        Self { head, html }
    }

    /// Returns the text of the part's file.
    pub(crate) fn stored(&self) -> String {
        let head = serde_json::to_string(&self.head).expect("texts and flags are JSON");
        format!("{HEADER}{VERSION}\n{head}\n{}\n", self.html)
    }

    /// Reads the text of a part's file.
    pub(crate) fn read(text: &str) -> Result<Self, PartError> {
        let (header, rest) = text.split_once('\n').ok_or(PartError::Damaged)?;
        let version = header.strip_prefix(HEADER).ok_or(PartError::Damaged)?;
        if version != VERSION {
            return Err(PartError::OtherVersion);
        }
        let (head, html) = rest.split_once('\n').ok_or(PartError::Damaged)?;
        let head = serde_json::from_str(head).map_err(|_| PartError::Damaged)?;
        match html.trim_end().ends_with("</section>") {
            true => Ok(Self { head, html: html.trim_end().to_owned() }),
            false => Err(PartError::Damaged),
        }
    }
}

/// Renders a page. Of two parts of one test, the first one counts. Otherwise, the order of the parts does not matter.
pub(crate) fn page(mut parts: Vec<Part>) -> String {
    let mut known = BTreeSet::new();
    parts.retain(|part| known.insert(part.head.id.clone()));
    parts.sort_by(|one, other| {
        let key = |part: &Part| (part.head.passes, part.head.binary.clone(), part.head.test.clone());
        key(one).cmp(&key(other))
    });
    let failed = parts.iter().filter(|part| !part.head.passes).count();
    let title = match (failed, parts.len() - failed) {
        (1, 0) => "1 test failed".to_owned(),
        (failed, 0) => format!("{failed} tests failed"),
        (failed, passed) => format!("{failed} failed, {passed} passed"),
    };
    let mut html = Markup::default();
    html.constant("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.constant("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    html.constant("<meta name=\"color-scheme\" content=\"light dark\">");
    // A second line of defense behind the escaping: no other script runs, and nothing is loaded.
    html.constant("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-retryproof'\">");
    html.element("title", &[], |html| html.text(&format!("retryproof: {title}")));
    html.constant(concat!("<style>", include_str!("page.css"), "</style></head>\n<body>"));
    html.constant("<a class=\"skip\" href=\"#main\">Skip to the tests</a>");
    html.element("header", &[], |html| {
        html.leaf("h1", "", &format!("retryproof · {title}"));
        html.element("nav", &[("aria-label", "Tests")], |html| {
            html.element("ol", &[], |html| parts.iter().for_each(|part| part.head.link(html)));
        });
    });
    html.element("main", &[("id", "main")], |html| {
        for part in &parts {
            if html.len() + part.html.len() > MOST_BYTES {
                html.leaf(
                    "p",
                    "hint",
                    &format!("{} does not fit into this page; run it alone", part.head.test),
                );
                continue;
            }
            html.append_stored(&part.html);
            html.constant("\n");
        }
    });
    html.constant(LEGEND);
    html.constant(concat!(
        "<script nonce=\"retryproof\">",
        include_str!("page.js"),
        "</script></body></html>\n"
    ));
    html.into_html()
}

impl PartHead {
    fn link(&self, html: &mut Markup) {
        let target = format!("#{}", self.id);
        html.element("li", &[("class", if self.passes { "pass" } else { "fail" })], |html| {
            html.element("a", &[("href", &target)], |html| html.text(&self.test));
            if !self.binary.is_empty() {
                html.leaf("small", "", &self.binary);
            }
            let text = if self.headline.is_empty() { &self.verdict } else { &self.headline };
            html.leaf("span", "", &crate::judge::report::words::cut(text, 200));
        });
    }
}

/// Explains the signs of the diagrams.
const LEGEND: &str = "<footer><h2>Signs</h2><ul class=\"legend\">\
<li><i class=\"e\"></i> an effect: a charge, a mail</li>\
<li><i class=\"e e2\"></i> the same effect again</li>\
<li><i class=\"lg lv\"></i> a failure that retryproof injected</li>\
<li><i class=\"lg lb\"></i> an attempt runs</li>\
<li><i class=\"lg lp\"></i> it is paused</li>\
<li><i class=\"lg lx\"></i> it crashed</li>\
</ul><p>Time goes down, and is virtual.</p></footer>";

impl Report {
    /// Renders the report as a page for a browser: one self-contained file, with a diagram of the run of each violation.
    ///
    /// [`Explore::check`](crate::Explore::check) writes such a page into the target folder when a test fails. This is
    /// for reports of [`Explore::run`](crate::Explore::run).
    ///
    /// ```
    /// # use retryproof::{Explore, World, service::payments::Charge};
    /// let report = Explore::new().name("charges").deviations(1).run(async |world: &World| {
    ///     world.process("worker", |p| {
    ///         let payments = p.payments();
    ///         p.handle(async move |order: u32| payments.charge(Charge::of_order(order, 500)).await);
    ///     });
    ///     world.enqueue(6_u32);
    ///     world.settle().await;
    /// });
    /// let page = report.to_html();
    /// assert!(page.contains("payments.charge happened twice, expected once"));
    /// ```
    pub fn to_html(&self) -> String {
        page(vec![Part::of(self, "", self.is_retryproof(), &[])])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(test: &str, passes: bool) -> Part {
        let head = PartHead {
            id: format!("t{test}"),
            binary: "it".to_owned(),
            test: test.to_owned(),
            passes,
            verdict: "not retry-proof".to_owned(),
            headline: String::new(),
        };
        Part { head, html: format!("<section id=\"t{test}\"></section>") }
    }

    #[test]
    fn only_parts_of_this_version_are_read() {
        let stored = part("a", false).stored();
        assert_eq!(Part::read(&stored).unwrap().html, "<section id=\"ta\"></section>");
        assert_eq!(Part::read(&stored.replace(VERSION, "9.9.9")).unwrap_err(), PartError::OtherVersion);
        for damaged in ["", "something else\n", &stored[..stored.len() - 5], &stored.replace('{', "")] {
            assert_eq!(Part::read(damaged).unwrap_err(), PartError::Damaged, "{damaged}");
        }
    }

    /// A part: the page begins with its style, which is long.
    #[test]
    fn a_page_is_the_same_in_any_order_of_its_parts() {
        let one = page(vec![part("a", true), part("b", false), part("c", false)]);
        let other = page(vec![part("c", false), part("b", false), part("a", true), part("b", true)]);
        assert_eq!(one, other);
        assert!(one.contains("<title>retryproof: 2 failed, 1 passed</title>"));
    }

    #[test]
    fn a_page_of_ten_thousand_violations_is_small() {
        let report = crate::Explore::new().name("many").deviations(1).run(async |world: &crate::World| {
            world.process("worker", |p| {
                let email = p.email();
                p.handle(async move |text: String| {
                    for _ in 0..6 {
                        email.send(crate::service::email::Email::text("ada", &*text)).await?;
                    }
                    Ok::<(), crate::ServiceError>(())
                });
            });
            world.enqueue("&".repeat(900));
            world.settle().await;
        });
        let mut many = report.clone();
        let (violation, showing) = (&report.violations[0], &report.showings[0]);
        many.violations = vec![violation.clone(); 10_000];
        many.violations[0].paths = vec![violation.paths[0].clone(); 10_000];
        many.showings = vec![showing.clone(); 10_000];
        many.unexplored = vec!["nothing".repeat(100); 10_000];
        many.notes.clone_from(&many.unexplored);
        let part = Part::of(&many, "it", false, &many.unexplored);
        assert!(part.html.len() < 80_000, "{} bytes", part.html.len());
        assert!(part.html.contains("more; RETRYPROOF_VERBOSE=1 prints all violations"));
    }
}

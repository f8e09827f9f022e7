//! Excerpts of the user's source with marks on the lines.

use std::collections::BTreeMap;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::words::visible;
use super::{Code, Mark};
use crate::search::choice::Place;

/// Where a line of an excerpt is cut.
const MOST_COLUMNS: usize = 400;

/// A source file found on this machine.
pub(super) fn read(file: &str) -> Option<String> {
    // Paths are relative to the workspace, tests run in their package: look there and in each folder above it.
    let here =
        std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).or_else(|| std::env::current_dir().ok())?;
    here.ancestors().find_map(|folder| std::fs::read_to_string(folder.join(file)).ok())
}

/// The line of source at a place, `src/a.rs:12:5`, without its indentation.
pub(super) fn line_at(place: &str) -> Option<String> {
    let mut parts = place.rsplitn(3, ':');
    let (_, line, file) = (parts.next()?, parts.next()?, parts.next()?);
    let line: usize = line.parse().ok()?;
    Some(read(file)?.lines().nth(line.checked_sub(1)?)?.trim().to_owned())
}

/// The places to mark, by file, line and column: whether something went wrong there, and what is to be said.
type Places<'m> = BTreeMap<(&'m str, u32, u32), (Place, bool, Vec<&'m str>)>;

/// The marked places under what is wrong, if anything is; without the source where it is not to be found.
pub(crate) fn excerpt(wrong: Option<(&str, Option<Code>)>, marks: &[Mark], colour: bool) -> String {
    // One mark a place: what is said of it twice stands there once after the other.
    let mut places: Places<'_> = BTreeMap::new();
    let mut files: Vec<&str> = Vec::new();
    for mark in marks {
        let key = (mark.place.file, mark.place.line, mark.place.column);
        let (_, primary, texts) = places.entry(key).or_insert((mark.place, false, Vec::new()));
        *primary |= mark.primary;
        if !texts.contains(&mark.text.as_str()) {
            texts.push(&mark.text);
        }
        if !files.contains(&mark.place.file) {
            files.push(mark.place.file);
        }
    }
    let sources: Vec<_> = files.iter().map(|file| (*file, read(file))).collect();
    let mut group = Group::with_title(match wrong {
        Some((wrong, Some(code))) => Level::ERROR.primary_title(visible(wrong)).id(code.as_str()),
        Some((wrong, None)) => Level::ERROR.primary_title(visible(wrong)),
        None => Level::NOTE.primary_title("what was put in the way"),
    });
    let mut unseen = String::new();
    for (file, source) in &sources {
        let here = places.values().filter(|(place, _, _)| place.file == *file);
        let Some(source) = source else {
            for (place, _, texts) in here {
                let texts: Vec<_> = texts.iter().map(|text| visible(text)).collect();
                unseen.push_str(&format!("\n  --> {place}\n      {}", texts.join("\n      ")));
            }
            continue;
        };
        let annotations = here.flat_map(|(place, primary, texts)| {
            let kind = if *primary { AnnotationKind::Primary } else { AnnotationKind::Context };
            let span = span(source, *place);
            texts.iter().filter_map(move |text| Some(kind.span(span.clone()?).label(visible(text))))
        });
        group =
            group.element(Snippet::source(source.as_str()).path(*file).fold(true).annotations(annotations));
    }
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    // What is said at a place must not be cut where the terminal ends; it wraps.
    let renderer = renderer.term_width(MOST_COLUMNS);
    format!("{}{unseen}", renderer.render(&[group]))
}

/// The name that stands at a place: of the method that was called there.
fn span(source: &str, place: Place) -> Option<std::ops::Range<usize>> {
    let line_start: usize = source.split_inclusive('\n').take(place.line as usize - 1).map(str::len).sum();
    let line = source[line_start..].lines().next()?;
    let column: usize = line.chars().take(place.column as usize - 1).map(char::len_utf8).sum();
    let name = line[column..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(line.len() - column);
    let start = line_start + column;
    Some(start..start + name.max(1).min(line.len() - column))
}

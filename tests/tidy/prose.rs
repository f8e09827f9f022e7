//! Comments, messages and pages are in plain American English. CONTRIBUTING.md has the rules. This module finds the
//! phrases that break them most often.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proc_macro2::{LineColumn, TokenStream, TokenTree};

use crate::all_sources;
use crate::code::{Source, members, root, without_docs};
use crate::pages::pages_under;

/// Each phrase, and the advice for it. A phrase is a sequence of words. `a|b` is either word, `a*` is each word that begins
/// with `a`, `^` is the start of a doc comment, and `.` the start of any other sentence.
const PHRASES: &[(&str, &str)] = &[
    ("unless|until told", "`Defaults to N`, or name what sets it"),
    ("unless otherwise told", "`Defaults to N`, or name what sets it"),
    (
        "is|are|was|were|be|been|being|gets told",
        "name the actor: the test sets, the report says, the worker learns",
    ),
    ("is|are|was|were had", "`has`, `holds`"),
    ("is|are|was|were none", "`there is no …`, `has no …`"),
    ("none of our|its|their business", "say what ignores what"),
    ("is|are|was|were to be", "`must be`, `should be`, or the plain verb"),
    ("nothing|nobody|nowhere to be", "`there is no …`"),
    ("is|are|was|were as good as", "`almost`, `equivalent to`"),
    ("come|comes|came to nothing", "`has no effect`, `fails`"),
    ("stand|stands|stood still", "`stalls`, `waits`, `is blocked`"),
    ("of one's own", "`its own`"),
    ("whoever|whosoever|whomever", "name the actor: worker, job, caller, executor, test, server"),
    ("whatever it|they|is|are|was|were|has|have|comes|goes", "name what it is, or `everything that`, `any`"),
    ("^|. who|whose|whom", "name the actor: worker, job, caller, executor, test, server"),
    ("^ what|whatever|that|of", "begin with a noun or a verb: `The options of …`, `Returns …`"),
    ("^ has", "`Returns`, `Makes`, `Registers`, `Reports whether`"),
    ("so many", "the number, or `N`, `that many`"),
    ("so often", "the number of times"),
    ("for ever", "`forever`, `indefinitely`"),
    ("oftener|oftenest", "`more often`"),
    ("in vain", "`without success`, `N times without progress`"),
    ("mend|mends|mended|mending", "`fix`"),
    ("amiss|hitherto|henceforth|lest|thereof|therein|thereby|whence|whither", "a plain word"),
    ("befall|befalls|befell|befallen", "`happens to`, `hits`"),
    ("all the same", "`anyway`, `still`, or `identical`"),
];

/// Plain English, although a part of it is in the list above.
const EXCEPTIONS: &[&str] = &["told apart", "there is|are|was|were none", "time|clock stands|stood still"];

/// British words, and how Americans spell them. `a*` is each word that begins with `a`.
const SPELLINGS: &[(&str, &str)] = &[
    ("behaviour*", "behavior"),
    ("colour*", "color"),
    ("favour*", "favor"),
    ("flavour*", "flavor"),
    ("honour*", "honor"),
    ("neighbour*", "neighbor"),
    ("fulfil|fulfils|fulfilment*", "fulfill, fulfillment"),
    ("licence*", "license"),
    ("centre*", "center"),
    ("defence*", "defense"),
    ("artefact*", "artifact"),
    ("catalogue*", "catalog"),
    ("judgement*", "judgment"),
    ("analyse*", "analyze"),
    ("labelled|labelling", "labeled"),
    ("modelled|modelling", "modeled"),
    ("travelled|travelling", "traveled"),
    ("signalled|signalling", "signaled"),
    ("whilst|amongst", "while, among"),
    ("learnt|spelt|burnt", "learned, spelled, burned"),
];

/// Stems of words that end in `-ize` in American English.
const IZE: &[&str] = &[
    "author",
    "canonical",
    "categor",
    "custom",
    "emphas",
    "final",
    "general",
    "initial",
    "linear",
    "local",
    "material",
    "maxim",
    "memor",
    "minim",
    "normal",
    "optim",
    "organ",
    "parallel",
    "priorit",
    "random",
    "real",
    "recogn",
    "serial",
    "special",
    "summar",
    "synchron",
    "token",
    "util",
    "visual",
];
const ISE: &[&str] = &["ise", "ised", "ises", "iser", "ising", "isation", "isations", "isable"];

/// The number of findings that a file may have, for files that are not rewritten yet. The numbers only shrink.
const ALLOWED: &[(&str, usize)] = &[];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A comment that documents an item.
    Doc,
    /// Any other comment, a string, or a page.
    Text,
}

/// Lines that belong together, each with its number.
struct Passage {
    kind: Kind,
    lines: Vec<(usize, String)>,
}

/// A word in lower case, or a mark: `^` opens a doc comment, `.` ends a sentence, `,` is any other break.
#[derive(Debug)]
struct Word {
    line: usize,
    text: String,
}

/// A phrase that a passage should not have.
#[derive(Debug)]
struct Finding {
    line: usize,
    phrase: String,
    instead: String,
}

impl Passage {
    fn words(&self) -> Vec<Word> {
        let first = self.lines.first().map_or(0, |(line, _)| *line);
        let start = if self.kind == Kind::Doc { "^" } else { "." };
        let mut words = vec![Word { line: first, text: start.to_owned() }];
        let mut is_code = false;
        for (line, text) in &self.lines {
            let line = *line;
            if text.trim().is_empty() {
                is_code = false;
                words.push(Word { line, text: ".".to_owned() });
            }
            for (at, part) in text.split('`').enumerate() {
                if at > 0 {
                    is_code = !is_code;
                    words.push(Word { line, text: ",".to_owned() });
                }
                if !is_code {
                    words.extend(words_of(part).map(|text| Word { line, text }));
                }
            }
        }
        words
    }

    fn findings(&self) -> Vec<Finding> {
        let mut words = self.words();
        let excepted: Vec<_> = (0..words.len())
            .flat_map(|at| EXCEPTED.iter().map(move |parts| (at, parts)))
            .filter(|(at, parts)| matches(parts, &words, *at))
            .flat_map(|(at, parts)| at..at + parts.len())
            .collect();
        excepted.into_iter().for_each(|at| words[at].text.clear());
        let mut findings = Vec::new();
        for (at, word) in words.iter().enumerate() {
            for (parts, instead) in PARTS.iter() {
                if matches(parts, &words, at) {
                    let found = &words[at..at + parts.len()];
                    let texts: Vec<_> = found.iter().map(|word| &*word.text).collect();
                    let phrase = texts.join(" ").trim_start_matches(['^', '.', ' ']).to_owned();
                    let line = found[parts.len() - 1].line;
                    findings.push(Finding { line, phrase, instead: (*instead).to_owned() });
                }
            }
            let stem = ISE.iter().find_map(|end| word.text.strip_suffix(end));
            if let Some(stem) = stem.filter(|stem| IZE.contains(stem)) {
                let instead = format!("`{stem}ize…`");
                findings.push(Finding { line: word.line, phrase: word.text.clone(), instead });
            }
        }
        findings
    }
}

/// The choices for each word of a phrase.
type Parts = Vec<Vec<&'static str>>;

/// Each phrase, with the advice.
static PARTS: LazyLock<Vec<(Parts, &str)>> = LazyLock::new(|| {
    PHRASES.iter().chain(SPELLINGS).map(|&(phrase, instead)| (parts(phrase), instead)).collect()
});
static EXCEPTED: LazyLock<Vec<Parts>> =
    LazyLock::new(|| EXCEPTIONS.iter().map(|phrase| parts(phrase)).collect());

fn parts(phrase: &'static str) -> Parts {
    phrase.split(' ').map(|part| part.split('|').collect()).collect()
}

/// Whether a phrase is at this place of a text.
fn matches(parts: &[Vec<&str>], words: &[Word], at: usize) -> bool {
    let found = words.get(at..at + parts.len());
    found.is_some_and(|found| parts.iter().zip(found).all(|(choices, word)| fits(choices, &word.text)))
}

/// Whether a word of a text is one of the choices of a phrase.
fn fits(choices: &[&str], word: &str) -> bool {
    choices.iter().any(|choice| match choice.strip_suffix('*') {
        Some(stem) => word.starts_with(stem),
        None => word == *choice,
    })
}

fn words_of(text: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let text = text.replace("\\n", " . ").replace("\\\"", " , ");
    for c in text.chars() {
        let word = words.last_mut().expect("there is always a last word");
        match c {
            c if c.is_alphanumeric() || c == '_' || c == '\'' => word.extend(c.to_lowercase()),
            c if c.is_whitespace() => words.push(String::new()),
            '.' | '!' | '?' => words.extend([".".to_owned(), String::new()]),
            '*' | '\\' => {}
            _ => words.extend([",".to_owned(), String::new()]),
        }
    }
    words.into_iter().filter(|word| !word.is_empty())
}

/// Leaves out code between fences, apart from its comments.
fn without_code<'a>(lines: impl IntoIterator<Item = (usize, &'a str)>) -> Vec<(usize, String)> {
    let mut is_code = false;
    let mut kept = Vec::new();
    for (line, text) in lines {
        if text.trim_start().starts_with("```") {
            is_code = !is_code;
            kept.push((line, String::new()));
        } else if !is_code {
            kept.push((line, text.to_owned()));
        } else if let Some((_, comment)) = text.split_once("// ") {
            kept.push((line, comment.to_owned()));
        } else {
            kept.push((line, String::new()));
        }
    }
    kept
}

/// The string literals of a file: where each begins and ends, and its text.
fn literals(tokens: &TokenStream, found: &mut Vec<(LineColumn, LineColumn, String)>) {
    for token in without_docs(tokens.clone()) {
        match token {
            TokenTree::Group(group) => literals(&group.stream(), found),
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                if text.ends_with(['"', '#']) && text.contains('"') {
                    found.push((literal.span().start(), literal.span().end(), text));
                }
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

/// The text of a file with blanks for its string literals.
fn without_literals(source: &Source, literals: &[(LineColumn, LineColumn, String)]) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = source.text.lines().map(|line| line.chars().collect()).collect();
    for (start, end, _) in literals {
        for line in start.line..=end.line {
            let chars = &mut lines[line - 1];
            let from = if line == start.line { start.column } else { 0 };
            let to = if line == end.line { end.column } else { chars.len() };
            chars[from..to].fill(' ');
        }
    }
    lines.into_iter().map(|line| line.into_iter().collect()).collect()
}

/// All comments of a source file, and its string literals if it is part of a library.
fn passages(source: &Source) -> Vec<Passage> {
    let mut strings = Vec::new();
    literals(&source.tokens, &mut strings);
    let mut passages: Vec<Passage> = Vec::new();
    let mut last: Option<(&str, usize)> = None;
    let lines = without_literals(source, &strings);
    for (at, line) in lines.iter().enumerate() {
        let Some((before, comment)) = line.split_once("//") else {
            last = None;
            continue;
        };
        let mark = &comment[..usize::from(comment.starts_with(['/', '!']))];
        let text = (at + 1, comment[mark.len()..].to_owned());
        let place = Some((mark, before.len()));
        match passages.last_mut().filter(|_| place == last && before.trim().is_empty()) {
            Some(passage) => passage.lines.push(text),
            None => {
                let kind = if mark.is_empty() { Kind::Text } else { Kind::Doc };
                passages.push(Passage { kind, lines: vec![text] });
            }
        }
        last = place;
    }
    for passage in &mut passages {
        let lines = std::mem::take(&mut passage.lines);
        passage.lines = without_code(lines.iter().map(|(line, text)| (*line, &**text)));
    }
    if source.path.starts_with("src/") || source.path.contains("/src/") {
        passages.extend(strings.into_iter().map(|(start, _, text)| {
            let lines =
                text.lines().enumerate().map(|(at, line)| (start.line + at, line.to_owned())).collect();
            Passage { kind: Kind::Text, lines }
        }));
    }
    passages
}

fn page(text: &str) -> Passage {
    Passage {
        kind: Kind::Text,
        lines: without_code(text.lines().enumerate().map(|(at, line)| (at + 1, line))),
    }
}

/// The comments of a manifest or a script.
fn after_hashes(text: &str) -> Passage {
    let comment = |line: &str| {
        line.split_once('#').map_or("", |(_, comment)| comment.trim_start_matches('#')).to_owned()
    };
    Passage {
        kind: Kind::Text,
        lines: text.lines().enumerate().map(|(at, line)| (at + 1, comment(line))).collect(),
    }
}

/// The findings of each file that has one.
fn findings() -> BTreeMap<String, Vec<Finding>> {
    let mut found: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
    for source in all_sources() {
        let findings = passages(&source).iter().flat_map(Passage::findings).collect();
        found.insert(source.path, findings);
    }
    let mut pages = Vec::new();
    pages_under(&root(), &mut pages);
    for path in pages {
        let text = std::fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        found.insert(path, page(&text).findings());
    }
    let manifests = members().into_iter().map(|member| format!("{member}/Cargo.toml"));
    for path in manifests.chain(["/.ci/run", "/.ci/bless"].map(str::to_owned)) {
        let path = path.trim_start_matches('/').to_owned();
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        found.insert(path, after_hashes(&text).findings());
    }
    found.retain(|_, findings| !findings.is_empty());
    found
}

/// Compares the findings of each file with the number that it may have.
fn complaints(found: &BTreeMap<String, Vec<Finding>>, allowed: &[(&str, usize)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, findings) in found {
        let limit = allowed.iter().find(|(allowed, _)| allowed == path).map_or(0, |(_, limit)| *limit);
        if findings.len() > limit {
            complaints.push(format!("{path}: {} found, {limit} allowed", findings.len()));
            complaints.extend(findings.iter().map(|Finding { line, phrase, instead }| {
                format!("{path}:{line}: \"{phrase}\"; instead: {instead}")
            }));
        }
    }
    for (path, limit) in allowed {
        let count = found.get(*path).map_or(0, Vec::len);
        if count < *limit {
            complaints.push(format!("{path}: {limit} allowed, {count} found; lower the number in `ALLOWED`"));
        }
    }
    complaints
}

#[test]
fn comments_messages_and_pages_are_in_plain_english() {
    let complaints = complaints(&findings(), ALLOWED);
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn a_file_has_as_many_findings_as_it_may_have() {
    let found = BTreeMap::from([("a.md".to_owned(), page("Oftener.\n").findings())]);
    let oftener = "a.md:1: \"oftener\"; instead: `more often`";
    assert_eq!(complaints(&found, &[]), ["a.md: 1 found, 0 allowed", oftener]);
    assert_eq!(complaints(&found, &[("a.md", 1)]), [""; 0]);
    let lower =
        |found: usize, path: &str| format!("{path}: 2 allowed, {found} found; lower the number in `ALLOWED`");
    assert_eq!(complaints(&found, &[("a.md", 2)]), [lower(1, "a.md")]);
    assert_eq!(complaints(&found, &[("a.md", 1), ("gone.rs", 2)]), [lower(0, "gone.rs")]);
}

/// The lines and phrases that are found in a source file.
fn found_in(path: &str, text: &str) -> Vec<(usize, String)> {
    let source = Source {
        path: path.to_owned(),
        text: text.to_owned(),
        code: String::new(),
        tokens: text.parse().unwrap(),
    };
    let findings = passages(&source).iter().flat_map(Passage::findings).collect::<Vec<_>>();
    findings.into_iter().map(|finding| (finding.line, finding.phrase)).collect()
}

fn owned(findings: &[(usize, &str)]) -> Vec<(usize, String)> {
    findings.iter().map(|(line, phrase)| (*line, (*phrase).to_owned())).collect()
}

#[test]
fn phrases_are_found_in_comments_and_in_messages_of_libraries() {
    let text = "//! 2 unless told.\n\n/// There are so\n/// many. Who waits, waits.\nfn a() {\n    b(\"c // in vain\"); // Colours.\n}\n";
    let comments = [(1, "unless told"), (4, "so many"), (4, "who"), (6, "colours")];
    assert_eq!(found_in("tests/a.rs", text), owned(&comments));
    assert_eq!(found_in("src/a.rs", text), owned(&[&comments[..], &[(6, "in vain")]].concat()));
    assert_eq!(found_in("src/a.rs", "/// Has a job wait.\nfn a() {}\n"), owned(&[(1, "has")]));
    assert_eq!(found_in("src/a.rs", "// Serialises.\nfn a() {}\n"), owned(&[(1, "serialises")]));
}

#[test]
fn code_and_plain_english_are_left_alone() {
    let text = "/// A job has told `whoever` of it. So, many wait.\n///\n/// ```\n/// let whoever = for_ever; // fine\n/// ```\n\
                /// The worker, who waits, is a noun; if there is none, two are told apart: optimistic, realistic, promised.\nfn whoever() { a(\"unless-told\"); }\n";
    assert_eq!(found_in("src/a.rs", text), []);
    assert_eq!(page("So.\n\nMany `is none`.\n\n```rust\nis none\n```\n").findings().len(), 0);
    let findings = page("A page.\n\n```rust\na(); // in vain\n```\nIs\nnone, is none.\n").findings();
    let lines: Vec<_> = findings.iter().map(|finding| finding.line).collect();
    assert_eq!(lines, [4, 7, 7]);
    let findings = after_hashes("none = 1 # is none\n\n## For\n## ever.\nis = \"none\"\n").findings();
    let lines: Vec<_> = findings.iter().map(|finding| (finding.line, &*finding.phrase)).collect();
    assert_eq!(lines, [(1, "is none"), (4, "for ever")]);
}

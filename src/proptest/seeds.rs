//! A file with the seeds of failing cases.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::judge::check::replace;

/// The first line of a file, and the version of the format.
const HEADER: &str = "# retryproof seeds, format ";
const FORMAT: &str = "1";
/// The maximum number of seeds of one test.
const MOST: usize = 20;
/// The maximum length of the description of a case after its seed, in bytes.
const LONGEST: usize = 200;

/// The seed of a case, written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seed(pub(super) u64);

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Seed {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_seed = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_seed.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

/// The reason why a file of seeds, or a line of it, is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SeedsError {
    #[error("{}: it cannot be read: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error(
        "{}: its first line is not `{HEADER}{FORMAT}`, so it is not a list of seeds of this version, and not used; delete it: cases that still fail are found again",
        path.display()
    )]
    OtherFormat { path: PathBuf },
    #[error("{}:{line}: `{text}` is not a seed, which has 16 hexadecimal digits; the line is skipped", path.display())]
    NoSeed { path: PathBuf, line: usize, text: String },
    #[error("{0}")]
    Unwritable(String),
}

/// The seeds in a file, and the errors in the rest of it.
pub(super) fn read(path: &Path) -> (Vec<Seed>, Vec<SeedsError>) {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return (Vec::new(), Vec::new());
        }
        Err(error) => return (Vec::new(), vec![SeedsError::Unreadable { path: path.to_owned(), error }]),
    };
    if text.lines().next().and_then(|first| first.strip_prefix(HEADER)).map(str::trim) != Some(FORMAT) {
        return (Vec::new(), vec![SeedsError::OtherFormat { path: path.to_owned() }]);
    }
    let (mut seeds, mut errors) = (Vec::new(), Vec::new());
    for (line, text) in text.lines().enumerate() {
        let Some(word) = text.split_whitespace().next().filter(|word| !word.starts_with('#')) else {
            continue;
        };
        match Seed::parse(word) {
            Some(seed) if seeds.contains(&seed) => {}
            Some(seed) => seeds.push(seed),
            None => {
                let (path, text) = (path.to_owned(), word.to_owned());
                errors.push(SeedsError::NoSeed { path, line: line + 1, text });
            }
        }
    }
    (seeds, errors)
}

/// Puts a seed, with its case, before the existing ones.
pub(super) fn add(path: &Path, seed: Seed, case: &str) -> Result<(), SeedsError> {
    let (known, errors) = read(path);
    if errors.iter().any(|error| !matches!(error, SeedsError::NoSeed { .. })) {
        return Err(SeedsError::OtherFormat { path: path.to_owned() });
    }
    if known.contains(&seed) {
        return Ok(());
    }
    let case: String = case.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LONGEST).collect();
    let known = known.iter().take(MOST - 1).map(|seed| format!("{seed}\n")).collect::<String>();
    let text = format!("{HEADER}{FORMAT}\n{seed} # {case}\n{known}");
    replace(path, &text).map_err(|error| SeedsError::Unwritable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read_as_they_were_written() {
        let path = std::env::temp_dir().join(format!("retryproof-seeds-{}", std::process::id()));
        add(&path, Seed(7), "Workload(\n one )").unwrap();
        add(&path, Seed(u64::MAX), "two").unwrap();
        add(&path, Seed(7), "again").unwrap();
        let (seeds, errors) = read(&path);
        assert_eq!((seeds, errors.len()), (vec![Seed(u64::MAX), Seed(7)], 0));
        fs::write(&path, "# retryproof seeds, format 1\nnot-a-seed\n0000000000000007 # why\n").unwrap();
        let (seeds, errors) = read(&path);
        assert_eq!((seeds, errors.len()), (vec![Seed(7)], 1));
        assert!(errors[0].to_string().ends_with(
            ":2: `not-a-seed` is not a seed, which has 16 hexadecimal digits; the line is skipped"
        ));
        fs::write(&path, "cc 1234 # of another tool\n").unwrap();
        let (seeds, errors) = read(&path);
        assert_eq!((seeds, errors.len()), (vec![], 1));
        assert!(add(&path, Seed(1), "not into theirs").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "cc 1234 # of another tool\n");
        fs::remove_file(&path).unwrap();
    }
}

//! Appends a summary of each test to the file that `GITHUB_STEP_SUMMARY` names, which GitHub shows on the page of a CI
//! run. Prints violations as annotations, which GitHub shows at their lines.

use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Once;

use super::surroundings::say;
use crate::judge::report::{Report, annotations, markdown};

const SUMMARY: &str = "GITHUB_STEP_SUMMARY";
/// The variable that turns annotations off.
const ANNOTATIONS: &str = "RETRYPROOF_ANNOTATIONS";
/// GitHub shows at most a mebibyte of the file, and shows nothing if the file is larger.
const MOST_BYTES: u64 = 900 << 10;

/// Why there is no summary.
#[derive(Debug, thiserror::Error)]
enum SummaryError {
    #[error("{SUMMARY}: cannot append a summary to {}: {error}", path.display())]
    Unwritable { path: PathBuf, error: io::Error },
    #[error("{SUMMARY}: {} is full, so this summary is not appended", path.display())]
    Full { path: PathBuf },
}

/// Appends the result of a test, if the variable is set. This does not affect whether the test passes.
pub(super) fn append(report: &Report, passes: bool, added: &[String]) {
    let Some(path) = env::var_os(SUMMARY).filter(|path| !path.is_empty()).map(PathBuf::from) else { return };
    if let Err(error) = append_to(&path, &markdown(report, passes, added)) {
        static SAID: Once = Once::new();
        SAID.call_once(|| say(&error.to_string()));
    }
}

/// Prints each violation as an annotation if this is a step of GitHub Actions.
pub(super) fn annotate(report: &Report) {
    let is_off = env::var_os(ANNOTATIONS).is_some_and(|value| value == "off");
    if is_off || env::var_os("GITHUB_ACTIONS").is_none_or(|value| value != "true") {
        return;
    }
    // Not through `println!`, which libtest captures and indents. It may have begun a line of its own.
    let lines: String = annotations(report).iter().map(|line| format!("\n{line}")).collect();
    let _ = io::stdout().write_all(format!("{lines}\n").as_bytes());
}

fn append_to(path: &Path, text: &str) -> Result<(), SummaryError> {
    let written = || -> io::Result<bool> {
        let mut file = File::options().create(true).append(true).open(path)?;
        let is_full = file.metadata()?.len() + text.len() as u64 > MOST_BYTES;
        // One write, because other tests append at the same time.
        if !is_full {
            file.write_all(text.as_bytes())?;
        }
        Ok(is_full)
    };
    match written() {
        Ok(false) => Ok(()),
        Ok(true) => Err(SummaryError::Full { path: path.to_owned() }),
        Err(error) => Err(SummaryError::Unwritable { path: path.to_owned(), error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_full_stays_as_it_is() {
        let path = env::temp_dir().join(format!("retryproof-summary-{}", std::process::id()));
        append_to(&path, "one\n").unwrap();
        append_to(&path, "two\n").unwrap();
        let error = append_to(&path, &"x".repeat(1 << 20)).unwrap_err();
        assert!(error.to_string().contains("is full"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        std::fs::remove_file(&path).unwrap();
    }
}

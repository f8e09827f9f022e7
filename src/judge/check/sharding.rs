//! Determines which shard of an exploration to run, from the settings or the environment.

use std::env::{self, VarError};
use std::fs::File;

use super::Explore;
use crate::search::explore::{Share, ShareError};

/// The variable that holds `k/n` or `bazel`.
const SHARD: &str = "RETRYPROOF_SHARD";
/// The value for which Bazel's own variables determine the shard.
const BAZEL: &str = "bazel";
const BAZEL_INDEX: &str = "TEST_SHARD_INDEX";
const BAZEL_TOTAL: &str = "TEST_TOTAL_SHARDS";
const BAZEL_STATUS: &str = "TEST_SHARD_STATUS_FILE";

/// Why the shard cannot be determined. Then none runs, because nobody would notice a missing shard.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShardError {
    #[error("`Explore::shard`: {0}")]
    Setting(ShareError),
    #[error("{SHARD}: {0}; or use `{BAZEL}` if Bazel splits the test and {BAZEL_INDEX} names the shard")]
    Variable(ShareError),
    #[error("{SHARD}={BAZEL}, but {BAZEL_TOTAL} and {BAZEL_INDEX} do not say which shard this is: {0}")]
    Bazel(String),
    #[error(
        "{SHARD}={BAZEL}, but the file that {BAZEL_STATUS} names, which tells Bazel that the test supports sharding, cannot be written: {0}"
    )]
    Status(std::io::Error),
}

impl Explore {
    /// Returns the share to run.
    pub(super) fn share(&self) -> Result<Share, ShardError> {
        self.share_by(|variable| env::var(variable))
    }

    fn share_by(&self, variable: impl Fn(&str) -> Result<String, VarError>) -> Result<Share, ShardError> {
        if let Some((number, of)) = self.shard {
            return Share::new(number, of).map_err(ShardError::Setting);
        }
        match variable(SHARD) {
            Err(VarError::NotPresent) => Ok(Share::default()),
            // An unused variable in a CI matrix is empty.
            Ok(text) if text.trim().is_empty() => Ok(Share::default()),
            Ok(text) if text == BAZEL => bazels(variable),
            Ok(text) => text.parse().map_err(ShardError::Variable),
            Err(VarError::NotUnicode(text)) => {
                Err(ShardError::Variable(ShareError::NotAShare { text: text.to_string_lossy().into_owned() }))
            }
        }
    }
}

/// Returns the share that Bazel assigned to this process. It is everything if Bazel does not split the test.
fn bazels(variable: impl Fn(&str) -> Result<String, VarError>) -> Result<Share, ShardError> {
    let number = |name: &str| {
        let text = variable(name).map_err(|error| ShardError::Bazel(format!("{name}: {error}")))?;
        text.parse::<u64>().map_err(|error| ShardError::Bazel(format!("{name}={text}: {error}")))
    };
    if variable(BAZEL_TOTAL).is_err() {
        return Ok(Share::default());
    }
    // Bazel counts from 0.
    let (total, index) = (number(BAZEL_TOTAL)?, number(BAZEL_INDEX)?);
    let share =
        Share::new(index.saturating_add(1), total).map_err(|error| ShardError::Bazel(error.to_string()))?;
    if let Ok(path) = variable(BAZEL_STATUS) {
        File::options().create(true).append(true).open(path).map_err(ShardError::Status)?;
    }
    Ok(share)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn share(settings: &Explore, variables: &[(&str, &str)]) -> Result<String, String> {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        let variable = |name: &str| variables.get(name).map(|v| (*v).to_owned()).ok_or(VarError::NotPresent);
        settings.share_by(variable).map(|share| share.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_setting_comes_before_the_environment() {
        let (plain, third) = (Explore::new(), Explore::new().shard(3, 4));
        assert_eq!(share(&plain, &[]), Ok("1 of 1".to_owned()));
        assert_eq!(share(&plain, &[(SHARD, "2/5")]), Ok("2 of 5".to_owned()));
        assert_eq!(share(&plain, &[(SHARD, "")]), share(&plain, &[]));
        assert_eq!(share(&third, &[(SHARD, "2/5")]), Ok("3 of 4".to_owned()));
    }

    #[test]
    fn bazel_is_obeyed_only_where_it_is_asked_to_split_inside_a_test() {
        let file = env::temp_dir().join(format!("retryproof-shard-status-{}", std::process::id()));
        let path = file.to_str().unwrap();
        let bazel = [(BAZEL_TOTAL, "5"), (BAZEL_INDEX, "1"), (BAZEL_STATUS, path)];
        // Bazel's rules for Rust split by test. Splitting by scenario as well would leave out scenarios.
        assert_eq!(share(&Explore::new(), &bazel), Ok("1 of 1".to_owned()));
        assert!(!file.exists());
        let asked = [bazel[0], bazel[1], bazel[2], (SHARD, BAZEL)];
        assert_eq!(share(&Explore::new(), &asked), Ok("2 of 5".to_owned()));
        assert!(file.exists(), "the test tells Bazel that it supports sharding");
        std::fs::remove_file(&file).unwrap();
        // A test that Bazel does not split.
        assert_eq!(share(&Explore::new(), &[(SHARD, BAZEL)]), Ok("1 of 1".to_owned()));
    }

    #[test]
    fn garbage_is_told() {
        let error = |variables: &[(&str, &str)]| share(&Explore::new(), variables).unwrap_err();
        assert_eq!(
            error(&[(SHARD, "half")]),
            "RETRYPROOF_SHARD: `half` is not a shard; write `k/n`, as in `2/5`, the second of five; or use \
             `bazel` if Bazel splits the test and TEST_SHARD_INDEX names the shard"
        );
        let bazel = |total, index| error(&[(SHARD, BAZEL), (BAZEL_TOTAL, total), (BAZEL_INDEX, index)]);
        let what = "RETRYPROOF_SHARD=bazel, but TEST_TOTAL_SHARDS and TEST_SHARD_INDEX do not say which shard this is: ";
        assert_eq!(
            bazel("5", "5"),
            format!("{what}there is no shard 6 of 5; shards count from 1 up to their number")
        );
        assert_eq!(bazel("x", "1"), format!("{what}TEST_TOTAL_SHARDS=x: invalid digit found in string"));
        assert_eq!(
            error(&[(SHARD, BAZEL), (BAZEL_TOTAL, "5")]),
            format!("{what}TEST_SHARD_INDEX: environment variable not found")
        );
        let nowhere =
            [(SHARD, BAZEL), (BAZEL_TOTAL, "5"), (BAZEL_INDEX, "1"), (BAZEL_STATUS, "/no/such/folder/file")];
        // A part: the rest is the operating system's.
        assert!(error(&nowhere).contains("cannot be written: "), "{}", error(&nowhere));
        assert_eq!(
            share(&Explore::new().shard(0, 5), &[]).unwrap_err(),
            "`Explore::shard`: there is no shard 0 of 5; shards count from 1 up to their number"
        );
    }
}

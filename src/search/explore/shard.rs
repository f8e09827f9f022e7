//! Shares of an exploration. Each of several machines runs one share, and together they run everything.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::Serialize;

/// One of several shares. Numbered items are dealt to the shares like cards.
///
/// Its text is `k/n`, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Counted from 0.
    index: u64,
    of: u64,
}

/// The reason why a text is not a share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShareError {
    #[error("there is no shard {number} of {of}; shards count from 1 up to their number")]
    NoSuch { number: u64, of: u64 },
    #[error("`{text}` is not a shard; write `k/n`, as in `2/5`, the second of five")]
    NotAShare { text: String },
}

impl Default for Share {
    /// Everything.
    fn default() -> Self {
        Self { index: 0, of: 1 }
    }
}

impl Share {
    /// Makes the share with this number, counted from 1.
    pub(crate) fn new(number: u64, of: u64) -> Result<Self, ShareError> {
        match number.checked_sub(1).filter(|index| *index < of) {
            Some(index) => Ok(Self { index, of }),
            None => Err(ShareError::NoSuch { number, of }),
        }
    }

    pub(crate) fn is_all(self) -> bool {
        self.of == 1
    }

    /// Reports whether the item with this number, counted from 0, is in the share.
    pub(crate) fn has(self, number: u64) -> bool {
        number % self.of == self.index
    }

    /// The number of these items that are in the share.
    pub(crate) fn count(self, numbers: Range<u64>) -> u64 {
        let before = |end: u64| end / self.of + u64::from(end % self.of > self.index);
        before(numbers.end) - before(numbers.start)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.index + 1, self.of)
    }
}

impl Serialize for Share {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let numbers =
            text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        let (number, of) = numbers.ok_or_else(|| ShareError::NotAShare { text: text.to_owned() })?;
        Self::new(number, of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_have_each_number_once() {
        for of in 1..=7 {
            let shares: Vec<_> = (1..=of).map(|number| Share::new(number, of).unwrap()).collect();
            for number in 0..50 {
                assert_eq!(shares.iter().filter(|share| share.has(number)).count(), 1);
            }
            assert_eq!(shares.iter().map(|share| share.count(0..u64::MAX)).sum::<u64>(), u64::MAX);
            for (from, to) in [(0, 0), (0, 50), (3, 4), (5, 29)] {
                for share in &shares {
                    let counted = (from..to).filter(|number| share.has(*number)).count() as u64;
                    assert_eq!(share.count(from..to), counted, "{share}: {from}..{to}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_share_is_told_so() {
        let error = |text: &str| text.parse::<Share>().unwrap_err().to_string();
        assert_eq!("2/5".parse(), Share::new(2, 5));
        assert_eq!(Share::new(2, 5).unwrap().to_string(), "2 of 5");
        for (text, number, of) in [("0/5", 0, 5), ("6/5", 6, 5), ("0/0", 0, 0), ("1/0", 1, 0)] {
            let expected =
                format!("there is no shard {number} of {of}; shards count from 1 up to their number");
            assert_eq!(error(text), expected);
        }
        for text in ["", "2", "2/", "/5", "2 / 5", "2/5/7", "-1/5", "two/five"] {
            assert_eq!(
                error(text),
                format!("`{text}` is not a shard; write `k/n`, as in `2/5`, the second of five")
            );
        }
    }
}

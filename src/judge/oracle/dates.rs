//! Moments in a text, as programs write them for people and for each other: `2026-01-31T23:59:59.5Z`,
//! `Sat, 31 Jan 2026 23:59:59 GMT`, `20260131T235959Z`, `23:59:59`, `2026-01-31`.
//!
//! Only the distance of two moments counts, so their zone does not matter: it stays in the text.

const DAY: i128 = 86_400 * SECOND;
const SECOND: i128 = 1_000_000_000;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Mon, ", "Tue, ", "Wed, ", "Thu, ", "Fri, ", "Sat, ", "Sun, "];

/// A moment in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// In nanoseconds. A time of day without a date counts from midnight.
    nanos: i128,
    /// The smallest difference that its text shows.
    unit: i128,
    has_date: bool,
}

impl Moment {
    /// Whether the other moment is later by this many nanoseconds, as far as the texts show.
    pub(super) fn is_before(self, other: Self, by: i128) -> bool {
        if self.has_date != other.has_date {
            return false;
        }
        let apart = other.nanos - self.nanos - by;
        let apart = if self.has_date { apart } else { apart.rem_euclid(DAY).min((-apart).rem_euclid(DAY)) };
        apart.abs() < self.unit.max(other.unit)
    }
}

/// Returns a text with a mark in the place of each moment, and the moments.
pub(super) fn moments(text: &str) -> (String, Vec<Moment>) {
    let (mut template, mut found, mut rest) = (String::new(), Vec::new(), text);
    // What follows a letter or a digit is no moment. What follows a moment and a sign is its zone.
    let (mut is_within, mut was_moment) = (false, false);
    while let Some(first) = rest.chars().next() {
        let is_zone = first == '+' || (first == '-' && was_moment);
        let parsed = if is_within { None } else { moment(rest) };
        was_moment = parsed.is_some();
        let (taken, mark) = match parsed {
            Some((moment, length)) => {
                found.push(moment);
                (length, '\u{1}')
            }
            None => (first.len_utf8(), first),
        };
        template.push(mark);
        is_within = mark.is_ascii_alphanumeric() || is_zone;
        rest = &rest[taken..];
    }
    (template, found)
}

/// The moment at the beginning of a text, and the length of its text.
fn moment(text: &str) -> Option<(Moment, usize)> {
    let mut cursor = Cursor { left: text };
    let weekday = WEEKDAYS.iter().any(|day| cursor.eat(day));
    let date = if weekday { cursor.mail_date() } else { cursor.date().or_else(|| cursor.mail_date()) };
    let after_date = cursor.left;
    let separated = date.is_none() || [" ", "T", "t"].iter().any(|between| cursor.eat(between));
    let time = separated.then(|| cursor.time()).flatten();
    let (days, nanos, unit) = match (date, time) {
        (Some(days), Some((nanos, unit))) => (days, nanos, unit),
        (Some(days), None) => {
            cursor.left = after_date;
            (days, 0, DAY)
        }
        (None, Some((nanos, unit))) => (0, nanos, unit),
        (None, None) => return None,
    };
    let ends_in_number = cursor.left.starts_with(|c: char| c.is_ascii_digit());
    let moment = Moment { nanos: days * DAY + nanos, unit, has_date: date.is_some() };
    (!ends_in_number).then_some((moment, text.len() - cursor.left.len()))
}

/// Reads a text from its beginning.
#[derive(Clone, Copy)]
struct Cursor<'t> {
    left: &'t str,
}

impl Cursor<'_> {
    fn eat(&mut self, text: &str) -> bool {
        let rest = self.left.strip_prefix(text);
        self.left = rest.unwrap_or(self.left);
        rest.is_some()
    }

    /// A number with this many digits.
    fn number(&mut self, digits: usize) -> Option<i128> {
        let number = self.left.get(..digits).filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()))?;
        self.left = &self.left[digits..];
        number.parse().ok()
    }

    /// `2026-01-31` or `20260131`, as days.
    fn date(&mut self) -> Option<i128> {
        let before = *self;
        let date = self.parts_of_date();
        if date.is_none() {
            *self = before;
        }
        date
    }

    fn parts_of_date(&mut self) -> Option<i128> {
        let year = self.number(4)?;
        let is_separated = self.eat("-");
        let month = self.number(2).filter(|month| (1..=12).contains(month))?;
        if is_separated && !self.eat("-") {
            return None;
        }
        let day = self.number(2).filter(|day| (1..=31).contains(day))?;
        // Eight digits alone are a number.
        let is_date = is_separated || (self.left.starts_with('T') && year >= 1900);
        is_date.then(|| days(year, month, day))
    }

    /// `31 Jan 2026`, as days.
    fn mail_date(&mut self) -> Option<i128> {
        let before = *self;
        let date = self.parts_of_mail_date();
        if date.is_none() {
            *self = before;
        }
        date
    }

    fn parts_of_mail_date(&mut self) -> Option<i128> {
        let day = self.number(2).filter(|day| (1..=31).contains(day))?;
        let month = self.eat(" ").then(|| MONTHS.iter().position(|month| self.eat(month))).flatten()?;
        let year = self.eat(" ").then(|| self.number(4)).flatten()?;
        Some(days(year, month as i128 + 1, day))
    }

    /// `23:59:59.5`, `23:59` or `235959`, in nanoseconds since midnight, and its smallest unit.
    fn time(&mut self) -> Option<(i128, i128)> {
        let before = *self;
        let time = self.parts_of_time();
        if time.is_none() {
            *self = before;
        }
        time
    }

    fn parts_of_time(&mut self) -> Option<(i128, i128)> {
        let hour = self.number(2).filter(|hour| *hour < 24)?;
        let is_separated = self.eat(":");
        let minute = self.number(2).filter(|minute| *minute < 60)?;
        let minutes = (hour * 60 + minute) * 60 * SECOND;
        if is_separated && !self.left.starts_with(':') {
            return Some((minutes, 60 * SECOND));
        }
        self.eat(":");
        let second = self.number(2).filter(|second| *second < 61)?;
        let (mut nanos, mut unit) = (minutes + second * SECOND, SECOND);
        let has_fraction =
            self.left.starts_with(['.', ',']) && self.left[1..].starts_with(|c: char| c.is_ascii_digit());
        if has_fraction {
            self.left = &self.left[1..];
            while let Some(digit) = self.number(1) {
                unit /= 10;
                nanos += digit * unit;
            }
        }
        Some((nanos, unit.max(1)))
    }
}

/// The number of days from 0000-03-01 to a date of the Gregorian calendar.
fn days(year: i128, month: i128, day: i128) -> i128 {
    // A year begins in March here, so that the leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds from one text to another one with the same template and one moment.
    fn is_later(one: &str, other: &str, seconds: i128) -> bool {
        let ((template, ours), (other, theirs)) = (moments(one), moments(other));
        let ([one], [two]) = (&ours[..], &theirs[..]) else { panic!("one moment each: {ours:?} {theirs:?}") };
        template == other && one.is_before(*two, seconds * SECOND)
    }

    #[test]
    fn moments_are_found_in_their_formats() {
        for (one, other, seconds) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:01:00Z", 60),
            ("at 2024-02-28 23:59:30.250+02:00.", "at 2024-02-29 00:00:30.250+02:00.", 60),
            ("Wed, 31 Dec 2025 23:59:59 GMT", "Thu, 01 Jan 2026 00:00:59 GMT", 60),
            ("AWS4/20251231T235959Z", "AWS4/20260101T000059Z", 60),
            ("23:59:59", "00:00:59", 60),
            ("until 12:30", "until 12:31", 60),
            ("2025-12-31", "2026-01-01", 60),
            ("1900-02-28T00:00:00", "1900-03-01T00:00:00", 86_400),
            ("2000-02-28T00:00:00", "2000-03-01T00:00:00", 2 * 86_400),
        ] {
            assert!(is_later(one, other, seconds), "{one} {other}");
            assert!(!is_later(one, other, seconds + 2 * 86_400 + 3_600), "{one} {other}");
        }
    }

    #[test]
    fn other_numbers_are_no_moments() {
        for text in
            ["20251231", "1234-5678", "12-34", "99:99:99", "2025-13-01", "123:45:678", "a12:30x", "7:30"]
        {
            assert_eq!(moments(text).1, [], "{text}");
        }
        assert_eq!(moments("a 2025-12-31 b").0, "a \u{1} b");
    }
}

//! Generated values: random numbers, ids, and sequence numbers. They have no meaning of their own.
//!
//! They differ between runs without being wrong, so outcomes are compared up to a one-to-one renaming of them. This
//! module recognizes them in texts. `docs/decisions/029-generated-values.md` decides which forms it recognizes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::system::json_path::JsonPath;

/// A number that is drawn below a smaller bound is an ordinary number. Its digits would often occur by chance.
const LEAST_BOUND: u64 = 1_000_000;
/// The same limit for the number itself. One in a hundred numbers with six digits is smaller.
const LEAST_NUMBER: u64 = 10_000;
/// A form of at least this many characters is recognized inside words, too, because it does not occur by chance.
const UNMISTAKABLE: usize = 12;

/// The numbers and texts that a run has generated, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Generated {
    numbers: Vec<u64>,
    texts: Vec<Box<str>>,
    /// Readings of the clock.
    times: BTreeSet<Duration>,
    /// Whether a random number was drawn, of whatever size.
    has_draws: bool,
    /// Parts of payloads of a job kind that are ignored, too.
    ignored: Vec<(&'static str, JsonPath)>,
}

impl Generated {
    /// Records a number that was drawn below a bound.
    pub(crate) fn draw(&mut self, number: u64, bound: u64) {
        self.has_draws = true;
        if bound >= LEAST_BOUND && number >= LEAST_NUMBER {
            self.number(number);
        }
    }

    /// Records a number that does not equal another one by chance.
    pub(crate) fn number(&mut self, number: u64) {
        if !self.numbers.contains(&number) {
            self.numbers.push(number);
        }
    }

    /// Whether a random number was drawn, of whatever size.
    pub(crate) fn has_draws(&self) -> bool {
        self.has_draws
    }

    /// The clock was read.
    pub(crate) fn time(&mut self, now: Duration) {
        self.times.insert(now);
    }

    /// Adds what code under test has asked the operating system for, if that is simulated.
    pub(crate) fn add_of_system(&mut self, times: &BTreeSet<Duration>, has_draws: bool) {
        self.times.extend(times);
        self.has_draws |= has_draws;
    }

    /// Readings of the clock.
    pub(crate) fn times(&self) -> &BTreeSet<Duration> {
        &self.times
    }

    /// Records a text, such as an id.
    pub(crate) fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.texts.push(text.into());
        }
    }

    /// Ignores a part of the payloads of a job kind.
    pub(crate) fn ignore(&mut self, kind: &'static str, path: JsonPath) {
        self.ignored.push((kind, path));
    }

    /// The payload of a job without the ignored parts.
    pub(crate) fn compared<'t>(&self, kind: &str, payload: &'t str) -> Cow<'t, str> {
        let mut paths =
            self.ignored.iter().filter(|(known, _)| *known == kind).map(|(_, path)| path).peekable();
        let left = paths.peek().is_some().then(|| JsonPath::blank_text(paths, payload)).flatten();
        left.map_or(Cow::Borrowed(payload), Cow::Owned)
    }
}

/// The format of a value. Two texts are equal only if their values have the same format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Shape {
    Text,
    Decimal,
    Signed,
    /// Without the sign bit, as when a random number becomes an `i64`.
    Positive,
    /// Without the lowest bit, and with as many bits as a float holds.
    Halved,
    Float,
    /// With or without leading zeros.
    Hex,
    Upper,
    /// The lower and the upper half.
    Low,
    High,
    LowHex,
    HighHex,
    /// As the first or the last 64 bits of a random UUID, with or without hyphens.
    UuidFirst,
    UuidLast,
    UuidFirstPlain,
    UuidLastPlain,
    /// The same with the bytes in little-endian order.
    BytesFirst,
    BytesLast,
    BytesFirstPlain,
    BytesLastPlain,
}

/// A formatted value.
#[derive(Debug)]
struct Form {
    text: String,
    value: usize,
    shape: Shape,
}

/// A value that was found in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoundValue {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) value: usize,
    pub(crate) shape: Shape,
}

/// All formats of the values of a run, the longest first. Values are numbered: first the numbers, then the texts.
#[derive(Debug)]
pub(crate) struct Forms {
    forms: Vec<Form>,
    values: usize,
}

impl Forms {
    pub(crate) fn of(generated: &Generated) -> Self {
        let (mut forms, mut known) = (Vec::new(), BTreeSet::new());
        let mut add = |text: String, value: usize, shape: Shape| {
            if known.insert(text.clone()) {
                forms.push(Form { text, value, shape });
            }
        };
        for (value, &number) in generated.numbers.iter().enumerate() {
            let (high, low) = (number >> 32, number & u64::from(u32::MAX));
            add(number.to_string(), value, Shape::Decimal);
            add((number as i64).to_string(), value, Shape::Signed);
            add((number & i64::MAX as u64).to_string(), value, Shape::Positive);
            add(format!("{number:016x}"), value, Shape::Hex);
            add(format!("{number:x}"), value, Shape::Hex);
            add(format!("{number:016X}"), value, Shape::Upper);
            add(format!("{number:X}"), value, Shape::Upper);
            // A half counts as a value only if the number has two halves.
            if high != 0 {
                add((number >> 1).to_string(), value, Shape::Halved);
                add((number >> 11).to_string(), value, Shape::Float);
                let (uuid, bytes) = (uuid_halves(number), uuid_halves(number.swap_bytes()));
                let [first, last, first_plain, last_plain] = uuid;
                add(first, value, Shape::UuidFirst);
                add(last, value, Shape::UuidLast);
                add(first_plain, value, Shape::UuidFirstPlain);
                add(last_plain, value, Shape::UuidLastPlain);
                let [first, last, first_plain, last_plain] = bytes;
                add(first, value, Shape::BytesFirst);
                add(last, value, Shape::BytesLast);
                add(first_plain, value, Shape::BytesFirstPlain);
                add(last_plain, value, Shape::BytesLastPlain);
                for (half, decimal, hex) in
                    [(low, Shape::Low, Shape::LowHex), (high, Shape::High, Shape::HighHex)]
                {
                    if half >= LEAST_BOUND {
                        add(half.to_string(), value, decimal);
                        add(format!("{half:08x}"), value, hex);
                    }
                }
            }
        }
        for (at, text) in generated.texts.iter().enumerate() {
            add(text.to_string(), generated.numbers.len() + at, Shape::Text);
        }
        forms.sort_by(|one, other| {
            other.text.len().cmp(&one.text.len()).then_with(|| one.text.cmp(&other.text))
        });
        Self { forms, values: generated.numbers.len() + generated.texts.len() }
    }

    /// The number of values.
    pub(crate) fn values(&self) -> usize {
        self.values
    }

    /// The text of a value in a format.
    pub(crate) fn text(&self, value: usize, shape: Shape) -> Option<&str> {
        self.forms
            .iter()
            .find(|form| (form.value, form.shape) == (value, shape))
            .map(|form| form.text.as_str())
    }

    /// The values in a text, in order. Of values that overlap, the longest one is taken.
    pub(crate) fn find(&self, text: &str) -> Vec<FoundValue> {
        let mut found: Vec<FoundValue> = Vec::new();
        for form in &self.forms {
            for (from, _) in text.match_indices(form.text.as_str()) {
                let to = from + form.text.len();
                let is_free = found.iter().all(|other| to <= other.from || other.to <= from);
                if is_free && (form.text.len() >= UNMISTAKABLE || is_word(text, from, to)) {
                    found.push(FoundValue { from, to, value: form.value, shape: form.shape });
                }
            }
        }
        found.sort_by_key(|found| found.from);
        found
    }

    /// A text with its values removed.
    pub(crate) fn blank<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let found = self.find(text);
        if found.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(Self::template(text, &found)) }
    }

    /// A text with its values replaced by their formats.
    pub(crate) fn template(text: &str, found: &[FoundValue]) -> String {
        let mut template = String::with_capacity(text.len());
        let mut at = 0;
        for found in found {
            template.push_str(&text[at..found.from]);
            template.push('\u{1}');
            template.push(char::from(b'a' + found.shape as u8));
            at = found.to;
        }
        template + &text[at..]
    }
}

/// Formats 64 random bits as the first and as the last half of a version 4 UUID, with and without hyphens. The bits
/// for the version and the variant are not random.
fn uuid_halves(bits: u64) -> [String; 4] {
    let first = bits & !0xf000 | 0x4000;
    let last = bits & (u64::MAX >> 2) | 1 << 63;
    [
        format!("{:08x}-{:04x}-{:04x}-", first >> 32, first >> 16 & 0xffff, first & 0xffff),
        format!("{:04x}-{:012x}", last >> 48, last & (u64::MAX >> 16)),
        format!("{first:016x}"),
        format!("{last:016x}"),
    ]
}

/// Reports whether the text is not next to a letter or digit.
fn is_word(text: &str, from: usize, to: usize) -> bool {
    let is_letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    !is_letter(from.checked_sub(1).and_then(|before| bytes.get(before))) && !is_letter(bytes.get(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(numbers: &[u64], texts: &[&str]) -> Forms {
        let mut generated = Generated::default();
        numbers.iter().for_each(|number| generated.number(*number));
        texts.iter().for_each(|text| generated.text(text));
        Forms::of(&generated)
    }

    #[test]
    fn a_number_is_found_however_it_is_written() {
        let number = 0xfedc_ba98_7654_3210;
        let generated = generated(&[number], &[]);
        let forms = [
            number.to_string(),
            (number as i64).to_string(),
            format!("{number:x}"),
            format!("{number:X}"),
            (number as u32).to_string(),
            format!("{:08x}", number >> 32),
        ];
        for form in forms {
            assert_ne!(generated.blank(&format!("order-{form}")), format!("order-{form}"));
            assert_ne!(generated.blank(&form), form);
        }
        assert_ne!(generated.blank(&format!("user{number:016x}of")), format!("user{number:016x}of"));
    }

    #[test]
    fn a_short_form_is_a_word_of_its_own() {
        let generated = generated(&[1_234_567], &["ch_00c0ffee"]);
        for other in ["11234567", "a1234567", "ch_00c0ffee1", "{\"cents\":12345670}"] {
            assert_eq!(generated.blank(other), other);
        }
        for its in ["1234567", "key-1234567", "{\"id\":1234567}", "x_1234567", "[\"ch_00c0ffee\"]"] {
            assert_ne!(generated.blank(its), its);
        }
    }

    #[test]
    fn small_numbers_are_nobodys() {
        let mut generated = Generated::default();
        generated.draw(3, 6);
        generated.draw(65_000, 1 << 16);
        generated.draw(500, 10_000_000);
        assert_eq!(Forms::of(&generated).values(), 0);
        generated.draw(483_920, 1_000_000);
        assert_eq!(Forms::of(&generated).values(), 1);
    }

    #[test]
    fn a_uuid_is_two_numbers_and_some_fixed_bits() {
        let (first, last) = (0xfedc_ba98_7654_3210, 0x0123_4567_89ab_cdef);
        let generated = generated(&[first, last], &[]);
        for uuid in [
            "fedcba98-7654-4210-8123-456789abcdef",
            "fedcba98765442108123456789abcdef",
            "10325476-98ba-4cfe-afcd-ab8967452301",
        ] {
            let blank = generated.blank(uuid).into_owned();
            assert!(blank.len() == 4 && blank.matches('\u{1}').count() == 2, "{blank:?}");
        }
    }

    #[test]
    fn the_same_value_in_another_shape_is_another_text() {
        let generated = generated(&[0xfedc_ba98_7654_3210], &[]);
        assert_ne!(generated.blank("18364758544493064720"), generated.blank("fedcba9876543210"));
    }
}

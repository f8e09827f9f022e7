//! Texts that follow from random numbers in a way of the program's own: a token of drawn letters, an id from a
//! generator that was seeded with a drawn number.
//!
//! Such a text does not have the form of a number that was drawn. It is recognized by what it depends on: the fault-free
//! run is repeated with other seeds, and where three seeds give three texts, a text is generated.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// A shorter text is an ordinary word, or a small number.
const LEAST: usize = 6;
/// A text of at least this length may be a little shorter or longer in another run.
const LEAST_VARYING: usize = 8;
/// The length of a UUID, and the places of its hyphens.
const UUID: usize = 36;
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
/// A smaller number is an ordinary number.
const LEAST_NUMBER: f64 = 10_000.0;
/// The seeds of the repetitions differ from the seed of the exploration in these bits.
pub(crate) const OTHER_SEEDS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];

/// The places at which a text depends on the seed.
#[derive(Debug, Default)]
pub(crate) struct SeededTexts {
    /// The frames of the texts, by the part of the outcome and the path in it.
    frames: BTreeMap<(String, String), BTreeSet<Frame>>,
}

/// A part of an outcome: the body of an effect, its key, the payload of a job, a state.
#[derive(Debug)]
pub(crate) struct OutcomePart {
    name: String,
    value: Value,
}

impl OutcomePart {
    /// A part that is JSON, or else a text.
    pub(crate) fn new(name: String, text: &str) -> Self {
        Self { name, value: serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)) }
    }
}

/// The text around a generated text, and the length of the latter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Frame {
    before: String,
    /// The least and the greatest length of the generated text.
    lengths: (usize, usize),
    after: String,
}

impl Frame {
    /// The frame of a text that differs each time.
    fn of(texts: [&str; 3]) -> Option<Self> {
        let [one, two, three] = texts;
        if one == two || one == three || two == three {
            return None;
        }
        let shortest = texts.iter().map(|text| text.len()).min()?;
        let same = |at: &usize| texts.iter().all(|text| text.as_bytes()[*at] == one.as_bytes()[*at]);
        let last = |text: &str, at: usize| text.as_bytes()[text.len() - 1 - at];
        let same_at_end = |at: &usize| texts.iter().all(|text| last(text, *at) == last(one, *at));
        let mut from = (0..shortest).take_while(same).count();
        let mut end = (0..shortest - from).take_while(same_at_end).count();
        // Its first letters may be the same by chance.
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
        while from > 0 && is_inner(one.as_bytes()[from - 1]) {
            from -= 1;
        }
        while end > 0 && is_inner(one.as_bytes()[one.len() - end]) {
            end -= 1;
        }
        if let Some(uuid) = uuid_at(one, from) {
            // Its first part may be a time, which the seed does not change.
            (from, end) = (uuid, one.len() - uuid - UUID);
        }
        let lengths = texts.map(|text| text.len().saturating_sub(from + end));
        let (least, greatest) = (*lengths.iter().min()?, *lengths.iter().max()?);
        // A large number has a digit less now and then, in whatever base it is written.
        let spread = usize::from(least >= LEAST_VARYING);
        let is_alike = greatest - least <= 2 * spread;
        let lengths = (least - spread, greatest + spread);
        let (before, after) = (one.get(..from)?.to_owned(), one.get(one.len() - end..)?.to_owned());
        (is_alike && least >= LEAST).then_some(Self { before, lengths, after })
    }

    /// The generated part of a text that has this frame.
    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        let inner = text.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?;
        (self.lengths.0..=self.lengths.1).contains(&inner.len()).then_some(inner)
    }
}

/// Where the UUID begins that a place in a text belongs to, if it belongs to one.
fn uuid_at(text: &str, place: usize) -> Option<usize> {
    let is_uuid = |from: &usize| {
        let uuid = text.as_bytes().get(*from..from + UUID).unwrap_or_default();
        let fits = |(at, byte): (usize, &u8)| match HYPHENS.contains(&at) {
            true => *byte == b'-',
            false => byte.is_ascii_hexdigit(),
        };
        uuid.len() == UUID && uuid.iter().enumerate().all(fits)
    };
    (place.saturating_sub(UUID - 1)..=place).find(is_uuid)
}

impl SeededTexts {
    /// Compares the parts of runs with different seeds. There are none if the runs have other parts.
    pub(crate) fn of(runs: [&[OutcomePart]; 3]) -> Self {
        let mut seeded = Self::default();
        let [one, two, three] = runs;
        let names = |parts: &[OutcomePart]| parts.iter().map(|part| part.name.clone()).collect::<Vec<_>>();
        if names(one) == names(two) && names(one) == names(three) {
            for ((a, b), c) in one.iter().zip(two).zip(three) {
                seeded.compare(&a.name, "$", [&a.value, &b.value, &c.value]);
            }
        }
        seeded
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    fn compare(&mut self, part: &str, path: &str, values: [&Value; 3]) {
        match values {
            [Value::Object(one), Value::Object(two), Value::Object(three)] => {
                self.compare_objects(part, path, [one, two, three]);
            }
            [Value::Array(one), Value::Array(two), Value::Array(three)]
                if one.len() == two.len() && one.len() == three.len() =>
            {
                for ((a, b), c) in one.iter().zip(two).zip(three) {
                    self.compare(part, &format!("{path}[]"), [a, b, c]);
                }
            }
            [Value::String(one), Value::String(two), Value::String(three)] => {
                self.add(part, path, Frame::of([one, two, three]));
            }
            [Value::Number(one), Value::Number(two), Value::Number(three)] => {
                let is_large = |it: &&serde_json::Number| it.as_f64().is_some_and(|it| it >= LEAST_NUMBER);
                if [one, two, three].iter().all(is_large) {
                    let texts = [one, two, three].map(ToString::to_string);
                    let [one, two, three] = [&*texts[0], &*texts[1], &*texts[2]];
                    self.add(part, path, Frame::of([one, two, three]));
                }
            }
            _ => {}
        }
    }

    /// A name in an object may be generated, too, such as the key of a row.
    fn compare_objects(&mut self, part: &str, path: &str, objects: [&Map<String, Value>; 3]) {
        let [one, two, three] = objects;
        let is_common = |name: &&String| objects.iter().all(|object| object.contains_key(*name));
        for name in one.keys().filter(is_common) {
            self.compare(part, &format!("{path}.{name}"), [&one[name], &two[name], &three[name]]);
        }
        let own = objects.map(|object| object.keys().filter(|name| !is_common(name)).collect::<Vec<_>>());
        // Of several names, nobody knows which is which.
        if let [[a], [b], [c]] = own.each_ref().map(Vec::as_slice) {
            let frame = Frame::of([a, b, c]);
            if frame.is_some() {
                self.add(part, &format!("{path}.*"), frame);
                self.compare(part, &format!("{path}.*"), [&one[*a], &two[*b], &three[*c]]);
            }
        }
    }

    fn add(&mut self, part: &str, path: &str, frame: Option<Frame>) {
        if let Some(frame) = frame {
            self.frames.entry((part.to_owned(), path.to_owned())).or_default().insert(frame);
        }
    }

    /// The generated texts of a run with these parts.
    pub(crate) fn texts(&self, parts: &[OutcomePart]) -> Vec<String> {
        let mut found = Vec::new();
        parts.iter().for_each(|part| self.find(&part.name, "$", &part.value, &mut found));
        found
    }

    fn find(&self, part: &str, path: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                for (name, value) in object {
                    let any = format!("{path}.*");
                    let is_generated = self.find_text(part, &any, name, found);
                    let path = if is_generated { any } else { format!("{path}.{name}") };
                    self.find(part, &path, value, found);
                }
            }
            Value::Array(items) => {
                items.iter().for_each(|item| self.find(part, &format!("{path}[]"), item, found));
            }
            Value::String(text) => _ = self.find_text(part, path, text, found),
            Value::Number(number) => _ = self.find_text(part, path, &number.to_string(), found),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn find_text(&self, part: &str, path: &str, text: &str, found: &mut Vec<String>) -> bool {
        let frames = self.frames.get(&(part.to_owned(), path.to_owned()));
        let inner = frames.and_then(|frames| frames.iter().find_map(|frame| frame.find(text)));
        found.extend(inner.map(str::to_owned));
        inner.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seeded(values: [Value; 3]) -> SeededTexts {
        let mut seeded = SeededTexts::default();
        seeded.compare("state rows", "$", values.each_ref());
        seeded
    }

    fn found(seeded: &SeededTexts, value: Value) -> Vec<String> {
        let mut found = Vec::new();
        seeded.find("state rows", "$", &value, &mut found);
        found
    }

    #[test]
    fn a_token_is_found_in_its_frame() {
        let link = |token: &str| json!({ "link": format!("https://a.example/reset?t={token}&u=7") });
        let seeded = seeded([link("aB3dE6gH"), link("aX9cV2bN"), link("mK4jH7gF")]);
        assert_eq!(found(&seeded, link("aQ1wE2rT")), ["aQ1wE2rT"]);
        assert_eq!(found(&seeded, link("longer-than-it")), Vec::<String>::new());
        assert_eq!(found(&seeded, json!({ "link": "https://b.example/reset?t=aQ1wE2rT&u=7" })), [""; 0]);
        assert_eq!(found(&seeded, json!({ "other": "https://a.example/reset?t=aQ1wE2rT&u=7" })), [""; 0]);
    }

    #[test]
    fn a_text_is_generated_if_each_seed_has_its_own() {
        for values in [
            ["accepted", "declined", "accepted"].map(|it| json!(it)),
            ["heads", "tails", "edges"].map(|it| json!(it)),
            ["token-1", "token-12", "token-1234567"].map(|it| json!(it)),
            [12, 13, 14].map(|it| json!(it)),
            [json!("aB3dE6gH"), json!("aX9cV2bN"), json!(null)],
        ] {
            assert!(seeded(values.clone()).is_empty(), "{values:?}");
        }
        assert_eq!(
            found(&seeded([482_113, 907_214, 655_302].map(|it| json!(it))), json!(111_222)),
            ["111222"]
        );
    }

    #[test]
    fn a_uuid_is_generated_as_a_whole_and_a_number_may_have_a_digit_less() {
        let ids = |ids: [&str; 3]| seeded(ids.map(|id| json!(format!("order-{id}"))));
        let uuids = ids([
            "019a3b2c-1c00-7abc-8def-0123456789ab",
            "019a3b2c-1c00-71b2-9e0f-abcdef012345",
            "019a3b2c-1c00-7f00-b001-55aa55aa55aa",
        ]);
        let later = "019a3b2c-2f11-7123-8456-7890abcdef01";
        assert_eq!(found(&uuids, json!(format!("order-{later}"))), [later]);
        let numbers = ids(["7Xk2mQ9rT4a", "Lp0Zw8sVbN1", "3cYh6Jd5Gf"]);
        assert_eq!(found(&numbers, json!("order-9aBcDeFgHi")), ["9aBcDeFgHi"]);
        assert_eq!(found(&numbers, json!("order-9aBcD")), [""; 0]);
    }

    #[test]
    fn a_row_may_have_a_generated_key() {
        let row = |token: &str, of: u32| json!({ "fixed": 1, token: { "user": of, "token": token } });
        let seeded = seeded([row("aB3dE6gH", 1), row("aX9cV2bN", 1), row("mK4jH7gF", 1)]);
        assert_eq!(found(&seeded, row("aQ1wE2rT", 1)), ["aQ1wE2rT", "aQ1wE2rT"]);
        // Of several names, nobody knows which is which.
        let two = |a: &str, b: &str| json!({ a: 1, b: 2 });
        let values = [two("aB3dE6gH", "b"), two("aX9cV2bN", "c"), two("mK4jH7gF", "d")];
        assert!(super::SeededTexts::default().is_empty() && self::seeded(values).is_empty());
    }
}

//! The keys of a server, in a form in which two runs can be compared.
//!
//! Ids of stream entries that the server made have no meaning: they are numbered in their order. Times near that of the run
//! are replaced. Keys with a time to live are left out, because they go away on their own.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use crate::clock::real_time;
use crate::resp::{Value, shown};
use crate::server::Server;
use crate::upstream::Upstream;

/// A key with a longer life than this outlives every retry, and is compared.
const LONG_LIVED: Duration = Duration::from_secs(31 * 86_400);
/// Times at most this far from the time of the run are not compared.
const NEAR: Duration = Duration::from_secs(86_400);
/// The value that stands for such a time.
const TIME: &str = "<time>";
/// The most pending entries of a group that are looked at.
const MOST_PENDING: &str = "100000";

/// The times between which a number is one of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    from: Duration,
    to: Duration,
}

impl Span {
    fn of(server: &Server) -> Self {
        let real = real_time();
        let zero = server.clock().map_or(real, |clock| clock.zero);
        let (from, to) = (real.min(zero), real.max(zero + server.now()));
        Self { from: from.saturating_sub(NEAR), to: to + NEAR }
    }

    fn has(self, time: Duration) -> bool {
        self.from <= time && time <= self.to
    }
}

/// Returns all keys with their values. `is_compared` decides about keys that expire soon.
pub(crate) fn keys(
    server: &Server,
    is_compared: &dyn Fn(&str) -> bool,
) -> io::Result<BTreeMap<String, Json>> {
    let span = Span::of(server);
    let base = server.address.database;
    let mut admin = server.admin();
    let mut databases = vec![base];
    if server.is_own() {
        let info = admin.run(&["INFO", "keyspace"])?.text();
        let numbers =
            info.lines().filter_map(|line| line.strip_prefix("db")?.split(':').next()?.parse().ok());
        databases = numbers.collect();
    }
    let mut all = BTreeMap::new();
    for database in databases {
        if database != base {
            admin.run(&["SELECT", &database.to_string()])?;
        }
        let values = of_database(&mut admin, span, is_compared);
        if database != base {
            admin.run(&["SELECT", &base.to_string()])?;
        }
        all.extend(values?.into_iter().map(|(key, value)| match database == base {
            true => (key, value),
            false => (format!("{database}/{key}"), value),
        }));
    }
    Ok(all)
}

fn of_database(
    admin: &mut Upstream,
    span: Span,
    is_compared: &dyn Fn(&str) -> bool,
) -> io::Result<Vec<(String, Json)>> {
    let mut keys: Vec<Vec<u8>> = admin.run(&["KEYS", "*"])?.array().into_iter().map(Value::bytes).collect();
    keys.sort_unstable();
    let asked: Vec<_> = keys.iter().flat_map(|key| [[b"TYPE".as_slice(), key], [b"PTTL", key]]).collect();
    let answers = admin.run_all(&asked)?;
    let mut wanted = Vec::new();
    for (key, answer) in keys.into_iter().zip(answers.chunks_exact(2)) {
        let (kind, left) = (answer[0].clone().text(), answer[1].integer().unwrap_or(-1));
        let left = u64::try_from(left).ok().map(Duration::from_millis);
        let is_short = left.is_some_and(|left| left <= LONG_LIVED);
        if kind != "none" && (!is_short || is_compared(&shown(&key))) {
            wanted.push((key, kind, left.filter(|_| is_short)));
        }
    }
    let asked: Vec<_> = wanted.iter().map(|(key, kind, _)| question(kind, key)).collect();
    let (answers, mut values) = (admin.run_all(&asked)?, Vec::new());
    for ((key, kind, left), answer) in wanted.into_iter().zip(answers) {
        let mut value = match kind.as_str() {
            "stream" => stream(admin, span, &key, answer)?,
            _ => of_kind(span, &kind, answer),
        };
        if let Some(left) = left {
            value = object([("value", value), ("expires_in", (left.as_secs_f64().round() as u64).into())]);
        }
        values.push((shown(&key), value));
    }
    Ok(values)
}

fn question<'k>(kind: &str, key: &'k [u8]) -> Vec<&'k [u8]> {
    match kind {
        "string" => vec![b"GET", key],
        "list" => vec![b"LRANGE", key, b"0", b"-1"],
        "set" => vec![b"SMEMBERS", key],
        "zset" => vec![b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
        "hash" => vec![b"HGETALL", key],
        "stream" => vec![b"XRANGE", key, b"-", b"+"],
        // The value of a module.
        _ => vec![b"DUMP", key],
    }
}

fn object<const N: usize>(fields: [(&str, Json); N]) -> Json {
    Json::Object(Map::from_iter(fields.map(|(name, value)| (name.to_owned(), value))))
}

/// A text, unless it is a time of the run.
fn text(span: Span, bytes: &[u8]) -> Json {
    let text = shown(bytes);
    let whole = text.split_once('.').map_or(text.as_str(), |(whole, _)| whole);
    let time = whole.parse::<u64>().ok().and_then(|number| match whole.len() {
        10 => Some(Duration::from_secs(number)),
        13 => Some(Duration::from_millis(number)),
        16 => Some(Duration::from_micros(number)),
        19 => Some(Duration::from_nanos(number)),
        _ => None,
    });
    match time.is_some_and(|time| span.has(time)) {
        true => Json::from(TIME),
        false => Json::from(text),
    }
}

/// The pairs of a flat list.
fn pairs(values: Vec<Value>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut values = values.into_iter().map(Value::bytes);
    let mut pairs = Vec::new();
    while let (Some(name), Some(value)) = (values.next(), values.next()) {
        pairs.push((name, value));
    }
    pairs
}

fn fields(span: Span, values: Vec<Value>) -> Json {
    let fields = pairs(values).into_iter().map(|(name, value)| (shown(&name), text(span, &value)));
    Json::Object(fields.collect())
}

fn of_kind(span: Span, kind: &str, answer: Value) -> Json {
    let texts = |values: Vec<Value>| values.into_iter().map(|value| text(span, &value.bytes()));
    match kind {
        "string" => text(span, &answer.bytes()),
        "set" => {
            let mut members: Vec<_> = answer.array().into_iter().map(Value::bytes).collect();
            members.sort_unstable();
            object([("set", members.iter().map(|member| text(span, member)).collect())])
        }
        "zset" => {
            let members = pairs(answer.array()).into_iter();
            let members =
                members.map(|(member, score)| Json::Array(vec![text(span, &member), text(span, &score)]));
            object([("zset", members.collect())])
        }
        "hash" => object([("hash", fields(span, answer.array()))]),
        "list" => object([("list", texts(answer.array()).collect())]),
        kind => object([(kind, shown(&answer.bytes()).into())]),
    }
}

/// The two numbers of an id.
fn id(text: &str) -> (u64, u64) {
    let (millis, number) = text.split_once('-').unwrap_or((text, "0"));
    (millis.parse().unwrap_or_default(), number.parse().unwrap_or_default())
}

/// The entries of a stream, and for each group the entries that it has not been given, and those that it has not
/// acknowledged.
fn stream(admin: &mut Upstream, span: Span, key: &[u8], answer: Value) -> io::Result<Json> {
    let mut names = BTreeMap::new();
    let mut entries = Vec::new();
    for entry in answer.array() {
        let mut entry = entry.array().into_iter();
        let of_entry = entry.next().map(Value::text).unwrap_or_default();
        let is_made = span.has(Duration::from_millis(id(&of_entry).0));
        let name = if is_made { format!("#{}", names.len() + 1) } else { of_entry.clone() };
        names.insert(id(&of_entry), name.clone());
        let values = entry.next().map(Value::array).unwrap_or_default();
        entries.push(Json::Array(vec![name.into(), fields(span, values)]));
    }
    // An entry that is pending may have been deleted.
    let name = |text: &str| names.get(&id(text)).cloned().unwrap_or_else(|| "deleted".to_owned());
    let mut groups = Map::new();
    for group in admin.run(&[b"XINFO".as_slice(), b"GROUPS", key])?.array() {
        let group: BTreeMap<_, _> = pairs(group.array()).into_iter().collect();
        let field = |name: &str| group.get(name.as_bytes()).map(|value| shown(value)).unwrap_or_default();
        let (group, last) = (field("name"), id(&field("last-delivered-id")));
        let asked: [&[u8]; 6] = [b"XPENDING", key, group.as_bytes(), b"-", b"+", MOST_PENDING.as_bytes()];
        let pending = admin.run(&asked)?.array().into_iter();
        let pending = pending.filter_map(|entry| entry.array().into_iter().next().map(Value::text));
        let pending: Json = pending.map(|entry| Json::from(name(&entry))).collect();
        let undelivered = names.iter().filter(|(id, _)| **id > last).map(|(_, name)| name.clone());
        let undelivered: Json = undelivered.map(Json::from).collect();
        groups.insert(group, object([("pending", pending), ("undelivered", undelivered)]));
    }
    Ok(match groups.is_empty() {
        true => object([("stream", entries.into())]),
        false => object([("stream", entries.into()), ("groups", groups.into())]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_near_the_time_of_the_run_is_a_time() {
        let span = Span { from: Duration::from_secs(1_800_000_000), to: Duration::from_secs(1_800_100_000) };
        for (value, shown) in [
            ("1800000001", TIME),
            ("1800000001.25", TIME),
            ("1800000001000", TIME),
            ("1900000000", "1900000000"),
            ("1800000001 apples", "1800000001 apples"),
            ("6", "6"),
        ] {
            assert_eq!(text(span, value.as_bytes()), Json::from(shown));
        }
        assert_eq!(text(span, b"\xff"), Json::from("\\xff"));
    }
}

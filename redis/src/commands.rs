//! The meaning of a command, as far as its words tell: whether it is a call, its name in a report, and for what it waits.
//!
//! A command that is not known counts as a write, which has all points.

use std::time::Duration;

use crate::resp::{request, shown};

/// The longest text of a command in a timeline, in characters.
const LONGEST_TEXT: usize = 400;
/// A part of a key from this length on may be a generated id.
const LONGEST_PART: usize = 8;

/// The kind of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is no call, and touches only its own connection, or something that is the same each time.
    Free,
    /// It is no call, but other clients may notice it, or it depends on the time.
    Aside,
    /// It changes what the connection listens to.
    Subscribe,
    Multi,
    Exec,
    /// It ends what the connection has begun: a transaction, and with `RESET` also subscriptions.
    Discard,
    /// Nothing is left behind if the connection breaks.
    Read,
    Write,
    Quit,
    /// The proxy cannot carry it.
    Refused,
}

const FREE: &str = " acl asking auth client cluster command config echo hello info lastsave latency memory module ping \
    readonly readwrite role script select slowlog unwatch watch ";
const READS: &str = " bitcount bitfield_ro bitpos dbsize dump eval_ro evalsha_ro exists expiretime fcall_ro geodist \
    geohash geopos georadius_ro georadiusbymember_ro geosearch get getbit getrange hexists hexpiretime hget hgetall \
    hkeys hlen hmget hpexpiretime hpttl hrandfield hscan hstrlen httl hvals keys lcs lindex llen lolwut lpos lrange mget \
    object pexpiretime pfcount pttl pubsub randomkey scan scard sdiff sinter sintercard sismember smembers smismember \
    sort_ro srandmember sscan strlen substr sunion ttl type wait waitaof xinfo xlen xpending xrange xread xrevrange zcard \
    zcount zdiff zinter zintercard zlexcount zmscore zrandmember zrange zrangebylex zrangebyscore zrank zrevrange \
    zrevrangebylex zrevrangebyscore zrevrank zscan zscore zunion ";
const SUBSCRIBES: &str = " subscribe psubscribe ssubscribe unsubscribe punsubscribe sunsubscribe ";
const REFUSED: &str = " monitor sync psync replconf ";
/// Their key comes after a number of keys.
const NUMBERED: &str =
    " lmpop zmpop sintercard zintercard zdiff zinter zunion eval eval_ro evalsha evalsha_ro fcall fcall_ro ";
/// Commands without a key.
const KEYLESS: &str =
    " keys scan randomkey dbsize wait waitaof flushall flushdb swapdb function time script multi exec ";
/// Commands with a subcommand before the key.
const SUBCOMMANDS: &str = " object xgroup xinfo memory debug pubsub bitop ";
/// Commands that may give a key a time to live, besides `SET` with such an option.
const EXPIRES: &str =
    " setex psetex expire pexpire expireat pexpireat getex restore eval evalsha fcall copy rename renamenx ";

fn has(words: &str, word: &str) -> bool {
    words.split(' ').any(|known| known == word)
}

/// A command with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// In lower case.
    pub(crate) name: String,
    arguments: Vec<Vec<u8>>,
}

/// A command that waits in the server for other clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The same command without a limit, because the server's limit would be one of real time.
    pub(crate) bytes: Vec<u8>,
    pub(crate) limit: Option<Duration>,
    /// The thing for which it waits, in the words of a report.
    pub(crate) awaited: &'static str,
}

impl Command {
    /// `None` is an empty line.
    pub(crate) fn new(arguments: Vec<Vec<u8>>) -> Option<Self> {
        let name = shown(arguments.first()?).to_lowercase();
        Some(Self { name, arguments })
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        request(&self.arguments)
    }

    fn word(&self, at: usize) -> String {
        self.arguments.get(at).map(|word| shown(word).to_lowercase()).unwrap_or_default()
    }

    pub(crate) fn argument(&self, at: usize) -> Option<&[u8]> {
        self.arguments.get(at).map(Vec::as_slice)
    }

    pub(crate) fn arguments(&self) -> impl Iterator<Item = &[u8]> {
        self.arguments.iter().skip(1).map(Vec::as_slice)
    }

    pub(crate) fn kind(&self) -> Kind {
        let second = self.word(1);
        match (self.name.as_str(), second.as_str()) {
            ("quit", _) => Kind::Quit,
            ("multi", _) => Kind::Multi,
            ("exec", _) => Kind::Exec,
            ("discard" | "reset", _) => Kind::Discard,
            ("client", "reply") => Kind::Refused,
            ("client", "kill" | "unblock" | "pause" | "unpause") | ("time", _) => Kind::Aside,
            ("client", "tracking") => Kind::Subscribe,
            ("config", "set") | ("script", "flush" | "kill") | ("function", _) => Kind::Aside,
            ("georadius" | "georadiusbymember" | "sort", _) if !self.has_option("store") => Kind::Read,
            (name, _) if has(FREE, name) => Kind::Free,
            (name, _) if has(SUBSCRIBES, name) => Kind::Subscribe,
            (name, _) if has(REFUSED, name) => Kind::Refused,
            (name, _) if has(READS, name) => Kind::Read,
            _ => Kind::Write,
        }
    }

    /// Reports whether it changes more than keys, which the next world must not see.
    pub(crate) fn alters_server(&self) -> bool {
        let second = self.word(1);
        match self.name.as_str() {
            "config" => second != "get",
            "acl" => matches!(second.as_str(), "setuser" | "deluser" | "load"),
            "module" => second != "list",
            "client" => second == "pause",
            "shutdown" | "replicaof" | "slaveof" | "debug" | "failover" => true,
            _ => false,
        }
    }

    /// Reports whether it goes to the server without further ado. `is_queued` says that a transaction has begun.
    pub(crate) fn is_aside(&self, is_queued: bool) -> bool {
        match self.kind() {
            Kind::Free | Kind::Multi => true,
            Kind::Quit | Kind::Refused | Kind::Discard | Kind::Exec => false,
            Kind::Aside | Kind::Subscribe | Kind::Read | Kind::Write => is_queued,
        }
    }

    /// Reports whether it leaves a script or a function behind in the server.
    pub(crate) fn has_script(&self) -> bool {
        has(" eval eval_ro script function ", &self.name)
    }

    fn has_option(&self, option: &str) -> bool {
        self.option(option).is_some()
    }

    /// The place of an option.
    fn option(&self, option: &str) -> Option<usize> {
        (1..self.arguments.len()).find(|at| self.arguments[*at].eq_ignore_ascii_case(option.as_bytes()))
    }

    /// The place of its first key.
    fn key_at(&self) -> Option<usize> {
        let name = self.name.as_str();
        match name {
            "xread" | "xreadgroup" => Some(self.option("streams")? + 1),
            "blmpop" | "bzmpop" => Some(3),
            "lmpop" | "zmpop" | "sintercard" | "zintercard" | "zdiff" | "zinter" | "zunion" => Some(2),
            _ if has(NUMBERED, name) => (self.number(2)? > 0).then_some(3),
            _ if has(KEYLESS, name) => None,
            _ if has(SUBCOMMANDS, name) => Some(2),
            _ => Some(1),
        }
    }

    fn number(&self, at: usize) -> Option<u64> {
        std::str::from_utf8(self.argument(at)?).ok()?.parse().ok()
    }

    /// The keys that it may give a time to live.
    pub(crate) fn expiring_keys(&self) -> Vec<Vec<u8>> {
        let sets = self.name == "set"
            && ["ex", "px", "exat", "pxat", "keepttl"].iter().any(|option| self.has_option(option));
        if !sets && !has(EXPIRES, &self.name) {
            return Vec::new();
        }
        let count = match self.name.as_str() {
            "eval" | "evalsha" | "fcall" => self.number(2).unwrap_or_default() as usize,
            "copy" | "rename" | "renamenx" => 2,
            _ => 1,
        };
        let keys = self.key_at().into_iter().flat_map(|at| self.arguments.iter().skip(at).take(count));
        keys.cloned().collect()
    }

    /// The script of `EVALSHA`.
    pub(crate) fn script(&self) -> Option<String> {
        matches!(self.name.as_str(), "evalsha" | "evalsha_ro").then(|| self.word(1))
    }

    /// Its name in a report: the command and its first key. Parts of keys that look generated are left out.
    pub(crate) fn label(&self) -> String {
        let key = self.key_at().and_then(|at| self.argument(at));
        let key = key.or_else(|| self.argument(1).filter(|_| self.name.starts_with("fcall")));
        match key {
            Some(key) => format!("{} {}", self.name, plain(&shown(key))),
            None => self.name.clone(),
        }
    }

    /// The beginning of its first key, up to the part that code would insert: `lock:` of `lock:6`.
    pub(crate) fn literal(&self) -> String {
        let key = self.key_at().and_then(|at| self.argument(at)).map(shown).unwrap_or_default();
        let end = key.find(|c: char| c.is_ascii_digit()).unwrap_or(key.len());
        match key[..end].rfind([':', '/', '-', '_', '.']) {
            Some(at) if end < key.len() => key[..=at].to_owned(),
            _ => key,
        }
    }

    /// The command as a timeline shows it.
    pub(crate) fn text(&self) -> String {
        let words: Vec<_> = self.arguments.iter().map(|word| shown(word)).collect();
        let text = words.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
        match text.char_indices().nth(LONGEST_TEXT) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    }

    /// How it waits, if it does.
    pub(crate) fn waiting(&self) -> Option<Waiting> {
        let (at, unit, awaited) = match self.name.as_str() {
            "blpop" | "brpop" | "brpoplpush" | "blmove" | "bzpopmin" | "bzpopmax" => {
                (self.arguments.len() - 1, 1.0, "an element")
            }
            "blmpop" | "bzmpop" => (1, 1.0, "an element"),
            "xread" | "xreadgroup" => {
                let (block, streams) = (self.option("block")?, self.option("streams")?);
                (Some(block + 1).filter(|at| *at < streams)?, 1e-3, "an entry")
            }
            "wait" => (2, 1e-3, "a replica"),
            _ => return None,
        };
        let limit: f64 = std::str::from_utf8(self.argument(at)?).ok()?.parse().ok()?;
        // The server refuses anything else.
        let limit = Duration::try_from_secs_f64(limit * unit).ok()?;
        let mut arguments = self.arguments.clone();
        arguments[at] = b"0".to_vec();
        let limit = Some(limit).filter(|limit| !limit.is_zero());
        Some(Waiting { bytes: request(&arguments), limit, awaited })
    }
}

/// A key without the parts that look generated.
fn plain(key: &str) -> String {
    let mut plain = String::new();
    for part in key.split_inclusive([':', '/', '|', '{', '}']) {
        let end = part.trim_end_matches([':', '/', '|', '{', '}']);
        let digits = end.bytes().filter(u8::is_ascii_digit).count();
        let is_uuid = end.len() == 36 && end.bytes().filter(|byte| *byte == b'-').count() == 4;
        let is_ulid = end.len() == 26 && digits > 0 && end.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_generated = end.len() >= LONGEST_PART && digits * 4 >= end.len() || is_uuid || is_ulid;
        plain.push_str(if is_generated { "*" } else { end });
        plain.push_str(&part[end.len()..]);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Command {
        Command::new(text.split(' ').map(|word| word.as_bytes().to_vec()).collect()).unwrap()
    }

    #[test]
    fn a_command_is_named_by_its_first_key() {
        for (text, label) in [
            ("INCR visits", "incr visits"),
            ("SET lock:6 a NX PX 30000", "set lock:6"),
            ("get job:550e8400-e29b-41d4-a716-446655440000:state", "get job:*:state"),
            ("GET {1700000000000}:x", "get {*}:x"),
            ("GET task:01ARYZSTDVABSVRRFFEEGHTFAV", "get task:*"),
            ("EVAL return_1 0", "eval"),
            ("EVALSHA abc 2 a b c", "evalsha a"),
            ("FCALL mine 0", "fcall mine"),
            ("XREADGROUP GROUP g c BLOCK 10 STREAMS jobs >", "xreadgroup jobs"),
            ("XGROUP CREATE jobs g 0", "xgroup jobs"),
            ("BLMPOP 5 2 a b LEFT", "blmpop a"),
            ("ZINTER 2 a b", "zinter a"),
            ("KEYS *", "keys"),
            ("BLPOP jobs 0", "blpop jobs"),
        ] {
            assert_eq!(command(text).label(), label, "{text}");
        }
    }

    #[test]
    fn a_command_is_a_write_unless_it_is_known() {
        for (text, kind) in [
            ("get a", Kind::Read),
            ("SORT a", Kind::Read),
            ("SORT a STORE b", Kind::Write),
            ("XREADGROUP GROUP g c STREAMS jobs >", Kind::Write),
            ("CLIENT SETINFO LIB-NAME x", Kind::Free),
            ("CLIENT KILL ID 5", Kind::Aside),
            ("SCRIPT LOAD x", Kind::Free),
            ("EVAL x 0", Kind::Write),
            ("SUBSCRIBE news", Kind::Subscribe),
            ("MONITOR", Kind::Refused),
            ("JSON.SET a $ 1", Kind::Write),
        ] {
            assert_eq!(command(text).kind(), kind, "{text}");
        }
        assert!(command("CONFIG SET a b").alters_server() && !command("CONFIG GET a").alters_server());
    }

    #[test]
    fn a_wait_has_the_limit_of_the_client_and_none_in_the_server() {
        let waiting =
            |text: &str| command(text).waiting().map(|waiting| (shown(&waiting.bytes), waiting.limit));
        let bytes = |text: &str| shown(&command(text).bytes());
        for (text, sent, millis) in [
            ("BLPOP a b 1.5", "BLPOP a b 0", Some(1_500)),
            ("BLMOVE a b LEFT RIGHT 0", "BLMOVE a b LEFT RIGHT 0", None),
            ("BLMPOP 2 1 a LEFT", "BLMPOP 0 1 a LEFT", Some(2_000)),
            (
                "XREADGROUP GROUP g c BLOCK 250 STREAMS s >",
                "XREADGROUP GROUP g c BLOCK 0 STREAMS s >",
                Some(250),
            ),
            ("WAIT 1 100", "WAIT 1 0", Some(100)),
        ] {
            let limit = millis.map(Duration::from_millis);
            assert_eq!(waiting(text), Some((bytes(sent), limit)), "{text}");
        }
        for text in ["BLPOP a soon", "BLPOP a -1", "XREAD STREAMS block 0", "LPOP a", "BLPOP"] {
            assert_eq!(waiting(text), None, "{text}");
        }
    }

    #[test]
    fn keys_that_may_expire_are_known() {
        let keys = |text: &str| -> Vec<String> {
            command(text).expiring_keys().iter().map(|key| shown(key)).collect()
        };
        assert_eq!(keys("SET a b NX PX 5"), ["a"]);
        assert_eq!(keys("EVAL x 2 a b c"), ["a", "b"]);
        assert_eq!(keys("EXPIRE a 5"), ["a"]);
        assert!(keys("SET a b").is_empty() && keys("EVAL x 0").is_empty());
    }
}

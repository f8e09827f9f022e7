//! The name of a statement, and the part of it that lasts.
//!
//! Only words are read, not the grammar. If a statement is not understood, it counts as a write, which has all points.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::tokens::{Token, tokens};

/// The part of a statement that lasts if its connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    /// It is no place to fail: it begins or rolls back a transaction, or changes a setting of the session.
    Free,
    /// Nothing: it reads, or a rollback undoes it.
    Passing,
    /// Its effect lasts.
    Lasting,
}

/// The transaction of a session, as far as the statements so far tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) is_open: bool,
    /// Whether it can only be rolled back, at least to a savepoint.
    pub(crate) is_failed: bool,
    /// Whether it has changed anything.
    pub(crate) wrote: bool,
    /// The rows that were there before, and that it has locked by writing them or on purpose.
    locked: Vec<LockedRows>,
    /// Those that end with it.
    pub(crate) limits: TimeLimits,
    pub(crate) isolation: Isolation,
}

/// The isolation of a transaction, as far as it decides where a statement may be refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Isolation {
    #[default]
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

/// Rows that a statement locks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LockedRows {
    table: String,
    /// The columns that the statement compares with a value.
    keys: BTreeMap<String, String>,
}

impl LockedRows {
    /// Reports whether these are certainly other rows.
    fn are_others(&self, other: &Self) -> bool {
        // A value in the text and one of a parameter, or in another format, may be the same.
        let form =
            |value: &str| value.split(':').next().filter(|form| form.starts_with('$')).map(str::to_owned);
        let differ = |one: &str, other: &str| form(one) == form(other) && one != other;
        self.table != other.table
            || self
                .keys
                .iter()
                .any(|(column, value)| other.keys.get(column).is_some_and(|its| differ(value, its)))
    }
}

/// The longest waits that a client allows: `lock_timeout` and `statement_timeout`. Zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimeLimits {
    lock: Option<Duration>,
    statement: Option<Duration>,
}

impl TimeLimits {
    /// These, or those of `other` where nothing is set.
    pub(crate) fn or(self, other: Self) -> Self {
        Self { lock: self.lock.or(other.lock), statement: self.statement.or(other.statement) }
    }

    /// The longest wait for a lock, and whether the limit is that of locks.
    pub(crate) fn longest_wait(self) -> Option<(Duration, bool)> {
        let [lock, statement] =
            [self.lock, self.statement].map(|limit| limit.filter(|limit| !limit.is_zero()));
        match (lock, statement) {
            (Some(lock), Some(statement)) if statement < lock => Some((statement, false)),
            (Some(lock), _) => Some((lock, true)),
            (None, statement) => statement.map(|statement| (statement, false)),
        }
    }

    /// Sets a setting, if it is one of these.
    pub(crate) fn set(&mut self, setting: &str, value: Option<&str>) {
        let limit = value.and_then(limit_of);
        match setting {
            "lock_timeout" => self.lock = limit,
            "statement_timeout" => self.statement = limit,
            _ => {}
        }
    }
}

/// The settings and statements that the client has made in SQL, for as long as its session lasts.
#[derive(Clone, Debug, Default)]
pub(crate) struct SqlSession {
    prepared: BTreeMap<String, Vec<Token>>,
    pub(crate) limits: TimeLimits,
    /// Whether it has chosen itself which messages of the server it gets.
    pub(crate) chooses_messages: bool,
}

/// A refusal of a statement in favor of another transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    Deadlock,
    Serialization,
}

/// A statement, as a report names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) name: String,
    pub(crate) effect: Effect,
    /// Whether it may have changed the definition of tables.
    pub(crate) defines: bool,
    /// The refusal that it may meet.
    pub(crate) conflict: Option<Conflict>,
    /// Whether it waits for data from the client.
    pub(crate) copies_in: bool,
}

impl Statement {
    pub(crate) fn commit(effect: Effect) -> Self {
        Self { name: "commit".to_owned(), effect, defines: false, conflict: None, copies_in: false }
    }
}

/// These are not undone by a rollback.
const ESCAPES: [&str; 12] = [
    "nextval",
    "setval",
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_advisory_unlock",
    "pg_advisory_unlock_shared",
    "pg_advisory_unlock_all",
    "dblink",
    "dblink_exec",
    "pg_logical_emit_message",
];

/// These write, but are undone by a rollback.
const WRITING: [&str; 11] = [
    "pg_notify",
    "lo_create",
    "lo_creat",
    "lo_import",
    "lo_unlink",
    "lo_from_bytea",
    "lo_put",
    "lo_truncate",
    "lo_truncate64",
    "lowrite",
    "set_config",
];

/// The tables of the catalog that drivers and tools look at, for those who leave out its schema. A user's own table may
/// begin with `pg_` as well.
const CATALOG: [&str; 34] = [
    "pg_aggregate",
    "pg_am",
    "pg_attrdef",
    "pg_attribute",
    "pg_cast",
    "pg_class",
    "pg_collation",
    "pg_constraint",
    "pg_database",
    "pg_depend",
    "pg_description",
    "pg_enum",
    "pg_extension",
    "pg_index",
    "pg_indexes",
    "pg_inherits",
    "pg_language",
    "pg_locks",
    "pg_matviews",
    "pg_namespace",
    "pg_opclass",
    "pg_operator",
    "pg_proc",
    "pg_range",
    "pg_roles",
    "pg_sequence",
    "pg_sequences",
    "pg_settings",
    "pg_stat_activity",
    "pg_tables",
    "pg_trigger",
    "pg_type",
    "pg_user",
    "pg_views",
];

/// The words that end the tables of a `FROM`.
const AFTER_FROM: [&str; 12] = [
    "where",
    "group",
    "having",
    "order",
    "limit",
    "offset",
    "fetch",
    "for",
    "union",
    "except",
    "intersect",
    "window",
];

/// The longest name of a statement, in characters.
const LONGEST: usize = 60;

/// Reads all statements of a text, in the given transaction, which is updated. `values` are those of its parameters.
/// `volatile` has the names of the user's own functions that may write.
pub(crate) fn read(
    text: &str,
    values: &[String],
    transaction: &mut Transaction,
    session: &mut SqlSession,
    volatile: &BTreeSet<String>,
) -> Vec<Statement> {
    let tokens = tokens(text, values);
    let mut statements = Vec::new();
    for tokens in tokens.split(|token| *token == Token::Sign(';')).filter(|tokens| !tokens.is_empty()) {
        let stored = session.follow(tokens);
        let tokens = stored.as_deref().unwrap_or(tokens);
        session.set(tokens, transaction);
        statements.push(one(tokens, transaction, volatile));
    }
    statements
}

impl SqlSession {
    /// Notes what is prepared. Returns the statement that an `EXECUTE` executes.
    fn follow(&mut self, tokens: &[Token]) -> Option<Vec<Token>> {
        let [Token::Word(verb), rest @ ..] = tokens else { return None };
        let name = rest.first().and_then(Token::name)?;
        match verb.as_str() {
            "prepare" => {
                let at = rest.iter().position(|token| token.is("as"))?;
                self.prepared.insert(name.to_owned(), rest[at + 1..].to_vec());
                None
            }
            "execute" => self.prepared.get(name).cloned(),
            "deallocate" => {
                match name {
                    "all" => self.prepared.clear(),
                    // `DEALLOCATE PREPARE a`
                    "prepare" => {
                        drop(rest.get(1).and_then(Token::name).map(|name| self.prepared.remove(name)))
                    }
                    name => drop(self.prepared.remove(name)),
                }
                None
            }
            "discard" if name == "all" => {
                *self = Self::default();
                None
            }
            _ => None,
        }
    }

    /// Notes the settings that matter here.
    fn set(&mut self, tokens: &[Token], transaction: &mut Transaction) {
        let (is_local, setting, value) = match tokens {
            [verb, scope, rest @ ..] if verb.is("set") && (scope.is("local") || scope.is("session")) => {
                (scope.is("local"), rest.first(), rest.get(2))
            }
            [verb, rest @ ..] if verb.is("set") => (false, rest.first(), rest.get(2)),
            [verb, all] if verb.is("reset") && all.is("all") => {
                self.limits = TimeLimits::default();
                return;
            }
            [verb, setting] if verb.is("reset") => (false, Some(setting), None),
            tokens => {
                let Some(at) = tokens.iter().position(|token| token.is("set_config")) else { return };
                let part = |distance: usize| tokens.get(at + distance);
                (part(6).is_some_and(|token| token.is("true")), part(2), part(4))
            }
        };
        let Some(setting) = setting.and_then(plain) else { return };
        let limits = if is_local { &mut transaction.limits } else { &mut self.limits };
        limits.set(setting, value.and_then(plain));
        self.chooses_messages |= setting == "client_min_messages";
    }
}

/// A name, or the text in quotes.
fn plain(token: &Token) -> Option<&str> {
    match token {
        Token::Literal(text) => Some(text.trim_matches('\'')),
        token => token.name(),
    }
}

fn one(tokens: &[Token], transaction: &mut Transaction, volatile: &BTreeSet<String>) -> Statement {
    let verb = match &tokens[0] {
        Token::Word(verb) => verb.as_str(),
        // `(SELECT …) UNION …`
        _ => "select",
    };
    if let Some(statement) = of_session(verb, tokens, transaction) {
        return statement;
    }
    let has = |word: &str| tokens.iter().any(|token| token.is(word));
    let calls = |names: &dyn Fn(&str) -> bool| {
        tokens.windows(2).any(|two| two[1] == Token::Sign('(') && two[0].name().is_some_and(names))
    };
    let modifies = ["insert", "update", "delete", "merge"].into_iter().find(|word| has(word));
    // `SELECT … INTO` makes a table, like `CREATE TABLE … AS`. One of the session is gone with it.
    let selects_into = has("into")
        && (matches!(verb, "select" | "values" | "table") || verb == "with" && modifies.is_none());
    let defines = !is_temporary(tokens)
        && (selects_into
            || matches!(
                verb,
                "create" | "alter" | "drop" | "do" | "call" | "import" | "reindex" | "refresh"
            ));
    let name = name(verb, modifies, tokens);
    let is_read = match verb {
        "select" | "values" | "table" | "fetch" | "declare" | "move" | "lock" => !selects_into,
        "with" => modifies.is_none() && !selects_into,
        "explain" => !has("analyze") || modifies.is_none(),
        _ => false,
    };
    let escapes = calls(&|name| ESCAPES.contains(&name) || name.starts_with("dblink_"));
    let writes = !is_read || escapes || calls(&|name| WRITING.contains(&name) || volatile.contains(name));
    if !writes && verb == "select" && reads_only_the_catalog(tokens) {
        return Statement { name, effect: Effect::Free, defines: false, conflict: None, copies_in: false };
    }
    let locks = locked_rows(verb, modifies, tokens);
    let conflict = match (transaction.isolation, &locks) {
        _ if !transaction.is_open || transaction.is_failed || has("nowait") || has("skip") => None,
        (Isolation::Serializable, _) => Some(Conflict::Serialization),
        (Isolation::RepeatableRead, locks) => locks.is_some().then_some(Conflict::Serialization),
        // A circle needs two locks: one that another transaction waits for, and one of other rows that it holds.
        (Isolation::ReadCommitted, Some(rows)) => {
            transaction.locked.iter().any(|held| held.are_others(rows)).then_some(Conflict::Deadlock)
        }
        (Isolation::ReadCommitted, None) => None,
    };
    transaction.wrote |= writes;
    transaction.locked.extend(locks);
    let effect = match (writes, transaction.is_open && !escapes) {
        (true, false) => Effect::Lasting,
        _ => Effect::Passing,
    };
    let copies_in = verb == "copy" && has("from") && has("stdin");
    Statement { name, effect, defines, conflict, copies_in }
}

/// Reports whether a statement makes something that ends with its session.
fn is_temporary(tokens: &[Token]) -> bool {
    let begins = |word: &Token| word.is("create") || word.is("into");
    tokens.windows(2).any(|two| begins(&two[0]) && (two[1].is("temp") || two[1].is("temporary")))
}

/// The rows that were there before, and that a statement locks. A row that is inserted is in nobody's way: only those who
/// insert the same key wait for it.
fn locked_rows(verb: &str, modifies: Option<&str>, tokens: &[Token]) -> Option<LockedRows> {
    let has = |word: &str| tokens.iter().any(|token| token.is(word));
    let is_of_rows = match (verb, modifies) {
        ("select", _) => has("for") && (has("update") || has("share")),
        ("insert", _) => has("conflict") && has("update"),
        ("update" | "delete" | "merge" | "lock", _) => true,
        ("with", Some(verb)) => verb != "insert",
        _ => false,
    };
    let modifies = if verb == "select" { None } else { modifies };
    let named = name(verb, modifies, tokens);
    let table = named.split_once('-').map(|(_, table)| table.to_owned()).filter(|_| is_of_rows)?;
    Some(LockedRows { table, keys: keys(tokens) })
}

/// The columns that the last `WHERE` of a statement compares with a value, if all comparisons must hold.
fn keys(tokens: &[Token]) -> BTreeMap<String, String> {
    let Some(at) = tokens.iter().rposition(|token| token.is("where")) else { return BTreeMap::new() };
    let rest = &tokens[at + 1..];
    if rest.iter().any(|token| token.is("or") || token.is("not") || *token == Token::Sign('(')) {
        return BTreeMap::new();
    }
    let compared = rest.windows(3).filter_map(|three| match three {
        [column, Token::Sign('='), Token::Literal(value)] => Some((column.name()?.to_owned(), value.clone())),
        _ => None,
    });
    compared.collect()
}

/// A statement that begins or ends a transaction, or changes the session.
fn of_session(verb: &str, tokens: &[Token], transaction: &mut Transaction) -> Option<Statement> {
    let has = |word: &str| tokens.iter().any(|token| token.is(word));
    let statement = |name: &str, effect: Effect| {
        Some(Statement { name: name.to_owned(), effect, defines: false, conflict: None, copies_in: false })
    };
    match verb {
        "begin" | "start" => {
            // In an open transaction, the server only warns.
            if !transaction.is_open {
                let isolation = isolation(tokens);
                *transaction = Transaction { is_open: true, isolation, ..Transaction::default() };
            }
            statement("begin", Effect::Free)
        }
        "rollback" | "abort" if !has("prepared") => {
            match has("to") {
                true => transaction.is_failed = false,
                false => *transaction = Transaction::default(),
            }
            statement("rollback", Effect::Free)
        }
        "commit" | "end" if !has("prepared") => {
            let Transaction { wrote, isolation, is_failed, .. } = std::mem::take(transaction);
            let wrote = wrote && !is_failed;
            let effect = if wrote { Effect::Lasting } else { Effect::Passing };
            let is_refused = wrote && isolation == Isolation::Serializable;
            let conflict = is_refused.then_some(Conflict::Serialization);
            Some(Statement { conflict, ..Statement::commit(effect) })
        }
        "prepare" if has("transaction") => {
            *transaction = Transaction::default();
            statement("prepare-transaction", Effect::Lasting)
        }
        "set" if has("transaction") && transaction.is_open => {
            transaction.isolation = transaction.isolation.max(isolation(tokens));
            statement(verb, Effect::Free)
        }
        "savepoint" | "release" | "set" | "show" | "reset" | "listen" | "unlisten" | "deallocate"
        | "discard" | "prepare" | "close" | "checkpoint" => statement(verb, Effect::Free),
        _ => None,
    }
}

fn isolation(tokens: &[Token]) -> Isolation {
    let has = |word: &str| tokens.iter().any(|token| token.is(word));
    match (has("serializable"), has("repeatable")) {
        (true, _) => Isolation::Serializable,
        (_, true) => Isolation::RepeatableRead,
        _ => Isolation::ReadCommitted,
    }
}

/// A number of milliseconds, or of another unit, as the settings of the server have it: `5000`, `5s`, `1 min`.
fn limit_of(value: &str) -> Option<Duration> {
    let value = value.trim();
    let digits = value.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(value.len());
    let number: u64 = value[..digits].parse().ok()?;
    let unit = match value[digits..].trim() {
        "us" => return Some(Duration::from_micros(number)),
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.saturating_mul(unit)))
}

/// Reports whether an expression calls one of these functions.
pub(crate) fn calls_any(expression: &str, functions: &BTreeSet<String>) -> bool {
    let tokens = tokens(expression, &[]);
    tokens
        .windows(2)
        .any(|two| two[1] == Token::Sign('(') && two[0].name().is_some_and(|name| functions.contains(name)))
}

/// Drivers look up types and tables there.
fn reads_only_the_catalog(tokens: &[Token]) -> bool {
    let mut sources = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.is("from") {
            sources.extend(listed(&tokens[at + 1..]));
        } else if token.is("join") {
            sources.push(&tokens[at + 1..]);
        }
    }
    // A query in parentheses has a `FROM` of its own.
    sources.retain(|source| !matches!(source, [Token::Sign('('), ..]));
    !sources.is_empty() && sources.into_iter().all(is_of_catalog)
}

/// The beginnings of the tables that stand after a `FROM`, between commas.
fn listed(tokens: &[Token]) -> Vec<&[Token]> {
    let (mut listed, mut depth) = (vec![tokens], 0_u32);
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign('(') => depth += 1,
            Token::Sign(')') if depth == 0 => break,
            Token::Sign(')') => depth -= 1,
            Token::Sign(',') if depth == 0 => listed.push(&tokens[at + 1..]),
            Token::Word(word) if depth == 0 && AFTER_FROM.contains(&word.as_str()) => break,
            _ => {}
        }
    }
    listed
}

/// Reports whether these tokens begin with a table of the catalog. A function that stands for a table is not one.
fn is_of_catalog(tokens: &[Token]) -> bool {
    let is_call = |at: usize| tokens.get(at) == Some(&Token::Sign('('));
    match (tokens.first().and_then(Token::name), tokens.get(1)) {
        (Some("pg_catalog" | "information_schema"), Some(Token::Sign('.'))) => !is_call(3),
        (Some(name), next) => CATALOG.contains(&name) && next != Some(&Token::Sign('.')) && !is_call(1),
        (None, _) => false,
    }
}

fn name(verb: &str, modifies: Option<&str>, tokens: &[Token]) -> String {
    let (verb, after): (&str, &[&str]) = match (verb, modifies) {
        ("with" | "explain", Some("insert")) | ("insert", _) => ("insert", &["into"]),
        ("with" | "explain", Some("update")) | ("update", _) => ("update", &["update"]),
        ("with" | "explain", Some("delete")) | ("delete", _) => ("delete", &["from"]),
        ("with" | "explain", Some("merge")) | ("merge", _) => ("merge", &["into"]),
        ("with", None) => ("select", &["from"]),
        ("select" | "explain", _) => (verb, &["from"]),
        (verb, _) => (verb, &[]),
    };
    // In `WITH taken AS (SELECT … FROM …) DELETE FROM jobs`, the table follows the verb.
    let begin = tokens.iter().position(|token| token.is(verb)).unwrap_or(0);
    let tokens = &tokens[begin..];
    let at = match after {
        [] => Some(0),
        [word] => tokens.iter().position(|token| token.is(word)),
        _ => None,
    };
    let skipped =
        ["only", "table", "if", "not", "exists", "concurrently", "unique", "temp", "temporary", "("];
    let table = at.and_then(|at| {
        let mut names = tokens[at + 1..].iter().skip_while(|token| {
            **token == Token::Sign('(') || token.name().is_some_and(|name| skipped.contains(&name))
        });
        let mut table = names.next()?.name()?;
        // The last part of a name with a schema.
        while names.next() == Some(&Token::Sign('.')) {
            table = names.next()?.name()?;
        }
        Some(table)
    });
    let called = || {
        let call = tokens.windows(2).find(|two| two[1] == Token::Sign('('));
        call.and_then(|two| two[0].name()).filter(|name| *name != verb)
    };
    let name = match table.or_else(called) {
        Some(table) => format!("{verb}-{table}"),
        None => verb.to_owned(),
    };
    let plain = |sign: char| if sign.is_alphanumeric() || sign == '_' { sign } else { '-' };
    name.chars().map(plain).take(LONGEST).collect()
}

#[cfg(test)]
mod tests;

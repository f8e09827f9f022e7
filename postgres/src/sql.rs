//! The name of a statement, and the part of it that lasts.
//!
//! Only words are read, not the grammar. If a statement is not understood, it counts as a write, which has all points.

use std::collections::BTreeSet;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) is_open: bool,
    /// Whether it can only be rolled back, at least to a savepoint.
    pub(crate) is_failed: bool,
    /// Whether it has changed anything.
    pub(crate) wrote: bool,
    /// Whether it has locked rows, by writing them or on purpose.
    pub(crate) locks: bool,
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
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Sign(char),
    Literal,
}

impl Token {
    fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(known) if known == word)
    }

    fn name(&self) -> Option<&str> {
        match self {
            Token::Word(name) | Token::Quoted(name) => Some(name),
            Token::Sign(_) | Token::Literal => None,
        }
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

/// Reads all statements of a text, in the given transaction, which is updated. `volatile` has the names of the user's
/// own functions that may write.
pub(crate) fn read(text: &str, transaction: &mut Transaction, volatile: &BTreeSet<String>) -> Vec<Statement> {
    let tokens = tokens(text);
    let statements = tokens.split(|token| *token == Token::Sign(';'));
    statements.filter(|tokens| !tokens.is_empty()).map(|tokens| one(tokens, transaction, volatile)).collect()
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
    let defines = matches!(verb, "create" | "alter" | "drop" | "do" | "call" | "import" | "reindex");
    let modifies = ["insert", "update", "delete", "merge"].into_iter().find(|word| has(word));
    let name = name(verb, modifies, tokens);
    let is_read = match verb {
        "select" | "values" | "table" | "fetch" | "declare" | "move" | "lock" => !has("into"),
        "with" => modifies.is_none(),
        "explain" => !has("analyze") || modifies.is_none(),
        _ => false,
    };
    let escapes = calls(&|name| ESCAPES.contains(&name) || name.starts_with("dblink_"));
    let writes = !is_read || escapes || calls(&|name| WRITING.contains(&name) || volatile.contains(name));
    if !writes && verb == "select" && reads_only_the_catalog(tokens) {
        return Statement { name, effect: Effect::Free, defines: false, conflict: None };
    }
    let locks = writes || verb == "lock" || verb == "select" && has("for") && (has("update") || has("share"));
    let conflict = match transaction.isolation {
        _ if !transaction.is_open || transaction.is_failed || has("nowait") || has("skip") => None,
        Isolation::Serializable => Some(Conflict::Serialization),
        Isolation::RepeatableRead => locks.then_some(Conflict::Serialization),
        // One that holds no lock yet is in nobody's way.
        Isolation::ReadCommitted => (locks && transaction.locks).then_some(Conflict::Deadlock),
    };
    transaction.wrote |= writes;
    transaction.locks |= locks;
    let effect = match (writes, transaction.is_open && !escapes) {
        (true, false) => Effect::Lasting,
        _ => Effect::Passing,
    };
    Statement { name, effect, defines, conflict }
}

/// A statement that begins or ends a transaction, or changes the session.
fn of_session(verb: &str, tokens: &[Token], transaction: &mut Transaction) -> Option<Statement> {
    let has = |word: &str| tokens.iter().any(|token| token.is(word));
    let statement = |name: &str, effect: Effect| {
        Some(Statement { name: name.to_owned(), effect, defines: false, conflict: None })
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
            Some(Statement { name: "commit".to_owned(), effect, defines: false, conflict })
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

fn tokens(text: &str) -> Vec<Token> {
    let signs: Vec<char> = text.chars().collect();
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < signs.len() {
        let sign = signs[at];
        let next = signs.get(at + 1).copied();
        match sign {
            _ if sign.is_whitespace() => at += 1,
            '-' if next == Some('-') => {
                at += signs[at..].iter().position(|sign| *sign == '\n').unwrap_or(signs.len() - at);
            }
            '/' if next == Some('*') => at = after_comment(&signs, at),
            '\'' => {
                // `E'…'`
                let is_escaped = at > 0
                    && signs[at - 1].eq_ignore_ascii_case(&'e')
                    && tokens.last().is_some_and(|token: &Token| token.is("e"));
                if is_escaped {
                    tokens.pop();
                }
                at = after_quote(&signs, at, '\'', is_escaped);
                tokens.push(Token::Literal);
            }
            '"' => {
                let end = after_quote(&signs, at, '"', false);
                let inner = signs[at + 1..end.saturating_sub(1).max(at + 1)].iter().collect();
                tokens.push(Token::Quoted(inner));
                at = end;
            }
            '$' if next.is_some_and(|sign| sign == '$' || sign.is_alphabetic() || sign == '_') => {
                match after_dollars(&signs, at) {
                    Some(end) => {
                        tokens.push(Token::Literal);
                        at = end;
                    }
                    None => at += 1,
                }
            }
            _ if sign.is_alphabetic() || sign == '_' => {
                let is_in = |sign: &char| sign.is_alphanumeric() || *sign == '_' || *sign == '$';
                let end =
                    signs[at..].iter().position(|sign| !is_in(sign)).map_or(signs.len(), |end| at + end);
                tokens.push(Token::Word(signs[at..end].iter().collect::<String>().to_lowercase()));
                at = end;
            }
            _ if sign.is_ascii_digit() => {
                at += 1;
                tokens.push(Token::Literal);
            }
            _ => {
                tokens.push(Token::Sign(sign));
                at += 1;
            }
        }
    }
    tokens
}

fn after_comment(signs: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0_u32);
    while at < signs.len() {
        match (signs[at], signs.get(at + 1)) {
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn after_quote(signs: &[char], from: usize, quote: char, is_escaped: bool) -> usize {
    let mut at = from + 1;
    while at < signs.len() {
        match signs[at] {
            '\\' if is_escaped => at += 2,
            sign if sign == quote && signs.get(at + 1) == Some(&quote) => at += 2,
            sign if sign == quote => return at + 1,
            _ => at += 1,
        }
    }
    signs.len()
}

fn after_dollars(signs: &[char], from: usize) -> Option<usize> {
    let length = signs[from + 1..].iter().position(|sign| *sign == '$')? + 2;
    let tag = &signs[from..from + length];
    if tag[1..length - 1].iter().any(|sign| !sign.is_alphanumeric() && *sign != '_') {
        return None;
    }
    let body = &signs[from + length..];
    let end = body.windows(length).position(|window| window == tag);
    Some(end.map_or(signs.len(), |end| from + length + end + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name and the effect of each statement, outside of a transaction and inside of one that has written.
    fn told(text: &str) -> Vec<String> {
        let volatile = BTreeSet::from(["charge".to_owned(), "Refund".to_owned()]);
        let mut transaction = Transaction::default();
        let alone = read(text, &mut transaction, &volatile);
        let mut transaction = Transaction { is_open: true, wrote: true, ..Transaction::default() };
        let within = read(text, &mut transaction, &volatile);
        let both = alone.into_iter().zip(within);
        both.map(|(alone, within)| {
            assert_eq!(alone.name, within.name);
            format!("{} {:?} {:?}", alone.name, alone.effect, within.effect)
        })
        .collect()
    }

    #[test]
    fn statements_are_named_by_verb_and_table() {
        for (text, expected) in [
            ("INSERT INTO orders (id) VALUES ($1)", "insert-orders Lasting Passing"),
            ("insert into public.\"Orders\" default values", "insert-Orders Lasting Passing"),
            ("UPDATE ONLY jobs SET state = 'done'", "update-jobs Lasting Passing"),
            ("DELETE FROM jobs WHERE id = $1", "delete-jobs Lasting Passing"),
            ("SELECT id FROM jobs FOR UPDATE SKIP LOCKED", "select-jobs Passing Passing"),
            ("SELECT 'insert into x', \"update\" FROM a.b", "select-b Passing Passing"),
            ("-- a comment\n/* and /* one */ more */ SELECT 1", "select Passing Passing"),
            (
                "WITH taken AS (SELECT id FROM jobs LIMIT 1) SELECT * FROM taken",
                "select-jobs Passing Passing",
            ),
            (
                "WITH taken AS (SELECT id FROM jobs) DELETE FROM jobs USING taken",
                "delete-jobs Lasting Passing",
            ),
            ("SELECT nextval('ids')", "select-nextval Lasting Lasting"),
            ("SELECT pg_notify('channel', 'text')", "select-pg_notify Lasting Passing"),
            ("SELECT pg_advisory_xact_lock(1)", "select-pg_advisory_xact_lock Passing Passing"),
            ("SELECT pg_advisory_lock(1)", "select-pg_advisory_lock Lasting Lasting"),
            ("SELECT charge(6)", "select-charge Lasting Passing"),
            ("SELECT CHARGE(6) FROM pg_class", "select-pg_class Lasting Passing"),
            ("SELECT \"Refund\"(6)", "select-Refund Lasting Passing"),
            ("SELECT refund(6)", "select-refund Passing Passing"),
            ("SELECT lowrite(1, 'text')", "select-lowrite Lasting Passing"),
            ("SELECT * FROM pg_try_advisory_lock($1)", "select-pg_try_advisory_lock Lasting Lasting"),
            ("SELECT * FROM pg_notify('channel', '')", "select-pg_notify Lasting Passing"),
            ("SELECT 1 FROM pg_class c, orders o", "select-pg_class Passing Passing"),
            (
                "SELECT 1 FROM pg_class c JOIN pg_index i ON c.oid = i.indrelid, orders",
                "select-pg_class Passing Passing",
            ),
            ("SELECT 1 FROM pg_jobs", "select-pg_jobs Passing Passing"),
            ("SELECT 1 FROM public.pg_class", "select-pg_class Passing Passing"),
            (
                "SELECT 1 FROM pg_catalog.pg_show_all_settings()",
                "select-pg_show_all_settings Passing Passing",
            ),
            ("SELECT * INTO backup FROM orders", "select-orders Lasting Passing"),
            ("COPY items (a) FROM STDIN", "copy-items Lasting Passing"),
            ("CREATE TABLE IF NOT EXISTS items ()", "create-items Lasting Passing"),
            ("TRUNCATE TABLE items", "truncate-items Lasting Passing"),
            ("NOTIFY channel", "notify-channel Lasting Passing"),
            ("MERGE INTO stock USING x ON a = b WHEN MATCHED THEN DELETE", "merge-stock Lasting Passing"),
            ("EXPLAIN ANALYZE UPDATE jobs SET a = 1", "update-jobs Lasting Passing"),
            ("COMMIT", "commit Passing Lasting"),
            ("END", "commit Passing Lasting"),
            ("ROLLBACK TO SAVEPOINT a", "rollback Free Free"),
            ("BEGIN ISOLATION LEVEL SERIALIZABLE", "begin Free Free"),
            ("SET search_path TO x", "set Free Free"),
            ("LISTEN a", "listen Free Free"),
            ("SELECT oid FROM pg_catalog.pg_type WHERE typname = $1", "select-pg_type Free Free"),
            (
                "SELECT 1 FROM (VALUES (1)) AS v (a) LEFT JOIN pg_catalog.pg_attribute ON true, pg_type WHERE (1, 2) = (1, 2)",
                "select-values Free Free",
            ),
            ("SELECT a, b FROM information_schema.columns ORDER BY a, b", "select-columns Free Free"),
            ("DO $body$ BEGIN; INSERT INTO x VALUES (';'); END $body$", "do Lasting Passing"),
        ] {
            assert_eq!(told(text), [expected], "{text}");
        }
    }

    #[test]
    fn statements_in_one_text_are_read_in_order() {
        let text = "BEGIN; INSERT INTO a VALUES (E'\\';'); COMMIT; SELECT 1 FROM b;";
        let mut transaction = Transaction::default();
        let read = read(text, &mut transaction, &BTreeSet::new());
        let in_order: Vec<_> = read.iter().map(|s| format!("{} {:?}", s.name, s.effect)).collect();
        assert_eq!(in_order, ["begin Free", "insert-a Passing", "commit Lasting", "select-b Passing"]);
        assert_eq!(transaction, Transaction::default());
        // The server only warns of the second `BEGIN`.
        let again =
            super::read("BEGIN; INSERT INTO a VALUES (1); BEGIN; COMMIT", &mut transaction, &BTreeSet::new());
        assert_eq!(again[3].effect, Effect::Lasting);
        // A commit of what has failed is a rollback, and one after `ROLLBACK TO` is not.
        for (text, effect) in [("COMMIT", Effect::Passing), ("ROLLBACK TO a; COMMIT", Effect::Lasting)] {
            let mut failed =
                Transaction { is_open: true, is_failed: true, wrote: true, ..Transaction::default() };
            let read = super::read(text, &mut failed, &BTreeSet::new());
            assert_eq!(read.last().map(|s| s.effect), Some(effect), "{text}");
        }
        assert!(told("  ; -- nothing\n ;").is_empty());
    }

    #[test]
    fn a_statement_is_refused_only_where_it_can_be_in_the_way() {
        let refused = |text: &str| {
            let read = read(text, &mut Transaction::default(), &BTreeSet::new());
            read.iter()
                .filter_map(|s| s.conflict.map(|conflict| format!("{} {conflict:?}", s.name)))
                .collect::<Vec<_>>()
        };
        assert!(refused("UPDATE a SET b = 1; UPDATE a SET b = 1").is_empty());
        assert!(refused("BEGIN; SELECT 1 FROM a; UPDATE a SET b = 1; COMMIT").is_empty());
        assert_eq!(
            refused("BEGIN; SELECT 1 FROM a FOR UPDATE; SELECT 1 FROM a; UPDATE b SET c = 1; COMMIT"),
            ["update-b Deadlock"]
        );
        assert!(refused("BEGIN; UPDATE b SET c = 1; SELECT 1 FROM a FOR UPDATE SKIP LOCKED").is_empty());
        let serializable = "; SELECT 1 FROM a; UPDATE b SET c = 1; COMMIT";
        assert_eq!(
            refused(&format!("BEGIN ISOLATION LEVEL SERIALIZABLE{serializable}")),
            ["select-a Serialization", "update-b Serialization", "commit Serialization"]
        );
        let repeatable = format!("BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ{serializable}");
        assert_eq!(refused(&repeatable), ["update-b Serialization"]);
    }

    #[test]
    fn no_text_is_too_odd() {
        let signs = ["'", "\"", "$", "$a$", "e'", "\\", "/*", "*/", "--", "\n", "(", ";", "é", "1", "a", "."];
        for one in signs {
            for two in signs {
                for three in signs {
                    told(&format!("{one}{two}{three}"));
                }
            }
        }
    }
}

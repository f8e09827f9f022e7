//! The tables of a database: how their rows are read, compared, and put back.

use std::collections::BTreeSet;
use std::io;

use crate::connection::Connection;
use crate::sql::calls_any;

/// The meaning of a column for a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Plain,
    /// The database generates its values.
    Generated,
    /// A time or a date.
    Time,
}

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: ColumnKind,
    /// Whether JSON holds its values exactly. Others are compared as text.
    pub(crate) is_precise: bool,
}

/// A column that refers to a row of another table.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) column: String,
    /// The index of the other table.
    pub(crate) table: usize,
    pub(crate) to: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// With its schema, as it stands in a statement.
    pub(crate) name: String,
    /// The same for its rows, without those of tables that inherit from it.
    pub(crate) source: String,
    /// As a report shows it.
    pub(crate) shown: String,
    /// Without those that are computed from other columns.
    pub(crate) columns: Vec<Column>,
    pub(crate) references: Vec<Reference>,
    /// Whether it is a table. The rows of a materialized view cannot be put back, and say nothing of their own.
    pub(crate) is_table: bool,
}

/// The rows of all tables, in the order of the tables: each row as JSON.
pub(crate) type Rows = Vec<Vec<String>>;

/// All tables of a database, with their initial rows.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) tables: Vec<Table>,
    /// The names of the user's own functions that may write.
    pub(crate) volatile: BTreeSet<String>,
    dump: String,
    initial: Rows,
    /// The initial rows as `COPY` writes them.
    copies: Vec<Vec<u8>>,
    /// Sets all sequences back.
    sequences: String,
    is_superuser: bool,
    /// The number of times that each table was emptied since it was last vacuumed.
    emptied: Vec<u32>,
}

const TABLES: &str = "SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), \
        CASE n.nspname WHEN 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END, \
        CASE c.relkind WHEN 'r' THEN 'ONLY ' ELSE '' END, c.relkind <> 'm' \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'm') AND c.relispopulated AND NOT c.relispartition AND c.relpersistence <> 't' \
        AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' \
    ORDER BY 3";

/// The type is that below all domains. Columns that are computed from others say nothing of their own.
const COLUMNS: &str = "WITH RECURSIVE bases AS ( \
        SELECT oid, oid AS base, typbasetype AS next, typdefault AS value FROM pg_type \
        UNION ALL SELECT b.oid, t.oid, t.typbasetype, coalesce(b.value, t.typdefault) \
            FROM bases b JOIN pg_type t ON t.oid = b.next) \
    SELECT a.attrelid, a.attname, t.typname, coalesce(pg_get_expr(d.adbin, d.adrelid), b.value, ''), \
        a.attidentity <> '' \
    FROM pg_attribute a JOIN bases b ON b.oid = a.atttypid AND b.next = 0 JOIN pg_type t ON t.oid = b.base \
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
    WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attrelid, a.attnum";

const REFERENCES: &str = "SELECT f.conrelid, a.attname, f.confrelid, b.attname \
    FROM pg_constraint f \
        CROSS JOIN LATERAL unnest(f.conkey, f.confkey) AS k(one, other) \
        JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.one \
        JOIN pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = k.other \
    WHERE f.contype = 'f' AND f.conparentid = 0 ORDER BY f.conrelid, f.oid, a.attnum";

const SEQUENCES: &str = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1";

/// Functions whose result may differ from call to call, and whether they are the user's own.
const VOLATILE: &str = "SELECT DISTINCT p.proname, n.nspname NOT IN ('pg_catalog', 'information_schema') \
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.provolatile = 'v' ORDER BY 1, 2";

/// After this many resets, the dead rows of a table are removed, because they make each scan slower.
const VACUUM_EVERY: u32 = 200;

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn text(value: &Option<String>) -> String {
    value.clone().unwrap_or_default()
}

fn is_true(value: &Option<String>) -> bool {
    value.as_deref() == Some("t")
}

/// Adds the columns and the references of all tables, whose numbers in the catalog are `oids`. `volatile` has the names
/// of functions whose result may differ from call to call.
fn read_columns(
    admin: &mut Connection,
    oids: &[String],
    volatile: &BTreeSet<String>,
    tables: &mut [Table],
) -> io::Result<()> {
    let index = |oid: &Option<String>| oids.iter().position(|known| Some(known) == oid.as_ref());
    for row in admin.run(COLUMNS)? {
        let Some(table) = index(&row[0]) else { continue };
        let kind = text(&row[2]);
        if matches!(kind.as_str(), "xid" | "xid8" | "tid" | "cid" | "pg_lsn") {
            continue;
        }
        // Also by a function of the user's own, such as one for `uuidv7`.
        let is_generated = is_true(&row[4]) || calls_any(&text(&row[3]), volatile);
        let is_time = matches!(kind.as_str(), "timestamptz" | "timestamp" | "date");
        let meaning = match (is_time, is_generated) {
            (true, _) => ColumnKind::Time,
            (_, true) => ColumnKind::Generated,
            _ => ColumnKind::Plain,
        };
        let is_precise = !matches!(kind.as_str(), "numeric" | "float4" | "float8" | "money");
        tables[table].columns.push(Column { name: text(&row[1]), kind: meaning, is_precise });
    }
    for row in admin.run(REFERENCES)? {
        let (Some(from), Some(table)) = (index(&row[0]), index(&row[2])) else { continue };
        let reference = Reference { column: text(&row[1]), table, to: text(&row[3]) };
        tables[from].references.push(reference);
    }
    Ok(())
}

impl Schema {
    pub(crate) fn read(admin: &mut Connection) -> io::Result<Self> {
        let found = admin.run(TABLES)?;
        let oids: Vec<String> = found.iter().map(|row| text(&row[0])).collect();
        let mut tables: Vec<Table> = found
            .iter()
            .map(|row| Table {
                name: text(&row[1]),
                source: text(&row[3]) + &text(&row[1]),
                shown: text(&row[2]),
                columns: Vec::new(),
                references: Vec::new(),
                is_table: is_true(&row[4]),
            })
            .collect();
        let functions = admin.run(VOLATILE)?;
        let names = |functions: &mut dyn Iterator<Item = &Vec<Option<String>>>| {
            functions.map(|row| text(&row[0])).collect::<BTreeSet<_>>()
        };
        read_columns(admin, &oids, &names(&mut functions.iter()), &mut tables)?;
        let volatile = names(&mut functions.iter().filter(|row| is_true(&row[1])));
        let mut sequences = Vec::new();
        for row in admin.run(SEQUENCES)? {
            let name = text(&row[0]);
            let at = admin.run(&format!("SELECT last_value, is_called FROM {name}"))?;
            sequences.push(format!("setval({}, {}, '{}')", literal(&name), text(&at[0][0]), text(&at[0][1])));
        }
        let sequences = match sequences.is_empty() {
            true => String::new(),
            false => format!("SELECT {};", sequences.join(", ")),
        };
        let is_superuser = admin.run("SHOW is_superuser")?[0][0].as_deref() == Some("on");
        let (dump, emptied) = (dump(&tables), vec![0; tables.len()]);
        let mut schema = Self {
            tables,
            volatile,
            dump,
            initial: Vec::new(),
            copies: Vec::new(),
            sequences,
            is_superuser,
            emptied,
        };
        schema.initial = schema.rows(admin)?;
        for table in &schema.tables {
            schema.copies.push(admin.copy_out(&format!(
                "COPY (SELECT {} FROM {}) TO STDOUT",
                columns(table),
                table.source
            ))?);
        }
        Ok(schema)
    }

    /// The current rows of all tables, sorted.
    pub(crate) fn rows(&self, admin: &mut Connection) -> io::Result<Rows> {
        let mut rows = vec![Vec::new(); self.tables.len()];
        if self.tables.is_empty() {
            return Ok(rows);
        }
        for row in admin.run(&self.dump)? {
            let table = row[0].as_deref().and_then(|table| table.parse::<usize>().ok());
            let table = table.ok_or_else(|| io::Error::other("a table has no number"))?;
            rows[table].push(row[1].clone().unwrap_or_default());
        }
        rows.iter_mut().for_each(|rows| rows.sort_unstable());
        Ok(rows)
    }

    /// Puts the initial rows back, where they have changed.
    pub(crate) fn reset(&mut self, admin: &mut Connection) -> io::Result<()> {
        let rows = self.rows(admin)?;
        let dirty: Vec<usize> = (0..rows.len()).filter(|&table| rows[table] != self.initial[table]).collect();
        if dirty.iter().any(|&table| !self.tables[table].is_table) {
            return Err(io::Error::other("a materialized view has changed"));
        }
        let mut text = self.sequences.clone();
        let is_quiet = self.is_superuser && !dirty.is_empty();
        if is_quiet {
            // Rows are put back without triggers, in any order.
            text += "SET session_replication_role = replica;";
        }
        let emptied: Vec<usize> = match (self.is_superuser, dirty.is_empty()) {
            (_, true) => Vec::new(),
            (true, false) => {
                dirty
                    .iter()
                    .for_each(|&table| text += &format!("DELETE FROM {};", self.tables[table].source));
                dirty
            }
            (false, false) => {
                let all: Vec<_> = (0..self.tables.len()).filter(|&at| self.tables[at].is_table).collect();
                let names: Vec<_> = all.iter().map(|&at| self.tables[at].name.as_str()).collect();
                text += &format!("TRUNCATE {} CASCADE;", names.join(", "));
                all
            }
        };
        if !text.is_empty() {
            admin.run(&text)?;
        }
        let mut missing: Vec<usize> = emptied.clone();
        missing.retain(|&table| !self.initial[table].is_empty());
        // Without triggers turned off, rows come after those that they refer to.
        for round in 0.. {
            let mut failed = Vec::new();
            for table in std::mem::take(&mut missing) {
                let copy = format!("COPY {} FROM STDIN", of(&self.tables[table]));
                failed.extend(admin.copy_in(&copy, &self.copies[table]).err().map(|error| (table, error)));
            }
            match failed.pop() {
                None => break,
                Some((_, error)) if round == self.tables.len() => return Err(error),
                Some((table, _)) => {
                    missing = failed.into_iter().map(|(table, _)| table).collect();
                    missing.push(table);
                }
            }
        }
        if is_quiet {
            // The test's own statements run on this connection, and have their triggers.
            admin.run("RESET session_replication_role")?;
        }
        for table in emptied {
            self.emptied[table] += 1;
            if self.emptied[table] % VACUUM_EVERY == 0 {
                admin.run(&format!("VACUUM {}", self.tables[table].name))?;
            }
        }
        Ok(())
    }
}

/// The columns of a table that are read and put back.
fn columns(table: &Table) -> String {
    table.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
}

/// A table with the columns that are put back.
fn of(table: &Table) -> String {
    match columns(table).as_str() {
        "" => table.name.clone(),
        columns => format!("{} ({columns})", table.name),
    }
}

/// One statement that reads all tables.
fn dump(tables: &[Table]) -> String {
    let selects: Vec<_> = tables
        .iter()
        .enumerate()
        .map(|(at, table)| {
            let columns: Vec<_> = table
                .columns
                .iter()
                .map(|column| match (quoted(&column.name), column.is_precise) {
                    (name, true) => name,
                    (name, false) => format!("{name}::text AS {name}"),
                })
                .collect();
            format!(
                "SELECT {at}, to_jsonb(s.*)::text FROM (SELECT {} FROM {}) s",
                columns.join(", "),
                table.source
            )
        })
        .collect();
    selects.join(" UNION ALL ")
}

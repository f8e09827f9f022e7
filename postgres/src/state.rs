//! The rows of a database, in a form in which two runs can be compared.
//!
//! Ids that the database generates have no meaning: a statement that was rolled back and repeated leaves a gap. They are
//! renamed by what else their rows say, and the columns that refer to them with them. Times near the real time of the run
//! are replaced, because the server's clock is real.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::schema::{ColumnKind, Rows, Table};

/// Times at most this far from the real time of the run are not compared.
const NEAR: Duration = Duration::from_secs(24 * 60 * 60);
/// The value that stands for such a time.
const TIME: &str = "<time>";
/// The number of rounds in which rows take on what the rows that they refer to say.
const ROUNDS: usize = 4;

/// Returns the tables with their rows. `ignored` has the table and the column of what is left out.
pub(crate) fn compared(
    tables: &[Table],
    rows: &Rows,
    ignored: &BTreeSet<(String, String)>,
) -> BTreeMap<String, Vec<Value>> {
    let now = now();
    let mut parsed: Vec<Vec<Map<String, Value>>> =
        rows.iter().map(|rows| rows.iter().map(|row| object(row)).collect()).collect();
    for (table, rows) in tables.iter().zip(&mut parsed) {
        for row in rows {
            for column in &table.columns {
                if ignored.contains(&(table.shown.clone(), column.name.clone())) {
                    row.remove(&column.name);
                } else if column.kind == ColumnKind::Time {
                    row.get_mut(&column.name).into_iter().for_each(|value| blank_time(value, now));
                }
            }
        }
    }
    rename(tables, &mut parsed);
    let named = tables.iter().zip(parsed).filter(|(table, _)| table.is_table);
    named.map(|(table, rows)| (table.shown.clone(), rows.into_iter().map(Value::Object).collect())).collect()
}

fn object(row: &str) -> Map<String, Value> {
    match serde_json::from_str(row) {
        Ok(Value::Object(row)) => row,
        _ => Map::from_iter([("row".to_owned(), Value::String(row.to_owned()))]),
    }
}

type Row = Map<String, Value>;

/// Sorts rows by their meaning, then numbers the generated ids in that order.
fn rename(tables: &[Table], rows: &mut [Vec<Row>]) {
    let meanings = meanings(tables, rows);
    let mut names: Vec<BTreeMap<String, BTreeMap<String, Value>>> = vec![BTreeMap::new(); tables.len()];
    for (at, table) in tables.iter().enumerate() {
        let mut order: Vec<usize> = (0..rows[at].len()).collect();
        order.sort_by(|one, other| meanings[at][*one].cmp(&meanings[at][*other]));
        rows[at] = order.iter().map(|row| rows[at][*row].clone()).collect();
        for column in table.columns.iter().filter(|column| is_renamed(tables, (at, &column.name))) {
            let known = names[at].entry(column.name.clone()).or_default();
            for value in
                rows[at].iter().filter_map(|row| row.get(&column.name)).filter(|value| !value.is_null())
            {
                let next = Value::String(format!("#{}", known.len() + 1));
                known.entry(value.to_string()).or_insert(next);
            }
        }
    }
    for (at, table) in tables.iter().enumerate() {
        for row in &mut rows[at] {
            for column in &table.columns {
                let (of, origin) = origin(tables, (at, &column.name));
                renamed(row, &column.name, names[of].get(origin));
            }
        }
    }
}

/// A text for each row that says everything about it but its generated ids: its other columns, and the meanings of the
/// rows that it refers to or that refer to it.
fn meanings(tables: &[Table], rows: &[Vec<Row>]) -> Vec<Vec<String>> {
    let own: Vec<Vec<String>> = tables
        .iter()
        .zip(rows)
        .enumerate()
        .map(|(at, (table, rows))| {
            let names = table.columns.iter().map(|column| column.name.as_str());
            let blank: BTreeSet<_> = names.filter(|name| is_id(tables, (at, name))).collect();
            let texts = rows.iter().map(|row| {
                let columns = row.iter().filter(|(name, _)| !blank.contains(name.as_str()));
                columns.map(|(name, value)| format!("{name}={value};")).collect()
            });
            texts.collect()
        })
        .collect();
    let mut meanings = own.clone();
    for _ in 0..ROUNDS {
        let before = ranks(&meanings);
        add_references(tables, rows, &before, &mut meanings);
        // As numbers, so that rounds do not multiply the text.
        let after = ranks(&meanings);
        for (texts, (own, ranks)) in meanings.iter_mut().zip(own.iter().zip(&after)) {
            for (text, (own, rank)) in texts.iter_mut().zip(own.iter().zip(ranks)) {
                *text = format!("{own}{rank}");
            }
        }
    }
    meanings
}

/// Adds the ranks of the rows at both ends of each reference to the texts of the rows at the other end.
fn add_references(tables: &[Table], rows: &[Vec<Row>], ranks: &[Vec<usize>], texts: &mut [Vec<String>]) {
    for (at, table) in tables.iter().enumerate() {
        let references = table.references.iter();
        for reference in references.filter(|known| is_id(tables, (known.table, &known.to))) {
            let (column, to) = (&reference.column, reference.table);
            let points = |row: &Row, other: &Row| {
                row.get(column).is_some_and(|value| other.get(&reference.to) == Some(value))
            };
            for (row, text) in rows[at].iter().zip(&mut texts[at]) {
                let target = rows[to].iter().position(|other| points(row, other));
                text.push_str(&format!("{column}->{:?};", target.map(|target| ranks[to][target])));
            }
            for (other, text) in rows[to].iter().zip(&mut texts[to]) {
                let from = rows[at].iter().zip(&ranks[at]).filter(|(row, _)| points(row, other));
                let mut from: Vec<_> = from.map(|(_, rank)| *rank).collect();
                from.sort_unstable();
                text.push_str(&format!("<-{column}{from:?};"));
            }
        }
    }
}

/// A column: the index of its table, and its name.
type Place<'a> = (usize, &'a str);

fn is_generated(tables: &[Table], (table, name): Place<'_>) -> bool {
    tables[table].columns.iter().any(|column| column.name == name && column.kind == ColumnKind::Generated)
}

/// The column that a column's values come from, over all references on the way. It is the column itself if it refers to
/// nothing.
fn origin<'a>(tables: &'a [Table], from: Place<'a>) -> Place<'a> {
    let mut path = vec![from];
    loop {
        let last = path[path.len() - 1];
        let references = tables[last.0].references.iter().filter(|known| known.column == last.1);
        let mut next: Vec<Place<'a>> =
            references.map(|known| (known.table, known.to.as_str())).filter(|to| *to != last).collect();
        // One that leads to a generated id comes first.
        next.sort_by_key(|to| !is_generated(tables, *to));
        let Some(&to) = next.first() else { return last };
        if let Some(begin) = path.iter().position(|known| *known == to) {
            // Columns that refer to each other have the same values.
            return *path[begin..].iter().min().expect("the circle has a column");
        }
        path.push(to);
    }
}

/// Reports whether the values of a column are generated, here or where they come from.
fn is_id(tables: &[Table], column: Place<'_>) -> bool {
    is_generated(tables, origin(tables, column))
}

/// Reports whether the values of a column are generated, and do not come from another column.
fn is_renamed(tables: &[Table], column: Place<'_>) -> bool {
    origin(tables, column) == column && is_generated(tables, column)
}

fn renamed(row: &mut Map<String, Value>, column: &str, names: Option<&BTreeMap<String, Value>>) {
    let Some(value) = row.get_mut(column) else { return };
    if let Some(name) = names.and_then(|names| names.get(&value.to_string())) {
        *value = name.clone();
    }
}

/// The rank of each row among all rows of its table. Equal rows have equal ranks.
fn ranks(says: &[Vec<String>]) -> Vec<Vec<usize>> {
    let of_table = |rows: &Vec<String>| {
        let different: BTreeSet<_> = rows.iter().collect();
        let rank = different.into_iter().enumerate().map(|(rank, text)| (text, rank));
        let rank: BTreeMap<_, _> = rank.collect();
        rows.iter().map(|row| rank[row]).collect()
    };
    says.iter().map(of_table).collect()
}

#[allow(
    clippy::disallowed_methods,
    reason = "the server's clock is real, and only values near it are replaced"
)]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn blank_time(value: &mut Value, now: Duration) {
    let is_near =
        value.as_str().and_then(seconds).is_some_and(|at| at.abs_diff(now.as_secs()) <= NEAR.as_secs());
    if is_near {
        *value = Value::String(TIME.to_owned());
    }
}

/// The seconds since 1970 of `2026-11-30T21:28:52.123+00:00`, or of its date alone.
fn seconds(text: &str) -> Option<u64> {
    let mut numbers = text.get(..10)?.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let time = match text.get(11..19) {
        Some(time) => {
            let mut numbers = time.split(':').map(|part| part.parse::<u64>().ok());
            (numbers.next()?? * 60 + numbers.next()??) * 60 + numbers.next()??
        }
        None => 12 * 60 * 60,
    };
    // Days since 1970, with years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    Some(days.checked_sub(719_469)? * 86_400 + time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Column, Reference};

    fn column(name: &str, kind: ColumnKind) -> Column {
        Column { name: name.to_owned(), kind, is_precise: true }
    }

    fn table(shown: &str, columns: Vec<Column>, references: Vec<Reference>) -> Table {
        let name = shown.to_owned();
        Table { name: name.clone(), source: name.clone(), shown: name, columns, references, is_table: true }
    }

    fn shop(orders: &[&str], items: &[&str]) -> String {
        let tables = [
            table(
                "orders",
                vec![column("id", ColumnKind::Generated), column("who", ColumnKind::Plain)],
                vec![],
            ),
            table(
                "items",
                vec![column("id", ColumnKind::Generated), column("order_id", ColumnKind::Plain)],
                vec![Reference { column: "order_id".to_owned(), table: 0, to: "id".to_owned() }],
            ),
        ];
        let owned = |rows: &[&str]| rows.iter().map(|row| (*row).to_owned()).collect();
        serde_json::to_string(&compared(&tables, &vec![owned(orders), owned(items)], &BTreeSet::new()))
            .unwrap()
    }

    #[test]
    fn gaps_in_generated_ids_and_the_order_of_rows_do_not_matter_and_references_do() {
        let expected = shop(
            &[r#"{"id":1,"who":"ann"}"#, r#"{"id":2,"who":"bob"}"#],
            &[r#"{"id":1,"order_id":1}"#, r#"{"id":2,"order_id":2}"#],
        );
        let retried = shop(
            &[r#"{"id":9,"who":"bob"}"#, r#"{"id":4,"who":"ann"}"#],
            &[r#"{"id":3,"order_id":9}"#, r#"{"id":8,"order_id":4}"#],
        );
        assert_eq!(retried, expected);
        let wrong = shop(
            &[r#"{"id":1,"who":"ann"}"#, r#"{"id":2,"who":"bob"}"#],
            &[r#"{"id":1,"order_id":1}"#, r#"{"id":2,"order_id":1}"#],
        );
        assert_ne!(wrong, expected);
        let twice = shop(
            &[r#"{"id":1,"who":"ann"}"#, r#"{"id":2,"who":"ann"}"#],
            &[r#"{"id":1,"order_id":1}"#, r#"{"id":2,"order_id":2}"#],
        );
        assert_ne!(twice, expected);
    }

    /// Orders with generated ids, details whose generated id is that of an order, and notes that refer to a detail.
    fn chain(is_generated: bool, orders: &[&str], details: &[&str], notes: &[&str]) -> String {
        let to =
            |column: &str, table, to: &str| Reference { column: column.to_owned(), table, to: to.to_owned() };
        let kind = if is_generated { ColumnKind::Generated } else { ColumnKind::Plain };
        let who = column("who", ColumnKind::Plain);
        let tables = [
            table("orders", vec![column("id", ColumnKind::Generated), who], vec![]),
            table("details", vec![column("id", kind)], vec![to("id", 0, "id")]),
            table("notes", vec![column("detail", ColumnKind::Plain)], vec![to("detail", 1, "id")]),
        ];
        let rows = [orders, details, notes].map(|rows| rows.iter().map(|row| (*row).to_owned()).collect());
        serde_json::to_string(&compared(&tables, &rows.to_vec(), &BTreeSet::new())).unwrap()
    }

    #[test]
    fn references_are_followed_to_the_id_that_was_generated() {
        for is_generated in [false, true] {
            let explored = |ann: u32, bob: u32, chosen: u32| {
                let orders =
                    [format!(r#"{{"id":{ann},"who":"ann"}}"#), format!(r#"{{"id":{bob},"who":"bob"}}"#)];
                let detail = format!(r#"{{"id":{chosen}}}"#);
                let note = format!(r#"{{"detail":{chosen}}}"#);
                chain(is_generated, &[&orders[0], &orders[1]], &[&detail], &[&note])
            };
            assert_eq!(explored(1, 2, 2), explored(7, 4, 4), "{is_generated}");
            assert_ne!(explored(1, 2, 2), explored(1, 2, 1), "{is_generated}");
        }
    }

    #[test]
    fn references_in_a_circle_have_one_origin() {
        let to = |table| vec![Reference { column: "id".to_owned(), table, to: "id".to_owned() }];
        let ids = || vec![column("id", ColumnKind::Generated)];
        let tables = [table("a", ids(), to(1)), table("b", ids(), to(0)), table("c", ids(), to(1))];
        for at in 0..3 {
            assert_eq!(origin(&tables, (at, "id")), (0, "id"));
        }
    }

    #[test]
    fn equal_rows_are_told_apart_by_the_rows_that_refer_to_them() {
        let one = shop(
            &[r#"{"id":1,"who":"ann"}"#, r#"{"id":2,"who":"ann"}"#],
            &[r#"{"id":1,"order_id":1}"#, r#"{"id":2,"order_id":1}"#],
        );
        let other = shop(
            &[r#"{"id":1,"who":"ann"}"#, r#"{"id":2,"who":"ann"}"#],
            &[r#"{"id":1,"order_id":2}"#, r#"{"id":2,"order_id":2}"#],
        );
        assert_eq!(one, other);
    }

    #[test]
    fn a_time_near_the_run_is_replaced_and_a_time_far_from_it_is_not() {
        assert_eq!(seconds("1970-01-02"), Some(36 * 60 * 60));
        assert_eq!(seconds("2026-11-30T21:28:52.123+00:00"), Some(1_796_074_132));
        assert_eq!(seconds("2000-02-29T00:00:00"), Some(951_782_400));
        let now = Duration::from_secs(1_796_074_132);
        let blanked = |text: &str| {
            let mut value = Value::String(text.to_owned());
            blank_time(&mut value, now);
            value
        };
        assert_eq!(blanked("2026-12-01T00:00:00+00:00"), TIME);
        assert_eq!(blanked("2026-11-28T00:00:00+00:00"), "2026-11-28T00:00:00+00:00");
        assert_eq!(blanked("infinity"), "infinity");
    }
}

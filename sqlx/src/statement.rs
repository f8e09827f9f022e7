//! The name of a statement in reports, and whether it only reads.

/// Its verb, and the table: `update-jobs`.
pub(crate) fn operation(sql: &str) -> String {
    let mut words = sql.split_whitespace();
    let verb = words.next().unwrap_or_default().to_lowercase();
    let before_table = match verb.as_str() {
        "select" | "delete" => Some("from"),
        "insert" | "replace" => Some("into"),
        _ => None,
    };
    let table = match before_table {
        Some(word) => words.skip_while(|found| !found.eq_ignore_ascii_case(word)).nth(1),
        None => words.next(),
    };
    let table = table.unwrap_or_default();
    // There may be no blank before the parenthesis: `orders(id, cents)`.
    let table = table.split('(').next().unwrap_or_default();
    let table = table.trim_matches(|c: char| !c.is_alphanumeric() && c != '_');
    if table.is_empty() { verb } else { format!("{verb}-{table}") }
}

/// Reports whether a statement changes nothing. `SELECT … FOR UPDATE` takes locks.
pub(crate) fn reads(sql: &str) -> bool {
    let sql = sql.trim_start().to_lowercase();
    sql.starts_with("select") && !sql.split_whitespace().any(|word| word == "for")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_the_verb_and_the_table() {
        for (sql, expected) in [
            ("SELECT id, amount FROM jobs WHERE state = 'new'", "select-jobs"),
            ("select count(*)\nfrom \"orders\"", "select-orders"),
            ("UPDATE jobs SET state = 'done'", "update-jobs"),
            ("INSERT INTO orders(id) VALUES (1)", "insert-orders"),
            ("REPLACE INTO orders VALUES (1)", "replace-orders"),
            ("DELETE FROM shop.orders;", "delete-shop.orders"),
            ("SELECT 1", "select"),
            ("VACUUM", "vacuum"),
            ("", ""),
        ] {
            assert_eq!(operation(sql), expected, "{sql}");
        }
    }

    #[test]
    fn a_select_that_locks_rows_is_no_read() {
        assert!(reads("  SELECT id FROM jobs"));
        assert!(!reads("select id from jobs for update skip locked"));
        assert!(!reads("UPDATE jobs SET id = 1"));
        assert!(!reads("WITH taken AS (DELETE FROM jobs RETURNING id) SELECT id FROM taken"));
    }
}

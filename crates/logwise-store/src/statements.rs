//! The SQL texts. They are put together from the constants of this file and `?` only: every value is a parameter.

/// Which SQL the other side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    MySql,
}

/// A parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Int(i64),
}

/// One statement with its parameters.
#[derive(Debug)]
pub(crate) struct Statement<'a> {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value<'a>>,
}

// MySQL assigns from left to right, and later assignments see earlier ones: the columns of the guard come last.
const OBJECT: [&str; 10] =
    ["uid", "kind", "namespace", "name", "generation", "spec", "status", "observed_at", "deleted", "revision"];
const CONDITION: [&str; 10] = [
    "uid",
    "type",
    "kind",
    "namespace",
    "name",
    "status",
    "reason",
    "message",
    "observed_generation",
    "last_transition_time",
];
const DECISION: [&str; 12] = [
    "id",
    "uid",
    "namespace",
    "name",
    "part",
    "decided_at",
    "plan_id",
    "inputs",
    "actions",
    "holds",
    "outcome",
    "generation",
];

const SAMPLE: [&str; 4] = ["cluster", "slot", "payload", "taken_at"];

/// Inserts or replaces objects; a stored row that is newer stays as it is. `values` holds ten per row, in this order:
/// uid, kind, namespace, name, generation, spec, status, observed_at, deleted, revision.
pub(crate) fn upsert_objects(dialect: Dialect, values: Vec<Value<'_>>) -> Statement<'_> {
    let mut sql = insert("logwise_objects", &OBJECT, values.len());
    let guard = |new: &dyn Fn(&str) -> String| {
        let (revision, deleted) = (new("revision"), new("deleted"));
        format!(
            "{revision} > logwise_objects.revision OR ({revision} = logwise_objects.revision AND {deleted} >= logwise_objects.deleted)"
        )
    };
    sql += &match dialect {
        Dialect::MySql => {
            let guard = guard(&|column| format!("VALUES({column})"));
            on_duplicate(&OBJECT[1..], |column| {
                format!("{column} = IF({guard}, VALUES({column}), logwise_objects.{column})")
            })
        }
        Dialect::Sqlite => {
            format!("{} WHERE {}", on_conflict("uid", &OBJECT[1..]), guard(&|column| format!("excluded.{column}")))
        }
    };
    Statement { sql, values }
}

/// Inserts or replaces conditions, ten values per row: uid, type, kind, namespace, name, status, reason, message,
/// observed_generation, last_transition_time.
pub(crate) fn upsert_conditions(dialect: Dialect, values: Vec<Value<'_>>) -> Statement<'_> {
    let mut sql = insert("logwise_conditions", &CONDITION, values.len());
    sql += &match dialect {
        Dialect::MySql => on_duplicate(&CONDITION[2..], |column| format!("{column} = VALUES({column})")),
        Dialect::Sqlite => on_conflict("uid, type", &CONDITION[2..]),
    };
    Statement { sql, values }
}

/// Inserts decisions that are not there yet, twelve values per row: the texts of a decision in their order, generation.
pub(crate) fn insert_decisions(dialect: Dialect, values: Vec<Value<'_>>) -> Statement<'_> {
    let mut sql = insert("logwise_decisions", &DECISION, values.len());
    // Not INSERT IGNORE, which would also let wrong values pass.
    sql += match dialect {
        Dialect::MySql => " ON DUPLICATE KEY UPDATE id = logwise_decisions.id",
        Dialect::Sqlite => " ON CONFLICT(id) DO NOTHING",
    };
    Statement { sql, values }
}

/// Inserts or replaces samples; a stored row that is newer stays as it is. `values` holds four per row, in this
/// order: cluster, slot, payload, taken_at.
pub(crate) fn upsert_samples(dialect: Dialect, values: Vec<Value<'_>>) -> Statement<'_> {
    let mut sql = insert("logwise_samples", &SAMPLE, values.len());
    sql += &match dialect {
        Dialect::MySql => on_duplicate(&SAMPLE[2..], |column| {
            format!(
                "{column} = IF(VALUES(taken_at) >= logwise_samples.taken_at, VALUES({column}), logwise_samples.{column})"
            )
        }),
        Dialect::Sqlite => format!(
            "{} WHERE excluded.taken_at >= logwise_samples.taken_at",
            on_conflict("cluster, slot", &SAMPLE[2..])
        ),
    };
    Statement { sql, values }
}

/// `slot` of the newest samples of a cluster, the newest first. Without the payloads: some servers cannot sort those.
pub(crate) fn newest_samples<'a>(cluster: &'a str, since: &'a str, limit: i64) -> Statement<'a> {
    let sql = "SELECT slot FROM logwise_samples WHERE cluster = ? AND taken_at >= ? \
               ORDER BY taken_at DESC, slot DESC LIMIT ?";
    Statement { sql: sql.to_owned(), values: vec![Value::Text(cluster), Value::Text(since), Value::Int(limit)] }
}

/// `slot, taken_at, payload` of the given slots of a cluster, in any order.
pub(crate) fn samples<'a>(cluster: &'a str, slots: &[i64]) -> Statement<'a> {
    let sql = format!(
        "SELECT slot, CAST(taken_at AS CHAR), payload FROM logwise_samples WHERE cluster = ? AND slot IN {}",
        group(slots.len())
    );
    let values = std::iter::once(Value::Text(cluster)).chain(slots.iter().map(|slot| Value::Int(*slot))).collect();
    Statement { sql, values }
}

/// `cluster, slot` of at most `limit` samples that were not taken between the two times.
pub(crate) fn stale_samples<'a>(oldest: &'a str, newest: &'a str, limit: i64) -> Statement<'a> {
    let sql = "SELECT cluster, slot FROM logwise_samples WHERE taken_at < ? OR taken_at > ? LIMIT ?";
    Statement { sql: sql.to_owned(), values: vec![Value::Text(oldest), Value::Text(newest), Value::Int(limit)] }
}

/// Removes those of the given samples that were not taken between the two times; `keys` holds cluster and slot of each.
pub(crate) fn delete_samples<'a>(oldest: &'a str, newest: &'a str, keys: Vec<Value<'a>>) -> Statement<'a> {
    let pairs = vec!["(cluster = ? AND slot = ?)"; keys.len() / 2].join(" OR ");
    let sql = format!("DELETE FROM logwise_samples WHERE (taken_at < ? OR taken_at > ?) AND ({pairs})");
    Statement { sql, values: [Value::Text(oldest), Value::Text(newest)].into_iter().chain(keys).collect() }
}

/// `uid, revision, deleted` of the given objects.
pub(crate) fn stored_marks(uids: Vec<Value<'_>>) -> Statement<'_> {
    Statement {
        sql: format!("SELECT uid, revision, deleted FROM logwise_objects WHERE uid IN {}", group(uids.len())),
        values: uids,
    }
}

/// `uid, type` of the conditions of the given objects.
pub(crate) fn stored_conditions(uids: Vec<Value<'_>>) -> Statement<'_> {
    Statement {
        sql: format!("SELECT uid, type FROM logwise_conditions WHERE uid IN {}", group(uids.len())),
        values: uids,
    }
}

/// Removes conditions; `values` holds uid and type of each.
pub(crate) fn delete_conditions(values: Vec<Value<'_>>) -> Statement<'_> {
    let pairs = vec!["(uid = ? AND type = ?)"; values.len() / 2].join(" OR ");
    Statement { sql: format!("DELETE FROM logwise_conditions WHERE {pairs}"), values }
}

/// `uid` of the live rows of a kind (and namespace) that are not newer than `revision`.
pub(crate) fn live_rows<'a>(kind: &'a str, namespace: Option<&'a str>, revision: i64) -> Statement<'a> {
    let mut sql = "SELECT uid FROM logwise_objects WHERE kind = ? AND deleted = 0 AND revision <= ?".to_owned();
    let mut values = vec![Value::Text(kind), Value::Int(revision)];
    if let Some(namespace) = namespace {
        sql += " AND namespace = ?";
        values.push(Value::Text(namespace));
    }
    Statement { sql, values }
}

/// Marks the given objects deleted unless they became newer than `revision`.
pub(crate) fn mark_deleted<'a>(observed_at: &'a str, revision: i64, uids: &[&'a str]) -> Statement<'a> {
    let sql = format!(
        "UPDATE logwise_objects SET deleted = 1, observed_at = ? WHERE revision <= ? AND uid IN {}",
        group(uids.len())
    );
    let mut values = vec![Value::Text(observed_at), Value::Int(revision)];
    values.extend(uids.iter().map(|uid| Value::Text(uid)));
    Statement { sql, values }
}

/// Removes the conditions of those of the given objects that are marked deleted.
pub(crate) fn delete_conditions_of_deleted(uids: Vec<Value<'_>>) -> Statement<'_> {
    let sql = format!(
        "DELETE FROM logwise_conditions WHERE uid IN {} AND uid IN (SELECT o.uid FROM logwise_objects o WHERE o.deleted = 1)",
        group(uids.len())
    );
    Statement { sql, values: uids }
}

/// `id` of at most `limit` decisions that are beyond the newest of their object and part, or old and not the newest.
pub(crate) fn surplus_decisions(newest: i64, oldest: &str, limit: i64) -> Statement<'_> {
    let sql = "SELECT id FROM (SELECT id, decided_at, ROW_NUMBER() OVER (PARTITION BY uid, part ORDER BY decided_at DESC, id DESC) \
               AS place FROM logwise_decisions) AS placed WHERE place > ? OR (place > 1 AND decided_at < ?) LIMIT ?";
    Statement { sql: sql.to_owned(), values: vec![Value::Int(newest), Value::Text(oldest), Value::Int(limit)] }
}

/// Removes decisions by id.
pub(crate) fn delete_decisions(ids: Vec<Value<'_>>) -> Statement<'_> {
    Statement { sql: format!("DELETE FROM logwise_decisions WHERE id IN {}", group(ids.len())), values: ids }
}

/// `uid, revision` of every object, deleted ones included.
pub(crate) fn revisions() -> Statement<'static> {
    Statement { sql: "SELECT uid, revision FROM logwise_objects".to_owned(), values: Vec::new() }
}

/// `serviceName, retentionDays, tenant` of every row of the old Orchestrator's table, as texts: SQLite keeps what it was
/// given, whatever the type of the column.
pub(crate) fn old_services() -> Statement<'static> {
    let sql =
        "SELECT CAST(serviceName AS CHAR), CAST(retentionDays AS CHAR), CAST(tenant AS CHAR) FROM service_details";
    Statement { sql: sql.to_owned(), values: Vec::new() }
}

fn insert(table: &str, columns: &[&str], values: usize) -> String {
    let rows = vec![group(columns.len()); values / columns.len()].join(", ");
    format!("INSERT INTO {table} ({}) VALUES {rows}", columns.join(", "))
}

fn group(values: usize) -> String {
    format!("({})", vec!["?"; values].join(", "))
}

fn on_duplicate(columns: &[&str], assignment: impl Fn(&str) -> String) -> String {
    let assignments: Vec<_> = columns.iter().map(|column| assignment(column)).collect();
    format!(" ON DUPLICATE KEY UPDATE {}", assignments.join(", "))
}

fn on_conflict(key: &str, columns: &[&str]) -> String {
    let assignments: Vec<_> = columns.iter().map(|column| format!("{column} = excluded.{column}")).collect();
    format!(" ON CONFLICT({key}) DO UPDATE SET {}", assignments.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mysql_assigns_the_columns_of_the_guard_last() {
        let sql = upsert_objects(Dialect::MySql, vec![Value::Int(0); 20]).sql;
        let assignments = sql.split_once("KEY UPDATE ").unwrap().1;
        let order: Vec<_> = assignments.split(" = IF(").filter_map(|piece| piece.rsplit(' ').next()).collect();
        assert_eq!(order[order.len() - 3..order.len() - 1], ["deleted", "revision"], "{sql}");
        assert_eq!(sql.matches("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)").count(), 2);
        let sql = upsert_samples(Dialect::MySql, vec![Value::Int(0); 4]).sql;
        assert!(sql.find(" payload = IF(") < sql.find(" taken_at = IF("), "{sql}");
    }

    #[test]
    fn no_text_holds_a_value_or_a_json_operator() {
        let hostile = "'; DROP TABLE logwise_objects; --";
        let text = || vec![Value::Text(hostile); 120];
        for dialect in [Dialect::Sqlite, Dialect::MySql] {
            for statement in [
                upsert_objects(dialect, text()),
                upsert_conditions(dialect, text()),
                insert_decisions(dialect, text()),
                upsert_samples(dialect, text()),
                newest_samples(hostile, hostile, 1),
                samples(hostile, &[1, 2]),
                stale_samples(hostile, hostile, 1),
                delete_samples(hostile, hostile, text()),
                stored_marks(text()),
                stored_conditions(text()),
                delete_conditions(text()),
                live_rows(hostile, Some(hostile), 1),
                mark_deleted(hostile, 1, &[hostile]),
                delete_conditions_of_deleted(text()),
                surplus_decisions(1, hostile, 1),
                delete_decisions(text()),
                revisions(),
                old_services(),
            ] {
                assert!(!statement.sql.contains("DROP") && !statement.sql.contains("->"), "{}", statement.sql);
                assert_eq!(statement.sql.matches('?').count(), statement.values.len(), "{}", statement.sql);
            }
        }
    }
}

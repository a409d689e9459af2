//! What must hold on every kind of database. Each test gets a database of its own and reads it over a connection that
//! shares nothing with the code under test.

mod old;
mod samples;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use logwise_store::{
    CommitHooks, ConditionRow, Database, DatabaseUrl, DecisionRow, DecisionsKept, ErrorClass, Limits, LiveList,
    MirrorHealth, ObjectRow, Outbox, OutboxOptions, StoreError,
};
use serde_json::json;
use sqlx::{AssertSqlSafe, Row as _};

pub use old::{
    a_database_without_the_old_table_is_named_and_nothing_is_made, the_old_table_is_read_as_it_lies,
    the_older_shape_of_the_old_table_is_read_too,
};
pub use samples::{
    a_refused_sample_does_not_stop_the_others, an_older_sample_never_replaces_a_newer, few_samples_wait,
    old_samples_are_pruned, reading_samples_makes_nothing, samples_are_read_back_as_written,
};

pub const DEADLINE: Duration = Duration::from_secs(30);

/// A database of one test.
pub struct Bed {
    pub url: DatabaseUrl,
    pub witness: Witness,
}

/// The independent way to it.
pub enum Witness {
    Sqlite { path: std::path::PathBuf, folder: tempfile::TempDir },
    MySql { server: Box<sqlx::mysql::MySqlConnectOptions>, schema: String },
}

/// An open connection of the witness.
pub enum Connection {
    Sqlite(sqlx::SqliteConnection),
    MySql(sqlx::MySqlConnection),
}

impl Witness {
    pub async fn connect(&self) -> Connection {
        use sqlx::ConnectOptions as _;
        match self {
            Self::Sqlite { path, .. } => Connection::Sqlite(
                sqlx::sqlite::SqliteConnectOptions::new()
                    .filename(path)
                    .busy_timeout(Duration::from_secs(30))
                    .connect()
                    .await
                    .unwrap(),
            ),
            Self::MySql { server, schema } => {
                Connection::MySql((**server).clone().database(schema).connect().await.unwrap())
            }
        }
    }

    /// Makes the place of the database, which is empty then.
    pub async fn create(&self) {
        match self {
            Self::Sqlite { path, .. } => std::fs::create_dir_all(path.parent().unwrap()).unwrap(),
            Self::MySql { schema, .. } => self.server(format!("CREATE DATABASE {schema}")).await,
        }
    }

    /// Removes the database with all its rows.
    pub async fn remove(&self) {
        match self {
            Self::Sqlite { path, .. } => {
                let folder = path.parent().unwrap();
                // A connection that is just being closed may still make a file.
                let tries = (0..1000).take_while(|_| std::fs::remove_dir_all(folder).is_err() && folder.exists());
                assert!(tries.count() < 1000, "{} stays", folder.display());
            }
            Self::MySql { schema, .. } => self.server(format!("DROP DATABASE {schema}")).await,
        }
    }

    async fn server(&self, sql: String) {
        use sqlx::ConnectOptions as _;
        let Self::MySql { server, .. } = self else { return };
        let mut connection = server.clone().connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
}

impl Connection {
    pub async fn run(&mut self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => drop(sqlx::raw_sql(sql).execute(connection).await.unwrap()),
            Self::MySql(connection) => drop(sqlx::raw_sql(sql).execute(connection).await.unwrap()),
        }
    }

    pub async fn rows(&mut self, columns: &str, rest: &str) -> Vec<Vec<String>> {
        let columns: Vec<_> = columns.split(' ').map(|column| format!("CAST({column} AS CHAR)")).collect();
        let sql = AssertSqlSafe(format!("SELECT {} FROM {rest}", columns.join(", ")));
        let count = columns.len();
        match self {
            Self::Sqlite(connection) => {
                let rows = sqlx::query(sql).fetch_all(connection).await.unwrap();
                rows.iter().map(|row| (0..count).map(|column| row.get(column)).collect()).collect()
            }
            Self::MySql(connection) => {
                let rows = sqlx::query(sql).fetch_all(connection).await.unwrap();
                rows.iter().map(|row| (0..count).map(|column| row.get(column)).collect()).collect()
            }
        }
    }
}

impl Bed {
    pub async fn database(&self) -> Database {
        Database::connect(&self.url, DEADLINE).await.unwrap()
    }

    pub async fn rows(&self, columns: &str, rest: &str) -> Vec<Vec<String>> {
        self.witness.connect().await.rows(columns, rest).await
    }

    pub async fn run(&self, sql: &str) {
        self.witness.connect().await.run(sql).await;
    }

    pub async fn count(&self, table: &str) -> u64 {
        self.rows("COUNT(*)", table).await[0][0].parse().unwrap()
    }

    /// From now on the database refuses objects with this name, as a type that is too narrow would.
    async fn refuse(&self, name: &str) {
        self.run(&match self.witness {
            Witness::Sqlite { .. } => format!(
                "CREATE TRIGGER refused BEFORE INSERT ON logwise_objects WHEN NEW.name = '{name}' BEGIN SELECT RAISE(ABORT, 'refused'); END"
            ),
            Witness::MySql { .. } => format!(
                "CREATE TRIGGER refused BEFORE INSERT ON logwise_objects FOR EACH ROW IF NEW.name = '{name}' THEN SIGNAL SQLSTATE '22001'; END IF"
            ),
        })
        .await;
    }

    pub fn outbox(&self) -> Outbox {
        Outbox::start(self.url.clone(), quick())
    }
}

/// Shorter times, so that tests do not wait.
pub fn quick() -> OutboxOptions {
    OutboxOptions {
        linger: Duration::from_millis(20),
        deadline: Duration::from_secs(10),
        pauses: (Duration::from_millis(10), Duration::from_millis(200)),
        hold: Duration::from_millis(300),
        ..OutboxOptions::default()
    }
}

pub fn object(uid: &str, revision: i64) -> ObjectRow {
    ObjectRow {
        uid: uid.into(),
        kind: "LogwiseCluster".into(),
        namespace: "logs".into(),
        name: format!("name-{uid}"),
        generation: revision / 10,
        revision,
        deleted: false,
        spec: json!({"revision": revision}),
        status: json!({"ready": true}),
        conditions: vec![condition("Ready", revision), condition(&format!("Only{revision}"), revision)],
        observed_at: "2026-01-31T08:09:10.123456Z".parse().unwrap(),
    }
}

pub fn condition(r#type: &str, revision: i64) -> ConditionRow {
    ConditionRow {
        r#type: r#type.into(),
        status: "True".into(),
        reason: "AllGood".into(),
        message: format!("revision {revision}"),
        observed_generation: revision / 10,
        last_transition_time: "2026-01-31T08:09:10Z".parse().unwrap(),
    }
}

pub fn decision(id: &str, decided_at: Timestamp) -> DecisionRow {
    DecisionRow {
        id: id.into(),
        uid: "u".into(),
        namespace: "logs".into(),
        name: "demo".into(),
        part: "partitions".into(),
        generation: 3,
        decided_at,
        plan_id: "plan".into(),
        inputs: json!({"topics": 2}),
        actions: json!([{"grow": 3}]),
        holds: json!([]),
        outcome: json!({"done": true}),
    }
}

/// Polls until the health is as wanted.
pub async fn until(outbox: &Outbox, what: &str, wanted: impl FnMut(&MirrorHealth) -> bool) -> MirrorHealth {
    let mut health = outbox.handle().health();
    let found = tokio::time::timeout(Duration::from_secs(60), health.wait_for(wanted)).await;
    let found = found.map(|found| found.unwrap().clone());
    found.unwrap_or_else(|_| panic!("never {what}: {:?}", outbox.handle().health().borrow()))
}

pub async fn settled(outbox: &Outbox) -> MirrorHealth {
    let handle = outbox.handle();
    until(outbox, "settled", |health| handle.pending() == 0 && health.pending == 0 && health.failing_since.is_none())
        .await
}

/// A repeatable sequence that looks random.
pub struct Dice(u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

pub async fn rows_are_readable_as_written(bed: &Bed) {
    let mut database = bed.database().await;
    database.ping().await.unwrap();
    let mut policy = object("b", 20);
    policy.kind = "RetentionPolicy".into();
    policy.conditions.clear();
    database.upsert_objects(&[object("a", 12), policy]).await.unwrap();
    database.insert_decisions(&[decision("d1", "2026-01-31T23:59:59.999999999Z".parse().unwrap())]).await.unwrap();
    let lines = async |columns: &str, rest: &str| {
        bed.rows(columns, rest).await.iter().map(|row| row.join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(
        lines(
            "uid kind namespace name generation revision deleted spec status observed_at",
            "logwise_objects ORDER BY uid"
        )
        .await,
        [
            "a LogwiseCluster logs name-a 1 12 0 {\"revision\":12} {\"ready\":true} 2026-01-31 08:09:10.123456",
            "b RetentionPolicy logs name-b 2 20 0 {\"revision\":20} {\"ready\":true} 2026-01-31 08:09:10.123456",
        ]
    );
    assert_eq!(
        lines(
            "uid type kind namespace name status reason message observed_generation last_transition_time",
            "logwise_conditions ORDER BY uid, type"
        )
        .await,
        [
            "a Only12 LogwiseCluster logs name-a True AllGood revision 12 1 2026-01-31 08:09:10.000000",
            "a Ready LogwiseCluster logs name-a True AllGood revision 12 1 2026-01-31 08:09:10.000000",
        ]
    );
    assert_eq!(
        lines(
            "id uid namespace name part generation decided_at plan_id inputs actions holds outcome",
            "logwise_decisions"
        )
        .await,
        [
            "d1 u logs demo partitions 3 2026-01-31 23:59:59.999999 plan {\"topics\":2} [{\"grow\":3}] [] {\"done\":true}",
        ]
    );
    assert_eq!(database.revisions().await.unwrap(), HashMap::from([("a".to_owned(), 12), ("b".to_owned(), 20)]));
    // What readers do with the documents works without the -> operator.
    assert_eq!(bed.rows("JSON_EXTRACT(spec,'$.revision')", "logwise_objects WHERE uid = 'a'").await, [["12"]]);
}

pub async fn an_older_revision_never_overwrites(bed: &Bed) {
    let (mut new, mut old) = (bed.database().await, bed.database().await);
    let state = async || {
        (
            bed.rows("revision deleted spec", "logwise_objects WHERE uid = 'a'").await,
            bed.rows("type message", "logwise_conditions WHERE uid = 'a' ORDER BY type").await,
        )
    };
    new.upsert_objects(&[object("a", 70)]).await.unwrap();
    let newest = state().await;
    assert_eq!(newest.1, [["Only70", "revision 70"], ["Ready", "revision 70"]]);
    old.upsert_objects(&[object("a", 60), object("b", 60)]).await.unwrap();
    assert_eq!(state().await, newest, "neither the row nor its conditions");
    assert_eq!(bed.count("logwise_objects").await, 2, "the other row of the same batch is written");
    // Within one batch the order does not matter either.
    old.upsert_objects(&[object("a", 90), object("a", 80)]).await.unwrap();
    assert_eq!(state().await.1, [["Only90", "revision 90"], ["Ready", "revision 90"]]);
    // The end of an object, at the revision that was seen last.
    let gone = ObjectRow { deleted: true, ..object("a", 90) };
    new.upsert_objects(std::slice::from_ref(&gone)).await.unwrap();
    let ended = state().await;
    assert_eq!((ended.0[0][1].as_str(), ended.1.len()), ("1", 0), "an object that ended has no conditions");
    old.upsert_objects(&[object("a", 90), object("a", 80)]).await.unwrap();
    assert_eq!(state().await, ended, "a deleted mark is not undone");
    // The same revision again, because the mirror itself shows more of it now.
    let more = ObjectRow { status: json!({"more": 1}), ..object("b", 60) };
    new.upsert_objects(&[more]).await.unwrap();
    assert_eq!(bed.rows("status", "logwise_objects WHERE uid = 'b'").await, [["{\"more\":1}"]]);
}

pub async fn two_outboxes_end_with_the_newest_of_each(bed: &Bed) {
    let outboxes = [bed.outbox(), bed.outbox()];
    let mut dice = Dice(7);
    let mut newest = BTreeMap::new();
    for round in 0..300_i64 {
        let uid = format!("u{:02}", dice.roll(20));
        let revision = i64::try_from(dice.roll(1000)).unwrap();
        let best = newest.entry(uid.clone()).or_insert(revision);
        *best = revision.max(*best);
        let handle = outboxes[usize::try_from(round % 2).unwrap()].handle();
        handle.send_object(object(&uid, revision));
        handle.send_decision(decision(&format!("d{}", round / 2), Timestamp::now()));
        if round % 10 == 0 {
            // Several flushes of both meet at the database.
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }
    for outbox in &outboxes {
        settled(outbox).await;
    }
    let expected: Vec<_> = newest
        .iter()
        .map(|(uid, revision)| vec![uid.clone(), revision.to_string(), format!("{{\"revision\":{revision}}}")])
        .collect();
    assert_eq!(bed.rows("uid revision spec", "logwise_objects ORDER BY uid").await, expected);
    let conditions: Vec<_> = newest
        .iter()
        .flat_map(|(uid, revision)| {
            ["Only", "Ready"]
                .map(|kind| [uid.clone(), if kind == "Only" { format!("Only{revision}") } else { kind.to_owned() }])
        })
        .collect();
    assert_eq!(bed.rows("uid type", "logwise_conditions ORDER BY uid, type").await, conditions);
    assert_eq!(bed.count("logwise_decisions").await, 150, "each decision once, whoever sent it");
}

pub async fn hostile_texts_come_back_unchanged(bed: &Bed) {
    const PIECES: [&str; 18] = [
        "'",
        "\"",
        "`",
        "\\",
        "\\'",
        ";",
        "--",
        "/*",
        "\0",
        "\n",
        "%",
        "_",
        "?",
        "$1",
        "😀",
        "𝕏",
        "é\u{301}",
        "'; DROP TABLE logwise_objects; -- ",
    ];
    let mut dice = Dice(42);
    let mut hostile = |limit: u64| -> String {
        let length = 1 + dice.roll(limit);
        (0..length).map(|_| PIECES[usize::try_from(dice.roll(18)).unwrap()]).collect()
    };
    let mut rows: Vec<ObjectRow> = (0..1000)
        .map(|number| {
            let mut row = object(&format!("u{number:04}"), 1);
            (row.name, row.namespace) = (hostile(7), hostile(7));
            row.spec = json!({hostile(5): hostile(20)});
            row.conditions[0].message = hostile(200);
            row
        })
        .collect();
    rows[0].conditions[0].message = "€'\\".repeat(65_536 / 5);
    rows[1].conditions[0].message = "x".repeat(65_536);
    rows[2].status = json!({"big": "😀".repeat(100_000)});
    let mut database = bed.database().await;
    database.upsert_objects(&rows).await.unwrap();
    // The witness compares bytes: a CAST of SQLite would end at NUL.
    let expect = |of: &dyn Fn(&ObjectRow) -> String| rows.iter().map(|row| vec![of(row)]).collect::<Vec<_>>();
    let order = "ORDER BY uid";
    for (column, of) in [
        ("HEX(name)", &(|row: &ObjectRow| hex(&row.name)) as &dyn Fn(&ObjectRow) -> String),
        ("HEX(namespace)", &|row| hex(&row.namespace)),
        ("HEX(spec)", &|row| hex(&row.spec.to_string())),
        ("HEX(status)", &|row| hex(&row.status.to_string())),
    ] {
        assert!(bed.rows(column, &format!("logwise_objects {order}")).await == expect(of), "{column}");
    }
    let messages = bed.rows("HEX(message)", &format!("logwise_conditions WHERE type = 'Ready' {order}")).await;
    assert!(messages == expect(&|row| hex(&row.conditions[0].message)));
    let mut hard = decision("d'\"😀", Timestamp::now());
    (hard.part, hard.plan_id) = (hostile(2), hostile(2));
    database.insert_decisions(std::slice::from_ref(&hard)).await.unwrap();
    assert_eq!(bed.rows("HEX(id) HEX(part)", "logwise_decisions").await, [[hex(&hard.id), hex(&hard.part)]]);
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02X}")).collect()
}

pub async fn replicas_migrate_at_once_and_again(bed: &Bed) {
    let starts: Vec<_> = (0..6)
        .map(|_| {
            let url = bed.url.clone();
            tokio::spawn(async move { Database::connect(&url, DEADLINE).await.map(drop) })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap();
    }
    let applied = bed.rows("version name", "logwise_migrations ORDER BY version").await;
    assert!(applied.len() >= 3 && applied[0] == ["1", "0001_objects"], "{applied:?}");
    let mut database = bed.database().await;
    database.upsert_objects(&[object("a", 1)]).await.unwrap();
    // A replica that died between a statement and its record.
    bed.run("DELETE FROM logwise_migrations WHERE version > 1").await;
    bed.database().await;
    assert_eq!(bed.rows("version name", "logwise_migrations ORDER BY version").await, applied);
    assert_eq!(bed.count("logwise_objects").await, 1, "no migration drops rows");
    // A newer operator was here.
    bed.run("INSERT INTO logwise_migrations (version, name, applied_at) VALUES (9999, '9999_future', '2030-01-01 00:00:00')").await;
    bed.database().await.upsert_objects(&[object("b", 1)]).await.unwrap();
}

pub async fn a_table_that_was_dropped_is_made_again(bed: &Bed) {
    let outbox = bed.outbox();
    outbox.handle().send_object(object("a", 1));
    settled(&outbox).await;
    bed.run("DROP TABLE logwise_objects").await;
    outbox.handle().send_object(object("a", 2));
    let health = settled(&outbox).await;
    assert_eq!(bed.rows("uid revision", "logwise_objects").await, [["a", "2"]]);
    assert!(health.resend >= 2, "the owner is asked for what was lost");
}

pub async fn decisions_are_kept_once_and_pruned(bed: &Bed) {
    let mut database = bed.database().await;
    let now = Timestamp::now();
    let day = |days: i64| now - SignedDuration::from_hours(24 * days);
    let mut rows: Vec<_> =
        (0..700).map(|number| decision(&format!("d{number:03}"), now - SignedDuration::from_secs(number))).collect();
    for (id, part, age) in
        [("old-1", "workers", 40), ("old-2", "workers", 41), ("young", "retention", 1), ("older", "retention", 39)]
    {
        rows.push(DecisionRow { part: part.into(), ..decision(id, day(age)) });
    }
    database.insert_decisions(&rows).await.unwrap();
    let again = DecisionRow { outcome: json!("changed"), ..decision("d000", now) };
    database.insert_decisions(&[again, decision("d000", now)]).await.unwrap();
    assert_eq!(bed.count("logwise_decisions").await, 704);
    assert_eq!(
        bed.rows("outcome", "logwise_decisions WHERE id = 'd000'").await,
        [["{\"done\":true}"]],
        "the first hand-over stays"
    );
    let kept = DecisionsKept { newest: 50, max_age: SignedDuration::from_hours(24 * 30) };
    assert_eq!(database.prune_decisions(kept).await.unwrap(), 652);
    let ids = bed.rows("id", "logwise_decisions ORDER BY id").await.concat();
    let expected: Vec<_> =
        (0..50).map(|number| format!("d{number:03}")).chain(["old-1".to_owned(), "young".to_owned()]).collect();
    assert_eq!(ids, expected, "the newest of each part stays however old it is");
    assert_eq!(database.prune_decisions(kept).await.unwrap(), 0);
}

pub async fn a_list_marks_what_ended_unseen(bed: &Bed) {
    let mut database = bed.database().await;
    let elsewhere = ObjectRow { namespace: "other".into(), ..object("elsewhere", 5) };
    let policy = ObjectRow { kind: "RetentionPolicy".into(), ..object("policy", 5) };
    database
        .upsert_objects(&[object("stays", 5), object("ended", 5), object("newer", 50), elsewhere, policy])
        .await
        .unwrap();
    let list = LiveList {
        kind: "LogwiseCluster".into(),
        namespace: Some("logs".into()),
        revision: 10,
        uids: ["stays".to_owned()].into(),
        observed_at: "2026-02-01T00:00:00Z".parse().unwrap(),
    };
    assert_eq!(database.mark_absent(&list).await.unwrap(), 1);
    assert_eq!(
        bed.rows("uid observed_at", "logwise_objects WHERE deleted = 1").await,
        [["ended", "2026-02-01 00:00:00.000000"]]
    );
    assert_eq!(
        bed.rows("uid", "logwise_conditions GROUP BY uid ORDER BY uid").await.concat(),
        ["elsewhere", "newer", "policy", "stays"]
    );
    let everywhere = LiveList { namespace: None, ..list };
    assert_eq!(database.mark_absent(&everywhere).await.unwrap(), 1);
    let outbox = bed.outbox();
    outbox.handle().send_list(LiveList { revision: 60, ..everywhere });
    outbox.handle().send_object(object("fresh", 55));
    settled(&outbox).await;
    assert_eq!(
        bed.rows("uid", "logwise_objects WHERE deleted = 0 ORDER BY uid").await.concat(),
        ["fresh", "policy", "stays"]
    );
}

static BEFORE: AtomicUsize = AtomicUsize::new(0);
static AFTER: AtomicUsize = AtomicUsize::new(0);

pub async fn one_commit_per_flush_and_none_at_rest(bed: &Bed) {
    let hooks = CommitHooks {
        before: |point| {
            assert_eq!((point, BEFORE.fetch_add(1, Ordering::SeqCst)), ("before", AFTER.load(Ordering::SeqCst)));
        },
        after: |point| {
            assert_eq!((point, AFTER.fetch_add(1, Ordering::SeqCst) + 1), ("after", BEFORE.load(Ordering::SeqCst)));
        },
    };
    let outbox = Outbox::start(bed.url.clone(), OutboxOptions { hooks, ..quick() });
    let handle = outbox.handle();
    for number in 0..50 {
        handle.send_object(object(&format!("u{number}"), 1));
        handle.send_decision(decision(&format!("d{number}"), Timestamp::now()));
    }
    let health = until(&outbox, "written", |health| health.flushes > 0 && health.pending == 0).await;
    assert_eq!((health.flushes, bed.count("logwise_objects").await, bed.count("logwise_decisions").await), (1, 50, 50));
    for number in 0..50 {
        let look = ObjectRow { observed_at: Timestamp::now(), ..object(&format!("u{number}"), 1) };
        handle.send_object(look);
        handle.send_object(object(&format!("u{number}"), 0));
    }
    assert_eq!(handle.pending(), 0, "equal and older states are not even queued");
    handle.send_object(object("u7", 2));
    let health = until(&outbox, "written again", |health| health.flushes > 1).await;
    assert_eq!((health.flushes, BEFORE.load(Ordering::SeqCst), AFTER.load(Ordering::SeqCst)), (2, 2, 2));
    assert_eq!(bed.rows("uid", "logwise_objects WHERE revision <> 1").await, [["u7"]]);
    outbox.shutdown(DEADLINE).await.unwrap();
    assert_eq!(AFTER.load(Ordering::SeqCst), 2, "a shutdown with nothing to write commits nothing");
}

pub async fn the_outbox_starts_without_a_database(bed: &Bed) {
    bed.witness.remove().await;
    let options = OutboxOptions { limits: Limits { objects: 100, decisions: 10, bytes: 1 << 20 }, ..quick() };
    let outbox = Outbox::start(bed.url.clone(), options);
    let handle = outbox.handle();
    for number in 0..2000 {
        handle.send_object(object(&format!("u{}", number % 90), number));
        handle.send_decision(decision(&format!("d{number:04}"), Timestamp::now()));
    }
    assert_eq!(handle.pending(), 100, "90 objects and 10 decisions: bounded while the database is away");
    let health = until(&outbox, "failing", |health| health.failing_since.is_some()).await;
    let error = health.last_error.unwrap();
    assert!(error.contains("create what is missing"), "{error}");
    assert_eq!(health.last_class, Some(ErrorClass::NotFound));
    let again = until(&outbox, "still failing", |health| health.pending == 100 && health.failing_since.is_some()).await;
    assert_eq!(again.failing_since, health.failing_since, "the beginning of the failure does not move");
    bed.witness.create().await;
    let health = settled(&outbox).await;
    assert_eq!((health.dropped_objects, health.held), (0, 0));
    let expected: Vec<_> = (1910..2000).map(|number: i64| number.to_string()).collect();
    assert_eq!(bed.rows("revision", "logwise_objects ORDER BY revision").await.concat(), expected);
    assert_eq!(bed.rows("COUNT(*)", "logwise_decisions WHERE id >= 'd1990'").await, [["10"]], "the newest stay");
    assert_eq!(bed.count("logwise_decisions").await + health.dropped_decisions, 2000, "each is written or counted");
    // 2.8 MB of objects against a bound of 1 MiB.
    bed.witness.remove().await;
    for number in 0..90 {
        let filled = ObjectRow { spec: json!("x".repeat(30_000)), ..object(&format!("u{number}"), 10_000) };
        handle.send_object(filled);
    }
    assert!(handle.pending() <= 36, "{}", handle.pending());
    bed.witness.create().await;
    let health = settled(&outbox).await;
    assert!(health.dropped_objects >= 54 && health.resend >= 2, "{health:?}");
    // The owner does what `resend` asks for.
    for number in 0..90 {
        handle.send_object(object(&format!("u{number}"), 10_001));
    }
    settled(&outbox).await;
    assert_eq!(bed.rows("COUNT(*)", "logwise_objects WHERE revision = 10001").await, [["90"]]);
}

pub async fn a_database_that_lost_everything_is_filled_again(bed: &Bed) {
    let outbox = bed.outbox();
    let handle = outbox.handle();
    let send_all = || (0..30).for_each(|number| handle.send_object(object(&format!("u{number}"), number + 1)));
    send_all();
    let first = settled(&outbox).await;
    assert!(first.resend >= 1, "the first connection is new too");
    bed.witness.remove().await;
    bed.witness.create().await;
    send_all();
    assert_eq!(handle.pending(), 0, "nobody knows yet");
    handle.send_object(object("u3", 100));
    let health =
        until(&outbox, "asked to send again", |health| health.resend > first.resend && health.pending == 0).await;
    assert!(health.failing_since.is_none());
    send_all();
    settled(&outbox).await;
    assert_eq!(bed.count("logwise_objects").await, 30);
    assert_eq!(bed.rows("revision", "logwise_objects WHERE uid = 'u3'").await, [["100"]]);
}

pub async fn a_refused_row_does_not_stop_the_others(bed: &Bed) {
    bed.database().await;
    bed.refuse("name-u13").await;
    let outbox = bed.outbox();
    let handle = outbox.handle();
    for number in 0..100 {
        handle.send_object(object(&format!("u{number}"), 1));
        handle.send_decision(decision(&format!("d{number}"), Timestamp::now()));
    }
    let health = until(&outbox, "only the refused row waits", |health| health.pending == 1 && health.held == 1).await;
    assert!(health.failing_since.is_some(), "a mirror without that row is not in sync");
    assert!(health.last_error.as_ref().unwrap().contains("LogwiseCluster logs/name-u13"), "{health:?}");
    assert_eq!(
        (bed.count("logwise_objects").await, bed.count("logwise_decisions").await, health.dropped_decisions),
        (99, 100, 0)
    );
    handle.send_object(object("u14", 2));
    until(&outbox, "a later row passes", |after| after.flushes > health.flushes && after.pending == 1).await;
    assert_eq!(bed.rows("uid", "logwise_objects WHERE revision = 2").await, [["u14"]]);
    // Once the reason is gone the row is written without help.
    bed.run("DROP TRIGGER refused").await;
    let health = settled(&outbox).await;
    assert_eq!((health.held, bed.count("logwise_objects").await), (0, 100));
    assert_eq!(bed.rows("COUNT(*)", "logwise_conditions WHERE uid = 'u13'").await, [["2"]]);
}

pub async fn a_refused_row_is_reported_to_direct_callers(bed: &Bed) {
    let mut database = bed.database().await;
    bed.refuse("name-bad").await;
    let error = database.upsert_objects(&[object("good", 1), object("bad", 1)]).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Invalid, "{error:?}");
    assert_eq!(bed.count("logwise_objects").await, 0, "all or nothing");
    database.upsert_objects(&[object("good", 1)]).await.unwrap();
    assert_eq!(
        (bed.count("logwise_objects").await, database.sessions()),
        (1, 1),
        "a refusal does not cost the connection"
    );
}

pub async fn a_locked_table_delays_only_the_rows(bed: &Bed) {
    let mut database = bed.database().await;
    database.upsert_objects(&[object("u0", 1)]).await.unwrap();
    let mut blocker = bed.witness.connect().await;
    let begin = if matches!(blocker, Connection::Sqlite(_)) { "BEGIN IMMEDIATE" } else { "START TRANSACTION" };
    blocker.run(begin).await;
    blocker.run("UPDATE logwise_objects SET generation = 99 WHERE uid = 'u0'").await;
    let outbox = Outbox::start(bed.url.clone(), OutboxOptions { deadline: Duration::from_secs(4), ..quick() });
    let handle = outbox.handle();
    for number in 0..100 {
        handle.send_object(object(&format!("u{number}"), 10));
    }
    let health = until(&outbox, "failing", |health| health.failing_since.is_some()).await;
    assert_eq!(health.pending, 100, "the whole batch waits");
    let error = database.upsert_objects(&[object("u0", 5)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Write { .. }) && error.class() == ErrorClass::Conflict, "{error:?}");
    blocker.run("COMMIT").await;
    settled(&outbox).await;
    assert_eq!(bed.rows("COUNT(*)", "logwise_objects WHERE revision = 10 AND generation = 1").await, [["100"]]);
    database.upsert_objects(&[object("u0", 20)]).await.unwrap();
    assert_eq!(database.sessions(), 1, "a lock does not cost the connection");
}

pub async fn a_shutdown_writes_what_waits_or_says_what_is_lost(bed: &Bed) {
    let slow = OutboxOptions { linger: Duration::from_secs(3600), ..quick() };
    let outbox = Outbox::start(bed.url.clone(), slow);
    let handle = outbox.handle();
    handle.send_object(object("a", 1));
    handle.send_decision(decision("d", Timestamp::now()));
    outbox.shutdown(Duration::from_secs(60)).await.unwrap();
    assert_eq!((bed.count("logwise_objects").await, bed.count("logwise_decisions").await), (1, 1));
    assert!(handle.health().has_changed().is_err(), "the channel says that nobody writes any more");
    bed.witness.remove().await;
    let outbox = Outbox::start(bed.url.clone(), slow);
    (0..3).for_each(|number| outbox.handle().send_object(object(&number.to_string(), 1)));
    let lost = outbox.shutdown(Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(lost.pending, 3);
    bed.witness.create().await;
}

/// One test for each function of the suite, on the database that `$bed` makes.
#[macro_export]
macro_rules! suite {
    ($bed:path, $flavor:literal: $($name:ident)*) => {
        $(#[tokio::test(flavor = $flavor)]
        async fn $name() {
            let bed = $bed().await;
            suite::$name(&bed).await;
            bed.witness.remove().await;
        })*
    };
    ($bed:path) => {
        // With one thread nothing is written between two sends.
        $crate::suite! { $bed, "current_thread":
            one_commit_per_flush_and_none_at_rest
        }
        $crate::suite! { $bed, "multi_thread":
            rows_are_readable_as_written
            an_older_revision_never_overwrites
            two_outboxes_end_with_the_newest_of_each
            hostile_texts_come_back_unchanged
            replicas_migrate_at_once_and_again
            a_table_that_was_dropped_is_made_again
            decisions_are_kept_once_and_pruned
            a_list_marks_what_ended_unseen
            the_outbox_starts_without_a_database
            a_database_that_lost_everything_is_filled_again
            a_refused_row_does_not_stop_the_others
            a_refused_row_is_reported_to_direct_callers
            a_locked_table_delays_only_the_rows
            a_shutdown_writes_what_waits_or_says_what_is_lost
            samples_are_read_back_as_written
            an_older_sample_never_replaces_a_newer
            a_refused_sample_does_not_stop_the_others
            old_samples_are_pruned
            reading_samples_makes_nothing
            few_samples_wait
            the_old_table_is_read_as_it_lies
            the_older_shape_of_the_old_table_is_read_too
            a_database_without_the_old_table_is_named_and_nothing_is_made
        }
    };
}

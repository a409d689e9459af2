//! The suite on MariaDB or MySQL, and what only a server does. `MARIADB_URL` names a server without a schema, such as
//! `mysql://root:password@127.0.0.1:3306/`, with a user who may create schemas and users. Without it these tests fail.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says so by ending")]
#![expect(dead_code, reason = "the suite knows every kind of database, this binary uses one")]

#[path = "suite/proxy.rs"]
mod proxy;
#[path = "suite/server.rs"]
mod server;
mod suite;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use logwise_store::{
    CommitHooks, Database, DatabaseUrl, ErrorClass, Limits, MirrorHealth, ObjectRow, Outbox, OutboxOptions, StoreError,
    read_samples,
};
use proxy::{Mode, Proxy};
use server::Server;
use suite::{Bed, Witness, decision, object, quick, settled, until};
use tokio::sync::watch;

fn base() -> String {
    let url = std::env::var("MARIADB_URL")
        .expect("MARIADB_URL is not set: start a MariaDB or MySQL server and set it to mysql://USER:PASSWORD@HOST:PORT/ (without a schema)");
    format!("{}/", url.trim_end_matches('/'))
}

fn schema() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("logwise_store_{}_{}_{number}", std::process::id(), Timestamp::now().as_millisecond())
}

async fn fresh_on(base: &str) -> Bed {
    let schema = schema();
    let bed = Bed {
        url: DatabaseUrl::parse(&format!("{base}{schema}")).unwrap(),
        witness: Witness::MySql { server: Box::new(base.parse().unwrap()), schema },
    };
    bed.witness.create().await;
    bed
}

async fn fresh() -> Bed {
    fresh_on(&base()).await
}

/// The URL of the bed's schema with another `USER:PASSWORD@HOST:PORT`; `None` keeps that part.
fn address(bed: &Bed, login: Option<&str>, host: Option<&str>) -> DatabaseUrl {
    let Witness::MySql { schema, .. } = &bed.witness else { unreachable!("this file knows servers only") };
    let base = base();
    let (old_login, old_host) = base.trim_start_matches("mysql://").trim_end_matches('/').rsplit_once('@').unwrap();
    DatabaseUrl::parse(&format!("mysql://{}@{}/{schema}", login.unwrap_or(old_login), host.unwrap_or(old_host)))
        .unwrap()
}

async fn behind_a_proxy(bed: &Bed) -> (Proxy, DatabaseUrl) {
    let base = base();
    let proxy = Proxy::start(base.trim_end_matches('/').rsplit_once('@').unwrap().1.to_owned()).await;
    let url = address(bed, None, Some(&proxy.address.to_string()));
    (proxy, url)
}

suite!(fresh);

#[tokio::test(flavor = "multi_thread")]
async fn cut_and_stalled_connections_heal_without_help() {
    let bed = fresh().await;
    let (proxy, url) = behind_a_proxy(&bed).await;
    let outbox = Outbox::start(url, OutboxOptions { deadline: Duration::from_millis(500), ..quick() });
    let handle = outbox.handle();
    let mut revision = 1;
    for mode in [Mode::Cut, Mode::Stall, Mode::LoseAnswers, Mode::Stall, Mode::Cut] {
        (0..50).for_each(|number| handle.send_object(object(&format!("u{number}"), revision)));
        settled(&outbox).await;
        proxy.set(mode);
        revision += 10;
        (0..50).for_each(|number| handle.send_object(object(&format!("u{number}"), revision)));
        handle.send_decision(decision(&format!("{mode:?}{revision}"), Timestamp::now()));
        let all = |health: &MirrorHealth| health.failing_since.is_some() && health.pending == 51;
        assert_eq!(until(&outbox, "failing", all).await.held, 0, "{mode:?}");
        proxy.set(Mode::Pass);
        settled(&outbox).await;
        assert_eq!(
            bed.rows("revision COUNT(*)", "logwise_objects GROUP BY revision").await,
            [[revision.to_string(), "50".to_owned()]],
            "{mode:?}"
        );
        assert_eq!(bed.count("logwise_conditions").await, 100);
    }
    assert_eq!(bed.count("logwise_decisions").await, 5);
    bed.witness.remove().await;
}

static PROXY: OnceLock<watch::Sender<Mode>> = OnceLock::new();
static COMMITS: AtomicU32 = AtomicU32::new(0);

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_the_commit_makes_no_second_row() {
    let bed = fresh().await;
    let (proxy, url) = behind_a_proxy(&bed).await;
    PROXY.set(proxy.mode.clone()).unwrap();
    let hooks = CommitHooks {
        before: |_| {
            if COMMITS.fetch_add(1, Ordering::SeqCst) == 0 {
                PROXY.get().unwrap().send_replace(Mode::LoseAnswers);
            }
        },
        ..CommitHooks::default()
    };
    // Long enough for the commit itself to arrive on a busy machine: only its answer is to be lost.
    let outbox = Outbox::start(url, OutboxOptions { deadline: Duration::from_secs(5), hooks, ..quick() });
    outbox.handle().send_object(object("a", 1));
    outbox.handle().send_decision(decision("d", Timestamp::now()));
    until(&outbox, "failing after the commit", |health| {
        COMMITS.load(Ordering::SeqCst) > 0 && health.failing_since.is_some() && health.pending == 2
    })
    .await;
    let committed = async {
        while (bed.count("logwise_objects").await, bed.count("logwise_decisions").await) != (1, 1) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), committed).await.expect("it was committed");
    // Meanwhile another leader writes what is newer.
    bed.database().await.upsert_objects(&[object("a", 2)]).await.unwrap();
    proxy.set(Mode::Pass);
    settled(&outbox).await;
    assert_eq!(
        (bed.rows("revision", "logwise_objects").await.concat(), bed.count("logwise_decisions").await),
        (vec!["2".to_owned()], 1)
    );
    bed.witness.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_or_frozen_in_the_middle_gets_all_rows_after_its_return() {
    let mut server = Server::start().await;
    let bed = fresh_on(&server.url()).await;
    let limits = Limits { objects: 1000, decisions: 50, bytes: 4 << 20 };
    let outbox = Outbox::start(bed.url.clone(), OutboxOptions { limits, deadline: Duration::from_secs(1), ..quick() });
    let handle = outbox.handle();
    let send = |round: i64| {
        for number in 0..200 {
            handle.send_object(ObjectRow {
                status: serde_json::json!("x".repeat(500)),
                ..object(&format!("u{number:03}"), round * 1000 + number)
            });
            handle.send_decision(decision(&format!("{round}-{number:03}"), Timestamp::now()));
            assert!(handle.pending() <= 250, "bounded");
        }
    };
    let whole = async |round: i64| {
        let expected: Vec<_> = (0..200).map(|number| (round * 1000 + number).to_string()).collect();
        assert_eq!(bed.rows("revision", "logwise_objects ORDER BY revision").await.concat(), expected);
        assert_eq!(bed.rows("COUNT(*)", "logwise_conditions WHERE type NOT LIKE 'Only%'").await, [["200"]]);
        assert_eq!(bed.count("logwise_conditions").await, 400);
    };
    send(1);
    settled(&outbox).await;
    whole(1).await;
    // Frozen: connections are taken, nothing is answered.
    server.freeze();
    send(2);
    until(&outbox, "failing", |health| health.failing_since.is_some() && health.pending == 250).await;
    send(3);
    server.thaw();
    let health = settled(&outbox).await;
    whole(3).await;
    let written = 400 + 200 - health.dropped_decisions;
    let count = bed.count("logwise_decisions").await;
    assert!(health.dropped_decisions >= 150 && count >= written, "{count} of {written}, {health:?}");
    // Killed: connections are refused.
    send(4);
    server.kill();
    send(5);
    until(&outbox, "failing", |health| health.failing_since.is_some()).await;
    server.restart().await;
    settled(&outbox).await;
    whole(5).await;
    outbox.shutdown(Duration::from_secs(60)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_a_column_cannot_hold_is_refused_and_not_cut() {
    let bed = fresh().await;
    let mut database = bed.database().await;
    let long = ObjectRow { name: "n".repeat(300), ..object("long", 1) };
    let error = database.upsert_objects(std::slice::from_ref(&long)).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Invalid, "{error:?}");
    let outbox = bed.outbox();
    outbox.handle().send_object(long);
    outbox.handle().send_object(object("good", 1));
    outbox.handle().send_decision(decision(&"d".repeat(300), Timestamp::now()));
    outbox.handle().send_decision(decision("good", Timestamp::now()));
    let health = until(&outbox, "the good rows are in", |health| {
        health.held == 1 && health.pending == 1 && health.dropped_decisions == 1
    })
    .await;
    assert!(health.failing_since.is_some());
    assert_eq!(
        (bed.rows("uid", "logwise_objects").await, bed.rows("id", "logwise_decisions").await),
        (vec![vec!["good".to_owned()]], vec![vec!["good".to_owned()]])
    );
    outbox.handle().send_object(object("long", 2));
    settled(&outbox).await;
    bed.witness.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_refused_for_an_unknown_reason_is_set_aside_too() {
    let bed = fresh().await;
    bed.database().await;
    bed.run("CREATE TRIGGER odd BEFORE INSERT ON logwise_objects FOR EACH ROW IF NEW.uid = 'u5' THEN SIGNAL SQLSTATE '45000'; END IF").await;
    let outbox = bed.outbox();
    (0..20).for_each(|number| outbox.handle().send_object(object(&format!("u{number}"), 1)));
    until(&outbox, "the others are in", |health| health.held == 1 && health.pending == 1).await;
    assert_eq!(bed.count("logwise_objects").await, 19);
    bed.run("DROP TRIGGER odd").await;
    settled(&outbox).await;
    assert_eq!(bed.count("logwise_objects").await, 20);
    bed.witness.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_the_right_to_create_tables_can_work_on_an_up_to_date_schema() {
    let bed = fresh().await;
    let Witness::MySql { schema, .. } = &bed.witness else { unreachable!("this file knows servers only") };
    let user = format!("lw{}", std::process::id());
    bed.run(&format!("CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY 'secret-of-test'")).await;
    bed.run(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.* TO '{user}'@'%'")).await;
    let url = address(&bed, Some(&format!("{user}:secret-of-test")), None);
    let error = Database::connect(&url, suite::DEADLINE).await.map(drop).unwrap_err();
    assert!(matches!(error, StoreError::Migrate { .. }) && error.class() == ErrorClass::Denied, "{error:?}");
    bed.database().await;
    let mut database = Database::connect(&url, suite::DEADLINE).await.unwrap();
    database.upsert_objects(&[object("a", 1)]).await.unwrap();
    database.insert_decisions(&[decision("d", Timestamp::now())]).await.unwrap();
    database.upsert_objects(&[object("a", 2)]).await.unwrap();
    database.prune_decisions(logwise_store::DecisionsKept::default()).await.unwrap();
    assert_eq!(bed.rows("type", "logwise_conditions ORDER BY type").await.concat(), ["Only2", "Ready"]);
    let wrong = address(&bed, Some(&format!("{user}:wrong-secret-of-test")), None);
    let error = Database::connect(&wrong, suite::DEADLINE).await.map(drop).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Denied);
    let text = format!("{} {error:?}", error.explain());
    assert!(text.contains("check user, password and rights") && !text.contains("secret-of-test"), "{text}");
    assert!(read_samples(&url, "c", Timestamp::UNIX_EPOCH, suite::DEADLINE).await.unwrap().is_empty());
    let error = read_samples(&wrong, "c", Timestamp::UNIX_EPOCH, suite::DEADLINE).await.unwrap_err();
    let text = format!("{} {error:?}", error.explain());
    assert!(error.class() == ErrorClass::Denied && !text.contains("secret-of-test"), "{text}");
    bed.run(&format!("DROP USER '{user}'@'%'")).await;
    bed.witness.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_samples_ends_with_its_deadline() {
    let bed = fresh().await;
    let (proxy, url) = behind_a_proxy(&bed).await;
    proxy.set(Mode::Stall);
    let begin = Instant::now();
    let error = read_samples(&url, "c", Timestamp::UNIX_EPOCH, Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, StoreError::Deadline { .. }), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    bed.witness.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_does_not_exist_is_named() {
    let bed = fresh().await;
    bed.witness.remove().await;
    let error = Database::connect(&bed.url, suite::DEADLINE).await.map(drop).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound);
    let Witness::MySql { schema, .. } = &bed.witness else { unreachable!("this file knows servers only") };
    assert!(
        error.explain().contains(schema)
            && error.explain().ends_with("create what is missing or correct the database URL"),
        "{}",
        error.explain()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_server_that_would_bend_values_do_not_apply() {
    let bed = fresh().await;
    let Witness::MySql { schema, .. } = &bed.witness else { unreachable!("this file knows servers only") };
    bed.run(&format!("ALTER DATABASE {schema} CHARACTER SET latin1")).await;
    let mut database = bed.database().await;
    database.upsert_objects(&[ObjectRow { name: "😀é".into(), ..object("a", 1) }]).await.unwrap();
    assert_eq!(bed.rows("HEX(name)", "logwise_objects").await, [["F09F9880C3A9"]]);
    let case = [object("A", 1), object("á", 1)];
    database.upsert_objects(&case).await.unwrap();
    assert_eq!(bed.count("logwise_objects").await, 3, "keys differ in case and accents");
    bed.witness.remove().await;
}

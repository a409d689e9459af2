//! `logwise-operator import`: the old Orchestrator's table, read and never written, becomes policies that are accepted.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::install;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster, wait_condition};
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use std::path::PathBuf;
use std::process::Stdio;

const PASSWORD: &str = "canary-1f4b";

/// The Orchestrator's own shape; two names that are not ASCII, in hexadecimal digits for MariaDB's client.
const MARIADB: &str = "CREATE TABLE service_details (serviceName varchar(50) NOT NULL, \
     retentionDays mediumint unsigned NOT NULL, tenant enum('ABC') NOT NULL, \
     lastCheckedAt timestamp NULL DEFAULT CURRENT_TIMESTAMP, UNIQUE KEY (serviceName, tenant)); \
     INSERT INTO service_details (serviceName, retentionDays, tenant) VALUES ('web', 3, 'ABC'), ('api', 3, 'ABC'), \
     ('pay ments', 30, 'ABC'), (_utf8mb4 0x6772c3b6c39f65, 30, 'ABC'), ('a%3Ab', 90, 'ABC'), ('null', 90, 'ABC'), \
     ('a:b', 7, 'ABC'), ('nothing', 0, 'ABC'), ('for ever', 16777215, 'ABC')";

/// The shape before that, in a file that took whatever it was given, and more services of 7 days than a policy names.
const SQLITE: &str = "CREATE TABLE service_details (environmentName varchar(128), componentType varchar(50), \
     serviceName varchar(50), retentionDays mediumint, tenant varchar(50)); \
     INSERT INTO service_details VALUES ('prod', 'application', 'api', 30, 'ABC'), \
     ('dev', 'application', 'api', 3, 'ABC'), ('prod', 'application', 'web', -5, 'ABC'), \
     ('prod', 'application', NULL, 3, 'ABC'), \
     ('prod', 'application', 'late', NULL, 'ABC'), ('prod', 'application', 'word', 'three', 'ABC'); \
     WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 400) \
     INSERT INTO service_details SELECT 'prod', 'application', printf('s-%04d', i), 7, 'ABC' FROM n";

/// Exit code, standard output and standard error of an import.
async fn import(database: &str, args: &[&str]) -> Result<(Option<i32>, String, String)> {
    let beside = std::env::current_exe()?.ancestors().nth(2).context("a folder")?.join("logwise-operator");
    let program =
        std::env::var_os("LOGWISE_OPERATOR_BIN").filter(|path| !path.is_empty()).map_or(beside, PathBuf::from);
    let mut command = tokio::process::Command::new(program);
    command.arg("import").args(args).env_clear().env("LOGWISE_IMPORT_DATABASE", database);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await.context("it runs on")??;
    let (out, error) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    let login = database.rsplit_once('@').map_or("", |(login, _)| login);
    if let Some((_, password)) = login.rsplit_once(':') {
        ensure!(!out.contains(password) && !error.contains(password), "the password is shown: {out}\n{error}");
    }
    Ok((output.status.code(), out, error))
}

/// What an import prints, for `demo` in the world's namespace: the same each time.
async fn printed(world: &World, database: &str) -> Result<(String, String)> {
    let args = ["--cluster", "demo", "--namespace", world.namespace.as_str()];
    let (code, yaml, notes) = import(database, &args).await?;
    ensure!(code == Some(0), "{code:?}: {notes}");
    ensure!(import(database, &args).await? == (code, yaml.clone(), notes.clone()), "another text: {yaml}");
    for note in notes.lines() {
        let note = note.strip_prefix("logwise-operator: ").with_context(|| note.to_owned())?;
        ensure!(yaml.contains(&format!("\n# NOTE {note}\n")), "{note:?} is missing in {yaml}");
    }
    Ok((yaml, notes))
}

/// The API server takes what was printed, as a dry run and then for good; an operator accepts each of these policies.
async fn accepted(world: &World, yaml: &str, policies: &[(&str, usize)]) -> Result<Vec<Value>> {
    install::kubeconfig(&world.bed).await?;
    let kubectl = async |args: &[&str]| world.bed.kubectl(&[&["apply"], args].concat(), Some(yaml)).await;
    let answer = kubectl(&["--dry-run=server", "--validate=strict", "-f", "-"]).await?;
    ensure!(answer.lines().count() == policies.len(), "{answer}");
    ensure!(answer.lines().all(|line| line.ends_with("created (server dry run)")), "{answer}");
    kubectl(&["-f", "-"]).await?;
    let mut pipeline = cluster(world, "demo");
    pipeline["spec"].as_object_mut().context("a spec")?.remove("kafka");
    apply(world, &[&pipeline]).await?;
    let mut operator = Operator::start(world, Options::default()).await?;
    operator.wait_ready().await?;
    let mut found = Vec::new();
    for &(name, services) in policies {
        let policy = wait_condition(world, ("lrp", name), ("Accepted", "True", "Accepted")).await?;
        ensure!(policy["status"]["matchedServices"] == services, "{name}: {}", policy["status"]);
        found.push(policy);
    }
    ensure!(operator.stop().await? == 0, "{}", operator.log()?);
    Ok(found)
}

async fn world_with(name: &str, services: &[&str]) -> Result<World> {
    let world = World::new(&Bed::attach()?, name).await?;
    let keys = services.iter().map(|name| NewObject::sized(&format!("logs/service_name={name}/year=2026/part-0"), 10));
    world.put_objects(&keys.collect::<Vec<_>>()).await?;
    Ok(world)
}

#[tokio::test]
async fn the_old_table_in_mariadb_becomes_policies() -> Result<()> {
    let world = world_with("import-maria", &["api", "web", "pay ments", "größe", "a%3Ab", "null"]).await?;
    let url = world.create_schema().await?;
    world.query(MARIADB).await?;
    // May read this one table and nothing else.
    let (schema, address) = (&world.schema, url.rsplit_once('@').context("a login")?.1);
    let user = format!("'{schema}'@'%'");
    let right = format!("GRANT SELECT ON `{schema}`.service_details TO {user}");
    world.query(&format!("CREATE USER {user} IDENTIFIED BY '{PASSWORD}'; {right}")).await?;
    let before = world.query("CHECKSUM TABLE service_details").await?;
    let (yaml, notes) = printed(&world, &format!("mysql://{schema}:{PASSWORD}@{address}")).await?;
    ensure!(world.query("CHECKSUM TABLE service_details").await? == before, "the table was changed");
    ensure!(world.query("SHOW TABLES").await?.trim() == "service_details", "a table was made");
    world.query(&format!("DROP USER {user}")).await?;
    ensure!(yaml.contains(&format!("service_details of \"mysql://{schema}:***@")), "{yaml}");
    ensure!(notes.lines().count() == 3, "{notes}");
    for (name, why) in [("a:b", "Spark writes \":\" as %3A"), ("nothing", "from 1 to"), ("for ever", "from 1 to")] {
        let note = notes.lines().find(|line| line.contains(&format!("serviceName \"{name}\""))).context(name)?;
        ensure!(note.contains("left out") && note.contains(why), "{note}");
    }
    let all = [("imported-3-days", 2), ("imported-30-days", 2), ("imported-90-days", 2)];
    let policies = accepted(&world, &yaml, &all).await?;
    let names = |policy: &Value| policy["spec"]["serviceSelector"]["matchNames"].clone();
    ensure!(names(&policies[0]) == json!(["api", "web"]), "{}", policies[0]);
    ensure!(names(&policies[1]) == json!(["größe", "pay ments"]), "{}", policies[1]);
    ensure!(names(&policies[2]) == json!(["a%3Ab", "null"]), "{}", policies[2]);
    Ok(())
}

#[tokio::test]
async fn the_old_table_in_sqlite_becomes_policies() -> Result<()> {
    let world = world_with("import-sqlite", &["api", "s-0000", "s-0199", "s-0200", "s-0400"]).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("old.db");
    let url = format!("sqlite://{}", file.display());
    let (code, _, error) = import(&url, &["--cluster", "demo"]).await?;
    ensure!(code == Some(1) && error.contains("old.db does not exist") && !file.exists(), "{code:?}: {error}");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let mut old = options.connect().await?;
    sqlx::raw_sql(SQLITE).execute(&mut old).await?;
    sqlx::Connection::close(old).await?;
    let before = std::fs::read(&file)?;
    let (yaml, notes) = printed(&world, &url).await?;
    ensure!(std::fs::read(&file)? == before, "the file was changed");
    ensure!(notes.contains("service \"api\" has 3 and 30 days: the most are taken"), "{notes}");
    for row in
        ["\"web\", retentionDays \"-5\"", "NULL, retentionDays \"3\"", "\"late\", retentionDays NULL", "\"word\""]
    {
        ensure!(notes.contains(&format!("left out: serviceName {row}")), "{row}: {notes}");
    }
    let all = [("imported-7-days", 2), ("imported-7-days-2", 1), ("imported-7-days-3", 1), ("imported-30-days", 1)];
    accepted(&world, &yaml, &all).await.map(drop)
}

#[tokio::test]
async fn an_import_that_cannot_be_made_says_why_and_shows_no_password() -> Result<()> {
    let demo = ["--cluster", "demo"];
    let bed = Bed::attach()?;
    let real = bed.sql.url("mysql");
    let address = real.rsplit_once('@').context("a login")?.1;
    for (database, code, why) in [
        (format!("mysql://u:{PASSWORD}@h:port/s"), 2, "--database cannot be used: port must be a number"),
        (format!("postgres://u:{PASSWORD}@h/s"), 2, "--database cannot be used: scheme must be sqlite or mysql"),
        (format!("mysql://nobody:{PASSWORD}@{address}"), 1, "connecting to mysql://nobody:***@"),
        (real.clone(), 1, "has no table service_details"),
    ] {
        let (found, out, error) = import(&database, &demo).await?;
        ensure!(found == Some(code) && out.is_empty() && error.lines().count() == 1, "{found:?} {out} {error}");
        ensure!(error.contains(why), "{error}");
    }
    Ok(())
}

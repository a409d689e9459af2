//! The old Orchestrator's table: what must hold of reading it on every kind of database.

use logwise_store::{OldService, OldTableError, read_old_services};

use super::{Bed, DEADLINE, Witness};

fn service(name: &str, days: &str) -> OldService {
    OldService { name: Some(name.into()), days: Some(days.into()), tenant: Some("ABC".into()) }
}

/// Makes what can hold tables: an SQLite file begins empty.
fn make_file(bed: &Bed) {
    if let Witness::Sqlite { path, .. } = &bed.witness {
        std::fs::write(path, "").unwrap();
    }
}

/// The table as the Orchestrator has it, with further columns; NULL is allowed, unlike there.
async fn make_table(bed: &Bed, further: &str) {
    make_file(bed);
    let tenant = match &bed.witness {
        Witness::Sqlite { .. } => "varchar(50)",
        Witness::MySql { .. } => "enum('ABC', 'DEF')",
    };
    let columns = format!("serviceName varchar(50), retentionDays mediumint unsigned, tenant {tenant}, ");
    let checked = "lastCheckedAt timestamp DEFAULT CURRENT_TIMESTAMP";
    bed.run(&format!("CREATE TABLE service_details ({further}{columns}{checked})")).await;
}

pub async fn the_old_table_is_read_as_it_lies(bed: &Bed) {
    make_table(bed, "").await;
    bed.run(
        "INSERT INTO service_details (serviceName, retentionDays, tenant) VALUES \
         ('web', 30, 'ABC'), ('größe 日本', 3, 'ABC'), ('api', 16777215, 'ABC'), ('a%3Ab''--\"', 0, 'DEF'), (NULL, NULL, NULL)",
    )
    .await;
    let found = read_old_services(&bed.url, DEADLINE).await.unwrap();
    let odd = OldService { tenant: Some("DEF".into()), ..service("a%3Ab'--\"", "0") };
    let wanted =
        [OldService::default(), odd, service("api", "16777215"), service("größe 日本", "3"), service("web", "30")];
    assert_eq!(found, wanted);
    assert_eq!(bed.count("service_details").await, 5);
}

pub async fn the_older_shape_of_the_old_table_is_read_too(bed: &Bed) {
    make_table(bed, "environmentName varchar(128) NOT NULL, componentType varchar(50) NOT NULL, ").await;
    bed.run(
        "INSERT INTO service_details (environmentName, componentType, serviceName, retentionDays, tenant) VALUES \
         ('prod', 'application', 'api', 30, 'ABC'), ('dev', 'application', 'api', 3, 'ABC')",
    )
    .await;
    let found = read_old_services(&bed.url, DEADLINE).await.unwrap();
    assert_eq!(found, [service("api", "3"), service("api", "30")]);
}

pub async fn a_database_without_the_old_table_is_named_and_nothing_is_made(bed: &Bed) {
    if let Witness::Sqlite { path, .. } = &bed.witness {
        let error = read_old_services(&bed.url, DEADLINE).await.unwrap_err();
        assert!(matches!(&error, OldTableError::NoFile(named) if named == path), "{error:?}");
        assert!(!path.exists());
    }
    make_file(bed);
    bed.run("CREATE TABLE other (id int)").await;
    let error = read_old_services(&bed.url, DEADLINE).await.unwrap_err();
    assert!(matches!(&error, OldTableError::NoTable { url } if *url == bed.url.to_string()), "{error:?}");
    bed.run("CREATE TABLE service_details (name varchar(50))").await;
    let error = read_old_services(&bed.url, DEADLINE).await.unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(error.to_string().contains("service_details") && cause.contains("serviceName"), "{error:?}");
}

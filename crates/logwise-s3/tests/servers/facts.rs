//! The rules that the planner's facts refuse, sent all the same: AWS's stand-in must refuse the same ones.

use super::*;
use logwise_plan::retention::facts::of_write;
use logwise_runtime::ErrorClass;
use serde_json::Value;

/// The same table that `crates/logwise-plan/tests/plan/bad_rules.rs` reads.
const TABLE: &str = include_str!("../../../logwise-plan/tests/attacks/rules.json");

/// The rules of one row.
fn ours(row: &Value) -> Vec<Rule> {
    let number = |key: &str| row[key].as_u64().map(|number| usize::try_from(number).expect("a small number"));
    let text = |key: &str| row[key].as_str().map(str::to_owned);
    let padding = |length: usize, rest: &str| "x".repeat(length - rest.len());
    let settings: Settings = serde_json::from_value(row["settings"].clone()).expect("settings");
    let one = |place: usize| {
        let service = match (number("rules"), number("prefixLength")) {
            (Some(_), _) => format!("s{place}"),
            (None, Some(length)) => padding(length, &service_prefix(LOGS, "")),
            (None, None) => "api".to_owned(),
        };
        let owner = number("idLength").map(|length| padding(length, &rule_id("", "00000001", &service)));
        let owner = owner.unwrap_or_else(|| "lab.shop.keep".to_owned());
        Rule {
            id: text("id").unwrap_or_else(|| rule_id(&owner, "00000001", &service)),
            prefix: text("prefix").unwrap_or_else(|| service_prefix(LOGS, &service)),
            settings: settings.clone(),
        }
    };
    (0..number("rules").or(number("copies")).unwrap_or(1)).map(one).collect()
}

/// The rules as XML; none if XML cannot carry them.
fn xml(ours: Vec<Rule>) -> Option<String> {
    let one = |rule: Rule| {
        let write = WriteRules { add: vec![rule], ..WriteRules::default() };
        let text = String::from_utf8(compose(None, &write).ok()??).ok()?;
        let (start, end) = (text.find("<Rule>")?, text.find("</LifecycleConfiguration>")?);
        Some(text[start..end].to_owned())
    };
    ours.into_iter().map(one).collect()
}

/// The last net: a bad rule that got so far is not sent, and the fault is named.
#[tokio::test]
async fn nothing_is_sent_that_the_facts_refuse() {
    let world = World::new(Server::StandIn, "net").await;
    let table: Vec<Value> = serde_json::from_str(TABLE).unwrap();
    for row in table.iter().filter(|row| !row["fault"].is_null()) {
        let write = WriteRules { add: ours(row), ..WriteRules::default() };
        let fault = of_write(&write, []).remove(0).1.to_string();
        let error = apply(&world.bucket, &write, async || Ok(|| Ok(()))).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Invalid, "{}", row["name"]);
        assert!(error.to_string().contains(&fault), "{error} does not say {fault}");
    }
    assert_eq!(world.stored().await, "");
}

#[tokio::test]
async fn the_stand_in_refuses_what_the_facts_refuse() {
    let world = World::new(Server::StandIn, "facts").await;
    let table: Vec<Value> = serde_json::from_str(TABLE).unwrap();
    let (mut refused, mut differences) = (0, Vec::new());
    for row in &table {
        let answer = match xml(ours(row)) {
            Some(rules) => world.put(&document(&rules)).await,
            None => Some("400 none".to_owned()),
        };
        let wanted = row["aws"].as_str().map(|code| format!("400 {code}"));
        refused += usize::from(answer.is_some());
        if answer != wanted {
            differences.push(format!("{}: {answer:?} where {wanted:?} is expected", row["name"]));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(refused >= 60, "{refused} of {} refused", table.len());
}

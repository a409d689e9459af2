//! Rules that S3 or a log pipeline cannot have, each with its fault and with AWS's answer, and their good neighbours.
//! `crates/logwise-s3/tests/servers/facts.rs` asks the stand-in for AWS about the same rules.

use logwise_plan::retention::facts::{Fault, of_rule, of_settings, of_write};
use logwise_plan::retention::{Rule, Settings, WriteRules, rule_id, service_prefix};
use serde::Deserialize;
use std::collections::BTreeSet;

const OWNER: &str = "lab.shop.keep";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Row {
    name: String,
    /// The variant; none: the rule is good.
    fault: Option<String>,
    /// AWS's code; none: AWS takes the rule. `none` as a text: it cannot be sent.
    aws: Option<String>,
    settings: Settings,
    id: Option<String>,
    id_length: Option<usize>,
    prefix: Option<String>,
    prefix_length: Option<usize>,
    /// How often the same rule is there.
    copies: Option<usize>,
    /// How many rules there are, for a service each.
    rules: Option<usize>,
}

impl Row {
    fn write(&self) -> WriteRules {
        let number = self.rules.or(self.copies).unwrap_or(1);
        WriteRules { add: (0..number).map(|place| self.rule(place)).collect(), ..WriteRules::default() }
    }

    fn rule(&self, place: usize) -> Rule {
        let padding = |length: usize, rest: &str| "x".repeat(length - rest.len());
        let service = match (self.rules, self.prefix_length) {
            (Some(_), _) => format!("s{place}"),
            (None, Some(length)) => padding(length, &service_prefix("logs/", "")),
            (None, None) => "api".to_owned(),
        };
        let owner = self
            .id_length
            .map_or_else(|| OWNER.to_owned(), |length| padding(length, &rule_id("", "00000001", &service)));
        Rule {
            id: self.id.clone().unwrap_or_else(|| rule_id(&owner, "00000001", &service)),
            prefix: self.prefix.clone().unwrap_or_else(|| service_prefix("logs/", &service)),
            settings: self.settings.clone(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the table is a file")]
fn table() -> Vec<Row> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks/rules.json");
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The name of a variant, and the names of all. One that is missing in the list does not compile.
macro_rules! names {
    ($($variant:ident),+ $(,)?) => {
        fn name(fault: &Fault) -> &'static str {
            match fault {
                $(Fault::$variant { .. } => stringify!($variant)),+
            }
        }

        const NAMES: &[&str] = &[$(stringify!($variant)),+];
    };
}

names!(
    NoAction,
    ExpirationBeforeOneDay,
    NoncurrentBeforeOneDay,
    AbortBeforeOneDay,
    TransitionBeforeCreation,
    TooManyDays,
    UnknownStorageClass,
    StorageClassTwice,
    InfrequentAccessTooSoon,
    TransitionsOnOneDay,
    AgainstTheWaterfall,
    NoWayOnward,
    ArchiveTooSoon,
    ExpirationNotAfterTransition,
    IdNotOurs,
    IdTooLong,
    IdTwice,
    IdOfAnotherPrefix,
    PrefixEmpty,
    PrefixNotOfServices,
    PrefixWithoutSlash,
    PrefixTooLong,
    NotExpressible,
    TooManyRules,
);

#[test]
fn each_bad_rule_has_its_one_fault_and_each_good_one_has_none() {
    let table = table();
    for row in &table {
        let write = row.write();
        let found: Vec<&str> = of_write(&write, []).iter().map(|(_, fault)| name(fault)).collect();
        let wanted: Vec<&str> = row.fault.as_deref().into_iter().collect();
        assert_eq!(found, wanted, "{}", row.name);
        assert!(row.aws.is_none() || row.fault.is_some(), "{}: AWS refuses it, and we do not", row.name);
    }
    let faults: Vec<&str> = table.iter().filter_map(|row| row.fault.as_deref()).collect();
    assert!(faults.len() >= 60, "{} bad rules", faults.len());
    let [seen, all]: [BTreeSet<&str>; 2] = [faults.into_iter().collect(), NAMES.iter().copied().collect()];
    assert_eq!(seen, all, "each fault must have a row");
}

#[test]
fn each_fault_says_where_it_is_and_what_must_be_so() {
    for row in table() {
        for (_, fault) in of_write(&row.write(), []) {
            let text = fault.to_string();
            let (field, problem) = text.split_once(": ").unwrap();
            assert_eq!((field, problem), (fault.field(), fault.problem().as_str()), "{}", row.name);
            assert!(problem.starts_with("must ") && problem.len() > 20 && !problem.ends_with('.'), "{text}");
        }
    }
    let settings = Settings { expiration_days: Some(0), ..Settings::default() };
    let fault = of_settings(&settings).pop().unwrap();
    assert_eq!(fault.to_string(), "spec.expiration.days: must be greater than or equal to 1, not 0");
}

#[test]
fn several_faults_of_a_rule_are_all_named() {
    let table = table();
    let bad = Rule { id: "x".repeat(300), prefix: "logs/".into(), settings: Settings::default() };
    let found = of_rule(&bad);
    let names: Vec<&str> = found.iter().map(name).collect();
    assert_eq!(names, ["NoAction", "IdTooLong", "IdNotOurs", "PrefixNotOfServices"]);
    // A policy that does nothing has no rule: that is not wrong.
    assert!(table[0].name == "no action" && of_settings(&table[0].settings).is_empty());
}

#[test]
fn the_rules_that_are_there_count() {
    let write = |number: usize, remove: &[&str]| {
        let row = Row { rules: Some(number), ..table().pop().unwrap() };
        WriteRules { remove: remove.iter().map(|id| (*id).to_owned()).collect(), ..row.write() }
    };
    fn there<'a>(number: usize) -> impl Iterator<Item = Option<&'a str>> {
        (0..number).map(|_| None)
    }
    let two = write(2, &[]);
    assert!(of_write(&two, there(998)).is_empty());
    assert_eq!(of_write(&two, there(999)), [(None, Fault::TooManyRules { rules: 1_001 })]);
    // What is replaced leaves room, and a server that took more gets no more.
    let replaced = write(2, &["a"]);
    assert!(of_write(&replaced, there(998).chain([Some("a")])).is_empty());
    let crowded = write(1, &["a"]);
    assert!(of_write(&crowded, there(1_500).chain([Some("a")])).is_empty());
    // An id that stays is taken.
    let again = write(1, &[]);
    let id = again.add[0].id.as_str();
    assert_eq!(of_write(&again, [Some(id)]), [(Some(id), Fault::IdTwice)]);
    let moved = write(1, &[id]);
    assert!(of_write(&moved, [Some(id)]).is_empty());
}

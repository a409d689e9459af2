//! `logwise-operator import`: the days in the old Orchestrator's table, as RetentionPolicies. It reads one table and
//! changes nothing.

use crate::cli::Import;
use logwise_store::{DatabaseUrl, OldService, OldTableError, UrlError, read_old_services};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

/// Longest wait for the old database.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most `matchNames` of a policy, as its CRD has it.
const MOST_NAMES: usize = 200;

/// Most characters of a service's name, as the CRD has it.
const LONGEST_NAME: usize = 255;

/// Most `expiration.days`, as the CRD has it.
const MOST_DAYS: i32 = 36_500;

/// Nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// `--database` is none.
    #[error("--database cannot be used")]
    Url(#[source] UrlError),
    /// The asynchronous runtime did not start.
    #[error("timers could not be set up")]
    StartRuntime(#[source] std::io::Error),
    /// The table could not be read.
    #[error(transparent)]
    Read(#[from] OldTableError),
}

impl ImportError {
    /// 2: an argument is wrong. 1: something outside is.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Url(_) => 2,
            Self::StartRuntime(_) | Self::Read(_) => 1,
        }
    }
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Imported {
    /// RetentionPolicies for `kubectl apply`, behind comments that hold the notes as well. The same rows make the same
    /// text.
    pub yaml: String,
    /// What people should know, a line each: rows that no policy stands for, services whose rows differ.
    pub notes: Vec<String>,
}

/// Reads the table and makes policies of it.
///
/// # Errors
/// When the URL is none, or the table cannot be read.
pub fn import(wanted: &Import) -> Result<Imported, ImportError> {
    let url = DatabaseUrl::parse(&wanted.database).map_err(ImportError::Url)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ImportError::StartRuntime)?;
    let rows = runtime.block_on(read_old_services(&url, PATIENCE))?;
    let namespace = wanted.namespace.as_ref().map(|namespace| namespace.as_str());
    Ok(imported(&rows, &Target { source: &url.to_string(), cluster: &wanted.cluster, namespace }))
}

/// The name of a LogwiseCluster, as `spec.clusterRef.name` takes it.
///
/// # Errors
/// Says what is allowed.
pub fn cluster_name(text: &str) -> Result<String, String> {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let is_outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = text.len() <= 63 && text.starts_with(is_outer) && text.ends_with(is_outer) && text.chars().all(is_inner);
    if good {
        return Ok(text.to_owned());
    }
    Err("must be 1 to 63 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
        .to_owned())
}

/// For whom policies are made, and from what.
struct Target<'a> {
    /// The old database, without its password.
    source: &'a str,
    cluster: &'a str,
    namespace: Option<&'a str>,
}

fn imported(rows: &[OldService], target: &Target<'_>) -> Imported {
    let mut notes = Vec::new();
    let mut found: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for row in rows {
        match read(row) {
            Ok((name, days)) => {
                found.entry(name).or_default().insert(days);
            }
            Err(why) => notes.push(format!("left out: {}: {why}", shown(row))),
        }
    }
    notes.sort();
    let tenants: BTreeSet<&str> = rows.iter().filter_map(|row| row.tenant.as_deref()).collect();
    if tenants.len() > 1 {
        let names: Vec<String> = tenants.into_iter().map(quoted).collect();
        notes.push(format!("these tenants become one, LogwiseCluster {}: {}", target.cluster, names.join(", ")));
    }
    let mut groups: BTreeMap<i32, Vec<&str>> = BTreeMap::new();
    for (name, days) in &found {
        let Some(longest) = days.last() else { continue };
        if days.len() > 1 {
            let all: Vec<String> = days.iter().map(ToString::to_string).collect();
            notes.push(format!("service {} has {} days: the most are taken", quoted(name), all.join(" and ")));
        }
        groups.entry(*longest).or_default().push(*name);
    }
    Imported { yaml: yaml(&groups, target, &notes), notes }
}

/// Name and days of a row, or why no policy can hold them.
fn read(row: &OldService) -> Result<(&str, i32), String> {
    let name = row.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        return Err("it has no name".to_owned());
    }
    if name.chars().count() > LONGEST_NAME {
        return Err(format!("its name is longer than {LONGEST_NAME} characters"));
    }
    // What Spark escapes cannot stand in a key.
    if let Some(odd) = name.chars().find(|c| c.is_ascii_control() || "\"#'*/:=?\\{[]^".contains(*c)) {
        let (odd, number) = (quoted(&odd.to_string()), u32::from(odd));
        return Err(format!("its name is not as in the object keys, where Spark writes {odd} as %{number:02X}"));
    }
    let days =
        row.days.as_deref().and_then(|days| days.parse::<i32>().ok()).filter(|days| (1..=MOST_DAYS).contains(days));
    let days = days.ok_or_else(|| format!("its days are no whole number from 1 to {MOST_DAYS}"))?;
    Ok((name, days))
}

fn shown(row: &OldService) -> String {
    let value = |column: &Option<String>| column.as_deref().map_or_else(|| "NULL".to_owned(), quoted);
    format!("serviceName {}, retentionDays {}, tenant {}", value(&row.name), value(&row.days), value(&row.tenant))
}

fn yaml(groups: &BTreeMap<i32, Vec<&str>>, target: &Target<'_>, notes: &[String]) -> String {
    let (mut policies, mut count) = (String::new(), 0_usize);
    for (days, names) in groups {
        for (number, names) in (1..).zip(names.chunks(MOST_NAMES)) {
            policies.push_str(&policy(*days, number, names, target));
            count += 1;
        }
    }
    let services: usize = groups.values().map(Vec::len).sum();
    let mut text = format!(
        "# {services} services in {count} RetentionPolicies, from the table service_details of {}.\n\
         # The Orchestrator has never deleted anything by these days. Applied, these policies delete nothing\n\
         # either until the plan of each is approved. A service that comes later is in none of them: see\n\
         # examples/retention.\n",
        quoted(target.source)
    );
    for note in notes {
        // A String takes whatever is written to it.
        let _ = writeln!(text, "# NOTE {note}");
    }
    text + &policies
}

fn policy(days: i32, number: i32, names: &[&str], target: &Target<'_>) -> String {
    let suffix = if number > 1 { format!("-{number}") } else { String::new() };
    let namespace = target.namespace.map(|name| format!("  namespace: {}\n", quoted(name))).unwrap_or_default();
    let names: String = names.iter().map(|name| format!("      - {}\n", quoted(name))).collect();
    format!(
        "---\n\
         apiVersion: logwise.io/v1alpha1\n\
         kind: RetentionPolicy\n\
         metadata:\n  name: imported-{days}-days{suffix}\n{namespace}\
         spec:\n  clusterRef: {{name: {}}}\n  serviceSelector:\n    matchNames:\n{names}\
         \x20 expiration: {{days: {days}}}\n",
        quoted(target.cluster)
    )
}

/// The text in double quotes, so that every reader of YAML takes it for exactly this text, and on one line.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        let number = u32::from(character);
        let _ = match character {
            '"' | '\\' => write!(out, "\\{character}"),
            ' '..='~' => write!(out, "{character}"),
            _ if character.is_alphanumeric() => write!(out, "{character}"),
            _ if number <= 0xffff => write!(out, "\\u{number:04x}"),
            _ => write!(out, "\\U{number:08x}"),
        };
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_api::RetentionPolicy;
    use serde::Deserialize;

    const TARGET: Target<'_> =
        Target { source: "mysql://logwise:***@db:3306/log_central", cluster: "demo", namespace: Some("team-a") };

    fn row(name: &str, days: &str) -> OldService {
        OldService { name: Some(name.into()), days: Some(days.into()), tenant: Some("ABC".into()) }
    }

    fn policies(yaml: &str) -> Vec<RetentionPolicy> {
        let documents = serde_yaml::Deserializer::from_str(yaml);
        let values = documents.map(|document| serde_json::Value::deserialize(document).unwrap());
        values.filter(|value| !value.is_null()).map(|value| serde_json::from_value(value).unwrap()).collect()
    }

    /// Each row's name is in the policy of its days, or a note says why not; no policy holds anything else.
    fn check_nothing_is_lost(rows: &[OldService]) -> Imported {
        let found = imported(rows, &TARGET);
        let policies = policies(&found.yaml);
        let mut named = BTreeMap::new();
        for policy in &policies {
            let spec = &policy.spec;
            assert!((1..=MOST_NAMES).contains(&spec.service_selector.match_names.len()), "{}", found.yaml);
            for name in &spec.service_selector.match_names {
                let days = spec.expiration.as_ref().unwrap().days;
                assert_eq!(named.insert(name.clone(), days.to_string()), None, "{name} twice in {}", found.yaml);
            }
        }
        for row in rows {
            let taken = row.days.is_some() && row.name.as_ref().and_then(|name| named.get(name)) == row.days.as_ref();
            let noted = found.notes.iter().any(|note| {
                note.contains(&format!("left out: {}: ", shown(row)))
                    || note.contains(&format!("service {} has ", quoted(row.name.as_deref().unwrap_or_default())))
            });
            assert!(taken || noted, "{row:?} is lost: {}", found.yaml);
        }
        assert!(named.keys().all(|name| rows.iter().any(|row| row.name.as_ref() == Some(name))), "{}", found.yaml);
        assert!(found.notes.iter().all(|note| found.yaml.contains(&format!("\n# NOTE {note}\n"))), "{}", found.yaml);
        found
    }

    #[test]
    fn services_with_equal_days_become_one_policy() {
        let found = check_nothing_is_lost(&[row("web", "3"), row("pay ments", "30"), row("api", "3")]);
        let wanted = r#"---
apiVersion: logwise.io/v1alpha1
kind: RetentionPolicy
metadata:
  name: imported-3-days
  namespace: "team-a"
spec:
  clusterRef: {name: "demo"}
  serviceSelector:
    matchNames:
      - "api"
      - "web"
  expiration: {days: 3}
---
apiVersion: logwise.io/v1alpha1
kind: RetentionPolicy
metadata:
  name: imported-30-days
  namespace: "team-a"
spec:
  clusterRef: {name: "demo"}
  serviceSelector:
    matchNames:
      - "pay ments"
  expiration: {days: 30}
"#;
        let (comments, policies) = found.yaml.split_at(found.yaml.find("---").unwrap());
        assert_eq!(policies, wanted);
        assert!(
            comments.starts_with("# 3 services in 2 RetentionPolicies, from the table service_details of \"mysql://")
        );
        assert!(comments.lines().all(|line| line.starts_with("# ") && line.len() <= 120), "{comments}");
        assert!(found.notes.is_empty(), "{:?}", found.notes);
    }

    #[test]
    fn names_are_what_they_were_whatever_a_reader_of_yaml_may_think() {
        let odd = [
            "yes",
            "no",
            "null",
            "~",
            "123",
            "1e3",
            "0x1f",
            "0777",
            "1_000",
            "2026-01-01",
            "- a",
            "&a",
            "!a",
            "|",
            ">",
            "%",
            "a%3Ab",
            "a%2Fb",
            "@",
            "`",
            "}",
            ",",
            " a",
            "a ",
            "a\u{a0}b",
            "a\u{85}b",
            "a\u{2028}b",
            "\u{feff}a",
            "größe",
            "日本",
            "e\u{301}",
            "\u{1F600}",
            "\u{10FFFF}",
            "\u{FFFE}",
            "Api",
            "api",
            "__HIVE_DEFAULT_PARTITION__",
        ];
        let rows: Vec<OldService> = odd.iter().map(|name| row(name, "7")).collect();
        let found = check_nothing_is_lost(&rows);
        assert!(found.notes.is_empty(), "{:?}", found.notes);
        let mut names = policies(&found.yaml)[0].spec.service_selector.match_names.clone();
        names.sort();
        let mut wanted = odd;
        wanted.sort_unstable();
        assert_eq!(names, wanted);
        assert_eq!(found.yaml.lines().count() + 1, found.yaml.split(['\n', '\u{85}', '\u{2028}']).count());
    }

    #[test]
    fn what_no_policy_can_hold_is_noted() {
        let null = OldService::default();
        let long = "x".repeat(256);
        let rows = [
            (row("", "3"), "it has no name"),
            (null, "serviceName NULL, retentionDays NULL, tenant NULL: it has no name"),
            (row(&long, "3"), "longer than 255"),
            (row("a:b", "3"), "Spark writes \":\" as %3A"),
            (row("a\nb: - c", "3"), "Spark writes \"\\u000a\" as %0A"),
            (row("a'b", "3"), "Spark writes \"'\" as %27"),
            (row("zero", "0"), "from 1 to 36500"),
            (row("below", "-1"), "from 1 to 36500"),
            (row("far", "36501"), "from 1 to 36500"),
            (row("huge", "99999999999"), "from 1 to 36500"),
            (row("half", "3.5"), "from 1 to 36500"),
            (row("word", "three"), "from 1 to 36500"),
            (OldService { days: None, ..row("none", "") }, "retentionDays NULL"),
        ];
        let all: Vec<OldService> = rows.iter().map(|(row, _)| row.clone()).collect();
        let found = check_nothing_is_lost(&all);
        assert_eq!((found.notes.len(), policies(&found.yaml).len()), (rows.len(), 0), "{}", found.yaml);
        for (row, why) in &rows {
            let note = found.notes.iter().find(|note| note.contains(&shown(row))).unwrap();
            assert!(note.contains(why), "{note}");
        }
        assert!(found.yaml.lines().all(|line| line.starts_with("# ")), "{}", found.yaml);
    }

    #[test]
    fn a_service_with_several_days_keeps_its_logs_the_longest() {
        let other = OldService { tenant: Some("DEF".into()), ..row("api", "90") };
        let found =
            check_nothing_is_lost(&[row("api", "3"), other, row("api", "30"), row("web", "3"), row("web", "3")]);
        assert_eq!(
            found.notes,
            [
                "these tenants become one, LogwiseCluster demo: \"ABC\", \"DEF\"",
                "service \"api\" has 3 and 30 and 90 days: the most are taken"
            ]
        );
        assert_eq!(policies(&found.yaml).len(), 2);
    }

    #[test]
    fn many_services_are_divided_and_the_order_of_rows_does_not_matter() {
        let mut rows: Vec<OldService> =
            (0..1_001).map(|n| row(&format!("s-{n:04}"), if n % 5 == 0 { "30" } else { "3" })).collect();
        let found = check_nothing_is_lost(&rows);
        let names: Vec<String> = policies(&found.yaml).into_iter().filter_map(|policy| policy.metadata.name).collect();
        let three = ["imported-3-days", "imported-3-days-2", "imported-3-days-3", "imported-3-days-4"];
        assert_eq!(names, [&three[..], &["imported-30-days", "imported-30-days-2"]].concat());
        rows.reverse();
        rows.rotate_left(317);
        assert_eq!(imported(&rows, &TARGET), found);
    }

    #[test]
    fn a_namespace_is_named_only_if_it_is_given() {
        let found = imported(&[row("api", "3")], &Target { namespace: None, ..TARGET });
        assert_eq!(policies(&found.yaml)[0].metadata.namespace, None);
        assert!(cluster_name("demo.eu-1").is_ok());
        for bad in ["", "-a", "a-", "A", "a_b", "a".repeat(64).as_str()] {
            assert!(cluster_name(bad).is_err(), "{bad}");
        }
    }
}

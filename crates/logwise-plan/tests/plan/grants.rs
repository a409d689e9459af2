//! Attacks on grants, each with the refusal it gets, and properties.

use logwise_plan::Known;
use logwise_plan::grants::{Endpoints, Granted, Grants, Namespace, NoEndpoint, Reference, Refusal, decide, endpoints};
use proptest::prelude::*;
use serde::Deserialize;
use serde_yaml::with::singleton_map_recursive as plain;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Corpus {
    grants: Grants,
    allowed: Vec<Attempt>,
    attacks: Vec<Attempt>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Attempt {
    #[serde(default)]
    name: String,
    #[serde(default = "team_a")]
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Why the labels could not be read.
    unread: Option<String>,
    #[serde(with = "plain")]
    reference: Reference,
    #[serde(rename = "accountID")]
    account_id: Option<String>,
    #[serde(default)]
    refused: String,
}

fn team_a() -> String {
    "team-a".to_owned()
}

impl Attempt {
    fn namespace(&self) -> Namespace {
        let labels = self.unread.clone().map_or_else(|| Known::Known(self.labels.clone()), Known::Unknown);
        Namespace { name: self.namespace.clone(), labels }
    }
}

#[expect(clippy::disallowed_methods, reason = "the attacks are files")]
fn read<T: for<'a> Deserialize<'a>>(file: &str) -> T {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks").join(file);
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn trusted() -> BTreeSet<String> {
    ["tiers.example.com/tier", "tiers.example.com/paid", "trusted.example.com/a"].map(str::to_owned).into()
}

#[test]
fn every_attack_ends_in_a_named_refusal() {
    let corpus: Corpus = read("references.yaml");
    assert_eq!(corpus.grants.validate(&trusted()), Ok(()));
    assert!(corpus.attacks.len() >= 90, "only {} attacks", corpus.attacks.len());
    let names: BTreeSet<&str> = corpus.attacks.iter().map(|attack| attack.name.as_str()).collect();
    assert_eq!(names.len(), corpus.attacks.len(), "two attacks have one name");
    for attack in &corpus.attacks {
        assert!(!attack.refused.is_empty(), "{} expects nothing", attack.name);
        match decide(&corpus.grants, &attack.namespace(), &attack.reference) {
            Ok(granted) => panic!("{}: {} was granted: {granted:?}", attack.name, attack.reference),
            Err(refusal) => {
                let text = refusal.to_string();
                assert!(text.contains(&attack.refused), "{}: {text}", attack.name);
                assert!(text.contains(&format!("to namespace {}", attack.namespace)), "{}: {text}", attack.name);
                assert!(text.contains(&attack.reference.to_string()), "{}: {text}", attack.name);
            }
        }
        let none = decide(&Grants::default(), &attack.namespace(), &attack.reference);
        assert_eq!(none, Ok(Granted::default()), "without any grant everything is allowed");
    }
}

#[test]
fn what_is_granted_is_allowed() {
    let corpus: Corpus = read("references.yaml");
    for attempt in &corpus.allowed {
        let granted = decide(&corpus.grants, &attempt.namespace(), &attempt.reference);
        assert_eq!(
            granted,
            Ok(Granted { accounts: attempt.account_id.iter().cloned().collect() }),
            "{}",
            attempt.reference
        );
    }
}

#[test]
fn grants_that_cannot_be_meant_are_refused_with_the_entry() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Bad {
        name: String,
        grants: Grants,
        refused: String,
    }
    let all: Vec<Bad> = read("grants.yaml");
    assert!(all.len() >= 25);
    for Bad { name, grants, refused } in all {
        let problem = grants.validate(&trusted()).expect_err(&name);
        assert!(problem.starts_with("grants[") && problem.contains(&refused), "{name}: {problem}");
    }
    let by_label: Grants =
        serde_yaml::from_str("[{namespaceSelector: {matchLabels: {trusted.example.com/a: b}}}]").unwrap();
    assert_eq!(by_label.validate(&trusted()), Ok(()));
    assert!(by_label.validate(&BTreeSet::new()).unwrap_err().contains("trustedNamespaceLabels"));
}

fn sent(grants: &str, namespace: &str, labels: Known<BTreeMap<String, String>>) -> Result<Endpoints, NoEndpoint> {
    let grants: Grants = serde_yaml::from_str(grants).unwrap();
    assert_eq!(grants.validate(&trusted()), Ok(()));
    endpoints(&grants, &Namespace { name: namespace.to_owned(), labels })
}

const PLACES: &str = r#"
- {namespaces: [a, b], endpoints: {s3: "https://s3.a.example.com"}}
- {namespaces: [a], endpoints: {s3: "https://S3.a.example.com:443/", sts: "https://sts.a.example.com"}}
- {namespaces: [b], endpoints: {autoScaling: "https://asg.b.example.com", ec2: "https://ec2.b.example.com"}}
- {namespaceSelector: {matchLabels: {tiers.example.com/tier: gold}}, endpoints: {sts: "https://sts.gold.example.com"}}
- {namespaces: ["*"], kafka: ["k:9092"]}
"#;

#[test]
fn grants_for_one_namespace_say_together_where_aws_is_called() {
    let none = || Known::Known(BTreeMap::new());
    let gold = || Known::Known(BTreeMap::from([("tiers.example.com/tier".to_owned(), "gold".to_owned())]));
    let url = |name: &str| Some(format!("https://{name}.example.com"));
    let of_a = sent(PLACES, "a", none()).unwrap();
    assert_eq!((of_a.s3, of_a.auto_scaling, of_a.sts), (url("s3.a"), None, url("sts.a")), "equal URLs agree");
    let of_b = sent(PLACES, "b", gold()).unwrap();
    assert_eq!((of_b.s3, of_b.sts), (url("s3.a"), url("sts.gold")));
    assert_eq!((of_b.auto_scaling, of_b.ec2, of_a.ec2), (url("asg.b"), url("ec2.b"), None));
    assert_eq!(sent(PLACES, "c", none()), Ok(Endpoints::default()));
}

#[test]
fn two_places_or_labels_that_nobody_knows_lead_nowhere() {
    let gold = Known::Known(BTreeMap::from([("tiers.example.com/tier".to_owned(), "gold".to_owned())]));
    let two = sent(PLACES, "a", gold).unwrap_err().to_string();
    for part in ["sts.a.example.com", "sts.gold.example.com", "endpoints.sts", "namespace a"] {
        assert!(two.contains(part), "{part}: {two}");
    }
    let unread = sent(PLACES, "c", Known::Unknown("forbidden".to_owned())).unwrap_err().to_string();
    assert!(unread.contains("namespace c") && unread.contains("forbidden"), "{unread}");
}

#[test]
fn a_group_is_of_the_accounts_that_the_grants_name_together() {
    let arn = |account: &str| {
        format!(
            "arn:aws:autoscaling:eu-west-1:{account}:autoScalingGroup:01234567-89ab-cdef-0123-456789abcdef:autoScalingGroupName/w"
        )
    };
    let accounts = |groups: String| {
        let grants: Grants =
            serde_yaml::from_str(&format!("[{{namespaces: [a], autoScalingGroups: {groups}}}]")).unwrap();
        let reference = Reference::Group { region: "eu-west-1".to_owned(), name: "w".to_owned() };
        decide(&grants, &Namespace { name: "a".to_owned(), labels: Known::Absent }, &reference).unwrap().accounts
    };
    let (one, two) = (arn("111111111111"), arn("222222222222"));
    assert_eq!(accounts(format!("[\"{one}\", \"{two}\"]")), ["111111111111", "222222222222"]);
    assert_eq!(accounts(format!("[\"{one}\", {{name: w}}]")), Vec::<String>::new(), "any");
}

#[test]
fn a_misspelt_grant_does_not_load() {
    for (text, told) in [
        ("[{namespace: [a]}]", "namespace"),
        ("[{namespaces: [a], buckets: [{name: b}]}]", "accountID"),
        ("[{namespaces: [a], buckets: [{name: b, accountID: '1', prefixes: []}]}]", "prefixes"),
        ("[{namespaces: [a], autoScalingGroups: [{nam: b}]}]", "nam"),
        ("[{namespaceSelector: {matchExpressions: []}}]", "matchExpressions"),
        ("{}", "sequence"),
    ] {
        let error = serde_yaml::from_str::<Grants>(text).unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
    let corpus: Corpus = read("references.yaml");
    let written = serde_yaml::to_string(&corpus.grants).unwrap();
    assert_eq!(serde_yaml::from_str::<Grants>(&written).unwrap(), corpus.grants, "what is written is read again");
}

fn reference() -> impl Strategy<Value = Reference> {
    let host = prop::sample::select(vec!["a.example.com", "b.example.com", "10.0.0.5", "10.0.0.6"]);
    let prefixes = prop::collection::vec(prop::sample::select(vec!["a/", "a/b/", "ab/", "b/"]), 0..3);
    let name = || prop::sample::select(vec!["one", "two", "three"]);
    let region = prop::sample::select(vec!["ap-south-1", "eu-west-1"]);
    prop_oneof![
        (name(), prefixes).prop_map(|(name, prefixes)| Reference::Bucket {
            name: name.to_owned(),
            prefixes: prefixes.into_iter().map(str::to_owned).collect(),
        }),
        (region, name()).prop_map(|(region, name)| Reference::Group { region: region.into(), name: name.into() }),
        name().prop_map(|name| Reference::Role(format!("arn:aws:iam::111111111111:role/{name}"))),
        (host.clone(), 1..3u16).prop_map(|(host, port)| Reference::Kafka(format!("{host}:{port}"))),
        (host, 1..3u16).prop_map(|(host, port)| Reference::Spark(format!("{host}:{port}"))),
    ]
}

/// The grant of exactly one thing, for one namespace.
fn only(namespace: &str, reference: &Reference, by_label: bool) -> Grants {
    let thing = match reference {
        Reference::Bucket { name, prefixes } => {
            let prefix = prefixes.first().map(|prefix| format!(", prefix: {prefix}")).unwrap_or_default();
            format!("buckets: [{{name: {name}, accountID: '111111111111'{prefix}}}]")
        }
        Reference::Group { region, name } => format!("autoScalingGroups: [{{region: {region}, name: {name}}}]"),
        Reference::Role(arn) => format!("roles: ['{arn}']"),
        Reference::Kafka(address) => format!("kafka: ['{address}']"),
        Reference::Spark(address) => format!("spark: ['{address}']"),
    };
    let whom = if by_label {
        format!("namespaceSelector: {{matchLabels: {{tiers.example.com/tier: {namespace}}}}}")
    } else {
        format!("namespaces: [{namespace}]")
    };
    let grants: Grants = serde_yaml::from_str(&format!("[{{{whom}, {thing}}}]")).unwrap();
    assert_eq!(grants.validate(&trusted()), Ok(()));
    grants
}

fn namespace() -> impl Strategy<Value = Namespace> {
    let name = || prop::sample::select(vec!["red", "blue"]);
    let labels = prop_oneof![
        2 => name().prop_map(|tier| Known::Known([("tiers.example.com/tier".to_owned(), tier.to_owned())].into())),
        1 => Just(Known::Known(BTreeMap::new())),
        1 => Just(Known::Unknown("forbidden".to_owned())),
    ];
    (name(), labels).prop_map(|(name, labels)| Namespace { name: name.to_owned(), labels })
}

fn grants() -> impl Strategy<Value = Grants> {
    let one = (prop::sample::select(vec!["red", "blue"]), reference(), any::<bool>());
    let one = one.prop_map(|(namespace, reference, by_label)| only(namespace, &reference, by_label).entries);
    prop::collection::vec(one, 1..6).prop_map(|lists| Grants { entries: lists.concat() })
}

/// Whether one grant, made by [`only`], names the reference; said in another way than the crate says it.
fn names(grants: &Grants, namespace: &Namespace, reference: &Reference) -> bool {
    let tier = namespace.labels.known().and_then(|labels| labels.get("tiers.example.com/tier"));
    let mine = grants.entries.iter().filter(|grant| {
        grant.namespaces.contains(&namespace.name)
            || grant
                .namespace_selector
                .as_ref()
                .is_some_and(|s| s.match_labels.values().next() == tier && tier.is_some())
    });
    let mine: Vec<String> = mine.map(|grant| serde_yaml::to_string(grant).unwrap()).collect();
    let holds =
        |parts: &[String]| mine.iter().any(|grant| parts.iter().all(|part| grant.lines().any(|l| l.trim() == part)));
    match reference {
        Reference::Bucket { name, prefixes } => {
            let name = format!("- name: {name}");
            let buckets = mine.iter().filter(|grant| grant.lines().any(|line| line.trim() == name));
            let granted: Vec<Option<&str>> =
                buckets.map(|grant| grant.lines().find_map(|line| line.trim().strip_prefix("prefix: "))).collect();
            let covered = |prefix: &String| granted.iter().any(|g| g.is_none_or(|g| prefix.starts_with(g)));
            if prefixes.is_empty() { granted.contains(&None) } else { prefixes.iter().all(covered) }
        }
        Reference::Group { region, name } => holds(&[format!("- region: {region}"), format!("name: {name}")]),
        Reference::Role(arn) => holds(&["roles:".to_owned(), format!("- {arn}")]),
        Reference::Kafka(address) => holds(&["kafka:".to_owned(), format!("- {address}")]),
        Reference::Spark(address) => holds(&["spark:".to_owned(), format!("- {address}")]),
    }
}

proptest! {
    #[test]
    fn exactly_what_is_listed_is_allowed(grants in grants(), namespace in namespace(), reference in reference()) {
        let decision = decide(&grants, &namespace, &reference);
        prop_assert_eq!(decision.is_ok(), names(&grants, &namespace, &reference), "{:?}", decision);
    }

    #[test]
    fn one_more_grant_never_refuses_what_was_allowed(
        (grants, more) in (grants(), grants()),
        namespace in namespace(),
        reference in reference(),
    ) {
        let both = Grants { entries: [grants.entries.clone(), more.entries].concat() };
        if decide(&grants, &namespace, &reference).is_ok() {
            prop_assert!(decide(&both, &namespace, &reference).is_ok());
        }
    }

    #[test]
    fn unknown_labels_never_grant(grants in grants(), mut namespace in namespace(), reference in reference()) {
        namespace.labels = Known::Unknown("forbidden".to_owned());
        let unread = decide(&grants, &namespace, &reference);
        namespace.labels = Known::Known(BTreeMap::new());
        let without = decide(&grants, &namespace, &reference);
        prop_assert_eq!(unread.is_ok(), without.is_ok());
        if let Err(refusal) = unread {
            let may_be_granted = ["red", "blue"].iter().any(|tier| {
                let labels = Known::Known([("tiers.example.com/tier".to_owned(), (*tier).to_owned())].into());
                decide(&grants, &Namespace { labels, ..namespace.clone() }, &reference).is_ok()
            });
            if may_be_granted {
                prop_assert_eq!(refusal.why, Refusal::LabelsUnread("forbidden".to_owned()));
            }
        }
    }

    /// Whatever text stands for an address, it is granted only if it is the granted one, capitals apart.
    #[test]
    fn no_other_text_passes_for_a_granted_address(text in r"[ -~]{0,6}(a|A|0xa|10|010)?[.]?(0[.]0[.]5|example[.]com)[.]?(:|:0|:[+])?9?9092") {
        let grants = only("red", &Reference::Kafka("10.0.0.5:9092".to_owned()), false);
        let named = only("red", &Reference::Kafka("a.example.com:9092".to_owned()), false);
        let namespace = Namespace { name: "red".to_owned(), labels: Known::Absent };
        let reference = Reference::Kafka(text.clone());
        prop_assert_eq!(decide(&grants, &namespace, &reference).is_ok(), text == "10.0.0.5:9092");
        prop_assert_eq!(decide(&named, &namespace, &reference).is_ok(), text.eq_ignore_ascii_case("a.example.com:9092"));
    }
}

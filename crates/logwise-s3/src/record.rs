//! What the record of a write holds: the rules, the configuration as it was before, and what the server did not keep.

use crate::document::RawDocument;
use crate::lessened::Lessened;
use crate::lifecycle::LARGEST;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use logwise_plan::retention::{Meaning, WriteRules};
use logwise_runtime::intent::{Effect, Intent, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

/// Longest targets, in bytes, that stand in a record as they are, for people to read; longer ones are packed, because a
/// ConfigMap holds 1 MiB at most.
const LONGEST: usize = 4_096;

/// Largest targets, in bytes, that are unpacked.
const LARGEST_TARGETS: usize = 4 * 1024 * 1024;

/// Key of packed targets.
const PACKED: &str = "packed";

/// What the record of a write names that found everything as it was to make it.
const FOUND: &str = "found as wanted";

/// What a write leaves of rules that others have changed, by id: none if it was not there, without a meaning if it did
/// something that no rule of ours does.
pub(crate) type Left = BTreeMap<String, Option<Vec<Meaning>>>;

/// The targets of a write.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Targets {
    /// The rules.
    #[serde(flatten)]
    pub write: WriteRules,
    /// What earlier writes had left of rules that others have changed since and that this write leaves alone.
    #[serde(default, skip_serializing_if = "Left::is_empty")]
    pub left: Left,
    /// The same of rules that this write puts right: what they are if it does not come about.
    #[serde(default, skip_serializing_if = "Left::is_empty")]
    pub repairs: Left,
    /// Configurations that the last writes before this one have replaced, the newest first: S3 may still answer with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
    /// Versions of other configurations that were read within the minutes before this write, the newest reading first: S3
    /// may still answer with them once it has taken the write, whoever has replaced them. `None`: there was none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<Option<String>>,
    /// Objects, as `<owner>/<uid8>`, whose rules earlier writes have replaced by those of a successor.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub replaced: BTreeSet<String>,
    /// The same of this write.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub replaces: BTreeSet<String>,
    /// When what last lost a rule of ours before this write and got none in its place, by the last part of the rule's id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bared: BTreeMap<String, Timestamp>,
    /// What does by this write.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub bares: BTreeSet<String>,
    /// The setting for small objects that belongs to the configuration before the write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_object_size: Option<String>,
    /// What the server did not keep of an earlier write, as long as a policy wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignored: Option<Ignored>,
    /// What earlier writes have made the server lessen of what is not ours, as far as it is still so.
    #[serde(default, skip_serializing_if = "Lessened::is_nothing")]
    pub lessened: Lessened,
    /// Whether this takes back an earlier write, which the server had not kept.
    #[serde(default, skip_serializing_if = "is_false")]
    pub undoes: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A configuration that a write has replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Earlier {
    /// Its version; `None`: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When that write was written down.
    pub at: Timestamp,
}

/// What a server that answered yes made of rules of ours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ignored {
    /// Fields that it dropped, with the number of rules: a rule with one of them is not written again.
    pub fields: BTreeMap<String, usize>,
    /// Whether a rule then acted on more than it was written for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wider: bool,
    /// The rules that did, by id, each with the prefix that it was written for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub wide: BTreeMap<String, String>,
    /// When the rules were written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the rules from before were put back; none if they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<Timestamp>,
}

impl Targets {
    /// As they stand in the record.
    pub(crate) fn to_value(&self) -> Value {
        let plain = json!(self);
        let text = plain.to_string();
        if text.len() <= LONGEST {
            return plain;
        }
        let Some(packed) = packed(text.as_bytes()) else { return plain };
        let WriteRules { add, remove, .. } = &self.write;
        let mut short = json!({PACKED: packed, "rulesAdded": add.len(), "rulesRemoved": remove.len()});
        if let Some(setting) = &self.minimum_object_size {
            // Whoever puts the configuration back by hand needs it.
            short["minimumObjectSize"] = json!(setting);
        }
        short
    }

    /// Those of a record; none if it says it in another way.
    pub(crate) fn of(intent: &Intent) -> Option<Self> {
        let targets = &intent.wish.targets;
        match targets.get(PACKED).and_then(Value::as_str) {
            Some(packed) => serde_json::from_slice(&unpacked(packed, LARGEST_TARGETS)?).ok(),
            None => serde_json::from_value(targets.clone()).ok(),
        }
    }

    /// The configuration before the write of this record; none if the record does not tell.
    pub(crate) fn before(&self, intent: &Intent) -> Option<Option<RawDocument>> {
        match (&self.write.assumes, &intent.wish.pre_image) {
            (None, _) => Some(None),
            (Some(_), None) => None,
            (Some(_), Some(packed)) => {
                let bytes = unpacked(packed, LARGEST)?;
                RawDocument::parse(&bytes, self.minimum_object_size.clone()).ok().map(Some)
            }
        }
    }
}

/// What the record of a write names by which nothing came about since S3 shows what it was to make, whoever made it.
pub(crate) fn found() -> Effect {
    Effect { amount: 0, parts: vec![FOUND.to_owned()] }
}

/// Whether a record has ended so: its rules were there, and are missed when they go.
pub(crate) fn is_found(last: &Intent) -> bool {
    last.state == State::Abandoned && last.effect == Some(found())
}

/// The configuration before a write, as gzip in base64: a ConfigMap holds text.
pub(crate) fn pre_image(before: &RawDocument) -> Option<String> {
    packed(before.bytes())
}

fn packed(bytes: &[u8]) -> Option<String> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes).ok()?;
    packed.finish().ok().map(|bytes| STANDARD.encode(bytes))
}

fn unpacked(packed: &str, largest: usize) -> Option<Vec<u8>> {
    let packed = STANDARD.decode(packed).ok()?;
    let mut bytes = Vec::new();
    GzDecoder::new(packed.as_slice()).take(largest as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use logwise_plan::retention::{Rule, Settings, Transition, rule_id, service_prefix};
    use logwise_runtime::intent::{Owner, Wish, Writer};

    /// The record of a write over `before`.
    pub(crate) fn record(state: State, targets: &Targets, before: Option<&RawDocument>) -> Intent {
        let owner = Owner { namespace: "n".into(), name: "a".into(), uid: "u".into(), generation: 1 };
        let pre_image = before.and_then(pre_image);
        Intent {
            resource: "bucket/b".into(),
            wish: Wish { owner, targets: targets.to_value(), pre_image, amount: 0, parts: Vec::new() },
            writer: Writer { epoch: 1, shard: String::new(), identity: "p".into() },
            state,
            send_before: None,
            call_timeout_seconds: 6,
            written: Timestamp::UNIX_EPOCH,
            prepared: Some(Timestamp::UNIX_EPOCH),
            effect: None,
            answered: false,
            spent: Vec::new(),
            changed: BTreeMap::new(),
        }
    }

    /// So many rules with everything that a policy can ask for, under names that have little in common.
    fn many(number: usize) -> Vec<Rule> {
        let settings = Settings {
            expiration_days: Some(365),
            transitions: vec![Transition { days: 30, storage_class: "STANDARD_IA".into() }],
            abort_multipart_days: Some(3),
            noncurrent_days: Some(7),
        };
        let rule = |number: usize| {
            let service = format!("{:x}-service", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let (id, prefix) = (rule_id("prod.team-a.keep", "0a1b2c3d", &service), service_prefix("logs/", &service));
            Rule { id, prefix, settings: settings.clone() }
        };
        let mut rules: Vec<Rule> = (0..number).map(rule).collect();
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        rules
    }

    #[test]
    fn a_pre_image_gives_back_every_byte_and_the_setting() {
        let text = b"<LifecycleConfiguration><Rule><ID>a</ID><Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";
        let document = RawDocument::parse(text, Some("varies_by_storage_class".into())).unwrap();
        let write = WriteRules { assumes: Some(document.version().to_owned()), ..WriteRules::default() };
        let setting = document.minimum_object_size().map(str::to_owned);
        let targets = Targets { write, minimum_object_size: setting, ..Targets::default() };
        let intent = record(State::Sent, &targets, Some(&document));
        assert_eq!(Targets::of(&intent), Some(targets.clone()));
        assert_eq!(targets.before(&intent), Some(Some(document)));
        let mut lost = intent.clone();
        lost.wish.pre_image = None;
        assert_eq!(targets.before(&lost), None);
        let first = Targets::default();
        assert_eq!(first.before(&record(State::Sent, &first, None)), Some(None), "there was none");
    }

    #[test]
    fn a_short_record_can_be_read_by_people_and_that_of_a_full_bucket_is_small() {
        let one = Targets { write: WriteRules { add: many(1), ..WriteRules::default() }, ..Targets::default() };
        assert!(one.to_value()["add"][0]["prefix"].is_string(), "{}", one.to_value());
        let old = WriteRules { add: many(990), ..WriteRules::default() };
        let bytes = crate::compose(None, &old).unwrap().unwrap();
        let document = RawDocument::parse(&bytes, None).unwrap();
        let remove = old.add.iter().map(|rule| rule.id.clone()).collect();
        let mut add = many(990);
        add.iter_mut().for_each(|rule| rule.settings.expiration_days = Some(30));
        let write = WriteRules { assumes: Some(document.version().to_owned()), remove, add };
        let setting = Some("varies_by_storage_class".to_owned());
        let targets = Targets { write, minimum_object_size: setting, ..Targets::default() };
        let intent = record(State::Sent, &targets, Some(&document));
        let size = serde_json::to_string(&intent).unwrap().len();
        assert!(size < 300_000, "{size} bytes of 1 MiB");
        assert_eq!(intent.wish.targets["minimumObjectSize"], "varies_by_storage_class");
        assert_eq!(intent.wish.targets["rulesAdded"], 990);
        assert_eq!(Targets::of(&intent), Some(targets));
    }

    #[test]
    fn the_record_of_an_earlier_version_is_read() {
        let mut intent = record(State::Done, &Targets::default(), None);
        let write = WriteRules { add: many(40), ..WriteRules::default() };
        intent.wish.targets = json!(write);
        let targets = Targets { write, ..Targets::default() };
        assert_eq!(Targets::of(&intent), Some(targets.clone()));
        // What this version has added says nothing to an earlier one.
        let at = Timestamp::UNIX_EPOCH;
        let earlier = vec![Earlier { version: Some("v".into()), at }, Earlier { version: None, at }];
        let targets = Targets { earlier, ..targets };
        intent.wish.targets = targets.to_value();
        assert_eq!(Targets::of(&intent), Some(targets.clone()));
        let known: WriteRules = serde_json::from_value(json!(targets)).unwrap();
        assert_eq!(known, targets.write);
        intent.wish.targets = json!({"to": 3});
        assert_eq!(Targets::of(&intent), None);
    }
}

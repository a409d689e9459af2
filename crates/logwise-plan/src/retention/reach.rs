//! What any lifecycle rule does, as far as it decides when something goes: rules of others included.

use super::{Meaning, ObservedRule, Settings, is_false};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The objects that a rule acts on, and when it removes them. Moves to other storage classes are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reach {
    /// What the keys begin with, wherever the rule says so: in the filter, in its `And`, or in the old place beside the
    /// filter. Empty: every key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Tags that an object must have, all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Bytes that an object must have more than.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub larger_than: Option<u64>,
    /// Bytes that an object must have less than.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smaller_than: Option<u64>,
    /// Whether the rule does anything: `Status` is `Enabled`.
    pub enabled: bool,
    /// When current versions expire; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Expires>,
    /// Whether delete markers go that have no version left under them (`ExpiredObjectDeleteMarker`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub removes_markers: bool,
    /// When noncurrent versions are removed; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noncurrent: Option<Noncurrent>,
    /// Days until an incomplete multipart upload is aborted; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_multipart_days: Option<i32>,
}

/// When current versions expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Expires {
    /// So many days after they were created.
    Days(i32),
    /// On this day, and every day after it, whatever their age.
    Date(Timestamp),
}

/// When noncurrent versions are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Noncurrent {
    /// Days since a newer version or a delete marker took their place; 0 where a rule names only a number of versions.
    pub days: i32,
    /// Newest noncurrent versions of an object that stay whatever their age (`NewerNoncurrentVersions`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newer: Option<i32>,
}

/// How many of the objects under a prefix a rule acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// None of them.
    None,
    /// Some: those of a longer prefix, with certain tags, or of certain sizes.
    Part,
    /// All of them.
    Whole,
}

impl Reach {
    /// What an enabled rule with these settings does over a prefix.
    pub fn over(prefix: &str, settings: &Settings) -> Self {
        Self {
            prefix: prefix.to_owned(),
            enabled: true,
            expires: settings.expiration_days.map(Expires::Days),
            noncurrent: settings.noncurrent_days.map(|days| Noncurrent { days, newer: None }),
            abort_multipart_days: settings.abort_multipart_days,
            ..Self::default()
        }
    }

    /// How many of the objects that are or will be under `prefix` the rule acts on.
    pub fn share_of(&self, prefix: &str) -> Share {
        let covers = prefix.starts_with(&self.prefix);
        if !self.enabled || !(covers || self.prefix.starts_with(prefix)) {
            Share::None
        } else if covers && self.tags.is_empty() && self.larger_than.is_none() && self.smaller_than.is_none() {
            Share::Whole
        } else {
            Share::Part
        }
    }
}

impl From<&Meaning> for Reach {
    fn from(meaning: &Meaning) -> Self {
        Self::over(&meaning.prefix, &meaning.settings)
    }
}

impl ObservedRule {
    /// What the rule does, if that is known in either way.
    pub fn known_reach(&self) -> Option<Reach> {
        self.reach.clone().or_else(|| self.meaning.as_ref().map(Reach::from))
    }
}

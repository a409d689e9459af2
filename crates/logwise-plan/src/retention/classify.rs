//! Which changes reduce what survives, and what a person approves.

use super::Settings;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// A change of the rules of one service that a person decides about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The service; the id of the rule where no service is known for it.
    pub service: String,
    /// What rules of ours are known to do now; empty settings: nothing, or nothing that could be understood.
    pub from: Settings,
    /// What is wanted; empty settings: no rule.
    pub to: Settings,
}

/// Whether replacing `from` by `to` lets an existing object or version go earlier than before.
pub fn is_destructive(from: &Settings, to: &Settings) -> bool {
    goes_earlier(from.expiration_days, to.expiration_days) || goes_earlier(from.noncurrent_days, to.noncurrent_days)
}

/// `None` is never.
fn goes_earlier(from: Option<i32>, to: Option<i32>) -> bool {
    match (from, to) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(from), Some(to)) => to < from,
    }
}

/// The id that approves exactly these entries: equal sets give equal ids in any order.
pub fn plan_id(entries: &[Change]) -> String {
    let mut sorted: Vec<&Change> = entries.iter().collect();
    sorted.sort();
    let mut hash = Sha256::new();
    for entry in sorted {
        for part in [&entry.service, &canonical(&entry.from), &canonical(&entry.to)] {
            // Lengths keep neighbouring fields apart.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
    }
    format!("rp-{}", hex(&hash.finalize()[..6]))
}

/// One text per meaning.
fn canonical(settings: &Settings) -> String {
    let mut text = String::new();
    let days = |days: Option<i32>| days.map_or_else(|| "never".to_owned(), |d| d.to_string());
    let _ = write!(text, "expire {}", days(settings.expiration_days));
    let _ = write!(text, " noncurrent {}", days(settings.noncurrent_days));
    let _ = write!(text, " abort {}", days(settings.abort_multipart_days));
    for transition in &settings.transitions {
        let _ = write!(text, " {:?} {}", transition.storage_class, transition.days);
    }
    text
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

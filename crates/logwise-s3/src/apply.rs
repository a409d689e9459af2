//! The one write: re-read, compose, send once, read back.

use crate::bucket::Bucket;
use crate::compose::compose;
use crate::document::RawDocument;
use crate::lifecycle::{self, LARGEST};
use crate::rule::ordered;
use logwise_aws::{AwsError, Failure};
use logwise_plan::Known;
use logwise_plan::retention::{Meaning, ObservedRule, Rule, WriteRules};
use logwise_runtime::ErrorClass;
use logwise_runtime::words::shortened;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Pauses before the reads that check a write. S3 may answer with the old configuration for a while; what takes
/// longer is left to the next look.
const PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(400)];

/// Longest text of a rule in a report, in characters.
const LONGEST_RULE: usize = 200;

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Written, read back, and every rule is as it should be.
    Done,
    /// The configuration already was as wanted; nothing was sent.
    AlreadySo,
    /// The configuration is no longer the one that the write assumes; nothing was sent.
    Superseded,
    /// S3 accepted the write, but what it answers now differs from what was written.
    NotVerified {
        /// The difference: an older answer of S3, or another writer.
        why: String,
    },
    /// S3 accepted the write more than once and made less of it each time; nothing was sent this time.
    NotKept {
        /// What of our rules it does not keep.
        why: String,
    },
}

/// Carries out `write` if the configuration still is the one it assumes. Rules of others stay byte for byte, and the
/// setting for small objects stays too. `permit` is asked when all is ready; what it returns is asked once more where the
/// request leaves. A refusal means that nothing is sent.
///
/// # Errors
/// [`AwsError::ReadLifecycle`] when the configuration could not be read again: nothing was sent.
/// [`AwsError::WriteLifecycle`] when the document could not be composed, S3 refused, or no answer came; in the last
/// case (class `Transient`) the configuration may be written or not, and the next look decides.
pub async fn apply<P: Fn() -> Result<(), String> + Send + Sync + 'static>(
    bucket: &Bucket,
    write: &WriteRules,
    permit: impl AsyncFnOnce() -> Result<P, String>,
) -> Result<Written, AwsError> {
    let before = current(bucket).await?;
    if shortfall(before.as_ref(), write).is_none() {
        return Ok(Written::AlreadySo);
    }
    if before.as_ref().map(RawDocument::version) != write.assumes.as_deref() {
        return Ok(Written::Superseded);
    }
    let document = composed(before.as_ref(), write).map_err(|why| not_sent(bucket, ErrorClass::Invalid, why))?;
    let withheld = |why| not_sent(bucket, ErrorClass::Conflict, format!("nothing was sent: {why}"));
    let permit = permit().await.map_err(withheld)?;
    match document {
        Some(bytes) => {
            let minimum_object_size = before.as_ref().and_then(RawDocument::minimum_object_size);
            lifecycle::put(bucket, bytes, minimum_object_size, permit).await?;
        }
        None => lifecycle::delete(bucket, permit).await?,
    }
    Ok(read_back(bucket, before.as_ref(), write).await)
}

/// A write that was not sent.
pub(crate) fn not_sent(bucket: &Bucket, class: ErrorClass, why: String) -> AwsError {
    AwsError::WriteLifecycle { bucket: bucket.name.clone(), failure: Failure::stated(class, why), source: None }
}

async fn current(bucket: &Bucket) -> Result<Option<RawDocument>, AwsError> {
    match lifecycle::read(bucket).await? {
        Known::Known(document) => Ok(Some(document)),
        Known::Absent => Ok(None),
        Known::Unknown(why) => Err(AwsError::ReadLifecycle {
            bucket: bucket.name.clone(),
            failure: Failure::stated(ErrorClass::Transient, why),
            source: None,
        }),
    }
}

/// The document to send, looked at once more as if S3 had answered with it; `None`: the configuration is to go.
fn composed(before: Option<&RawDocument>, write: &WriteRules) -> Result<Option<Vec<u8>>, String> {
    let Some(bytes) = compose(before, write).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    if bytes.len() > LARGEST {
        return Err(format!("the document would be larger than {LARGEST} bytes"));
    }
    let setting = before.and_then(RawDocument::minimum_object_size).map(str::to_owned);
    let after = RawDocument::parse(&bytes, setting).map_err(|error| error.to_string())?;
    match difference(before, Some(&after), write) {
        Some(why) => Err(format!("the composed document is not the wanted one: {why}")),
        None => Ok(Some(bytes)),
    }
}

async fn read_back(bucket: &Bucket, before: Option<&RawDocument>, write: &WriteRules) -> Written {
    let mut why = String::new();
    for pause in PAUSES {
        tokio::time::sleep(pause).await;
        why = match current(bucket).await {
            Err(error) => error.to_string(),
            Ok(after) if after.as_ref() == before => {
                "S3 still answers with the configuration from before the write".to_owned()
            }
            Ok(after) => match difference(before, after.as_ref(), write) {
                Some(why) => why,
                None => return Written::Done,
            },
        };
    }
    Written::NotVerified { why }
}

/// The first rule of `write` that is not in force in `document`.
pub(crate) fn shortfall(document: Option<&RawDocument>, write: &WriteRules) -> Option<String> {
    let mut there: BTreeMap<&str, Vec<&ObservedRule>> = BTreeMap::new();
    for (facts, _) in document.into_iter().flat_map(RawDocument::rules) {
        if let Some(id) = &facts.id {
            there.entry(id).or_default().push(facts);
        }
    }
    for rule in &write.add {
        let wanted = Meaning { prefix: rule.prefix.clone(), settings: ordered(rule.settings.clone()) };
        match there.remove(rule.id.as_str()).as_deref() {
            Some([only]) if only.meaning.as_ref() == Some(&wanted) => {}
            _ => return Some(format!("rule {} of ours is missing or changed", rule.id)),
        }
    }
    // What was added is out of the map: what is left under a removed id should have gone.
    let id = write.remove.iter().find(|id| there.contains_key(id.as_str()))?;
    Some(format!("rule {id} of ours is still there"))
}

/// What `document` lacks of the rules of `write` although it has each of them; `None` when one is not there at all.
pub(crate) fn lacking(document: &RawDocument, write: &WriteRules) -> Option<String> {
    let mut lost: BTreeMap<&str, usize> = BTreeMap::new();
    for rule in &write.add {
        let (facts, _) = document.rules().find(|(facts, _)| facts.id.as_deref() == Some(rule.id.as_str()))?;
        for part in lost_parts(rule, facts.meaning.as_ref()) {
            *lost.entry(part).or_default() += 1;
        }
    }
    let parts: Vec<String> = lost.into_iter().map(|(part, rules)| format!("{part} (of {rules} rules)")).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The parts of a RetentionPolicy that are not in the rule as S3 has it.
fn lost_parts(rule: &Rule, kept: Option<&Meaning>) -> Vec<&'static str> {
    let Some(kept) = kept.filter(|kept| kept.prefix == rule.prefix) else { return vec!["the rule as a whole"] };
    let (had, has) = (ordered(rule.settings.clone()), &kept.settings);
    let parts = [
        ("expiration", had.expiration_days == has.expiration_days),
        ("transitions", had.transitions == has.transitions),
        ("abortIncompleteMultipartUpload", had.abort_multipart_days == has.abort_multipart_days),
        ("noncurrentVersionExpiration", had.noncurrent_days == has.noncurrent_days),
    ];
    parts.into_iter().filter(|(_, same)| !same).map(|(part, _)| part).collect()
}

/// How `after` differs from what `write` makes of `before`. Shares no code with the composition: it compares rule by
/// rule and without order, since S3 may reorder.
fn difference(before: Option<&RawDocument>, after: Option<&RawDocument>, write: &WriteRules) -> Option<String> {
    if let Some(why) = shortfall(after, write) {
        return Some(why);
    }
    let added: BTreeSet<&str> = write.add.iter().map(|rule| rule.id.as_str()).collect();
    let had = others(before, |id| write.remove.contains(id));
    let have = others(after, |id| added.contains(id));
    if let Some(rule) = had.iter().find_map(|(rule, n)| (have.get(rule) < Some(n)).then_some(rule)) {
        return Some(format!("a rule of another owner is missing or changed: {}", shortened(rule, LONGEST_RULE)));
    }
    if let Some(rule) = have.iter().find_map(|(rule, n)| (had.get(rule) < Some(n)).then_some(rule)) {
        return Some(format!("another writer added a rule: {}", shortened(rule, LONGEST_RULE)));
    }
    let setting = |document: &RawDocument| document.minimum_object_size().map(str::to_owned);
    match (before.map(setting), after.map(setting)) {
        (Some(had), Some(has)) if had != has => Some("the setting for small objects changed".to_owned()),
        _ => None,
    }
}

/// The exact XML of each rule but ours, with how often it occurs.
fn others(document: Option<&RawDocument>, ours: impl Fn(&str) -> bool) -> BTreeMap<&str, usize> {
    let mut rules = BTreeMap::new();
    for (facts, xml) in document.into_iter().flat_map(RawDocument::rules) {
        if !facts.id.as_deref().is_some_and(&ours) {
            *rules.entry(xml).or_default() += 1;
        }
    }
    rules
}

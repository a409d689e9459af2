//! The one write: read right before, compose, send once, read once.

use crate::bucket::Bucket;
use crate::compose::compose;
use crate::document::RawDocument;
use crate::lifecycle::{self, LARGEST};
use crate::rule::ordered;
use crate::verify::{Reading, reading};
use logwise_aws::{AwsError, Failure};
use logwise_plan::Known;
use logwise_plan::retention::{Meaning, ObservedRule, Rule, WriteRules, facts};
use logwise_runtime::ErrorClass;
use logwise_runtime::words::shortened;
use std::collections::{BTreeMap, BTreeSet};

/// Longest text of a rule in a report, in characters.
const LONGEST_RULE: usize = 200;

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// S3 has accepted the write and shows its rules; a later look reads them once more.
    Shown {
        /// What others have changed since, beside these rules.
        others: Option<String>,
    },
    /// S3 has accepted the write, or not answered, and does not show it yet.
    Unseen {
        /// What it shows instead.
        why: String,
    },
    /// S3 has accepted the write and shows less than was sent; a later look reads it once more.
    Lessened {
        /// What is lacking.
        why: String,
    },
    /// The configuration already was as wanted; nothing was sent.
    AlreadySo,
    /// The configuration is no longer the one that the write assumes; nothing was sent.
    Superseded,
    /// A policy cannot be held, or is no longer as it was seen, or S3 has answered with an old configuration; nothing was
    /// sent.
    Postponed,
    /// S3 holds something that neither this write nor the one before has left.
    NotVerified {
        /// The difference: another writer.
        why: String,
    },
}

/// What became of a write, with the reading that followed it.
pub(crate) struct Applied {
    /// What became of it.
    pub written: Written,
    /// What S3 showed right after it; none if nothing was sent, or nothing could be read.
    pub back: Option<(Option<RawDocument>, Reading)>,
}

impl From<Written> for Applied {
    fn from(written: Written) -> Self {
        Self { written, back: None }
    }
}

/// Carries out `write` if the configuration still is the one it assumes. Rules of others stay byte for byte, and the
/// setting for small objects stays too. `permit` is asked first, so that nothing stands between the last reading and the
/// request; what it returns is asked once more where that leaves. A refusal means that nothing is sent.
///
/// # Errors
/// [`AwsError::ReadLifecycle`] when the configuration could not be read again: nothing was sent.
/// [`AwsError::WriteLifecycle`] when the document could not be composed, S3 refused, or no answer came; in the last
/// case (class `Transient`) the configuration may be written or not, and later looks decide.
pub async fn apply<P: Fn() -> Result<(), String> + Send + Sync + 'static>(
    bucket: &Bucket,
    write: &WriteRules,
    permit: impl AsyncFnOnce() -> Result<P, String>,
) -> Result<Written, AwsError> {
    let nothing_is_old = |_: Option<&RawDocument>| false;
    send(bucket, (write, nothing_is_old), permit).await.map(|applied| applied.written)
}

/// [`apply`], which also tells what was read right after the write. `is_old` knows what S3 may still answer with although
/// it was replaced.
pub(crate) async fn send<P: Fn() -> Result<(), String> + Send + Sync + 'static>(
    bucket: &Bucket,
    (write, is_old): (&WriteRules, impl Fn(Option<&RawDocument>) -> bool),
    permit: impl AsyncFnOnce() -> Result<P, String>,
) -> Result<Applied, AwsError> {
    let withheld = |why| not_sent(bucket, ErrorClass::Conflict, format!("nothing was sent: {why}"));
    let permit = permit().await.map_err(withheld)?;
    let before = current(bucket, lifecycle::read_once(bucket).await)?;
    if is_old(before.as_ref()) {
        // Nobody has changed anything: S3 is late.
        return Ok(Written::Postponed.into());
    }
    if shortfall(before.as_ref(), write).is_none() {
        return Ok(Written::AlreadySo.into());
    }
    if before.as_ref().map(RawDocument::version) != write.assumes.as_deref() {
        return Ok(Written::Superseded.into());
    }
    match composed(before.as_ref(), write).map_err(|why| not_sent(bucket, ErrorClass::Invalid, why))? {
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

fn current(bucket: &Bucket, answer: Result<Known<RawDocument>, AwsError>) -> Result<Option<RawDocument>, AwsError> {
    match answer? {
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
    if let Some(fault) = fault(before, write) {
        return Err(fault);
    }
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

/// The first fact that a rule of ours, or all rules together, would not respect: S3 refuses nothing that was not refused
/// here, and no rule acts on more than logs.
fn fault(before: Option<&RawDocument>, write: &WriteRules) -> Option<String> {
    let there = before.into_iter().flat_map(RawDocument::spans).map(|(_, id)| id);
    let (id, fault) = facts::of_write(write, there).into_iter().next()?;
    Some(id.map_or_else(|| fault.to_string(), |id| format!("rule {id} of ours: {fault}")))
}

/// One reading: what S3 does not show yet is left to later looks.
async fn read_back(bucket: &Bucket, before: Option<&RawDocument>, write: &WriteRules) -> Applied {
    match current(bucket, lifecycle::read(bucket).await) {
        Err(error) => Written::Unseen { why: error.to_string() }.into(),
        Ok(after) => {
            let reading = reading((before, write), after.as_ref());
            Applied { written: reading.as_written(), back: Some((after, reading)) }
        }
    }
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
        match there.remove(rule.id.as_str()).as_deref() {
            Some([only]) if only.meaning.as_ref() == Some(&meaning(rule)) => {}
            _ => return Some(format!("rule {} of ours is missing or changed", rule.id)),
        }
    }
    // What was added is out of the map: what is left under a removed id should have gone.
    let id = write.remove.iter().find(|id| there.contains_key(id.as_str()))?;
    Some(format!("rule {id} of ours is still there"))
}

/// What a rule of ours means once it is read.
pub(crate) fn meaning(rule: &Rule) -> Meaning {
    Meaning { prefix: rule.prefix.clone(), settings: ordered(rule.settings.clone()) }
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
        return Some(lacks(rule));
    }
    if let Some(rule) = have.iter().find_map(|(rule, n)| (had.get(rule) < Some(n)).then_some(rule)) {
        return Some(has_more(rule));
    }
    let setting = |document: &RawDocument| document.minimum_object_size().map(str::to_owned);
    match (before.map(setting), after.map(setting)) {
        (Some(had), Some(has)) if had != has => Some("the setting for small objects changed".to_owned()),
        _ => None,
    }
}

/// A rule of others is not there as it was.
pub(crate) fn lacks(rule: &str) -> String {
    format!("a rule of another owner is missing or changed: {}", shortened(rule, LONGEST_RULE))
}

/// A rule of others is there that was not.
pub(crate) fn has_more(rule: &str) -> String {
    format!("another writer added a rule: {}", shortened(rule, LONGEST_RULE))
}

/// The exact XML of each rule but ours, with how often it occurs.
pub(crate) fn others(document: Option<&RawDocument>, ours: impl Fn(&str) -> bool) -> BTreeMap<&str, usize> {
    let mut rules = BTreeMap::new();
    for (facts, xml) in document.into_iter().flat_map(RawDocument::rules) {
        if !facts.id.as_deref().is_some_and(&ours) {
            *rules.entry(xml).or_default() += 1;
        }
    }
    rules
}

//! Policies that are being deleted: how long they wait for their rules to go, and what is said of rules that stay.

use crate::controller::Context;
use crate::finalizer;
use jiff::Timestamp;
use kube::ResourceExt;
use logwise_api::{DeletionPolicy, Home, RetentionPolicy, validate};
use logwise_aws::AwsError;
use logwise_plan::retention::is_owned_by;
use logwise_runtime::fair::Fair;
use logwise_runtime::{EventDraft, chain};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an operator that has just come tries all the same: nobody may have tried before, or its clock is wrong.
const AT_LEAST: Duration = Duration::from_secs(60);

/// Policies remembered. Of more, nobody knows how long this process has seen them: it may be as long as it is there.
const MOST: usize = 10_000;

/// Looks at the same time, and how many of them may be of one namespace.
const PLACES: (usize, usize) = (16, 8);

/// Rules named in an event.
const MAX_NAMED: usize = 3;

/// The time that deletions have.
#[derive(Debug)]
pub struct Leaving {
    within: Duration,
    /// Since when this process looks.
    began: Instant,
    /// When this process first saw that a policy is being deleted, by uid.
    seen: Mutex<HashMap<String, Instant>>,
    /// For looks at policies that have no LogwiseCluster or are being deleted.
    pub(crate) places: Fair,
}

impl Leaving {
    /// A policy goes `within` this time after its deletion began, whatever has become of its rules.
    pub fn new(within: Duration) -> Self {
        Self { within, began: Instant::now(), seen: Mutex::default(), places: Fair::new(PLACES.0, PLACES.1) }
    }

    /// How long a policy that is being deleted may still wait; zero: it goes now.
    pub(crate) fn rest(&self, policy: &RetentionPolicy) -> Duration {
        let now = Timestamp::now();
        let since = policy.metadata.deletion_timestamp.as_ref().map_or(now, |time| time.0);
        // Two clocks: by one that is late the deletion is yet to begin.
        let by_clock = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let first = self.first_seen(policy.uid().unwrap_or_default());
        rest(self.within, by_clock, (first.map(|first| first.elapsed()), self.began.elapsed()))
    }

    /// When this process first saw that a policy is being deleted; none if there is no room to remember it.
    fn first_seen(&self, uid: String) -> Option<Instant> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = seen.len() >= MOST;
        match seen.entry(uid) {
            Entry::Occupied(known) => Some(*known.get()),
            Entry::Vacant(_) if is_full => None,
            Entry::Vacant(new) => Some(*new.insert(Instant::now())),
        }
    }

    /// What is said of a policy whose time is over.
    pub(crate) fn too_late(&self, policy: &RetentionPolicy) -> String {
        let conditions = policy.status.iter().flat_map(|status| &status.conditions);
        let mut failures = conditions.filter(|it| it.type_ == "Programmed" && it.status.as_str() == "False");
        let why = failures.next().map_or_else(String::new, |it| format!(" ({})", it.reason));
        format!("Its rules could not be removed within {} s{why}", self.within.as_secs())
    }

    fn forget(&self, policy: &RetentionPolicy) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(&policy.uid().unwrap_or_default());
    }
}

/// What is left of the time `within` which a policy goes: by the clock since its deletion, and since this process has
/// `seen` that it is being deleted. If it does not know that, since it is `here`.
fn rest(within: Duration, by_clock: Duration, (seen, here): (Option<Duration>, Duration)) -> Duration {
    let of_policy = within.saturating_sub(by_clock.max(seen.unwrap_or_default()));
    let of_process = within.min(AT_LEAST).saturating_sub(seen.unwrap_or(here));
    of_policy.max(of_process)
}

/// Whether S3 says that there is no such bucket: it has no rules either.
pub(crate) fn is_bucket_gone(error: &AwsError) -> bool {
    error.code() == Some("NoSuchBucket")
}

/// Lets a policy go that is being deleted.
pub(crate) async fn let_go(policy: &RetentionPolicy, context: &Context) {
    if policy.metadata.deletion_timestamp.is_none() {
        return;
    }
    match finalizer::remove(context, policy).await {
        Ok(()) => context.leaving.forget(policy),
        Err(error) => tracing::warn!(error = chain(&error), "finalizer not removed; it is tried again"),
    }
}

/// Lets a policy go that is being deleted, and says which of its rules stay.
pub(crate) async fn give_up(policy: &RetentionPolicy, context: &Context, why: &str) {
    let removes = policy.spec.deletion_policy == DeletionPolicy::RemoveRules;
    if removes && finalizer::holds(policy) && may_have_rules(policy) {
        let owner = validate::owner(policy, &context.installation).unwrap_or_default();
        let event = rules_left(policy, &owner, ("Delete", why));
        let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
        // Kubernetes takes no event in a namespace that is being deleted.
        tracing::warn!(kind = "RetentionPolicy", %namespace, %name, reason = event.reason, "{}", event.note);
        context.shell.event(policy, &event).await;
    }
    let_go(policy, context).await;
}

/// Said when the pipeline of a policy has another bucket than the one that its rules were written to.
pub(crate) fn moved(policy: &RetentionPolicy, owner: &str, now: Option<&Home>) -> Option<EventDraft> {
    let before = policy.status.as_ref()?.home.as_ref()?;
    let is_other = before.bucket_name != now?.bucket_name;
    let left = || rules_left(policy, owner, ("Observe", "The LogwiseCluster of this policy has another bucket now"));
    (is_other && may_have_rules(policy)).then(left)
}

/// Whether rules of the policy may be in a bucket, by its status.
fn may_have_rules(policy: &RetentionPolicy) -> bool {
    policy.status.as_ref().and_then(|status| status.rules) != Some(0)
}

fn rules_left(policy: &RetentionPolicy, owner: &str, (action, why): (&'static str, &str)) -> EventDraft {
    let home = policy.status.as_ref().and_then(|status| status.home.as_ref());
    let place = home.map_or_else(
        || "a bucket that is not known any more".to_owned(),
        |home| format!("bucket {}", home.bucket_name),
    );
    let note =
        format!("{why}: {} stay in {place} and go on acting on objects. Remove them there", rules_of(policy, owner));
    EventDraft { warning: true, reason: "RulesLeft", action, note }
}

/// The rules of a policy by its status: how many, and the first ids.
fn rules_of(policy: &RetentionPolicy, owner: &str) -> String {
    let shown = policy.status.iter().flat_map(|status| &status.effective).map(|rule| rule.rule_id.as_str());
    let ids: BTreeSet<&str> = shown.filter(|id| is_owned_by(id, owner)).collect();
    let counted = policy.status.as_ref().and_then(|status| status.rules).and_then(|rules| usize::try_from(rules).ok());
    let begin = format!("ids that begin with logwise.io/{owner}/");
    match (ids.is_empty(), counted) {
        (true, None) => format!("rules with {begin}, if there are any,"),
        (true, Some(counted)) => format!("{counted} rules with {begin}"),
        (false, counted) => {
            let all = counted.unwrap_or_default().max(ids.len());
            let named: Vec<&str> = ids.into_iter().take(MAX_NAMED).collect();
            let more = match all - named.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("{all} rules ({}{more})", named.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_plan::retention::rule_id;
    use serde_json::{Value, json};

    const OWNER: &str = "lab.shop.keep";

    fn policy(status: Value) -> RetentionPolicy {
        let spec = json!({"clusterRef": {"name": "demo"}, "serviceSelector": {}, "expiration": {"days": 9}});
        let metadata = json!({"name": "keep", "namespace": "shop", "uid": "00000001-2"});
        let (group, kind) = ("logwise.io/v1alpha1", "RetentionPolicy");
        let object = json!({"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec, "status": status});
        serde_json::from_value(object).unwrap()
    }

    fn home(bucket: &str) -> Value {
        json!({"bucketName": bucket, "logsPrefix": "logs/", "region": "eu-west-1", "mode": "Apply"})
    }

    fn with_rules(services: usize, rules: usize) -> RetentionPolicy {
        let rule = |number: usize| {
            let (service, id) = (format!("s{number}"), rule_id(OWNER, "00000001", &format!("s{number}")));
            json!({"service": service, "prefix": format!("logs/service_name=s{number}/"), "ruleID": id})
        };
        let effective: Vec<Value> = (0..services).map(rule).collect();
        policy(json!({"home": home("acme-logs"), "rules": rules, "effective": effective}))
    }

    fn note(policy: &RetentionPolicy) -> String {
        rules_left(policy, OWNER, ("Delete", "Too late")).note
    }

    #[test]
    fn a_policy_has_its_time_and_an_operator_that_has_just_come_a_minute() {
        let seconds = Duration::from_secs;
        let table = [
            ((600, 0, 0), 600),
            ((600, 540, 540), 60),
            ((600, 599, 5), 55),
            ((600, 600, 60), 0),
            // Nobody was there for a day.
            ((600, 86_400, 0), 60),
            ((600, 86_400, 61), 0),
            // A clock that is late holds nobody.
            ((600, 0, 600), 0),
            ((3, 86_400, 0), 3),
            ((3, 1, 1), 2),
            ((3, 3, 3), 0),
        ];
        for ((within, by_clock, seen), left) in table {
            let found = rest(seconds(within), seconds(by_clock), (Some(seconds(seen)), seconds(seen)));
            assert_eq!(found, seconds(left), "{within} {by_clock} {seen}");
        }
        // Nobody knows when it was first seen: its deletion may have begun just now, however long this process is there.
        for ((within, by_clock, here), left) in
            [((600, 0, 3_600), 600), ((600, 599, 3_600), 1), ((600, 600, 3_600), 0), ((600, 86_400, 10), 50)]
        {
            let found = rest(seconds(within), seconds(by_clock), (None, seconds(here)));
            assert_eq!(found, seconds(left), "{within} {by_clock} {here}");
        }
        let leaving = Leaving::new(seconds(600));
        let mut policy = policy(json!({}));
        policy.metadata.deletion_timestamp = Some(logwise_api::Time(Timestamp::now()));
        let left = leaving.rest(&policy);
        assert!(left > seconds(590) && left <= seconds(600), "{left:?}");
        leaving.forget(&policy);
        assert!(leaving.seen.lock().unwrap().is_empty());
    }

    #[test]
    fn more_deletions_than_are_remembered_come_to_their_end_too() {
        let leaving = Leaving { began: Instant::now().checked_sub(AT_LEAST).unwrap(), ..Leaving::new(AT_LEAST) };
        for number in 0..MOST {
            assert!(leaving.first_seen(number.to_string()).is_some());
        }
        let first = leaving.first_seen("0".to_owned());
        let mut one_more = policy(json!({}));
        one_more.metadata.deletion_timestamp = Some(logwise_api::Time(Timestamp::UNIX_EPOCH));
        assert_eq!(leaving.rest(&one_more), Duration::ZERO);
        assert_eq!(leaving.seen.lock().unwrap().len(), MOST, "nobody else is forgotten");
        assert_eq!(leaving.first_seen("0".to_owned()), first);
    }

    #[test]
    fn rules_that_stay_are_named_with_their_bucket_and_the_text_is_bounded() {
        let told = note(&with_rules(2, 2));
        let ids = ["s0", "s1"].map(|service| rule_id(OWNER, "00000001", service));
        let mut sorted = ids.clone();
        sorted.sort();
        let wanted = format!("Too late: 2 rules ({}) stay in bucket acme-logs", sorted.join(", "));
        assert!(told.starts_with(&wanted), "{told}");
        let told = note(&with_rules(50, 990));
        assert!(told.starts_with("Too late: 990 rules (") && told.contains(" and 987 more) stay"), "{told}");
        let longest = format!("{}.{}.{}", "i".repeat(32), "n".repeat(63), "p".repeat(63));
        let mut many = with_rules(3, 3);
        let status = many.status.as_mut().unwrap();
        status.home.as_mut().unwrap().bucket_name = "b".repeat(63);
        for (number, rule) in status.effective.iter_mut().enumerate() {
            rule.rule_id = rule_id(&longest, "00000001", &number.to_string());
        }
        let told = rules_left(&many, &longest, ("Delete", &"w".repeat(120))).note;
        assert!(told.len() < 1_000 && told.ends_with("Remove them there"), "{} bytes", told.len());
    }

    #[test]
    fn what_is_not_known_is_said_so_and_ids_of_others_are_not_told() {
        let told = note(&policy(json!({})));
        assert_eq!(
            told,
            "Too late: rules with ids that begin with logwise.io/lab.shop.keep/, if there are any, stay in a bucket \
             that is not known any more and go on acting on objects. Remove them there"
        );
        let mut forged = with_rules(1, 1);
        forged.status.as_mut().unwrap().effective[0].rule_id = rule_id("lab.shop.other", "00000001", "s0");
        let told = note(&forged);
        assert!(told.contains("1 rules with ids that begin with") && !told.contains("other"), "{told}");
    }

    #[test]
    fn another_bucket_is_told_once_where_rules_may_be_left() {
        let old = with_rules(1, 1);
        let now = |bucket: &str| serde_json::from_value::<Home>(home(bucket)).ok();
        let told = moved(&old, OWNER, now("new-logs").as_ref()).unwrap();
        assert!(told.warning && told.note.contains("stay in bucket acme-logs"), "{}", told.note);
        assert_eq!(moved(&old, OWNER, now("acme-logs").as_ref()), None);
        assert_eq!(moved(&with_rules(0, 0), OWNER, now("new-logs").as_ref()), None);
        assert_eq!(moved(&policy(json!({})), OWNER, now("new-logs").as_ref()), None, "it was nowhere before");
    }

    #[test]
    fn the_last_failure_is_told_by_its_reason() {
        let condition = |status: &str| {
            let time = "2026-01-01T00:00:00Z";
            json!([{"type": "Programmed", "status": status, "reason": "PermissionDenied", "message": "m",
                "lastTransitionTime": time}])
        };
        let leaving = Leaving::new(Duration::from_secs(600));
        let told = |status: &str| leaving.too_late(&policy(json!({"conditions": condition(status)})));
        assert_eq!(told("False"), "Its rules could not be removed within 600 s (PermissionDenied)");
        assert_eq!(told("True"), "Its rules could not be removed within 600 s");
    }
}

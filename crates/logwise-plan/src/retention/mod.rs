//! Which lifecycle rules a bucket should have. One rule per service; rules of others are never touched.

mod bared;
mod beginnings;
mod classify;
mod compile;
mod effective;
pub mod facts;
mod fold;
mod leaving;
mod ours;
mod reach;
mod resolve;
mod rival;
mod winners;

pub use crate::change::Approval;
pub use bared::{EVERY_SERVICE, bares};
pub use classify::{Change, is_destructive, lets_go_earlier, newcomers_since, plan_id};
pub use compile::{MAX_RULES, is_owned_by, maker_of, owner_of, rule_id, service_prefix};
pub use effective::{Effective, Enforced, Enforcement, effective};
pub use fold::{fold_id, fold_key, fold_prefix};
pub use leaving::{removal, rules_of};
pub use reach::{Expires, Noncurrent, Reach, Share};

use crate::change::{self, Window};
use crate::{Known, selector::ServiceSelector};
use compile::Composed;
use jiff::Timestamp;
use ours::Ours;
use resolve::{Basis, Question, Requests};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The validated wish for one bucket: every policy of the pipeline that owns it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Prefix of the logs, ends in `/`.
    pub logs_prefix: String,
    /// Prefix of the Spark checkpoints, ends in `/`; no rule of ours may match it.
    pub checkpoint_prefix: String,
    /// All retention policies of the bucket, those being deleted included.
    pub policies: Vec<PolicyEntry>,
    /// Policies of the bucket that exist and cannot be understood, by name, with what is wrong. What they want is unknown,
    /// so that another policy might take their services: no service changes hands. Rules of deleted policies go.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unclear: BTreeMap<String, String>,
    /// Whether services may share rules.
    #[serde(default, skip_serializing_if = "Folding::is_never")]
    pub fold: Folding,
    /// Name of this installation, with which the owners of its rules begin. Rules of another installation on the same
    /// logs are somebody else's work. Empty: they are rules of others like any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub installation: String,
    /// `<owner>/<uid8>` of objects whose rules were all replaced by those of a successor. A rule of theirs that is there
    /// again was written by somebody else.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub replaced: BTreeSet<String>,
    /// When a write last took a rule of ours away and put none in its place, by what [`bares`] says of such a write.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bared: BTreeMap<String, Timestamp>,
    /// Seconds between two looks.
    pub look_period_seconds: u32,
}

/// Whether services may share rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Folding {
    /// Each service has a rule of its own. What is folded is taken apart as soon as there is room.
    #[default]
    Never,
    /// Where a bucket has no room for one rule each.
    WhenNeeded,
}

impl Folding {
    fn is_never(&self) -> bool {
        *self == Self::Never
    }
}

/// One RetentionPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyEntry {
    /// `<installation>.<namespace>.<name>`: the owner part of its rule ids. An object re-created under the same
    /// name adopts the rules of its predecessor.
    pub owner: String,
    /// First eight characters of the object's uid.
    pub uid8: String,
    /// Higher wins.
    #[serde(default)]
    pub priority: i32,
    /// Services covered.
    #[serde(default)]
    pub selector: ServiceSelector,
    /// What its rules do.
    pub settings: Settings,
    /// Which changes wait for approval.
    #[serde(default)]
    pub approval: Approval,
    /// Plan ids that have been approved.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub approved_plans: BTreeSet<String>,
    /// Lists of windows: of each list that is not empty, one window must be open when its rules are written or removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Vec<Window>>,
    /// Since when the policy as it is now has been wholly in force; `None`: it is not, or nobody knows. Services whose
    /// objects are all younger came under it, which its approval covers, unless they have lost a rule of ours since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programmed: Option<Timestamp>,
    /// Plan and report only.
    #[serde(default)]
    pub observe_only: bool,
    /// Set while the object is being deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Removal>,
}

/// What a rule does to the objects under its prefix; days as S3 counts them, from object creation.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Days until current versions expire; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_days: Option<i32>,
    /// Moves to other storage classes, by ascending days.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transitions: Vec<Transition>,
    /// Days until an incomplete multipart upload is aborted; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_multipart_days: Option<i32>,
    /// Days until a noncurrent version is removed; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noncurrent_days: Option<i32>,
}

/// A move to another storage class.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// Days from object creation.
    pub days: i32,
    /// Storage class as S3 names it, such as `STANDARD_IA`.
    pub storage_class: String,
}

/// What happens to a policy's rules when the policy is deleted. Data is never deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removal {
    /// The rules go, the data stays for ever.
    RemoveRules,
    /// The rules stay as they are, owned by nobody.
    Orphan,
}

/// What one look at the bucket found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// Services found under the logs prefix, names as they stand in the keys.
    pub services: Known<BTreeSet<String>>,
    /// The lifecycle configuration; absent when the bucket has none.
    pub document: Known<Document>,
    /// Services that have been missed for so long that their rules go; those that are found all the same do not count. A
    /// [`fold_key`] stands here if for so long no service with that beginning was found.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub vanished: BTreeSet<String>,
    /// When the oldest object of a service was last modified, by service. One that is not named is as good as unknown;
    /// absent: it has no object. Known only if every object was listed, or one was found that is too old for a newcomer:
    /// then its time stands here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub oldest: BTreeMap<String, Known<Timestamp>>,
    /// Whether the bucket is known never to have kept versions: not true while nobody knows, nor after they were suspended.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unversioned: bool,
    /// Ids of rules of ours that the last write left and that somebody else has taken away since.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lost: BTreeSet<String>,
}

impl Observed {
    /// What was found, while nothing is known about single objects and versions.
    pub fn new(services: Known<BTreeSet<String>>, document: Known<Document>) -> Self {
        let (vanished, lost) = (BTreeSet::new(), BTreeSet::new());
        Self { services, document, vanished, oldest: BTreeMap::new(), unversioned: false, lost }
    }
}

/// A lifecycle configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Hash of its exact bytes and of the minimum-object-size setting: what a write assumes.
    pub version: String,
    /// Its rules, in order.
    pub rules: Vec<ObservedRule>,
    /// Why the rules of others could not be carried through a rewrite unharmed, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_preservable: Option<String>,
}

/// One rule of the observed configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedRule {
    /// Its id; S3 allows rules without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What it does, if that is exactly one of our own rule forms; `None`: something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<Meaning>,
    /// What it does, if `meaning` does not say it and it was understood all the same; `None`: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Reach>,
}

/// An enabled rule over one prefix with settings that we could have written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meaning {
    /// Object key prefix.
    pub prefix: String,
    /// What the rule does.
    pub settings: Settings,
}

/// A rule to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// `logwise.io/<owner>/<uid8>/<service hash>`.
    pub id: String,
    /// `<logs prefix>service_name=<service>/`; of a folded rule, the same without the end of the name and the slash.
    pub prefix: String,
    /// What the rule does.
    pub settings: Settings,
}

/// What to do about a bucket's lifecycle configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The one write, if anything is to change now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<WriteRules>,
    /// What each policy got, by owner.
    pub policies: BTreeMap<String, PolicyPlan>,
    /// What stands in the way of the bucket as a whole, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Blocked>,
    /// Seconds until the next look is due.
    pub next_look_seconds: u32,
}

/// One replacement of the configuration: every observed rule not named in `remove` stays byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteRules {
    /// Version of the configuration this write assumes; `None`: the bucket has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assumes: Option<String>,
    /// Ids of rules of ours that go or are replaced.
    pub remove: BTreeSet<String>,
    /// Rules of ours that come, by ascending id.
    pub add: Vec<Rule>,
}

/// What one policy got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPlan {
    /// Services it won, with what was decided for each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, Decision>,
    /// Services it covers but lost, with the owner that won: the first 50.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lost: BTreeMap<String, String>,
    /// How many more it lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost_more: usize,
    /// Rules of its own that would go and stay for now, since removing them waits for approval or for a window.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kept: usize,
    /// When its changes may begin next, if they wait for a window; none while one is open, or if none is ever found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_opening: Option<Timestamp>,
    /// Changes that need approval and the id that approves exactly these; none if the policy asks for no approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalRequest>,
    /// Rules of this owner that are in the configuration after the write; 0 if they are orphaned, hence foreign, and
    /// meaningless while the configuration is unreadable.
    pub rules: usize,
}

/// Changes of one policy that a person decides about: all of them under [`Approval::Always`], the destructive ones under
/// [`Approval::DestructiveOnly`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequest {
    /// Hash of exactly these entries, `rp-` and twelve hexadecimal digits.
    pub plan_id: String,
    /// Whether `approvedPlans` holds the id.
    pub approved: bool,
    /// The entries, by service.
    pub entries: Vec<Change>,
}

/// What was decided for a service that a policy won.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "decision")]
pub enum Decision {
    /// The rule in force is the wanted one.
    InForce,
    /// The rule is written now.
    Write,
    /// The change would make existing objects or versions go earlier, or every change has to be approved: the rule in
    /// force stays until it is.
    ApprovalRequired,
    /// No window of the policy is open: the rule in force stays until one is.
    WaitingForWindow,
    /// The policy or its pipeline only observes.
    ObserveOnly,
    /// The rule would match protected keys or pass the bucket's rule limit, or the write could not carry foreign
    /// rules through.
    Blocked,
}

/// Why something that the policies ask for is not done in the bucket. A write may stand beside it: what it does not
/// concern goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum Blocked {
    /// The configuration could not be read: nothing is decided.
    DocumentUnreadable {
        /// What failed.
        why: String,
    },
    /// The services could not be listed: only services that have a rule of ours are decided.
    ServicesUnreadable {
        /// What failed.
        why: String,
    },
    /// A foreign rule could not be carried through a rewrite unharmed: nothing is written.
    ForeignRuleNotPreservable {
        /// What stands in the way.
        why: String,
    },
    /// A policy of the bucket cannot be understood: nothing is written but that rules of deleted policies go.
    PolicyUnclear {
        /// Its name.
        policy: String,
        /// What is wrong with it.
        why: String,
    },
    /// Ours and foreign rules together would pass S3's limit: services that have no rule yet get none.
    TooManyRules {
        /// Rules of others.
        foreign: usize,
        /// Rules of ours that would be needed.
        ours: usize,
        /// Rules of others by what their ids begin with, the largest groups.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<RuleGroup>,
        /// Rules of ours that would be needed by owner, the largest groups.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        policies: Vec<RuleGroup>,
        /// Whether services share rules already.
        #[serde(default, skip_serializing_if = "Folding::is_never")]
        fold: Folding,
    },
    /// Somebody else works with rules like ours in this bucket: nothing is written.
    Conflicted {
        /// Id of the first such rule.
        id: String,
        /// How many there are.
        rules: usize,
        /// The installation that wrote them. `None`: this one, or one of the same name, for an object that was replaced.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        installation: Option<String>,
    },
    /// The rule of a service would match protected keys: that service gets none.
    ProtectedPrefix {
        /// The prefix of that rule.
        prefix: String,
    },
}

/// Rules with something in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleGroup {
    /// What: an owner, or a beginning of ids; empty: they have no id.
    pub name: String,
    /// How many.
    pub rules: usize,
}

/// Decides, for every service of the bucket, which rule it should have, and composes at most one write.
pub fn plan(policy: &Policy, observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = empty(policy);
    if let Known::Unknown(why) = &observed.document {
        plan.blocked = Some(Blocked::DocumentUnreadable { why: why.clone() });
        return plan;
    }
    if let Known::Unknown(why) = &observed.services {
        plan.blocked = Some(Blocked::ServicesUnreadable { why: why.clone() });
    }
    let document = observed.document.known();
    let ours = Ours::read(policy, observed);
    let basis = Basis::new(policy, observed, &ours);
    basis.winners.tell_losers(ours.services(), &mut plan);
    let free = unhindered(&basis, &ours);
    let mut requests = resolve::requests(&basis, &ours, &free);
    classify::spare_newcomers(policy, observed, &mut requests);
    let closed = closed(policy, now);
    let held = closed.keys().copied().chain(unapproved(policy, &requests)).collect();
    let ours = ours.held_back(&held);
    let question = Question { basis: &basis, ours: &ours, requests: Some(&requests), held: &held };
    let mut composed = question.answer(&mut plan);
    compile::fit(&basis, &ours, &mut composed, &mut plan);
    let mut write = composed.write;
    compile::wait_for_all(policy, &ours, &mut write, &mut plan);
    compile::refuse(document, &mut write, &mut plan);
    compile::make_way(rival::contested(policy, observed), &mut write, &mut plan);
    compile::count_rules(&ours, &write, &mut plan);
    compile::count_kept(&ours, (&free.write, &write), &held, &mut plan);
    for (owner, request) in requests {
        plan.policies.entry(owner.to_owned()).or_default().approval = Some(request);
    }
    name_openings(&closed, now, &mut plan);
    if !write.remove.is_empty() || !write.add.is_empty() {
        write.assumes = document.map(|d| d.version.clone());
        plan.write = Some(write);
    }
    plan
}

fn empty(policy: &Policy) -> Plan {
    Plan {
        write: None,
        policies: policy.policies.iter().map(|p| (p.owner.clone(), PolicyPlan::default())).collect(),
        blocked: None,
        next_look_seconds: policy.look_period_seconds,
    }
}

/// What would be written if everything were approved and every window were open.
fn unhindered<'a>(basis: &Basis<'a>, ours: &Ours<'a>) -> Composed<'a> {
    let held = BTreeSet::new();
    Question { basis, ours, requests: None, held: &held }.answer(&mut empty(basis.policy))
}

/// Policies whose windows are closed, by owner, with the next opening.
fn closed(policy: &Policy, now: Timestamp) -> BTreeMap<&str, Option<Timestamp>> {
    let closed = |p: &'_ PolicyEntry| change::closed(&p.windows, now).map(|closed| closed.next_opening);
    policy.policies.iter().filter_map(|p| Some((p.owner.as_str(), closed(p)?))).collect()
}

/// Policies of which every change waits until somebody approves it. Deleting a policy needs no second word: its rules go,
/// and nothing is lost by that.
fn unapproved<'p>(policy: &'p Policy, requests: &Requests) -> impl Iterator<Item = &'p str> {
    let always = policy.policies.iter().filter(|p| p.approval == Approval::Always);
    always.map(|p| p.owner.as_str()).filter(|owner| requests.get(owner).is_some_and(|request| !request.approved))
}

/// Says when what waits for a window may begin, and lets the next look come no later.
fn name_openings(closed: &BTreeMap<&str, Option<Timestamp>>, now: Timestamp, plan: &mut Plan) {
    for (owner, opening) in closed {
        let Some(part) = plan.policies.get_mut(*owner) else { continue };
        let waits = part.kept > 0 || part.services.values().any(|decision| *decision == Decision::WaitingForWindow);
        if waits {
            part.next_opening = *opening;
            plan.next_look_seconds = change::look_seconds(plan.next_look_seconds, *opening, now);
        }
    }
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

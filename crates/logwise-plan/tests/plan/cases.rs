//! Reviewed cases: `tests/cases/<part>/<name>.yaml` holds policy, facts and the expected plan. With `LOGWISE_BLESS=1`
//! in the environment the expected plans are rewritten; review the difference.

use jiff::Timestamp;
use logwise_plan::retention::{Blocked, Decision, Effective, ObservedRule};
use logwise_plan::{Known, checks, driver, partitions, retention, workers};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;
use serde_yaml::with::singleton_map_recursive as plain;
use std::collections::BTreeSet;
use std::path::Path;

/// What stands before the expected plan.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[serde(bound = "P: Serialize + DeserializeOwned, O: Serialize + DeserializeOwned")]
struct Given<P, O> {
    why: String,
    #[serde(with = "plain")]
    policy: P,
    #[serde(with = "plain")]
    observed: O,
    /// Rules of others to append to the observed ones; spares a file of a thousand lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    foreign_rules: Option<usize>,
    /// Time of the plan; absent: the beginning of 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    now: Option<Timestamp>,
}

/// What to do with one part's cases.
struct Part<P, O, L> {
    folder: &'static str,
    decide: fn(&P, &O, Timestamp) -> L,
    violations: fn(&P, &O, &L, Timestamp) -> Vec<String>,
    crowd: fn(&mut O, usize),
}

impl<P, O, L> Part<P, O, L>
where
    P: Serialize + DeserializeOwned,
    O: Serialize + DeserializeOwned,
    L: Serialize,
{
    /// Runs every case and gives the plans; fails with all differences at once.
    #[expect(clippy::disallowed_methods, reason = "the cases are files")]
    fn run(&self) -> Vec<L> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(self.folder);
        let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = entries.collect();
        paths.sort();
        let (mut plans, mut differences) = (Vec::new(), String::new());
        for path in paths {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let (given, expected) = text.split_once("expected:\n").unwrap_or((&text, ""));
            let plan = self.decide(&name, given);
            let actual = plain_text(&plan);
            if std::env::var_os("LOGWISE_BLESS").is_some() {
                std::fs::write(&path, format!("{given}expected:\n{}", indent(&actual))).unwrap();
            } else if indent(&actual) != expected {
                differences += &format!("{}/{name}:\n{}", self.folder, diff(expected, &indent(&actual)));
            }
            plans.push(plan);
        }
        assert!(differences.is_empty(), "- expected, + planned; LOGWISE_BLESS=1 rewrites the files\n{differences}");
        plans
    }

    fn decide(&self, name: &str, text: &str) -> L {
        let mut given: Given<P, O> = serde_yaml::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(given.why.len() > 20 && text.starts_with("why: "), "{name}: must start with a line that says why");
        let (written, read) = (serde_yaml::from_str(text).unwrap(), serde_yaml::to_value(&given).unwrap());
        assert_eq!(unread(&written, &read), None, "{name}: has a key that nothing reads");
        (self.crowd)(&mut given.observed, given.foreign_rules.unwrap_or(0));
        let now = given.now.unwrap_or(Timestamp::UNIX_EPOCH);
        let plan = (self.decide)(&given.policy, &given.observed, now);
        let violations = (self.violations)(&given.policy, &given.observed, &plan, now);
        assert!(violations.is_empty(), "{name}: {violations:?}");
        plan
    }
}

/// YAML without tags.
fn plain_text<T: Serialize>(value: &T) -> String {
    let mut out = Vec::new();
    plain::serialize(value, &mut serde_yaml::Serializer::new(&mut out)).unwrap();
    String::from_utf8(out).unwrap()
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// The first key or value of `written` that `read` lost.
fn unread(written: &Value, read: &Value) -> Option<String> {
    match (written, read) {
        (Value::Mapping(written), Value::Mapping(read)) => written.iter().find_map(|(key, value)| {
            let name = key.as_str().unwrap_or_default();
            let Some(read) = read.get(key) else { return Some(name.to_owned()) };
            unread(value, read).map(|rest| format!("{name}.{rest}"))
        }),
        (Value::Sequence(written), Value::Sequence(read)) => {
            written.iter().zip(read).find_map(|(written, read)| unread(written, read))
        }
        _ => None,
    }
}

/// Lines only in `old` and only in `new`, in their order, with the lines they share between them.
fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            let skip = common[i + 1][j].max(common[i][j + 1]);
            common[i][j] = if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { skip };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < old.len() || j < new.len() {
        let (mark, line) = if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
            (' ', old[i - 1])
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            i += 1;
            ('-', old[i - 1])
        } else {
            j += 1;
            ('+', new[j - 1])
        };
        text += &format!("{mark} {line}\n");
    }
    text
}

/// Fails for each listed variant that no value has. A variant that is missing in the list does not compile.
macro_rules! assert_all_occur {
    ($values:expr, $type:ident: $($variant:ident),+) => {{
        let name = |value: &$type| match value {
            $($type::$variant { .. } => stringify!($variant)),+
        };
        let seen: BTreeSet<&str> = $values.into_iter().map(name).collect();
        let all = BTreeSet::from([$(stringify!($variant)),+]);
        assert_eq!(seen, all, "{}: each must occur in a case", stringify!($type));
    }};
}

#[test]
fn partitions() {
    use partitions::{Blocked, Clamp, Hold, RateUnknown};
    let part = Part {
        folder: "partitions",
        decide: partitions::plan,
        violations: checks::partitions::violations,
        crowd: |_, _| (),
    };
    let plans = part.run();
    assert!(plans.iter().any(|plan| plan.actions.len() > 1));
    assert_all_occur!(plans.iter().flat_map(|plan| plan.holds.values()), Hold:
        Sufficient, RateUnknown, AboveMaximum, Maximum, Claimed, RecommendOnly, Disabled, Cooldown, Keyed, KeysUnknown, Unhealthy,
        BrokerHeadroom, DailyBudget, ApprovalRequired, WaitingForWindow, Unreadable);
    assert_all_occur!(plans.iter().flat_map(|plan| plan.sizes.values()).flat_map(|size| &size.clamps), Clamp:
        Maximum, Step);
    assert_all_occur!(plans.iter().flat_map(|plan| plan.sizes.values()).flat_map(|size| &size.rate_unknown),
        RateUnknown: TooFewSamples, WindowReset, TooOld);
    assert_all_occur!(plans.iter().flat_map(|plan| &plan.blocked), Blocked: Unreadable);
}

#[test]
fn workers() {
    use workers::{Clamp, Hold, HookStep, Rank, Signal, Step};
    let part =
        Part { folder: "workers", decide: workers::plan, violations: checks::workers::violations, crowd: |_, _| () };
    let plans = part.run();
    assert!(plans.iter().any(|plan| plan.raise.is_some()) && plans.iter().any(|plan| !plan.protect.is_empty()));
    assert!(plans.iter().any(|plan| plan.abandon) && plans.iter().any(|plan| !plan.costs.is_empty()));
    assert_all_occur!(plans.iter().flat_map(|plan| &plan.holds), Hold:
        WithinRange, RecommendOnly, Disabled, PoolAbsent, Unreadable, SignalsMissing, DriverHost, CordonPending,
        CordonUnavailable, EndRefused, CordonLost, SecondLook, DriverLanded, GateClosed, BelowTarget, Stabilizing,
        Policy, Cooldown, Budget, Refresh, Rebalance, Suspended, Rollout, DriverPodNotReady, Compaction, IntentOpen,
        WorkerNotInPool, AddressUnknown, GroupMaximum, GroupMinimum, LaunchesFail, NoEffect, AboveMaximum,
        ApprovalRequired, WaitingForWindow, ScaleInDisabled, TimeToLoss, Draining, Unprotected);
    assert_all_occur!(plans.iter().flat_map(|plan| &plan.removal).map(|removal| &removal.step), Step:
        Cordon, Drain, Terminate);
    assert_all_occur!(plans.iter().flat_map(|plan| &plan.hook), HookStep: Heartbeat, Complete);
    assert_all_occur!(plans.iter().flat_map(|plan| &plan.signals), Signal:
        Ends, Position, Master, Rate, Retention, Implausible);
    assert_all_occur!(plans.iter().flat_map(|plan| &plan.size).flat_map(|size| &size.clamps), Clamp:
        MinReplicas, MaxReplicas, GroupMinimum, GroupMaximum, CoresMax, Partitions, TimeToLoss);
    assert_all_occur!(plans.iter().flat_map(|plan| &plan.ranking).map(|ranked| &ranked.reason), Rank:
        HostsDriver, NotServing, Unhealthy, NotAlive, Cordoned, Idle, Tasks, ZoneSurplus, OldTemplate, Age);
}

#[test]
fn driver() {
    use driver::{Cause, Hold, KillWhy, State, Why};
    let part =
        Part { folder: "driver", decide: driver::plan, violations: checks::driver::violations, crowd: |_, _| () };
    let plans = part.run();
    assert_all_occur!(plans.iter().flat_map(|plan| &plan.holds), Hold:
        Disabled, Pending, Relaunching, TooSoon, Unreachable, ProgressUnknown, NotStalled, ProgressMoves,
        RestartedInVain, Failing, Several, Taken, IntentOpen, ApprovalRequired, WaitingForWindow, NoCapacity);
    assert_all_occur!(plans.iter().map(|plan| &plan.state), State:
        Running, Pending, Relaunching, Absent, Several, Stalled, Failing, Unreachable, Disabled);
    assert_all_occur!(plans.iter().flat_map(|plan| &plan.submit).map(|submit| &submit.why), Why: Missing, Stalled);
    assert_all_occur!(plans.iter().flat_map(|plan| &plan.kill).map(|kill| &kill.why), KillWhy: Stalled, Extra);
    let asked = plans.iter().flat_map(|plan| &plan.holds).filter_map(|hold| match hold {
        Hold::ApprovalRequired { why, .. } => Some(why),
        _ => None,
    });
    assert_all_occur!(asked, Cause: Missing, Stalled, Extra, Elsewhere);
}

#[test]
fn retention() {
    let part = Part {
        folder: "retention",
        decide: retention::plan,
        violations: checks::retention::violations,
        crowd: |observed: &mut retention::Observed, foreign| {
            let Known::Known(document) = &mut observed.document else { return };
            let theirs = |i| ObservedRule { id: Some(format!("theirs-{i}")), ..ObservedRule::default() };
            document.rules.extend((0..foreign).map(theirs));
        },
    };
    let plans = part.run();
    let decisions = plans.iter().flat_map(|plan| plan.policies.values()).flat_map(|part| part.services.values());
    assert_all_occur!(decisions, Decision: InForce, Write, ApprovalRequired, WaitingForWindow,
        ObserveOnly, Blocked);
    assert_all_occur!(plans.iter().flat_map(|plan| &plan.blocked), Blocked:
        DocumentUnreadable, ServicesUnreadable, ForeignRuleNotPreservable, PolicyUnclear, TooManyRules, Conflicted,
        ProtectedPrefix);
}

/// A prefix, and the days that a policy wants for it.
#[derive(Serialize, Deserialize)]
struct Asked {
    prefix: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wanted: Option<i32>,
}

/// The rules of a bucket.
#[derive(Serialize, Deserialize)]
struct Rules {
    rules: Vec<ObservedRule>,
}

/// What S3 enforces, and the words for it.
#[derive(Serialize)]
struct Told {
    effective: Effective,
    #[serde(skip_serializing_if = "Option::is_none")]
    cap: Option<String>,
}

#[test]
fn effective() {
    let told = |asked: &Asked, observed: &Rules, _: Timestamp| {
        let effective = retention::effective(&asked.prefix, &observed.rules);
        Told { cap: effective.cap(asked.wanted), effective }
    };
    let part = Part { folder: "effective", decide: told, violations: |_, _, _, _| Vec::new(), crowd: |_, _| () };
    let told = part.run();
    assert!(told.iter().any(|told| told.cap.is_none()) && told.iter().any(|told| !told.effective.partly.is_empty()));
}

#[test]
fn a_difference_shows_what_changed_and_where() {
    assert_eq!(diff("a\nb\nc\n", "a\nx\nc\nd\n"), "  a\n- b\n+ x\n  c\n+ d\n");
    assert_eq!(
        unread(&serde_yaml::from_str("a: {b: 1, c: 2}").unwrap(), &serde_yaml::from_str("a: {b: 1}").unwrap()),
        Some("a.c".into())
    );
}

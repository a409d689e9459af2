use super::*;
use crate::nearest::Nearest;
use logwise_aws::group::Depth;
use logwise_plan::Known;
use logwise_plan::workers::{
    Autoscaling, Clamp, Cluster, Load, Member, MemberState, OpenIntent, Past, PoolRef, Protection, Raise, Removal,
    ScalingMode, Signal, Size, Step, Waiting, Worker, WorkerState,
};
use logwise_runtime::conditions::Truth;
use logwise_runtime::intent::{Owner, State, Wish, Writer};
use std::time::Instant;

mod fixed;
mod moves;

/// One look, to be changed by a test.
struct Case {
    cluster: LogwiseCluster,
    policy: Policy,
    place: Place,
    found: Found,
    facts: Observed,
    plan: Plan,
    told: Vec<Told>,
    last: Option<Intent>,
    begins: bool,
    nearest: Option<Nearest>,
    page: Page,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn member(id: &str, state: MemberState) -> Member {
    Member { state, ..Member::in_service(id, "10.0.0.1") }
}

fn size(clamps: &[Clamp]) -> Size {
    Size {
        wanted: 3,
        recommended: 3,
        incoming: 10,
        backlog: 20,
        per_core: 30,
        per_core_measured: false,
        cores_per_worker: 2,
        clamps: clamps.to_vec(),
        time_to_loss_seconds: Some(900),
    }
}

fn page() -> Page {
    Page {
        at: "m:8080".into(),
        rest: "m:6066".into(),
        began: Instant::now(),
        read: at(0),
        cluster: Cluster { url: String::new(), workers: Vec::new(), drivers: Vec::new(), app_cores: None },
        memory: Default::default(),
        all_drivers: Vec::new(),
        completed: Vec::new(),
        apps: Vec::new(),
    }
}

impl Case {
    /// Nothing is wrong with the load, and nothing is done.
    fn new() -> Self {
        let client = kube::Client::try_from(kube::Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
        let pool = Pool::at_rest((0, 9), 0, Vec::new());
        let scaling = Autoscaling { max_replicas: 4, ..Autoscaling::default() };
        let object = json!({"apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster",
            "metadata": {"name": "demo", "namespace": "n", "uid": "u", "generation": 1}, "spec": {}});
        Self {
            cluster: serde_json::from_value(object).unwrap(),
            policy: Policy {
                pool: PoolRef::AutoScalingGroup("g".into()),
                size: Sizing::Load(Box::new(scaling)),
                change: Default::default(),
                protection: Protection::Manage,
                drain_seconds: 600,
                look_period_seconds: 30,
            },
            place: Place::Deployment { client, namespace: "n".into(), name: "w".into() },
            found: Found {
                pool: Known::Known(pool.clone()),
                failed_launch: Known::Absent,
                resource: Some("deployment/n/w/d".into()),
                uid: Some("d".into()),
                selector: None,
                waiting: Vec::new(),
                depth: Depth::Full,
                error: None,
                denied: None,
            },
            facts: Observed {
                pool: Known::Known(pool),
                cluster: Known::Known(page().cluster),
                load: Load::default(),
                risk: Known::Unknown("unread".into()),
                history: Past::default(),
                intent: OpenIntent::None,
            },
            plan: Plan {
                raise: None,
                protect_newcomers: false,
                protect: Vec::new(),
                removal: None,
                abandon: false,
                costs: BTreeMap::new(),
                hook: None,
                size: Some(size(&[])),
                signals: Vec::new(),
                ranking: Vec::new(),
                holds: vec![Hold::WithinRange],
                next_look_seconds: 30,
            },
            told: Vec::new(),
            last: None,
            begins: true,
            nearest: None,
            page: page(),
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut case = Self::new();
        change(&mut case);
        case
    }

    fn report(&self) -> Report {
        let workers = Workers {
            policy: &self.policy,
            place: &self.place,
            found: &self.found,
            facts: &self.facts,
            plan: &self.plan,
            told: &self.told,
            now: at(0),
            denied: None,
            last: self.last.as_ref(),
        };
        let page = Ok(Arc::new(self.page.clone()));
        let signals = Signals {
            load: self.facts.load.clone(),
            risk: self.facts.risk.clone(),
            nearest: self.nearest.clone(),
            backlog: None,
            oldest_seconds: None,
        };
        let (cluster, begins, workers) = (&self.cluster, self.begins, Some(workers));
        Look { cluster, page: &page, begins, signals: &signals, workers, driver: None }.report(30)
    }

    fn condition(&self, kind: ConditionType) -> (Truth, Reason, String) {
        let report = self.report();
        let draft = report.status.conditions.into_iter().find(|draft| draft.kind == kind).unwrap();
        (draft.truth, draft.reason, draft.message)
    }

    /// The object as this look has left it.
    fn reported(&mut self) {
        let report = self.report();
        let condition = |draft: &Draft| {
            json!({"type": draft.kind.name(), "status": draft.truth.name(), "reason": draft.reason.name(),
                "message": draft.message, "lastTransitionTime": "2026-11-28T00:00:00Z"})
        };
        let conditions: Vec<Value> = report.status.conditions.iter().map(condition).collect();
        let status = json!({"spark": report.status.fields["spark"], "conditions": conditions});
        self.cluster.status = Some(serde_json::from_value(status).unwrap());
    }
}

#[tokio::test]
async fn bounds_and_ceilings_make_scaling_limited_true_and_say_what_to_do() {
    let clamped = |clamp| Case::with(|case| case.plan.size = Some(size(&[clamp])));
    let held = |hold| Case::with(|case| case.plan.holds = vec![hold]);
    let until = at(9);
    let table = [
        (clamped(Clamp::MaxReplicas), Reason::TooManyWorkers, "`maxReplicas` 4"),
        (clamped(Clamp::MinReplicas), Reason::TooFewWorkers, "`minReplicas` 0"),
        (clamped(Clamp::GroupMaximum), Reason::BoundsDiffer, "maximum of Deployment w, 9"),
        (clamped(Clamp::GroupMinimum), Reason::BoundsDiffer, "minimum of Deployment w, 0"),
        (clamped(Clamp::CoresMax), Reason::CoresMaxReached, "`spark.cores.max`"),
        (clamped(Clamp::Partitions), Reason::PartitionCeiling, "`kafka.topics.maxPartitions`"),
        (held(Hold::ScaleInDisabled), Reason::ScaleInDisabled, "Set it to Max or Min"),
        (held(Hold::LaunchesFail { text: "no room".into(), until }), Reason::LaunchesFail, "no room"),
        (held(Hold::Refresh), Reason::RefreshRunning, "its end"),
        (held(Hold::Rollout), Reason::RolloutInProgress, "its end"),
        (held(Hold::DriverPodNotReady), Reason::DriverPodNotReady, "first to go"),
        (held(Hold::Suspended { process: "Terminate".into() }), Reason::ScaleInHeld, "process Terminate"),
        (
            held(Hold::EndRefused { why: "403".into() }),
            Reason::ScaleInHeld,
            "no worker can be ended: 403. None is cordoned",
        ),
        (held(Hold::RecommendOnly { wanted: 3 }), Reason::RecommendOnly, "to Automatic"),
        (held(Hold::WaitingForWindow { next_opening: None }), Reason::WaitingForWindow, "never open together"),
    ];
    for (case, reason, part) in table {
        let (truth, found, message) = case.condition(ConditionType::ScalingLimited);
        assert_eq!((truth, found), (Truth::True, reason), "{message}");
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[tokio::test]
async fn a_fixed_number_that_cannot_be_reached_is_told_why() {
    let told = |size: Sizing, hold: Hold| {
        let case = Case::with(|case| (case.policy.size, case.plan.holds) = (size.clone(), vec![hold]));
        case.condition(ConditionType::ScalingLimited)
    };
    let held = [Hold::DriverHost { id: "i-1".into() }, Hold::AddressUnknown { id: "i-1".into() }];
    for hold in held {
        let (truth, reason, message) = told(Sizing::Fixed(1), hold.clone());
        assert_eq!((truth, reason), (Truth::True, Reason::ScaleInHeld));
        assert!(message.contains("i-1") && message.contains("Fewer are wanted"), "{message}");
        let (by_load, _, _) = told(Sizing::Load(Box::default()), hold);
        assert_eq!(by_load, Truth::False, "the load may ask for something else soon");
    }
    let waits = Hold::DriverHost { id: logwise_plan::workers::UNKNOWN_HOST.into() };
    assert_eq!(told(Sizing::Fixed(1), waits).0, Truth::False, "it passes");
}

#[tokio::test]
async fn where_addresses_are_not_known_other_workers_of_the_master_do_not_count() {
    let mut case = Case::with(|case| {
        case.policy.size = Sizing::Fixed(1);
        let Known::Known(pool) = &mut case.facts.pool else { unreachable!("it is known") };
        let lost = Member { address: Known::Unknown("throttled".into()), ..member("i-1", MemberState::InService) };
        (pool.desired, pool.members) = (1, vec![lost]);
        let host = "10.9.9.9".to_owned();
        let tasks = Known::Unknown("?".into());
        let strange = Worker { id: "w".into(), host, state: WorkerState::Alive, cores: 2, cores_used: 0, tasks };
        case.page.cluster.workers = vec![strange];
    });
    let (truth, reason, message) = case.condition(ConditionType::SparkReady);
    assert_eq!((truth, reason), (Truth::Unknown, Reason::Unreadable));
    assert!(message.contains("those of Deployment w: throttled"), "{message}");
    let spark = case.report().status.fields["spark"].clone();
    assert!(spark["workers"]["readyReplicas"].is_null() && spark["settledGeneration"].is_null(), "{spark}");
    // What is asked for in any case is there whoever the doubted one is.
    let Known::Known(pool) = &mut case.facts.pool else { unreachable!("it is known") };
    pool.members.push(Member { address: Known::Known("10.9.9.9".into()), ..member("i-2", MemberState::InService) });
    assert_eq!(case.condition(ConditionType::SparkReady).1, Reason::Available);
}

#[tokio::test]
async fn workers_that_do_not_come_are_told_with_the_words_of_what_runs_them() {
    let case = Case::with(|case| {
        case.policy.size = Sizing::Fixed(4);
        let Known::Known(pool) = &mut case.facts.pool else { unreachable!("it is known") };
        (pool.desired, pool.members) = (4, vec![member("i-1", MemberState::InService)]);
        case.plan.holds = vec![Hold::LaunchesFail { text: "no room".into(), until: at(-60) }];
    });
    let (truth, reason, message) = case.condition(ConditionType::SparkReady);
    assert_eq!((truth, reason), (Truth::False, Reason::WorkersNotReady));
    assert!(message.ends_with("Kubernetes says: no room"), "{message}");
    let (truth, reason, message) = case.condition(ConditionType::ScalingLimited);
    assert_eq!((truth, reason), (Truth::True, Reason::LaunchesFail), "{message}");
    assert_eq!(case.report().status.fields["spark"]["lastDecision"], "4 wanted: launches fail: no room");
}

#[tokio::test]
async fn what_passes_by_itself_limits_nothing() {
    for hold in [
        Hold::WithinRange,
        Hold::Stabilizing { until: at(9) },
        Hold::Cooldown { until: at(9) },
        Hold::Policy,
        Hold::GateClosed { desired: 3, in_service: 2, others: 1 },
        Hold::CordonPending { id: "i-1".into() },
    ] {
        let case = Case::with(|case| case.plan.holds = vec![hold.clone()]);
        let (truth, reason, _) = case.condition(ConditionType::ScalingLimited);
        assert_eq!((truth, reason), (Truth::False, Reason::WithinRange), "{hold:?}");
        let line = case.report().status.fields["spark"]["lastDecision"].clone();
        assert_eq!(line, format!("3 wanted: {}", holds::words(&hold)));
    }
}

#[tokio::test]
async fn the_decision_names_what_keeps_workers_away_before_how_soon_they_might_come() {
    let line = |holds: Vec<Hold>| {
        let case = Case::with(|case| case.plan.holds = holds);
        case.report().status.fields["spark"]["lastDecision"].clone()
    };
    let said = |hold: &Hold| json!(format!("3 wanted: {}", holds::words(hold)));
    let fails = || Hold::LaunchesFail { text: "no room".into(), until: at(9) };
    let hosts = Hold::DriverHost { id: "i-1".into() };
    for (first, cause) in [
        (Hold::Policy, fails()),
        (Hold::Stabilizing { until: at(9) }, Hold::NoEffect { missing: 2 }),
        (Hold::GroupMaximum { wanted: 9, max_size: 4 }, fails()),
        (Hold::AboveMaximum { desired: 4 }, hosts.clone()),
        (Hold::Policy, Hold::GroupMaximum { wanted: 9, max_size: 4 }),
    ] {
        assert_eq!(line(vec![first.clone(), cause.clone()]), said(&cause), "after {first:?}");
        assert_eq!(line(vec![first.clone()]), said(&first));
    }
    assert_eq!(line(vec![hosts.clone(), Hold::NoEffect { missing: 1 }]), said(&hosts), "what stands first explains it");
}

#[tokio::test]
async fn a_start_of_the_operator_takes_nothing_back_that_was_said() {
    let mut case = Case::with(|case| case.plan.size = Some(size(&[Clamp::MaxReplicas])));
    case.reported();
    let line = case.report().status.fields["spark"]["lastDecision"].clone();
    case.plan.size = None;
    case.plan.signals = vec![Signal::Rate("2 of 5 samples so far".into())];
    case.plan.holds = vec![Hold::SignalsMissing { what: "incoming rate".into() }];
    let (truth, reason, _) = case.condition(ConditionType::ScalingLimited);
    assert_eq!((truth, reason), (Truth::True, Reason::TooManyWorkers));
    let (truth, reason, _) = case.condition(ConditionType::SignalsFresh);
    assert_eq!((truth, reason), (Truth::True, Reason::Fresh));
    let spark = case.report().status.fields["spark"].clone();
    assert_eq!((&spark["lastDecision"], &spark["workers"]["wantedReplicas"]), (&line, &json!(3)));
    // What is really missing is said.
    case.plan.signals = vec![Signal::Rate("no sample for 200 s, more than 120 s".into())];
    let (truth, reason, message) = case.condition(ConditionType::SignalsFresh);
    assert_eq!((truth, reason), (Truth::False, Reason::SignalStale));
    assert!(!message.contains("200"), "a number that moves is a write at each look: {message}");
    let begins = Case::with(|case| case.plan.signals = vec![Signal::Rate("2 of 5 samples so far".into())]);
    let (truth, reason, _) = begins.condition(ConditionType::SignalsFresh);
    assert_eq!((truth, reason), (Truth::Unknown, Reason::Pending));
}

#[tokio::test]
async fn what_moves_with_each_look_is_no_part_of_what_tells_decisions_apart() {
    let decision = |time_to_loss: i64, backlog: i64| {
        let seconds = Some(time_to_loss);
        let size = Size { time_to_loss_seconds: seconds, backlog, ..size(&[]) };
        let case = Case::with(|case| case.plan.size = Some(size));
        case.report().decisions[0].clone()
    };
    let (one, other) = (decision(900, 1), decision(870, 7));
    assert_eq!((&one.actions, &one.holds, &one.outcome), (&other.actions, &other.holds, &other.outcome));
    assert_ne!(one.inputs["explained"], other.inputs["explained"]);
    assert_eq!((one.about, &one.actions), ("workers", &json!({})));
}

#[tokio::test]
async fn what_was_done_stands_in_the_status_and_in_events() {
    let raise = Raise { pool: "g".into(), from: 1, to: 3 };
    let mut case = Case::with(|case| {
        case.told = vec![Told { what: What::Raise(raise), outcome: Ok(Outcome::Done) }];
    });
    let report = case.report();
    assert_eq!(report.status.fields["spark"]["lastDecision"], "3 wanted: raised from 1 to 3");
    assert_eq!(report.status.fields["spark"]["workers"]["lastScaleTime"], "1970-01-12T13:46:40Z");
    let events: Vec<&str> = report.events.iter().map(|event| event.reason).collect();
    assert_eq!(events, ["WorkersScaledOut"]);
    case.reported();
    case.told.clear();
    let spark = case.report().status.fields["spark"].clone();
    assert_eq!(spark["workers"]["lastScaleTime"], "1970-01-12T13:46:40Z", "it stays");
}

#[tokio::test]
async fn a_look_that_is_refused_keeps_what_the_scale_subresource_shows() {
    let mut case = Case::with(|case| {
        case.found.selector = Some("app=spark".into());
        let raise = Raise { pool: "g".into(), from: 1, to: 3 };
        case.told = vec![Told { what: What::Raise(raise), outcome: Ok(Outcome::Done) }];
        let Known::Known(pool) = &mut case.facts.pool else { unreachable!("it is known") };
        pool.members = vec![member("i-1", MemberState::InService)];
    });
    case.reported();
    let spark = |report: Report| report.status.fields["spark"].clone();
    let told = spark(case.report());
    let message = "Secret aws does not exist".to_owned();
    let refused = Refused { reason: Reason::SecretNotFound, message, class: ErrorClass::NotFound };
    let kept = spark(super::refused(&case.cluster, refused));
    for field in ["replicas", "selector", "lastScaleTime"] {
        let (before, now) = (&told["workers"][field], &kept["workers"][field]);
        assert!(!before.is_null() && before == now, "{field}: {kept}");
    }
    assert!(kept["workers"]["readyReplicas"].is_null() && kept["lastDecision"] == told["lastDecision"], "{kept}");
    let conflict = Conflict { words: "belongs to another one".into() };
    let others = spark(conflicted(&case.cluster, &conflict));
    assert!(others["workers"].is_null() && others["lastDecision"].is_null(), "{others}");
}

#[tokio::test]
async fn a_selector_that_the_status_does_not_take_is_left_out() {
    let shown = |length: usize| {
        let case = Case::with(|case| case.found.selector = Some("s".repeat(length)));
        case.report().status.fields["spark"]["workers"]["selector"].is_string()
    };
    assert!(shown(1_024) && !shown(1_025) && !shown(0));
}

#[tokio::test]
async fn the_failure_of_a_change_shows_in_spark_ready() {
    let failed = |class| Failed::NotSent { class, why: "another shard has claimed it".into() };
    let case = Case::with(|case| {
        let outcome = Err(failed(ErrorClass::Conflict));
        case.told = vec![Told { what: What::Newcomers, outcome }];
    });
    let (truth, reason, message) = case.condition(ConditionType::SparkReady);
    assert_eq!((truth, reason), (Truth::False, Reason::Unreadable));
    assert!(message.starts_with("Nothing was sent: another shard"), "{message}");
    assert_eq!(case.report().failure, Some(ErrorClass::Conflict));
}

fn ended(second: i64) -> Intent {
    let removal = Removal {
        id: "i-1".into(),
        address: "10.0.0.1".into(),
        worker: None,
        host: None,
        from: 2,
        to: 1,
        floor: 1,
        step: Step::Terminate,
    };
    let targets = json!({"kind": "remove", "removal": removal, "why": "no task runs on it"});
    let owner = Owner { namespace: "n".into(), name: "demo".into(), uid: "u".into(), generation: 1 };
    Intent {
        resource: "deployment/n/w/d".into(),
        wish: Wish { owner, targets, pre_image: None, amount: 1, parts: vec!["i-1".into()] },
        writer: Writer { epoch: 1, shard: String::new(), identity: "p".into() },
        state: State::Done,
        send_before: None,
        call_timeout_seconds: 6,
        written: at(second),
        prepared: Some(at(second)),
        answered: false,
        effect: None,
        spent: Vec::new(),
        changed: BTreeMap::new(),
    }
}

#[tokio::test]
async fn an_instance_that_was_ended_and_does_not_go_is_named_with_its_hook() {
    let case = |second| {
        Case::with(|case| {
            if let Known::Known(pool) = &mut case.facts.pool {
                pool.members = vec![member("i-1", MemberState::Leaving), member("i-2", MemberState::Leaving)];
            }
            let waits = Waiting { instance: "i-1".into(), hook: "drain".into(), token: String::new() };
            case.found.waiting = vec![waits];
            case.last = Some(ended(second));
        })
    };
    let (truth, reason, message) = case(-901).condition(ConditionType::ScalingLimited);
    assert_eq!((truth, reason), (Truth::True, Reason::ScaleInIncomplete));
    assert!(message.starts_with("i-1 was removed and has not gone under hook drain"), "{message}");
    assert_eq!(case(-900).condition(ConditionType::ScalingLimited).1, Reason::WithinRange);
}

#[tokio::test]
async fn a_removal_that_is_open_is_shown_and_one_that_is_over_is_not() {
    let removing = |state| {
        let case = Case::with(|case| case.last = Some(Intent { state, ..ended(-10) }));
        case.report().status.fields["spark"]["removing"].clone()
    };
    for state in [State::Prepared, State::Sent] {
        let shown = removing(state);
        assert_eq!((&shown["id"], &shown["reason"]), (&json!("i-1"), &json!("no task runs on it")), "{shown}");
    }
    assert!(removing(State::Done).is_null());
}

#[tokio::test]
async fn the_load_is_not_looked_at_while_the_mode_is_disabled() {
    let case = Case::with(|case| {
        let scaling = Autoscaling { mode: ScalingMode::Disabled, max_replicas: 4, ..Autoscaling::default() };
        case.policy.size = Sizing::Load(Box::new(scaling));
        case.plan.size = None;
        case.plan.holds = vec![Hold::Disabled];
    });
    let kinds: Vec<_> = case.report().status.conditions.iter().map(|draft| draft.kind).collect();
    assert_eq!(kinds, [ConditionType::SparkReady, ConditionType::ScalingLimited]);
    assert_eq!(case.condition(ConditionType::ScalingLimited).1, Reason::WithinRange);
}

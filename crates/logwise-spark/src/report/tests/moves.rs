//! What is told when numbers move, or are not known for a while.

use super::*;
use logwise_plan::behavior::Recommended;
use logwise_plan::workers::Risk;

#[tokio::test]
async fn what_was_not_read_for_long_is_told_whatever_was_said_before() {
    let mut case = Case::new();
    case.facts.risk =
        Known::Known(Risk { age_seconds: 1, retention_seconds: 600, lost: false, shortest_seconds: None });
    case.reported();
    let before = [ConditionType::SignalsFresh, ConditionType::RetentionAtRisk].map(|kind| case.condition(kind).0);
    assert_eq!(before, [Truth::True, Truth::False]);
    case.plan.size = None;
    case.facts.risk = Known::Unknown("retention_headroom not read yet".into());
    for (signal, words) in [
        (Signal::Ends("end offsets not read yet".into()), "end offsets not read yet"),
        (Signal::Rate("4 of 5 samples so far".into()), "too few samples"),
    ] {
        case.plan.signals = vec![signal];
        case.begins = true;
        let told = [ConditionType::SignalsFresh, ConditionType::RetentionAtRisk].map(|kind| case.condition(kind).0);
        assert_eq!(told, before, "a start of the operator is no news");
        case.begins = false;
        let (truth, reason, message) = case.condition(ConditionType::SignalsFresh);
        assert_eq!((truth, reason), (Truth::False, Reason::SignalMissing));
        assert!(message.contains(words), "{message}");
        let (truth, reason, message) = case.condition(ConditionType::RetentionAtRisk);
        assert_eq!((truth, reason), (Truth::Unknown, Reason::SignalMissing), "{message}");
    }
}

#[tokio::test]
async fn what_is_missing_keeps_workers_from_being_added_only_where_no_number_follows_without_it() {
    let mut case = Case::with(|case| {
        (case.begins, case.plan.signals) = (false, vec![Signal::Retention("no answer".into())]);
    });
    let told = |case: &Case| case.condition(ConditionType::SignalsFresh).2;
    let message = told(&case);
    assert!(message.ends_with("No worker is removed until it is known"), "{message}");
    case.plan.size = None;
    let message = told(&case);
    assert!(message.ends_with("none is added for load, until it is known"), "{message}");
}

#[tokio::test]
async fn a_wanted_number_stays_as_it_was_told_while_it_is_near() {
    let mut case = Case::with(|case| case.plan.size = Some(Size { wanted: 10, ..size(&[]) }));
    case.reported();
    let wanted = |case: &Case| case.report().status.fields["spark"]["workers"]["wantedReplicas"].clone();
    case.plan.size = Some(Size { wanted: 11, ..size(&[]) });
    assert_eq!(wanted(&case), 10);
    case.plan.size = Some(Size { wanted: 13, ..size(&[]) });
    assert_eq!(wanted(&case), 13);
}

#[tokio::test]
async fn a_wanted_number_that_asks_for_something_else_is_told_unless_it_is_noise() {
    let mut case = Case::with(|case| {
        let Known::Known(pool) = &mut case.facts.pool else { unreachable!("it is known") };
        pool.desired = 5;
        case.plan.size = Some(Size { wanted: 5, recommended: 5, ..size(&[]) });
    });
    case.reported();
    let wanted = |case: &Case| case.report().status.fields["spark"]["workers"]["wantedReplicas"].clone();
    let line = |case: &Case| case.report().status.fields["spark"]["lastDecision"].clone();
    case.plan.size = Some(Size { wanted: 4, recommended: 4, ..size(&[]) });
    case.plan.holds = vec![Hold::Stabilizing { until: at(9) }];
    assert_eq!(wanted(&case), 4);
    assert_eq!(line(&case), "4 wanted: the stabilization window has seen another number");
    // A look ago the load asked for as many as there are.
    let asked = |second| vec![Recommended { at: at(second), replicas: 5 }];
    case.facts.history.behavior.recommended = asked(-60);
    assert_eq!(wanted(&case), 5);
    assert_eq!(line(&case), "5 wanted: there are as many workers as there should be");
    case.facts.history.behavior.recommended = asked(-300);
    assert_eq!(wanted(&case), 4);
    // Within the tolerance nothing else is asked for.
    case.plan.size = Some(Size { wanted: 4, recommended: 5, ..size(&[]) });
    assert_eq!(wanted(&case), 5);
    // One was removed, and five are no more than was told.
    let Known::Known(pool) = &mut case.facts.pool else { unreachable!("it is known") };
    pool.desired = 4;
    case.plan.size = Some(Size { wanted: 4, recommended: 4, ..size(&[]) });
    assert_eq!(wanted(&case), 4);
}

#[tokio::test]
async fn a_number_that_is_not_known_limits_neither_more_nor_less_than_before() {
    let missing = |case: &mut Case| {
        case.plan.size = None;
        case.plan.signals = vec![Signal::Position("no answer".into())];
        case.plan.holds = vec![Hold::SignalsMissing { what: "position of the query".into() }, Hold::WithinRange];
    };
    let (truth, reason, _) = Case::with(missing).condition(ConditionType::ScalingLimited);
    assert_eq!((truth, reason), (Truth::Unknown, Reason::SignalMissing));
    for (clamps, truth, reason) in [
        (&[Clamp::MaxReplicas][..], Truth::True, Reason::TooManyWorkers),
        (&[Clamp::MinReplicas][..], Truth::True, Reason::TooFewWorkers),
        (&[][..], Truth::False, Reason::WithinRange),
    ] {
        let mut case = Case::with(|case| case.plan.size = Some(size(clamps)));
        case.reported();
        missing(&mut case);
        let (found, why, _) = case.condition(ConditionType::ScalingLimited);
        assert_eq!((found, why), (truth, reason));
    }
    // What was said of something that is known no longer holds.
    let mut case = Case::with(|case| case.plan.holds = vec![Hold::Refresh]);
    case.reported();
    missing(&mut case);
    assert_eq!(case.condition(ConditionType::ScalingLimited).1, Reason::SignalMissing);
}

#[tokio::test]
async fn a_load_that_swings_about_a_bound_does_not_take_the_condition_back_at_each_look() {
    let at_bound = |wanted| Size { wanted, recommended: wanted, ..size(&[]) };
    let mut case = Case::with(|case| case.plan.size = Some(Size { clamps: vec![Clamp::MaxReplicas], ..at_bound(4) }));
    case.reported();
    case.plan.size = Some(at_bound(4));
    assert_eq!(case.condition(ConditionType::ScalingLimited).1, Reason::TooManyWorkers);
    case.plan.size = Some(at_bound(3));
    assert_eq!(case.condition(ConditionType::ScalingLimited).1, Reason::WithinRange);
    let fresh = Case::with(|case| case.plan.size = Some(at_bound(4)));
    assert_eq!(fresh.condition(ConditionType::ScalingLimited).1, Reason::WithinRange);
}

#[tokio::test]
async fn a_load_that_swings_about_a_ceiling_does_not_take_the_condition_back_at_each_look() {
    let asked = |wanted, clamps: &[Clamp]| Some(Size { wanted, recommended: wanted, ..size(clamps) });
    for (clamp, reason) in [
        (Clamp::CoresMax, Reason::CoresMaxReached),
        (Clamp::Partitions, Reason::PartitionCeiling),
        (Clamp::GroupMaximum, Reason::BoundsDiffer),
        (Clamp::GroupMinimum, Reason::BoundsDiffer),
    ] {
        let mut case = Case::with(|case| {
            // With the driver's core those are ten workers.
            let scaling = Autoscaling { max_replicas: 40, cores_max: Some(19), ..Autoscaling::default() };
            case.policy.size = Sizing::Load(Box::new(scaling));
            case.facts.load.partitions = Known::Known(19);
            let Known::Known(pool) = &mut case.facts.pool else { unreachable!("it is known") };
            pool.desired = 10;
            (pool.min_size, pool.max_size) = if clamp == Clamp::GroupMinimum { (10, 40) } else { (0, 10) };
            case.plan.size = asked(10, &[clamp]);
        });
        assert_eq!(case.condition(ConditionType::ScalingLimited).1, reason);
        case.reported();
        let (near, far) = if clamp == Clamp::GroupMinimum { (12, 13) } else { (8, 7) };
        case.plan.size = asked(near, &[]);
        assert_eq!(case.condition(ConditionType::ScalingLimited).1, reason, "{clamp:?}");
        case.plan.size = asked(far, &[]);
        assert_eq!(case.condition(ConditionType::ScalingLimited).1, Reason::WithinRange, "{clamp:?}");
    }
}

#[tokio::test]
async fn a_risk_that_swings_about_half_of_the_retention_is_taken_back_below_that() {
    use Truth::{False, True};
    let risk =
        |age_seconds| Known::Known(Risk { age_seconds, retention_seconds: 1_000, lost: false, shortest_seconds: None });
    let nearest = |age: i64| {
        let left_percent = (1_000 - age) / 10;
        Nearest { topic: "a".into(), retention_seconds: Some(1_000), left_percent }
    };
    let mut case = Case::new();
    let mut told = |age: i64| {
        (case.facts.risk, case.nearest) = (risk(age), Some(nearest(age)));
        let (truth, _, _) = case.condition(ConditionType::RetentionAtRisk);
        case.reported();
        truth
    };
    assert_eq!([490, 510, 490, 451, 449, 490].map(&mut told), [False, True, True, True, False, False]);
}

#[tokio::test]
async fn records_are_looked_at_also_where_no_load_is_followed() {
    let risk = |spec: Value| {
        let mut case = Case::with(|case| {
            case.policy.size = Sizing::Fixed(2);
            case.plan.holds = vec![Hold::WithinRange];
            case.facts.risk =
                Known::Known(Risk { age_seconds: 900, retention_seconds: 1_000, lost: false, shortest_seconds: None });
            case.nearest = Some(Nearest { topic: "a".into(), retention_seconds: Some(1_000), left_percent: 10 });
        });
        case.cluster.spec = serde_json::from_value(spec).unwrap();
        case.report().status.conditions.into_iter().find(|draft| draft.kind == ConditionType::RetentionAtRisk)
    };
    let spark = json!({"masters": [{"host": "m"}]});
    let topics = json!({"namePrefix": "logs.", "defaultPartitions": 3, "maxPartitions": 12});
    let whole = json!({"spark": spark, "storage": {"bucketName": "b"},
        "kafka": {"bootstrapServers": ["k:9092"], "topics": topics}});
    let draft = risk(whole).unwrap();
    assert_eq!((draft.truth, draft.reason), (Truth::True, Reason::LagNearsRetention));
    assert!(draft.message.contains("let more workers run") && !draft.message.contains("maxReplicas"), "{draft:?}");
    let kafka = json!({"bootstrapServers": ["k:9092"]});
    assert_eq!(risk(json!({"spark": spark, "storage": {"bucketName": "b"}, "kafka": kafka})), None);
    assert_eq!(risk(json!({"spark": spark})), None);
}

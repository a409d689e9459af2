//! The time of `plan()` of the retention. No server is asked.

use super::{POLICIES, ROUNDS, SERVICES, milliseconds};
use crate::aims::Aims;
use crate::row;
use anyhow::{Result, ensure};
use jiff::Timestamp;
use logwise_plan::Known;
use logwise_plan::retention::{
    self, Approval, Document, Meaning, Observed, ObservedRule, Plan, Policy, PolicyEntry, Rule, Settings,
};
use logwise_plan::selector::ServiceSelector;
use logwise_tests::edits::percentile;
use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// What a plan of the large case may take.
const ENOUGH: Duration = Duration::from_millis(50);

/// The small case has so many times fewer services and policies.
const TIMES: usize = 10;

/// Times that the large case may take longer: ten is linear, a hundred is each policy asked about each service.
const NEARLY_LINEAR: f64 = 20.0;

/// Services whose names begin alike; one policy covers them by that.
const GROUP: usize = 10;

/// Seconds since 1970 of the moment that is planned for.
const NOW: i64 = 1_800_000_000;

/// What the bucket holds, and what of the policies waits for approval.
#[derive(Clone, Copy)]
enum Scene {
    /// No rule yet.
    First,
    /// Every rule as it is wanted.
    AtRest,
    /// Every rule is replaced.
    AllChange,
    /// Every rule would be replaced by a shorter one, and waits.
    AllWait,
}

const SCENES: [(&str, Scene); 4] = [
    ("no rule there yet", Scene::First),
    ("every rule in force", Scene::AtRest),
    ("every rule changes", Scene::AllChange),
    ("every change waits for approval", Scene::AllWait),
];

pub(crate) fn measure(aims: &mut Aims) -> Result<()> {
    let now = Timestamp::from_second(NOW)?;
    for (name, scene) in SCENES {
        let (few, many) = (case(scene, TIMES, now)?, case(scene, 1, now)?);
        let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            of_few.push(time(&few, now));
            of_many.push(time(&many, now));
        }
        let (of_few, of_many) = (percentile(&of_few, 50)?, percentile(&of_many, 50)?);
        let size = |times: usize| format!("{} services, {} policies", SERVICES / times, POLICIES / times);
        row(&format!("plan of rules, {name}: {}, ms", size(TIMES)), &milliseconds(of_few))?;
        aims.check(
            &format!("  {}, median of {ROUNDS}, ms", size(1)),
            &milliseconds(of_many),
            (&format!("less than {}", ENOUGH.as_millis()), of_many < ENOUGH),
        )?;
        let times = of_many.as_secs_f64() / of_few.as_secs_f64();
        let nearly = format!("at most {NEARLY_LINEAR}; linear is {TIMES}");
        let (name, value) = ("  ratio for ten times the services and policies", format!("{times:.1}"));
        aims.check(name, &value, (&nearly, times <= NEARLY_LINEAR))?;
    }
    Ok(())
}

/// The time of one plan; it is dropped afterwards.
fn time((policy, observed): &(Policy, Observed), now: Timestamp) -> Duration {
    let began = Instant::now();
    let plan = black_box(retention::plan(black_box(policy), black_box(observed), now));
    let took = began.elapsed();
    drop(plan);
    took
}

/// The wish and the bucket of a scene with so many times fewer services and policies, once its plan is seen to be the
/// one that the scene is about.
fn case(scene: Scene, times: usize, now: Timestamp) -> Result<(Policy, Observed)> {
    let (services, policies) = (SERVICES / times, POLICIES / times);
    let approval = if matches!(scene, Scene::AllWait) { Approval::DestructiveOnly } else { Approval::Never };
    let policy = policy(services, policies, approval);
    let names: BTreeSet<String> = (0..services).map(service).collect();
    let empty = Observed::new(Known::Known(names), Known::Absent);
    let unattended = self::policy(services, policies, Approval::Never);
    let rules = retention::plan(&unattended, &empty, now).write.map(|write| write.add).unwrap_or_default();
    ensure!(rules.len() == services, "{} rules of {services} services", rules.len());
    let longer = if matches!(scene, Scene::AtRest) { 0 } else { 100 };
    let observed = match scene {
        Scene::First => empty,
        Scene::AtRest | Scene::AllChange | Scene::AllWait => {
            let rules = rules.into_iter().map(|rule| there(rule, longer)).collect();
            let document = Document { version: "v".to_owned(), rules, not_preservable: None };
            Observed { document: Known::Known(document), ..empty }
        }
    };
    let found = summary(&retention::plan(&policy, &observed, now));
    let wanted = match scene {
        Scene::First => (services, 0, 0),
        Scene::AtRest => (0, 0, 0),
        Scene::AllChange => (services, services, 0),
        Scene::AllWait => (0, 0, services),
    };
    ensure!(found == wanted, "{found:?} rules are added, removed and waited for, not {wanted:?}");
    Ok((policy, observed))
}

/// Rules that are added, that are removed, and that wait for approval.
fn summary(plan: &Plan) -> (usize, usize, usize) {
    let (add, remove) = plan.write.as_ref().map_or((0, 0), |write| (write.add.len(), write.remove.len()));
    let requests = plan.policies.values().filter_map(|part| part.approval.as_ref());
    let waiting = requests.filter(|request| !request.approved).map(|request| request.entries.len()).sum();
    (add, remove, waiting)
}

/// A rule as it is found in a bucket, with so many days more.
fn there(rule: Rule, longer: i32) -> ObservedRule {
    let Rule { id, prefix, settings } = rule;
    let expiration_days = settings.expiration_days.map(|days| days + longer);
    let meaning = Some(Meaning { prefix, settings: Settings { expiration_days, ..settings } });
    ObservedRule { id: Some(id), meaning, reach: None }
}

fn service(place: usize) -> String {
    format!("team-{:04}-service-{place:05}", place / GROUP)
}

/// One policy for everything, one for each team, and as many as are left for two services each: many services are
/// covered by three.
fn policy(services: usize, policies: usize, approval: Approval) -> Policy {
    let teams = services / GROUP;
    let selector = |place: usize| match place.checked_sub(1) {
        None => ServiceSelector::default(),
        Some(team) if team < teams => {
            ServiceSelector { prefixes: [format!("team-{team:04}-")].into(), ..ServiceSelector::default() }
        }
        Some(place) => {
            let names = [2 * (place - teams), 2 * (place - teams) + 1].map(service);
            ServiceSelector { names: names.into(), ..ServiceSelector::default() }
        }
    };
    let entry = |place: usize| PolicyEntry {
        owner: format!("lab.shop.policy-{place:04}"),
        uid8: format!("{place:08x}"),
        priority: match place {
            0 => 0,
            _ if place <= teams => 1,
            _ => 2,
        },
        selector: selector(place),
        settings: Settings {
            expiration_days: Some(if place.is_multiple_of(2) { 30 } else { 60 }),
            abort_multipart_days: Some(7),
            ..Settings::default()
        },
        approval,
        approved_plans: BTreeSet::new(),
        windows: Vec::new(),
        programmed: None,
        observe_only: false,
        removal: None,
    };
    Policy {
        logs_prefix: "logs/".to_owned(),
        checkpoint_prefix: "checkpoint/".to_owned(),
        policies: (0..policies).map(entry).collect(),
        installation: "lab".to_owned(),
        look_period_seconds: 60,
        ..Policy::default()
    }
}

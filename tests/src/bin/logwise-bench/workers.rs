//! The time of `plan()` for a thousand Spark workers. No server is asked.

use crate::aims::Aims;
use crate::row;
use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use logwise_plan::Known;
use logwise_plan::behavior::{History, Recommended};
use logwise_plan::change::ChangePolicy;
use logwise_plan::workers::{
    Autoscaling, Batch, Cluster, DriverAt, Load, Member, Observed, OpenIntent, Past, Policy, Pool, PoolRef, Progress,
    Protection, Risk, Sample, Sizing, Worker, WorkerState, plan,
};
use logwise_tests::edits::percentile;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Plans of each size.
const ROUNDS: usize = 51;

/// Workers of the two sizes.
const FEW: i64 = 100;
const MANY: i64 = 1_000;

/// Cores of a worker.
const CORES: i32 = 4;

/// Seconds since 1970 of the moment that is planned for.
const NOW: i64 = 1_800_000_000;

/// What a plan of the large case may take.
const ENOUGH: Duration = Duration::from_millis(5);

/// What the load asks of the workers that there are.
#[derive(Clone, Copy)]
enum Need {
    /// All of them.
    All,
    /// Half of them: all are ranked, and one is to go.
    Half,
}

pub(crate) fn measure(aims: &mut Aims) -> Result<()> {
    for (need, what) in [(Need::All, "as many as are needed"), (Need::Half, "twice as many as are needed")] {
        let (few, many) = ((policy(FEW)?, observed(FEW, need)?), (policy(MANY)?, observed(MANY, need)?));
        for (policy, observed) in [&few, &many] {
            let plan = plan(policy, observed, at(0)?);
            let (goes, ranked) = (plan.removal.is_some(), plan.ranking.len());
            let all = observed.pool.known().map_or(0, |pool| pool.members.len());
            let expected = if matches!(need, Need::Half) { (true, all) } else { (false, 0) };
            ensure!((goes, ranked) == expected, "{what}: {:?}", plan.holds);
        }
        let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            of_few.push(time(&few)?);
            of_many.push(time(&many)?);
        }
        let (of_few, of_many) = (percentile(&of_few, 50)?, percentile(&of_many, 50)?);
        let text = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1_000.0);
        row(&format!("plan of {FEW} workers, {what}, ms"), &text(of_few))?;
        aims.check(
            &format!("plan of {MANY} workers, {what}, ms"),
            &text(of_many),
            (&format!("less than {}", ENOUGH.as_millis()), of_many < ENOUGH),
        )?;
        let ratio = of_many.as_secs_f64() / of_few.as_secs_f64();
        row("  ratio for ten times the workers", &format!("{ratio:.1}"))?;
    }
    Ok(())
}

/// The time of one plan; it is dropped afterwards.
fn time((policy, observed): &(Policy, Observed)) -> Result<Duration> {
    let now = at(0)?;
    let began = Instant::now();
    let plan = black_box(plan(black_box(policy), black_box(observed), now));
    let took = began.elapsed();
    drop(plan);
    Ok(took)
}

/// So many seconds before the plan.
fn at(seconds_ago: i64) -> Result<Timestamp> {
    Ok(Timestamp::from_second(NOW)?.checked_sub(SignedDuration::from_secs(seconds_ago))?)
}

fn policy(number: i64) -> Result<Policy> {
    let scaling = Autoscaling {
        min_replicas: 1,
        max_replicas: i32::try_from(number)?,
        cores_per_worker: Some(CORES),
        ..Autoscaling::default()
    };
    Ok(Policy {
        pool: PoolRef::AutoScalingGroup("workers".to_owned()),
        size: Sizing::Load(Box::new(scaling)),
        change: ChangePolicy::default(),
        protection: Protection::Manage,
        drain_seconds: 600,
        look_period_seconds: 30,
    })
}

fn observed(number: i64, need: Need) -> Result<Observed> {
    let places = || 0..number;
    let members = places().map(member).collect::<Result<Vec<Member>>>()?;
    let workers = places().map(worker).collect::<Result<Vec<Worker>>>()?;
    let driver =
        DriverAt { id: "driver-1".to_owned(), state: "RUNNING".to_owned(), worker: Some("worker-0".to_owned()) };
    let desired = i32::try_from(number)?;
    let pool = Pool::at_rest((0, desired), desired, members);
    let cluster = Cluster {
        url: "spark://master:7077".to_owned(),
        workers,
        drivers: vec![driver],
        app_cores: Some(desired.checked_mul(CORES).context("too many cores")?),
    };
    let recommended = vec![Recommended { at: at(3_000)?, replicas: 1 }];
    Ok(Observed {
        pool: Known::Known(pool),
        cluster: Known::Known(cluster),
        load: load(number, need)?,
        risk: Known::Known(Risk { age_seconds: 60, retention_seconds: 86_400, lost: false, shortest_seconds: None }),
        history: Past { behavior: History { recommended, changes: Vec::new() }, ..Past::default() },
        intent: OpenIntent::None,
    })
}

/// The address of a machine.
fn address(place: i64) -> String {
    format!("10.0.{}.{}", place / 250, place % 250)
}

fn member(place: i64) -> Result<Member> {
    Ok(Member {
        zone: Some(format!("eu-central-1{}", ["a", "b", "c"][usize::try_from(place % 3)?])),
        current_template: place % 2 == 0,
        since: Some(at(100_000 - place % 7)?),
        ..Member::in_service(format!("i-{place:017}"), address(place))
    })
}

fn worker(place: i64) -> Result<Worker> {
    Ok(Worker {
        id: format!("worker-{place}"),
        host: address(place),
        state: WorkerState::Alive,
        cores: CORES,
        cores_used: CORES,
        tasks: Known::Known(i32::try_from(place % 5)?),
    })
}

/// Sixty samples, and ten batches that show what a core gets through.
fn load(number: i64, need: Need) -> Result<Load> {
    let (per_core, cores) = (8_300, number * i64::from(CORES) - 1);
    let busy = if matches!(need, Need::Half) { cores / 2 } else { cores };
    // Cores shall be busy for 70 of 100 seconds.
    let rate = per_core * busy * 70 / 100;
    let sample = |place: i64| {
        let ends = 1_000_000_000 + place * 10 * rate;
        anyhow::Ok(Sample { at: at((59 - place) * 10)?, ends, read: ends - rate, other_clock: false })
    };
    let batch = |place: i64| {
        let cores = i32::try_from(cores)?;
        let (started, committed) = (at(900 - place * 60)?, at(880 - place * 60)?);
        anyhow::Ok(Batch { id: place, records: per_core * 20 * i64::from(cores), started, committed, cores })
    };
    Ok(Load {
        samples: Known::Known(Arc::new((0..60).map(sample).collect::<Result<Vec<Sample>>>()?)),
        batches: (0..10).map(batch).collect::<Result<Vec<Batch>>>()?,
        partitions: Known::Known(100_000),
        batch: Known::Known(Progress { id: 4, age_seconds: 20 }),
    })
}

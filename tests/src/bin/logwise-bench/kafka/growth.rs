//! Growth in batches against one call per topic, on topics of their own.

use super::ratio;
use crate::row;
use anyhow::{Context, Result, anyhow, ensure};
use logwise_kafka::{Description, KafkaClient, KafkaClients, Outcome, apply, counts, describe};
use logwise_plan::Known;
use logwise_plan::partitions::{Grow, Plan};
use logwise_testbed::bed::Bed;
use logwise_testbed::brokers::{Brokers, Setup};
use logwise_testbed::kafka::client_config;
use logwise_testbed::world::wait_until;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Topics that grow each way.
const TOPICS: usize = 1_000;

/// Topics that grow each way before time counts, so that neither way meets a broker that has never grown one.
const WARM: usize = 50;

const ANSWER: Duration = Duration::from_secs(30);
const SHOWN_WITHIN: Duration = Duration::from_secs(60);

pub(crate) async fn measure() -> Result<()> {
    let brokers = Brokers::start(&Bed::attach()?, "bench-growth", Setup::default()).await?;
    let names = |way: &str| (0..WARM + TOPICS).map(|number| format!("{way}.{number:04}")).collect::<Vec<String>>();
    let (ours, theirs) = (names("batches"), names("calls"));
    let topics: Vec<(String, i32)> = ours.iter().chain(&theirs).map(|name| (name.clone(), 1)).collect();
    brokers.create_topics(&topics, 1).await?;
    let client = KafkaClients::default().get(&[brokers.bootstrap()])?;
    let admin: AdminClient<DefaultClientContext> =
        client_config(&brokers.bootstrap()).create().context("creating a Kafka admin client")?;
    let ((warm_ours, ours), (warm_theirs, theirs)) = (ours.split_at(WARM), theirs.split_at(WARM));
    in_batches(&client, warm_ours).await?;
    one_by_one(&admin, warm_theirs).await?;
    let batches = in_batches(&client, ours).await?;
    let calls = one_by_one(&admin, theirs).await?;
    wait_grown(&client, &[ours, theirs].concat()).await?;
    row(&format!("growth of {TOPICS} topics by apply, topics per second"), &per_second(batches)?)?;
    row("  one call per topic, topics per second", &per_second(calls)?)?;
    row("  call per topic / apply", &format!("{:.1}", ratio(calls, batches)))
}

/// As the operator does it: with the ids of the topics, each request validated first, each growth seen afterwards.
async fn in_batches(client: &Arc<KafkaClient>, names: &[String]) -> Result<Duration> {
    let asked: BTreeMap<String, Vec<i32>> = names.iter().map(|name| (name.clone(), vec![0])).collect();
    let actions: Vec<Grow> = describe(client, &asked).await.topics.into_iter().map(grow).collect::<Result<_>>()?;
    let plan = Plan {
        actions,
        holds: BTreeMap::new(),
        sizes: BTreeMap::new(),
        proposals: BTreeMap::new(),
        blocked: None,
        next_look_seconds: 60,
    };
    let began = Instant::now();
    let outcomes = apply(client, &plan, || Ok(|| Ok(()))).await;
    let took = began.elapsed();
    ensure!(outcomes.len() == names.len(), "{} outcomes of {} growths", outcomes.len(), names.len());
    for (grow, outcome) in outcomes {
        ensure!(outcome == Outcome::Done, "{}: {outcome:?}", grow.topic);
    }
    Ok(took)
}

fn grow((topic, description): (String, Description)) -> Result<Grow> {
    match description.id {
        Known::Known(id) => Ok(Grow { topic, from: 1, to: 2, topic_id: Some(id) }),
        other => Err(anyhow!("the id of {topic} is {other:?}")),
    }
}

/// Each call is sent when the one before it was answered; nothing is validated and nothing looked at.
async fn one_by_one(admin: &AdminClient<DefaultClientContext>, names: &[String]) -> Result<Duration> {
    let options = AdminOptions::new().operation_timeout(Some(ANSWER)).request_timeout(Some(ANSWER));
    let began = Instant::now();
    for name in names {
        let answers = admin.create_partitions(&[NewPartitions::new(name, 2)], &options).await;
        for answer in answers.with_context(|| format!("growing {name}"))? {
            answer.map_err(|(topic, code)| anyhow!("growing {topic}: {code}"))?;
        }
    }
    Ok(began.elapsed())
}

/// That both ways did what is counted.
async fn wait_grown(client: &Arc<KafkaClient>, names: &[String]) -> Result<()> {
    wait_until("all topics to have two partitions", SHOWN_WITHIN, async || {
        let counts = counts(client).await?;
        let grown = names.iter().filter(|name| counts.get(*name) == Some(&2)).count();
        ensure!(grown == names.len(), "{grown} of {} have", names.len());
        Ok(())
    })
    .await
}

fn per_second(time: Duration) -> Result<String> {
    Ok(format!("{:.0}", f64::from(u32::try_from(TOPICS)?) / time.as_secs_f64()))
}

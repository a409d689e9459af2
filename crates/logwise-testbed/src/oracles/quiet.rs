//! O4: once everything is as it should be, nothing is written anywhere.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tokio::time::Instant;

use super::end_state::topics;
use super::verdict;
use crate::audit::{self, Mark};
use crate::fake_master::FakeMaster;
use crate::install::{ACCOUNT, NAMESPACE};
use crate::operator::Operator;
use crate::proxy::tcp::TcpProxy;
use crate::world::World;

/// What counts as a write at Kubernetes: a watch that begins anew lists once more, and changes nothing.
const VERBS: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];
const LOOK: Duration = Duration::from_millis(250);
/// Kinds of Kafka requests that change topics: create, delete, delete records, change settings (two kinds), more
/// partitions, move partitions.
const KAFKA_WRITES: [i16; 7] = [19, 20, 21, 33, 37, 44, 45];

/// From its begin on, nobody may write.
pub struct Quiet<'a> {
    world: &'a World,
    kafka: Option<&'a TcpProxy>,
    audited: Mark,
    aws: u64,
    topics: BTreeMap<String, usize>,
    kafka_writes: u64,
    /// With the number of its calls at the begin.
    master: Option<(&'a FakeMaster, usize)>,
}

impl<'a> Quiet<'a> {
    /// The silence begins now. A `kafka` proxy between operator and broker counts requests; without one only their
    /// effects on topics are seen.
    pub async fn begin(world: &'a World, kafka: Option<&'a TcpProxy>) -> Result<Quiet<'a>> {
        let audited = audit::end(&world.bed)?;
        let aws = calls(world, 0).await?.iter().map(|(seq, _)| *seq).max().unwrap_or_default();
        let (topics, kafka_writes) = (topics(world).await?, writes(kafka));
        Ok(Quiet { world, kafka, audited, aws, topics, kafka_writes, master: None })
    }

    /// This fake master may not be asked for any change either.
    #[must_use]
    pub fn with_master(self, master: &'a FakeMaster) -> Quiet<'a> {
        Quiet { master: Some((master, master.calls().len())), ..self }
    }

    /// Every write since the begin, one line each: at AWS, on the world's objects at Kubernetes by the operator's
    /// account (Leases aside, which are renewed), at Kafka.
    pub async fn broken(&self) -> Result<Vec<String>> {
        let mut findings: Vec<String> = calls(self.world, self.aws).await?.into_iter().map(|(_, line)| line).collect();
        let log = audit::since(&self.world.bed, Some(self.audited))?;
        findings.extend(log.lines().filter_map(|line| write_of(line, self.world)));
        let sent = writes(self.kafka) - self.kafka_writes;
        if sent > 0 {
            findings.push(format!("Kafka: {sent} requests that change topics"));
        }
        if let Some((master, before)) = self.master {
            let later = master.calls().into_iter().skip(before).filter(|call| call.kind.is_mutating());
            findings.extend(later.map(|call| format!("Spark: {}", call.line)));
        }
        let now = topics(self.world).await?;
        if now != self.topics {
            findings.push(format!("Kafka: topics are {now:?} after {:?}", self.topics));
        }
        Ok(findings)
    }

    /// Errors as soon as somebody writes; success when so much time has passed.
    pub async fn lasts(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        self.until(async || Ok(Instant::now() >= end)).await
    }

    /// Errors as soon as somebody writes; success when the operator has looked `number` more times at each of these
    /// parts (`kafka`, `spark`, `storage`), or an error after `within`.
    pub async fn for_looks(&self, operator: &Operator, parts: &[&str], number: u64, within: Duration) -> Result<()> {
        let count = |looks: &BTreeMap<String, u64>, part: &str| looks.get(part).copied().unwrap_or_default();
        let (before, end) = (looks(&operator.metrics().await?), Instant::now() + within);
        self.until(async || {
            let now = looks(&operator.metrics().await?);
            let done = parts.iter().all(|part| count(&now, part) >= count(&before, part) + number);
            let late = !done && Instant::now() >= end;
            ensure!(!late, "not within {} s: {number} more looks than {before:?}; now {now:?}", within.as_secs());
            Ok(done)
        })
        .await
    }

    async fn until(&self, mut over: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        loop {
            // Asked before the last look, so that the look covers the whole time.
            let over = over().await?;
            verdict("it is not quiet", &self.broken().await?)?;
            if over {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// It becomes quiet and stays so while the operator looks `number` times at each of these parts. What was under way may
/// come to its end first; who writes again and again fails each of three tries.
pub async fn settles(world: &World, operator: &Operator, parts: &[&str], number: u64, within: Duration) -> Result<()> {
    for _ in 0..2 {
        if Quiet::begin(world, None).await?.for_looks(operator, parts, number, within).await.is_ok() {
            return Ok(());
        }
    }
    Quiet::begin(world, None).await?.for_looks(operator, parts, number, within).await
}

/// How often an operator has looked at each of its parts, from its metrics.
pub fn looks(metrics: &str) -> BTreeMap<String, u64> {
    let mut looks = BTreeMap::new();
    for line in metrics.lines() {
        let count = line.strip_prefix("logwise_operator_reconcile_duration_seconds_count{part=\"").unwrap_or_default();
        if let Some((part, number)) = count.split_once("\"} ")
            && let Ok(number) = number.parse()
        {
            looks.insert(part.to_owned(), number);
        }
    }
    looks
}

fn writes(proxy: Option<&TcpProxy>) -> u64 {
    proxy.map(kafka_writes).unwrap_or_default()
}

/// Requests through this proxy that change topics, or try to.
pub fn kafka_writes(proxy: &TcpProxy) -> u64 {
    let requests = proxy.requests();
    KAFKA_WRITES.iter().filter_map(|kind| requests.get(kind)).sum()
}

async fn calls(world: &World, after: u64) -> Result<Vec<(u64, String)>> {
    let (group, bucket) = futures::try_join!(world.calls(&world.group, true), world.calls(&world.bucket, true))?;
    let later = group.into_iter().chain(bucket).filter(|call| call.seq > after);
    Ok(later.map(|call| (call.seq, format!("AWS: {} {}", call.action, call.params))).collect())
}

/// The operator's write on something of this world: in its namespace, or named after it in the operator's.
fn write_of(line: &str, world: &World) -> Option<String> {
    let event: Value = serde_json::from_str(line).ok()?;
    let (user, object) = (event["user"]["username"].as_str()?, &event["objectRef"]);
    let text = |name: &str| object[name].as_str().unwrap_or_default();
    let verb = event["verb"].as_str().unwrap_or_default();
    let ours =
        text("namespace") == world.namespace || (text("namespace") == NAMESPACE && text("name").contains(&world.id));
    let counts = ours
        && VERBS.contains(&verb)
        && user == format!("system:serviceaccount:{NAMESPACE}:{ACCOUNT}")
        && text("resource") != "leases";
    let slash = if object["subresource"].is_null() { "" } else { "/" };
    counts.then(|| format!("Kubernetes: {verb} {}{slash}{} {}", text("resource"), text("subresource"), text("name")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_read_by_part() {
        let text = "# TYPE x\nlogwise_operator_reconcile_duration_seconds_count{part=\"kafka\"} 7\n\
                    logwise_operator_reconcile_duration_seconds_sum{part=\"kafka\"} 0.5\n";
        assert_eq!(looks(text), BTreeMap::from([("kafka".to_owned(), 7)]));
    }
}

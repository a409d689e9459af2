//! Operators that end one after the other, each at a point of its own; the one after the last point stays.

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{COUNT_WRITES, CRASH_AT, Counts, Point, Side};
use crate::bed::Spark;
use crate::operator::{Operator, Options};
use crate::oracles::end_state::topics;
use crate::proxy::http::Request;
use crate::proxy::kubernetes::KubernetesProxy;
use crate::proxy::master::{MasterProxy, WRITES};
use crate::proxy::rules::{Action, Rule};
use crate::proxy::tcp::TcpProxy;
use crate::stand_in::{Fault, Mode};
use crate::world::World;

/// The code of a process that `kill -9` ended.
const KILLED: i32 = 128 + 9;
const LOOK: Duration = Duration::from_millis(10);
/// How long answers of Kafka and the database are under way when one is to be lost: longer than a look.
const UNDER_WAY: Duration = Duration::from_millis(400);
/// The part of it after which a commit has been carried out.
const CARRIED_OUT: Duration = Duration::from_millis(100);

/// Calls of Auto Scaling that an operator makes and that change something.
const SCALING: &str = "^(SetDesiredCapacity|TerminateInstanceInAutoScalingGroup|SetInstanceProtection|\
                       UpdateAutoScalingGroup|RecordLifecycleActionHeartbeat|CompleteLifecycleAction)$";

/// How the operator that lives now will end.
enum Death {
    /// Not at all.
    None,
    /// It ends itself: the side `before` or `after`.
    Own,
    /// When the proxy has dropped the answer of a write that was carried out.
    AnswerDropped(KubernetesProxy),
    /// When the proxy before the Spark master has dropped more answers than so many, each of a call that was carried
    /// out.
    MasterUnheard(usize),
    /// When the stand-in has dropped more answers about this resource than so many, each of a call that it carried out.
    AnswerLost(String, usize),
    /// When Kafka has more partitions than these; the answer is on its way.
    Grown(usize),
    /// When that many commits were sent; the answer of the last is on its way.
    Committed(u32),
}

/// The operators of a world, one after the other.
pub struct Lives<'a> {
    world: &'a World,
    config: Value,
    points: Vec<Point>,
    /// Operators that were started.
    started: usize,
    /// Operators that ended at their points.
    ended: usize,
    kafka: TcpProxy,
    database: TcpProxy,
    master: Option<MasterProxy>,
    death: Death,
}

impl<'a> Lives<'a> {
    /// For operators with this configuration, over the schema at `database`, that end at `points`.
    pub async fn new(world: &'a World, database: &str, points: &[Point]) -> Result<Lives<'a>> {
        let (kafka, proxy) = futures::try_join!(world.kafka_proxy(), world.database_proxy())?;
        let config = json!({"database": {"url": proxy.instead(database)}});
        let (points, death) = (points.to_vec(), Death::None);
        Ok(Lives { world, config, points, started: 0, ended: 0, kafka, database: proxy, master: None, death })
    }

    /// Before this Spark master, real or fake, a proxy shall stand; needed for points of `spark`.
    pub async fn with_master(self, master: &Spark) -> Result<Lives<'a>> {
        Ok(Lives { master: Some(MasterProxy::start(master).await?), ..self })
    }

    /// What objects have to name as Spark master, if there is a proxy before one.
    pub fn master(&self) -> Option<&Spark> {
        self.master.as_ref().map(|proxy| &proxy.address)
    }

    /// What objects have to name as bootstrap server.
    pub fn bootstrap(&self) -> &str {
        &self.kafka.address
    }

    /// How many operators have ended at their points.
    pub fn ended(&self) -> usize {
        self.ended
    }

    /// The writes of the operator that lives now.
    pub fn counts(&self) -> Result<Counts> {
        Counts::read(&self.counted())
    }

    /// Walks `path` while one operator after the other ends; returns one that lives at its end and goes on living.
    /// Errors when the path does, or when an operator ends as it should not.
    pub async fn through(&mut self, path: impl Future<Output = Result<()>>) -> Result<Operator> {
        let mut path = pin!(path);
        let mut operator = self.next().await?;
        loop {
            tokio::select! {
                walked = &mut path => {
                    walked?;
                    return self.last(operator).await;
                }
                () = tokio::time::sleep(LOOK) => {}
            }
            if self.is_over(&mut operator).await? {
                self.ended += 1;
                operator = self.next().await?;
            }
        }
    }

    /// An operator that has not come to its point by the end of the path gives way to one that has none.
    async fn last(&mut self, mut operator: Operator) -> Result<Operator> {
        if matches!(self.death, Death::None) {
            return Ok(operator);
        }
        // It may come to its point at this very moment.
        if operator.alive() {
            operator.kill9().await?;
        }
        self.points.clear();
        self.next().await
    }

    /// Starts the next operator.
    async fn next(&mut self) -> Result<Operator> {
        self.kafka.heal().await?;
        self.database.heal().await?;
        self.master.iter().for_each(|proxy| proxy.http.clear());
        let point = self.points.get(self.started).cloned();
        self.started += 1;
        let counted = self.counted();
        let options = Options::config(self.config.clone()).env(COUNT_WRITES, &counted.display().to_string());
        let (death, options) = match point {
            None => (Death::None, options),
            Some(point) if point.side != Side::Effect => (Death::Own, options.env(CRASH_AT, &point.to_string())),
            Some(point) => self.arrange(&point, options).await?,
        };
        self.death = death;
        Operator::start(self.world, options).await
    }

    /// Sees to it that the answer of one write does not arrive.
    async fn arrange(&self, point: &Point, options: Options) -> Result<(Death, Options)> {
        let earlier = point.number - 1;
        let death = match point.system.as_str() {
            "autoscaling" => self.lost(&self.world.group, SCALING, earlier).await,
            "spark" => {
                let proxy = self.master.as_ref().context("no proxy stands before a Spark master")?;
                proxy.http.add(Rule::new(WRITES, Action::DropAnswer)?.writes().after(earlier));
                Ok(Death::MasterUnheard(unheard(&proxy.http.requests())))
            }
            "s3" => self.lost(&self.world.bucket, "^PutBucketLifecycleConfiguration$", earlier).await,
            "kafka" => {
                ensure!(earlier == 0, "only the first growth is told apart: {point}");
                self.kafka.delay(Duration::ZERO, UNDER_WAY);
                Ok(Death::Grown(self.partitions().await?))
            }
            "sql" => {
                self.database.delay(Duration::ZERO, UNDER_WAY);
                Ok(Death::Committed(point.number))
            }
            _ => {
                let (proxy, rule) = (self.world.kubernetes_proxy().await?, self.dropped(point)?);
                proxy.add(rule);
                let options = options.behind(&proxy);
                return Ok((Death::AnswerDropped(proxy), options));
            }
        };
        Ok((death?, options))
    }

    /// The stand-in drops the answer of the call after `earlier` such calls.
    async fn lost(&self, resource: &str, action: &str, earlier: u32) -> Result<Death> {
        let fault = Fault { after_calls: earlier, ..Fault::new(resource, action, Mode::Lost) };
        let before = self.answers_lost(resource).await?;
        self.world.fault(&fault).await?;
        Ok(Death::AnswerLost(resource.to_owned(), before))
    }

    async fn answers_lost(&self, resource: &str) -> Result<usize> {
        let calls = self.world.calls(resource, true).await?;
        Ok(calls.iter().filter(|call| call.outcome.fault.is_some()).count())
    }

    /// The rule that drops the answer of this write to Kubernetes.
    fn dropped(&self, point: &Point) -> Result<Rule> {
        // The first operator of a world creates its epoch in the same way as an intent.
        let epochs = u32::from(point.system == "kubernetes" && self.started == 1);
        let path = match point.system.as_str() {
            "kubernetes" => "/configmaps($|[?]|/logwise-intent-)",
            // The first write to any ConfigMap.
            "epoch" => "/configmaps($|[?]|/logwise-epoch-)",
            "status" => "/apis/logwise[.]io/.*/status($|[?])",
            "events" => "/events($|[?/])",
            "finalizers" => "/retentionpolicies/[^/?]+($|[?])",
            "deployments" => "/deployments/[^/?]+/scale($|[?])|/pods/[^/?]+($|[?])",
            other => bail!("nobody writes to {other:?}"),
        };
        Ok(Rule::new(path, Action::DropAnswer)?.writes().after(point.number - 1 + epochs))
    }

    /// Whether the operator has ended at its point; ends it when that is due.
    async fn is_over(&self, operator: &mut Operator) -> Result<bool> {
        if operator.alive() && !self.is_due().await? {
            return Ok(false);
        }
        if operator.alive() && !matches!(self.death, Death::Own) {
            operator.kill9().await?;
            return Ok(true);
        }
        let code = operator.wait_exit().await?;
        ensure!(
            matches!(self.death, Death::Own) && code == KILLED,
            "the operator ended with {code}:\n{}",
            operator.log()?
        );
        Ok(true)
    }

    async fn is_due(&self) -> Result<bool> {
        Ok(match &self.death {
            Death::None | Death::Own => false,
            Death::AnswerDropped(proxy) => unheard(&proxy.requests()) > 0,
            Death::MasterUnheard(before) => {
                self.master.as_ref().is_some_and(|proxy| unheard(&proxy.http.requests()) > *before)
            }
            Death::AnswerLost(resource, before) => self.answers_lost(resource).await? > *before,
            Death::Grown(before) => self.partitions().await? > *before,
            Death::Committed(number) => {
                // The file is being written, or there is none yet.
                let sent = Counts::read(&self.counted()).ok().and_then(|counts| counts.0.get("sql").copied());
                let reached = sent.is_some_and(|sent| sent >= *number);
                if reached {
                    tokio::time::sleep(CARRIED_OUT).await;
                }
                reached
            }
        })
    }

    async fn partitions(&self) -> Result<usize> {
        Ok(topics(self.world).await?.values().sum())
    }

    fn counted(&self) -> PathBuf {
        self.world.bed.folder.path(&format!("worlds/{}/writes-{}.json", self.world.id, self.started))
    }
}

/// Requests that were carried out and whose answers were dropped.
fn unheard(requests: &[Request]) -> usize {
    requests.iter().filter(|one| one.done.is_some() && one.faults.contains(&Action::DropAnswer)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    #[test]
    fn every_call_that_scales_is_known_and_no_other() {
        let scaling = Regex::new(SCALING).unwrap();
        for action in ["SetDesiredCapacity", "TerminateInstanceInAutoScalingGroup", "CompleteLifecycleAction"] {
            assert!(scaling.is_match(action), "{action}");
        }
        for action in ["DescribeAutoScalingGroups", "SetDesiredCapacityX", "DeleteAutoScalingGroup"] {
            assert!(!scaling.is_match(action), "{action}");
        }
    }
}

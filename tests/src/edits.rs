//! The time from an edit to its conditions, as users see it.

use anyhow::{Context, Result};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use kube::api::{Api, Patch, PatchParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use logwise_api::LogwiseCluster;
use logwise_testbed::bed::Bed;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A client with the rights of the bed's administrator.
pub async fn client(bed: &Bed) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(&bed.kube.kubeconfig)?;
    Ok(Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)?)
}

/// An edit of a LogwiseCluster that changes nothing outside. Each other `turn` is another value, none of them that of a
/// new object, whose edit would be none and wait in vain for what follows.
pub fn idle_edit(turn: usize) -> Patch<Value> {
    Patch::Merge(json!({"spec": {"kafka": {"topics": {"maxPartitions": 13 + turn % 2}}}}))
}

/// Edits of one namespace's LogwiseClusters and the conditions that follow.
pub struct Edits {
    api: Api<LogwiseCluster>,
    events: BoxStream<'static, kube::Result<WatchEvent<LogwiseCluster>>>,
    turn: usize,
}

impl Edits {
    /// Watches `namespace` from now on.
    pub async fn begin(client: &Client, namespace: &str) -> Result<Edits> {
        let api: Api<LogwiseCluster> = Api::namespaced(client.clone(), namespace);
        Ok(Edits { events: watch(&api).await?, api, turn: 0 })
    }

    /// Edits `name` and returns how long it took until `Ready` is True for this edit.
    pub async fn edit(&mut self, name: &str) -> Result<Duration> {
        self.turn += 1;
        let began = Instant::now();
        let edited = self.api.patch(name, &PatchParams::default(), &idle_edit(self.turn)).await?;
        let generation = edited.metadata.generation.context("no generation")?;
        loop {
            match self.events.try_next().await? {
                Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    if object.metadata.name.as_deref() == Some(name) && is_ready(&object, generation) {
                        return Ok(began.elapsed());
                    }
                }
                Some(_) => {}
                // The server ends each watch after some minutes.
                None => self.events = watch(&self.api).await?,
            }
        }
    }
}

async fn watch(
    api: &Api<LogwiseCluster>,
) -> kube::Result<BoxStream<'static, kube::Result<WatchEvent<LogwiseCluster>>>> {
    Ok(Box::pin(api.watch(&WatchParams::default(), "0").await?))
}

fn is_ready(object: &LogwiseCluster, generation: i64) -> bool {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    let mut ready = conditions.filter(|c| c.type_ == "Ready" && c.observed_generation == Some(generation));
    ready.any(|c| c.status.as_str() == "True")
}

/// The time that `percent` of `times` do not exceed. Errors when there is none.
pub fn percentile(times: &[Duration], percent: usize) -> Result<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort();
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().context("nothing was measured")
}

//! What a world has of Spark: a group of real workers at a master of its own, the real job, and where that job stands.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::World;
use crate::cache::Cache;
use crate::local_job::{self, Position};
use crate::s3::S3;
use crate::spark::Spark;
use crate::spark_cluster::SparkCluster;
use crate::stand_in::NewObject;
use crate::stream::{self, Job};
use crate::topics;

/// The key of the object that pauses a job: see [`World::pause_job`].
const PAUSE: &str = "testbed/pause";

impl World {
    /// Creates the Auto Scaling group with a real Spark worker of this cluster behind each instance.
    pub async fn create_group_at(&self, cluster: &SparkCluster, (min, max, desired): (i64, i64, i64)) -> Result<()> {
        let tags = cluster.tags();
        let tags: Vec<(&str, &str)> = tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.stand_in.create_group(&self.group, (min, max, desired), &tags).await
    }

    /// The real job over the world's topics and bucket, at this cluster. It can be paused.
    pub fn job(&self, cluster: &SparkCluster) -> Job {
        let pattern = format!("{}.*", self.topic_prefix.replace('.', "[.]"));
        let job = Job::at(&self.bed, (&cluster.url(), &cluster.address().rest()), &self.bucket, &pattern);
        Job { pause: Some(PAUSE.to_owned()), ..job }
    }

    /// Submits [`World::job`], as somebody would by hand; returns the submission's id.
    pub async fn create_job(&self, cluster: &SparkCluster) -> Result<String> {
        stream::submit(&spark()?, &self.job(cluster)).await
    }

    /// The job as `spec.spark.driver`.
    pub fn driver(&self, job: &Job) -> Result<Value> {
        stream::driver(&spark()?, job)
    }

    /// From now on no batch of the job comes to its end, if it has anything to read.
    pub async fn pause_job(&self) -> Result<()> {
        self.put_objects(&[NewObject::text(PAUSE, "")]).await
    }

    /// The job goes on.
    pub async fn resume_job(&self) -> Result<()> {
        self.s3().delete_object(&self.bucket, PAUSE).await
    }

    /// Where the job stands, as its checkpoint tells it. Errors while no batch is committed.
    pub async fn position(&self) -> Result<Position> {
        local_job::position(&self.s3(), &self.bucket).await
    }

    /// How many records of these topics the job has not committed yet.
    pub async fn backlog(&self, names: &[&str]) -> Result<i64> {
        let mut ends = 0;
        for name in names {
            ends += topics::end_offsets(&self.bed.kafka.bootstrap, &self.topic(name)).await?;
        }
        Ok(ends - self.position().await?.read)
    }

    /// Waits until the job has committed a batch of this number or a later one.
    pub async fn wait_batch(&self, batch: u64, within: Duration) -> Result<Position> {
        self.wait_until(&format!("batch {batch}"), within, async || {
            let position = self.position().await?;
            ensure!(position.batch >= batch, "the last one is {}", position.batch);
            Ok(position)
        })
        .await
    }

    /// The addresses of the group's instances in service.
    pub async fn hosts(&self) -> Result<BTreeSet<String>> {
        let group = self.group(&self.group).await?;
        let serving = group.instances.into_iter().filter(|instance| instance.lifecycle_state == "InService");
        Ok(serving.map(|instance| instance.private_ip).collect())
    }

    /// Waits until so many instances are in service and the cluster has a living worker on each of them and on no
    /// other.
    pub async fn wait_workers(&self, cluster: &SparkCluster, number: usize, within: Duration) -> Result<()> {
        self.wait_until(&format!("{number} workers"), within, async || {
            let (hosts, overview) = (self.hosts().await?, cluster.overview().await?);
            let alive: BTreeSet<String> = overview.alive_hosts().into_iter().map(str::to_owned).collect();
            ensure!(hosts.len() == number, "in service are {hosts:?}");
            ensure!(alive == hosts, "in service are {hosts:?}, alive are {alive:?}");
            Ok(())
        })
        .await
    }

    /// The instance with this address.
    pub async fn instance_at(&self, host: &str) -> Result<String> {
        let group = self.group(&self.group).await?;
        let found = group.instances.into_iter().find(|instance| instance.private_ip == host);
        Ok(found.with_context(|| format!("no instance of {} has {host}", self.group))?.id)
    }

    fn s3(&self) -> S3 {
        S3::new(&self.bed.aws.endpoint)
    }
}

fn spark() -> Result<Spark> {
    Spark::locate(&Cache::of_user()?)
}

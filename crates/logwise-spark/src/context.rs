//! What the Spark controller works with. One term has one; what it remembers ends with the term.

use crate::driver::Drivers;
use crate::master::Masters;
use crate::memory::Memory;
use kube::Client;
use kube::runtime::reflector::{ObjectRef, Store};
use logwise_api::LogwiseCluster;
use logwise_aws::AwsClients;
use logwise_runtime::Shell;
use std::sync::Arc;

/// What the Spark controller works with.
pub struct Context {
    /// Where it reports to.
    pub shell: Arc<Shell>,
    /// Reads and scales Deployments, in the objects' own namespaces.
    pub client: Client,
    /// AWS clients.
    pub aws: Arc<AwsClients>,
    /// Name of this installation, part of the external ids.
    pub installation: String,
    /// The way to the Spark masters, shared by all objects that name the same ones.
    pub masters: Masters,
    /// What is remembered of drivers.
    pub drivers: Drivers,
    /// What is remembered of workers and their load.
    pub memory: Memory,
    /// Seconds between two looks.
    pub period_seconds: u32,
    /// All pipelines.
    pub clusters: Store<LogwiseCluster>,
}

impl Context {
    /// Forgets an object that was deleted.
    pub fn forget(&self, uid: &str) {
        self.memory.forget(uid);
        self.drivers.forget(uid);
    }

    /// Forgets this object after a look at it, if it was deleted meanwhile: what the look has noted since would stay.
    pub(crate) fn forget_gone(&self, cluster: &LogwiseCluster) {
        let now = self.clusters.get(&ObjectRef::from_obj(cluster));
        if now.is_none_or(|now| now.metadata.uid != cluster.metadata.uid) {
            self.forget(cluster.metadata.uid.as_deref().unwrap_or_default());
        }
    }
}

//! A Deployment of pods that kwok plays, as workers of a pipeline.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::World;

const AVAILABLE: Duration = Duration::from_secs(60);
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A pod of a Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerPod {
    /// Its name.
    pub name: String,
    /// Its address.
    pub ip: String,
    /// What its deletion costs; none is as 0.
    pub cost: Option<String>,
    /// The name of its ReplicaSet.
    pub replica_set: String,
}

impl World {
    /// The labels of a Deployment's pods, as one selector.
    pub fn worker_selector(&self, name: &str) -> String {
        format!("app={name}")
    }

    /// Creates a Deployment of that many pods in the world's namespace, and returns when all are available.
    pub async fn create_deployment(&self, name: &str, replicas: u32) -> Result<()> {
        self.apply(&deployment(name, replicas, "1").to_string()).await?;
        self.wait_available(name, replicas).await
    }

    /// Rolls the Deployment: its pods are to be those of another ReplicaSet from now on. Returns at once.
    pub async fn roll_deployment(&self, name: &str, version: &str) -> Result<()> {
        let patch = json!({"spec": {"template": {"metadata": {"annotations": {"version": version}}}}}).to_string();
        self.kubectl(&["patch", "deployment", name, "--type", "merge", "-p", &patch]).await.map(drop)
    }

    /// Waits until the Deployment has that many pods, all available and all of its newest ReplicaSet.
    pub async fn wait_available(&self, name: &str, replicas: u32) -> Result<()> {
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/{name}", self.namespace);
        self.wait_until(&format!("{replicas} available pods of {name}"), AVAILABLE, async || {
            let object = self.api.get(&path).await?;
            let status = &object["status"];
            let number = |field: &str| status[field].as_u64().unwrap_or_default();
            let wanted = u64::from(replicas);
            let right = ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|one| number(one) == wanted);
            let seen = status["observedGeneration"] == object["metadata"]["generation"];
            ensure!(right && seen, "status is {status}");
            Ok(())
        })
        .await
    }

    /// The names of the Deployments of the world's namespace.
    pub async fn deployments(&self) -> Result<Vec<String>> {
        let list = self.api.get(&format!("/apis/apps/v1/namespaces/{}/deployments", self.namespace)).await?;
        let items = list["items"].as_array().into_iter().flatten();
        Ok(items.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect())
    }

    /// The pods of a Deployment that are not being deleted, by name.
    pub async fn worker_pods(&self, name: &str) -> Result<Vec<WorkerPod>> {
        let selector = self.worker_selector(name).replace('=', "%3D");
        let path = format!("/api/v1/namespaces/{}/pods?labelSelector={selector}", self.namespace);
        let list = self.api.get(&path).await?;
        let mut pods: Vec<WorkerPod> = list["items"].as_array().into_iter().flatten().filter_map(pod).collect();
        pods.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(pods)
    }
}

fn pod(object: &Value) -> Option<WorkerPod> {
    let (metadata, text) = (&object["metadata"], |value: &Value| value.as_str().map(str::to_owned));
    let there = metadata["deletionTimestamp"].is_null();
    let pod = WorkerPod {
        name: text(&metadata["name"])?,
        ip: text(&object["status"]["podIP"]).unwrap_or_default(),
        cost: text(&metadata["annotations"][COST]),
        replica_set: text(&metadata["ownerReferences"][0]["name"]).unwrap_or_default(),
    };
    there.then_some(pod)
}

fn deployment(name: &str, replicas: u32, version: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": {"version": version}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "worker", "image": "registry.invalid/spark-worker:1"}],
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_read_and_those_that_go_are_left_out() {
        let object = |deleted: Value| {
            json!({"metadata": {"name": "w-1", "deletionTimestamp": deleted, "annotations": {COST: "100"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "w"}]}, "status": {"podIP": "10.240.0.1"}})
        };
        let wanted = WorkerPod {
            name: "w-1".into(),
            ip: "10.240.0.1".into(),
            cost: Some("100".into()),
            replica_set: "w".into(),
        };
        assert_eq!(pod(&object(Value::Null)), Some(wanted));
        assert_eq!(pod(&object(json!("2026-11-28T00:00:00Z"))), None);
        assert_eq!(
            pod(&json!({"metadata": {"name": "w-2"}})).map(|pod| (pod.ip, pod.cost)),
            Some((String::new(), None))
        );
    }
}

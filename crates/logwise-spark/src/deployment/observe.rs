//! What one look finds out about a Deployment: two reads, the Deployment and its pods.

use super::error::DeploymentError;
use super::{COST, KIND, MANAGER};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1;
use kube::api::ListParams;
use kube::core::Selector;
use kube::{Api, Client, ResourceExt};
use logwise_plan::Known;
use logwise_plan::workers::{FailedLaunch, Member, MemberState, Obstacle, Pool};
use logwise_runtime::kubernetes::within;
use logwise_runtime::words;
use std::collections::BTreeSet;

/// Pods listed at once.
const PAGE: u32 = 500;

/// Pods that are looked at: as many as there may be workers, and some that come and go.
const MOST_PODS: usize = 12_000;

/// Longest message of the Deployment that is told, in characters.
const LONGEST: usize = 300;

/// What one look at a Deployment found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Its pods; absent: there is no such Deployment, or it is being deleted.
    pub pool: Known<Pool>,
    /// Its uid: one that was made again under its name is another one.
    pub uid: Option<String>,
    /// Its label selector.
    pub selector: Option<String>,
    /// Why it could not be read.
    pub error: Option<DeploymentError>,
}

impl Found {
    /// The record's name of the Deployment.
    pub fn resource(&self, namespace: &str, name: &str) -> Option<String> {
        self.uid.as_ref().map(|uid| format!("{KIND}{namespace}/{name}/{uid}"))
    }

    fn unread(error: DeploymentError) -> Self {
        Self { pool: Known::Unknown(error.to_string()), uid: None, selector: None, error: Some(error) }
    }
}

/// Looks at the Deployment of this name and at its pods.
pub(crate) async fn observe(client: &Client, namespace: &str, name: &str) -> Found {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let deployment = match within("reading the Deployment of the workers", api.get_opt(name)).await {
        Ok(Some(deployment)) if deployment.metadata.deletion_timestamp.is_none() => deployment,
        Ok(_) => return Found { pool: Known::Absent, uid: None, selector: None, error: None },
        Err(error) => return Found::unread(error.into()),
    };
    let (uid, selector) = (deployment.uid(), selector(&deployment));
    let pods = match &selector {
        Ok(selector) => pods(client, namespace, selector).await,
        Err(error) => Err(error.clone()),
    };
    let (pool, error) = match pods {
        Ok(pods) => (Known::Known(pool(&deployment, &pods)), None),
        Err(error) => (Known::Unknown(error.to_string()), Some(error)),
    };
    Found { pool, uid, selector: selector.ok(), error }
}

/// The selector of its pods, as the API takes it.
fn selector(deployment: &Deployment) -> Result<String, DeploymentError> {
    let selector = deployment.spec.as_ref().map(|spec| spec.selector.clone()).unwrap_or_default();
    let selector = Selector::try_from(selector).map_err(|error| DeploymentError::unclear(&error.to_string()))?;
    // An empty one would be every pod of the namespace.
    if selector.selects_all() { Err(DeploymentError::unclear("it is empty")) } else { Ok(selector.to_string()) }
}

async fn pods(client: &Client, namespace: &str, selector: &str) -> Result<Vec<Pod>, DeploymentError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut params = ListParams::default().labels(selector).limit(PAGE);
    let mut pods = Vec::new();
    loop {
        let page = within("listing the pods of the workers", api.list(&params)).await?;
        pods.extend(page.items);
        if pods.len() > MOST_PODS {
            return Err(DeploymentError::too_many(MOST_PODS));
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(pods),
        }
    }
}

fn pool(deployment: &Deployment, pods: &[Pod]) -> Pool {
    let spec = deployment.spec.as_ref();
    // Absent means one.
    let desired = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let obstacles = is_rolling(deployment).then_some(Obstacle::Rollout);
    Pool {
        min_size: 0,
        max_size: i32::MAX,
        desired,
        members: pods.iter().filter(|pod| counts(pod)).map(member).collect(),
        newcomers_protected: Known::Absent,
        obstacles: obstacles.into_iter().collect::<BTreeSet<_>>(),
        failed_launch: deployment.status.as_ref().and_then(failed_launch),
        hook: None,
    }
}

/// Whether pods of another template are there, or may come: what a pod costs counts only within one ReplicaSet.
fn is_rolling(deployment: &Deployment) -> bool {
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or_default();
    let status = deployment.status.clone().unwrap_or_default();
    // Kubernetes has not looked at the newest spec yet.
    let unseen = status.observed_generation < deployment.metadata.generation;
    let old = status.replicas.unwrap_or_default() != status.updated_replicas.unwrap_or_default();
    paused || unseen || old
}

/// Why Kubernetes makes no pods, in its own words, such as for want of quota.
fn failed_launch(status: &DeploymentStatus) -> Option<FailedLaunch> {
    let conditions = status.conditions.as_ref()?;
    let failure =
        conditions.iter().find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    let at = failure.last_transition_time.as_ref()?.0;
    let text = failure.message.as_deref().or(failure.reason.as_deref()).unwrap_or_default();
    Some(FailedLaunch { at, text: words::cut(text, LONGEST) })
}

/// Whether Kubernetes counts the pod: one that has ended is only left over.
fn counts(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

fn member(pod: &Pod) -> Member {
    let status = pod.status.as_ref();
    let state = if pod.metadata.deletion_timestamp.is_some() {
        MemberState::Leaving
    } else if status.is_some_and(is_ready) {
        MemberState::InService
    } else {
        MemberState::Pending
    };
    let address = status.and_then(|status| status.pod_ip.clone()).filter(|ip| !ip.is_empty());
    Member {
        id: pod.name_any(),
        address: address.map_or_else(|| Known::Unknown("the pod has no address yet".to_owned()), Known::Known),
        state,
        healthy: true,
        protected: false,
        zone: None,
        current_template: true,
        since: pod.creation_timestamp().map(|time| time.0),
        cost: pod.annotations().get(COST).and_then(|cost| cost.parse().ok()),
        cost_of_others: pod.annotations().contains_key(COST) && !is_ours(pod),
        replica_set: replica_set(pod),
    }
}

/// Whether the cost of the pod is what this operator has set last: who changes it takes it over.
fn is_ours(pod: &Pod) -> bool {
    let name = format!("f:{COST}");
    let has_cost = |fields: &FieldsV1| fields.0["f:metadata"]["f:annotations"].get(&name).is_some();
    let mut entries = pod.metadata.managed_fields.iter().flatten();
    entries.any(|entry| entry.manager.as_deref() == Some(MANAGER) && entry.fields_v1.as_ref().is_some_and(has_cost))
}

fn is_ready(status: &PodStatus) -> bool {
    let conditions = status.conditions.iter().flatten();
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The ReplicaSet that sees to the pod.
fn replica_set(pod: &Pod) -> Option<String> {
    let owner = pod.owner_references().iter().find(|owner| owner.controller == Some(true))?;
    (owner.kind == "ReplicaSet").then(|| owner.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::server::{Request, Server, json};
    use serde_json::{Value, json};

    fn deployment(fields: Value) -> Value {
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "workers", "namespace": "team-a", "uid": "u1", "generation": 3},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "spark", "role": "worker"}}, "template": {}},
            "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2},
        });
        for (part, value) in fields.as_object().unwrap() {
            object[part].as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        }
        object
    }

    fn pod(name: &str, ready: bool, fields: Value) -> Value {
        let ready = if ready { "True" } else { "False" };
        let owner =
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "workers-1", "uid": "r", "controller": true});
        let mut object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "creationTimestamp": "2026-11-28T00:00:00Z", "ownerReferences": [owner]},
            "status": {"phase": "Running", "podIP": "10.244.0.7", "conditions": [{"type": "Ready", "status": ready}]},
        });
        for (part, value) in fields.as_object().unwrap() {
            object[part].as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        }
        object
    }

    fn read(deployment: Value, pods: &[Value]) -> Pool {
        let pods: Vec<Pod> = pods.iter().map(|pod| serde_json::from_value(pod.clone()).unwrap()).collect();
        pool(&serde_json::from_value(deployment).unwrap(), &pods)
    }

    async fn client(server: &Server) -> Client {
        let url = format!("http://127.0.0.1:{}", server.port());
        Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap()
    }

    #[test]
    fn pods_are_members_with_address_readiness_cost_and_replica_set() {
        let cost = json!({"metadata": {"annotations": {COST: "-5"}}});
        let leaving = json!({"metadata": {"deletionTimestamp": "2026-11-28T01:00:00Z"}});
        let found = read(
            deployment(json!({})),
            &[
                pod("a", true, cost),
                pod("b", false, json!({"status": {"podIP": ""}})),
                pod("c", true, leaving),
                pod("evicted", false, json!({"status": {"phase": "Failed"}})),
            ],
        );
        assert_eq!(
            (found.desired, found.in_service(), found.members.len()),
            (2, 1, 3),
            "what has ended does not count"
        );
        let [a, b, c] = found.members.as_slice() else { unreachable!() };
        assert_eq!(
            (&a.state, a.cost, a.replica_set.as_deref()),
            (&MemberState::InService, Some(-5), Some("workers-1"))
        );
        assert_eq!(a.address, Known::Known("10.244.0.7".into()));
        assert_eq!(a.since.unwrap().to_string(), "2026-11-28T00:00:00Z");
        assert!(b.address.is_unknown() && b.state == MemberState::Pending && b.cost.is_none());
        assert_eq!(c.state, MemberState::Leaving);
        assert_eq!((found.newcomers_protected, found.min_size, found.max_size), (Known::Absent, 0, i32::MAX));
    }

    #[test]
    fn a_cost_is_ours_if_nobody_has_changed_it_since() {
        let of = |cost: Option<&str>, managers: &[(&str, &str)]| {
            let annotations = cost.map_or_else(|| json!({}), |cost| json!({COST: cost}));
            let entry = |(manager, annotation): &(&str, &str)| {
                let fields = json!({"f:metadata": {"f:annotations": {(format!("f:{annotation}")): {}}}});
                json!({"manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields})
            };
            let entries: Vec<Value> = managers.iter().map(entry).collect();
            let metadata = json!({"metadata": {"annotations": annotations, "managedFields": entries}});
            read(deployment(json!({})), &[pod("a", true, metadata)]).members[0].cost_of_others
        };
        let top = Some("2147483647");
        assert!(!of(top, &[("kubelet", "other"), (MANAGER, COST)]));
        assert!(of(top, &[(MANAGER, "other"), ("kubectl-annotate", COST)]), "somebody has changed it");
        assert!(of(top, &[]) && !of(None, &[]));
    }

    #[test]
    fn a_pod_that_no_replica_set_sees_to_has_none() {
        let owner = |kind: &str, controller: bool| {
            json!({"metadata": {"ownerReferences":
                [{"apiVersion": "v1", "kind": kind, "name": "x", "uid": "u", "controller": controller}]}})
        };
        for fields in [owner("Job", true), owner("ReplicaSet", false), json!({"metadata": {"ownerReferences": []}})] {
            let found = read(deployment(json!({})), &[pod("a", true, fields.clone())]);
            assert_eq!(found.members[0].replica_set, None, "{fields}");
        }
    }

    #[test]
    fn a_rollout_is_an_obstacle_and_a_change_of_the_number_is_none() {
        let rolls = |fields| !read(deployment(fields), &[]).obstacles.is_empty();
        assert!(!rolls(json!({})));
        assert!(!rolls(json!({"spec": {"replicas": 5}})), "pods come");
        assert!(!rolls(json!({"status": {"replicas": 0, "updatedReplicas": 0}})));
        assert!(rolls(json!({"status": {"updatedReplicas": 1}})), "pods of the old template are there");
        assert!(rolls(json!({"metadata": {"generation": 4}})), "Kubernetes has not looked yet");
        assert!(rolls(json!({"spec": {"paused": true}})));
        let mut fresh = deployment(json!({}));
        fresh["status"] = json!({});
        assert!(!read(fresh, &[]).obstacles.is_empty());
    }

    #[test]
    fn absent_replicas_mean_one() {
        let mut object = deployment(json!({}));
        object["spec"].as_object_mut().unwrap().remove("replicas");
        assert_eq!(read(object, &[]).desired, 1);
    }

    #[test]
    fn what_kubernetes_says_about_pods_that_it_cannot_make_is_kept() {
        let failure = |status: &str| {
            json!({"status": {"conditions": [{"type": "ReplicaFailure", "status": status, "reason": "FailedCreate",
                "message": "exceeded quota", "lastTransitionTime": "2026-11-28T00:00:00Z"}]}})
        };
        let launch = read(deployment(failure("True")), &[]).failed_launch.unwrap();
        assert_eq!((launch.text.as_str(), launch.at.to_string().as_str()), ("exceeded quota", "2026-11-28T00:00:00Z"));
        assert_eq!(read(deployment(failure("False")), &[]).failed_launch, None);
    }

    #[test]
    fn an_empty_selector_is_not_every_pod_of_the_namespace() {
        let of = |spec: Value| {
            let mut object = deployment(json!({}));
            object["spec"]["selector"] = spec;
            selector(&serde_json::from_value(object).unwrap())
        };
        assert_eq!(of(json!({"matchLabels": {"a": "1"}})).as_deref(), Ok("a=1"));
        let expression = json!([{"key": "a", "operator": "In", "values": ["1", "2"]}]);
        assert_eq!(of(json!({"matchExpressions": expression})).as_deref(), Ok("a in (1,2)"));
        assert!(of(json!({})).unwrap_err().to_string().contains("it is empty"));
        assert!(of(json!({"matchExpressions": [{"key": "a", "operator": "Near"}]})).is_err());
    }

    #[tokio::test]
    async fn two_reads_find_the_deployment_and_its_pods_page_by_page() {
        let list = |items: Value, more: &str| {
            let metadata = json!({"continue": more});
            json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items})
        };
        let answer = move |request: &Request| match request.before {
            0 => deployment(json!({})),
            1 => list(json!([pod("a", true, json!({}))]), "next"),
            _ => list(json!([pod("b", true, json!({}))]), ""),
        };
        let server = Server::new(move |request| json(200, &answer(request))).await;
        let found = observe(&client(&server).await, "team-a", "workers").await;
        assert_eq!(found.pool.known().unwrap().in_service(), 2);
        assert_eq!(found.selector.as_deref(), Some("app=spark,role=worker"));
        assert_eq!(found.resource("team-a", "workers").as_deref(), Some("deployment/team-a/workers/u1"));
        let lines: Vec<String> = server.requests().into_iter().map(|request| request.line).collect();
        assert!(lines[0].starts_with("GET /apis/apps/v1/namespaces/team-a/deployments/workers"), "{lines:?}");
        assert!(lines[1].starts_with("GET /api/v1/namespaces/team-a/pods?"), "{lines:?}");
        assert!(lines[1].contains("labelSelector=app%3Dspark%2Crole%3Dworker"), "{lines:?}");
        assert!(lines[2].contains("continue=next") && lines.len() == 3, "{lines:?}");
    }

    #[tokio::test]
    async fn a_deployment_that_is_not_there_is_absent_and_one_that_cannot_be_read_is_unknown() {
        let status = |code: u16, reason: &str| {
            let mut status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code});
            status["reason"] = json!(reason);
            status
        };
        let going = deployment(json!({"metadata": {"deletionTimestamp": "2026-11-28T01:00:00Z"}}));
        let answers = [(404, status(404, "NotFound")), (200, going), (403, status(403, "Forbidden"))];
        for (code, body) in answers {
            let server = Server::new(move |_| json(code, &body)).await;
            let found = observe(&client(&server).await, "team-a", "workers").await;
            assert_eq!((found.pool == Known::Absent, found.error.is_some()), (code != 403, code == 403), "{found:?}");
            assert_eq!(found.resource("team-a", "workers"), None);
        }
        let server = Server::new(move |request| match request.before {
            0 => json(200, &deployment(json!({}))),
            _ => json(403, &status(403, "Forbidden")),
        })
        .await;
        let found = observe(&client(&server).await, "team-a", "workers").await;
        assert!(found.pool.is_unknown() && found.error.is_some() && found.selector.is_some(), "{found:?}");
    }
}

//! What is changed at a Deployment: its scale, and what its pods cost. Nobody else's fields are touched.

use super::error::DeploymentError;
use super::{COST, MANAGER};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use logwise_runtime::crash;
use logwise_runtime::kubernetes::within;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time a call takes: one attempt, and a moment more.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// Pods that get another cost in one look; the next one goes on.
const MOST_COSTS: usize = 20;

/// Which Deployment is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid: one that was made again under its name is another one.
    pub uid: &'a str,
}

impl At<'_> {
    fn api(&self, client: &Client) -> Api<Deployment> {
        Api::namespaced(client.clone(), self.namespace)
    }
}

/// The version of the Deployment that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version(String);

/// What Kubernetes says right before the number is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// It is as it was.
    Go(Version),
    /// The number is the new one already.
    AlreadySo,
    /// It is no longer as the plan assumed.
    Superseded {
        /// What has changed.
        why: String,
    },
}

/// What became of the change of the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scaled {
    /// The number is the new one.
    Done,
    /// Somebody has changed the Deployment since it was checked; the number is as it was.
    Superseded {
        /// What has changed.
        why: String,
    },
}

/// Whether the Deployment still asks for `from` pods.
pub(crate) async fn check(client: &Client, of: &At<'_>, from: i32, to: i32) -> Result<Checked, DeploymentError> {
    let api = of.api(client);
    let scale = within("reading the scale of the Deployment", api.get_scale(of.name)).await?;
    // Zero is left out.
    let replicas = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    let superseded = |why: String| Ok(Checked::Superseded { why });
    if scale.metadata.uid.as_deref() != Some(of.uid) {
        return superseded(format!("another Deployment has the name {}", of.name));
    }
    match scale.resource_version() {
        _ if replicas == to => Ok(Checked::AlreadySo),
        Some(version) if replicas == from => Ok(Checked::Go(Version(version))),
        _ => superseded(format!("Deployment {} asks for {replicas} pods, and not for {from}", of.name)),
    }
}

/// Sets the number of pods by the scale subresource, once, if nothing has changed since [`check`]. `permit` is asked
/// right before the request is sent.
pub(crate) async fn scale(
    client: &Client,
    of: &At<'_>,
    version: &Version,
    to: i32,
    permit: impl Fn() -> Result<(), String> + Send,
) -> Result<Scaled, DeploymentError> {
    let api = of.api(client);
    let patch = json!({"metadata": {"resourceVersion": version.0}, "spec": {"replicas": to}});
    let (params, patch) = (manager(), Patch::Merge(patch));
    let write = crash::begin(crash::System::Deployments);
    let scaled = match permit() {
        Ok(()) => within("scaling the Deployment", api.patch_scale(of.name, &params, &patch)).await,
        Err(why) => {
            write.after();
            return Err(DeploymentError::not_sent(&why));
        }
    };
    write.after();
    match scaled {
        Ok(_) => Ok(Scaled::Done),
        Err(error) if error.is_conflict() => {
            let why = format!("Deployment {} has changed since it was checked", of.name);
            Ok(Scaled::Superseded { why })
        }
        Err(error) => Err(error.into()),
    }
}

/// Sets what pods cost, by their names; one that is gone costs nothing. `permit` is asked before each request.
pub(crate) async fn set_costs(
    client: &Client,
    namespace: &str,
    costs: &BTreeMap<String, i32>,
    permit: impl Fn() -> Result<(), String> + Send,
) -> Result<(), DeploymentError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = manager();
    for (pod, cost) in costs.iter().take(MOST_COSTS) {
        // A patch of nothing but this: one that is applied would make a pod that is gone.
        let patch = Patch::Merge(json!({"metadata": {"annotations": {COST: cost.to_string()}}}));
        let write = crash::begin(crash::System::Deployments);
        let patched = match permit() {
            Ok(()) => within("setting the deletion cost of a pod", api.patch_metadata(pod, &params, &patch)).await,
            Err(why) => {
                write.after();
                return Err(DeploymentError::not_sent(&why));
            }
        };
        write.after();
        match patched {
            Err(error) if !error.is_absent() => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

fn manager() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::server::{Answer, Request, Server, json};
    use logwise_runtime::ErrorClass;
    use serde_json::{Value, json};

    const AT: At<'static> = At { namespace: "team-a", name: "workers", uid: "u1" };

    fn yes() -> Result<(), String> {
        Ok(())
    }

    fn no() -> Result<(), String> {
        Err("the term is over".to_owned())
    }

    fn of(replicas: Option<i32>) -> Value {
        let metadata = json!({"name": "workers", "namespace": "team-a", "uid": "u1", "resourceVersion": "7"});
        let spec = replicas.map_or_else(|| json!({}), |replicas| json!({"replicas": replicas}));
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": spec})
    }

    fn refused(code: u16) -> Answer {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "R",
            "message": "no"});
        json(code, &status)
    }

    async fn with(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> (Server, Client) {
        let server = Server::new(answer).await;
        let url = format!("http://127.0.0.1:{}", server.port());
        (server, Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap())
    }

    #[tokio::test]
    async fn the_number_is_changed_only_from_the_one_that_was_planned_with() {
        let checked = async |replicas, from, to| {
            let (server, client) = with(move |_| json(200, &of(replicas))).await;
            let checked = check(&client, &AT, from, to).await.unwrap();
            let line = &server.requests()[0].line;
            assert!(line.starts_with("GET /apis/apps/v1/namespaces/team-a/deployments/workers/scale"), "{line}");
            checked
        };
        assert_eq!(checked(Some(3), 3, 2).await, Checked::Go(Version("7".into())));
        assert_eq!(checked(None, 0, 1).await, Checked::Go(Version("7".into())), "zero is left out");
        assert_eq!(checked(Some(2), 3, 2).await, Checked::AlreadySo);
        let other = checked(Some(4), 3, 2).await;
        assert!(matches!(&other, Checked::Superseded { why } if why.contains("asks for 4 pods")), "{other:?}");
        let (_server, client) = with(|_| json(200, &of(Some(3)))).await;
        let again = At { uid: "u2", ..AT };
        assert!(matches!(check(&client, &again, 3, 2).await, Ok(Checked::Superseded { .. })), "it was made again");
    }

    #[tokio::test]
    async fn the_scale_is_patched_with_the_version_and_nothing_else() {
        let (server, client) = with(|_| json(200, &of(Some(2)))).await;
        let version = Version("7".into());
        assert_eq!(scale(&client, &AT, &version, 2, yes).await, Ok(Scaled::Done));
        let request = &server.requests()[0];
        let expected = "PATCH /apis/apps/v1/namespaces/team-a/deployments/workers/scale?";
        assert!(request.line.starts_with(expected) && request.line.contains("fieldManager=logwise.io%2Fworkers"));
        assert!(request.head.contains("content-type: application/merge-patch+json"), "{}", request.head);
        let body: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(body, json!({"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 2}}));
        let error = scale(&client, &AT, &version, 2, no).await.unwrap_err();
        assert_eq!(error.to_string(), "nothing was sent: the term is over");
        assert_eq!(server.requests().len(), 1);
    }

    #[tokio::test]
    async fn a_conflict_is_superseded_and_a_failure_may_have_happened() {
        let scaled = async |code| {
            let (server, client) = with(move |_| refused(code)).await;
            let scaled = scale(&client, &AT, &Version("7".into()), 2, yes).await;
            assert_eq!(server.requests().len(), 1, "sent once");
            scaled
        };
        assert!(matches!(scaled(409).await, Ok(Scaled::Superseded { .. })));
        let denied = scaled(403).await.unwrap_err();
        assert_eq!((denied.class(), denied.may_have_happened()), (ErrorClass::Denied, false));
        assert!(scaled(500).await.unwrap_err().may_have_happened());
    }

    #[tokio::test]
    async fn a_cost_is_one_annotation_and_a_pod_that_is_gone_has_none() {
        let pod = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "b"}});
        let (server, client) = with(move |request| match request.before {
            0 => refused(404),
            _ => json(200, &pod),
        })
        .await;
        let costs = BTreeMap::from([("a".to_owned(), i32::MAX), ("b".to_owned(), i32::MIN)]);
        assert_eq!(set_costs(&client, "team-a", &costs, yes).await, Ok(()));
        let requests = server.requests();
        assert_eq!(requests.len(), 2);
        assert!(requests[1].line.starts_with("PATCH /api/v1/namespaces/team-a/pods/b?"), "{}", requests[1].line);
        assert!(requests[1].head.contains("application/merge-patch+json"), "{}", requests[1].head);
        let body: Value = serde_json::from_str(&requests[1].body).unwrap();
        assert_eq!(body["metadata"]["annotations"], json!({COST: "-2147483648"}));
        assert!(set_costs(&client, "team-a", &costs, no).await.is_err());
        assert_eq!(server.requests().len(), 2, "nothing is sent without the permit");
    }

    #[tokio::test]
    async fn a_refused_cost_ends_the_rest() {
        let (server, client) = with(|_| refused(403)).await;
        let costs = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
        assert_eq!(set_costs(&client, "team-a", &costs, yes).await.unwrap_err().class(), ErrorClass::Denied);
        assert_eq!(server.requests().len(), 1);
    }
}

//! Who owns the Deployment that a LogwiseCluster names: the one on record, else the older one.

use super::KIND;
use crate::context::Context;
use kube::ResourceExt;
use logwise_api::LogwiseCluster;
use logwise_runtime::ownership::other_owner;

/// The LogwiseCluster that owns the Deployment, if it is not this one.
pub(crate) async fn rival(cluster: &LogwiseCluster, context: &Context) -> Option<String> {
    let wanted = Wanted::of(cluster)?;
    let contends = |other: &LogwiseCluster| Wanted::of(other).is_some_and(|other| other == wanted);
    let recorded = context.shell.intents.owners_where(|resource| wanted.is(resource)).await;
    other_owner(&context.shell.intents, (cluster, &context.clusters), recorded, contends).await
}

/// The Deployment that a spec names.
#[derive(PartialEq, Eq)]
struct Wanted {
    namespace: String,
    name: String,
}

impl Wanted {
    fn of(cluster: &LogwiseCluster) -> Option<Self> {
        let workers = cluster.spec.spark.as_ref()?.workers.as_ref()?;
        let name = workers.deployment.as_ref()?.name.clone();
        Some(Self { namespace: cluster.namespace().unwrap_or_default(), name })
    }

    /// Whether the intent about this resource is about the Deployment, or about one that had its name.
    fn is(&self, resource: &str) -> bool {
        let named = resource.strip_prefix(KIND).and_then(|rest| rest.rsplit_once('/'));
        named.is_some_and(|(named, _)| named == format!("{}/{}", self.namespace, self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wanted(namespace: &str, name: &str) -> Wanted {
        let workers = json!({"type": "Deployment", "deployment": {"name": name}});
        let object = json!({
            "apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster",
            "metadata": {"namespace": namespace, "name": "demo"},
            "spec": {"spark": {"masters": [{"host": "m"}], "workers": workers}},
        });
        Wanted::of(&serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn a_deployment_is_one_by_its_namespace_and_its_name() {
        assert!(wanted("a", "workers") == wanted("a", "workers"));
        assert!(wanted("a", "workers") != wanted("b", "workers") && wanted("a", "workers") != wanted("a", "others"));
        let workers = wanted("a", "workers");
        assert!(workers.is("deployment/a/workers/uid-1") && workers.is("deployment/a/workers/uid-2"));
        for resource in
            ["deployment/a/workers-2/uid", "deployment/b/workers/uid", "deployment/a/workers", "group/a/workers/u"]
        {
            assert!(!workers.is(resource), "{resource}");
        }
    }
}

//! The finalizer that lets a deleted RetentionPolicy take its rules along.

use crate::controller::Context;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use logwise_api::RetentionPolicy;
use logwise_runtime::kubernetes::{KubernetesError, within};
use logwise_runtime::{NotLeading, crash};
use serde_json::{Value, json};

/// Name of the finalizer.
pub(crate) const FINALIZER: &str = "logwise.io/lifecycle-rules";

/// Field manager of the finalizer, apart from those of status.
const MANAGER: &str = "logwise.io/finalizer";

/// The finalizer could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FinalizerError {
    #[error("the API server did not take the finalizer of {policy}")]
    Patch {
        policy: String,
        #[source]
        source: KubernetesError,
    },
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
}

/// Makes sure that `policy` has the finalizer.
pub(crate) async fn add(context: &Context, policy: &RetentionPolicy) -> Result<(), FinalizerError> {
    if policy.finalizers().iter().any(|name| name == FINALIZER) {
        return Ok(());
    }
    let body = json!({
        "apiVersion": "logwise.io/v1alpha1",
        "kind": "RetentionPolicy",
        "metadata": {"name": policy.name_any(), "namespace": policy.namespace(), "uid": policy.uid(), "finalizers": [FINALIZER]},
    });
    patch(context, policy, &PatchParams::apply(MANAGER).force(), &Patch::Apply(body)).await
}

/// Takes the finalizer away, whoever has put it there: a backup that was restored, or Git. A policy that is gone
/// already is success.
pub(crate) async fn remove(context: &Context, policy: &RetentionPolicy) -> Result<(), FinalizerError> {
    let rest: Vec<&String> = policy.finalizers().iter().filter(|name| *name != FINALIZER).collect();
    if rest.len() == policy.finalizers().len() {
        return Ok(());
    }
    // The resource version refuses the write if anybody changed the list meanwhile.
    let metadata = json!({"resourceVersion": policy.resource_version(), "uid": policy.uid(), "finalizers": rest});
    let body = Patch::Merge(json!({"metadata": metadata}));
    match patch(context, policy, &PatchParams::default(), &body).await {
        Err(FinalizerError::Patch { source, .. }) if source.is_absent() => Ok(()),
        other => other,
    }
}

async fn patch(
    context: &Context,
    policy: &RetentionPolicy,
    params: &PatchParams,
    body: &Patch<Value>,
) -> Result<(), FinalizerError> {
    let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
    let api: Api<RetentionPolicy> = Api::namespaced(context.client.clone(), &namespace);
    let label = format!("{namespace}/{name}");
    context.shell.term().check()?;
    let write = crash::begin(crash::System::Finalizers);
    let written = within("writing a finalizer", api.patch(&name, params, body)).await;
    write.after();
    written.map(drop).map_err(|source| FinalizerError::Patch { policy: label, source })
}

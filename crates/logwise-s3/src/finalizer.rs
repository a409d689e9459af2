//! The finalizer that lets a deleted RetentionPolicy take its rules along.

use crate::controller::Context;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PartialObjectMeta, Patch, PatchParams};
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
    #[error("whether {policy} still has the finalizer could not be read")]
    Read {
        policy: String,
        #[source]
        source: KubernetesError,
    },
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
}

/// Whether the deletion of `policy` waits for us.
pub(crate) fn holds(policy: &RetentionPolicy) -> bool {
    policy.finalizers().iter().any(|name| name == FINALIZER)
}

/// Makes sure that `policy` has the finalizer.
pub(crate) async fn add(context: &Context, policy: &RetentionPolicy) -> Result<(), FinalizerError> {
    if holds(policy) {
        return Ok(());
    }
    let body = json!({
        "apiVersion": "logwise.io/v1alpha1",
        "kind": "RetentionPolicy",
        "metadata": {"name": policy.name_any(), "namespace": policy.namespace(), "uid": policy.uid(), "finalizers": [FINALIZER]},
    });
    patch(context, &policy.metadata, &PatchParams::apply(MANAGER).force(), &Patch::Apply(body)).await
}

/// Takes the finalizer away, whoever has put it there: a backup that was restored, or Git. A policy that is gone
/// already is success.
pub(crate) async fn remove(context: &Context, policy: &RetentionPolicy) -> Result<(), FinalizerError> {
    match without(context, &policy.metadata).await {
        // Its status was written since it was seen, most often by this look.
        Err(FinalizerError::Patch { source, .. }) if source.is_conflict() => match now(context, policy).await? {
            Some(now) => without(context, &now.metadata).await,
            None => Ok(()),
        },
        other => other,
    }
}

async fn without(context: &Context, metadata: &ObjectMeta) -> Result<(), FinalizerError> {
    let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
    let rest: Vec<&String> = finalizers.iter().filter(|name| *name != FINALIZER).collect();
    if rest.len() == finalizers.len() {
        return Ok(());
    }
    // The resource version refuses the write if anybody changed the list meanwhile.
    let body =
        json!({"metadata": {"resourceVersion": metadata.resource_version, "uid": metadata.uid, "finalizers": rest}});
    match patch(context, metadata, &PatchParams::default(), &Patch::Merge(body)).await {
        Err(FinalizerError::Patch { source, .. }) if source.is_absent() => Ok(()),
        other => other,
    }
}

/// The policy as the API server has it; none if it is gone. Listed, since the operator has no right to get it.
async fn now(
    context: &Context,
    policy: &RetentionPolicy,
) -> Result<Option<PartialObjectMeta<RetentionPolicy>>, FinalizerError> {
    let (api, label) = place(context, &policy.metadata);
    let only = ListParams::default().fields(&format!("metadata.name={}", policy.name_any()));
    let found = within("reading a policy again", api.list_metadata(&only)).await;
    let found = found.map_err(|source| FinalizerError::Read { policy: label, source })?;
    Ok(found.items.into_iter().find(|it| it.metadata.uid == policy.metadata.uid))
}

async fn patch(
    context: &Context,
    metadata: &ObjectMeta,
    params: &PatchParams,
    body: &Patch<Value>,
) -> Result<(), FinalizerError> {
    let (api, label) = place(context, metadata);
    context.shell.term().check()?;
    let write = crash::begin(crash::System::Finalizers);
    let name = metadata.name.as_deref().unwrap_or_default();
    let written = within("writing a finalizer", api.patch(name, params, body)).await;
    write.after();
    written.map(drop).map_err(|source| FinalizerError::Patch { policy: label, source })
}

/// Where a policy is, and its namespace and name.
fn place(context: &Context, metadata: &ObjectMeta) -> (Api<RetentionPolicy>, String) {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let label = format!("{namespace}/{}", metadata.name.as_deref().unwrap_or_default());
    (Api::namespaced(context.client.clone(), namespace), label)
}

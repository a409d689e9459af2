//! Workers as the pods of a Deployment in the object's own namespace.

mod apply;
mod error;
mod observe;
mod owner;

pub(crate) use apply::{At, CALL_TIMEOUT, Checked, Scaled, Version, check, scale, set_costs};
pub(crate) use error::DeploymentError;
pub(crate) use observe::{Found, observe};
pub(crate) use owner::rival;

/// What the record's name of a Deployment begins with; namespace, name and uid follow.
const KIND: &str = "deployment/";

/// Annotation of a pod: of two that are ready, Kubernetes ends the one with the lower number.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Who changes the number and the costs of pods, as `managedFields` has it.
const MANAGER: &str = "logwise.io/workers";

/// What is said when the Deployment does not exist.
pub(crate) fn absent_words(name: &str) -> String {
    format!("Deployment {name} does not exist in this namespace. Create it or correct `spark.workers.deployment.name`")
}

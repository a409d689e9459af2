use kube::Error;
use logwise_runtime::kubernetes::KubernetesError;
use logwise_runtime::{ErrorClass, chain, words};

/// Longest text of the API server that is told, in characters.
const LONGEST: usize = 500;

/// A call about a Deployment or its pods that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct DeploymentError {
    text: String,
    class: ErrorClass,
    may_have_happened: bool,
}

impl DeploymentError {
    /// The call might not be made any more.
    pub fn not_sent(why: &str) -> Self {
        let text = format!("nothing was sent: {why}");
        Self { text, class: ErrorClass::Conflict, may_have_happened: false }
    }

    /// The Deployment has pods that are not all known.
    pub fn too_many(most: usize) -> Self {
        let text = format!("the Deployment has more than {most} pods, which is more than are looked at");
        Self { text, class: ErrorClass::Invalid, may_have_happened: false }
    }

    /// The Deployment cannot be understood.
    pub fn unclear(why: &str) -> Self {
        let text = format!("the selector of the Deployment cannot be used: {why}");
        Self { text, class: ErrorClass::Invalid, may_have_happened: false }
    }

    /// What kind of failure it is.
    pub const fn class(&self) -> ErrorClass {
        self.class
    }

    /// Whether a call that changes something may have done so all the same: only a later look tells.
    pub const fn may_have_happened(&self) -> bool {
        self.may_have_happened
    }

    /// What a person does about it.
    pub fn next_step(&self) -> &'static str {
        match self.class {
            ErrorClass::Denied => "Let the operator do it: apply deploy/components/tenant-workers in this namespace",
            ErrorClass::NotFound => "Create it or correct `spark.workers.deployment.name`",
            ErrorClass::Invalid => "Correct the Deployment or `spark.workers.deployment`",
            ErrorClass::Throttled | ErrorClass::Conflict | ErrorClass::Transient => "It is tried again",
        }
    }
}

impl From<KubernetesError> for DeploymentError {
    fn from(error: KubernetesError) -> Self {
        let code = match &error {
            KubernetesError::Call { source, .. } => match source.as_ref() {
                Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        };
        let class = match (code, &error) {
            (Some(401 | 403), _) => ErrorClass::Denied,
            (Some(404), _) => ErrorClass::NotFound,
            (Some(409), _) => ErrorClass::Conflict,
            (Some(429), _) | (None, KubernetesError::AskedToWait { .. }) => ErrorClass::Throttled,
            (Some(400..=499), _) => ErrorClass::Invalid,
            _ => ErrorClass::Transient,
        };
        let may_have_happened = match code {
            Some(code) => code >= 500,
            None => !matches!(error, KubernetesError::AskedToWait { .. }),
        };
        Self { text: words::cut(&chain(&error), LONGEST), class, may_have_happened }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(code: u16) -> KubernetesError {
        let status = json!({"status": "Failure", "code": code, "reason": "R", "message": "pods is forbidden"});
        let source = Box::new(Error::Api(Box::new(serde_json::from_value(status).unwrap())));
        KubernetesError::Call { what: "reading the Deployment", source }
    }

    #[test]
    fn a_refusal_has_a_class_and_a_next_step_and_says_whether_the_call_may_have_arrived() {
        use ErrorClass::{Conflict, Denied, Invalid, NotFound, Throttled, Transient};
        let table = [
            (refusal(403), Denied, false),
            (refusal(404), NotFound, false),
            (refusal(409), Conflict, false),
            (refusal(422), Invalid, false),
            (refusal(429), Throttled, false),
            (refusal(500), Transient, true),
            (KubernetesError::NoAnswer { what: "w" }, Transient, true),
            (KubernetesError::AskedToWait { what: "w" }, Throttled, false),
        ];
        for (error, class, arrived) in table {
            let error = DeploymentError::from(error);
            assert_eq!((error.class(), error.may_have_happened()), (class, arrived), "{error}");
        }
        let denied = DeploymentError::from(refusal(403));
        assert!(denied.to_string().contains("pods is forbidden"), "{denied}");
        assert!(denied.next_step().contains("deploy/components/tenant-workers"));
        assert!(!DeploymentError::not_sent("over").may_have_happened());
    }
}

//! What a namespace may refer to: decided by the operator's configuration, before the first call.

use crate::ErrorClass;
use crate::conditions::Reason;
use logwise_plan::Known;
use logwise_plan::grants::{Grants, Namespace, Reference, decide};
use std::collections::BTreeMap;

/// Labels of a namespace, by its name.
type Labels = Box<dyn Fn(&str) -> Known<BTreeMap<String, String>> + Send + Sync>;

/// Why no call is made for an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// For the condition.
    pub reason: Reason,
    /// The field, the fact, the next step.
    pub message: String,
    /// How soon to look again.
    pub class: ErrorClass,
}

/// The grants and what is needed to judge by them.
pub struct Access {
    grants: Grants,
    labels: Labels,
}

impl Access {
    /// `labels` tells the labels of a namespace, asked only when a grant selects by them.
    pub fn new(
        grants: Grants,
        labels: impl Fn(&str) -> Known<BTreeMap<String, String>> + Send + Sync + 'static,
    ) -> Self {
        Self { grants, labels: Box::new(labels) }
    }

    /// Whether `namespace` may use all of `references`, each with the path of its field. Returns the account that a
    /// bucket among them has to belong to, if the grant names it.
    ///
    /// # Errors
    /// [`Refused`] with the first reference that is not granted.
    pub fn decide(&self, namespace: &str, references: &[(String, Reference)]) -> Result<Option<String>, Refused> {
        let of = Namespace { name: namespace.to_owned(), labels: (self.labels)(namespace) };
        let mut account = None;
        for (field, reference) in references {
            let granted = decide(&self.grants, &of, reference).map_err(|why| Refused {
                reason: Reason::NotGranted,
                message: format!("{field}: {why}"),
                class: ErrorClass::Denied,
            })?;
            account = account.or(granted.account_id);
        }
        Ok(account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(grants: &str) -> Access {
        Access::new(serde_json::from_str(grants).unwrap(), |_| Known::Unknown("not asked".into()))
    }

    fn kafka(address: &str) -> Vec<(String, Reference)> {
        vec![("spec.kafka.bootstrapServers[0]".to_owned(), Reference::Kafka(address.to_owned()))]
    }

    #[test]
    fn a_refusal_names_the_field_and_the_namespace() {
        let access = access(r#"[{"namespaces": ["a"], "kafka": ["k:9092"]}]"#);
        assert_eq!(access.decide("a", &kafka("k:9092")), Ok(None));
        let refused = access.decide("b", &kafka("k:9092")).unwrap_err();
        assert_eq!(refused.reason, Reason::NotGranted);
        assert!(refused.message.starts_with("spec.kafka.bootstrapServers[0]: "), "{}", refused.message);
        assert!(refused.message.contains("namespace b"), "{}", refused.message);
    }

    #[test]
    fn without_grants_everything_is_allowed() {
        assert_eq!(access("[]").decide("b", &kafka("k:9092")), Ok(None));
    }

    #[test]
    fn the_account_of_a_granted_bucket_is_told() {
        let access =
            access(r#"[{"namespaces": ["a"], "buckets": [{"name": "logs-of-a", "accountID": "123456789012"}]}]"#);
        let bucket = Reference::Bucket { name: "logs-of-a".into(), prefixes: vec!["logs/".into()] };
        let decided = access.decide("a", &[("spec.storage.bucketName".into(), bucket)]);
        assert_eq!(decided, Ok(Some("123456789012".to_owned())));
    }
}

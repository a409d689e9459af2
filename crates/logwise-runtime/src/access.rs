//! What a namespace may refer to: decided by the operator's configuration, before the first call.

use crate::ErrorClass;
use crate::conditions::Reason;
use logwise_plan::Known;
use logwise_plan::grants::{self, Endpoints, Grants, Namespace, Reference, decide};
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

/// How the references of an object may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// The account that its bucket has to belong to, if the grants name it.
    pub bucket_owner: Option<String>,
    /// The accounts of which one has to own its group; none: the grants do not say.
    pub group_accounts: Vec<String>,
    /// Where AWS is called for it.
    pub endpoints: Endpoints,
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

    /// Whether `namespace` may use all of `references`, each with the path of its field, and how.
    ///
    /// # Errors
    /// [`Refused`] with the first reference that is not granted.
    pub fn decide(&self, namespace: &str, references: &[(String, Reference)]) -> Result<Allowed, Refused> {
        let of = Namespace { name: namespace.to_owned(), labels: (self.labels)(namespace) };
        let not_granted = |message| Refused { reason: Reason::NotGranted, message, class: ErrorClass::Denied };
        let (mut allowed, mut calls_aws) = (Allowed::default(), false);
        for (field, reference) in references {
            let granted = decide(&self.grants, &of, reference).map_err(|why| not_granted(format!("{field}: {why}")))?;
            match reference {
                Reference::Bucket { .. } => allowed.bucket_owner = granted.accounts.into_iter().next(),
                Reference::Group { .. } => allowed.group_accounts = granted.accounts,
                Reference::Role(_) => {}
                Reference::Kafka(_) | Reference::Spark(_) => continue,
            }
            calls_aws = true;
        }
        if calls_aws {
            let chosen = grants::endpoints(&self.grants, &of);
            allowed.endpoints = chosen.map_err(|why| not_granted(format!("spec.aws: {why}")))?;
        }
        Ok(allowed)
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
        assert_eq!(access.decide("a", &kafka("k:9092")), Ok(Allowed::default()));
        let refused = access.decide("b", &kafka("k:9092")).unwrap_err();
        assert_eq!(refused.reason, Reason::NotGranted);
        assert!(refused.message.starts_with("spec.kafka.bootstrapServers[0]: "), "{}", refused.message);
        assert!(refused.message.contains("namespace b"), "{}", refused.message);
    }

    #[test]
    fn without_grants_everything_is_allowed() {
        assert_eq!(access("[]").decide("b", &kafka("k:9092")), Ok(Allowed::default()));
    }

    #[test]
    fn the_account_of_a_granted_bucket_is_told() {
        let access =
            access(r#"[{"namespaces": ["a"], "buckets": [{"name": "logs-of-a", "accountID": "123456789012"}]}]"#);
        let bucket = Reference::Bucket { name: "logs-of-a".into(), prefixes: vec!["logs/".into()] };
        let decided = access.decide("a", &[("spec.storage.bucketName".into(), bucket)]).unwrap();
        assert_eq!(decided.bucket_owner.as_deref(), Some("123456789012"));
        assert_eq!((decided.group_accounts, decided.endpoints), (Vec::new(), Endpoints::default()));
    }

    #[test]
    fn the_account_of_a_granted_group_is_not_taken_for_that_of_the_bucket() {
        let arn = "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:01234567-89ab-cdef-0123-456789abcdef:autoScalingGroupName/w";
        let access = access(&format!(r#"[{{"namespaces": ["a"], "autoScalingGroups": ["{arn}"]}}]"#));
        let group = Reference::Group { region: "eu-west-1".into(), name: "w".into() };
        let decided = access.decide("a", &[("spec.spark.workers.autoScalingGroup.name".into(), group)]).unwrap();
        assert_eq!((decided.bucket_owner, decided.group_accounts), (None, vec!["123456789012".to_owned()]));
    }

    #[test]
    fn aws_is_called_where_the_grants_say_and_nowhere_if_they_say_two_places() {
        let grant = |selector: &str, url: &str| {
            format!(
                r#"{{{selector}, "roles": ["arn:aws:iam::123456789012:role/r"], "kafka": ["k:9092"], "endpoints": {{"sts": "{url}"}}}}"#
            )
        };
        let by_label = r#""namespaceSelector": {"matchLabels": {"tier": "gold"}}"#;
        let one = grant(r#""namespaces": ["a"]"#, "https://sts.one.example.com");
        let other = grant(by_label, "https://sts.other.example.com");
        let grants = serde_json::from_str(&format!("[{one}, {other}]")).unwrap();
        let gold = Access::new(grants, |namespace| match namespace {
            "a" | "gold" => Known::Known(BTreeMap::from([("tier".to_owned(), "gold".to_owned())])),
            _ => Known::Unknown("forbidden".to_owned()),
        });
        let role = [("spec.aws.roleARN".to_owned(), Reference::Role("arn:aws:iam::123456789012:role/r".to_owned()))];
        let sts = gold.decide("gold", &role).unwrap().endpoints.sts;
        assert_eq!(sts.as_deref(), Some("https://sts.other.example.com"));
        let refused = gold.decide("a", &role).unwrap_err();
        assert_eq!(refused.reason, Reason::NotGranted);
        for part in ["sts.one.example.com", "sts.other.example.com", "endpoints.sts", "namespace a"] {
            assert!(refused.message.contains(part), "{part}: {}", refused.message);
        }
        assert!(gold.decide("a", &kafka("k:9092")).is_ok(), "AWS is not called for it");
        assert!(gold.decide("unread", &role).unwrap_err().message.contains("forbidden"));
    }
}

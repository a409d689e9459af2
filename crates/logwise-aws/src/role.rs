//! Credentials of a pipeline's role.

use crate::failure::Failure;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result as Provided, future};
use logwise_runtime::ErrorClass;
use serde_json::json;
use std::time::{Duration, SystemTime};

/// Assumes one role with one external id, anew whenever its credentials are asked for: the caller keeps them until
/// they are about to end.
#[derive(Debug)]
pub(crate) struct AssumedRole {
    pub client: aws_sdk_sts::Client,
    pub role_arn: String,
    pub external_id: String,
    pub session: String,
    /// Longest wait for the credentials, with all attempts.
    pub deadline: Duration,
}

/// The role could not be assumed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RoleRefused(pub Failure);

impl AssumedRole {
    async fn assume(&self) -> Provided {
        let call = self
            .client
            .assume_role()
            .role_arn(&self.role_arn)
            .external_id(&self.external_id)
            .role_session_name(&self.session)
            .send();
        let answer = tokio::time::timeout(self.deadline, call).await;
        let answer = answer
            .map_err(|_| self.refused(Failure::stated(ErrorClass::Transient, "no answer in time")))?
            .map_err(|error| self.refused(Failure::seen(&error)))?;
        let unreadable = || self.refused(Failure::stated(ErrorClass::Transient, "the answer holds no credentials"));
        let given = answer.credentials.ok_or_else(unreadable)?;
        let ends = SystemTime::try_from(*given.expiration()).map_err(|_| unreadable())?;
        Ok(Credentials::new(
            given.access_key_id,
            given.secret_access_key,
            Some(given.session_token),
            Some(ends),
            "AssumeRole",
        ))
    }

    fn refused(&self, failure: Failure) -> CredentialsError {
        let advice = match failure.class {
            ErrorClass::Denied if failure.code.as_deref() == Some("AccessDenied") => self.advice(&failure.text),
            _ => String::new(),
        };
        let text = format!("role {} could not be assumed: {}{advice}", self.role_arn, failure.text);
        CredentialsError::provider_error(RoleRefused(Failure { text, ..failure }))
    }

    /// What to do about a refusal: AWS does not say which side refused.
    fn advice(&self, refusal: &str) -> String {
        let statement = trust_statement(&principal(refusal), &self.external_id);
        format!(
            "; the operator needs sts:AssumeRole on it, and its trust policy must let the operator in with external id \
             {}, by this statement: {statement}",
            self.external_id
        )
    }
}

impl ProvideCredentials for AssumedRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.assume())
    }
}

/// The statement that a role's trust policy needs: `principal` may assume it with this external id.
pub fn trust_statement(principal: &str, external_id: &str) -> String {
    json!({
        "Effect": "Allow",
        "Principal": {"AWS": principal},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
    })
    .to_string()
}

/// Who was refused, as AWS names it, in the form that a policy takes; a placeholder when AWS does not name it.
fn principal(refusal: &str) -> String {
    let named = refusal.split("User: ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let Some(arn) = named.filter(|arn| arn.starts_with("arn:")) else {
        return "<ARN of the operator's role>".to_owned();
    };
    // A session of a role is trusted through the role.
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", partition, "sts", _, account, resource] => match resource.split('/').collect::<Vec<_>>().as_slice() {
            ["assumed-role", role, _] => format!("arn:{partition}:iam::{account}:role/{role}"),
            _ => arn.to_owned(),
        },
        _ => arn.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_principal_is_the_role_that_aws_names() {
        let refusal = |user: &str| {
            format!(
                "AccessDenied: User: {user} is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::1:role/x"
            )
        };
        let table = [
            ("arn:aws:sts::123456789012:assumed-role/op/pod-1", "arn:aws:iam::123456789012:role/op"),
            ("arn:aws-cn:sts::123456789012:assumed-role/op/pod-1", "arn:aws-cn:iam::123456789012:role/op"),
            ("arn:aws:iam::123456789012:user/dev", "arn:aws:iam::123456789012:user/dev"),
            ("arn:aws:sts::123456789012:federated-user/x", "arn:aws:sts::123456789012:federated-user/x"),
            ("anonymous", "<ARN of the operator's role>"),
        ];
        for (user, expected) in table {
            assert_eq!(principal(&refusal(user)), expected);
        }
        assert_eq!(principal("AccessDenied"), "<ARN of the operator's role>");
    }

    #[test]
    fn the_trust_statement_asks_for_the_external_id() {
        let statement: serde_json::Value =
            serde_json::from_str(&trust_statement("arn:aws:iam::1:role/op", "a/b/\"c\"")).unwrap();
        assert_eq!(statement["Condition"]["StringEquals"]["sts:ExternalId"], "a/b/\"c\"");
        assert_eq!(statement["Principal"]["AWS"], "arn:aws:iam::1:role/op");
        assert_eq!((&statement["Effect"], &statement["Action"]), (&json!("Allow"), &json!("sts:AssumeRole")));
    }
}

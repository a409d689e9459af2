//! As whom AWS is called for a pipeline: what its spec says, and the Secret that it names.

use crate::client::{AwsClients, Clients};
use crate::identity::{Base, Identity, Pipeline, StaticKeys};
use logwise_plan::grants::Endpoints;
use logwise_runtime::conditions::Reason;
use logwise_runtime::{ErrorClass, Refused, Secrets};

/// What the spec of a pipeline says about AWS.
#[derive(Clone, Copy, Debug)]
pub struct Whom<'a> {
    /// The pipeline.
    pub pipeline: Pipeline<'a>,
    /// `aws.region`.
    pub region: &'a str,
    /// `aws.roleARN`.
    pub role_arn: Option<&'a str>,
    /// `aws.credentialsSecretRef.name`.
    pub secret: Option<&'a str>,
    /// Where its grants say that AWS is called.
    pub endpoints: &'a Endpoints,
}

/// Clients that call AWS as `whom` says.
///
/// # Errors
/// [`Refused`]: the Secret or a key of it is missing or malformed, or may not be read. Nobody was called.
pub async fn clients(aws: &AwsClients, secrets: &Secrets, whom: Whom<'_>) -> Result<Clients, Refused> {
    let base = match whom.secret {
        Some(name) => Base::Static(keys(secrets, whom.pipeline.namespace, name).await?),
        None => Base::Ambient,
    };
    let identity = Identity::new(whom.pipeline, base, whom.role_arn.map(str::to_owned)).at(whom.endpoints.clone());
    Ok(aws.for_identity(&identity, whom.region))
}

async fn keys(secrets: &Secrets, namespace: &str, name: &str) -> Result<StaticKeys, Refused> {
    let secret = secrets.read(namespace, "spec.aws.credentialsSecretRef.name", name).await?;
    let token = secret.optional("sessionToken")?.map(|token| token.as_str().to_owned());
    let (id, key) = (secret.text("accessKeyId")?, secret.text("secretAccessKey")?);
    StaticKeys::new(id.as_str().to_owned(), key.as_str().to_owned(), token).map_err(|malformed| Refused {
        reason: Reason::InvalidSpec,
        message: format!("spec.aws.credentialsSecretRef.name: Secret {name}: {malformed}"),
        class: ErrorClass::Invalid,
    })
}

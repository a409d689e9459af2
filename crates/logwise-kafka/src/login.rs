//! From the Secrets that a spec names to the settings of a Kafka client.

use crate::client::Login;
use kube::ResourceExt;
use logwise_api::{Kafka, KafkaAuthenticationType, LogwiseCluster};
use logwise_runtime::{Refused, Secrets};
use zeroize::Zeroizing;

/// Reads the Secrets of `kafka.tls` and `kafka.authentication`.
///
/// # Errors
/// [`Refused`]: a Secret or a key of it is missing, or may not be read.
pub(crate) async fn read(cluster: &LogwiseCluster, kafka: &Kafka, secrets: &Secrets) -> Result<Login, Refused> {
    let namespace = cluster.namespace().unwrap_or_default();
    let mut login = Login::default();
    if let Some(protocol) = protocol(kafka) {
        login.set("security.protocol", plain(protocol));
    }
    if let Some(ca) = kafka.tls.as_ref().and_then(|tls| tls.ca_secret_ref.as_ref()) {
        let secret = secrets.read(&namespace, "spec.kafka.tls.caSecretRef.name", &ca.name).await?;
        login.set("ssl.ca.pem", secret.text(&ca.key)?);
    }
    if let Some(client) = kafka.tls.as_ref().and_then(|tls| tls.client_secret_ref.as_ref()) {
        let secret = secrets.read(&namespace, "spec.kafka.tls.clientSecretRef.name", &client.name).await?;
        login.set("ssl.certificate.pem", secret.text("tls.crt")?);
        login.set("ssl.key.pem", secret.text("tls.key")?);
    }
    if let Some(authentication) = &kafka.authentication {
        let name = &authentication.secret_ref.name;
        let secret = secrets.read(&namespace, "spec.kafka.authentication.secretRef.name", name).await?;
        login.set("sasl.mechanism", plain(mechanism(authentication.type_)));
        login.set("sasl.username", secret.text("username")?);
        login.set("sasl.password", secret.text("password")?);
    }
    Ok(login)
}

fn plain(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

/// How brokers are spoken to; nothing is set for the plain default.
fn protocol(kafka: &Kafka) -> Option<&'static str> {
    match (&kafka.tls, &kafka.authentication) {
        (Some(_), Some(_)) => Some("sasl_ssl"),
        (Some(_), None) => Some("ssl"),
        (None, Some(_)) => Some("sasl_plaintext"),
        (None, None) => None,
    }
}

const fn mechanism(kind: KafkaAuthenticationType) -> &'static str {
    match kind {
        KafkaAuthenticationType::ScramSha512 => "SCRAM-SHA-512",
        KafkaAuthenticationType::ScramSha256 => "SCRAM-SHA-256",
        KafkaAuthenticationType::Plain => "PLAIN",
    }
}

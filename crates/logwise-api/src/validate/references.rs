//! What an object refers to outside itself, each with the path of the field that does.

use super::spark_masters;
use crate::{DriverMode, LogwiseCluster, SparkDriver};
use logwise_plan::grants::Reference;

/// Everything outside the cluster that the operator calls or changes for this pipeline: to be granted before the first
/// call. Of a Spark master it is the address of the web interface, from which the state is read, and where the driver is
/// managed that of the REST server, to which it is submitted.
pub fn references(cluster: &LogwiseCluster) -> Vec<(String, Reference)> {
    let spec = &cluster.spec;
    let mut found = Vec::new();
    if let Some(arn) = spec.aws.as_ref().and_then(|aws| aws.role_arn.clone()) {
        found.push(("spec.aws.roleARN".to_owned(), Reference::Role(arn)));
    }
    if let Some(storage) = &spec.storage {
        let prefixes = vec![storage.logs_prefix.clone(), storage.checkpoint_prefix.clone()];
        let bucket = Reference::Bucket { name: storage.bucket_name.clone(), prefixes };
        found.push(("spec.storage.bucketName".to_owned(), bucket));
    }
    for (i, address) in spec.kafka.iter().flat_map(|kafka| &kafka.bootstrap_servers).enumerate() {
        found.push((format!("spec.kafka.bootstrapServers[{i}]"), Reference::Kafka(address.clone())));
    }
    // Masters that cannot be used are not called either.
    for (i, master) in spark_masters(cluster).and_then(Result::ok).into_iter().flatten().enumerate() {
        found.push((format!("spec.spark.masters[{i}]"), Reference::Spark(master.ui())));
        if managed_driver(cluster).is_some() {
            found.push((format!("spec.spark.masters[{i}].restPort"), Reference::Spark(master.rest())));
        }
    }
    let workers = spec.spark.as_ref().and_then(|spark| spark.workers.as_ref());
    if let Some(group) = workers.and_then(|workers| workers.auto_scaling_group.as_ref()) {
        let region = spec.aws.as_ref().map(|aws| aws.region.clone()).unwrap_or_default();
        let field = "spec.spark.workers.autoScalingGroup.name".to_owned();
        found.push((field, Reference::Group { region, name: group.name.clone() }));
    }
    found
}

/// The driver, if the operator submits it.
fn managed_driver(cluster: &LogwiseCluster) -> Option<&SparkDriver> {
    let driver = cluster.spec.spark.as_ref()?.driver.as_ref()?;
    (driver.mode == DriverMode::Managed).then_some(driver)
}

/// The Secrets, in the object's own namespace, that the operator reads for this pipeline.
pub fn secrets(cluster: &LogwiseCluster) -> Vec<(String, String)> {
    let spec = &cluster.spec;
    let mut found = Vec::new();
    let mut add = |field: &str, name: Option<&String>| {
        found.extend(name.map(|name| (format!("spec.{field}.name"), name.clone())));
    };
    let aws = spec.aws.as_ref().and_then(|aws| aws.credentials_secret_ref.as_ref());
    add("aws.credentialsSecretRef", aws.map(|secret| &secret.name));
    let tls = spec.kafka.as_ref().and_then(|kafka| kafka.tls.as_ref());
    add("kafka.tls.caSecretRef", tls.and_then(|tls| tls.ca_secret_ref.as_ref()).map(|secret| &secret.name));
    add("kafka.tls.clientSecretRef", tls.and_then(|tls| tls.client_secret_ref.as_ref()).map(|secret| &secret.name));
    let login = spec.kafka.as_ref().and_then(|kafka| kafka.authentication.as_ref());
    add("kafka.authentication.secretRef", login.map(|login| &login.secret_ref.name));
    let environment = managed_driver(cluster).and_then(|driver| driver.environment_secret_ref.as_ref());
    add("spark.driver.environmentSecretRef", environment.map(|secret| &secret.name));
    found
}

//! The variables through which programs find a bed.

use std::path::Path;

use anyhow::{Result, bail};

use crate::address::Addresses;
use crate::aws;
use crate::folder::Folder;
use crate::mariadb;
use crate::state;

/// The name of the variable that holds the bed's folder.
pub const BED: &str = "LOGWISE_BED";

/// The variables of a bed. Servers that were not started are left out; a bed without any is an error.
pub fn variables(folder: &Folder) -> Result<Vec<(String, String)>> {
    let state = state::load(folder)?;
    let (Some(addresses), false) = (state.addresses, state.servers.is_empty()) else {
        bail!("no bed runs in {}; start it with `logwise-testbed up --dir {0}`", folder.dir().display());
    };
    let path = std::env::var("PATH").unwrap_or_default();
    let all = of_addresses(folder, &addresses, &path);
    Ok(all
        .into_iter()
        .filter(|(server, ..)| server.is_empty() || state.servers.contains_key(*server))
        .map(|(_, name, value)| (name.to_owned(), value))
        .collect())
}

/// Server that must have been started, name, value.
fn of_addresses(folder: &Folder, addresses: &Addresses, path: &str) -> Vec<(&'static str, &'static str, String)> {
    let (host, ports) = (addresses.host().to_string(), &addresses.ports);
    let own = |path: &Path| path.display().to_string();
    vec![
        ("", BED, own(folder.dir())),
        ("", "PATH", format!("{}:{path}", folder.bin().display())),
        ("kube-apiserver", "KUBECONFIG", own(&folder.kubeconfig())),
        ("kafka", "KAFKA_BOOTSTRAP", addresses.at(ports.kafka)),
        ("aws", "AWS_ENDPOINT_URL", format!("http://{}", addresses.at(ports.aws))),
        ("aws", "AWS_REGION", aws::REGION.to_owned()),
        ("aws", "AWS_DEFAULT_REGION", aws::REGION.to_owned()),
        ("aws", "AWS_ACCESS_KEY_ID", aws::ACCESS_KEY.to_owned()),
        ("aws", "AWS_SECRET_ACCESS_KEY", aws::SECRET_KEY.to_owned()),
        ("mariadb", "MARIADB_URL", mariadb::url(addresses)),
        ("minio", "MINIO_URL", format!("http://{}", addresses.at(ports.minio))),
        ("radosgw", "CEPH_URL", format!("http://{}", addresses.at(ports.radosgw))),
        ("spark-master", "SPARK_HOST", host),
        ("spark-master", "SPARK_PORT", ports.spark.to_string()),
        ("spark-master", "SPARK_UI_PORT", ports.spark_ui.to_string()),
        ("spark-master", "SPARK_REST_PORT", ports.spark_rest.to_string()),
    ]
}

/// A line that a shell reads to set the variable.
pub fn export(name: &str, value: &str) -> String {
    format!("export {name}='{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_a_shell() {
        assert_eq!(export("A", "it's $HOME"), r"export A='it'\''s $HOME'");
    }

    #[test]
    fn a_folder_without_a_bed_names_the_command() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let error = variables(&folder).unwrap_err().to_string();
        assert!(error.contains("logwise-testbed up"), "{error}");
    }
}

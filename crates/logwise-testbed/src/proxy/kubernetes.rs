//! A proxy before the bed's API server. Its clients talk plain HTTP with it and keep their own token.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::http::{self, HttpProxy};
use super::spare_host;
use crate::bed::Bed;
use crate::folder::write_atomically;
use crate::world::World;

pub use super::http::Request;

/// A running proxy before the API server; its `url` is for a kubeconfig.
pub type KubernetesProxy = HttpProxy;

/// Errors when the bed has no certificate authority yet.
async fn start(bed: &Bed) -> Result<KubernetesProxy> {
    let authority = fs::read(bed.folder.path("pki/ca.crt")).context("reading the cluster's authority")?;
    let authority = reqwest::Certificate::from_pem(&authority).context("reading the cluster's authority")?;
    HttpProxy::over(spare_host(bed), http::client().tls_certs_only([authority]), &bed.kube.api_url).await
}

impl World {
    /// Starts a proxy without rules before the API server: everything passes. See [`crate::operator::Options::behind`].
    pub async fn kubernetes_proxy(&self) -> Result<KubernetesProxy> {
        start(&self.bed).await
    }
}

/// Writes a copy of a kubeconfig that speaks with another server and knows no authority.
pub(crate) fn redirect(from: &Path, server: &str, to: PathBuf) -> Result<PathBuf> {
    let text = fs::read_to_string(from).with_context(|| format!("reading {}", from.display()))?;
    let mut config: Value =
        serde_yaml::from_str(&text).with_context(|| format!("{} is no kubeconfig", from.display()))?;
    let cluster = config["clusters"].get_mut(0).context("the kubeconfig names no cluster")?;
    cluster["cluster"] = serde_json::json!({"server": server});
    let text = serde_yaml::to_string(&config).context("writing a kubeconfig")?;
    write_atomically(&to, text.as_bytes())?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::kubeconfig_text;

    #[test]
    fn a_redirected_kubeconfig_keeps_its_token_and_loses_its_authority() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("a"), root.path().join("b"));
        fs::write(&from, kubeconfig_text("https://127.0.0.1:6443", "/pki/ca.crt", "me", "{token: \"t\"}")).unwrap();
        redirect(&from, "http://127.0.0.2:1", to.clone()).unwrap();
        let config: Value = serde_yaml::from_str(&fs::read_to_string(to).unwrap()).unwrap();
        assert_eq!(config["clusters"][0]["cluster"], serde_json::json!({"server": "http://127.0.0.2:1"}));
        assert_eq!((&config["users"][0]["user"]["token"], &config["current-context"]), (&"t".into(), &"bed".into()));
    }
}

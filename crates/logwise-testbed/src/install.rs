//! Installs what `deploy/` holds on the bed's cluster and gets the operator's own kubeconfig.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::cache::Key;
use crate::folder::write_atomically;
use crate::kubernetes::kubeconfig_text;
use crate::lock::Lock;
use crate::workspace;

/// The operator's namespace.
pub const NAMESPACE: &str = "logwise-system";
/// The operator's ServiceAccount.
pub const ACCOUNT: &str = "logwise-operator";
const PATIENCE: Duration = Duration::from_secs(300);

/// The kubeconfig of the operator's ServiceAccount. `deploy/base` is applied first, once per bed and again when a
/// file of it has changed.
pub async fn kubeconfig(bed: &Bed) -> Result<PathBuf> {
    let _lock = Lock::within(&bed.folder.path("install.lock"), PATIENCE, || ()).await?;
    let root = workspace::root()?;
    let manifests = root.join("deploy/base");
    if !manifests.is_dir() {
        bail!("there is no {}; the operator's rights come from there", manifests.display());
    }
    let key =
        ["deploy", "crds"].iter().try_fold(Key::default(), |key, name| add_folder(key, &root.join(name)))?.digest();
    let (kubeconfig, mark) = (bed.folder.path("operator.kubeconfig"), bed.folder.path("installed"));
    if kubeconfig.is_file() && fs::read_to_string(&mark).is_ok_and(|installed| installed == key) {
        return Ok(kubeconfig);
    }
    apply(bed, &manifests).await?;
    let token = bed.kubectl(&["create", "token", ACCOUNT, "-n", NAMESPACE, "--duration", "24h"], None).await?;
    let authority = bed.folder.path("pki/ca.crt").display().to_string();
    let text = kubeconfig_text(&bed.kube.api_url, &authority, ACCOUNT, &format!("{{token: \"{}\"}}", token.trim()));
    write_atomically(&kubeconfig, text.as_bytes())?;
    write_atomically(&mark, key.as_bytes())?;
    Ok(kubeconfig)
}

async fn apply(bed: &Bed, manifests: &Path) -> Result<()> {
    bed.kubectl(&["apply", "--server-side", "--force-conflicts", "-k", &manifests.display().to_string()], None).await?;
    bed.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"], None).await.map(drop)
}

/// Lets the operator read these Secrets of a namespace, as `deploy/components/tenant` does for users.
pub async fn tenant(bed: &Bed, namespace: &str, secrets: &[&str]) -> Result<()> {
    let names = json!([{"op": "replace", "path": "/rules/0/resourceNames", "value": secrets}]).to_string();
    let patch = json!({"target": {"kind": "Role", "name": "logwise-operator-secrets"}, "patch": names});
    let kustomization = json!({"namespace": namespace, "components": ["deploy/components/tenant"], "patches": [patch]});
    let objects = rendered(bed, &format!("tenant-{namespace}"), &kustomization).await?;
    apply_objects(bed, &objects).await
}

/// Lets the operator scale the Deployment `spark-worker` of a namespace and say which pod goes first, as
/// `deploy/components/tenant-workers` does for users.
pub async fn tenant_workers(bed: &Bed, namespace: &str) -> Result<()> {
    tenant_workers_named(bed, namespace, &["spark-worker"]).await
}

/// The same for Deployments of other names.
pub async fn tenant_workers_named(bed: &Bed, namespace: &str, deployments: &[&str]) -> Result<()> {
    let names = [0, 1].map(|rule| {
        let path = format!("/rules/{rule}/resourceNames");
        json!({"op": "replace", "path": path, "value": deployments})
    });
    let target = json!({"kind": "Role", "name": "logwise-operator-workers"});
    let patch = json!({"target": target, "patch": json!(names).to_string()});
    let components = ["deploy/components/tenant-workers"];
    let kustomization = json!({"namespace": namespace, "components": components, "patches": [patch]});
    let objects = rendered(bed, &format!("tenant-workers-{namespace}"), &kustomization).await?;
    apply_objects(bed, &objects).await
}

/// Lets the operator see the labels of namespaces, for the life of the bed.
pub async fn namespace_labels(bed: &Bed) -> Result<()> {
    let kustomization = json!({"components": ["deploy/components/namespace-labels"]});
    let objects = rendered(bed, "namespace-labels", &kustomization).await?;
    apply_objects(bed, &objects).await
}

/// The objects that a kustomization over parts of `deploy/` renders to; they are named as `deploy/overlays/production`.
/// Its folder, inside the bed's, is called `name`. Errors hold what kustomize said.
pub async fn rendered(bed: &Bed, name: &str, kustomization: &Value) -> Result<Vec<Value>> {
    let folder = bed.folder.sub(&format!("kustomize/{name}"))?;
    match symlink(workspace::root()?.join("deploy"), folder.join("deploy")) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error).context("linking deploy/"),
        _ => {}
    }
    write_atomically(&folder.join("kustomization.yaml"), kustomization.to_string().as_bytes())?;
    let text = bed.kubectl(&["kustomize", &folder.display().to_string()], None).await?;
    let documents = serde_yaml::Deserializer::from_str(&text);
    documents.map(|document| Value::deserialize(document).context("reading what kustomize rendered")).collect()
}

/// Applies objects as the administrator, with every warning an error.
pub async fn apply_objects(bed: &Bed, objects: &[Value]) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let args = ["apply", "--server-side", "--force-conflicts", "--validate=strict", "--warnings-as-errors", "-f", "-"];
    bed.kubectl(&args, Some(&list)).await.map(drop)
}

fn add_folder(key: Key, folder: &Path) -> Result<Key> {
    if !folder.is_dir() {
        return Ok(key);
    }
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("listing {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths.iter().try_fold(key, |key, path| if path.is_dir() { add_folder(key, path) } else { key.file(path) })
}

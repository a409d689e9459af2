//! Installs `deploy/base` on the bed's cluster and gets the operator's own kubeconfig.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

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

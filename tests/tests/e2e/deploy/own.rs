//! What `deploy/` holds, rendered for a namespace of a test's own.

use anyhow::{Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::install::{apply_objects, rendered};
use serde_json::{Value, json};

/// The base and the overlays.
pub const INSTALLATIONS: [&str; 3] = ["base", "overlays/single-node", "overlays/production"];

/// Components that can be added to one of [`INSTALLATIONS`]; `tenant` and `tenant-workers` belong to a tenant's
/// namespace.
pub fn components(installation: &str) -> &'static [&'static str] {
    // The production overlay holds `approval` already.
    if installation == "overlays/production" { &["namespace-labels"] } else { &["approval", "namespace-labels"] }
}

/// An installation beside the bed's own: its namespace, and its name behind those of cluster-wide objects.
pub struct Own {
    /// Namespace, and the end of every name.
    pub name: String,
    /// Everything, the definitions of the resources too.
    pub objects: Vec<Value>,
    bed: Bed,
}

impl Own {
    /// Renders one of [`INSTALLATIONS`] with components.
    pub async fn render(bed: &Bed, test: &str, installation: &str, components: &[&str]) -> Result<Own> {
        let name = format!("{test}-{}", std::process::id());
        let kustomization = json!({
            "namespace": name,
            "nameSuffix": format!("-{name}"),
            "resources": [format!("deploy/{installation}")],
            "components": components.iter().map(|name| format!("deploy/components/{name}")).collect::<Vec<_>>(),
        });
        let objects = rendered(bed, &name, &kustomization).await?;
        Ok(Own { name, objects, bed: bed.clone() })
    }

    /// The namespace, as it was rendered.
    pub fn namespace(&self) -> Vec<Value> {
        self.of_kind("Namespace").cloned().collect()
    }

    /// Applies everything but the definitions, which the bed has already and which others need.
    pub async fn apply(&self) -> Result<()> {
        apply_objects(&self.bed, &self.namespace()).await?;
        apply_objects(&self.bed, &self.removable()).await
    }

    /// Asks the API server whether it would take everything, unknown fields and warnings being errors.
    /// The definitions, which are the same everywhere and large, are left out unless they are asked for.
    pub async fn dry_run(&self, definitions: bool) -> Result<usize> {
        let objects = if definitions { self.objects.clone() } else { self.removable() };
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let strict = ["--server-side", "--force-conflicts", "--validate=strict", "--warnings-as-errors"];
        let args = [&["apply"], &strict[..], &["--dry-run=server", "-f", "-"]].concat();
        let answer = self.bed.kubectl(&args, Some(&list)).await?;
        let taken = answer.lines().filter(|line| line.ends_with("serverside-applied (server dry run)")).count();
        ensure!(taken == objects.len(), "{} objects were rendered; {answer}", objects.len());
        Ok(taken)
    }

    /// Runs kubectl in the namespace.
    pub async fn kubectl(&self, args: &[&str], input: Option<&str>) -> Result<String> {
        self.bed.kubectl(&[&["-n", &self.name], args].concat(), input).await
    }

    /// Reads objects of the namespace.
    pub async fn json(&self, args: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&[&["get", "-o", "json"], args].concat(), None).await?)?)
    }

    /// Removes what was applied.
    pub async fn remove(self) -> Result<()> {
        let objects: Vec<Value> = self.removable();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let gone = ["delete", "--ignore-not-found", "--wait=false", "-f", "-"];
        self.bed.kubectl(&gone, Some(&list)).await.map(drop)
    }

    /// Objects of one kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    fn removable(&self) -> Vec<Value> {
        self.objects.iter().filter(|object| object["kind"] != "CustomResourceDefinition").cloned().collect()
    }
}

//! deploy/ and examples/ are what the real API server takes, and the rights in them are those that they seem to be.

mod approval;
mod manifest;
mod own;

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::install;
use logwise_testbed::profile::Part;
use logwise_testbed::world::{World, wait_until};
use logwise_tests::PATIENCE;
use own::{INSTALLATIONS, Own};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

const ACCOUNT: &str = "system:serviceaccount:logwise-system:logwise-operator";
const BASE_EGRESS: [&str; 9] =
    ["UDP 53", "TCP 53", "TCP 443", "TCP 6443", "TCP 9092-9098", "TCP 8080", "TCP 6066", "TCP 8081", "TCP 4040"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The bed with `deploy/base` on it.
async fn bed() -> Result<Bed> {
    let bed = Bed::attach_with(&[Part::Kube])?;
    install::kubeconfig(&bed).await?;
    Ok(bed)
}

/// Whether somebody has a right: verb, `resource[.group][/subresource][:name]`, namespace.
async fn can(bed: &Bed, user: &str, right: (&str, &str, &str)) -> Result<bool> {
    let (verb, what, namespace) = right;
    let (what, name) = what.split_once(':').unwrap_or((what, ""));
    let (what, subresource) = what.split_once('/').unwrap_or((what, ""));
    let (resource, group) = what.split_once('.').unwrap_or((what, ""));
    let asked = json!({"verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": name, "namespace": namespace});
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": asked}});
    let answer = bed.kubectl(&["create", "-f", "-", "-o", "json"], Some(&review.to_string())).await?;
    serde_json::from_str::<Value>(&answer)?["status"]["allowed"]
        .as_bool()
        .with_context(|| format!("no answer: {answer}"))
}

#[tokio::test]
async fn every_example_is_accepted() -> Result<()> {
    let bed = Bed::attach()?;
    install::kubeconfig(&bed).await?;
    let mut applied = 0;
    for entry in std::fs::read_dir(root().join("examples"))? {
        let example = entry?.path();
        let name = example.file_name().context("a name")?.to_string_lossy().into_owned();
        let world = World::new(&bed, &format!("example-{name}")).await?;
        let folder = example.to_string_lossy().into_owned();
        let answer = world.kubectl(&["apply", "--validate=strict", "-k", &folder]).await?;
        ensure!(answer.lines().all(|line| line.ends_with("created")), "{answer}");
        applied += answer.lines().count();
        let list: Value = serde_json::from_str(&world.kubectl(&["get", "logwise", "-o", "json"]).await?)?;
        ensure!(list["items"].as_array().is_some_and(|items| items.len() == answer.lines().count()), "{list}");
    }
    ensure!(applied >= 7, "only {applied} objects in examples/");
    Ok(())
}

#[tokio::test]
async fn the_base_stands_and_its_account_can_do_only_what_is_listed() -> Result<()> {
    let bed = bed().await?;
    let list = bed.kubectl(&["get", "sa,svc,deploy,pdb,netpol", "-n", install::NAMESPACE, "-o", "name"], None).await?;
    for kind in [
        "serviceaccount",
        "service",
        "deployment.apps",
        "poddisruptionbudget.policy",
        "networkpolicy.networking.k8s.io",
    ] {
        ensure!(list.contains(&format!("{kind}/logwise-operator")), "{kind} is missing in {list}");
    }
    let own = install::NAMESPACE;
    for (verb, resource, namespace, allowed) in [
        ("list", "logwiseclusters.logwise.io", "default", true),
        ("watch", "retentionpolicies.logwise.io", "default", true),
        ("patch", "logwiseclusters.logwise.io/status", "default", true),
        ("patch", "retentionpolicies.logwise.io", "default", true),
        ("create", "events.events.k8s.io", "default", true),
        ("update", "leases.coordination.k8s.io", own, true),
        ("update", "configmaps", own, true),
        ("patch", "logwiseclusters.logwise.io", "default", false),
        ("delete", "retentionpolicies.logwise.io", "default", false),
        ("approve", "retentionpolicies.logwise.io", "default", false),
        ("update", "logwiseclusters.logwise.io/status", "default", false),
        ("get", "secrets", "default", false),
        ("get", "secrets", own, false),
        ("list", "secrets", own, false),
        ("create", "pods", own, false),
        ("get", "configmaps", "default", false),
        ("delete", "configmaps", own, false),
        ("update", "leases.coordination.k8s.io", "default", false),
        ("delete", "leases.coordination.k8s.io", own, false),
    ] {
        let answer = can(&bed, ACCOUNT, (verb, resource, namespace)).await?;
        ensure!(answer == allowed, "{verb} {resource} in {namespace}: expected {allowed}, got {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn every_installation_with_every_choice_of_components_is_taken_without_a_warning() -> Result<()> {
    let bed = bed().await?;
    let mut taken = 0;
    for (number, installation) in INSTALLATIONS.iter().enumerate() {
        let offered = own::components(installation);
        for choice in 0..1_usize << offered.len() {
            let components: Vec<&str> =
                offered.iter().enumerate().filter(|(bit, _)| choice >> bit & 1 == 1).map(|(_, name)| *name).collect();
            let own = Own::render(&bed, &format!("dry{number}{choice}"), installation, &components).await?;
            let what = || format!("{installation} with {components:?}");
            let policies = own.of_kind("ValidatingAdmissionPolicy").count();
            let approval = components.contains(&"approval") || *installation == "overlays/production";
            ensure!(policies == if approval { 2 } else { 0 }, "{}: {policies} admission policies", what());
            manifest::check_rights(&own.objects).with_context(what)?;
            manifest::check_subjects(&own.objects, &own.name).with_context(what)?;
            manifest::check_pod(&own.objects).with_context(what)?;
            let database = if *installation == "overlays/production" { &["TCP 3306"][..] } else { &[] };
            manifest::check_network(&own.objects, &[&BASE_EGRESS, database].concat()).with_context(what)?;
            let webhooks = own
                .objects
                .iter()
                .filter(|object| object["kind"].as_str().is_some_and(|kind| kind.contains("Webhook")));
            ensure!(webhooks.count() == 0, "{}: a webhook", what());
            install::apply_objects(&bed, &own.namespace()).await?;
            taken += own.dry_run(number + choice == 0).await.with_context(what)?;
            bed.kubectl(&["delete", "namespace", &own.name, "--wait=false"], None).await?;
        }
    }
    ensure!(taken > 10 * 15, "only {taken} objects");
    Ok(())
}

/// A volume of the kind that a cluster's storage class would make.
async fn give_volume(bed: &Bed, own: &Own) -> Result<()> {
    let claim = own.of_kind("PersistentVolumeClaim").next().context("no claim")?;
    let claim = &claim["metadata"]["name"];
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": own.name}, "spec": {
        "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/var/lib/none"},
        "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": own.name, "name": claim}}});
    install::apply_objects(bed, &[volume]).await
}

/// Waits for the pods of the operator and returns their names.
async fn running(own: &Own, replicas: usize) -> Result<Vec<String>> {
    wait_until(&format!("{replicas} ready pods in {}", own.name), PATIENCE, async || {
        let pods = own.json(&["pods", "-l", "app.kubernetes.io/name=logwise-operator"]).await?;
        let ready = |pod: &&Value| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            pod["metadata"]["deletionTimestamp"].is_null()
                && conditions.into_iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
        };
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let names: Vec<String> =
            pods.iter().filter(ready).filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect();
        ensure!(names.len() == replicas, "{} are ready, of {}", names.len(), pods.len());
        Ok(names)
    })
    .await
}

/// Evicts one pod as a drain of its node does.
async fn evict(own: &Own, pod: &str, replicas: usize) -> Result<()> {
    let disruption = own.of_kind("PodDisruptionBudget").next().and_then(|it| it["metadata"]["name"].as_str());
    let disruption = disruption.context("no PodDisruptionBudget")?;
    wait_until("the budget to allow one eviction", PATIENCE, async || {
        let status = own.json(&["pdb", disruption]).await?["status"].take();
        ensure!(status["expectedPods"] == replicas && status["disruptionsAllowed"] == 1, "{status}");
        Ok(())
    })
    .await?;
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": own.name}});
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", own.name);
    own.kubectl(&["create", "--raw", &path, "-f", "-"], Some(&eviction.to_string())).await.map(drop)
}

#[tokio::test]
async fn the_overlays_run_under_the_restricted_standard_and_nodes_can_be_drained() -> Result<()> {
    let bed = bed().await?;
    for (installation, replicas) in [("overlays/single-node", 1), ("overlays/production", 2)] {
        let own = Own::render(&bed, &format!("run{replicas}"), installation, &[]).await?;
        own.apply().await?;
        if replicas == 1 {
            give_volume(&bed, &own).await?;
        }
        let namespace: Value =
            serde_json::from_str(&bed.kubectl(&["get", "namespace", &own.name, "-o", "json"], None).await?)?;
        let labels = &namespace["metadata"]["labels"];
        ensure!(labels["pod-security.kubernetes.io/enforce"] == "restricted", "{labels}");
        let pods = running(&own, replicas).await.with_context(|| installation.to_owned())?;
        evict(&own, &pods[0], replicas).await.with_context(|| installation.to_owned())?;
        let after = running(&own, replicas).await?;
        ensure!(!after.contains(&pods[0]), "{} was not evicted", pods[0]);
        let volume = own.name.clone();
        own.remove().await?;
        bed.kubectl(&["delete", "pv", &volume, "--ignore-not-found", "--wait=false"], None).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_namespace_takes_the_pod_without_a_warning_and_refuses_a_lesser_one() -> Result<()> {
    let bed = bed().await?;
    let deployment: Value = serde_json::from_str(
        &bed.kubectl(&["get", "deploy", "logwise-operator", "-n", install::NAMESPACE, "-o", "json"], None).await?,
    )?;
    let template = &deployment["spec"]["template"];
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": template["spec"]});
    let args = ["create", "-n", install::NAMESPACE, "--dry-run=server", "--warnings-as-errors", "-f", "-"];
    bed.kubectl(&args, Some(&pod.to_string())).await?;
    for (field, value) in [
        ("allowPrivilegeEscalation", json!(true)),
        ("capabilities", json!({"add": ["NET_ADMIN"]})),
        ("runAsUser", json!(0)),
    ] {
        pod["spec"] = template["spec"].clone();
        pod["spec"]["containers"][0]["securityContext"][field] = value;
        let refused = bed.kubectl(&args, Some(&pod.to_string())).await;
        let text = refused.err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(text.contains("violates PodSecurity \"restricted"), "{field}: {text}");
    }
    Ok(())
}

#[tokio::test]
async fn kubernetes_own_roles_hold_for_pipelines_too() -> Result<()> {
    let bed = bed().await?;
    let namespace = format!("people-{}", std::process::id());
    bed.kubectl(&["create", "namespace", &namespace], None).await?;
    for role in ["view", "edit", "admin"] {
        let (binding, user) = (format!("--clusterrole={role}"), format!("--user=test-{role}"));
        bed.kubectl(&["create", "rolebinding", role, "-n", &namespace, &binding, &user], None).await?;
    }
    for kind in ["logwiseclusters.logwise.io", "retentionpolicies.logwise.io"] {
        for (verb, least) in [
            ("get", 0),
            ("list", 0),
            ("watch", 0),
            ("create", 1),
            ("patch", 1),
            ("update", 1),
            ("delete", 1),
            ("deletecollection", 2),
        ] {
            for (rank, role) in ["view", "edit", "admin"].into_iter().enumerate() {
                let (user, allowed) = (format!("test-{role}"), rank >= least);
                wait_until(&format!("{role} to {verb} {kind}: {allowed}"), PATIENCE, async || {
                    let answer = can(&bed, &user, (verb, kind, &namespace)).await?;
                    ensure!(answer == allowed, "the answer is {answer}");
                    Ok(())
                })
                .await?;
            }
        }
        let status = format!("{kind}/status");
        ensure!(!can(&bed, "test-admin", ("patch", &status, &namespace)).await?, "{status} is the operator's alone");
        ensure!(!can(&bed, "test-admin", ("get", kind, "default")).await?, "a binding in one namespace opens another");
    }
    bed.kubectl(&["delete", "namespace", &namespace, "--wait=false"], None).await.map(drop)
}

#[tokio::test]
async fn a_tenants_secrets_are_opened_by_name_in_that_namespace_only() -> Result<()> {
    let bed = bed().await?;
    let namespace = format!("tenant-{}", std::process::id());
    bed.kubectl(&["create", "namespace", &namespace], None).await?;
    ensure!(!can(&bed, ACCOUNT, ("get", "secrets:kafka", &namespace)).await?, "before the component");
    install::tenant(&bed, &namespace, &["kafka", "aws"]).await?;
    for (verb, resource, of, allowed) in [
        ("get", "secrets:kafka", namespace.as_str(), true),
        ("get", "secrets:aws", &namespace, true),
        ("get", "secrets:other", &namespace, false),
        ("get", "secrets:kafka", "default", false),
        ("list", "secrets", &namespace, false),
        ("watch", "secrets:kafka", &namespace, false),
        ("patch", "secrets:kafka", &namespace, false),
    ] {
        wait_until(&format!("{verb} {resource} in {of}: {allowed}"), PATIENCE, async || {
            let answer = can(&bed, ACCOUNT, (verb, resource, of)).await?;
            ensure!(answer == allowed, "the answer is {answer}");
            Ok(())
        })
        .await?;
    }
    let tenant = install::rendered(&bed, "tenant", &json!({"components": ["deploy/components/tenant"]})).await?;
    manifest::check_rights(&tenant)?;
    bed.kubectl(&["delete", "namespace", &namespace, "--wait=false"], None).await.map(drop)
}

#[tokio::test]
async fn a_tenants_workers_are_opened_by_name_in_that_namespace_only() -> Result<()> {
    let bed = bed().await?;
    let namespace = format!("tenant-workers-{}", std::process::id());
    bed.kubectl(&["create", "namespace", &namespace], None).await?;
    ensure!(!can(&bed, ACCOUNT, ("list", "pods", &namespace)).await?, "before the component");
    install::tenant_workers_named(&bed, &namespace, &["mine"]).await?;
    for (verb, resource, of, allowed) in [
        ("get", "deployments.apps:mine", namespace.as_str(), true),
        ("get", "deployments.apps/scale:mine", &namespace, true),
        ("patch", "deployments.apps/scale:mine", &namespace, true),
        ("list", "pods", &namespace, true),
        ("patch", "pods:any", &namespace, true),
        ("get", "deployments.apps:spark-worker", &namespace, false),
        ("patch", "deployments.apps:mine", &namespace, false),
        ("patch", "deployments.apps/scale:other", &namespace, false),
        ("delete", "pods:any", &namespace, false),
        ("create", "pods/exec:any", &namespace, false),
        ("get", "deployments.apps:mine", "default", false),
        ("list", "pods", "default", false),
    ] {
        wait_until(&format!("{verb} {resource} in {of}: {allowed}"), PATIENCE, async || {
            let answer = can(&bed, ACCOUNT, (verb, resource, of)).await?;
            ensure!(answer == allowed, "the answer is {answer}");
            Ok(())
        })
        .await?;
    }
    let kustomization = json!({"components": ["deploy/components/tenant-workers"]});
    let tenant = install::rendered(&bed, "tenant-workers", &kustomization).await?;
    manifest::check_rights_of_workers(&tenant)?;
    ensure!(manifest::check_rights(&tenant).is_err(), "an installation of the operator sees no pods");
    bed.kubectl(&["delete", "namespace", &namespace, "--wait=false"], None).await.map(drop)
}

/// Every file below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}

#[test]
fn nothing_in_deploy_permits_insecure_endpoints() -> Result<()> {
    let files = files(&root().join("deploy"))?;
    ensure!(files.len() >= 20, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file)?.to_lowercase().replace(['-', '_'], "");
        ensure!(!text.contains("allowinsecure"), "{} permits insecure endpoints", file.display());
    }
    Ok(())
}

/// Runs the operator with a configuration, where there is no Kubernetes.
async fn start_with(bed: &Bed, name: &str, config: &str, database: Option<&str>) -> Result<Output> {
    let file = bed.dir.join(format!("{name}.yaml"));
    std::fs::write(&file, config)?;
    let beside = std::env::current_exe()?.ancestors().nth(2).context("a folder")?.join("logwise-operator");
    let program =
        std::env::var_os("LOGWISE_OPERATOR_BIN").filter(|path| !path.is_empty()).map_or(beside, PathBuf::from);
    let mut command = tokio::process::Command::new(program);
    command.args(["run", "--http-listen", "127.0.0.1:0", "--config"]).arg(&file).env_clear().stdin(Stdio::null());
    command.env("KUBECONFIG", bed.dir.join("none")).env("HOME", "/nonexistent").kill_on_drop(true);
    if let Some(url) = database {
        command.env("LOGWISE_DATABASE_URL", url);
    }
    tokio::time::timeout(PATIENCE, command.output()).await.context("it runs on")?.context("running the operator")
}

#[tokio::test]
async fn the_operator_takes_every_configuration_that_is_shipped() -> Result<()> {
    let bed = bed().await?;
    let mysql = Some("mysql://logwise:canary@database.example.internal:3306/logwise?ssl-mode=REQUIRED");
    for (installation, database) in [("base", None), ("overlays/single-node", None), ("overlays/production", mysql)] {
        let own = Own::render(&bed, "config", installation, &[]).await?;
        let config = own.of_kind("ConfigMap").next().and_then(|it| it["data"]["logwise.yaml"].as_str());
        let config = config.context("no logwise.yaml")?;
        let answer = start_with(&bed, "shipped", config, database).await?;
        let text = String::from_utf8_lossy(&answer.stderr);
        ensure!(
            answer.status.code() == Some(1) && text.contains("no Kubernetes configuration"),
            "{installation}: {:?}: {text}",
            answer.status
        );
        ensure!(!text.contains("canary"), "{text}");
        if installation == "overlays/production" {
            let file = Some("sqlite:///var/lib/logwise/logwise.db");
            let answer = start_with(&bed, "shipped", config, file).await?;
            let text = String::from_utf8_lossy(&answer.stderr);
            ensure!(answer.status.code() == Some(2), "leader election with SQLite: {:?}: {text}", answer.status);
        }
        ensure!(config.contains("grants:") == (installation == "overlays/production"), "{config}");
    }
    Ok(())
}

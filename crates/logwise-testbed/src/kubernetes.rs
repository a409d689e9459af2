//! The Kubernetes control plane: etcd, API server, controllers, scheduler, and kwok, which plays one node.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::api::Api;
use crate::certificates;
use crate::command::{command, output};
use crate::folder::write_atomically;
use crate::http;
use crate::process::{Ending, Probe, Server, probe, start};
use crate::site::Site;

/// The fake node.
pub const NODE: &str = "logwise-node";
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Writes by anybody are recorded; reads are too many to be of use.
const AUDIT_POLICY: &str = include_str!("../kubernetes/audit-policy.yaml");

/// Starts the control plane and returns when each part answers and the node is Ready.
pub async fn up(site: &Site) -> Result<()> {
    certificates::ensure(&site.folder.path("pki"), &site.addresses.host().to_string()).await?;
    write_files(site).await?;
    let api = api(site)?;
    let [etcd, api_server, controllers, scheduler, kwok] = servers(site)?;
    futures::try_join!(start(&site.folder, &etcd), start(&site.folder, &api_server))?;
    create_node(&api).await?;
    futures::try_join!(start(&site.folder, &controllers), start(&site.folder, &scheduler), start(&site.folder, &kwok))?;
    Ok(())
}

/// The five servers, in the order of dependence.
pub fn servers(site: &Site) -> Result<[Server; 5]> {
    Ok([etcd(site), api_server(site)?, controllers(site)?, scheduler(site)?, kwok(site)?])
}

/// The address of the API server.
pub fn api_url(site: &Site) -> String {
    format!("https://{}", site.addresses.at(site.addresses.ports.api_server))
}

fn server(site: &Site, name: &str, args: Vec<String>, ready: Probe) -> Server {
    Server {
        name: name.to_owned(),
        program: site.tools.kubernetes.join("kk"),
        args,
        env: Vec::new(),
        cwd: site.folder.dir().to_owned(),
        ending: Ending::Terminate { seconds: 5 },
        ready_within: READY_WITHIN,
        ready,
    }
}

fn words(fixed: &[&str]) -> Vec<String> {
    fixed.iter().map(ToString::to_string).collect()
}

fn etcd(site: &Site) -> Server {
    let client = format!("http://{}", site.addresses.at(site.addresses.ports.etcd));
    let peer = format!("http://{}", site.addresses.at(site.addresses.ports.etcd_peer));
    let mut args = words(&["etcd", "--name", "bed", "--data-dir", "etcd", "--unsafe-no-fsync", "--log-level", "info"]);
    args.extend(["--listen-client-urls", &client, "--advertise-client-urls", &client].map(String::from));
    args.extend(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer].map(String::from));
    args.extend(["--initial-cluster".to_owned(), format!("bed={peer}")]);
    let ready = probe(move || {
        let url = format!("{client}/health");
        async move {
            let health: Value = http::client()?
                .get(&url)
                .send()
                .await
                .context("asking etcd")?
                .json()
                .await
                .context("reading etcd's answer")?;
            if health["health"] == "true" { Ok(()) } else { bail!("etcd says {health}") }
        }
    });
    server(site, "etcd", args, ready)
}

fn api_server(site: &Site) -> Result<Server> {
    let (addresses, host) = (&site.addresses, site.addresses.host().to_string());
    let mut args = words(&["kube-apiserver", "--bind-address", &host, "--advertise-address", &host]);
    args.extend(["--secure-port".to_owned(), addresses.ports.api_server.to_string()]);
    args.extend(["--etcd-servers".to_owned(), format!("http://{}", addresses.at(addresses.ports.etcd))]);
    args.extend(words(&[
        "--endpoint-reconciler-type",
        "none",
        "--service-cluster-ip-range",
        "10.0.0.0/24",
        "--authorization-mode",
        "Node,RBAC",
    ]));
    args.extend(words(&[
        "--client-ca-file",
        "pki/ca.crt",
        "--tls-cert-file",
        "pki/servers.crt",
        "--tls-private-key-file",
        "pki/servers.key",
    ]));
    args.extend(words(&["--service-account-issuer", "https://kubernetes.default.svc"]));
    args.extend(words(&[
        "--service-account-key-file",
        "pki/accounts.pub",
        "--service-account-signing-key-file",
        "pki/accounts.key",
    ]));
    args.extend(words(&["--audit-policy-file", "audit-policy.yaml", "--audit-log-path", "log/audit.jsonl"]));
    // Exact lists at old versions must be able to fail with 410, as they do on a busy cluster.
    args.extend(words(&["--feature-gates=ListFromCacheSnapshot=false"]));
    let api = api(site)?;
    let ready = probe(move || {
        let api = api.clone();
        async move { api.answers_ok(&format!("{}/readyz", api.url())).await }
    });
    // It waits for open watches for 60 s on SIGTERM; what it promised is in etcd.
    Ok(Server { ending: Ending::Kill, ..server(site, "kube-apiserver", args, ready) })
}

fn controllers(site: &Site) -> Result<Server> {
    let port = site.addresses.ports.controllers;
    let mut args =
        words(&["kube-controller-manager", "--kubeconfig", "pki/controllers.kubeconfig", "--leader-elect=false"]);
    args.extend(serving(site, port));
    args.extend(words(&[
        "--service-account-private-key-file",
        "pki/accounts.key",
        "--root-ca-file",
        "pki/ca.crt",
        "--use-service-account-credentials=true",
        // It makes one account per controller at its start; by default it would take 4 s over that.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]));
    let api = api(site)?;
    let health = format!("https://{}/healthz", site.addresses.at(port));
    let ready = probe(move || {
        let (api, health) = (api.clone(), health.clone());
        async move {
            api.answers_ok(&health).await?;
            api.answers_ok(&format!("{}/api/v1/namespaces/default/serviceaccounts/default", api.url())).await
        }
    });
    Ok(Server { ending: Ending::Kill, ..server(site, "kube-controller-manager", args, ready) })
}

fn scheduler(site: &Site) -> Result<Server> {
    let port = site.addresses.ports.scheduler;
    let mut args = words(&["kube-scheduler", "--kubeconfig", "pki/scheduler.kubeconfig", "--leader-elect=false"]);
    args.extend(serving(site, port));
    let api = api(site)?;
    let health = format!("https://{}/healthz", site.addresses.at(port));
    let ready = probe(move || {
        let (api, health) = (api.clone(), health.clone());
        async move { api.answers_ok(&health).await }
    });
    Ok(server(site, "kube-scheduler", args, ready))
}

fn serving(site: &Site, port: u16) -> Vec<String> {
    let (host, port) = (site.addresses.host().to_string(), port.to_string());
    words(&[
        "--bind-address",
        &host,
        "--secure-port",
        &port,
        "--tls-cert-file",
        "pki/servers.crt",
        "--tls-private-key-file",
        "pki/servers.key",
    ])
}

fn kwok(site: &Site) -> Result<Server> {
    let own = site.addresses.at(site.addresses.ports.kwok);
    let mut args =
        words(&["kwok", "--config", "stages.yaml", "--kubeconfig", "pki/kwok.kubeconfig", "--manage-all-nodes=true"]);
    args.extend(words(&[
        "--node-ip",
        &site.addresses.host().to_string(),
        "--cidr",
        "10.240.0.0/16",
        "--server-address",
        &own,
    ]));
    let api = api(site)?;
    let health = format!("http://{own}/healthz");
    let ready = probe(move || {
        let (api, health) = (api.clone(), health.clone());
        async move {
            api.answers_ok(&health).await?;
            node_is_ready(&api).await
        }
    });
    Ok(server(site, "kwok", args, ready))
}

/// Kubeconfigs, kwok's stages, the audit policy, and the programs in `bin`.
async fn write_files(site: &Site) -> Result<()> {
    let (folder, kk) = (&site.folder, site.tools.kubernetes.join("kk"));
    write_atomically(&folder.kubeconfig(), kubeconfig(site, "admin").as_bytes())?;
    for user in ["controllers", "scheduler", "kwok"] {
        write_atomically(&folder.path(&format!("pki/{user}.kubeconfig")), kubeconfig(site, user).as_bytes())?;
    }
    write_atomically(&folder.path("audit-policy.yaml"), AUDIT_POLICY.as_bytes())?;
    let stages = output(command(&kk, ["kwok-stages"]), Duration::from_secs(30)).await?;
    write_atomically(&folder.path("stages.yaml"), stages.as_bytes())?;
    let bin = folder.sub("bin")?;
    for name in ["kubectl", "kstatus", "kk"] {
        link(&kk, &bin.join(name))?;
    }
    for name in ["helm", "kubeconform"] {
        link(&site.tools.kubernetes.join(name), &bin.join(name))?;
    }
    Ok(())
}

fn link(target: &Path, link: &Path) -> Result<()> {
    if fs::read_link(link).is_ok_and(|old| old == target) {
        return Ok(());
    }
    if link.is_symlink() {
        fs::remove_file(link).with_context(|| format!("removing {}", link.display()))?;
    }
    symlink(target, link).with_context(|| format!("linking {}", link.display()))
}

fn kubeconfig(site: &Site, user: &str) -> String {
    let pki = site.folder.path("pki");
    let pki = pki.display();
    let credentials = format!("{{client-certificate: \"{pki}/{user}.crt\", client-key: \"{pki}/{user}.key\"}}");
    kubeconfig_text(&api_url(site), &format!("{pki}/ca.crt"), user, &credentials)
}

/// A kubeconfig with one cluster, one user and one context.
pub fn kubeconfig_text(server: &str, authority: &str, user: &str, credentials: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: bed\n  cluster: {{server: \"{server}\", certificate-authority: \"{authority}\"}}\n\
         users:\n- name: {user}\n  user: {credentials}\ncontexts:\n- name: bed\n  context: {{cluster: bed, user: {user}}}\ncurrent-context: bed\n"
    )
}

/// The administrator's client of this site's API server.
fn api(site: &Site) -> Result<Api> {
    Api::open(&site.folder, &api_url(site))
}

async fn create_node(api: &Api) -> Result<()> {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
        "labels": {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "type": "kwok"}},
        "status": {"capacity": {"cpu": "64", "memory": "256Gi", "pods": "1000"}, "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "1000"}}});
    api.ensure("/api/v1/nodes", &node).await.context("creating the fake node")
}

async fn node_is_ready(api: &Api) -> Result<()> {
    let node = api.get(&format!("/api/v1/nodes/{NODE}")).await?;
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    if ready { Ok(()) } else { bail!("the fake node is not Ready") }
}

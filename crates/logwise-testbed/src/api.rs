//! The API server asked as the administrator, without the start of a program: tests ask again and again.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::folder::Folder;

/// Longest wait for one answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// A client of the API server.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    url: String,
}

impl Api {
    /// For the API server at `https://host:port`, with the administrator's certificate of a bed.
    pub fn open(folder: &Folder, url: &str) -> Result<Api> {
        let read = |name: &str| {
            std::fs::read(folder.path("pki").join(name)).with_context(|| format!("reading {name} of the cluster"))
        };
        let authority = reqwest::Certificate::from_pem(&read("ca.crt")?).context("reading the cluster's authority")?;
        let identity = reqwest::Identity::from_pem(&[read("admin.crt")?, read("admin.key")?].concat())
            .context("reading the administrator's certificate")?;
        let client = reqwest::Client::builder().no_proxy().timeout(DEADLINE).tls_certs_only([authority]);
        let client = client.identity(identity).build().context("building an HTTP client")?;
        Ok(Api { client, url: url.to_owned() })
    }

    /// One object or list, without the fields about managers, as `kubectl get -o json` shows it.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let mut object = self.ask(Method::GET, path, None).await?;
        let items = object["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let bare = |mut item: Value| {
            item["metadata"].as_object_mut().map(|meta| meta.remove("managedFields"));
            item
        };
        if object["items"].is_array() {
            object["items"] = items.into_iter().map(bare).collect();
        }
        Ok(bare(object))
    }

    /// Creates a namespace.
    pub async fn create_namespace(&self, name: &str) -> Result<()> {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.ask(Method::POST, "/api/v1/namespaces", Some(&object)).await.map(drop)
    }

    /// Deletes a namespace and takes the finalizers off policies in it, whose operator is gone: it would be deleted for
    /// ever otherwise.
    pub async fn delete_namespace(&self, name: &str) -> Result<()> {
        self.ask(Method::DELETE, &format!("/api/v1/namespaces/{name}"), None).await?;
        let all = collection("lrp", name).context("no path of policies")?;
        let policies = self.get(&all).await?;
        let none = json!({"metadata": {"finalizers": null}});
        for policy in policies["items"].as_array().into_iter().flatten() {
            let name = policy["metadata"]["name"].as_str().unwrap_or_default();
            self.ask(Method::PATCH, &format!("{all}/{name}"), Some(&none)).await?;
        }
        Ok(())
    }

    /// Whether `url` answers with success.
    pub(crate) async fn answers_ok(&self, url: &str) -> Result<()> {
        let status = self.client.get(url).send().await?.status();
        if status.is_success() { Ok(()) } else { bail!("{url} answers {status}") }
    }

    /// Creates an object unless it is there already.
    pub(crate) async fn ensure(&self, path: &str, object: &Value) -> Result<()> {
        let (status, text) = self.send(Method::POST, path, Some(object)).await?;
        let there = status.is_success() || status == StatusCode::CONFLICT;
        if there { Ok(()) } else { bail!("POST {path}: {status}: {text}") }
    }

    /// `https://host:port`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let what = format!("{method} {path}");
        let (status, text) = self.send(method, path, body).await?;
        if !status.is_success() {
            let told: Value = serde_json::from_str(&text).unwrap_or_default();
            bail!("{what}: {status}: {}", told["message"].as_str().unwrap_or(&text));
        }
        serde_json::from_str(&text).with_context(|| format!("{what}: reading the answer"))
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, String)> {
        let what = format!("{method} {path}");
        let patch = method == Method::PATCH;
        let request = self.client.request(method, format!("{}{path}", self.url));
        let with = |request: RequestBuilder, body: &Value| {
            let kind = if patch { "application/merge-patch+json" } else { "application/json" };
            request.header("content-type", kind).body(body.to_string())
        };
        let request = match body {
            Some(body) => with(request, body),
            None => request,
        };
        let answer = request.send().await.with_context(|| what.clone())?;
        Ok((answer.status(), answer.text().await.with_context(|| what)?))
    }
}

/// The path of an object of a kind that tests read often.
pub fn path(kind: &str, namespace: &str, name: &str) -> Option<String> {
    Some(format!("{}/{name}", collection(kind, namespace)?))
}

/// The path of all objects of such a kind, which goes by the name that `kubectl` knows it by.
pub fn collection(kind: &str, namespace: &str) -> Option<String> {
    let (group, plural) = match kind {
        "lwc" => ("apis/logwise.io/v1alpha1", "logwiseclusters"),
        "lrp" => ("apis/logwise.io/v1alpha1", "retentionpolicies"),
        "configmap" => ("api/v1", "configmaps"),
        "event" => ("apis/events.k8s.io/v1", "events"),
        "lease" => ("apis/coordination.k8s.io/v1", "leases"),
        _ => return None,
    };
    Some(format!("/{group}/namespaces/{namespace}/{plural}"))
}

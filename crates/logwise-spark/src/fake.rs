//! For tests: a Spark master and an API server with the pods of a Deployment, each pod with one worker, and an object
//! that names them.

use crate::context::Context;
use crate::driver::Drivers;
use crate::master::server::{Answer, Request, Server, json, page};
use crate::master::{Masters, http_client};
use crate::memory::Memory;
use kube::Client;
use kube::runtime::{reflector, watcher};
use logwise_api::LogwiseCluster;
use logwise_aws::{AwsClients, AwsSettings};
use logwise_plan::Known;
use logwise_plan::grants::Grants;
use logwise_runtime::{Access, DecisionLog, Intents, Metrics, Seat, Shell, Term};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

/// Where the operator keeps its records.
const CONFIGMAPS: &str = "/api/v1/namespaces/own/configmaps";

/// The Deployment.
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/team-a/deployments/workers";

const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What is outside.
#[derive(Debug)]
pub(crate) struct Outside {
    pub object: Value,
    /// Pods by name, with their costs. The last part of a pod's address is its place here.
    pub pods: BTreeMap<String, Option<i32>>,
    pub replicas: i32,
    records: BTreeMap<String, Value>,
    version: u64,
    /// Hosts whose workers take nothing new.
    pub cordoned: BTreeSet<String>,
    /// Whether the master only says that it is not there.
    pub is_mute: bool,
    /// What the master answers to a cordon.
    pub cordon: u16,
    /// Whether nobody may change the number of pods.
    pub fixed: bool,
    /// The pod that the driver runs on.
    pub driver: &'static str,
    /// Where the driver goes when a worker is cordoned.
    pub lands: Option<&'static str>,
    /// Tasks on each worker but the driver's.
    pub tasks: i32,
    /// Changes in their order, as they came.
    pub changes: Vec<String>,
    /// What happens when the next removal is written down as sent.
    pub when_sent: Option<fn(&mut Outside)>,
}

impl Outside {
    fn new() -> Self {
        let pods = ["a", "b", "c"].map(|name| (name.to_owned(), None)).into();
        Self {
            object: Value::Null,
            pods,
            replicas: 3,
            records: BTreeMap::new(),
            version: 0,
            cordoned: BTreeSet::new(),
            is_mute: false,
            cordon: 200,
            fixed: false,
            driver: "a",
            lands: None,
            tasks: 0,
            changes: Vec::new(),
            when_sent: None,
        }
    }

    /// Loopback, so that the driver's page can be there.
    fn address(name: &str) -> String {
        format!("127.0.0.{}", name.bytes().next().unwrap_or_default() - b'a' + 1)
    }

    fn master(&mut self, request: &Request) -> Answer {
        if self.is_mute {
            return json(503, &Value::Null);
        }
        if let Some((_, rest)) = request.line.split_once("/workers/kill/?host=") {
            let host = rest.split(' ').next().unwrap_or_default();
            self.changes.push(format!("cordon {host}"));
            if self.cordon == 200 {
                self.cordoned.insert(host.to_owned());
                self.driver = self.lands.unwrap_or(self.driver);
            }
            return json(self.cordon, &Value::Null);
        }
        let worker = |name: &String| {
            let host = Self::address(name);
            let state = if self.cordoned.contains(&host) { "DECOMMISSIONED" } else { "ALIVE" };
            json!({"id": format!("w-{name}"), "host": host, "state": state, "cores": 2, "coresused": 1})
        };
        let workers: Vec<Value> = self.pods.keys().map(worker).collect();
        let on = format!("w-{}", self.driver);
        let drivers = json!([{"id": "driver-1", "state": "RUNNING", "worker": on, "mainclass": "a.Main", "cores": 1}]);
        let mut whole = page("ALIVE", &json!(workers), &drivers);
        whole["activeapps"] = json!([{"id": "app-1", "name": "logwise", "state": "RUNNING", "cores": 3}]);
        json(200, &whole)
    }

    /// The driver's page.
    fn tasks(&self) -> Answer {
        let executor = |name: &String| {
            json!({"id": "0", "hostPort": format!("{}:1", Self::address(name)), "isActive": true,
                "activeTasks": if name == self.driver { 1 } else { self.tasks }})
        };
        json(200, &json!(self.pods.keys().map(executor).collect::<Vec<_>>()))
    }

    fn kubernetes(&mut self, request: &Request) -> Answer {
        let mut words = request.line.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = path.split('?').next().unwrap_or_default();
        let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
        match (method, path) {
            (_, path) if path.starts_with(CONFIGMAPS) => self.record(method, path, body),
            ("GET", DEPLOYMENT) => json(200, &self.deployment()),
            ("GET", "/api/v1/namespaces/team-a/pods") => json(200, &self.list()),
            ("GET", path) if path.ends_with("/scale") => json(200, &self.scale()),
            ("PATCH", path) if path.ends_with("/scale") => self.resize(&body),
            ("PATCH", path) => self.cost(path, &body),
            ("GET", _) => json(200, &self.object),
            _ => status(405, "MethodNotAllowed"),
        }
    }

    fn record(&mut self, method: &str, path: &str, mut object: Value) -> Answer {
        if method == "GET" && path == CONFIGMAPS {
            let items: Vec<&Value> = self.records.values().collect();
            return json(200, &json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {}, "items": items}));
        }
        if method == "GET" {
            return self.records.get(path).map_or_else(|| status(404, "NotFound"), |record| json(200, record));
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let path = if method == "POST" { format!("{path}/{name}") } else { path.to_owned() };
        let known = self.records.get(&path).map(|known| known["metadata"]["resourceVersion"].clone());
        if known.is_some_and(|known| object["metadata"]["resourceVersion"] != known) {
            return status(409, "Conflict");
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.records.insert(path, object.clone());
        if is_sent_removal(&object)
            && let Some(happens) = self.when_sent.take()
        {
            happens(self);
        }
        json(200, &object)
    }

    fn deployment(&self) -> Value {
        let pods = self.pods.len();
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "workers", "namespace": "team-a", "uid": "d", "generation": 1},
            "spec": {"replicas": self.replicas, "selector": {"matchLabels": {"app": "spark"}}, "template": {}},
            "status": {"observedGeneration": 1, "replicas": pods, "updatedReplicas": pods},
        })
    }

    fn list(&self) -> Value {
        let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true});
        let pod = |(name, cost): (&String, &Option<i32>)| {
            let annotations = cost.map_or_else(|| json!({}), |cost| json!({COST: cost.to_string()}));
            let fields = json!({"f:metadata": {"f:annotations": {(format!("f:{COST}")): {}}}});
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "annotations": annotations, "ownerReferences": [owner],
                    "creationTimestamp": "2026-11-28T00:00:00Z",
                    "managedFields": [{"manager": "logwise.io/workers", "fieldsV1": fields}]},
                "status": {"phase": "Running", "podIP": Self::address(name),
                    "conditions": [{"type": "Ready", "status": "True"}]},
            })
        };
        let items: Vec<Value> = self.pods.iter().map(pod).collect();
        json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
    }

    fn scale(&self) -> Value {
        let metadata = json!({"name": "workers", "namespace": "team-a", "uid": "d", "resourceVersion": "1"});
        let spec = json!({"replicas": self.replicas});
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": spec})
    }

    /// Of fewer pods the cheapest go.
    fn resize(&mut self, body: &Value) -> Answer {
        if self.fixed {
            self.changes.push("scale refused".to_owned());
            return status(403, "Forbidden");
        }
        self.replicas = body["spec"]["replicas"].as_i64().and_then(|number| number.try_into().ok()).unwrap_or_default();
        self.changes.push(format!("scale {}", self.replicas));
        while self.pods.len() > usize::try_from(self.replicas).unwrap_or_default() {
            let cheapest = self.pods.iter().min_by_key(|(_, cost)| cost.unwrap_or_default());
            let Some(name) = cheapest.map(|(name, _)| name.clone()) else { break };
            self.pods.remove(&name);
        }
        json(200, &self.scale())
    }

    fn cost(&mut self, path: &str, body: &Value) -> Answer {
        let name = path.rsplit('/').next().unwrap_or_default();
        let cost = body["metadata"]["annotations"][COST].as_str().and_then(|cost| cost.parse().ok());
        self.changes.push(format!("cost {name}"));
        let Some(pod) = self.pods.get_mut(name) else { return status(404, "NotFound") };
        *pod = cost;
        json(200, &json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": name}}))
    }
}

/// Whether it is the record of a removal that is being made.
fn is_sent_removal(object: &Value) -> bool {
    let record = object["data"]["intent"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    record.is_some_and(|record| record["state"] == "Sent" && record["wish"]["targets"]["kind"] == "remove")
}

fn status(code: u16, reason: &str) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code,
        "message": reason});
    json(code, &status)
}

/// One pipeline with what is outside.
pub(crate) struct World {
    pub cluster: LogwiseCluster,
    outside: Arc<Mutex<Outside>>,
    api: Server,
}

impl World {
    /// A pipeline with these fields of `spec.spark.workers` besides.
    pub async fn new(fields: Value) -> Self {
        let outside = Arc::new(Mutex::new(Outside::new()));
        let (for_master, for_driver, for_api) = (outside.clone(), outside.clone(), outside.clone());
        let master = Server::new(move |request| for_master.lock().unwrap().master(request)).await;
        let driver = Server::new(move |_| for_driver.lock().unwrap().tasks()).await;
        let api = Server::new(move |request| for_api.lock().unwrap().kubernetes(request)).await;
        let cluster = object((master.port(), driver.port()), fields);
        outside.lock().unwrap().object = json!(cluster);
        Self { cluster, outside, api }
    }

    pub fn outside(&self) -> MutexGuard<'_, Outside> {
        self.outside.lock().unwrap()
    }

    /// Changes since they were last asked for.
    pub fn changes(&self) -> Vec<String> {
        std::mem::take(&mut self.outside().changes)
    }

    /// What is written down about the Deployment.
    pub fn record(&self) -> Value {
        let outside = self.outside();
        let texts = outside.records.values().filter_map(|record| record["data"]["intent"].as_str());
        let mut intents = texts.map(|text| serde_json::from_str::<Value>(text).unwrap());
        intents.find(|intent| intent["resource"] == "deployment/team-a/workers/d").unwrap_or_default()
    }

    /// What a controller works with in the term of this number.
    pub async fn context(&self, epoch: i64) -> Context {
        let url = format!("http://127.0.0.1:{}", self.api.port());
        let client = Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        let seat = Seat {
            client: client.clone(),
            namespace: "own".into(),
            installation: "test".into(),
            shard: String::new(),
            identity: "p".into(),
        };
        let intents = Arc::new(Intents::load(seat, Arc::new(Term::alone(epoch))).await.unwrap());
        let access = Arc::new(Access::new(Grants::default(), |_| Known::Unknown("not asked".into())));
        let (metrics, decisions) = (Arc::new(Metrics::new("test")), DecisionLog::new(|_| {}));
        let (clusters, mut writer) = reflector::store::<LogwiseCluster>();
        writer.apply_watcher_event(&watcher::Event::Apply(self.cluster.clone()));
        Context {
            shell: Arc::new(Shell::new(client.clone(), metrics, decisions, intents, access)),
            client,
            aws: Arc::new(AwsClients::open(AwsSettings::default()).unwrap()),
            installation: "test".into(),
            masters: Masters::new(http_client().unwrap()),
            drivers: Drivers::default(),
            memory: Memory::default(),
            period_seconds: 30,
            clusters,
        }
    }
}

fn object((master, driver): (u16, u16), fields: Value) -> LogwiseCluster {
    let mut workers = json!({"type": "Deployment", "deployment": {"name": "workers"}});
    workers.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let masters = json!([{"host": "127.0.0.1", "uiPort": master, "restPort": master}]);
    let driver = json!({"mode": "Disabled", "mainClass": "a.Main", "uiPort": driver});
    let object = json!({
        "apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster",
        "metadata": {"namespace": "team-a", "name": "demo", "uid": "u", "generation": 1},
        "spec": {"changePolicy": {"mode": "Apply"},
            "spark": {"masters": masters, "driver": driver, "workers": workers}},
    });
    serde_json::from_value(object).unwrap()
}

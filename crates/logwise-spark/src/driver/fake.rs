//! For tests: a Spark master whose drivers a test sets, an API server that keeps what it is told, and an object that
//! names both.

use super::{Around, Drivers, Found, Told, carry_out, observe};
use crate::context::Context;
use crate::master::server::{Answer, Request, Server, html, json, page};
use crate::master::{Masters, NoActiveMaster, Page, http_client};
use crate::memory::Memory;
use jiff::Timestamp;
use kube::Client;
use kube::runtime::reflector;
use logwise_api::LogwiseCluster;
use logwise_api::validate::{self, MasterAddress};
use logwise_aws::{AwsClients, AwsSettings};
use logwise_plan::Known;
use logwise_plan::driver::{Plan, Policy, plan};
use logwise_plan::grants::Grants;
use logwise_runtime::facts::{CheckpointPosition, Fact};
use logwise_runtime::{Access, DecisionLog, Intents, Metrics, Seat, Shell, Term};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The main class of the pipeline's driver.
pub(super) const CLASS: &str = "a.Main";

/// Where the operator keeps its records.
const CONFIGMAPS: &str = "/api/v1/namespaces/own/configmaps";

/// The pipeline.
pub(super) const OBJECT: &str = "/apis/logwise.io/v1alpha1/namespaces/team-a/logwiseclusters/demo";

/// How the REST server of the master behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Rest {
    /// It does as it is told.
    #[default]
    Works,
    /// It does, and its answers get lost.
    Silent,
    /// It takes no driver.
    Refuses,
    /// The same, and it quotes what it was asked.
    Echoes,
    /// Something before it lets no submission through.
    Forbids,
    /// Something else listens there.
    Off,
}

/// A Spark master.
#[derive(Debug, Default)]
pub(super) struct Spark {
    pub rest: Rest,
    pub active: Vec<Value>,
    pub completed: Vec<Value>,
    /// What the worker says about the end of any driver.
    pub text: Option<String>,
    /// Bodies of submissions.
    pub submitted: Vec<Value>,
    /// Ids that were to be killed.
    pub killed: Vec<String>,
    /// Whether it is not the active one.
    pub is_standby: bool,
    /// What happens when the next call is written down as sent.
    pub when_sent: Option<fn(&mut Spark)>,
}

impl Spark {
    fn answer(&mut self, request: &Request) -> Answer {
        let path = request.line.split(' ').nth(1).unwrap_or_default();
        if path == "/json/" {
            let workers = json!([{"id": "w1", "host": "10.0.0.4", "state": "ALIVE", "cores": 2, "coresused": 1,
                "memory": 1_536, "memoryused": 1_024}]);
            let state = if self.is_standby { "STANDBY" } else { "ALIVE" };
            let mut page = page(state, &workers, &json!(self.active));
            page["completeddrivers"] = json!(self.completed);
            return json(200, &page);
        }
        if self.rest == Rest::Off {
            return html();
        }
        if self.rest == Rest::Forbids && path.ends_with("/create") {
            return json(403, &Value::Null);
        }
        let id = path.rsplit('/').next().unwrap_or_default();
        let answer = match path.split('/').nth(3) {
            Some("create") => self.create(request),
            Some("kill") => self.kill(id),
            _ => {
                return json(
                    200,
                    &json!({"action": "SubmissionStatusResponse", "success": true, "message": self.text}),
                );
            }
        };
        if self.rest == Rest::Silent { json(200, &answer).lost() } else { json(200, &answer) }
    }

    fn create(&mut self, request: &Request) -> Value {
        if self.rest == Rest::Refuses {
            return json!({"action": "CreateSubmissionResponse", "success": false, "message": "no such jar"});
        }
        if self.rest == Rest::Echoes {
            let message = format!("Malformed request: {}", request.body);
            return json!({"action": "ErrorResponse", "success": false, "message": message});
        }
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let id = format!("driver-9{:04}", self.submitted.len() + 1);
        let mut made = driver(&id, "SUBMITTED", None);
        made["mainclass"] = body["mainClass"].clone();
        self.active.push(made);
        self.submitted.push(body);
        json!({"action": "CreateSubmissionResponse", "success": true, "submissionId": id})
    }

    fn kill(&mut self, id: &str) -> Value {
        self.killed.push(id.to_owned());
        let drivers = std::mem::take(&mut self.active).into_iter();
        let (gone, rest): (Vec<Value>, Vec<Value>) = drivers.partition(|driver| driver["id"] == id);
        self.active = rest;
        self.completed.extend(gone.into_iter().map(|mut driver| {
            driver["state"] = json!("KILLED");
            driver
        }));
        json!({"action": "KillSubmissionResponse", "success": true, "submissionId": id})
    }
}

/// A driver of the pipeline's class, as a page has it.
pub(super) fn driver(id: &str, state: &str, worker: Option<&str>) -> Value {
    json!({"id": id, "starttime": "1764000000000", "state": state, "cores": 1, "memory": 512,
        "worker": worker.unwrap_or("None"), "mainclass": CLASS})
}

/// An API server: objects by their paths.
#[derive(Debug, Default)]
pub(super) struct Kubernetes {
    pub objects: BTreeMap<String, Value>,
    version: u64,
}

impl Kubernetes {
    fn answer(&mut self, request: &Request) -> Answer {
        let mut words = request.line.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = path.split('?').next().unwrap_or_default().to_owned();
        match method {
            "GET" if path == CONFIGMAPS => {
                let items: Vec<&Value> =
                    self.objects.iter().filter(|(path, _)| is_record(path)).map(|(_, o)| o).collect();
                json(200, &json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {}, "items": items}))
            }
            "GET" => self.objects.get(&path).map_or_else(|| status(404, "NotFound"), |object| json(200, object)),
            "POST" | "PUT" => {
                let mut object: Value = serde_json::from_str(&request.body).unwrap();
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let path = if method == "POST" { format!("{path}/{name}") } else { path };
                let known = self.objects.get(&path).map(|known| known["metadata"]["resourceVersion"].clone());
                if known.is_some_and(|known| object["metadata"]["resourceVersion"] != known) {
                    return status(409, "Conflict");
                }
                self.version += 1;
                object["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.objects.insert(path, object.clone());
                json(200, &object)
            }
            _ => status(405, "MethodNotAllowed"),
        }
    }

    /// The records, as they are written.
    pub fn records(&self) -> Vec<Value> {
        let records = self.objects.iter().filter(|(path, _)| is_record(path));
        records.map(|(_, object)| serde_json::from_str(object["data"]["intent"].as_str().unwrap()).unwrap()).collect()
    }
}

fn is_record(path: &str) -> bool {
    path.starts_with(CONFIGMAPS)
}

/// Whether it is the record of a call that is being made.
fn is_sent(request: &Request) -> bool {
    let object: Value = serde_json::from_str(&request.body).unwrap_or_default();
    let record = object["data"]["intent"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    record.is_some_and(|record| record["state"] == "Sent")
}

fn status(code: u16, reason: &str) -> Answer {
    json(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code,
        "message": reason}),
    )
}

/// One pipeline with its master.
pub(super) struct World {
    pub cluster: LogwiseCluster,
    pub context: Context,
    pub masters: Vec<MasterAddress>,
    pub policy: Policy,
    spark: Arc<Mutex<Spark>>,
    kubernetes: Arc<Mutex<Kubernetes>>,
}

/// What one look found, planned and did.
pub(super) struct Looked {
    pub found: Found,
    pub plan: Plan,
    pub told: Vec<Told>,
    pub now: Timestamp,
}

impl World {
    /// A pipeline with these fields of `driver` besides. A driver that is missing is not waited for, and a query that
    /// stands still is restarted at once.
    pub async fn new(fields: Value) -> Self {
        let (spark, kubernetes) = (Arc::new(Mutex::new(Spark::default())), Arc::new(Mutex::new(Kubernetes::default())));
        let (master, api) = (spark.clone(), kubernetes.clone());
        let master = Server::new(move |request| master.lock().unwrap().answer(request)).await;
        let sent_to = spark.clone();
        let api = Server::new(move |request| {
            let answer = api.lock().unwrap().answer(request);
            if is_sent(request) {
                let mut spark = sent_to.lock().unwrap();
                if let Some(happens) = spark.when_sent.take() {
                    happens(&mut spark);
                }
            }
            answer
        })
        .await;
        let masters = vec![master.address()];
        let cluster = object(&masters[0], fields);
        let metadata =
            json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": cluster.metadata});
        kubernetes.lock().unwrap().objects.insert(OBJECT.to_owned(), metadata);
        let policy = validate::driver(&cluster, 30).unwrap().unwrap();
        let policy = Policy { absent_seconds: 0, stalled_seconds: 0, ..policy };
        let context = context(&api).await;
        Self { cluster, context, masters, policy, spark, kubernetes }
    }

    pub fn spark(&self) -> MutexGuard<'_, Spark> {
        self.spark.lock().unwrap()
    }

    pub fn kubernetes(&self) -> MutexGuard<'_, Kubernetes> {
        self.kubernetes.lock().unwrap()
    }

    /// The master's page, as if it had been asked for so many seconds from now.
    pub async fn page(&self, seconds: u64) -> Result<Arc<Page>, NoActiveMaster> {
        let page = self.context.masters.page(&self.masters, Instant::now()).await?;
        let began = page.began + Duration::from_secs(seconds);
        Ok(Arc::new(Page { began, ..(*page).clone() }))
    }

    pub fn around<'a>(&'a self, page: &'a Result<Arc<Page>, NoActiveMaster>) -> Around<'a> {
        let Self { cluster, context, masters, .. } = self;
        Around { cluster, context, masters, page, backlog: Some(5) }
    }

    /// From now on the spec names this class, at this master.
    pub fn respecify(&mut self, class: &str, master: &MasterAddress) {
        let generation = self.cluster.metadata.generation.unwrap_or_default() + 1;
        let MasterAddress { host, port, ui_port, rest_port } = master;
        let named = json!([{"host": host, "port": port, "uiPort": ui_port, "restPort": rest_port}]);
        let spark = self.cluster.spec.spark.as_mut().unwrap();
        spark.driver.as_mut().unwrap().main_class = Some(class.to_owned());
        spark.masters = serde_json::from_value(named).unwrap();
        self.cluster.metadata.generation = Some(generation);
        (self.masters, self.policy.main_class) = (vec![master.clone()], class.to_owned());
        self.kubernetes().objects.get_mut(OBJECT).unwrap()["metadata"]["generation"] = json!(generation);
    }

    /// The operator begins anew, with what is on record.
    pub fn forget(&mut self) {
        self.context.drivers = Drivers::default();
    }

    /// Observes and plans by a page that was asked for so many seconds from now.
    pub async fn see(&self, seconds: u64) -> Looked {
        let page = self.page(seconds).await;
        let found = observe(&self.policy, self.around(&page)).await;
        let now = Timestamp::now();
        let plan = plan(&self.policy, &found.facts, now);
        Looked { found, plan, told: Vec::new(), now }
    }

    /// The same, and carries it out.
    pub async fn look(&self, seconds: u64) -> Looked {
        let looked = self.see(seconds).await;
        self.act(looked).await
    }

    /// Carries out what was planned.
    pub async fn act(&self, looked: Looked) -> Looked {
        let page = looked.found.page.clone();
        let told = carry_out(self.around(&page), &self.policy, &looked.found, &looked.plan).await;
        Looked { told, ..looked }
    }

    /// The query has committed this batch, so many seconds ago.
    pub fn commit(&self, batch: i64, seconds: u64) {
        let taken = Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        let position = CheckpointPosition {
            batch,
            offsets: BTreeMap::new(),
            committed: Timestamp::UNIX_EPOCH,
            batches: Vec::new(),
            query: None,
        };
        let fact = Fact { value: Known::Known(position), taken, period: Duration::from_secs(60) };
        self.context.shell.facts.position.publish("u", fact);
    }
}

fn object(master: &MasterAddress, fields: Value) -> LogwiseCluster {
    let mut driver = json!({"mainClass": CLASS, "appResource": "file:///a.jar"});
    driver.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let MasterAddress { host, port, ui_port, rest_port } = master;
    let master = json!({"host": host, "port": port, "uiPort": ui_port, "restPort": rest_port});
    let object = json!({
        "apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster",
        "metadata": {"namespace": "team-a", "name": "demo", "uid": "u", "generation": 1},
        "spec": {"changePolicy": {"mode": "Apply"}, "spark": {"masters": [master], "driver": driver}},
    });
    serde_json::from_value(object).unwrap()
}

/// What a controller works with whose API server is this one.
async fn context(api: &Server) -> Context {
    let url = format!("http://127.0.0.1:{}", api.port());
    let client = Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
    let seat = Seat {
        client: client.clone(),
        namespace: "own".into(),
        installation: "test".into(),
        shard: String::new(),
        identity: "p".into(),
    };
    let intents = Arc::new(Intents::load(seat, Arc::new(Term::alone(1))).await.unwrap());
    let access = Arc::new(Access::new(Grants::default(), |_| Known::Unknown("not asked".into())));
    let (metrics, decisions) = (Arc::new(Metrics::new("test")), DecisionLog::new(|_| {}));
    Context {
        shell: Arc::new(Shell::new(client.clone(), metrics, decisions, intents, access)),
        client,
        aws: Arc::new(AwsClients::open(AwsSettings::default()).unwrap()),
        installation: "test".into(),
        masters: Masters::new(http_client().unwrap()),
        drivers: Drivers::default(),
        memory: Memory::default(),
        period_seconds: 30,
        clusters: reflector::store::<LogwiseCluster>().0,
    }
}

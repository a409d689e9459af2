//! The submission server, with the paths, checks and words of Spark 3.5's.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::cluster::{Cluster, Driver, Status, WORKER_PORT, Wish};
use super::ledger::Kind;

const PREFIX: &str = "/v1/submissions/";
/// What a request for a driver may hold; the rest is named in the answer.
const FIELDS: [&str; 8] = [
    "action",
    "appArgs",
    "appResource",
    "clientSparkVersion",
    "environmentVariables",
    "mainClass",
    "message",
    "sparkProperties",
];
/// Exceptions come with a trace, here of one line.
const TRACE: &str = "\n\torg.apache.spark.deploy.master.Master.run(Master.scala)";
const PROTOCOL: &str = "org.apache.spark.deploy.rest.SubmitRestProtocolException";
const MISSING_FIELD: &str = "org.apache.spark.deploy.rest.SubmitRestMissingFieldException";

/// What the server makes of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    pub kind: Kind,
    /// HTTP status.
    pub status: u16,
    /// Body, in JSON; null is none.
    pub body: Value,
    /// The driver's class or id.
    pub about: String,
    /// Whether something was changed.
    pub effect: bool,
}

impl Outcome {
    fn refusal(kind: Kind, status: u16, version: &str, message: &str) -> Outcome {
        let body = json!({"action": "ErrorResponse", "message": message, "serverSparkVersion": version});
        Outcome { kind, status, body, about: String::new(), effect: false }
    }

    fn empty(kind: Kind, status: u16) -> Outcome {
        Outcome { kind, status, body: Value::Null, about: String::new(), effect: false }
    }
}

/// Answers a request.
pub(super) fn answer(
    cluster: &mut Cluster,
    version: &str,
    (method, path): (&str, &str),
    body: &str,
    now: i64,
) -> Outcome {
    let Some(rest) = path.strip_prefix(PREFIX) else { return misled(version, path) };
    let (action, id) = rest.split_once('/').unwrap_or((rest, ""));
    let id = id.split('/').next().unwrap_or_default();
    match (method, action) {
        ("POST", "create") => create(cluster, version, body, now),
        ("GET", "status") if !id.is_empty() => status(cluster, version, id),
        ("POST", "kill") if !id.is_empty() => kill(cluster, version, id, now),
        ("GET", "status") => Outcome::refusal(Kind::Status, 400, version, &no_id("status")),
        ("POST", "kill") => Outcome::refusal(Kind::Kill, 400, version, &no_id("kill")),
        (_, "create" | "status" | "kill") => Outcome::empty(Kind::Other, 405),
        _ => misled(version, path),
    }
}

fn no_id(action: &str) -> String {
    format!("Submission ID is missing in {action} request.")
}

/// Whatever is asked for outside these paths.
fn misled(version: &str, path: &str) -> Outcome {
    let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    let (said, unknown) = match words.as_slice() {
        [] => ("Missing protocol version.".to_owned(), false),
        ["v1"] => ("Missing the /submissions prefix.".to_owned(), false),
        ["v1", "submissions", ..] => {
            ("Missing an action: please specify one of /create, /kill, or /status.".to_owned(), false)
        }
        [other, ..] => (format!("Unknown protocol version '{other}'."), true),
    };
    let said = format!("{said} Please submit requests through http://[host]:[port]/v1/submissions/...");
    let mut outcome = Outcome::refusal(Kind::Other, if unknown { 468 } else { 400 }, version, &said);
    if unknown {
        outcome.body["highestProtocolVersion"] = json!("v1");
    }
    outcome
}

fn create(cluster: &mut Cluster, version: &str, body: &str, now: i64) -> Outcome {
    let request = serde_json::from_str::<Map<String, Value>>(body).map_err(|error| error.to_string());
    let read = request.and_then(|request| Ok((asked_for(&request)?, request)));
    let (wish, request) = match read {
        Ok(both) => both,
        Err(why) => {
            let message = format!("Malformed request: {why}{TRACE}");
            return Outcome::refusal(Kind::Create, 400, version, &message);
        }
    };
    let unknown: Vec<&String> = request.keys().filter(|name| !FIELDS.contains(&name.as_str())).collect();
    let (about, alive) = (wish.main_class.clone(), cluster.status == Status::Alive);
    let mut body = json!({"action": "CreateSubmissionResponse", "serverSparkVersion": version, "success": alive});
    if !unknown.is_empty() {
        body["unknownFields"] = json!(unknown);
    }
    if alive {
        let id = cluster.submit(wish, now);
        cluster.advance(now);
        body["message"] = json!(format!("Driver successfully submitted as {id}"));
        body["submissionId"] = json!(id);
    } else {
        body["message"] = json!(not_alive(cluster, "Can only accept driver submissions in ALIVE state."));
    }
    Outcome { kind: Kind::Create, status: 200, body, about, effect: alive }
}

fn status(cluster: &Cluster, version: &str, id: &str) -> Outcome {
    let mut body = json!({
        "action": "SubmissionStatusResponse", "serverSparkVersion": version, "submissionId": id, "success": false,
    });
    let (active, over) = cluster.drivers();
    let found = active.iter().chain(over).find(|driver| driver.id == id);
    if cluster.status != Status::Alive {
        let said = not_alive(cluster, "Can only request driver status in ALIVE state.");
        body["message"] = json!(reported(&format!("java.lang.Exception: {said}")));
    } else if let Some(driver) = found {
        tell(&mut body, cluster, driver);
    }
    Outcome { kind: Kind::Status, status: 200, body, about: id.to_owned(), effect: false }
}

fn tell(body: &mut Value, cluster: &Cluster, driver: &Driver) {
    body["success"] = json!(true);
    body["driverState"] = json!(driver.state);
    if let Some(id) = &driver.worker {
        body["workerId"] = json!(id);
        if let Some(worker) = cluster.workers().iter().find(|worker| worker.id == *id) {
            body["workerHostPort"] = json!(format!("{}:{WORKER_PORT}", worker.machine.host));
        }
    }
    if let Some(exception) = &driver.exception {
        body["message"] = json!(reported(exception));
    }
}

fn kill(cluster: &mut Cluster, version: &str, id: &str, now: i64) -> Outcome {
    let alive = cluster.status == Status::Alive;
    let killed = alive && cluster.kill(id, now);
    let message = match (alive, killed) {
        (false, _) => not_alive(cluster, "Can only kill drivers in ALIVE state."),
        (true, true) => format!("Kill request for {id} submitted"),
        (true, false) => format!("Driver {id} has already finished or does not exist"),
    };
    let body = json!({
        "action": "KillSubmissionResponse", "message": message, "serverSparkVersion": version,
        "submissionId": id, "success": killed,
    });
    Outcome { kind: Kind::Kill, status: 200, body, about: id.to_owned(), effect: killed }
}

fn not_alive(cluster: &Cluster, so: &str) -> String {
    format!("Current state is not alive: {}. {so}", cluster.status.word())
}

fn reported(exception: &str) -> String {
    format!("Exception from the cluster:\n{exception}{TRACE}")
}

/// What is asked for. Errors, in the words of the exception, where Spark would not take it. Stricter than Spark, which
/// turns numbers into texts: every value must be a text.
fn asked_for(request: &Map<String, Value>) -> Result<Wish, String> {
    let action = text(request, "action").ok_or_else(|| format!("{MISSING_FIELD}: Action field not found in JSON"))?;
    if action != "CreateSubmissionRequest" {
        return Err(format!("java.lang.ClassNotFoundException: org.apache.spark.deploy.rest.{action}"));
    }
    let invalid = || format!("{PROTOCOL}: Validation of message CreateSubmissionRequest failed!");
    let properties = request.get("sparkProperties").and_then(texts).ok_or_else(invalid)?;
    let needed = ["clientSparkVersion", "appResource"].iter().all(|name| text(request, name).is_some());
    let arguments = request.get("appArgs").and_then(Value::as_array);
    let complete = needed
        && arguments.is_some_and(|all| all.iter().all(Value::is_string))
        && request.get("environmentVariables").and_then(texts).is_some();
    let property = |name: &str| properties.get(name).map(String::as_str);
    let app_name = property("spark.app.name").filter(|_| complete).ok_or_else(invalid)?.to_owned();
    let missing = || format!("{MISSING_FIELD}: Main class is missing.");
    let main_class = text(request, "mainClass").ok_or_else(missing)?.to_owned();
    let count = |name: &str| property(name).map(str::parse::<u32>).transpose().map_err(|_| invalid());
    let memory = |name: &str| property(name).map(mib).transpose().map_err(|()| invalid());
    let supervise = property("spark.driver.supervise").map(str::parse::<bool>).transpose().map_err(|_| invalid())?;
    Ok(Wish {
        main_class,
        app_name,
        cores: count("spark.driver.cores")?.unwrap_or(1),
        memory_mib: memory("spark.driver.memory")?.unwrap_or(1_024),
        supervise: supervise.unwrap_or_default(),
        executor_memory_mib: memory("spark.executor.memory")?.unwrap_or(1_024),
        max_cores: count("spark.cores.max")?,
    })
}

fn text<'a>(request: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    request.get(name)?.as_str()
}

fn texts(value: &Value) -> Option<BTreeMap<String, String>> {
    let pairs = value.as_object()?.iter().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    pairs.collect()
}

/// As Spark reads a size of memory; without a unit it is bytes.
fn mib(text: &str) -> Result<u32, ()> {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let units = [('k', 1_024), ('m', 1 << 20), ('g', 1 << 30), ('t', 1 << 40)];
    let unit = units.into_iter().find_map(|(letter, size)| Some((text.strip_suffix(letter)?, size)));
    let (number, size) = unit.unwrap_or((text, 1_u64));
    let bytes = number.parse::<u64>().map_err(drop)?.checked_mul(size).ok_or(())?;
    u32::try_from(bytes >> 20).map_err(drop)
}

#[cfg(test)]
mod tests;

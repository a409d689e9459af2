//! Objects as people write them, against the real API server: what it refuses, in which words, and what it adds.
//!
//! `objects/bad/*.yaml` begin with `# expect: <text that the refusal contains>`, `objects/good/*.yaml` may begin with
//! `# shows: <path> = <value that the stored object has>`. Where a file holds two documents, the first is applied first.

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use logwise_api::{LogwiseCluster, RetentionPolicy, validate};
use logwise_testbed::bed::Bed;
use logwise_testbed::install;
use logwise_testbed::profile::Part;
use logwise_testbed::world::World;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Calls of kubectl at a time.
const AT_ONCE: usize = 4;

const PATIENCE: Duration = Duration::from_secs(60);

/// One file under `objects/`.
struct Case {
    name: String,
    documents: Vec<String>,
    lines: Vec<String>,
}

impl Case {
    fn read(path: &Path) -> Result<Case> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let name = path.file_stem().context("a file has a name")?.to_string_lossy().into_owned();
        let documents: Vec<String> = text.split("\n---\n").map(str::to_owned).collect();
        let lines = text.lines().take_while(|line| line.starts_with("# ")).map(str::to_owned).collect();
        Ok(Case { name, documents, lines })
    }

    fn all(folder: &str) -> Result<Vec<Case>> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("objects").join(folder);
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        paths.sort();
        paths.iter().map(|path| Case::read(path)).collect()
    }

    /// What follows `# <word>: ` in the first lines.
    fn told(&self, word: &str) -> Vec<&str> {
        let begin = format!("# {word}: ");
        self.lines.iter().filter_map(|line| line.strip_prefix(&begin)).collect()
    }

    fn before(&self) -> &[String] {
        &self.documents[..self.documents.len() - 1]
    }

    fn object(&self) -> Result<Value> {
        let last = self.documents.last().context("a file has a document")?;
        serde_yaml::from_str(last).with_context(|| format!("reading {}", self.name))
    }
}

/// A corner of the bed whose API server has the definitions.
async fn world(test: &str) -> Result<World> {
    let bed = Bed::attach_with(&[Part::Kube, Part::Aws])?;
    install::kubeconfig(&bed).await?;
    World::new(&bed, test).await
}

/// `kubectl -n <namespace> ARGS` with a standard input.
async fn kubectl(world: &World, args: &[&str], input: &str) -> Result<String> {
    world.bed.kubectl(&[&["-n", &world.namespace], args].concat(), Some(input)).await
}

/// What kubectl said when it refused `input`.
async fn refusal(world: &World, args: &[&str], input: &str) -> Result<String> {
    match kubectl(world, args, input).await {
        Ok(answer) => bail!("was accepted: {answer}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

/// The value at a path such as `spec.storage.logsPrefix`, as plain text.
fn at(object: &Value, path: &str) -> Option<String> {
    let found = object.pointer(&format!("/{}", path.replace('.', "/")))?;
    Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
}

/// Whether `whole` holds everything that `part` holds; lists must be equal in length and order.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| holds(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| holds(whole, part))
        }
        _ => whole == part,
    }
}

#[test]
fn there_is_a_bad_object_for_every_rule_and_enough_of_both_kinds() -> Result<()> {
    let (bad, good) = (Case::all("bad")?, Case::all("good")?);
    ensure!(bad.len() >= 45 && good.len() >= 18, "{} bad and {} good objects", bad.len(), good.len());
    for case in &bad {
        ensure!(!case.told("expect").is_empty(), "bad/{}.yaml expects nothing", case.name);
    }
    let mut expected = String::new();
    bad.iter().flat_map(|case| case.told("expect")).for_each(|text| expected.extend([text, "\n"]));
    for (file, crd) in logwise_api::crd::definitions() {
        for message in messages(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]) {
            let begin: String = message.chars().take(40).collect();
            ensure!(expected.contains(&begin), "{file}: no bad object shows {message:?}");
        }
    }
    Ok(())
}

/// The message of every CEL rule in a schema.
fn messages(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(fields) => {
            let rules = fields.get("x-kubernetes-validations").and_then(Value::as_array);
            let own = rules.into_iter().flatten().filter_map(|rule| Some(rule["message"].as_str()?.to_owned()));
            own.chain(fields.values().flat_map(messages)).collect()
        }
        Value::Array(items) => items.iter().flat_map(messages).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn bad_objects_are_refused_in_words_that_help() -> Result<()> {
    let world = world("bad objects").await?;
    let cases = Case::all("bad")?;
    let before = cases.iter().flat_map(|case| case.before().to_vec()).collect::<Vec<_>>().join("\n---\n");
    kubectl(&world, &["apply", "-f", "-"], &before).await.context("applying what comes before")?;
    let problems: Vec<Option<String>> =
        stream::iter(cases).map(|case| refused(&world, case)).buffer_unordered(AT_ONCE).try_collect().await?;
    let problems: Vec<String> = problems.into_iter().flatten().collect();
    ensure!(problems.is_empty(), "{}", problems.join("\n\n"));
    Ok(())
}

/// Applies one bad file as a newcomer does; what is wrong with the answer, if anything.
async fn refused(world: &World, case: Case) -> Result<Option<String>> {
    let object = case.object()?.to_string();
    let answer = match refusal(world, &["apply", "--dry-run=server", "-f", "-"], &object).await {
        Ok(answer) => answer,
        Err(accepted) => return Ok(Some(format!("bad/{}.yaml {accepted}", case.name))),
    };
    let missing: Vec<&str> = case.told("expect").into_iter().filter(|text| !answer.contains(text)).collect();
    let problem = format!("bad/{}.yaml: the answer lacks {missing:?}:\n{answer}", case.name);
    Ok((!missing.is_empty()).then_some(problem))
}

#[tokio::test]
async fn good_objects_are_stored_as_written_with_their_defaults_shown() -> Result<()> {
    let world = world("good objects").await?;
    let cases = Case::all("good")?;
    let apply = ["apply", "--server-side", "-f", "-"];
    let before = cases.iter().flat_map(|case| case.before().to_vec()).collect::<Vec<_>>().join("\n---\n");
    kubectl(&world, &apply, &before).await.context("applying what comes before")?;
    let last = cases.iter().filter_map(|case| case.documents.last().cloned()).collect::<Vec<_>>().join("\n---\n");
    kubectl(&world, &apply, &last).await?;
    let stored: Value = serde_yaml::from_str(&world.kubectl(&["get", "lwc,lrp", "-o", "yaml"]).await?)?;
    let stored = stored["items"].as_array().context("a list has items")?;
    let mut problems = Vec::new();
    for case in &cases {
        let given = case.object()?;
        let same = |object: &&Value| {
            object["kind"] == given["kind"] && object["metadata"]["name"] == given["metadata"]["name"]
        };
        let stored = stored.iter().find(same).with_context(|| format!("good/{}.yaml was not stored", case.name))?;
        problems.extend(differences(case, &given, stored)?);
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n\n"));
    Ok(())
}

/// What is wrong with the stored form of a good object, if anything.
fn differences(case: &Case, given: &Value, stored: &Value) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    if !holds(stored, given) {
        problems.push(format!("good/{}.yaml was stored differently: {}", case.name, stored["spec"]));
    }
    for line in case.told("shows") {
        let (path, value) = line.split_once(" = ").context("`# shows: path = value`")?;
        if at(stored, path).as_deref() != Some(value) {
            problems.push(format!("good/{}.yaml: {path} is {:?}, not {value}", case.name, at(stored, path)));
        }
    }
    if let Err(problem) = converts(stored.clone()) {
        problems.push(format!("good/{}.yaml does not convert: {problem:#}", case.name));
    }
    Ok(problems)
}

#[tokio::test]
async fn objects_at_every_limit_stay_within_the_cost_that_the_server_allows() -> Result<()> {
    let world = world("limits").await?;
    let long = |count: usize, length: usize, end: &str| {
        (0..count).map(|i| format!("{i:03}{}{end}", "x".repeat(length - 3 - end.len()))).collect::<Vec<_>>()
    };
    let transition = |(days, class): (i32, &str)| json!({"days": days, "storageClass": class});
    let classes = ["STANDARD_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"];
    let window = |name| {
        json!({"name": name, "schedule": format!("{} 1 * * *", "1,".repeat(27) + "10"), "durationMinutes": 10080,
            "timeZone": "Z".repeat(64)})
    };
    let windows: Vec<Value> = long(8, 63, "").iter().map(window).collect();
    let secret = json!({"name": "s".repeat(253)});
    let policy = json!({"apiVersion": "logwise.io/v1alpha1", "kind": "RetentionPolicy", "metadata": {"name": "largest"},
        "spec": {"clusterRef": {"name": "prod"}, "expiration": {"days": 36500},
            "serviceSelector": {"matchNames": long(200, 255, ""), "matchPrefixes": long(50, 255, "")},
            "transitions": (1..).map(|i| i * 7299).zip(classes).map(transition).collect::<Vec<_>>(),
            "changePolicy": {"windows": windows,
                "approvedPlans": (0..4).map(|i| format!("rp-{i:012x}")).collect::<Vec<_>>()}}});
    let masters: Vec<Value> = long(8, 255, "").iter().map(|host| json!({"host": host})).collect();
    let texts = |count: usize, begin: &str| -> Value {
        let entry = |key: String| (format!("{begin}{key}"), Value::from("v".repeat(4096)));
        Value::Object(long(count, 240, "").into_iter().map(entry).collect())
    };
    let driver = json!({"mainClass": "c".repeat(255), "appResource": format!("file:{}", "j".repeat(1019)),
        "arguments": long(64, 4096, ""), "sparkProperties": texts(64, "spark."), "environment": texts(32, "E"),
        "appName": "n".repeat(63), "environmentSecretRef": secret});
    let policies = vec![json!({"type": "Percent", "value": 10000, "periodSeconds": 1800}); 8];
    let autoscaling = json!({"minReplicas": 1, "maxReplicas": 9,
        "behavior": {"scaleUp": {"policies": policies}, "scaleDown": {"policies": policies}}});
    let cluster = json!({"apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster", "metadata": {"name": "largest"},
        "spec": {"changePolicy": {"windows": windows,
                "approvedPlans": (0..4).map(|i| format!("kp-{i:08x}")).collect::<Vec<_>>()},
            "aws": {"region": "ap-south-1", "credentialsSecretRef": secret,
                "roleARN": format!("arn:aws:iam::123456789012:role/{}", "r".repeat(609))},
            "storage": {"bucketName": "b".repeat(63), "logsPrefix": format!("{}/", "l".repeat(255)),
                "checkpointPrefix": format!("{}/", "c".repeat(255))},
            "kafka": {"bootstrapServers": long(16, 261, ":65535"), "topics": {"pattern": "(a|b)".repeat(51)},
                "tls": {"caSecretRef": {"name": "s".repeat(253), "key": "k".repeat(253)}, "clientSecretRef": secret},
                "authentication": {"type": "PLAIN", "secretRef": secret}},
            "spark": {"masters": masters, "queryName": "q".repeat(128), "driver": driver,
                "workers": {"type": "AutoScalingGroup", "autoscaling": autoscaling, "autoScalingGroup":
                    {"name": "g".repeat(255), "terminationHookName": "h".repeat(255)}}}}});
    for object in [policy, cluster] {
        kubectl(&world, &["create", "--dry-run=server", "-f", "-"], &object.to_string()).await?;
    }
    Ok(())
}

/// What the API server accepts becomes a policy without complaint.
fn converts(stored: Value) -> Result<()> {
    if stored["kind"] == "LogwiseCluster" {
        let cluster: LogwiseCluster = serde_json::from_value(stored)?;
        validate::change_policy(&cluster)?;
        validate::kafka_topics(&cluster, 60).transpose()?;
        validate::workers(&cluster, 60).transpose()?;
        validate::driver(&cluster, 60).transpose()?;
        validate::spark_masters(&cluster).transpose()?;
        validate::retention(&cluster, Vec::new(), Default::default(), 60).transpose()?;
        return Ok(());
    }
    let policy: RetentionPolicy = serde_json::from_value(stored)?;
    validate::retention_entry(&policy, "test", &LogwiseCluster::new("prod", Default::default()))?;
    Ok(())
}

#[tokio::test]
async fn the_generated_definitions_are_those_of_the_server_and_raise_no_warning() -> Result<()> {
    let world = world("definitions").await?;
    let apply = ["apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "--force-conflicts"];
    for (file, text) in logwise_api::crd_files() {
        kubectl(&world, &[&apply[..], &["-f", "-"]].concat(), &text).await.with_context(|| file.to_owned())?;
        let wanted: Value = serde_yaml::from_str(&text)?;
        let name = wanted["metadata"]["name"].as_str().context("a definition has a name")?;
        let served = world.get_json("crd", name).await?;
        ensure!(holds(&served["spec"], &wanted["spec"]), "the server holds another version of {file}");
    }
    Ok(())
}

const PAIR: &str = "
apiVersion: logwise.io/v1alpha1
kind: LogwiseCluster
metadata: {name: prod}
spec:
  aws: {region: ap-south-1}
  storage: {bucketName: acme-logwise-prod}
---
apiVersion: logwise.io/v1alpha1
kind: LogwiseCluster
metadata: {name: dev}
spec:
  aws: {region: ap-south-1}
  storage: {bucketName: acme-logwise-dev}
---
apiVersion: logwise.io/v1alpha1
kind: RetentionPolicy
metadata: {name: payments}
spec:
  clusterRef: {name: prod}
  serviceSelector: {}
  priority: 7
  expiration: {days: 365}
";

fn ready(message: &str) -> Value {
    json!([{"type": "Ready", "status": "False", "reason": "PermissionDenied", "message": message,
            "lastTransitionTime": "2026-08-20T10:02:11Z", "observedGeneration": 1}])
}

/// Reports on `kind`/`name` as the operator does: server-side apply of the status subresource.
async fn report(world: &World, kind: &str, name: &str, status: Value) -> Result<String> {
    let object =
        json!({"apiVersion": "logwise.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "status": status});
    let args = ["apply", "--server-side", "--field-manager=logwise.io/test", "--subresource=status", "-f", "-"];
    kubectl(world, &args, &object.to_string()).await
}

/// The cells of each line; cells are parted by at least two spaces.
fn table(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.map(str::to_owned).collect()
    };
    text.lines().map(cells).collect()
}

#[tokio::test]
async fn kubectl_get_shows_the_columns() -> Result<()> {
    let world = world("columns").await?;
    world.apply(PAIR).await?;
    let status = json!({"observedGeneration": 1, "conditions": ready("Denied; grant s3:GetObject"), "pendingChanges": 4,
        "kafka": {"topics": 148, "partitions": 612}, "spark": {"workers": {"replicas": 6, "desiredReplicas": 9}}});
    report(&world, "LogwiseCluster", "prod", status).await?;
    let status = json!({"observedGeneration": 1, "conditions": ready("Waits"), "pendingChanges": 2, "matchedServices": 5,
        "rules": 3, "plan": {"id": "rp-0123456789ab", "generation": 1, "summary":
        {"add": 0, "change": 2, "remove": 0, "destructive": 2}}});
    report(&world, "RetentionPolicy", "payments", status).await?;

    let shown = table(&world.kubectl(&["get", "lwc", "prod"]).await?);
    assert_eq!(shown[0], ["NAME", "READY", "REASON", "WORKERS", "DESIRED", "PENDING", "AGE"]);
    assert_eq!(shown[1][..6], ["prod", "False", "PermissionDenied", "6", "9", "4"]);
    let wide = table(&world.kubectl(&["get", "lwc", "prod", "-o", "wide"]).await?);
    assert_eq!(wide[0][7..], ["MODE", "TOPICS", "PARTITIONS", "BUCKET", "REGION", "SUSPENDED", "MESSAGE"]);
    let told = ["Apply", "148", "612", "acme-logwise-prod", "ap-south-1", "false", "Denied; grant s3:GetObject"];
    assert_eq!(wide[1][7..], told);

    let shown = table(&world.kubectl(&["get", "lrp"]).await?);
    assert_eq!(shown[0], ["NAME", "CLUSTER", "READY", "REASON", "DAYS", "SERVICES", "PENDING", "AGE"]);
    assert_eq!(shown[1][..7], ["payments", "prod", "False", "PermissionDenied", "365", "5", "2"]);
    let wide = table(&world.kubectl(&["get", "lrp", "-o", "wide"]).await?);
    assert_eq!(wide[0][8..], ["PRIORITY", "RULES", "MODE", "PLAN", "MESSAGE"]);
    assert_eq!(wide[1][8..], ["7", "3", "Apply", "rp-0123456789ab", "Waits"]);
    for (kinds, room) in [("lwc", 100), ("lrp", 100), ("lwc,lrp", 110)] {
        let widest = world.kubectl(&["get", kinds]).await?.lines().map(str::len).max();
        ensure!(widest <= Some(room), "{kinds}: {widest:?} columns wide; {room} leave room for a namespace");
    }
    Ok(())
}

#[tokio::test]
async fn short_names_the_category_and_field_selectors_find_objects() -> Result<()> {
    let world = world("names").await?;
    world.apply(PAIR).await?;
    let names = async |args: &[&str]| -> Result<String> {
        let found = world.kubectl(&[&["get", "-o", "name"], args].concat()).await?;
        Ok(found.lines().collect::<Vec<_>>().join(" "))
    };
    let (dev, prod) = ("logwisecluster.logwise.io/dev", "logwisecluster.logwise.io/prod");
    let payments = "retentionpolicy.logwise.io/payments";
    assert_eq!(names(&["lwc"]).await?, format!("{dev} {prod}"));
    assert_eq!(names(&["lrp"]).await?, payments);
    assert_eq!(names(&["logwise"]).await?, format!("{dev} {prod} {payments}"));
    assert_eq!(names(&["lwc", "--field-selector", "spec.storage.bucketName=acme-logwise-dev"]).await?, dev);
    assert_eq!(names(&["lrp", "--field-selector", "spec.clusterRef.name=prod"]).await?, payments);
    assert_eq!(names(&["lrp", "--field-selector", "spec.clusterRef.name=dev"]).await?, "");
    Ok(())
}

#[tokio::test]
async fn kubectl_explain_has_text_for_every_field() -> Result<()> {
    let world = world("explain").await?;
    let tree = world.kubectl(&["explain", "lwc.spec.spark.workers", "--recursive"]).await?;
    for field in ["autoScalingGroup", "name", "autoscaling", "minReplicas", "maxReplicas", "type", "-required-"] {
        ensure!(tree.contains(field), "{field} is missing in\n{tree}");
    }
    for path in ["lwc", "lwc.spec", "lwc.spec.spark.workers", "lwc.status.kafka.heldTopics", "lrp.spec", "lrp.status"] {
        let text = world.kubectl(&["explain", path]).await?;
        ensure!(!text.contains("<no description>"), "{path} has a field without text:\n{text}");
    }
    // What `explain` reads, for all fields at once.
    let served: Value =
        serde_json::from_str(&world.kubectl(&["get", "--raw", "/openapi/v3/apis/logwise.io/v1alpha1"]).await?)?;
    for kind in ["LogwiseCluster", "RetentionPolicy"] {
        let schema = &served["components"]["schemas"][format!("io.logwise.v1alpha1.{kind}")];
        let mut fields = Vec::new();
        descriptions(kind, schema, &mut fields);
        ensure!(fields.len() > 40, "{kind} has only {} fields", fields.len());
        for (path, text) in fields {
            ensure!(text.trim().len() > 10, "{path} is explained by {text:?}");
        }
    }
    Ok(())
}

/// The path and the description of every field of a schema.
fn descriptions(path: &str, schema: &Value, found: &mut Vec<(String, String)>) {
    if let Some(items) = schema.get("items") {
        return descriptions(path, items, found);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        found.push((path.clone(), field["description"].as_str().unwrap_or_default().to_owned()));
        descriptions(&path, field, found);
    }
}

#[tokio::test]
async fn a_status_outside_its_bounds_is_refused() -> Result<()> {
    let world = world("status").await?;
    world.apply(PAIR).await?;
    let refused = async |status: Value, text: &str| -> Result<()> {
        match report(&world, "LogwiseCluster", "prod", status.clone()).await {
            Ok(_) => bail!("{status} was accepted"),
            Err(error) => ensure!(format!("{error:#}").contains(text), "{error:#} lacks {text}"),
        }
        Ok(())
    };
    let condition = |key: &str, value: Value| {
        let mut conditions = ready("fine");
        conditions[0][key] = value;
        json!({"conditions": conditions})
    };
    refused(condition("status", json!("Maybe")), r#"supported values: "True", "False", "Unknown""#).await?;
    refused(condition("reason", json!("two words")), "conditions[0].reason in body should match").await?;
    refused(condition("reason", json!("")), "conditions[0].reason in body should be at least 1").await?;
    refused(condition("message", json!("m".repeat(4097))), "may not be more than 4096").await?;
    refused(condition("lastTransitionTime", json!("yesterday")), "must be of type date-time").await?;
    refused(json!({"observedGeneration": -2}), "should be greater than or equal to -1").await?;
    refused(json!({"kafka": {"topics": -1}}), "should be greater than or equal to 0").await?;
    report(&world, "LogwiseCluster", "prod", condition("message", json!("m".repeat(4096)))).await?;
    Ok(())
}

/// A definition in a group of this world, so that no other test sees it change.
fn own_group(world: &World) -> Result<(String, Value)> {
    let group = format!("{}.example.com", world.id);
    let definitions = logwise_api::crd::definitions();
    let (_, mut crd) = definitions.into_iter().nth(1).context("the second is RetentionPolicy")?;
    crd["metadata"]["name"] = json!(format!("retentionpolicies.{group}"));
    crd["spec"]["group"] = json!(group);
    for names in ["shortNames", "categories"] {
        crd["spec"]["names"].as_object_mut().context("names are an object")?.remove(names);
    }
    Ok((group, crd))
}

/// Removes what a schema forbids, as in an older version.
fn loosen(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            ["x-kubernetes-validations", "maximum", "maxItems"].iter().for_each(|rule| drop(fields.remove(*rule)));
            fields.values_mut().for_each(loosen);
        }
        Value::Array(items) => items.iter_mut().for_each(loosen),
        _ => {}
    }
}

#[tokio::test]
async fn an_object_older_than_a_rule_can_still_be_edited_elsewhere() -> Result<()> {
    let world = world("ratcheting").await?;
    let (group, strict) = own_group(&world)?;
    let (crd, kind) = (format!("retentionpolicies.{group}"), format!("retentionpolicies.{group}/old"));
    let mut loose = strict.clone();
    loosen(&mut loose);
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    kubectl(&world, &apply, &loose.to_string()).await?;
    world.kubectl(&["wait", "--for=condition=Established", "crd", &crd, "--timeout=60s"]).await?;
    let object = |name: &str| {
        json!({"apiVersion": format!("{group}/v1alpha1"), "kind": "RetentionPolicy", "metadata": {"name": name},
            "spec": {"clusterRef": {"name": "prod"}, "serviceSelector": {}, "expiration": {"days": 40000},
                     "changePolicy": {"approvedPlans": ["old-id"]}}})
        .to_string()
    };
    let create = async || kubectl(&world, &["apply", "--server-side", "-f", "-"], &object("old")).await;
    world.wait_until("the older version is served", PATIENCE, create).await?;
    kubectl(&world, &apply, &strict.to_string()).await?;
    let dry = ["create", "--dry-run=server", "-f", "-"];
    let refused = async || refusal(&world, &dry, &object("new")).await;
    let answer = world.wait_until("the newer version is served", PATIENCE, refused).await?;
    ensure!(answer.contains("spec.expiration.days in body should be less than or equal to 36500"), "{answer}");

    let patch = async |patch: Value| world.kubectl(&["patch", &kind, "--type=merge", "-p", &patch.to_string()]).await;
    patch(json!({"spec": {"priority": 5}})).await.context("an edit elsewhere")?;
    let worse = patch(json!({"spec": {"changePolicy": {"approvedPlans": ["other-id"]}}})).await;
    let answer = format!("{:#}", worse.err().context("a change to another bad value was accepted")?);
    ensure!(answer.contains("must be the id of a plan as `status.plan.id` shows it"), "{answer}");
    world.kubectl(&["delete", "crd", &crd, "--wait=false"]).await.map(drop)
}

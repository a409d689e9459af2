use super::*;
use crate::fake_master::cluster::Machine;
use crate::fake_master::script::{End, Setup};
use crate::spark_install::{Spark, version};
use crate::stream::{self, Job};

const NOW: i64 = 1_795_887_446_000;

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(Setup::default());
    cluster.follow(&[Machine { id: "i-1".into(), host: "127.0.9.4".into() }], NOW);
    cluster
}

fn ask(cluster: &mut Cluster, method: &str, path: &str, body: &str) -> Outcome {
    answer(cluster, version().unwrap(), (method, path), body, NOW)
}

/// The bed's own job, which a real master takes.
fn body() -> Value {
    let spark = Spark { home: "/cache/spark-1".into(), archive: "/cache/spark-classes-2".into() };
    let job = Job {
        master: "spark://127.0.9.2:8080".into(),
        rest: "127.0.9.2:6066".into(),
        bootstrap: "127.0.9.1:9092".into(),
        s3: "http://127.0.9.1:4566".into(),
        bucket: "b".into(),
        pattern: "p".into(),
        driver_ui: 4040,
        trigger: std::time::Duration::from_secs(2),
        max_offsets: 20_000,
        max_cores: 2,
        pause: None,
        fail_at: None,
    };
    stream::submission(&spark, &job).unwrap()
}

fn create(cluster: &mut Cluster, body: &Value) -> Outcome {
    ask(cluster, "POST", "/v1/submissions/create", &body.to_string())
}

#[test]
fn a_submission_is_taken_told_about_and_killed() {
    let mut cluster = cluster();
    let taken = create(&mut cluster, &body());
    assert_eq!((taken.status, taken.effect, taken.about.as_str()), (200, true, stream::MAIN_CLASS));
    let id = "driver-20261128173726-0000";
    let wanted = json!({
        "action": "CreateSubmissionResponse", "message": format!("Driver successfully submitted as {id}"),
        "serverSparkVersion": version().unwrap(), "submissionId": id, "success": true,
    });
    assert_eq!(taken.body, wanted);
    let told = ask(&mut cluster, "GET", &format!("/v1/submissions/status/{id}"), "");
    assert_eq!(
        (&told.body["driverState"], &told.body["workerHostPort"]),
        (&json!("RUNNING"), &json!("127.0.9.4:17100"))
    );
    let killed = ask(&mut cluster, "POST", &format!("/v1/submissions/kill/{id}"), "");
    assert_eq!((killed.effect, &killed.body["message"]), (true, &json!(format!("Kill request for {id} submitted"))));
    cluster.advance(NOW + 1_000);
    let told = ask(&mut cluster, "GET", &format!("/v1/submissions/status/{id}"), "");
    assert_eq!((&told.body["driverState"], &told.body["success"]), (&json!("KILLED"), &json!(true)));
    let again = ask(&mut cluster, "POST", &format!("/v1/submissions/kill/{id}"), "");
    assert_eq!((again.effect, &again.body["success"]), (false, &json!(false)));
    assert_eq!(again.body["message"], format!("Driver {id} has already finished or does not exist"));
}

#[test]
fn what_the_worker_reports_is_told() {
    let mut cluster = cluster();
    create(&mut cluster, &body());
    let id = "driver-20261128173726-0000";
    cluster.end(id, End::Error, Some("java.io.IOException: no jar".into()), NOW);
    cluster.advance(NOW + 1_000);
    let told = ask(&mut cluster, "GET", &format!("/v1/submissions/status/{id}"), "").body;
    let message = told["message"].as_str().unwrap();
    assert!(message.starts_with("Exception from the cluster:\njava.io.IOException: no jar\n\t"), "{message}");
    let nobody = ask(&mut cluster, "GET", "/v1/submissions/status/driver-1", "").body;
    assert_eq!((&nobody["success"], &nobody["driverState"]), (&json!(false), &Value::Null));
}

#[test]
fn what_spark_would_not_take_is_refused_in_its_words() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let (mut cluster, mut body) = (cluster(), body());
        change(&mut body);
        let outcome = create(&mut cluster, &body);
        assert!(outcome.status == 400 && !outcome.effect && cluster.drivers().0.is_empty(), "{outcome:?}");
        assert_eq!((&outcome.body["action"], &outcome.body["success"]), (&json!("ErrorResponse"), &Value::Null));
        outcome.body["message"].as_str().unwrap().to_owned()
    };
    let take = |name: &'static str| move |body: &mut Value| drop(body.as_object_mut().unwrap().remove(name));
    assert!(refused(&take("mainClass")).contains("SubmitRestMissingFieldException: Main class is missing."));
    assert!(refused(&take("action")).contains("Action field not found"));
    for name in ["sparkProperties", "appResource", "appArgs", "environmentVariables", "clientSparkVersion"] {
        assert!(refused(&take(name)).contains("Validation of message CreateSubmissionRequest failed!"), "{name}");
    }
    for (name, value) in [
        ("spark.driver.cores", json!("many")),
        ("spark.driver.memory", json!("1x")),
        ("spark.driver.supervise", json!("perhaps")),
        ("spark.cores.max", json!("-1")),
        ("spark.app.name", Value::Null),
        ("spark.ui.port", json!(4040)),
    ] {
        let message = refused(&|body: &mut Value| body["sparkProperties"][name] = value.clone());
        assert!(message.starts_with("Malformed request: "), "{name}: {message}");
    }
    let mut cluster = cluster();
    assert_eq!(ask(&mut cluster, "POST", "/v1/submissions/create", "{").status, 400);
}

#[test]
fn unknown_fields_are_named_and_do_no_harm() {
    let (mut cluster, mut body) = (cluster(), body());
    body["marker"] = json!("mine");
    let taken = create(&mut cluster, &body);
    assert_eq!((taken.effect, &taken.body["unknownFields"]), (true, &json!(["marker"])));
}

#[test]
fn only_the_active_master_takes_and_tells() {
    let mut cluster = cluster();
    for status in [Status::Standby, Status::Recovering] {
        cluster.status = status;
        let refused = create(&mut cluster, &body());
        assert_eq!((refused.status, refused.effect, &refused.body["success"]), (200, false, &json!(false)));
        let word = status.word();
        let wanted = format!("Current state is not alive: {word}. Can only accept driver submissions in ALIVE state.");
        assert_eq!(refused.body["message"], wanted);
        let killed = ask(&mut cluster, "POST", "/v1/submissions/kill/driver-1", "");
        assert_eq!((killed.effect, &killed.body["success"]), (false, &json!(false)));
        let told = ask(&mut cluster, "GET", "/v1/submissions/status/driver-1", "").body["message"].to_string();
        assert!(told.contains("Can only request driver status in ALIVE state."), "{told}");
    }
}

#[test]
fn other_paths_and_methods_are_refused() {
    let mut cluster = cluster();
    for (method, path, status, said) in [
        ("GET", "/v1/submissions/status/", 400, "Submission ID is missing in status request."),
        ("POST", "/v1/submissions/kill/", 400, "Submission ID is missing in kill request."),
        ("GET", "/", 400, "Missing protocol version."),
        ("GET", "/v1", 400, "Missing the /submissions prefix."),
        ("GET", "/v1/submissions/", 400, "Missing an action"),
        ("GET", "/v2/submissions/create", 468, "Unknown protocol version 'v2'."),
    ] {
        let outcome = ask(&mut cluster, method, path, "");
        let message = outcome.body["message"].as_str().unwrap_or_default();
        assert!(outcome.status == status && message.starts_with(said), "{path}: {outcome:?}");
    }
    for (method, path) in [("GET", "/v1/submissions/create"), ("POST", "/v1/submissions/status/driver-1")] {
        assert_eq!(ask(&mut cluster, method, path, "").status, 405, "{path}");
    }
}

#[test]
fn memory_is_read_as_spark_reads_it() {
    let read = ["512m", "1g", "1G", "2gb", "1048576", "2048k"].map(|text| mib(text).unwrap());
    assert_eq!(read, [512, 1_024, 1_024, 2_048, 1, 2]);
    for text in ["", "m", "1x", "-1g", "1.5g", "99999999999999999999g"] {
        assert!(mib(text).is_err(), "{text}");
    }
}

//! Compares the audit log of a bed with the rights in `deploy/`, in both directions: every right that is granted to the
//! operator was used, no call of the operator was denied, and no call was allowed by anything but these rights.
//!
//! Run it at the end of a test run, on the bed of `$LOGWISE_BED`. Exit code 1 and a table when something differs.
//! A test that provokes a denial does so in a namespace whose name begins with `denied` or that bears the label
//! `logwise.io/test=denied`; the label counts while the namespace exists.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use logwise_testbed::audit;
use logwise_testbed::bed::Bed;
use logwise_testbed::install;
use logwise_testbed::profile::Part;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// Namespaces of tests that provoke denials begin with this.
const PROVOKED: &str = "denied";

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let bed = Bed::attach_with(&[Part::Kube])?;
    let components = ["namespace-labels", "tenant", "tenant-workers"].map(|name| format!("deploy/components/{name}"));
    let kustomization = json!({"resources": ["deploy/base"], "components": components});
    let objects = install::rendered(&bed, "audit", &kustomization).await?;
    let granted = granted(&objects);
    ensure!(!granted.is_empty(), "deploy/ grants the operator nothing");
    let account = format!("system:serviceaccount:{}:{}", install::NAMESPACE, install::ACCOUNT);
    let calls = calls(&audit::since(&bed, None)?, &account)?;
    ensure!(
        calls.iter().any(|call| call.verb == "watch"),
        "the audit log holds no watch of {account}: either no operator ran on this bed, or the bed's audit policy leaves \
         out what the operator reads"
    );
    let findings = compare(&granted, &calls, &labelled(&bed).await?);
    let mut out = std::io::stdout().lock();
    writeln!(out, "audit: {} calls of the operator, {} rights granted", calls.len(), granted.len())?;
    for (finding, times) in &findings {
        writeln!(out, "{finding:<110} {times:>6}")?;
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    /// Of the API; empty: core.
    group: String,
    /// With its subresource.
    resource: String,
    verb: String,
    /// Where it holds.
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// In the whole cluster.
    Cluster,
    /// In one namespace.
    Namespace(String),
    /// In every namespace whose tenant has applied the component.
    Tenant,
}

/// One call of the operator that the API server has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    group: String,
    resource: String,
    verb: String,
    /// None: of the cluster, or of all namespaces.
    namespace: Option<String>,
    /// Authorization refused it. Refusals by admission, such as those of a namespace that is being deleted, do not count.
    denied: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Finding {
    /// Granted, and used by no test.
    Unused(Right),
    /// Called, and not granted.
    Denied { call: String },
    /// Called and allowed, by something that deploy/ does not hold.
    Beyond { call: String },
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.place {
            Place::Cluster => "the cluster",
            Place::Namespace(name) => name,
            Place::Tenant => "a tenant's namespace",
        };
        write!(f, "{} {} in {place}", self.verb, named(&self.group, &self.resource))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Unused(right) => format!("granted, never used:  {right}"),
            Self::Denied { call } => format!("denied:               {call}"),
            Self::Beyond { call } => format!("not granted, allowed: {call}"),
        };
        f.pad(&text)
    }
}

fn named(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

impl Right {
    fn covers(&self, call: &Call) -> bool {
        let place = match (&self.place, &call.namespace) {
            (Place::Cluster, _) | (Place::Tenant, Some(_)) => true,
            (Place::Namespace(name), Some(of)) => name == of,
            (Place::Namespace(_) | Place::Tenant, None) => false,
        };
        place && self.group == call.group && self.resource == call.resource && self.verb == call.verb
    }
}

/// The rights that bindings to the operator's account give.
fn granted(objects: &[Value]) -> BTreeSet<Right> {
    let account = |subject: &Value| subject["kind"] == "ServiceAccount" && subject["name"] == install::ACCOUNT;
    let bindings =
        objects.iter().filter(|object| object["subjects"].as_array().is_some_and(|all| all.iter().any(account)));
    let roles = bindings.flat_map(|binding| {
        let place = match (binding["kind"].as_str(), binding["metadata"]["namespace"].as_str()) {
            (Some("ClusterRoleBinding"), _) => Place::Cluster,
            (_, Some(namespace)) => Place::Namespace(namespace.to_owned()),
            (_, None) => Place::Tenant,
        };
        let of = &binding["roleRef"];
        let is_it = move |role: &&Value| role["kind"] == of["kind"] && role["metadata"]["name"] == of["name"];
        objects.iter().filter(is_it).map(move |role| (place.clone(), role))
    });
    roles
        .flat_map(|(place, role)| {
            role["rules"].as_array().into_iter().flatten().flat_map(move |rule| rights(rule, &place))
        })
        .collect()
}

fn rights(rule: &Value, place: &Place) -> Vec<Right> {
    let words = |key: &str| -> Vec<String> {
        rule[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let (groups, resources, verbs) = (words("apiGroups"), words("resources"), words("verbs"));
    let mut found = Vec::new();
    for group in &groups {
        for resource in &resources {
            let right = |verb: &String| Right {
                group: group.clone(),
                resource: resource.clone(),
                verb: verb.clone(),
                place: place.clone(),
            };
            found.extend(verbs.iter().map(right));
        }
    }
    found
}

/// The calls of an account, in the words of roles. A call of somebody who only acts as the account is no call of it.
fn calls(log: &str, account: &str) -> Result<Vec<Call>> {
    let ours = log.lines().filter(|line| line.contains(account));
    let events = ours.map(|line| serde_json::from_str::<Value>(line).with_context(|| format!("audit log: {line}")));
    let mut found = Vec::new();
    for event in events {
        let event = event?;
        let by_itself = event["user"]["username"] == account && event["impersonatedUser"].is_null();
        // Tests of the bed borrow the account, and say so.
        let by_a_test = event["userAgent"].as_str().is_some_and(|agent| agent.starts_with("kubectl"));
        if by_itself && !by_a_test && event["objectRef"].is_object() {
            found.push(call(&event));
        }
    }
    Ok(found)
}

fn call(event: &Value) -> Call {
    let object = &event["objectRef"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource = match object["subresource"].as_str() {
        Some(subresource) => format!("{}/{subresource}", text(&object["resource"])),
        None => text(&object["resource"]),
    };
    Call {
        group: text(&object["apiGroup"]),
        resource,
        verb: text(&event["verb"]),
        namespace: object["namespace"].as_str().map(str::to_owned),
        denied: event["annotations"]["authorization.k8s.io/decision"] == "forbid",
    }
}

async fn labelled(bed: &Bed) -> Result<BTreeSet<String>> {
    let names = bed.kubectl(&["get", "namespaces", "-l", "logwise.io/test=denied", "-o", "name"], None).await?;
    Ok(names.lines().filter_map(|line| line.strip_prefix("namespace/")).map(str::to_owned).collect())
}

/// What differs, with the number of calls that show it.
fn compare(granted: &BTreeSet<Right>, calls: &[Call], provoked: &BTreeSet<String>) -> BTreeMap<Finding, usize> {
    let mut findings = BTreeMap::new();
    let mut used = BTreeSet::new();
    for call in calls {
        let shown = || {
            let place = call.namespace.as_deref().unwrap_or("the cluster");
            format!("{} {} in {place}", call.verb, named(&call.group, &call.resource))
        };
        let covering: Vec<&Right> = granted.iter().filter(|right| right.covers(call)).collect();
        let on_purpose = call.namespace.as_ref().is_some_and(|it| it.starts_with(PROVOKED) || provoked.contains(it));
        match (call.denied, covering.is_empty()) {
            (true, _) if on_purpose => {}
            (true, _) => *findings.entry(Finding::Denied { call: shown() }).or_default() += 1,
            (false, true) => *findings.entry(Finding::Beyond { call: shown() }).or_default() += 1,
            (false, false) => used.extend(covering),
        }
    }
    let unused = granted.iter().filter(|right| !used.contains(right));
    findings.extend(unused.map(|right| (Finding::Unused(right.clone()), 0)));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "system:serviceaccount:logwise-system:logwise-operator";

    fn event(verb: &str, resource: &str, namespace: &str, decision: &str) -> String {
        let object = json!({"resource": resource, "namespace": namespace, "apiVersion": "v1"});
        json!({"user": {"username": ACCOUNT}, "verb": verb, "objectRef": object,
            "responseStatus": {"code": if decision == "forbid" { 403 } else { 200 }},
            "annotations": {"authorization.k8s.io/decision": decision}})
        .to_string()
    }

    fn objects() -> Vec<Value> {
        let subjects = json!([{"kind": "ServiceAccount", "name": "logwise-operator", "namespace": "logwise-system"}]);
        let rule = |resource: &str, verb: &str| json!([{"apiGroups": [""], "resources": [resource], "verbs": [verb]}]);
        vec![
            json!({"kind": "Role", "metadata": {"name": "own"}, "rules": rule("configmaps", "get")}),
            json!({"kind": "Role", "metadata": {"name": "tenant"}, "rules": rule("secrets", "get")}),
            json!({"kind": "ClusterRole", "metadata": {"name": "people"}, "rules": rule("pods", "list")}),
            json!({"kind": "RoleBinding", "metadata": {"name": "own", "namespace": "logwise-system"}, "subjects": subjects,
                "roleRef": {"kind": "Role", "name": "own"}}),
            json!({"kind": "RoleBinding", "metadata": {"name": "tenant"}, "subjects": subjects,
                "roleRef": {"kind": "Role", "name": "tenant"}}),
        ]
    }

    fn found(lines: &[String]) -> Vec<String> {
        let provoked = BTreeSet::from(["quiet".to_owned()]);
        let calls = calls(&lines.join("\n"), ACCOUNT).unwrap();
        compare(&granted(&objects()), &calls, &provoked).keys().map(ToString::to_string).collect()
    }

    #[test]
    fn rights_that_are_used_and_calls_that_are_granted_leave_nothing_to_say() {
        let lines = [
            event("get", "configmaps", "logwise-system", "allow"),
            event("get", "secrets", "team-a", "allow"),
            event("get", "secrets", "denied-1", "forbid"),
            event("get", "secrets", "quiet", "forbid"),
        ];
        assert_eq!(found(&lines), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_named() {
        let lines = [
            event("get", "configmaps", "team-a", "allow"),
            event("list", "secrets", "team-a", "forbid"),
            event("list", "secrets", "team-a", "forbid"),
        ];
        assert_eq!(
            found(&lines),
            [
                "granted, never used:  get configmaps in logwise-system",
                "granted, never used:  get secrets in a tenant's namespace",
                "denied:               list secrets in team-a",
                "not granted, allowed: get configmaps in team-a",
            ]
        );
    }

    #[test]
    fn a_denied_call_does_not_use_a_right_and_a_call_of_somebody_else_is_none() {
        let acting =
            event("get", "secrets", "team-a", "allow").replacen('{', "{\"impersonatedUser\":{\"username\":\"x\"},", 1);
        let lines = [
            event("get", "configmaps", "logwise-system", "allow"),
            event("get", "secrets", "denied-1", "forbid"),
            event("get", "secrets", "team-a", "allow").replace(ACCOUNT, "admin"),
            acting,
        ];
        assert_eq!(found(&lines), ["granted, never used:  get secrets in a tenant's namespace"]);
    }

    #[test]
    fn subresources_are_resources_of_their_own() {
        let line = json!({"user": {"username": ACCOUNT}, "verb": "patch",
            "objectRef": {"apiGroup": "logwise.io", "resource": "logwiseclusters", "subresource": "status"}});
        let calls = calls(&line.to_string(), ACCOUNT).unwrap();
        assert_eq!((calls[0].group.as_str(), calls[0].resource.as_str()), ("logwise.io", "logwiseclusters/status"));
    }
}

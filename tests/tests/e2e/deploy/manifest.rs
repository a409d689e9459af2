//! What can be said of rendered objects without a server.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Most rules that the operator may have, of all roles together.
const MOST_RULES: usize = 12;
const FORBIDDEN_VERBS: [&str; 6] = ["*", "escalate", "bind", "impersonate", "delete", "deletecollection"];
const FORBIDDEN_RESOURCES: [&str; 8] =
    ["*", "pods", "pods/exec", "pods/log", "nodes", "serviceaccounts/token", "roles", "clusterroles"];

/// The rules that bindings to the operator's account give: of which kind of role, and the rule.
pub fn operator_rules(objects: &[Value]) -> Vec<(&str, &Value)> {
    let bindings = objects.iter().filter(|object| {
        let subjects = object["subjects"].as_array();
        subjects.is_some_and(|all| all.iter().any(|one| one["kind"] == "ServiceAccount"))
    });
    let roles = bindings.flat_map(|binding| {
        let role = &binding["roleRef"];
        objects
            .iter()
            .filter(move |object| object["kind"] == role["kind"] && object["metadata"]["name"] == role["name"])
    });
    roles
        .flat_map(|role| {
            let kind = role["kind"].as_str().unwrap_or_default();
            role["rules"].as_array().into_iter().flatten().map(move |rule| (kind, rule))
        })
        .collect()
}

fn words<'a>(rule: &'a Value, key: &str) -> BTreeSet<&'a str> {
    rule[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What deploy/components/tenant-workers may do to Deployments by name, and to the pods of one namespace.
static OF_WORKERS: [(&str, &[&str]); 3] =
    [("deployments", &["get"]), ("deployments/scale", &["get", "patch"]), ("pods", &["list", "patch"])];

/// No wildcards, nothing that leads to more rights, Secrets by name in one namespace only, few rules.
pub fn check_rights(objects: &[Value]) -> Result<()> {
    check_rights_but(objects, &[])
}

/// The same of what a tenant gives whose workers are pods: one Deployment by name, and the pods of that namespace, of
/// which nobody knows the names before.
pub fn check_rights_of_workers(objects: &[Value]) -> Result<()> {
    for (kind, rule) in operator_rules(objects) {
        let (verbs, resources) = (words(rule, "verbs"), words(rule, "resources"));
        let known = OF_WORKERS.iter().find(|(resource, _)| resources == [*resource].into());
        let allowed: BTreeSet<&str> = known.into_iter().flat_map(|(_, allowed)| allowed.iter().copied()).collect();
        ensure!(kind == "Role" && !verbs.is_empty() && verbs == allowed, "{kind} {rule}");
        let named = !words(rule, "resourceNames").is_empty();
        ensure!(named != resources.contains("pods"), "Deployments by name, pods without: {rule}");
    }
    check_rights_but(objects, &["pods"])
}

fn check_rights_but(objects: &[Value], allowed: &[&str]) -> Result<()> {
    let rules = operator_rules(objects);
    ensure!((1..=MOST_RULES).contains(&rules.len()), "{} rules for the operator", rules.len());
    for (kind, rule) in rules {
        let (verbs, resources) = (words(rule, "verbs"), words(rule, "resources"));
        ensure!(verbs.is_disjoint(&FORBIDDEN_VERBS.into()), "{rule}");
        let forbidden = |resource: &&str| FORBIDDEN_RESOURCES.contains(resource) && !allowed.contains(resource);
        ensure!(!resources.iter().any(forbidden), "{rule}");
        ensure!(!words(rule, "apiGroups").contains("*") && rule["nonResourceURLs"].is_null(), "{rule}");
        if resources.contains("secrets") {
            let named = !words(rule, "resourceNames").is_empty();
            ensure!(kind == "Role" && named && verbs == ["get"].into(), "Secrets: {kind} {rule}");
        }
        if resources.contains("configmaps") || resources.contains("leases") {
            ensure!(kind == "Role", "in the operator's own namespace only: {rule}");
        }
    }
    Ok(())
}

/// Each binding is for the account of this installation, and for nobody else.
pub fn check_subjects(objects: &[Value], namespace: &str) -> Result<()> {
    let account = objects.iter().find(|object| object["kind"] == "ServiceAccount").context("no ServiceAccount")?;
    let wanted = json!([{"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": namespace}]);
    for binding in objects.iter().filter(|object| !object["subjects"].is_null()) {
        ensure!(binding["subjects"] == wanted, "{} is for {}", binding["metadata"]["name"], binding["subjects"]);
    }
    Ok(())
}

/// Beyond what the restricted standard demands of the pod.
pub fn check_pod(objects: &[Value]) -> Result<()> {
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").context("no Deployment")?;
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    ensure!(pod["containers"].as_array().is_some_and(|all| all.len() == 1), "{pod}");
    ensure!(pod["securityContext"]["runAsUser"].as_u64().is_some_and(|user| user > 10_000), "{pod}");
    ensure!(pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", "{pod}");
    ensure!(container["securityContext"]["readOnlyRootFilesystem"] == true, "{container}");
    ensure!(container["securityContext"]["capabilities"] == json!({"drop": ["ALL"]}), "{container}");
    ensure!(container["resources"]["limits"]["cpu"].is_string(), "no limit of CPU");
    ensure!(container["resources"]["limits"]["memory"].is_string(), "no limit of memory");
    ensure!(pod["automountServiceAccountToken"] == false, "a token that Kubernetes extends to a year is mounted");
    let sources =
        pod["volumes"].as_array().into_iter().flatten().filter_map(|volume| volume["projected"]["sources"].as_array());
    let seconds: Vec<_> =
        sources.flatten().filter_map(|source| source["serviceAccountToken"]["expirationSeconds"].as_u64()).collect();
    ensure!(seconds.len() == 1 && seconds[0] <= 3_600, "tokens last {seconds:?}");
    Ok(())
}

/// Every pod is closed both ways; the operator's are open for these flows: `ingress`, `egress` as protocol and ports.
pub fn check_network(objects: &[Value], egress: &[&str]) -> Result<()> {
    let policies: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "NetworkPolicy").collect();
    let closed = policies.iter().find(|policy| policy["spec"]["podSelector"] == json!({})).context("no default")?;
    ensure!(closed["spec"]["policyTypes"] == json!(["Ingress", "Egress"]), "{closed}");
    ensure!(closed["spec"]["ingress"].is_null() && closed["spec"]["egress"].is_null(), "{closed}");
    let (mut inward, mut outward) = (BTreeSet::new(), BTreeSet::new());
    for policy in policies {
        inward.extend(flows(&policy["spec"]["ingress"]));
        outward.extend(flows(&policy["spec"]["egress"]));
        for way in policy["spec"]["egress"].as_array().into_iter().flatten() {
            let to = way["to"].as_array().filter(|to| !to.is_empty()).context("egress to anywhere at all")?;
            let link_local = |peer: &Value| {
                peer["ipBlock"]["cidr"] != "0.0.0.0/0" || peer["ipBlock"]["except"] == json!(["169.254.0.0/16"])
            };
            ensure!(to.iter().all(link_local), "the metadata service is within reach: {way}");
        }
    }
    ensure!(inward == BTreeSet::from(["TCP 8080".to_owned()]), "{inward:?}");
    ensure!(outward == egress.iter().map(|flow| (*flow).to_owned()).collect(), "{outward:?}");
    Ok(())
}

fn flows(ways: &Value) -> Vec<String> {
    let ports = ways.as_array().into_iter().flatten().flat_map(|way| way["ports"].as_array().into_iter().flatten());
    ports
        .map(|port| {
            let end = port["endPort"].as_u64().map(|end| format!("-{end}")).unwrap_or_default();
            format!("{} {}{end}", port["protocol"].as_str().unwrap_or_default(), port["port"])
        })
        .collect()
}

//! Approving is a right of its own: who may add to `approvedPlans` or lower `approval`, and what those who may approve
//! and not update may change beside.

use super::own::Own;
use super::{ACCOUNT, bed, can};
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::world::wait_until;
use logwise_tests::PATIENCE;
use serde_json::{Value, json};

/// May read, create, update, patch and delete.
const EDITOR: &str = "test-editor";
/// May read, patch and approve.
const APPROVER: &str = "test-approver";
/// May do both: the account that applies objects from Git.
const GIT: &str = "test-git";

/// One of the kinds that can be approved.
struct Kind {
    resource: &'static str,
    kind: &'static str,
    role: &'static str,
    plans: [&'static str; 2],
}

const KINDS: [Kind; 2] = [
    Kind {
        resource: "retentionpolicies",
        kind: "RetentionPolicy",
        role: "logwise-retention-approver",
        plans: ["rp-2e15d55cbec7", "rp-0123456789ab"],
    },
    Kind {
        resource: "logwiseclusters",
        kind: "LogwiseCluster",
        role: "logwise-cluster-approver",
        plans: ["kp-0123abcd", "wp-89abcdef"],
    },
];

/// How somebody writes an object.
#[derive(Clone, Copy, Debug)]
enum How {
    Create,
    Replace,
    Patch,
    /// Server-side.
    Apply,
}

impl Kind {
    /// A whole object with this `changePolicy`.
    fn object(&self, name: &str, change_policy: &Value) -> Value {
        let mut spec = match self.kind {
            "RetentionPolicy" => {
                json!({"clusterRef": {"name": "all"}, "serviceSelector": {}, "expiration": {"days": 30}})
            }
            _ => json!({}),
        };
        spec["changePolicy"] = change_policy.clone();
        json!({"apiVersion": "logwise.io/v1alpha1", "kind": self.kind, "metadata": {"name": name}, "spec": spec})
    }

    /// What the API server says against it; empty: nothing.
    async fn answer(&self, own: &Own, (user, how): (&str, How), name: &str, change_policy: &Value) -> String {
        let whole = self.object(name, change_policy).to_string();
        let patch = json!({"spec": {"changePolicy": change_policy}}).to_string();
        let args = match how {
            How::Create => vec!["create", "--validate=false", "-f", "-"],
            How::Replace => vec!["replace", "--validate=false", "-f", "-"],
            How::Patch => vec!["patch", self.resource, name, "--type", "merge", "-p", patch.as_str()],
            How::Apply => vec!["apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-"],
        };
        let input = (!matches!(how, How::Patch)).then_some(whole.as_str());
        let answer = own.kubectl(&[&args[..], &["--as", user]].concat(), input).await;
        answer.err().map(|error| error.to_string()).unwrap_or_default()
    }
}

/// Both policies and both roles of `components/approval`, and people who have them. What an earlier run left behind when it
/// failed would refuse in the place of what is tested.
async fn installed(bed: &Bed) -> Result<Own> {
    let all = "validatingadmissionpolicies,validatingadmissionpolicybindings";
    bed.kubectl(&["delete", all, "-l", "app.kubernetes.io/part-of=logwise"], None).await?;
    let own = Own::render(bed, "approval", "base", &["approval"]).await?;
    own.apply().await?;
    for kind in &KINDS {
        let (role, binding) =
            (format!("--clusterrole={}-{}", kind.role, own.name), format!("approve-{}", kind.resource));
        let (approver, git) = (format!("--user={APPROVER}"), format!("--user={GIT}"));
        own.kubectl(&["create", "rolebinding", &binding, &role, &approver, &git], None).await?;
    }
    let (editor, git) = (format!("--user={EDITOR}"), format!("--user={GIT}"));
    own.kubectl(&["create", "rolebinding", "edit", "--clusterrole=edit", &editor, &git], None).await?;
    for kind in &KINDS {
        let object = kind.object("all", &json!({})).to_string();
        own.kubectl(&["create", "-f", "-"], Some(&object)).await?;
    }
    let probes = [
        ("logwise-right-to-approve", EDITOR, json!({"changePolicy": {"approvedPlans": [KINDS[0].plans[0]]}})),
        ("logwise-approval", APPROVER, json!({"expiration": {"days": 9000}})),
    ];
    // A new policy, and a new role, take effect a moment late.
    for (policy, user, spec) in probes {
        let patch = json!({"spec": spec}).to_string();
        let args = ["patch", "lrp", "all", "--type", "merge", "-p", patch.as_str(), "--as", user, "--dry-run=server"];
        wait_until(&format!("{policy} to act"), PATIENCE, async || {
            let answer = own.kubectl(&args, None).await.err().map(|error| error.to_string()).unwrap_or_default();
            ensure!(answer.contains(&format!("'{policy}-{}'", own.name)), "not refused by it: {answer}");
            Ok(())
        })
        .await?;
    }
    for kind in &KINDS {
        let right = ("approve", format!("{}.logwise.io", kind.resource));
        wait_until(&format!("{GIT} to {} {}", right.0, right.1), PATIENCE, async || {
            ensure!(can(bed, GIT, (right.0, &right.1, &own.name)).await?, "not yet");
            ensure!(can(bed, GIT, ("update", &right.1, &own.name)).await?, "not yet");
            Ok(())
        })
        .await?;
    }
    Ok(own)
}

/// Who writes which `changePolicy` into object `new`, and what the refusal says; empty: there is none. In this order.
fn writes(kind: &Kind) -> Vec<((&'static str, How), Value, String)> {
    let [one, two] = kind.plans;
    let resource = kind.resource;
    let adds =
        |ids: &str| format!("approvedPlans: {EDITOR} may not add {ids}: that needs the verb approve on {resource} in");
    let lowers = |from: &str, to: &str| {
        format!("approval: {EDITOR} may not lower it from {from} to {to}: that needs the verb approve on {resource} in")
    };
    let plans = |ids: &[&str]| json!({"approvedPlans": ids});
    let approval = |value: &str| json!({"approval": value});
    let edits = |how: How| (EDITOR, how);
    vec![
        (edits(How::Create), plans(&[one]), adds(one)),
        (edits(How::Apply), plans(&[one, two]), adds(&format!("{one}, {two}"))),
        (edits(How::Create), approval("Never"), lowers("DestructiveOnly", "Never")),
        (edits(How::Apply), approval("Never"), lowers("DestructiveOnly", "Never")),
        (edits(How::Create), approval("Always"), String::new()),
        (edits(How::Patch), approval("DestructiveOnly"), lowers("Always", "DestructiveOnly")),
        (edits(How::Patch), approval("Never"), lowers("Always", "Never")),
        (edits(How::Apply), approval("Never"), lowers("Always", "Never")),
        // What is left out is the default.
        (edits(How::Patch), json!({"approval": null}), lowers("Always", "DestructiveOnly")),
        (edits(How::Patch), Value::Null, lowers("Always", "DestructiveOnly")),
        (edits(How::Replace), json!({}), lowers("Always", "DestructiveOnly")),
        (edits(How::Patch), plans(&[one]), adds(one)),
        (edits(How::Apply), plans(&[one]), adds(one)),
        (edits(How::Replace), json!({"approval": "Always", "approvedPlans": [one]}), adds(one)),
        ((APPROVER, How::Patch), plans(&[one, two]), String::new()),
        // Whoever may edit may do so beside ids that are there, and take them back.
        (edits(How::Patch), json!({"mode": "Observe"}), String::new()),
        (edits(How::Patch), plans(&[two]), String::new()),
        (edits(How::Patch), plans(&[two, one]), adds(one)),
        (edits(How::Patch), plans(&[one]), adds(one)),
        (edits(How::Patch), json!({"approvedPlans": null}), String::new()),
        ((GIT, How::Patch), json!({"approval": "Never", "mode": "Apply", "approvedPlans": [two]}), String::new()),
        (edits(How::Patch), approval("Always"), String::new()),
        ((GIT, How::Apply), json!({"approval": "DestructiveOnly", "approvedPlans": [one, two]}), String::new()),
        (edits(How::Patch), approval("Never"), lowers("DestructiveOnly", "Never")),
    ]
}

async fn editors_do_not_approve(own: &Own, kind: &Kind) -> Result<()> {
    for (number, (by, change_policy, refusal)) in writes(kind).into_iter().enumerate() {
        let answer = kind.answer(own, by, "new", &change_policy).await;
        let what = || format!("{number}: {by:?} {} {change_policy}: {answer}", kind.resource);
        ensure!(answer.is_empty() == refusal.is_empty(), "{}", what());
        ensure!(answer.contains(&refusal), "expected {refusal:?} of {}", what());
        let next_step = format!("bind the ClusterRole {} there", kind.role);
        ensure!(refusal.is_empty() || answer.contains("(Forbidden)") && answer.contains(&next_step), "{}", what());
    }
    let from_git = json!({"approval": "Never", "approvedPlans": [kind.plans[0]]});
    let answer = kind.answer(own, (GIT, How::Create), "from-git", &from_git).await;
    ensure!(answer.is_empty(), "{answer}");
    let stored = own.json(&[kind.resource, "from-git"]).await?["spec"]["changePolicy"].take();
    ensure!(stored["approval"] == "Never" && stored["approvedPlans"] == from_git["approvedPlans"], "{stored}");
    Ok(())
}

/// What an approver does, and whether it is allowed.
const APPROVALS: [(&str, &str, &str); 11] = [
    ("retentionpolicies", r#"{"spec": {"changePolicy": {"approvedPlans": ["rp-2e15d55cbec7"]}}}"#, ""),
    ("retentionpolicies", r#"{"spec": {"expiration": {"days": 1}}}"#, "nothing but spec.changePolicy.approvedPlans"),
    (
        "retentionpolicies",
        r#"{"spec": {"abortIncompleteMultipartUpload": {"daysAfterInitiation": 1}}}"#,
        "nothing but spec.changePolicy.approvedPlans",
    ),
    (
        "retentionpolicies",
        r#"{"spec": {"changePolicy": {"approval": "Never"}}}"#,
        "nothing of spec.changePolicy but approvedPlans",
    ),
    (
        "retentionpolicies",
        r#"{"spec": {"changePolicy": {"mode": "Observe", "approvedPlans": []}}}"#,
        "nothing of spec.changePolicy but approvedPlans",
    ),
    ("retentionpolicies", r#"{"metadata": {"labels": {"a": "b"}}}"#, "may not change labels"),
    ("retentionpolicies", r#"{"metadata": {"finalizers": ["example.com/mine"]}}"#, "may not change labels"),
    ("retentionpolicies", r#"{"spec": {"changePolicy": {"approvedPlans": null}}}"#, ""),
    ("logwiseclusters", r#"{"spec": {"changePolicy": {"approvedPlans": ["kp-0123abcd"]}}}"#, ""),
    (
        "logwiseclusters",
        r#"{"spec": {"changePolicy": {"approval": "Never"}}}"#,
        "nothing of spec.changePolicy but approvedPlans",
    ),
    ("logwiseclusters", r#"{"spec": {"suspend": true}}"#, "nothing but spec.changePolicy.approvedPlans"),
];

async fn approvers_change_nothing_else(bed: &Bed, own: &Own) -> Result<()> {
    for (kind, patch, refusal) in APPROVALS {
        let before = own.json(&[kind, "all"]).await?;
        let answer = own.kubectl(&["patch", kind, "all", "--type", "merge", "-p", patch, "--as", APPROVER], None).await;
        let text = answer.err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(text.is_empty() == refusal.is_empty() && text.contains(refusal), "{kind} {patch}: {text}");
        let after = own.json(&[kind, "all"]).await?;
        ensure!(
            (before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]) != refusal.is_empty(),
            "{kind} {patch}: {after}"
        );
    }
    for verb in ["create", "update", "delete"] {
        let right = (verb, "retentionpolicies.logwise.io", own.name.as_str());
        ensure!(!can(bed, APPROVER, right).await?, "approvers may {verb}");
    }
    Ok(())
}

/// The operator, who may patch and neither update nor approve, writes its finalizer and status whatever is approved.
async fn the_operator_is_not_held_back(own: &Own) -> Result<()> {
    let loose = json!({"approval": "Never", "approvedPlans": [KINDS[0].plans[0]]});
    let loose = json!({"spec": {"changePolicy": loose}}).to_string();
    own.kubectl(&["patch", "lrp", "all", "--type", "merge", "-p", &loose], None).await?;
    let part = |kind: &str, key: &str, value: Value| {
        let mut object = json!({"apiVersion": "logwise.io/v1alpha1", "kind": kind, "metadata": {"name": "all"}});
        object[key] = value;
        object.to_string()
    };
    let finalizer = json!({"name": "all", "finalizers": ["logwise.io/lifecycle-rules"]});
    let apply = ["apply", "--server-side", "--validate=false", "--field-manager=operator", "-f", "-", "--as", ACCOUNT];
    own.kubectl(&apply, Some(&part("RetentionPolicy", "metadata", finalizer))).await.context("the finalizer")?;
    let status = [&apply[..], &["--subresource=status"]].concat();
    for kind in &KINDS {
        let body = part(kind.kind, "status", json!({"observedGeneration": 1}));
        own.kubectl(&status, Some(&body)).await.with_context(|| format!("status of {}", kind.resource))?;
    }
    let none = r#"{"metadata": {"finalizers": null}}"#;
    own.kubectl(&["patch", "lrp", "all", "--type", "merge", "-p", none], None).await.map(drop)
}

#[tokio::test]
async fn only_those_approve_who_have_the_right_and_it_is_no_right_to_anything_else() -> Result<()> {
    let bed = bed().await?;
    let own = installed(&bed).await?;
    futures::try_join!(
        editors_do_not_approve(&own, &KINDS[0]),
        editors_do_not_approve(&own, &KINDS[1]),
        approvers_change_nothing_else(&bed, &own),
    )?;
    // Whoever may update is not held to approvedPlans.
    let days = r#"{"spec": {"expiration": {"days": 31}}}"#;
    for user in [EDITOR, GIT] {
        own.kubectl(&["patch", "lrp", "all", "--type", "merge", "-p", days, "--as", user], None).await?;
    }
    the_operator_is_not_held_back(&own).await?;
    own.remove().await
}

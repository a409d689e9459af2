//! The lifecycle hook that holds back an instance which the operator ends: kept waiting while tasks run there, then let
//! go. Hooks that the spec does not name, and instances that others end, are left alone.

use crate::apply::{Around, asked, once, unchecked};
use crate::judge::{kind, targets};
use crate::pool::{Found, Place};
use crate::told::{Failed, Outcome};
use jiff::Timestamp;
use logwise_api::LogwiseCluster;
use logwise_aws::group::{self, Hooked};
use logwise_aws::{AutoScaling, AwsError};
use logwise_plan::workers::{HookStep, Waiting};
use logwise_runtime::term::Permit;
use serde_json::json;
use std::collections::BTreeMap;

/// The hook of the spec that holds back an instance of ours; `ended` are those that the operator has ended. One that
/// `has_let_go` holds nothing back any more: while another hook does, AWS does not tell which of the two it is.
pub(crate) fn waiting(
    cluster: &LogwiseCluster,
    found: &Found,
    ended: &BTreeMap<String, Timestamp>,
    has_let_go: impl Fn(&Waiting) -> bool,
) -> Option<Waiting> {
    let workers = cluster.spec.spark.as_ref()?.workers.as_ref()?;
    let hook = workers.auto_scaling_group.as_ref()?.termination_hook_name.as_ref()?;
    let ours = |waiting: &&Waiting| waiting.hook == *hook && ended.contains_key(&waiting.instance);
    found.waiting.iter().filter(ours).find(|waiting| !has_let_go(waiting)).cloned()
}

/// Answers the hook.
pub(crate) async fn answer(around: Around<'_>, step: &HookStep) -> Result<Outcome, Failed> {
    let Place::Group { clients, name } = around.place else { return Ok(Outcome::AlreadySo) };
    let client = clients.autoscaling();
    let wish = (targets(kind::HOOK, &json!({"step": step})), 0);
    let outcome = once(around, wish, unchecked(), |permit| send(&client, (name, step), permit)).await;
    if let (HookStep::Complete(waiting), Ok(Outcome::Done | Outcome::AlreadySo)) = (step, &outcome) {
        around.context.memory.with(around.uid(), |of| of.scaling.let_go(waiting));
    }
    outcome
}

async fn send(client: &AutoScaling, (name, step): (&str, &HookStep), permit: Permit) -> Result<Outcome, Failed> {
    let permit = asked(permit);
    let hooked: Result<Hooked, AwsError> = match step {
        HookStep::Heartbeat(waiting) => group::heartbeat(client, name, waiting, permit).await,
        HookStep::Complete(waiting) => group::complete(client, name, waiting, permit).await,
    };
    Ok(match hooked? {
        Hooked::Done => Outcome::Done,
        Hooked::NothingWaits => Outcome::AlreadySo,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_aws::group::Depth;
    use logwise_plan::Known;
    use serde_json::Value;

    fn cluster(hook: Option<&str>) -> LogwiseCluster {
        let group = json!({"name": "workers", "terminationHookName": hook});
        let workers = json!({"type": "AutoScalingGroup", "autoScalingGroup": group});
        let object: Value = json!({"apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster",
            "metadata": {"name": "demo"}, "spec": {"spark": {"masters": [{"host": "s"}], "workers": workers}}});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn only_the_named_hook_of_an_instance_that_we_ended_is_answered() {
        let waits = |instance: &str, hook: &str| Waiting {
            instance: instance.to_owned(),
            hook: hook.to_owned(),
            token: String::new(),
        };
        let found = Found {
            pool: Known::Absent,
            failed_launch: Known::Absent,
            resource: None,
            uid: None,
            selector: None,
            waiting: vec![waits("i-1", "others"), waits("i-2", "drain"), waits("i-1", "drain")],
            depth: Depth::Quick,
            error: None,
            denied: None,
        };
        let ended = BTreeMap::from([("i-1".to_owned(), Timestamp::UNIX_EPOCH)]);
        let of =
            |hook: Option<&str>, ended: &BTreeMap<String, Timestamp>| waiting(&cluster(hook), &found, ended, |_| false);
        assert_eq!(of(Some("drain"), &ended), Some(waits("i-1", "drain")));
        assert_eq!(of(Some("drain"), &BTreeMap::new()), None);
        assert_eq!(of(Some("another"), &ended), None);
        assert_eq!(of(None, &ended), None);
        let both = ["i-1", "i-2"].map(|id| (id.to_owned(), Timestamp::UNIX_EPOCH));
        let one_gone = |waiting: &Waiting| *waiting == waits("i-1", "drain");
        let drain = cluster(Some("drain"));
        assert_eq!(waiting(&drain, &found, &ended, one_gone), None, "it is answered once");
        assert_eq!(waiting(&drain, &found, &both.into(), one_gone), Some(waits("i-2", "drain")));
    }
}

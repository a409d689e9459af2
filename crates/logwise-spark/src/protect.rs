//! Protection from scale-in: of new instances, and of those that are there. It is only ever switched on.

use crate::apply::{Around, asked, once, unchecked};
use crate::judge::{kind, targets};
use crate::pool::Place;
use crate::told::{Failed, Outcome};
use logwise_aws::{AutoScaling, group};
use logwise_runtime::term::Permit;
use serde_json::json;

/// Has the group protect new instances.
pub(crate) async fn newcomers(around: Around<'_>) -> Result<Outcome, Failed> {
    let Place::Group { clients, name } = around.place else { return Ok(Outcome::AlreadySo) };
    let client = clients.autoscaling();
    let wish = (targets(kind::PROTECT, &json!({"group": name})), 0);
    once(around, wish, unchecked(), |permit| protect_newcomers(&client, name, permit)).await
}

async fn protect_newcomers(client: &AutoScaling, name: &str, permit: Permit) -> Result<Outcome, Failed> {
    group::protect_newcomers(client, name, asked(permit)).await?;
    Ok(Outcome::Done)
}

/// Protects these instances.
pub(crate) async fn instances(around: Around<'_>, ids: &[String]) -> Result<Outcome, Failed> {
    let Place::Group { clients, name } = around.place else { return Ok(Outcome::AlreadySo) };
    let client = clients.autoscaling();
    let wish = (targets(kind::PROTECT, &json!({"group": name, "ids": ids})), 0);
    once(around, wish, unchecked(), |permit| protect(&client, (name, ids), permit)).await
}

async fn protect(client: &AutoScaling, (name, ids): (&str, &[String]), permit: Permit) -> Result<Outcome, Failed> {
    group::protect(client, name, ids, asked(permit)).await?;
    Ok(Outcome::Done)
}

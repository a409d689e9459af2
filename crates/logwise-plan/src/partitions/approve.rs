//! Growths that a person decides about.

use super::{About, Hold};
use crate::Known;
use crate::change::{growth_plan_id, is_growth_plan_id};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A growth that waits for approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// Partitions the topic had.
    pub from: i32,
    /// Partitions it shall get.
    pub to: i32,
}

/// A growth that a person decides about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// Partitions the topic has.
    pub from: i32,
    /// Partitions it gets: what was wanted when the growth was first proposed.
    pub to: i32,
    /// The id that approves exactly this growth.
    pub plan_id: String,
}

/// The count that a person has agreed to, or need not agree to.
pub(super) fn agreed(about: &About<'_>, wanted: i32, proposals: &mut BTreeMap<String, Proposal>) -> Result<i32, Hold> {
    let change = &about.policy.change;
    if !change.needs_approval(false) {
        return Ok(wanted);
    }
    let proposal = propose(about, wanted)?;
    let (to, plan_id) = (proposal.to, proposal.plan_id.clone());
    proposals.insert(about.name.to_owned(), proposal);
    if change.approved_plans.contains(&plan_id) { Ok(to) } else { Err(Hold::ApprovalRequired { wanted, to, plan_id }) }
}

/// The growth to ask a person about. One that is approved goes first: whatever was shown once can be approved for as
/// long as at least that much is wanted. Otherwise the pending one, for the same time.
fn propose(about: &About<'_>, wanted: i32) -> Result<Proposal, Hold> {
    let (name, from, change) = (about.name, about.topic.partitions, &about.policy.change);
    let cluster_id = match &about.observed.cluster_id {
        Known::Known(id) => id,
        Known::Absent => return Err(Hold::Unreadable { why: "the cluster has no id to name a plan by".to_owned() }),
        Known::Unknown(why) => return Err(Hold::Unreadable { why: why.clone() }),
    };
    let proposal = |to: i32| Proposal { from, to, plan_id: growth_plan_id(cluster_id, name, from, to) };
    let is_approved = |proposal: &Proposal| change.approved_plans.contains(&proposal.plan_id);
    let pending = about.observed.pending.get(name).filter(|p| p.from == from && p.to > from && p.to <= wanted);
    let pending = pending.map(|pending| proposal(pending.to));
    if let Some(approved) = pending.clone().filter(is_approved) {
        return Ok(approved);
    }
    // Without an approved growth no id can match: spares the hashes of many topics.
    let asked = change.approved_plans.iter().any(|id| is_growth_plan_id(id));
    let approved = if asked { (from + 1..=wanted).rev().map(proposal).find(is_approved) } else { None };
    Ok(approved.or(pending).unwrap_or_else(|| proposal(wanted)))
}

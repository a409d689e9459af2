//! Deletion costs of pods: Kubernetes ends the cheapest one of a ReplicaSet first.

use super::facts::MemberState;
use super::seat::{Seat, Seats};
use std::collections::BTreeMap;

/// Cost of a pod where a driver runs.
const DRIVER: i32 = i32::MAX;

/// Cost of the pod that goes next.
const VICTIM: i32 = i32::MIN;

/// Cost of a pod without the annotation.
const PLAIN: i32 = 0;

/// Costs that differ from what they should be, by pod: the driver's pod is the dearest and the victim the cheapest. A
/// cost of ours is taken back where its reason is gone; those of others stay, unless they are as low as the victim's.
/// Unless the number of pods is `ours`, none is set where there is none of ours.
pub(super) fn costs(seats: &Seats<'_>, victim: Option<&str>, ours: bool) -> BTreeMap<String, i32> {
    let wanted = |seat: &Seat<'_>| {
        let (is_victim, cost) = (victim == Some(seat.member.id.as_str()), seat.member.cost);
        let is_of_others = seat.member.cost_of_others;
        match cost {
            _ if !ours && (is_of_others || !matches!(cost, Some(DRIVER | VICTIM))) => None,
            _ if seat.driver.is_some() => Some(DRIVER),
            _ if is_victim => Some(VICTIM),
            // Two would be the cheapest.
            Some(VICTIM) if victim.is_some() => Some(PLAIN),
            _ if is_of_others => None,
            // Where it runs, or will run, is not known: it may be here.
            Some(DRIVER) if seats.lost_driver.is_some() || seats.waits => None,
            Some(DRIVER | VICTIM) => Some(PLAIN),
            _ => None,
        }
    };
    let stays = seats.all.iter().filter(|seat| seat.member.state != MemberState::Leaving);
    let wanted = stays.filter_map(|seat| Some((seat, wanted(seat)?)));
    let differing = wanted.filter(|(seat, cost)| seat.member.cost != Some(*cost));
    differing.map(|(seat, cost)| (seat.member.id.clone(), cost)).collect()
}

/// Whether the victim shows the lowest cost, and nothing else does; and pods with drivers show the highest.
pub(super) fn are_seen(seats: &Seats<'_>, victim: &str) -> bool {
    seats.all.iter().all(|seat| match seat.member.cost {
        cost if seat.member.id == victim => cost == Some(VICTIM),
        cost if seat.driver.is_some() => cost == Some(DRIVER),
        cost => cost != Some(VICTIM),
    })
}

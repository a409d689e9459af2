//! The epoch: a number that grows with every start and every take-over, kept where deleting the Lease cannot reset it.

use crate::kubernetes::{KubernetesError, Seat, within};
use crate::{crash, later};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;

/// Key of the number in the ConfigMap.
const KEY: &str = "epoch";

/// Attempts before giving up: each loses only against another replica's success.
const ATTEMPTS: u32 = 20;

/// Raises the epoch above itself and above `seen`, the greatest one found elsewhere, and returns it.
///
/// # Errors
/// [`KubernetesError`] when the ConfigMap could not be read or written.
pub async fn raise(seat: &Seat, seen: i64) -> Result<i64, KubernetesError> {
    let api: Api<ConfigMap> = Api::namespaced(seat.client.clone(), &seat.namespace);
    let name = seat.epoch_name();
    let mut last = KubernetesError::Busy { what: name.clone() };
    for _ in 0..ATTEMPTS {
        let current = within("reading the epoch", api.get_opt(&name)).await?;
        let next = current.as_ref().map_or(0, stored).max(seen).saturating_add(1);
        let wanted = document(seat, &name, current.as_ref(), next);
        let params = PostParams::default();
        let write = crash::begin(crash::System::Epoch);
        let written = match &current {
            Some(_) => within("writing the epoch", api.replace(&name, &params, &wanted)).await,
            None => within("creating the epoch", api.create(&params, &wanted)).await,
        };
        write.after();
        match written {
            Ok(_) => return Ok(next),
            // Somebody else was first, or our own write has arrived although its answer was lost: read again.
            Err(error) if error.is_conflict() => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Whether this installation has had a term before.
///
/// # Errors
/// [`KubernetesError`] when the ConfigMap could not be read.
pub async fn exists(seat: &Seat) -> Result<bool, KubernetesError> {
    let api: Api<ConfigMap> = Api::namespaced(seat.client.clone(), &seat.namespace);
    Ok(within("reading the epoch", api.get_opt(&seat.epoch_name())).await?.is_some())
}

/// What a person has written over it counts as nothing: `seen` stands in.
fn stored(current: &ConfigMap) -> i64 {
    let text = current.data.as_ref().and_then(|data| data.get(KEY));
    text.and_then(|text| text.trim().parse().ok()).filter(|epoch| is_epoch(*epoch)).unwrap_or(0)
}

/// No installation comes to such a number by itself: it was written by hand, and counting on from it would end.
pub(crate) const fn is_epoch(number: i64) -> bool {
    number >= 0 && number < 1 << 53
}

/// The ConfigMap with the next number; what somebody else, such as a later version, has put beside it stays.
fn document(seat: &Seat, name: &str, current: Option<&ConfigMap>, epoch: i64) -> ConfigMap {
    let mut wanted = current.cloned().unwrap_or_default();
    wanted.metadata.managed_fields = None;
    wanted.metadata.name = Some(name.to_owned());
    wanted.metadata.labels.get_or_insert_default().extend(seat.labels("epoch"));
    wanted.data.get_or_insert_default().insert(KEY.to_owned(), epoch.to_string());
    later::mark(&mut wanted);
    wanted
}

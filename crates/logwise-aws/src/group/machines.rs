//! The machines behind a group's instances: private addresses and launch times, asked of EC2 by the group's own ids and
//! never by address, which EC2 gives away again.

use super::{named, time};
use crate::error::AwsError;
use crate::permissions::DESCRIBE_INSTANCES;
use aws_sdk_ec2::Client;
use jiff::Timestamp;
use logwise_plan::Known;
use std::collections::BTreeMap;

/// Most ids in one call.
const MOST_IDS: usize = 200;

/// What EC2 says about one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    /// Its private IPv4 address; one that has ended has none.
    pub address: Option<String>,
    /// When it was launched.
    pub since: Option<Timestamp>,
}

/// Machines by instance id, or why there are none.
pub(super) type Machines = Result<BTreeMap<String, Machine>, AwsError>;

/// Asks EC2 for these instances of the group; no ids, no call.
pub(super) async fn machines(client: &Client, group: &str, ids: &[String]) -> Machines {
    let mut found = BTreeMap::new();
    for some in ids.chunks(MOST_IDS) {
        let answer =
            client.describe_instances().set_instance_ids(Some(some.to_vec())).send().await.map_err(|error| {
                AwsError::group_call(&DESCRIBE_INSTANCES, format!("instances of {}", named(group)), error)
            })?;
        for instance in answer.reservations().iter().flat_map(|reservation| reservation.instances()) {
            let Some(id) = instance.instance_id() else { continue };
            let machine = Machine {
                address: instance.private_ip_address().map(str::to_owned),
                since: time(instance.launch_time.as_ref()),
            };
            found.insert(id.to_owned(), machine);
        }
    }
    Ok(found)
}

/// Whether EC2 does not know one of the instances: it has ended long ago, or was launched a moment ago.
pub(super) fn is_unknown_instance(error: &AwsError) -> bool {
    error.code() == Some("InvalidInstanceID.NotFound")
}

/// The address of each of `ids`. Two instances with one address have none that tells them apart.
pub(super) fn addresses(machines: &Machines, ids: &[String]) -> BTreeMap<String, Known<String>> {
    let of = |id: &String| match machines {
        Err(error) => Known::Unknown(error.to_string()),
        Ok(machines) => match machines.get(id) {
            None => Known::Unknown("EC2 does not show the instance".to_owned()),
            Some(Machine { address: None, .. }) => Known::Absent,
            Some(Machine { address: Some(address), .. }) => Known::Known(address.clone()),
        },
    };
    let mut found: BTreeMap<String, Known<String>> = ids.iter().map(|id| (id.clone(), of(id))).collect();
    let mut holders: BTreeMap<String, u32> = BTreeMap::new();
    for address in found.values().filter_map(Known::known) {
        *holders.entry(address.clone()).or_default() += 1;
    }
    for known in found.values_mut() {
        if let Some(address) = known.known().filter(|address| holders.get(*address).is_some_and(|count| *count > 1)) {
            *known = Known::Unknown(format!("several instances of the group have the address {address}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(address: Option<&str>) -> Machine {
        Machine { address: address.map(str::to_owned), since: None }
    }

    #[test]
    fn an_address_is_known_absent_or_unknown() {
        let ids = ["i-a", "i-b", "i-c", "i-d", "i-e"].map(str::to_owned);
        let machines = Ok(BTreeMap::from([
            ("i-a".to_owned(), machine(Some("10.0.0.4"))),
            ("i-b".to_owned(), machine(None)),
            ("i-d".to_owned(), machine(Some("10.0.0.9"))),
            ("i-e".to_owned(), machine(Some("10.0.0.9"))),
        ]));
        let found = addresses(&machines, &ids);
        assert_eq!(found["i-a"], Known::Known("10.0.0.4".to_owned()));
        assert_eq!(found["i-b"], Known::Absent, "a machine that has ended has no address");
        assert_eq!(found["i-c"], Known::Unknown("EC2 does not show the instance".to_owned()));
        for twin in ["i-d", "i-e"] {
            assert!(matches!(&found[twin], Known::Unknown(why) if why.contains("10.0.0.9")), "{found:?}");
        }
    }
}

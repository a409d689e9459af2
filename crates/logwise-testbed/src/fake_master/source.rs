//! Which machines there are.

use anyhow::{Context, Result};

use super::cluster::Machine;
use super::script::Source;
use crate::api::Api;
use crate::bed::Bed;
use crate::supervisor;

/// Where to ask for machines.
pub(super) struct Machines {
    source: Source,
    endpoint: String,
    api: Option<Api>,
}

impl Machines {
    pub fn new(bed: &Bed, source: Source) -> Result<Machines> {
        let api = match source {
            Source::Pods { .. } => Some(bed.api()?),
            Source::Group(_) | Source::Named => None,
        };
        Ok(Machines { source, endpoint: bed.aws.endpoint.clone(), api })
    }

    /// Those that there are now; none where the test names them.
    pub async fn now(&self) -> Result<Option<Vec<Machine>>> {
        match (&self.source, &self.api) {
            (Source::Group(name), _) => {
                let all = supervisor::running(&self.endpoint).await?.into_iter();
                let ours = all.filter(|instance| instance.group == *name);
                Ok(Some(ours.map(|one| Machine { id: one.id, host: one.private_ip.to_string() }).collect()))
            }
            (Source::Pods { namespace, selector }, Some(api)) => Ok(Some(pods(api, namespace, selector).await?)),
            (Source::Pods { .. } | Source::Named, _) => Ok(None),
        }
    }
}

async fn pods(api: &Api, namespace: &str, selector: &str) -> Result<Vec<Machine>> {
    let selector = selector.replace('=', "%3D").replace(',', "%2C");
    let list = api.get(&format!("/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")).await?;
    let pods = list["items"].as_array().context("a list of pods without items")?;
    let machines = pods.iter().filter_map(|pod| {
        let mut conditions = pod["status"]["conditions"].as_array()?.iter();
        let ready = conditions.any(|one| one["type"] == "Ready" && one["status"] == "True");
        let there = ready && pod["metadata"]["deletionTimestamp"].is_null();
        let (id, host) = (pod["metadata"]["name"].as_str()?, pod["status"]["podIP"].as_str()?);
        there.then(|| Machine { id: id.to_owned(), host: host.to_owned() })
    });
    Ok(machines.collect())
}

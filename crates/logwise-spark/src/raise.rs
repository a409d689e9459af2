//! Raises of the desired number: of an Auto Scaling Group, or of the replicas of a Deployment.

use crate::apply::{Around, asked, once};
use crate::deployment::{self, At, Checked, Scaled, Version};
use crate::judge::{kind, targets};
use crate::pool::Place;
use crate::told::{Failed, Outcome};
use logwise_aws::{AutoScaling, group};
use logwise_plan::workers::Raise;
use logwise_runtime::term::Permit;
use std::sync::OnceLock;

/// Raises the desired number from the one that the plan has seen to the one that it names, or says why not.
pub(crate) async fn raise(around: Around<'_>, raise: &Raise) -> Result<Outcome, Failed> {
    let wish = (targets(kind::RAISE, raise), i64::from(raise.to) - i64::from(raise.from));
    match around.place {
        Place::Group { clients, .. } => {
            let client = clients.autoscaling();
            let arn = around.found.arn().unwrap_or_default();
            once(around, wish, check(&client, raise, arn), |permit| send(&client, raise, permit)).await
        }
        Place::Deployment { client, namespace, name } => {
            let uid = around.found.uid.as_deref().unwrap_or_default();
            let scale = Scale { client, of: At { namespace, name, uid }, sizes: (raise.from, raise.to) };
            let version = OnceLock::new();
            once(around, wish, scale.check(&version), |permit| scale.send(&version, asked(permit))).await
        }
    }
}

async fn check(client: &AutoScaling, raise: &Raise, arn: &str) -> Result<Option<Outcome>, Failed> {
    let outcome = |outcome| match outcome {
        group::Outcome::Done => Outcome::Done,
        group::Outcome::AlreadySo => Outcome::AlreadySo,
        group::Outcome::Superseded { desired, max_size } => {
            Outcome::Superseded { why: format!("desired capacity is {desired} and the maximum {max_size}") }
        }
    };
    Ok(group::check(client, raise, arn).await?.map(outcome))
}

async fn send(client: &AutoScaling, raise: &Raise, permit: Permit) -> Result<Outcome, Failed> {
    group::send(client, raise, asked(permit)).await?;
    Ok(Outcome::Done)
}

/// A change of the replicas of a Deployment, from one number to another.
pub(crate) struct Scale<'a> {
    pub client: &'a kube::Client,
    pub of: At<'a>,
    pub sizes: (i32, i32),
}

impl Scale<'_> {
    /// Reads the Deployment again; `version` is where it is noted what may be changed. None: it may.
    pub async fn check(&self, version: &OnceLock<Version>) -> Result<Option<Outcome>, Failed> {
        let (from, to) = self.sizes;
        Ok(match deployment::check(self.client, &self.of, from, to).await? {
            Checked::Go(seen) => {
                version.get_or_init(|| seen);
                None
            }
            Checked::AlreadySo => Some(Outcome::AlreadySo),
            Checked::Superseded { why } => Some(Outcome::Superseded { why }),
        })
    }

    /// Sets the replicas, if nothing has changed since the check.
    pub async fn send(
        &self,
        version: &OnceLock<Version>,
        permit: impl Fn() -> Result<(), String> + Send + Sync,
    ) -> Result<Outcome, Failed> {
        let Some(version) = version.get() else {
            return Ok(Outcome::Superseded { why: "the Deployment was not read".to_owned() });
        };
        Ok(match deployment::scale(self.client, &self.of, version, self.sizes.1, permit).await? {
            Scaled::Done => Outcome::Done,
            Scaled::Superseded { why } => Outcome::Superseded { why },
        })
    }
}

//! The lifecycle rules: what compiling and comparing them takes, and what changes cost at S3.

mod compare;
mod compile;
mod requests;

use crate::aims::Aims;
use anyhow::Result;
use std::time::Duration;

/// Services, and rules, of the large case.
const SERVICES: usize = 1_000;

/// Policies of the large case.
const POLICIES: usize = 500;

/// Rounds of which the median counts.
const ROUNDS: usize = 51;

pub(crate) async fn measure(aims: &mut Aims) -> Result<()> {
    compile::measure(aims)?;
    compare::measure(aims)?;
    requests::measure(aims).await
}

fn milliseconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1_000.0)
}

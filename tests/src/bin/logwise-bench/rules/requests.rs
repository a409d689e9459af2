//! What changes of policies cost at S3, and how long they take until every policy says that they are in force.

use super::POLICIES;
use crate::aims::Aims;
use crate::row;
use anyhow::{Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::world::World;
use logwise_tests::scale::{Asked, Policies, pipeline, put_services, services, spread};
use logwise_tests::{FOREIGN_LEGACY, FOREIGN_ODD, apply, configuration};
use serde_json::json;
use std::time::Instant;

/// Services of the bucket: with the rules of others as many as S3 takes, or nearly.
const OF_BUCKET: usize = 990;

/// How many policies change together, and the days that they then want.
const CHANGES: [(usize, i32); 3] = [(1, 40), (50, 50), (POLICIES, 60)];

pub(crate) async fn measure(aims: &mut Aims) -> Result<()> {
    let world = World::new(&Bed::attach()?, "bench-rules").await?;
    let (names, all) = (services(OF_BUCKET), Policies::of(&world).await?);
    put_services(&world, &names).await?;
    world.put_lifecycle(&world.bucket, &configuration(&[FOREIGN_ODD, FOREIGN_LEGACY])).await?;
    apply(&world, &[&pipeline(&world)?]).await?;
    all.create(spread(POLICIES, &names, 30)).await?;
    // Looks are so rare that all that is read belongs to changes; the preflight would read the configuration too.
    let intervals = json!({"s3Seconds": 3_600, "discoverySeconds": 3_600});
    let config = json!({"preflight": {"enabled": false}, "intervals": intervals});
    let mut operator = Operator::start(&world, Options::config(config)).await?;
    operator.wait_ready().await?;
    all.ready(POLICIES).await?;
    row(&format!("bucket of {OF_BUCKET} services and {POLICIES} policies"), "")?;
    for (number, days) in CHANGES {
        let before = Asked::so_far(&world).await?;
        operator.pause().await?;
        all.change(number, days).await?;
        operator.resume().await?;
        let began = Instant::now();
        all.ready(POLICIES).await?;
        let took = began.elapsed();
        let Asked { puts, gets, pages, others } = Asked::so_far(&world).await?.since(before);
        let met = puts == 1 && gets <= 4 && pages + others == 0;
        aims.check(
            &format!("  {number} changed together: PUT, GET, other requests"),
            &format!("{puts}, {gets}, {}", pages + others),
            ("1, at most 4, 0", met),
        )?;
        row("    until every policy says so, s", &format!("{:.1}", took.as_secs_f64()))?;
    }
    ensure!(operator.stop().await? == 0, "the operator did not stop cleanly");
    Ok(())
}

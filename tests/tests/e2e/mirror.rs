//! A dead Orchestrator DB changes nothing but MirrorInSync, and is whole again after it is back.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster, condition, wait_condition};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::{TcpListener, TcpStream};

/// A port that nobody listens on, kept until [`forward`] opens it.
fn closed_port() -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}

/// Carries every connection to `to`.
async fn forward(from: SocketAddr, to: String) -> Result<()> {
    let listener = TcpListener::bind(from).await.with_context(|| format!("opening {from}"))?;
    loop {
        let (mut near, _) = listener.accept().await?;
        let to = to.clone();
        tokio::spawn(async move {
            if let Ok(mut far) = TcpStream::connect(&to).await {
                // The end of either side ends both.
                drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
            }
        });
    }
}

/// The address in a `mysql://user:password@host:port/schema` URL.
fn authority(url: &str) -> Result<&str> {
    url.rsplit_once('@').and_then(|(_, rest)| rest.split('/').next()).context("a URL with an address")
}

#[tokio::test]
async fn a_dead_database_changes_nothing_but_mirror_in_sync() -> Result<()> {
    let world = World::new(&Bed::attach()?, "dead-db").await?;
    world.create_topic("api", 1).await?;
    let url = world.create_schema().await?;
    let real = authority(&url)?.to_owned();
    let closed = closed_port()?;
    let dead = url.replace(&real, &closed.to_string());
    let mut operator = Operator::start(&world, Options::config(json!({"database": {"url": dead}}))).await?;
    operator.wait_ready().await?;
    apply(&world, &[&cluster(&world, "demo")]).await?;
    let object = wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    assert!(condition(&object, "MirrorInSync").is_none(), "said before a minute had passed: {}", object["status"]);
    assert_eq!(world.topic_partitions("api").await?, 3);
    let object = wait_condition(&world, ("lwc", "demo"), ("MirrorInSync", "False", "DatabaseUnavailable")).await?;
    assert_eq!(condition(&object, "Ready").context("Ready")?["status"], "True");
    let password = url.split(':').nth(2).and_then(|rest| rest.split('@').next()).context("a password")?;
    assert!(!operator.log()?.contains(password) && !object.to_string().contains(password), "the password got out");
    let (status, body) = operator.http("/readyz").await?;
    ensure!(body.contains("Orchestrator DB: failing since"), "{body}");
    assert_eq!(status, 200, "{body}");
    let carrying = tokio::spawn(forward(closed, real));
    wait_condition(&world, ("lwc", "demo"), ("MirrorInSync", "True", "InSync")).await?;
    world
        .wait_until("the row of the object", PATIENCE, async || {
            let rows = world.query("SELECT name, deleted FROM logwise_objects").await?;
            ensure!(rows.contains("demo\t0"), "{rows}");
            let mirrored = world.query("SELECT COUNT(*) FROM logwise_conditions WHERE type = 'MirrorInSync'").await?;
            ensure!(mirrored.trim() == "0", "the mirror mirrors itself");
            Ok(())
        })
        .await?;
    world.kubectl(&["delete", "lwc", "demo", "--timeout=60s"]).await?;
    world
        .wait_until("the row to be marked", PATIENCE, async || {
            let rows = world.query("SELECT name, deleted FROM logwise_objects").await?;
            ensure!(rows.contains("demo\t1"), "{rows}");
            Ok(())
        })
        .await?;
    carrying.abort();
    Ok(())
}

#[tokio::test]
async fn an_object_deleted_while_nobody_looked_is_marked_at_the_next_start() -> Result<()> {
    let world = World::new(&Bed::attach()?, "unseen").await?;
    let config = json!({"database": {"url": world.create_schema().await?}});
    let mut first = Operator::start(&world, Options::config(config.clone())).await?;
    first.wait_ready().await?;
    apply(&world, &[&cluster(&world, "demo"), &cluster(&world, "stays")]).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    let deleted = async |expected: &str| {
        world
            .wait_until(&format!("rows {expected}"), PATIENCE, async || {
                let rows = world.query("SELECT CONCAT(name, '=', deleted) FROM logwise_objects ORDER BY name").await?;
                let rows = rows.split_whitespace().collect::<Vec<_>>().join(" ");
                ensure!(rows.ends_with(expected), "{rows}");
                Ok(())
            })
            .await
    };
    deleted("demo=0 stays=0").await?;
    assert_eq!(first.stop().await?, 0);
    world.kubectl(&["delete", "lwc", "demo", "--timeout=60s"]).await?;
    let mut second = Operator::start(&world, Options::config(config)).await?;
    second.wait_ready().await?;
    deleted("demo=1 stays=0").await
}

//! Servers as processes: kept, restarted, ended with all they started, and nothing else ended.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use logwise_testbed::cache::Cache;
use logwise_testbed::folder::Folder;
use logwise_testbed::proc::{Identity, alive, identity, members};
use logwise_testbed::process::{Ending, Server, Start, probe, spawn, start, stop};
use logwise_testbed::progress::Progress;
use logwise_testbed::state;
use logwise_testbed::up::up;
use logwise_testbed::world::wait_until;

const LONG: Duration = Duration::from_secs(30);

/// A server that writes `up` into a file and answers once the file is there.
fn server(folder: &Folder, script: &str) -> Server {
    let file = folder.path("up");
    Server {
        name: "thing".into(),
        program: PathBuf::from("/bin/sh"),
        args: ["-c", script].map(String::from).to_vec(),
        env: vec![("GREETING".into(), "hello there".into())],
        cwd: folder.dir().to_owned(),
        ending: Ending::Terminate { seconds: 1 },
        ready_within: LONG,
        ready: probe(move || {
            let there = file.exists();
            async move {
                ensure!(there, "no file yet");
                Ok(())
            }
        }),
    }
}

const FAMILY: &str = "sleep 300 & echo \"$GREETING $LOGWISE_TESTBED_OWNER\" > up; echo words; wait";

struct Bed {
    _root: tempfile::TempDir,
    folder: Folder,
}

fn bed() -> Result<Bed> {
    let root = tempfile::tempdir()?;
    let folder = Folder::open(root.path())?;
    Ok(Bed { _root: root, folder })
}

fn kill(pid: u32) -> Result<()> {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status()?;
    ensure!(status.success(), "killing {pid}: {status}");
    Ok(())
}

#[tokio::test]
async fn a_server_is_started_once_kept_and_ended_with_its_children() -> Result<()> {
    let bed = bed()?;
    let server = server(&bed.folder, FAMILY);
    assert_eq!(start(&bed.folder, &server).await?, Start::Started);
    let record = state::load(&bed.folder)?.servers["thing"].clone();
    assert_eq!(record.command, ["/bin/sh", "-c", FAMILY]);
    let told = std::fs::read_to_string(bed.folder.path("up"))?;
    assert_eq!(told.trim(), format!("hello there {}", bed.folder.dir().display()));
    wait_until("two processes", LONG, async || {
        ensure!(members(&record.identity, bed.folder.dir()).len() == 2);
        Ok(())
    })
    .await?;
    let family = members(&record.identity, bed.folder.dir());
    assert_eq!(start(&bed.folder, &server).await?, Start::Kept);
    assert_eq!(state::load(&bed.folder)?.servers["thing"], record, "the same process goes on");
    stop(&bed.folder, "thing").await?;
    assert!(family.iter().all(|one| !alive(one)), "the child ended too");
    assert!(state::load(&bed.folder)?.servers.is_empty());
    assert_eq!(std::fs::read_to_string(bed.folder.log("thing"))?, "words\n");
    stop(&bed.folder, "thing").await
}

#[tokio::test]
async fn a_dead_server_is_replaced_and_its_orphans_are_ended() -> Result<()> {
    let bed = bed()?;
    let server = server(&bed.folder, FAMILY);
    start(&bed.folder, &server).await?;
    let first = state::load(&bed.folder)?.servers["thing"].identity.clone();
    wait_until("two processes", LONG, async || {
        ensure!(members(&first, bed.folder.dir()).len() == 2);
        Ok(())
    })
    .await?;
    kill(first.pid)?;
    wait_until("the leader's end", LONG, async || {
        ensure!(!alive(&first));
        Ok(())
    })
    .await?;
    assert_eq!(members(&first, bed.folder.dir()).len(), 1, "an orphan is left");
    assert_eq!(start(&bed.folder, &server).await?, Start::Started);
    assert!(members(&first, bed.folder.dir()).is_empty(), "the orphan was ended");
    let second = state::load(&bed.folder)?.servers["thing"].identity.clone();
    assert!(second != first && alive(&second));
    stop(&bed.folder, "thing").await
}

#[tokio::test]
async fn a_reused_process_number_is_left_alone() -> Result<()> {
    let bed = bed()?;
    let server = server(&bed.folder, FAMILY);
    start(&bed.folder, &server).await?;
    stop(&bed.folder, "thing").await?;
    // Now the number in the record belongs to a stranger, as it could after the server died.
    let mut stranger = Command::new("sleep").arg("300").stdin(Stdio::null()).spawn()?;
    let id = identity(stranger.id())?;
    let running = spawn(&bed.folder, &server).await?;
    let real = running.record.identity.clone();
    state::update(&bed.folder, |state| {
        let record = state.servers.get_mut("thing").unwrap();
        record.identity.pid = id.pid;
        record.identity.start_time = id.start_time - 1;
        Ok(())
    })?;
    stop(&bed.folder, "thing").await?;
    assert!(alive(&id), "a stranger was ended");
    stranger.kill()?;
    stranger.wait()?;
    state::record(&bed.folder, "thing", &running.record)?;
    stop(&bed.folder, "thing").await?;
    assert!(!alive(&real));
    Ok(())
}

#[tokio::test]
async fn a_silent_server_is_replaced() -> Result<()> {
    let bed = bed()?;
    start(&bed.folder, &server(&bed.folder, FAMILY)).await?;
    let first = state::load(&bed.folder)?.servers["thing"].identity.clone();
    std::fs::remove_file(bed.folder.path("up"))?;
    // The old one had its time; the new one never answers either, and is not left behind.
    let impatient = Server { ready_within: Duration::from_millis(1), ..server(&bed.folder, "sleep 300") };
    let error = start(&bed.folder, &impatient).await.unwrap_err();
    assert!(format!("{error:#}").contains("did not answer within 0 s"), "{error:#}");
    assert!(!alive(&first));
    assert!(state::load(&bed.folder)?.servers.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_server_that_ends_early_says_its_last_words() -> Result<()> {
    let bed = bed()?;
    let failing = server(&bed.folder, "echo 'cannot bind' >&2; exit 7");
    let error = format!("{:#}", start(&bed.folder, &failing).await.unwrap_err());
    assert!(error.contains("thing ended (exit status: 7)") && error.contains("cannot bind"), "{error}");
    assert!(state::load(&bed.folder)?.servers.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_deaf_server_is_killed_after_its_patience() -> Result<()> {
    let bed = bed()?;
    start(&bed.folder, &server(&bed.folder, "trap '' TERM; echo x > up; while :; do sleep 300; done")).await?;
    let id = state::load(&bed.folder)?.servers["thing"].identity.clone();
    stop(&bed.folder, "thing").await?;
    assert!(!alive(&id) && members(&id, bed.folder.dir()).is_empty());
    Ok(())
}

#[tokio::test]
async fn up_ends_the_kafka_clusters_of_killed_tests_and_nothing_else() -> Result<()> {
    let bed = bed()?;
    let mut test = Command::new("sleep").arg("300").stdin(Stdio::null()).spawn()?;
    let (killed, own) = (identity(test.id())?, identity(std::process::id())?);
    test.kill()?;
    test.wait()?;
    let home = |name: &str| bed.folder.path(&format!("brokers/{name}-aB3dEf"));
    let owned = |name: &str, owner: &Identity| -> Result<()> {
        std::fs::create_dir_all(home(name))?;
        Ok(std::fs::write(home(name).join("owner.json"), serde_json::to_vec(owner)?)?)
    };
    owned("killed", &killed)?;
    owned("running", &own)?;
    let names = ["brokers-killed-aB3dEf-1", "brokers-nofolder-aB3dEf-1-format", "brokers-running-aB3dEf-1", "thing"];
    let mut started = Vec::new();
    for name in names {
        let server = Server { name: name.to_owned(), ..server(&bed.folder, "exec sleep 300") };
        started.push(spawn(&bed.folder, &server).await?.record.identity);
    }
    let cache = Cache::at(&bed.folder.path("cache"))?;
    up(&bed.folder, &cache, &BTreeSet::new(), &Progress::start()).await?;
    assert_eq!(started.iter().map(alive).collect::<Vec<_>>(), [false, false, true, true]);
    assert_eq!(state::load(&bed.folder)?.servers.into_keys().collect::<Vec<_>>(), names[2..]);
    assert!(!home("killed").exists() && home("running").exists());
    stop(&bed.folder, names[2]).await?;
    stop(&bed.folder, names[3]).await
}

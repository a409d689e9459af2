//! A ZooKeeper, which two masters need to agree on who is active. Its jars come with Spark.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::folder::write_atomically;
use crate::home::Home;
use crate::prerequisites;
use crate::process::{Ending, Server, probe};
use crate::site::Site;
use crate::spark::{Property, properties};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// Of the longest session that a client gets: a master that is gone for so long is not active any more.
const SESSION: Duration = Duration::from_secs(4);

/// A ZooKeeper before it starts.
pub(super) struct ZooKeeper {
    /// As a server of the bed.
    pub server: Server,
    address: String,
}

impl ZooKeeper {
    /// Writes its settings.
    pub fn prepare(site: &Site, home: &Home, port: u16) -> Result<ZooKeeper> {
        let folder = home.path().join("zookeeper");
        fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let settings = folder.join("zoo.cfg");
        let text = text(&site.addresses.host().to_string(), port, &folder.join("data").display().to_string());
        write_atomically(&settings, text.as_bytes())?;
        let spark = &site.tools.spark;
        let mut args = spark.daemon_options();
        args.extend(["-Xmx64m".to_owned(), spark.quiet_log(), "-Dzookeeper.jmx.log4j.disable=true".to_owned()]);
        args.extend(["-cp".to_owned(), spark.class_path()]);
        args.extend(["org.apache.zookeeper.server.ZooKeeperServerMain".to_owned(), settings.display().to_string()]);
        let address = site.addresses.at(port);
        let asked = address.clone();
        let server = Server {
            name: format!("{}zookeeper", home.prefix()),
            program: prerequisites::jdk()?.join("bin/java"),
            args,
            env: Vec::new(),
            cwd: folder,
            ending: Ending::Kill,
            ready_within: READY_WITHIN,
            ready: probe(move || {
                let asked = asked.clone();
                async move { serves(&asked).await }
            }),
        };
        Ok(ZooKeeper { server, address })
    }

    /// The properties of masters that keep here what they know.
    pub fn memory(&self) -> Vec<Property> {
        properties([
            ("spark.deploy.recoveryMode", "ZOOKEEPER".to_owned()),
            ("spark.deploy.zookeeper.url", self.address.clone()),
            ("spark.deploy.zookeeper.dir", "/spark".to_owned()),
        ])
    }
}

fn text(host: &str, port: u16, data: &str) -> String {
    let session = SESSION.as_millis();
    format!(
        "tickTime=500\nmaxSessionTimeout={session}\ndataDir={data}\nclientPortAddress={host}\nclientPort={port}\n\
         admin.enableServer=false\n"
    )
}

/// ZooKeeper answers the word `srvr` with some lines about itself.
async fn serves(address: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).await.context("connecting to ZooKeeper")?;
    stream.write_all(b"srvr").await.context("asking ZooKeeper")?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await.context("reading ZooKeeper's answer")?;
    ensure!(said.contains("Mode: standalone"), "ZooKeeper says {said:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_listens_on_the_beds_address_only() {
        let text = text("127.0.9.1", 20_000, "/bed/sparks/a/zookeeper/data");
        assert!(text.contains("\nclientPortAddress=127.0.9.1\nclientPort=20000\n"), "{text}");
        assert!(text.contains("\nmaxSessionTimeout=4000\n") && text.contains("admin.enableServer=false"), "{text}");
    }
}

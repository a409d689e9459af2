//! A proxy before both interfaces of a Spark master, of a real one or of the fake one: its pages and its submissions.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::http::HttpProxy;
use crate::bed::Spark;
use crate::world::World;

/// Requests that change something at a master, for [`super::rules::Rule::new`].
pub const WRITES: &str = "^/workers/kill|^/v1/submissions/(create|kill)";

/// A running proxy before a master. Dropped, it closes every connection.
pub struct MasterProxy {
    /// Rules and ledger, common to both interfaces.
    pub http: HttpProxy,
    /// The master as it looks through the proxy. Workers and drivers go past it: host and port are the master's own.
    pub address: Spark,
}

impl MasterProxy {
    /// Starts a proxy without rules before a master.
    pub async fn start(master: &Spark) -> Result<MasterProxy> {
        let host = master.host.parse().with_context(|| format!("{} is no address", master.host))?;
        let mut http = HttpProxy::on(host, &format!("http://{}", master.ui())).await?;
        let rest = http.also(&format!("http://{}", master.rest())).await?;
        let (ui_port, rest_port) = (port(&http.url)?, port(&rest)?);
        Ok(MasterProxy { http, address: Spark { ui_port, rest_port, ..master.clone() } })
    }

    /// `spec.spark.masters`.
    pub fn masters(&self) -> Value {
        json!([self.address.spec()])
    }
}

impl World {
    /// Starts a proxy before a master.
    pub async fn master_proxy(&self, master: &Spark) -> Result<MasterProxy> {
        MasterProxy::start(master).await
    }
}

fn port(url: &str) -> Result<u16> {
    let (_, port) = url.rsplit_once(':').with_context(|| format!("{url} names no port"))?;
    port.parse().with_context(|| format!("{url} names no port"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    #[test]
    fn only_what_changes_something_is_a_write() {
        let writes = Regex::new(WRITES).unwrap();
        for path in ["/workers/kill/?host=127.0.9.4", "/v1/submissions/create", "/v1/submissions/kill/driver-1"] {
            assert!(writes.is_match(path), "{path}");
        }
        for path in ["/json/", "/v1/submissions/status/driver-1", "/x/workers/kill/"] {
            assert!(!writes.is_match(path), "{path}");
        }
    }

    #[tokio::test]
    async fn the_proxy_is_on_the_masters_own_host_and_leaves_its_port_for_workers() {
        let master = Spark { host: "127.0.0.1".into(), port: 7077, ui_port: 1, rest_port: 2 };
        let proxy = MasterProxy::start(&master).await.unwrap();
        assert_eq!((proxy.address.host.as_str(), proxy.address.port), ("127.0.0.1", 7077));
        assert!(proxy.address.ui_port > 2 && proxy.address.rest_port > 2);
        assert_ne!(proxy.address.ui_port, proxy.address.rest_port);
        let answer = crate::http::client().unwrap().get(format!("http://{}/json/", proxy.address.ui())).send().await;
        assert!(answer.is_err(), "there is no master behind it");
        assert_eq!(proxy.http.requests().len(), 1);
    }
}

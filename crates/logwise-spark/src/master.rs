//! The Spark master, read through the JSON page of its web interface.

use futures::future::join_all;
use logwise_runtime::ErrorClass;
use logwise_runtime::facts::Driver;
use serde::Deserialize;
use std::time::Duration;

/// Longest time one page may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Largest page accepted, in bytes.
const MAX_PAGE: usize = 16 << 20;

/// The active master and what it manages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    /// `host:uiPort` of the page.
    pub address: String,
    /// Workers in state ALIVE.
    pub alive_workers: i32,
    /// Cores of alive workers.
    pub cores: i32,
    /// Cores of alive workers that are in use.
    pub cores_used: i32,
    /// Drivers that are submitted or running.
    pub drivers: Vec<Driver>,
}

/// No master answered as the active one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no Spark master is active: {}", .causes.join("; "))]
pub struct NoActiveMaster {
    /// One cause per master, each starting with its address.
    pub causes: Vec<String>,
}

impl NoActiveMaster {
    /// An outage or a wrong address look the same from here.
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Transient
    }
}

/// Reads all masters at once and returns the active one.
pub async fn look(http: &reqwest::Client, addresses: &[String]) -> Result<Master, NoActiveMaster> {
    let pages = join_all(addresses.iter().map(|address| read(http, address))).await;
    let mut causes = Vec::new();
    for (address, page) in addresses.iter().zip(pages) {
        match page.and_then(|page| parse(address, &page)) {
            Ok(master) => return Ok(master),
            Err(cause) => causes.push(format!("{address} {cause}")),
        }
    }
    Err(NoActiveMaster { causes })
}

/// A client that follows no redirects and uses no proxy from the environment.
pub fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(3))
        .timeout(DEADLINE)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .pool_idle_timeout(Duration::from_secs(90))
        .build()
}

async fn read(http: &reqwest::Client, address: &str) -> Result<Vec<u8>, String> {
    let mut response = http.get(format!("http://{address}/json/")).send().await.map_err(|e| cause(&e))?;
    if !response.status().is_success() {
        return Err(format!("answered HTTP {}", response.status().as_u16()));
    }
    let mut page = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| cause(&e))? {
        if page.len() + chunk.len() > MAX_PAGE {
            return Err(format!("answered more than {MAX_PAGE} bytes"));
        }
        page.extend_from_slice(&chunk);
    }
    Ok(page)
}

/// What went wrong, in words and without the address, which stands before it.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("did not answer within {} s", DEADLINE.as_secs());
    }
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    format!("cannot be reached ({deepest})")
}

#[derive(Deserialize)]
struct Page {
    status: String,
    workers: Vec<Worker>,
    activedrivers: Vec<ActiveDriver>,
}

#[derive(Deserialize)]
struct Worker {
    state: String,
    cores: i32,
    // A DEAD worker keeps this number: only ALIVE ones count.
    coresused: i32,
}

#[derive(Deserialize)]
struct ActiveDriver {
    id: String,
    state: String,
    mainclass: String,
}

fn parse(address: &str, page: &[u8]) -> Result<Master, String> {
    let page: Page = serde_json::from_slice(page).map_err(|error| {
        let html = page.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<');
        if html {
            "answered HTML instead of JSON".to_owned()
        } else {
            format!("answered JSON of another shape ({error})")
        }
    })?;
    if page.status != "ALIVE" {
        return Err(format!("is {}", page.status));
    }
    let alive = page.workers.iter().filter(|worker| worker.state == "ALIVE");
    let (mut alive_workers, mut cores, mut cores_used) = (0_i32, 0_i32, 0_i32);
    for worker in alive {
        alive_workers += 1;
        cores = cores.saturating_add(worker.cores);
        cores_used = cores_used.saturating_add(worker.coresused);
    }
    let driver = |ActiveDriver { id, state, mainclass }| Driver { id, main_class: mainclass, state };
    let drivers = page.activedrivers.into_iter().map(driver).collect();
    Ok(Master { address: address.to_owned(), alive_workers, cores, cores_used, drivers })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"{"url":"spark://m:7077","status":"ALIVE","workers":[
        {"id":"w1","host":"10.0.0.4","state":"ALIVE","cores":2,"coresused":1,"memory":1536},
        {"id":"w2","host":"10.0.0.5","state":"DEAD","cores":2,"coresused":2,"memory":1536}],
        "activeapps":[],"activedrivers":[{"id":"driver-1","state":"RUNNING","mainclass":"X"}],"completeddrivers":[]}"#;

    #[test]
    fn a_dead_worker_counts_nothing() {
        let master = parse("m:8080", PAGE.as_bytes()).unwrap();
        assert_eq!((master.alive_workers, master.cores, master.cores_used), (1, 2, 1));
        let (id, main_class, state) = ("driver-1".to_owned(), "X".to_owned(), "RUNNING".to_owned());
        assert_eq!(master.drivers, [Driver { id, main_class, state }]);
    }

    #[test]
    fn a_page_that_is_no_answer_says_what_it_is() {
        assert_eq!(parse("m", b" <html>"), Err("answered HTML instead of JSON".to_owned()));
        assert_eq!(
            parse("m", br#"{"status":"STANDBY","workers":[],"activedrivers":[]}"#),
            Err("is STANDBY".to_owned())
        );
        assert!(parse("m", b"{}").unwrap_err().starts_with("answered JSON of another shape"));
        assert!(parse("m", b"").is_err());
    }

    #[tokio::test]
    async fn nobody_there_is_named_with_the_address() {
        // Port 9 of a loopback address that nothing listens on.
        let error = look(&http_client().unwrap(), &["127.255.255.254:9".to_owned()]).await.unwrap_err();
        assert!(error.to_string().contains("127.255.255.254:9 cannot be reached"), "{error}");
        assert_eq!(error.class(), ErrorClass::Transient);
    }
}

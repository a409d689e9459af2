//! One fetch per master, however many objects ask, and whichever others they name beside it.

use super::error::{NoActiveMaster, SparkError};
use super::page::{Page, read};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use logwise_api::validate::MasterAddress;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pages of masters that nobody asked for during this time are dropped.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// How often they are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// The way to all Spark masters.
#[derive(Debug)]
pub struct Masters {
    pub(super) http: reqwest::Client,
    flights: Mutex<Flights>,
}

#[derive(Debug)]
struct Flights {
    by_page: HashMap<PageAddress, Flight>,
    swept: Instant,
}

/// Host and port of the page: what is asked does not depend on the master's other ports.
type PageAddress = (String, u16);

/// The fetch that is under way, or the last one.
#[derive(Debug)]
struct Flight {
    /// Held by the one who fetches; the others wait for what it finds.
    landed: Landing,
    used: Instant,
}

type Landing = Arc<tokio::sync::Mutex<Option<Landed>>>;

#[derive(Debug)]
struct Landed {
    began: Instant,
    found: Result<Arc<Page>, SparkError>,
}

impl Masters {
    /// Calls go out through `http`, which [`super::http_client`] makes.
    pub fn new(http: reqwest::Client) -> Self {
        Self { http, flights: Mutex::new(Flights { by_page: HashMap::new(), swept: Instant::now() }) }
    }

    /// What the active one of these masters says, by a fetch that began at `not_before` or later. Callers at once, and
    /// later ones that are content with it, share one fetch of each master and its failure.
    ///
    /// # Errors
    /// [`NoActiveMaster`] with what each of them answered.
    pub async fn page(&self, at: &[MasterAddress], not_before: Instant) -> Result<Arc<Page>, NoActiveMaster> {
        let landings: Vec<Landing> = at.iter().map(|master| self.landing(master)).collect();
        // While the active one is known the others are not asked.
        let known = at.iter().zip(&landings).find_map(|(master, landing)| known(master, landing, not_before));
        match known {
            Some(page) => Ok(page),
            None => self.first_active(at, &landings, not_before).await,
        }
    }

    fn landing(&self, master: &MasterAddress) -> Landing {
        let now = Instant::now();
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(flights.swept) >= SWEEP {
            flights.swept = now;
            flights.by_page.retain(|_, flight| now.saturating_duration_since(flight.used) < IDLE);
        }
        let page = (master.host.clone(), master.ui_port);
        let flight = flights.by_page.entry(page).or_insert_with(|| Flight { landed: Arc::default(), used: now });
        flight.used = now;
        flight.landed.clone()
    }

    /// Asks all of them at once and takes the first that answers as the active one; a hung one holds nobody up.
    async fn first_active(
        &self,
        at: &[MasterAddress],
        landings: &[Landing],
        not_before: Instant,
    ) -> Result<Arc<Page>, NoActiveMaster> {
        let ask = |(place, (master, landing))| async move { (place, self.ask(master, landing, not_before).await) };
        let mut reads: FuturesUnordered<_> = at.iter().zip(landings).enumerate().map(ask).collect();
        let mut causes: Vec<(usize, SparkError)> = Vec::new();
        while let Some((place, found)) = reads.next().await {
            match found {
                Ok(page) => return Ok(page),
                Err(cause) => causes.push((place, cause)),
            }
        }
        causes.sort_unstable_by_key(|(place, _)| *place);
        Err(NoActiveMaster { causes: causes.into_iter().map(|(_, cause)| cause).collect() })
    }

    /// What one of them says; whoever comes while it is asked waits for the same answer.
    async fn ask(
        &self,
        master: &MasterAddress,
        landing: &Landing,
        not_before: Instant,
    ) -> Result<Arc<Page>, SparkError> {
        let mut landed = landing.lock().await;
        if let Some(known) = landed.as_ref().filter(|known| known.began >= not_before) {
            return known.found.as_ref().map(|page| named(page, master)).map_err(SparkError::clone);
        }
        let began = Instant::now();
        let found = read(&self.http, master, (began, Timestamp::now())).await.map(Arc::new);
        *landed = Some(Landed { began, found: found.clone() });
        found
    }
}

/// The page of a master that was the active one when it was asked last, if that was at `not_before` or later.
fn known(master: &MasterAddress, landing: &Landing, not_before: Instant) -> Option<Arc<Page>> {
    // While it is being asked the answer is waited for.
    let landed = landing.try_lock().ok()?;
    let recent = landed.as_ref().filter(|known| known.began >= not_before)?;
    recent.found.as_ref().ok().map(|page| named(page, master))
}

/// The page for somebody who may name another REST server of the master than whoever asked for it.
fn named(page: &Arc<Page>, master: &MasterAddress) -> Arc<Page> {
    let rest = master.rest();
    if page.rest == rest { page.clone() } else { Arc::new(Page { rest, ..Page::clone(page) }) }
}

#[cfg(test)]
mod tests {
    use super::super::server::{Server, html, json, page};
    use super::*;
    use crate::master::http_client;
    use serde_json::json;

    fn masters() -> Masters {
        Masters::new(http_client().unwrap())
    }

    fn active() -> serde_json::Value {
        page(
            "ALIVE",
            &json!([{"id": "w", "host": "10.0.0.4", "state": "ALIVE", "cores": 2, "coresused": 0}]),
            &json!([]),
        )
    }

    #[tokio::test]
    async fn callers_at_once_share_one_fetch_and_a_later_wish_has_its_own() {
        let server = Server::new(|_| json(200, &active()).after(150)).await;
        let (masters, at) = (masters(), [server.address()]);
        let asked = Instant::now();
        let pages = futures::future::join_all((0..50).map(|_| masters.page(&at, asked))).await;
        let first = pages[0].as_ref().unwrap();
        assert!(pages.iter().all(|page| Arc::ptr_eq(page.as_ref().unwrap(), first)), "one page for all");
        assert!(first.began >= asked);
        assert_eq!(server.requests().len(), 1);
        // Who is content with it needs no other; who has done something since does.
        masters.page(&at, first.began).await.unwrap();
        assert_eq!(server.requests().len(), 1);
        let later = masters.page(&at, Instant::now()).await.unwrap();
        assert!(later.began > first.began && !Arc::ptr_eq(&later, first));
        assert_eq!(server.requests().len(), 2);
    }

    #[tokio::test]
    async fn a_wish_that_comes_during_a_fetch_does_not_get_what_is_older_than_it() {
        let server = Server::new(|_| json(200, &active()).after(200)).await;
        let (masters, at) = (masters(), [server.address()]);
        let early = masters.page(&at, Instant::now());
        let late = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let wish = Instant::now();
            (wish, masters.page(&at, wish).await.unwrap())
        };
        let (early, (wish, late)) = futures::join!(early, late);
        assert!(early.unwrap().began < wish && late.began >= wish);
        assert_eq!(server.requests().len(), 2);
    }

    #[tokio::test]
    async fn the_same_masters_in_another_order_are_the_same_masters() {
        let (one, other) = (Server::new(|_| json(200, &active())).await, Server::new(|_| html()).await);
        let (masters, asked) = (masters(), Instant::now());
        for at in [[one.address(), other.address()], [other.address(), one.address()]] {
            assert_eq!(masters.page(&at, asked).await.unwrap().at, one.address().ui());
        }
        assert_eq!(one.requests().len(), 1);
    }

    #[tokio::test]
    async fn lists_that_overlap_share_the_fetch_of_each_master_whatever_its_other_ports_are() {
        let active = Server::new(|_| json(200, &active()).after(100)).await;
        let standby = Server::new(|_| json(200, &page("STANDBY", &json!([]), &json!([])))).await;
        let elsewhere = MasterAddress { port: 7078, rest_port: 9, ..active.address() };
        let (both, alone, other) = ([standby.address(), active.address()], [active.address()], [elsewhere]);
        let (masters, asked) = (masters(), Instant::now());
        let (of_both, of_alone, of_other) =
            futures::join!(masters.page(&both, asked), masters.page(&alone, asked), masters.page(&other, asked));
        let (of_both, of_alone, of_other) = (of_both.unwrap(), of_alone.unwrap(), of_other.unwrap());
        assert!(Arc::ptr_eq(&of_both, &of_alone), "one page for both lists");
        assert_eq!((of_other.began, of_other.rest.as_str()), (of_both.began, other[0].rest().as_str()));
        assert_eq!((active.requests().len(), standby.requests().len()), (1, 1));
        // Who is content with that page asks no other master either.
        let unasked = Server::new(|_| html()).await;
        masters.page(&[unasked.address(), active.address()], asked).await.unwrap();
        assert_eq!((active.requests().len(), unasked.requests().len()), (1, 0));
        masters.page(&alone, Instant::now()).await.unwrap();
        assert_eq!(active.requests().len(), 2);
    }

    #[tokio::test]
    async fn the_active_one_is_found_among_standbys_and_the_hung() {
        let standby = Server::new(|_| json(200, &page("STANDBY", &json!([]), &json!([])))).await;
        let hung = Server::new(|_| json(200, &json!({})).after(30_000)).await;
        let server = Server::new(|_| json(200, &active())).await;
        let at = [standby.address(), hung.address(), server.address()];
        let began = Instant::now();
        assert_eq!(masters().page(&at, began).await.unwrap().at, server.address().ui());
        assert!(began.elapsed() < Duration::from_secs(3), "nobody waits for the hung one");
    }

    #[tokio::test]
    async fn no_active_master_names_each_with_its_cause_and_the_failure_is_shared() {
        let standby = Server::new(|_| json(200, &page("RECOVERING", &json!([]), &json!([])))).await;
        let page = Server::new(|_| html()).await;
        let masters = masters();
        // Port 9 of a loopback address that nothing listens on.
        let nobody = MasterAddress { host: "127.255.255.254".into(), port: 7077, ui_port: 9, rest_port: 6066 };
        let at = [nobody, page.address(), standby.address()];
        let asked = Instant::now();
        let (one, other) = futures::join!(masters.page(&at, asked), masters.page(&at, asked));
        let error = one.unwrap_err();
        assert_eq!(Some(&error), other.as_ref().err());
        let text = error.to_string();
        assert!(text.starts_with("no Spark master is active: 127.255.255.254:9 cannot be reached ("), "{text}");
        assert!(text.contains(&format!("; {} answered HTML instead of JSON; ", page.address().ui())), "{text}");
        assert!(text.ends_with(&format!("{} is RECOVERING", standby.address().ui())), "{text}");
        assert_eq!((page.requests().len(), standby.requests().len()), (1, 1), "such an answer stays what it is");
    }

    #[tokio::test]
    async fn a_read_that_may_succeed_is_tried_three_times_and_no_more() {
        for (failures, attempts) in [(2, 3), (9, 3)] {
            let answer = move |before| if before < failures { json(503, &json!({})) } else { json(200, &active()) };
            let server = Server::new(move |request| answer(request.before)).await;
            let found = masters().page(&[server.address()], Instant::now()).await;
            assert_eq!((found.is_ok(), server.requests().len()), (failures < 3, attempts));
        }
    }

    #[tokio::test]
    async fn a_caller_who_gives_up_leaves_no_fetch_behind() {
        let server =
            Server::new(|request| json(200, &active()).after(if request.before == 0 { 30_000 } else { 0 })).await;
        let (masters, at) = (masters(), [server.address()]);
        let asked = Instant::now();
        let gave_up = tokio::time::timeout(Duration::from_millis(100), masters.page(&at, asked)).await;
        assert!(gave_up.is_err());
        masters.page(&at, asked).await.unwrap();
        assert_eq!(server.requests().len(), 2);
    }
}

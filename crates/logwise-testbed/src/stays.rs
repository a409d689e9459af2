//! Where drivers ran and when: as the fake master noted it, or as a real master's log tells it.

use anyhow::{Context, Result};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const LAUNCHED: &str = " Master: Launching driver ";
const REMOVED: &str = " Master: Removing driver: ";
/// A time in a log is that of a full second.
const SECOND: i64 = 1_000;
/// Of a time in a log, such as `26/11/28 17:37:26`.
const TIME: &str = "%y/%m/%d %H:%M:%S";
const TIME_LENGTH: usize = 17;
/// Letters of the time in a worker's id.
const DATE_LENGTH: usize = 14;

/// The time of a driver on a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    /// The driver's id.
    pub driver: String,
    /// The worker's address.
    pub host: String,
    /// Its begin, in milliseconds since 1970.
    pub from: i64,
    /// Its end; none while it lasts.
    pub to: Option<i64>,
}

impl Stay {
    /// Whether the driver was there at that time, in milliseconds since 1970.
    pub fn covers(&self, time: i64) -> bool {
        self.from <= time && self.to.is_none_or(|to| to >= time)
    }
}

/// The stays that a master's log tells of, in the order of their begin. The log has full seconds: a stay is told as not
/// longer than it was for sure. What began before the log is not known: a master that begins anew takes its drivers
/// over without a word about them.
pub fn of_log(log: &str) -> Result<Vec<Stay>> {
    let mut stays: Vec<Stay> = Vec::new();
    for line in log.lines() {
        if let Some((_, told)) = line.split_once(LAUNCHED) {
            let (driver, worker) = told.split_once(" on worker ").with_context(|| format!("no worker in {line}"))?;
            let host = host_of(worker).with_context(|| format!("no address of a worker in {line}"))?.to_owned();
            stays.push(Stay { driver: driver.to_owned(), host, from: time_of(line)? + SECOND - 1, to: None });
        } else if let Some((_, driver)) = line.split_once(REMOVED) {
            let end = time_of(line)?;
            let open = stays.iter_mut().filter(|stay| stay.driver == driver.trim() && stay.to.is_none());
            open.for_each(|stay| stay.to = Some(end));
        }
    }
    Ok(stays)
}

/// Of `worker-20261128173726-127.0.9.4-17100`.
fn host_of(worker: &str) -> Option<&str> {
    let (date, rest) = worker.trim().strip_prefix("worker-")?.split_once('-')?;
    let (host, _port) = rest.rsplit_once('-')?;
    (date.len() == DATE_LENGTH).then_some(host)
}

/// The time at the begin of a line, which Java writes in the machine's own zone.
fn time_of(line: &str) -> Result<i64> {
    let text = line.get(..TIME_LENGTH).with_context(|| format!("no time in {line}"))?;
    let time = DateTime::strptime(TIME, text).with_context(|| format!("no time in {line}"))?;
    let zoned = time.to_zoned(TimeZone::system()).with_context(|| format!("no such time as in {line}"))?;
    Ok(zoned.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
26/11/28 17:37:20 INFO Master: I have been elected leader! New state: ALIVE
26/11/28 17:37:26 INFO Master: Launching driver driver-20261128173726-0000 on worker worker-20261128173700-127.0.9.4-17100
26/11/28 17:38:00 INFO Master: Removing worker worker-20261128173700-127.0.9.4-17100 on 127.0.9.4:17100
26/11/28 17:38:00 INFO Master: Re-launching driver-20261128173726-0000
26/11/28 17:38:00 INFO Master: Removing driver: driver-20261128173726-0000
26/11/28 17:38:01 INFO Master: Launching driver driver-20261128173800-0001 on worker worker-20261128173701-127.0.9.5-17100
";

    #[test]
    fn a_masters_log_tells_where_drivers_ran() {
        let stays = of_log(LOG).unwrap();
        let brief: Vec<_> = stays.iter().map(|stay| (stay.driver.as_str(), stay.host.as_str())).collect();
        assert_eq!(brief, [("driver-20261128173726-0000", "127.0.9.4"), ("driver-20261128173800-0001", "127.0.9.5")]);
        assert_eq!((stays[0].to.unwrap() - stays[0].from, stays[1].to), (34_000 - 999, None));
        assert!(of_log("").unwrap().is_empty());
        assert!(of_log("x INFO Master: Launching driver d on worker worker-20261128173701-127.0.9.5-17100").is_err());
    }

    #[test]
    fn a_stay_covers_its_time() {
        let stay = Stay { driver: "d".into(), host: "h".into(), from: 1_000, to: Some(2_000) };
        assert!(stay.covers(1_000) && stay.covers(2_000) && !stay.covers(999) && !stay.covers(2_001));
        assert!(Stay { to: None, ..stay }.covers(i64::MAX));
    }

    #[test]
    fn the_address_of_a_worker_is_read_from_its_id() {
        assert_eq!(host_of("worker-20261128173701-127.0.9.5-17100"), Some("127.0.9.5"));
        assert_eq!(host_of("worker-20261128173701-my-host.example-17100"), Some("my-host.example"));
        assert!(host_of("worker-1-127.0.9.5-17100").is_none() && host_of("driver-1").is_none());
    }
}

//! Crash points: where an operator can be made to end as `kill -9` would, and how a path is tried at all of them.
//!
//! The operator itself knows the sides `before` and `after`; [`lives`] arranges all three.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, stream};

use crate::oracles::verdict;

pub mod lives;

/// The variable that names the point.
pub const CRASH_AT: &str = "LOGWISE_CRASH_AT";
/// The variable that names the file for [`Counts`].
pub const COUNT_WRITES: &str = "LOGWISE_COUNT_WRITES";

/// On which side of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Nothing was sent.
    Before,
    /// It is done, and its answer was not seen.
    Effect,
    /// Its answer was seen, and nothing was made of it.
    After,
}

impl Side {
    /// In the order of time.
    pub const ALL: [Side; 3] = [Side::Before, Side::Effect, Side::After];

    fn word(self) -> &'static str {
        match self {
            Side::Before => "before",
            Side::Effect => "effect",
            Side::After => "after",
        }
    }
}

/// A place in an operator's life: `kafka:1:after`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// `kafka`, `autoscaling`, `s3`, `spark`, `deployments`, `sql`, `kubernetes` (intents), `status`, `events`,
    /// `finalizers`, `lease` or `epoch`.
    pub system: String,
    /// Which write to it since the start, from 1.
    pub number: u32,
    /// On which side of it.
    pub side: Side,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.system, self.number, self.side.word())
    }
}

impl FromStr for Point {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Point> {
        let (system, number, side) = match text.split(':').collect::<Vec<_>>()[..] {
            [system, number, side] if !system.is_empty() => (system, number, side),
            _ => bail!("{text:?} is no crash point; one is SYSTEM:NUMBER:SIDE, such as kafka:1:after"),
        };
        let number = number.parse().ok().filter(|number| *number > 0);
        let side = Side::ALL.into_iter().find(|one| one.word() == side);
        Ok(Point {
            system: system.to_owned(),
            number: number.with_context(|| format!("the number in {text:?} is not 1 or more"))?,
            side: side.with_context(|| format!("the side in {text:?} is none of before, effect, after"))?,
        })
    }
}

/// How many writes a run made, by system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(pub BTreeMap<String, u32>);

impl Counts {
    /// Reads what an operator left in the file that [`COUNT_WRITES`] named: `{"kafka": 1, ...}`.
    pub fn read(file: &Path) -> Result<Counts> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("reading {}; was {COUNT_WRITES} set to it?", file.display()))?;
        let counts = serde_json::from_str(&text).with_context(|| format!("{} holds {text:?}", file.display()))?;
        Ok(Counts(counts))
    }

    /// Every point of a path with these writes, system by system, in the order of time.
    pub fn points(&self) -> impl Iterator<Item = Point> + '_ {
        let numbers = self.0.iter().flat_map(|(system, count)| (1..=*count).map(move |number| (system, number)));
        numbers.flat_map(|(system, number)| Side::ALL.map(|side| Point { system: system.clone(), number, side }))
    }
}

/// Runs a scenario for each of `points`, `at_once` of them side by side, to the last. Errors when any failed, or when
/// there was no point at all; the text holds every failure.
pub async fn sweep<P: fmt::Display>(
    points: impl IntoIterator<Item = P>,
    at_once: usize,
    run: impl AsyncFn(&P) -> Result<()>,
) -> Result<()> {
    let points: Vec<P> = points.into_iter().collect();
    if points.is_empty() {
        bail!("there was no crash point to try");
    }
    let run = &run;
    let tries =
        points.iter().map(|point| async move { run(point).await.err().map(|error| format!("{point}: {error:#}")) });
    let ends: Vec<Option<String>> = stream::iter(tries).buffered(at_once.max(1)).collect().await;
    let failures: Vec<String> = ends.into_iter().flatten().collect();
    verdict(&format!("not every crash of any of {} points healed", points.len()), &failures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_point_is_written_as_it_is_read() {
        for text in ["kafka:1:before", "kubernetes:12:effect", "sql:3:after"] {
            assert_eq!(text.parse::<Point>().unwrap().to_string(), text);
        }
        for text in ["kafka:0:after", "kafka:x:after", "kafka:1", ":1:after", "kafka:1:later", "a:1:after:b"] {
            assert!(text.parse::<Point>().is_err(), "{text}");
        }
    }

    #[test]
    fn counts_give_every_side_of_every_write() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"s3": 1, "kafka": 2, "sql": 0}"#).unwrap();
        let points: Vec<String> = Counts::read(file.path()).unwrap().points().map(|point| point.to_string()).collect();
        assert_eq!(points.len(), 9);
        assert_eq!(points[..4], ["kafka:1:before", "kafka:1:effect", "kafka:1:after", "kafka:2:before"]);
        assert_eq!(points[8], "s3:1:after");
        std::fs::write(file.path(), "{").unwrap();
        assert!(Counts::read(file.path()).is_err());
    }

    #[tokio::test]
    async fn a_sweep_goes_to_its_end_and_reports_every_failure() {
        let counts = Counts(BTreeMap::from([("s3".to_owned(), 2)]));
        let tried = Mutex::new(Vec::new());
        let swept = sweep(counts.points(), 4, async |point| {
            tried.lock().unwrap().push(point.to_string());
            anyhow::ensure!(point.side != Side::Effect, "lost");
            Ok(())
        });
        let error = swept.await.unwrap_err().to_string();
        assert_eq!(tried.lock().unwrap().len(), 6);
        assert!(error.contains("s3:1:effect: lost") && error.contains("s3:2:effect: lost"), "{error}");
        assert!(error.contains("any of 6 points"), "{error}");
        sweep(counts.points(), 1, async |_| Ok(())).await.unwrap();
        assert!(sweep([] as [Point; 0], 1, async |_| Ok(())).await.is_err(), "a sweep over nothing proves nothing");
    }
}

//! The time of comparing what S3 shows with what was sent: rule by rule, whatever their order and spelling.

use super::{ROUNDS, SERVICES, milliseconds};
use crate::aims::Aims;
use crate::row;
use anyhow::{Context, Result, ensure};
use logwise_plan::retention::{Rule, Settings, Transition, WriteRules, rule_id, service_prefix};
use logwise_s3::{RawDocument, Reading, compose, reading};
use logwise_tests::configuration;
use logwise_tests::edits::percentile;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rules of others among all.
const FOREIGN: usize = 100;

/// What a comparison may take.
const ENOUGH: Duration = Duration::from_millis(5);

pub(crate) fn measure(aims: &mut Aims) -> Result<()> {
    let before = parsed(&configuration(&foreign().iter().map(String::as_str).collect::<Vec<_>>()))?;
    let add: Vec<Rule> = (0..SERVICES - FOREIGN).map(ours).collect();
    let write = WriteRules { assumes: Some(before.version().to_owned()), add, ..WriteRules::default() };
    let sent = compose(Some(&before), &write)?.context("a document")?;
    let now = shown(&String::from_utf8(sent)?)?;
    let bytes = now.bytes();
    let (mut parsing, mut comparing) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (read, took) = timed(|| RawDocument::parse(black_box(bytes), None));
        let read = read?;
        ensure!(read.rules().count() == SERVICES, "{} rules", read.rules().count());
        parsing.push(took);
        let (found, took) = timed(|| reading((Some(black_box(&before)), black_box(&write)), Some(black_box(&read))));
        ensure!(found == Reading::Ours { others: None }, "{found:?}");
        comparing.push(took);
    }
    let (parsing, comparing) = (percentile(&parsing, 50)?, percentile(&comparing, 50)?);
    let size = bytes.len() / 1_024;
    let read = format!("reading a document of {SERVICES} rules, {size} KiB, median of {ROUNDS}, ms");
    row(&read, &milliseconds(parsing))?;
    aims.check(
        &format!("comparing its rules with those sent, in another order, median of {ROUNDS}, ms"),
        &milliseconds(comparing),
        (&format!("less than {}", ENOUGH.as_millis()), comparing < ENOUGH),
    )
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let found = black_box(work());
    (found, began.elapsed())
}

fn parsed(text: &str) -> Result<RawDocument> {
    Ok(RawDocument::parse(text.as_bytes(), None)?)
}

/// The document as a server prints it that has an order of its own.
fn shown(sent: &str) -> Result<RawDocument> {
    let sent = parsed(sent)?;
    let mut rules: Vec<&str> = sent.rules().map(|(_, xml)| xml).collect();
    rules.reverse();
    parsed(&configuration(&rules))
}

fn ours(place: usize) -> Rule {
    let service = format!("service-{place:05}");
    let settings = Settings {
        expiration_days: Some(365),
        transitions: vec![
            Transition { days: 30, storage_class: "STANDARD_IA".to_owned() },
            Transition { days: 90, storage_class: "GLACIER".to_owned() },
        ],
        abort_multipart_days: Some(7),
        noncurrent_days: Some(30),
    };
    Rule { id: rule_id("lab.shop.keep", "0a1b2c3d", &service), prefix: service_prefix("logs/", &service), settings }
}

/// Rules of others in a form of their own.
fn foreign() -> Vec<String> {
    let rule = |place: usize| {
        format!(
            "<Rule>\n  <ID>tf-{place:04}</ID>\n  <Filter><And><Prefix>x/{place:04}/</Prefix>\
             <ObjectSizeGreaterThan>1024</ObjectSizeGreaterThan></And></Filter>\n  <Status>Enabled</Status>\n  \
             <Expiration><Days>9</Days></Expiration>\n</Rule>"
        )
    };
    (0..FOREIGN).map(rule).collect()
}

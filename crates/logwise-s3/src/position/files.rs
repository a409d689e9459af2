//! What a streaming query of Spark keeps in its checkpoint, as far as it is read here. The formats are those of Spark
//! 3.5; what is not wholly one of them is refused, with the reason: a part of a file would look like less.

use jiff::Timestamp;
use logwise_runtime::facts::Offsets;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// No query comes so far: at a thousand batches a second this one would be 34 years away.
pub(super) const LAST_BATCH: i64 = 1 << 40;

/// What stands in place of the offsets of a source that has had none yet.
const NO_OFFSETS: &str = "-";

/// Longest name of a topic.
const LONGEST_TOPIC: usize = 249;

/// Longest id of a query; Spark makes UUIDs.
const LONGEST_ID: usize = 128;

/// How compressed files begin.
const COMPRESSED: [(&[u8], &str); 6] = [
    (&[0x1f, 0x8b], "gzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (&[0x04, 0x22, 0x4d, 0x18], "lz4"),
    (b"LZ4Block", "lz4"),
    (&[0xff, 0x06, 0x00, 0x00], "snappy"),
    (b"BZh", "bzip2"),
];

/// Why a file is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// It ends too early.
    #[error("was not written to its end: {0}")]
    HalfWritten(&'static str),
    /// Its content is compressed.
    #[error("is compressed ({0}), which Spark 3.5 does not do there")]
    Compressed(&'static str),
    /// Its first line names a later version.
    #[error("has version {0} of its format, and this operator reads version 1 alone")]
    Newer(u64),
    /// It is something else.
    #[error("is not what Spark 3.5 writes there: {0}")]
    Foreign(&'static str),
}

/// The offsets of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OffsetLog {
    /// Up to where the batch reads: the next offset of each partition.
    pub offsets: Offsets,
    /// When the batch was planned.
    pub started: Option<Timestamp>,
    /// Sources of the query; their number never changes.
    pub sources: usize,
}

/// The batch whose file has this name. What else may lie there (temporary files, marks of folders) is no batch's, for
/// Spark neither. A number that no query reaches is told as it is, or as the greatest there is.
pub(super) fn batch(name: &str) -> Option<i64> {
    is_number(name).then(|| name.parse().unwrap_or(i64::MAX))
}

/// A number as it is written.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}

/// Reads `offsets/N`: the version, a line about the batch, then a line of JSON for each source.
pub(super) fn offsets(body: &[u8]) -> Result<OffsetLog, Unreadable> {
    let mut lines = versioned(body)?.lines();
    let started = started(lines.next().unwrap_or_default())?;
    let mut log = OffsetLog { offsets: Offsets::new(), started, sources: 0 };
    for line in lines {
        log.sources += 1;
        if line != NO_OFFSETS {
            add(&mut log.offsets, json(line, "a line holds no offsets of Kafka")?)?;
        }
    }
    if log.sources == 0 { Err(Unreadable::HalfWritten("it holds no offsets")) } else { Ok(log) }
}

/// Reads `commits/N`: the version and a line of JSON, of which nothing is needed.
pub(super) fn commit(body: &[u8]) -> Result<(), Unreadable> {
    let line = versioned(body)?.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Unreadable::HalfWritten("it ends after its version"));
    }
    let _: Distinct<IgnoredAny> = json(line, "its second line is no JSON object")?;
    Ok(())
}

/// Reads `metadata`, which holds the id of the query.
pub(super) fn query(body: &[u8]) -> Result<String, Unreadable> {
    #[derive(Deserialize)]
    struct Metadata {
        id: String,
    }
    let Metadata { id } = json(text(body)?, "it names no query")?;
    let fits = (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(id) } else { Err(Unreadable::Foreign("it names no query")) }
}

/// What follows the line with the version.
fn versioned(body: &[u8]) -> Result<&str, Unreadable> {
    const NO_VERSION: Unreadable = Unreadable::Foreign("its first line names no version");
    let text = text(body)?;
    let (line, rest) = text.split_once('\n').map_or((text, None), |(line, rest)| (line, Some(rest)));
    let digits = line.strip_prefix('v').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let (Some(digits), Some(rest)) = (digits, rest) else {
        return Err(digits.map_or(NO_VERSION, |_| Unreadable::HalfWritten("it ends with its version")));
    };
    match digits.parse::<u64>() {
        Ok(1) if digits == "1" => Ok(rest),
        Ok(version) if version > 1 => Err(Unreadable::Newer(version)),
        _ => Err(NO_VERSION),
    }
}

fn text(body: &[u8]) -> Result<&str, Unreadable> {
    if body.is_empty() {
        return Err(Unreadable::HalfWritten("it is empty"));
    }
    if let Some((_, how)) = COMPRESSED.iter().find(|(mark, _)| body.starts_with(mark)) {
        return Err(Unreadable::Compressed(how));
    }
    std::str::from_utf8(body).map_err(|error| match error.error_len() {
        None => Unreadable::HalfWritten("it ends within a character"),
        Some(_) => Unreadable::Foreign("it is no text"),
    })
}

fn json<'text, T: Deserialize<'text>>(line: &'text str, otherwise: &'static str) -> Result<T, Unreadable> {
    serde_json::from_str(line).map_err(|error| {
        if error.is_eof() { Unreadable::HalfWritten("its JSON breaks off") } else { Unreadable::Foreign(otherwise) }
    })
}

/// When a batch was planned, by the line about it, which may be empty.
fn started(line: &str) -> Result<Option<Timestamp>, Unreadable> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Batch {
        batch_timestamp_ms: Option<i64>,
    }
    if line.trim().is_empty() {
        return Ok(None);
    }
    let Batch { batch_timestamp_ms } = json(line, "its second line is not about a batch")?;
    // Spark's value for a batch that has none is zero.
    Ok(batch_timestamp_ms.filter(|ms| *ms > 0).and_then(|ms| Timestamp::from_millisecond(ms).ok()))
}

/// Adds the offsets of one source.
fn add(offsets: &mut Offsets, source: Distinct<Distinct<i64>>) -> Result<(), Unreadable> {
    for (topic, partitions) in source.0 {
        let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=LONGEST_TOPIC).contains(&topic.len()) || !topic.bytes().all(is_sound) {
            return Err(Unreadable::Foreign("it names what cannot be a topic of Kafka"));
        }
        let known = offsets.entry(topic).or_default();
        for (partition, offset) in partitions.0 {
            let partition = Some(partition).filter(|partition| is_number(partition));
            let partition: Option<i32> = partition.and_then(|partition| partition.parse().ok());
            let (Some(partition), 0..) = (partition, offset) else {
                return Err(Unreadable::Foreign("a partition or an offset is no number of Kafka"));
            };
            // Of two sources that read one topic both have read what the slower one has.
            known.entry(partition).and_modify(|known| *known = offset.min(*known)).or_insert(offset);
        }
    }
    Ok(())
}

/// A JSON object in which no key stands twice: of two values one would be lost.
struct Distinct<V>(BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Distinct<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

struct Entries<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
    type Value = Distinct<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Distinct<V>, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = object.next_entry::<String, V>()? {
            if entries.insert(key, value).is_some() {
                return Err(A::Error::custom("a key stands twice"));
            }
        }
        Ok(Distinct(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    /// As Spark 3.5.7 writes it; the order of its JSON is that of a hash map.
    const OFFSETS: &str = "v1\n{\"batchWatermarkMs\":0,\"batchTimestampMs\":1795881600123,\"conf\":{\
        \"spark.sql.streaming.join.stateFormatVersion\":\"2\",\"spark.sql.shuffle.partitions\":\"200\"}}\n\
        {\"logs.web\":{\"2\":7,\"1\":12,\"0\":120},\"logs.api\":{\"0\":5}}";

    const COMMIT: &str = "v1\n{\"nextBatchWatermarkMs\":0}";

    const METADATA: &str = "{\"id\":\"2b1e9dc4-3f5d-4a52-9a42-0c2c3b2f9c11\"}";

    fn of(offsets: &[(&str, &[(i32, i64)])]) -> Offsets {
        offsets.iter().map(|(topic, of)| ((*topic).to_owned(), of.iter().copied().collect())).collect()
    }

    fn refused(body: &str) -> String {
        offsets(body.as_bytes()).map(|log| format!("{log:?}")).unwrap_or_else(|why| why.to_string())
    }

    #[test]
    fn what_spark_writes_is_read() {
        let log = offsets(OFFSETS.as_bytes()).unwrap();
        assert_eq!(log.offsets, of(&[("logs.api", &[(0, 5)]), ("logs.web", &[(0, 120), (1, 12), (2, 7)])]));
        assert_eq!((log.started.unwrap().as_millisecond(), log.sources), (1_795_881_600_123, 1));
        assert_eq!(commit(COMMIT.as_bytes()), Ok(()));
        assert_eq!(query(METADATA.as_bytes()).unwrap(), "2b1e9dc4-3f5d-4a52-9a42-0c2c3b2f9c11");
    }

    #[test]
    fn sources_without_offsets_count_and_the_slower_of_two_is_told() {
        let log = offsets(b"v1\n\n{\"a\":{\"0\":9,\"1\":1}}\n-\n{\"a\":{\"0\":4},\"b\":{\"0\":2}}").unwrap();
        assert_eq!(log.offsets, of(&[("a", &[(0, 4), (1, 1)]), ("b", &[(0, 2)])]));
        assert_eq!((log.started, log.sources), (None, 3));
        let nothing = offsets(b"v1\n{\"batchTimestampMs\":0}\n{}").unwrap();
        assert_eq!((nothing.offsets, nothing.started), (Offsets::new(), None), "a pattern that no topic fits yet");
    }

    #[test]
    fn what_is_none_of_it_is_refused_for_its_reason() {
        let half = "was not written to its end";
        let foreign = "is not what Spark 3.5 writes there";
        for (body, why) in [
            ("", half),
            ("v", half),
            ("v1", half),
            ("v1\n", half),
            ("v1\n{}", half),
            ("v1\n{}\n", half),
            ("v1\n{\"batchTime", half),
            ("v1\n{}\n{\"a\":{\"0\":1}", half),
            ("v1\n{}\n{\"a\":{\"0", half),
            ("v2\n{}\n{\"a\":{\"0\":1}}", "has version 2 of its format"),
            ("v10\n{}\n{\"a\":{\"0\":1}}", "has version 10 of its format"),
            ("\u{1f}\n", foreign),
            ("v01\n{}\n{}", foreign),
            ("v0\n{}\n{}", foreign),
            ("{\"a\":{\"0\":1}}", foreign),
            ("v1\n[]\n{}", foreign),
            ("v1\n{}\n5", foreign),
            ("v1\n{}\n{\"logOffset\":5}", foreign),
            ("v1\n{}\n{\"a\":{\"0\":1}} ,", foreign),
            ("v1\n{}\n{\"a\":{\"0\":1,\"0\":2}}", foreign),
            ("v1\n{}\n{\"a\":{\"0\":1},\"a\":{\"1\":1}}", foreign),
            ("v1\n{}\n{\"a\":{\"0\":-1}}", foreign),
            ("v1\n{}\n{\"a\":{\"-1\":1}}", foreign),
            ("v1\n{}\n{\"a\":{\"01\":1}}", foreign),
            ("v1\n{}\n{\"a\":{\"0\":1.5}}", foreign),
            ("v1\n{}\n{\"a\":{\"0\":92233720368547758070}}", foreign),
            ("v1\n{}\n{\"a\":{\"2147483648\":1}}", foreign),
            ("v1\n{}\n{\"a b\":{\"0\":1}}", foreign),
        ] {
            assert!(refused(body).starts_with(why), "{body:?}: {}", refused(body));
        }
        assert_eq!(offsets(&[0x1f, 0x8b, 8, 0]), Err(Unreadable::Compressed("gzip")));
        assert_eq!(offsets(&[0x28, 0xb5, 0x2f, 0xfd, 4]), Err(Unreadable::Compressed("zstd")));
        assert_eq!(offsets(b"v1\n{}\n\xff\xfe"), Err(Unreadable::Foreign("it is no text")));
        assert_eq!(commit(b"v2\n{}"), Err(Unreadable::Newer(2)));
        for half in ["", "v1", "v1\n", "v1\n{", "v1\n{\"nextBatch"] {
            assert!(matches!(commit(half.as_bytes()), Err(Unreadable::HalfWritten(_))), "{half:?}");
        }
        for none in ["", "{", "{}", "[]", "{\"id\":\"\"}", "{\"id\":5}", "{\"id\":\"a b\"}"] {
            assert!(query(none.as_bytes()).is_err(), "{none:?}");
        }
    }

    #[test]
    fn only_whole_numbers_as_spark_writes_them_name_batches() {
        for (name, number) in [("0", 0), ("7", 7), ("10", 10), ("1099511627777", LAST_BATCH + 1)] {
            assert_eq!(batch(name), Some(number));
        }
        assert_eq!(batch("99999999999999999999"), Some(i64::MAX), "too great a number is one all the same");
        for other in ["", "-1", "+1", "01", "1.tmp", ".1.5f1c.tmp", "9.compact", "1_$folder$", "１", " 1", "1e3"] {
            assert_eq!(batch(other), None, "{other:?}");
        }
    }

    /// What one source may have read.
    fn source() -> impl Strategy<Value = Offsets> {
        btree_map("[a-z][a-z0-9._-]{0,6}", btree_map(0..100_i32, 0..1_000_000_000_000_i64, 1..6), 1..5)
    }

    fn written(sources: &[Offsets]) -> String {
        let lines = sources.iter().map(|source| serde_json::to_string(source).unwrap());
        let head = "v1\n{\"batchWatermarkMs\":0,\"batchTimestampMs\":1795881600123,\"conf\":{}}".to_owned();
        lines.fold(head, |text, line| format!("{text}\n{line}"))
    }

    fn partitions(offsets: &Offsets) -> usize {
        offsets.values().map(BTreeMap::len).sum()
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in vec(any::<u8>(), 0..300)) {
            let _ = (offsets(&body), commit(&body), query(&body));
            let behind = |head: &[u8]| [head, body.as_slice()].concat();
            let _ = (offsets(&behind(b"v1\n{}\n")), offsets(&behind(b"v1\n{}\n{\"a\":")), commit(&behind(b"v1\n")));
        }

        #[test]
        fn what_was_written_is_read(source in source()) {
            let log = offsets(written(std::slice::from_ref(&source)).as_bytes()).unwrap();
            prop_assert_eq!(log.offsets, source);
        }

        /// A file that ends too early is told by itself, or by having fewer sources than the batch before it.
        #[test]
        fn a_part_of_a_file_is_never_taken_for_it(sources in vec(source(), 1..4)) {
            let whole = written(&sources);
            for end in 0..whole.len() {
                if let Ok(log) = offsets(&whole.as_bytes()[..end]) {
                    prop_assert!(log.sources < sources.len(), "{} of {whole}", &whole[..end]);
                }
            }
        }

        /// A wrong byte may make a number another one. It never makes a partition vanish.
        #[test]
        fn no_wrong_byte_makes_it_less(source in source(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut body = written(std::slice::from_ref(&source)).into_bytes();
            let place = place.index(body.len());
            body[place] = byte;
            if let Ok(log) = offsets(&body) {
                prop_assert_eq!(partitions(&log.offsets), partitions(&source));
                prop_assert_eq!(log.sources, 1);
            }
        }
    }
}

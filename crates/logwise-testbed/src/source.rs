//! Real log lines: what the bed's own servers write to their log files, followed through truncation and replacement.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::json;

/// A longer line is cut: it is meant to be a log line, not a dump.
const LONGEST_LINE: usize = 16 * 1024;
/// Read from one file at once.
const CHUNK: u64 = 256 * 1024;
/// How far into a line a level is looked for.
const LEVEL_WITHIN: usize = 160;
/// The shipper's own log would feed itself.
const NOT_SHIPPED: [&str; 1] = ["shipper"];

/// How grave a line is, in one vocabulary for all servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the usual ones")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

impl Level {
    /// The word in the shipped record.
    pub fn word(self) -> &'static str {
        match self {
            Level::Trace => "TRACE",
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
            Level::Fatal => "FATAL",
        }
    }

    fn from_word(word: &str) -> Option<Level> {
        Some(match word.to_ascii_uppercase().as_str() {
            "TRACE" => Level::Trace,
            "DEBUG" => Level::Debug,
            "INFO" | "NOTE" | "NOTICE" => Level::Info,
            "WARN" | "WARNING" => Level::Warn,
            "ERROR" | "SEVERE" => Level::Error,
            "FATAL" | "PANIC" | "DPANIC" | "CRITICAL" => Level::Fatal,
            _ => return None,
        })
    }
}

/// The level that a line names, in any of the forms that the bed's servers use; none when it names none.
pub fn level(line: &str) -> Option<Level> {
    let start = line.get(..line.floor_char_boundary(LEVEL_WITHIN)).unwrap_or(line);
    klog_level(start).or_else(|| named_level(start)).or_else(|| free_level(start))
}

/// `I1124 13:53:22.123456       1 file.go:12] text`
fn klog_level(line: &str) -> Option<Level> {
    let (letter, rest) = (line.chars().next()?, line.get(1..5)?);
    if !rest.bytes().all(|byte| byte.is_ascii_digit()) || line.as_bytes().get(5) != Some(&b' ') {
        return None;
    }
    Some(match letter {
        'I' => Level::Info,
        'W' => Level::Warn,
        'E' => Level::Error,
        'F' => Level::Fatal,
        _ => return None,
    })
}

/// `{"level":"info",...}` or `level=info`
fn named_level(line: &str) -> Option<Level> {
    let after = line.split_once("\"level\":\"").or_else(|| line.split_once("level="))?.1;
    let word: String = after.trim_start_matches('"').chars().take_while(char::is_ascii_alphabetic).collect();
    Level::from_word(&word)
}

/// `26/11/24 13:53:22 INFO Worker: text`, `[2026-11-24 13:53:22,123] WARN text`, `2026-11-24 13:53:22 0 [Note] text`:
/// one of the first words, in capitals or in brackets, as a word in a sentence is no level.
fn free_level(line: &str) -> Option<Level> {
    line.split_whitespace().take(6).find_map(|word| {
        let bare = word.trim_matches(|letter: char| matches!(letter, '[' | ']' | '(' | ')' | ':' | ','));
        let marked = word.starts_with('[') || bare.chars().all(|letter| letter.is_ascii_uppercase());
        Level::from_word(bare).filter(|_| marked)
    })
}

/// One line of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The server: the name of its log file.
    pub service: String,
    /// The line without its end.
    pub text: String,
}

impl Line {
    /// The record that is shipped: `service_name`, `timestamp` (of the shipping, RFC 3339 with milliseconds), `level`
    /// (null when the line names none), `message`.
    pub fn record(&self, now: Timestamp) -> String {
        json!({
            "service_name": self.service,
            "timestamp": format!("{now:.3}"),
            "level": level(&self.text).map(Level::word),
            "message": self.text,
        })
        .to_string()
    }
}

/// The service of a log file: its name, where the workers of many instances are one service.
fn service(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_suffix(".log")?;
    let shared =
        name.split_once("-i-").filter(|(_, id)| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let service = shared.map_or(name, |(service, _)| service);
    let usual = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    (!service.is_empty() && service.chars().all(usual) && !NOT_SHIPPED.contains(&service)).then(|| service.to_owned())
}

/// A cursor in one file that gives whole lines only.
#[derive(Debug)]
struct Cursor {
    file: File,
    /// Where the next unread line begins.
    position: u64,
    /// Inside of a line that was cut.
    skipping: bool,
}

impl Cursor {
    fn open(path: &Path) -> io::Result<Cursor> {
        Ok(Cursor { file: File::open(path)?, position: 0, skipping: false })
    }

    /// At most `most` lines that are not empty. Fewer means that there are no more now, or that the file is long.
    fn read(&mut self, most: usize) -> io::Result<Vec<String>> {
        if self.file.metadata()?.len() < self.position {
            (self.position, self.skipping) = (0, false);
        }
        self.file.seek(SeekFrom::Start(self.position))?;
        let mut bytes = Vec::new();
        self.file.by_ref().take(CHUNK).read_to_end(&mut bytes)?;
        let (mut lines, mut used) = (Vec::new(), 0);
        while lines.len() < most {
            let rest = &bytes[used..];
            match rest.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    used += end + 1;
                    if !std::mem::take(&mut self.skipping) {
                        lines.extend(text(&rest[..end]));
                    }
                }
                None if rest.len() >= LONGEST_LINE => {
                    used += rest.len();
                    if !std::mem::replace(&mut self.skipping, true) {
                        lines.extend(text(rest));
                    }
                }
                None => break,
            }
        }
        self.position += u64::try_from(used).unwrap_or(u64::MAX);
        Ok(lines)
    }
}

fn text(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&line[..line.len().min(LONGEST_LINE)]);
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

/// One log file, read as it grows, and a second time from its start when more lines are wanted than there are.
#[derive(Debug)]
struct Tail {
    path: PathBuf,
    service: String,
    fresh: Cursor,
    again: Cursor,
}

impl Tail {
    fn open(path: &Path, service: String) -> io::Result<Tail> {
        Ok(Tail { path: path.to_owned(), service, fresh: Cursor::open(path)?, again: Cursor::open(path)? })
    }

    fn fresh(&mut self, most: usize) -> io::Result<Vec<String>> {
        let lines = self.fresh.read(most)?;
        // The old file is read to its end before the new one under its name is begun.
        if lines.is_empty() && most > 0 && self.replaced() {
            self.fresh = Cursor::open(&self.path)?;
            self.again = Cursor::open(&self.path)?;
            return self.fresh.read(most);
        }
        Ok(lines)
    }

    fn again(&mut self, most: usize) -> io::Result<Vec<String>> {
        let mut lines = self.again.read(most)?;
        if lines.is_empty() {
            (self.again.position, self.again.skipping) = (0, false);
            lines = self.again.read(most)?;
        }
        Ok(lines)
    }

    fn replaced(&self) -> bool {
        let (Ok(named), Ok(held)) = (fs::metadata(&self.path), self.fresh.file.metadata()) else { return false };
        (named.dev(), named.ino()) != (held.dev(), held.ino())
    }
}

/// Every log file of a folder.
#[derive(Debug)]
pub struct Source {
    folder: PathBuf,
    only: Option<BTreeSet<String>>,
    tails: BTreeMap<PathBuf, Tail>,
    /// The file that is asked first: each in turn, so that none starves another.
    turn: usize,
}

impl Source {
    /// The `*.log` files of a folder, now and as they appear; with `only`, those of the named services.
    pub fn new(folder: &Path, only: Option<BTreeSet<String>>) -> Source {
        Source { folder: folder.to_owned(), only, tails: BTreeMap::new(), turn: 0 }
    }

    /// Exactly `wanted` lines where the files hold any: new ones first, then old ones from the start of the files.
    /// Errors when the folder cannot be listed or a file cannot be read.
    pub fn read(&mut self, wanted: usize) -> Result<Vec<Line>> {
        self.look_for_files()?;
        let mut lines = Vec::new();
        for read in [Tail::fresh, Tail::again] {
            while lines.len() < wanted {
                let more = self.each(wanted - lines.len(), read)?;
                if more.is_empty() {
                    break;
                }
                lines.extend(more);
            }
        }
        Ok(lines)
    }

    fn each(&mut self, wanted: usize, read: impl Fn(&mut Tail, usize) -> io::Result<Vec<String>>) -> Result<Vec<Line>> {
        let count = self.tails.len();
        let mut lines: Vec<Line> = Vec::new();
        let share = wanted.div_ceil(count.max(1));
        let turn = self.turn;
        self.turn = self.turn.wrapping_add(1);
        let mut tails: Vec<&mut Tail> = self.tails.values_mut().collect();
        for step in 0..count {
            let tail = &mut tails[turn.wrapping_add(step) % count];
            let most = share.min(wanted - lines.len());
            let texts = read(tail, most).with_context(|| format!("reading {}", tail.path.display()))?;
            lines.extend(texts.into_iter().map(|text| Line { service: tail.service.clone(), text }));
        }
        Ok(lines)
    }

    fn look_for_files(&mut self) -> Result<()> {
        let entries =
            fs::read_dir(&self.folder).with_context(|| format!("listing the logs in {}", self.folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let Some(service) = service(&path) else { continue };
            let wanted = self.only.as_ref().is_none_or(|only| only.contains(&service));
            if wanted && !self.tails.contains_key(&path) {
                let tail = Tail::open(&path, service).with_context(|| format!("opening {}", path.display()))?;
                self.tails.insert(path, tail);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_level_is_found_in_the_form_of_every_server() {
        let cases = [
            ("I1124 13:53:22.123456       1 server.go:12] error while it was INFO", Some(Level::Info)),
            ("W1124 13:53:22.123456       1 server.go:12] x", Some(Level::Warn)),
            ("E1124 13:53:22.123456       1 server.go:12] x", Some(Level::Error)),
            (r#"{"level":"warn","ts":"2026-11-24T13:53:22.1Z","msg":"ERROR in a sentence"}"#, Some(Level::Warn)),
            ("time=2026-11-24T13:53:22Z level=debug msg=x", Some(Level::Debug)),
            ("26/11/24 13:53:22 INFO Worker: Asked to launch driver", Some(Level::Info)),
            ("[2026-11-24 13:53:22,123] ERROR [Broker id=1] x (kafka.server)", Some(Level::Error)),
            ("2026-11-24 13:53:22 0 [Note] InnoDB: starting", Some(Level::Info)),
            ("2026-11-24 13:53:22 0 [Warning] x", Some(Level::Warn)),
            ("2026-11-24T13:53:22.123Z INFO spark-worker-i-1 started", Some(Level::Info)),
            ("\tat java.base/java.lang.Thread.run(Thread.java:840)", None),
            ("an error in a sentence is no level", None),
            ("Info is a word", None),
            ("Iñ123", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(level(line), expected, "{line}");
        }
    }

    #[test]
    fn a_level_far_into_a_line_does_not_count_and_a_cut_letter_does_no_harm() {
        assert_eq!(level(&format!("{} ERROR", "é".repeat(100))), None);
        assert_eq!(level(&format!("{}level=info", " ".repeat(200))), None);
    }

    #[test]
    fn a_record_has_the_four_fields_and_survives_any_text() {
        let now: Timestamp = "2026-11-24T13:53:22.1236Z".parse().unwrap();
        let line = Line { service: "etcd".into(), text: "a \"quoted\" \\ \u{1} text".into() };
        let record: serde_json::Value = serde_json::from_str(&line.record(now)).unwrap();
        assert_eq!(
            record,
            json!({"service_name": "etcd", "timestamp": "2026-11-24T13:53:22.123Z", "level": null, "message": "a \"quoted\" \\ \u{1} text"})
        );
        let line = Line { service: "kafka".into(), text: "[2026-11-24 13:53:22,123] WARN x".into() };
        assert!(line.record(now).contains(r#""level":"WARN""#));
    }

    #[test]
    fn a_service_is_the_name_of_the_file_and_workers_are_one_service() {
        let name = |path: &str| service(Path::new(path));
        assert_eq!(name("/x/log/kube-apiserver.log").as_deref(), Some("kube-apiserver"));
        assert_eq!(name("/x/log/spark-worker-i-0af3.log").as_deref(), Some("spark-worker"));
        assert_eq!(name("/x/log/a-i-zone.log").as_deref(), Some("a-i-zone"));
        assert_eq!(name("/x/log/audit.jsonl"), None);
        assert_eq!(name("/x/log/shipper.log"), None);
        assert_eq!(name("/x/log/with space.log"), None);
    }

    struct Bed(tempfile::TempDir);

    impl Bed {
        fn new() -> Bed {
            Bed(tempfile::tempdir().unwrap())
        }
        fn append(&self, name: &str, text: &str) {
            let path = self.0.path().join(name);
            File::options().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
        }
        fn source(&self) -> Source {
            Source::new(self.0.path(), None)
        }
    }

    fn fresh(source: &mut Source, wanted: usize) -> Vec<String> {
        source.look_for_files().unwrap();
        source.each(wanted, Tail::fresh).unwrap().into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn only_whole_lines_are_given_each_once() {
        let bed = Bed::new();
        bed.append("a.log", "one\n\ntwo\nthr");
        let mut source = bed.source();
        assert_eq!(fresh(&mut source, 10), ["one", "two"]);
        assert!(fresh(&mut source, 10).is_empty());
        bed.append("a.log", "ee\nfour\n");
        assert_eq!(fresh(&mut source, 1), ["three"]);
        assert_eq!(fresh(&mut source, 1), ["four"]);
    }

    #[test]
    fn a_truncated_and_a_replaced_file_are_followed() {
        let bed = Bed::new();
        let path = bed.0.path().join("a.log");
        bed.append("a.log", "before 1\nbefore 2\n");
        let mut source = bed.source();
        assert_eq!(fresh(&mut source, 10).len(), 2);
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        bed.append("a.log", "after\n");
        assert_eq!(fresh(&mut source, 10), ["after"]);
        bed.append("a.log", "last of the old\n");
        fs::rename(&path, bed.0.path().join("a.old")).unwrap();
        bed.append("a.log", "first of the new\n");
        assert_eq!(fresh(&mut source, 10), ["last of the old"]);
        assert_eq!(fresh(&mut source, 10), ["first of the new"]);
    }

    #[test]
    fn what_is_missing_is_read_again_from_the_start() {
        let bed = Bed::new();
        bed.append("a.log", "1\n2\n3\n");
        let mut source = bed.source();
        let texts = |lines: Vec<Line>| lines.into_iter().map(|line| line.text).collect::<Vec<_>>();
        assert_eq!(texts(source.read(7).unwrap()), ["1", "2", "3", "1", "2", "3", "1"]);
        bed.append("a.log", "4\n");
        assert_eq!(texts(source.read(2).unwrap()), ["4", "2"]);
        assert!(Bed::new().source().read(5).unwrap().is_empty(), "no files, no lines");
    }

    #[test]
    fn every_file_gets_its_share_and_only_the_named_are_read() {
        let bed = Bed::new();
        for name in ["a.log", "b.log", "c.log"] {
            bed.append(name, &"x\n".repeat(100));
        }
        let lines = bed.source().read(30).unwrap();
        let count = |name: &str| lines.iter().filter(|line| line.service == name).count();
        assert_eq!((count("a"), count("b"), count("c")), (10, 10, 10));
        let mut only = Source::new(bed.0.path(), Some(BTreeSet::from(["b".to_owned()])));
        assert!(only.read(50).unwrap().iter().all(|line| line.service == "b"));
    }

    #[test]
    fn old_lines_are_read_again_only_when_no_new_one_is_left() {
        let bed = Bed::new();
        bed.append("a.log", "a\n");
        bed.append("b.log", "b\n");
        let mut source = bed.source();
        source.read(2).unwrap();
        bed.append("b.log", &"new\n".repeat(6));
        assert!(source.read(6).unwrap().iter().all(|line| line.text == "new"));
    }

    #[test]
    fn with_fewer_lines_than_files_every_file_has_its_turn() {
        let bed = Bed::new();
        for name in ["a.log", "b.log", "c.log"] {
            bed.append(name, &"x\n".repeat(100));
        }
        let mut source = bed.source();
        let services: BTreeSet<String> =
            (0..3).flat_map(|_| source.read(1).unwrap()).map(|line| line.service).collect();
        assert_eq!(services.len(), 3);
    }

    #[test]
    fn a_line_without_end_is_cut_once_and_the_next_is_whole() {
        let bed = Bed::new();
        bed.append("a.log", &"x".repeat(LONGEST_LINE * 3));
        let mut source = bed.source();
        assert_eq!(fresh(&mut source, 10).iter().map(String::len).collect::<Vec<_>>(), [LONGEST_LINE]);
        bed.append("a.log", &format!("{}\nnext\n", "x".repeat(20)));
        assert_eq!(fresh(&mut source, 10), ["next"]);
    }
}

//! The API server's audit log, whose file it renames and begins anew when it is full.

use crate::bed::Bed;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    inode: u64,
    offset: u64,
}

/// The end of the log.
///
/// # Errors
/// The log cannot be found.
pub fn end(bed: &Bed) -> Result<Mark> {
    let path = bed.audit_log();
    let meta = std::fs::metadata(&path).with_context(|| format!("looking at {}", path.display()))?;
    Ok(Mark { inode: meta.ino(), offset: meta.len() })
}

/// All that was written after `mark`, or everything; the last line may not be complete yet.
///
/// # Errors
/// The log cannot be read, or the part with the mark is gone.
pub fn since(bed: &Bed, mark: Option<Mark>) -> Result<String> {
    read(&bed.audit_log(), mark)
}

fn read(current: &Path, mark: Option<Mark>) -> Result<String> {
    let parts = opened(current)?;
    let place = |mark: Mark| parts.iter().position(|(inode, _)| *inode == mark.inode);
    let first = mark.map_or(Some(0), place).context("the part of the audit log with the mark is gone")?;
    let offset = |n| mark.filter(|_| n == 0).map_or(0, |mark| mark.offset);
    text(parts.into_iter().skip(first).enumerate().map(|(n, (_, file))| (file, offset(n))))
}

/// The parts of the log, oldest first. The current one is opened first: a file keeps its inode when it is renamed, and
/// what is begun after that holds nothing that this reader must know.
fn opened(current: &Path) -> Result<Vec<(u64, File)>> {
    let newest = open(current)?;
    let mut found = Vec::new();
    for path in older(current)? {
        found.extend(open(&path)?);
    }
    if let Some(newest) = newest {
        found.retain(|(inode, _)| *inode != newest.0);
        found.push(newest);
    }
    Ok(found)
}

/// A part with its inode, unless it is gone.
fn open(path: &Path) -> Result<Option<(u64, File)>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| format!("opening {}", path.display()))?,
    };
    let inode = file.metadata().with_context(|| format!("looking at {}", path.display()))?.ino();
    Ok(Some((inode, file)))
}

fn older(current: &Path) -> Result<Vec<PathBuf>> {
    let folder = current.parent().context("the log has no folder")?;
    let stem = current.file_stem().context("the log has no name")?.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry.context("listing the logs")?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with(&format!("{stem}-")) && path.extension() == current.extension() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn text(parts: impl Iterator<Item = (File, u64)>) -> Result<String> {
    let mut bytes = Vec::new();
    for (mut file, offset) in parts {
        file.seek(SeekFrom::Start(offset)).context("reading the audit log")?;
        file.read_to_end(&mut bytes).context("reading the audit log")?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{OpenOptions, rename, write};
    use std::io::Write;

    fn append(path: &Path, line: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn a_log_that_is_renamed_is_read_on_where_the_mark_was() {
        let folder = tempfile::tempdir().unwrap();
        let current = folder.path().join("audit.jsonl");
        write(folder.path().join("other.jsonl"), "no\n").unwrap();
        append(&current, "1\n");
        let meta = std::fs::metadata(&current).unwrap();
        let mark = Some(Mark { inode: meta.ino(), offset: meta.len() });
        assert_eq!(read(&current, mark).unwrap(), "");
        append(&current, "2\n");
        assert_eq!(read(&current, mark).unwrap(), "2\n");
        rename(&current, folder.path().join("audit-2026-11-24T10-00-00.000.jsonl")).unwrap();
        assert_eq!(read(&current, mark).unwrap(), "2\n", "between two files");
        append(&current, "3\n");
        assert_eq!(read(&current, mark).unwrap(), "2\n3\n");
        rename(&current, folder.path().join("audit-2026-11-24T11-00-00.000.jsonl")).unwrap();
        append(&current, "4\n");
        assert_eq!(read(&current, mark).unwrap(), "2\n3\n4\n");
        assert_eq!(read(&current, None).unwrap(), "1\n2\n3\n4\n");
        std::fs::remove_file(folder.path().join("audit-2026-11-24T10-00-00.000.jsonl")).unwrap();
        assert!(read(&current, mark).is_err(), "silence may not be claimed about what cannot be read");
    }
}

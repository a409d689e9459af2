//! `state.json`: what a bed is made of. Every change is made under a lock and replaces the file atomically.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::address::Addresses;
use crate::folder::{Folder, write_atomically};
use crate::lock::Lock;
use crate::process::Record;

/// The content of `state.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Where the servers listen; chosen once per bed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Addresses>,
    /// The processes that were started and not yet ended, by server name.
    #[serde(default)]
    pub servers: BTreeMap<String, Record>,
}

/// Reads the state. No file is an empty state; a broken one is an error that says what to do.
pub fn load(folder: &Folder) -> Result<State> {
    let path = folder.path("state.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(State::default()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    serde_json::from_str(&text).with_context(|| {
        format!(
            "{} is not a bed's state; end by hand what it names, then remove the folder {}",
            path.display(),
            folder.dir().display()
        )
    })
}

/// Changes the state under its lock and returns what `change` returned.
pub fn update<T>(folder: &Folder, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
    let _lock = Lock::hold(&folder.path("state.lock"))?;
    let before = load(folder)?;
    let mut state = before.clone();
    let result = change(&mut state)?;
    if state != before {
        write_atomically(&folder.path("state.json"), &serde_json::to_vec_pretty(&state).context("writing the state")?)?;
    }
    Ok(result)
}

/// Adds or replaces the record of a server.
pub fn record(folder: &Folder, name: &str, record: &Record) -> Result<()> {
    update(folder, |state| {
        state.servers.insert(name.to_owned(), record.clone());
        Ok(())
    })
}

/// Removes the record of a server, if it is still this one.
pub fn forget(folder: &Folder, name: &str, record: &Record) -> Result<()> {
    update(folder, |state| {
        if state.servers.get(name) == Some(record) {
            state.servers.remove(name);
        }
        Ok(())
    })
}

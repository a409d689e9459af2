//! What Linux tells about processes, and the rule that decides which of them are ours.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::process::OWNER;
use crate::world::wait_until;

/// A process number together with what keeps it from meaning another process later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The process number; also the number of its group.
    pub pid: u32,
    /// Clock ticks between the machine's start and the process's.
    pub start_time: u64,
    /// The kernel's identifier of this run of the machine.
    pub boot_id: String,
}

/// How long a process may take to stand still, or to move again.
const LONGEST_FREEZE: Duration = Duration::from_secs(30);

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    state: char,
    group: u32,
    start_time: u64,
}

/// The text is `pid (name) state ppid pgrp ...`; the name may hold spaces and parentheses.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        group: fields.get(2)?.parse().ok()?,
        start_time: fields.get(19)?.parse().ok()?,
    })
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?).filter(|stat| !matches!(stat.state, 'Z' | 'X'))
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The identity of a process that runs now.
pub fn identity(pid: u32) -> Result<Identity> {
    let stat = stat(pid).with_context(|| format!("process {pid} is gone"))?;
    Ok(Identity { pid, start_time: stat.start_time, boot_id: boot_id() })
}

/// Whether exactly this process runs: same number, same start, same run of the machine. A zombie does not run.
pub fn alive(identity: &Identity) -> bool {
    identity.boot_id == boot_id() && stat(identity.pid).is_some_and(|stat| stat.start_time == identity.start_time)
}

/// Whether the process stands still, as after SIGSTOP. Errors when it is gone.
pub fn stands_still(pid: u32) -> Result<bool> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    Ok(parse_stat(&text).with_context(|| format!("reading the state of process {pid}"))?.state == 'T')
}

/// Sends SIGSTOP to a process, or SIGCONT, and returns when it stands still, or moves again. Errors after 30 s.
pub async fn freeze(process: &Identity, still: bool) -> Result<()> {
    let (sent, what) = if still { (Signal::STOP, "to stand still") } else { (Signal::CONT, "to move again") };
    signal(std::slice::from_ref(process), sent)?;
    wait_until(&format!("process {} {what}", process.pid), LONGEST_FREEZE, async || {
        ensure!(stands_still(process.pid)? == still, "it does not yet");
        Ok(())
    })
    .await
}

/// The processes of the group that `identity` leads. While the leader lives the group is ours; afterwards, as the
/// number may have passed on, only members whose environment names `owner` are.
pub fn members(identity: &Identity, owner: &Path) -> Vec<Identity> {
    if identity.boot_id != boot_id() {
        return Vec::new();
    }
    let leader = alive(identity);
    let pids = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let stat = stat(pid).filter(|stat| stat.group == identity.pid)?;
        (leader || owned(pid, owner)).then(|| Identity {
            pid,
            start_time: stat.start_time,
            boot_id: identity.boot_id.clone(),
        })
    })
    .collect()
}

fn owned(pid: u32, owner: &Path) -> bool {
    let mark = [OWNER.as_bytes(), b"=", owner.as_os_str().as_bytes()].concat();
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|all| {
        all.split(|byte| *byte == 0).any(|variable| OsStr::from_bytes(variable) == OsStr::from_bytes(&mark))
    })
}

/// Signals each process that is still the one it was. One that is gone is success.
pub fn signal(processes: &[Identity], signal: Signal) -> Result<()> {
    for process in processes.iter().filter(|process| alive(process)) {
        let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
            continue;
        };
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("signalling process {}", process.pid));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "42 (a) b (c) S 1 77 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 1 1";
        assert_eq!(parse_stat(text), Some(Stat { state: 'S', group: 77, start_time: 123_456 }));
    }

    #[test]
    fn a_broken_stat_is_no_process() {
        assert_eq!(parse_stat("42 (a) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn this_process_lives_and_a_changed_start_does_not() {
        let me = identity(std::process::id()).unwrap();
        assert!(alive(&me));
        assert!(
            !alive(&Identity { start_time: me.start_time + 1, ..me.clone() }),
            "a reused number is another process"
        );
        assert!(
            !alive(&Identity { boot_id: "another run".into(), ..me }),
            "a number from before a restart means nothing"
        );
    }

    #[test]
    fn after_the_leader_died_only_marked_members_are_ours() {
        use std::os::unix::process::CommandExt;
        let folder = tempfile::tempdir().unwrap();
        let mut leader = Command::new("/bin/sh")
            .args(["-c", "sleep 300 & env -i sleep 301 & read end"])
            .env(OWNER, folder.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let id = identity(leader.id()).unwrap();
        let poll = |wanted: usize| {
            let end = std::time::Instant::now() + Duration::from_secs(20);
            while members(&id, folder.path()).len() != wanted && std::time::Instant::now() < end {
                std::thread::yield_now();
            }
            members(&id, folder.path())
        };
        let all = poll(3);
        assert_eq!(all.len(), 3, "the group of a living leader is ours");
        // `env` must have become `sleep` before its environment is judged.
        let unmarked = || all.iter().filter(|one| one.pid != id.pid && !owned(one.pid, folder.path())).count();
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while unmarked() != 1 && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        leader.kill().unwrap();
        leader.wait().unwrap();
        let left = poll(1);
        assert_eq!(left.len(), 1, "the unmarked member may be a stranger");
        signal(&all, Signal::KILL).unwrap();
        assert!(poll(0).is_empty());
    }
}

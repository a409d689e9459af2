//! A watch on its way through the Kubernetes proxy: one JSON object per line, for minutes.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::forward::{Body, closed};
use super::http::Shared;
use super::rules::{Action, Facts, RuleId};

/// Dropped with its connection.
pub(super) struct Watch {
    shared: Arc<Shared>,
    answer: reqwest::Response,
    seq: u64,
    facts: Facts,
    changes: watch::Receiver<()>,
    last: RuleId,
    holds: Vec<RuleId>,
    skip: u32,
    rest: Vec<u8>,
    over: bool,
}

impl Watch {
    /// `hit` is what met it at its begin, `last` the newest rule at that time.
    pub fn begin(
        shared: Arc<Shared>,
        answer: reqwest::Response,
        (seq, facts): (u64, Facts),
        hit: Option<(RuleId, Action)>,
        last: RuleId,
    ) -> Watch {
        let changes = shared.rules.changes();
        shared.note(seq, |entry| entry.running = true);
        let mut watch = Watch {
            shared,
            answer,
            seq,
            facts,
            changes,
            last,
            holds: Vec::new(),
            skip: 0,
            rest: Vec::new(),
            over: false,
        };
        if let Some((id, action)) = hit {
            watch.meet(id, &action);
        }
        watch
    }

    /// The events as they reach the client.
    pub fn body(self) -> Body {
        let pieces = stream::unfold(self, |mut watch| async move {
            let piece = watch.next().await?;
            Some((piece, watch))
        });
        BodyExt::boxed_unsync(StreamBody::new(pieces.map(|piece| piece.map(Frame::data))))
    }

    fn meet(&mut self, id: RuleId, action: &Action) {
        match action {
            Action::Hold => self.holds.push(id),
            Action::SkipEvents(number) => self.skip += number,
            _ => {}
        }
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if self.over {
                return None;
            }
            if let Some(end) = self.meet_new() {
                return Some(end);
            }
            let rules = &self.shared.rules;
            self.holds.retain(|id| rules.stands(*id));
            if !self.holds.is_empty() {
                // The sender lives in `shared`: there is always a next change or the end of the connection.
                self.changes.changed().await.ok()?;
                continue;
            }
            let chunk = tokio::select! {
                biased;
                _ = self.changes.changed() => continue,
                chunk = self.answer.chunk() => chunk,
            };
            let lines = match chunk {
                Ok(Some(chunk)) => self.lines(&chunk),
                Ok(None) => {
                    self.over = true;
                    std::mem::take(&mut self.rest)
                }
                Err(error) => {
                    self.over = true;
                    return Some(Err(closed(error)));
                }
            };
            if !lines.is_empty() {
                return Some(Ok(lines.into()));
            }
        }
    }

    /// Meets the rules that came since the last look; the last words when one of them ends the watch.
    fn meet_new(&mut self) -> Option<io::Result<Bytes>> {
        self.changes.mark_unchanged();
        let (hits, newest) = self.shared.rules.running(&self.facts, self.last);
        self.last = newest;
        for (id, action) in hits {
            self.shared.note(self.seq, |entry| entry.faults.push(action.clone()));
            self.meet(id, &action);
            match action {
                Action::Cut => {
                    self.over = true;
                    return Some(Err(closed("the watch was cut")));
                }
                Action::Gone => {
                    self.over = true;
                    let event = json!({"type": "ERROR", "object": status(410, "Expired")});
                    return Some(Ok(format!("{event}\n").into()));
                }
                _ => {}
            }
        }
        None
    }

    /// The complete lines that may pass.
    fn lines(&mut self, chunk: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(chunk);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let rest = self.rest.split_off(end + 1);
        let complete = std::mem::replace(&mut self.rest, rest);
        skip(complete, &mut self.skip)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.note(self.seq, |entry| entry.running = false);
    }
}

/// Leaves out the next events; bookmarks stay.
fn skip(lines: Vec<u8>, number: &mut u32) -> Vec<u8> {
    if *number == 0 {
        return lines;
    }
    let pass = |line: &&[u8]| {
        let event: Value = serde_json::from_slice(line).unwrap_or_default();
        let skipped = *number > 0 && event["type"] != "BOOKMARK";
        *number -= u32::from(skipped);
        !skipped
    };
    lines.split_inclusive(|byte| *byte == b'\n').filter(pass).collect::<Vec<_>>().concat()
}

/// A Status object as the API server answers.
pub(super) fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": format!("injected {reason}")})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bookmarks_pass_and_later_events_too() {
        let line = |kind: &str| format!("{{\"type\":\"{kind}\"}}\n");
        let all = [line("ADDED"), line("BOOKMARK"), line("MODIFIED"), line("DELETED")].concat();
        let mut number = 2;
        let left = skip(all.clone().into_bytes(), &mut number);
        assert_eq!(String::from_utf8(left).unwrap(), line("BOOKMARK") + &line("DELETED"));
        assert_eq!(number, 0);
        assert_eq!(skip(all.clone().into_bytes(), &mut number), all.into_bytes());
    }
}

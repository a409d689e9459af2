//! What goes wrong between an operator and the API server, by rule.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use regex::Regex;
use tokio::sync::watch;

use super::lock;

/// What happens to a request that a rule hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It reaches the server that much later, a write also when its sender has given up.
    Delay(Duration),
    /// It is not sent; this status is answered.
    Answer {
        /// HTTP status, such as 503.
        status: u16,
        /// `reason` of the Status object, such as `Conflict`.
        reason: String,
        /// Seconds in `Retry-After`.
        retry_after: Option<u32>,
    },
    /// It is not sent; this JSON text is answered with 200, such as an old list.
    Reply(String),
    /// It reaches the server when the rule is gone, a write also when its sender has given up; hits no watch that runs.
    Freeze,
    /// It is not sent; the connection is closed without an answer.
    DropBefore,
    /// It is sent and carried out; the connection is closed without an answer.
    DropAnswer,
    /// It is sent; the connection is closed after so many bytes of the answer's body.
    CutBody(usize),
    /// A watch is answered and stays open, but nothing of it is forwarded while the rule exists.
    Hold,
    /// A watch's connection is closed.
    Cut,
    /// A watch that runs gets an ERROR event with code 410 and ends; one that begins is answered 410.
    Gone,
    /// A watch loses its next so many events; bookmarks pass.
    SkipEvents(u32),
}

impl Action {
    /// The server answers this status with this reason.
    pub fn answer(status: u16, reason: &str) -> Action {
        Action::Answer { status, reason: reason.to_owned(), retry_after: None }
    }

    /// 409: somebody else has changed the object.
    pub fn conflict() -> Action {
        Action::answer(409, "Conflict")
    }

    /// 429 with `Retry-After` in seconds.
    pub fn too_many_requests(retry_after: u32) -> Action {
        Action::Answer { status: 429, reason: "TooManyRequests".to_owned(), retry_after: Some(retry_after) }
    }

    /// Whether it has a meaning for watches only.
    pub fn for_watches(&self) -> bool {
        matches!(self, Action::Hold | Action::Cut | Action::Gone | Action::SkipEvents(_))
    }
}

/// Which requests meet an action. Without more words: the next one whose path matches.
#[derive(Debug, Clone)]
pub struct Rule {
    action: Action,
    path: Regex,
    method: Option<String>,
    watch: Option<bool>,
    writes: bool,
    after: u32,
    times: u32,
    only_running: bool,
}

impl Rule {
    /// For requests whose path with its query matches the regular expression `path`. Hits one request; a
    /// [`Action::Hold`] or [`Action::Freeze`] hits every one until it is removed. Errors when the expression is none.
    pub fn new(path: &str, action: Action) -> Result<Rule> {
        Ok(Rule {
            path: Regex::new(path).with_context(|| format!("reading the path expression {path:?} of a rule"))?,
            method: None,
            watch: action.for_watches().then_some(true),
            writes: false,
            after: 0,
            times: u32::from(!matches!(action, Action::Hold | Action::Freeze)),
            only_running: false,
            action,
        })
    }

    /// Only requests with this method, such as `PATCH`.
    pub fn method(self, method: &str) -> Rule {
        Rule { method: Some(method.to_owned()), ..self }
    }

    /// Only requests that change something.
    pub fn writes(self) -> Rule {
        Rule { writes: true, ..self }
    }

    /// Only watches, or only what is no watch.
    pub fn watch(self, watch: bool) -> Rule {
        Rule { watch: Some(watch), ..self }
    }

    /// Lets that many matching requests pass first.
    pub fn after(self, after: u32) -> Rule {
        Rule { after, ..self }
    }

    /// Hits that many requests; 0 is every one until the rule is removed.
    pub fn times(self, times: u32) -> Rule {
        Rule { times, ..self }
    }

    /// Hits every matching watch that runs when the rule is added, and none that begins later.
    pub fn running(self) -> Rule {
        Rule { only_running: true, watch: Some(true), times: 0, ..self }
    }
}

/// What a rule looks at.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub method: String,
    pub path: String,
    pub watch: bool,
    pub mutating: bool,
}

impl Facts {
    pub fn of(method: &str, path: &str) -> Facts {
        let (resource, query) = path.split_once('?').unwrap_or((path, ""));
        let says = |words: &[&str]| query.split('&').any(|pair| words.contains(&pair));
        // Asking who somebody is and what they may do is a POST that changes nothing.
        let asks = resource.ends_with("reviews") || says(&["dryRun=All"]);
        Facts {
            watch: method == "GET" && says(&["watch=true", "watch=1"]),
            mutating: !matches!(method, "GET" | "HEAD" | "OPTIONS") && !asks,
            method: method.to_owned(),
            path: path.to_owned(),
        }
    }
}

/// Names a rule of one proxy; later rules are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(u64);

#[derive(Debug)]
struct Standing {
    id: RuleId,
    rule: Rule,
    seen: u32,
    hits: u32,
}

impl Standing {
    /// Counts the request when it matches, and says whether it is hit.
    fn hit(&mut self, facts: &Facts) -> bool {
        let rule = &self.rule;
        let matches = rule.method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(&facts.method))
            && rule.watch.is_none_or(|watch| watch == facts.watch)
            && (!rule.writes || facts.mutating)
            && rule.path.is_match(&facts.path);
        if !matches || (rule.times > 0 && self.hits >= rule.times) {
            return false;
        }
        self.seen += 1;
        let hit = self.seen > rule.after;
        self.hits += u32::from(hit);
        hit
    }
}

#[derive(Debug, Default)]
struct Book {
    last: u64,
    rules: Vec<Standing>,
}

/// The rules of one proxy, in the order in which they came.
#[derive(Debug)]
pub(super) struct Rules {
    book: Mutex<Book>,
    changed: watch::Sender<()>,
}

impl Rules {
    pub fn new() -> Rules {
        Rules { book: Mutex::default(), changed: watch::Sender::new(()) }
    }

    pub fn add(&self, rule: Rule) -> RuleId {
        let id = {
            let mut book = lock(&self.book);
            book.last += 1;
            let id = RuleId(book.last);
            book.rules.push(Standing { id, rule, seen: 0, hits: 0 });
            id
        };
        self.changed.send_replace(());
        id
    }

    /// Keeps the rules of which `keep` is true.
    pub fn retain(&self, keep: impl Fn(RuleId) -> bool) {
        lock(&self.book).rules.retain(|standing| keep(standing.id));
        self.changed.send_replace(());
    }

    pub fn hits(&self, id: RuleId) -> u32 {
        lock(&self.book).rules.iter().find(|standing| standing.id == id).map_or(0, |standing| standing.hits)
    }

    pub fn stands(&self, id: RuleId) -> bool {
        lock(&self.book).rules.iter().any(|standing| standing.id == id)
    }

    /// Returns when the rule has been removed.
    pub async fn gone(&self, id: RuleId) {
        let mut changes = self.changes();
        while self.stands(id) {
            // The sender lives as long as this.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Wakes up when rules come or go.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The first rule that hits a request which begins, and the newest rule there was.
    pub fn begin(&self, facts: &Facts) -> (Option<(RuleId, Action)>, RuleId) {
        let mut book = lock(&self.book);
        let last = RuleId(book.last);
        let mut standing = book.rules.iter_mut().filter(|one| !one.rule.only_running);
        (standing.find_map(|one| one.hit(facts).then(|| (one.id, one.rule.action.clone()))), last)
    }

    /// The rules newer than `last` that hit a watch which runs, and the newest rule there is.
    pub fn running(&self, facts: &Facts, last: RuleId) -> (Vec<(RuleId, Action)>, RuleId) {
        let mut book = lock(&self.book);
        let newest = RuleId(book.last);
        let newer = book.rules.iter_mut().filter(|one| one.id > last && one.rule.action.for_watches());
        let hits = newer.filter_map(|one| one.hit(facts).then(|| (one.id, one.rule.action.clone()))).collect();
        (hits, newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(rules: &Rules, method: &str, path: &str) -> bool {
        rules.begin(&Facts::of(method, path)).0.is_some()
    }

    #[test]
    fn a_rule_lets_some_pass_and_hits_so_many() {
        let rules = Rules::new();
        let id = rules.add(Rule::new("/leases/", Action::conflict()).unwrap().method("patch").after(1).times(2));
        let path = "/apis/coordination.k8s.io/v1/namespaces/n/leases/a";
        assert!(!hits(&rules, "GET", path) && !hits(&rules, "PATCH", "/api/v1/pods"));
        let struck: Vec<bool> = (0..4).map(|_| hits(&rules, "PATCH", path)).collect();
        assert_eq!(struck, [false, true, true, false]);
        assert_eq!(rules.hits(id), 2);
        rules.retain(|other| other != id);
        assert!(!rules.stands(id));
    }

    #[test]
    fn reads_reviews_and_dry_runs_change_nothing() {
        assert!(Facts::of("PATCH", "/api/v1/x").mutating && Facts::of("POST", "/api/v1/x?fieldManager=a").mutating);
        for (method, path) in [
            ("GET", "/api/v1/x"),
            ("POST", "/apis/authentication.k8s.io/v1/tokenreviews"),
            ("PATCH", "/api/v1/x?a=b&dryRun=All"),
        ] {
            assert!(!Facts::of(method, path).mutating, "{method} {path}");
        }
        assert!(
            Facts::of("GET", "/api/v1/x?a=b&watch=true").watch && !Facts::of("GET", "/api/v1/x?a=watch=true").watch
        );
    }

    #[test]
    fn a_rule_for_running_watches_spares_those_that_begin_later() {
        let rules = Rules::new();
        let watch = Facts::of("GET", "/api/v1/x?watch=true");
        let (_, before) = rules.begin(&watch);
        rules.add(Rule::new("/x", Action::Cut).unwrap().running());
        assert!(rules.begin(&watch).0.is_none());
        let (found, now) = rules.running(&watch, before);
        assert_eq!(found.len(), 1);
        assert!(rules.running(&watch, now).0.is_empty(), "a rule strikes a watch once");
    }

    #[test]
    fn actions_for_watches_hit_nothing_else() {
        let rules = Rules::new();
        rules.add(Rule::new("", Action::Hold).unwrap());
        assert!(!hits(&rules, "GET", "/api/v1/x") && hits(&rules, "GET", "/api/v1/x?watch=1"));
        assert!(hits(&rules, "GET", "/api/v1/x?watch=1"), "a hold stays");
    }
}

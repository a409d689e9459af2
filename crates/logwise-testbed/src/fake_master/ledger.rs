//! What the fake master was asked, and what became of it.

use serde_json::Value;

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `GET /json/`.
    Page,
    /// `POST /workers/kill/`: workers are to be decommissioned.
    Cordon,
    /// `POST /v1/submissions/create`.
    Create,
    /// `GET /v1/submissions/status/ID`.
    Status,
    /// `POST /v1/submissions/kill/ID`.
    Kill,
    /// Anything else.
    Other,
}

impl Kind {
    /// Whether it asks for a change.
    pub fn is_mutating(self) -> bool {
        matches!(self, Kind::Cordon | Kind::Create | Kind::Kill)
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Rises with each request, from 0.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub time: i64,
    /// What it is about.
    pub kind: Kind,
    /// Method and path, with its query.
    pub line: String,
    /// The addresses, the driver's class or id.
    pub about: String,
    /// What was answered; none: nothing.
    pub status: Option<u16>,
    /// Whether something was changed because of it, whatever its sender knows of that.
    pub effect: bool,
    /// The body of a submission; else null.
    pub body: Value,
}

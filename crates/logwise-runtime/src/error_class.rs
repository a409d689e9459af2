/// What kind of failure an adapter error is: the retry policy and the condition reason are a match on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The request itself is wrong; repeating it cannot help.
    Invalid,
    /// The thing named in the spec does not exist.
    NotFound,
    /// The other side refused: credentials or permissions.
    Denied,
    /// The other side asks to slow down.
    Throttled,
    /// Somebody else changed the thing in between; look again.
    Conflict,
    /// No answer, or an answer that repeating may change.
    Transient,
}

impl ErrorClass {
    /// Whether nothing moves before a person acts.
    pub const fn needs_person(self) -> bool {
        matches!(self, Self::Invalid | Self::NotFound | Self::Denied)
    }

    /// Metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::Conflict => "conflict",
            Self::Transient => "transient",
        }
    }
}

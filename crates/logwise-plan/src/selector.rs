//! Choosing topics and services by name.

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Longest accepted topic pattern, in characters.
pub const MAX_PATTERN_LENGTH: usize = 256;

/// Compiled size limit of a topic pattern, in bytes.
const MAX_PATTERN_SIZE: usize = 1 << 20;

/// Deepest accepted nesting of a topic pattern; one level is ours.
const MAX_PATTERN_NESTING: u32 = 32;

/// Which topics of a Kafka cluster belong to a pipeline. Internal topics (`__...`) never match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TopicSelector {
    /// Topics whose name starts with this text.
    NamePrefix(String),
    /// Topics whose whole name matches this linear-time regular expression.
    Pattern(TopicPattern),
}

impl TopicSelector {
    /// Whether `topic` is chosen.
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with("__") {
            return false;
        }
        match self {
            Self::NamePrefix(prefix) => topic.starts_with(prefix.as_str()),
            Self::Pattern(pattern) => pattern.compiled.is_match(topic),
        }
    }
}

/// A regular expression over whole topic names, of bounded length and compiled size.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicPattern {
    text: String,
    compiled: Regex,
}

impl TopicPattern {
    /// Compiles `text`. The error is the compiler's text, which shows the position of the mistake.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.chars().count() > MAX_PATTERN_LENGTH {
            return Err(format!("must be at most {MAX_PATTERN_LENGTH} characters"));
        }
        // The user's text alone must be well formed: `a)|(b` would otherwise escape the anchors.
        compile(text)?;
        let compiled = compile(&format!("^(?:{text})$"))?;
        Ok(Self { text: text.to_owned(), compiled })
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let limited = RegexBuilder::new(pattern).size_limit(MAX_PATTERN_SIZE).nest_limit(MAX_PATTERN_NESTING).build();
    limited.map_err(|e| e.to_string())
}

impl PartialEq for TopicPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl TryFrom<String> for TopicPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text)
    }
}

impl From<TopicPattern> for String {
    fn from(pattern: TopicPattern) -> Self {
        pattern.text
    }
}

/// Which services of a bucket a retention policy covers. Empty (both sets) means every service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSelector {
    /// Exact service names, as they stand in the S3 key (Spark's escaping kept).
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub names: BTreeSet<String>,
    /// Prefixes of service names.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub prefixes: BTreeSet<String>,
}

impl ServiceSelector {
    /// Whether `service` is covered.
    pub fn matches(&self, service: &str) -> bool {
        (self.names.is_empty() && self.prefixes.is_empty())
            || self.names.contains(service)
            || self.prefixes.iter().any(|prefix| service.starts_with(prefix.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names_only() {
        let selector = TopicSelector::Pattern(TopicPattern::new("logs[.](a|b)").unwrap());
        assert!(selector.matches("logs.a"));
        assert!(!selector.matches("logs.ab"));
        assert!(!selector.matches("xlogs.a"));
    }

    #[test]
    fn an_alternation_cannot_escape_the_anchors() {
        let selector = TopicSelector::Pattern(TopicPattern::new("a|b").unwrap());
        assert!(!selector.matches("ax"));
        assert!(TopicPattern::new("a)|(?:b").is_err());
    }

    #[test]
    fn internal_topics_never_match() {
        assert!(!TopicSelector::NamePrefix("__".into()).matches("__consumer_offsets"));
        assert!(!TopicSelector::Pattern(TopicPattern::new(".*").unwrap()).matches("__transaction_state"));
    }

    #[test]
    fn a_bad_pattern_shows_where_it_is_wrong() {
        let error = TopicPattern::new("logs[.(").unwrap_err();
        assert!(error.contains('^'), "{error}");
        assert!(TopicPattern::new(&"a".repeat(257)).unwrap_err().contains("256"));
        assert!(TopicPattern::new("(?:a{1000}){1000}").is_err());
        assert!(TopicPattern::new(&format!("{}a{}", "(".repeat(40), ")".repeat(40))).is_err());
    }

    #[test]
    fn an_empty_service_selector_covers_every_service() {
        assert!(ServiceSelector::default().matches("anything"));
        let some = ServiceSelector { names: ["api".to_owned()].into(), prefixes: ["pay-".to_owned()].into() };
        assert!(some.matches("api") && some.matches("pay-x"));
        assert!(!some.matches("api-gateway") && !some.matches("pay"));
    }
}

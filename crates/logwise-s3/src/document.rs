//! A lifecycle configuration as S3 sent it.

use crate::rule::{self, Facts};
use crate::scan::{Outline, outline};
use logwise_plan::retention::{Document, ObservedRule};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;

/// A lifecycle document that cannot be read, or a change of it that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The bytes are not UTF-8.
    #[error("the document is not UTF-8 from byte {at} on")]
    NotUtf8 {
        /// Offset of the first wrong byte.
        at: usize,
    },
    /// The text is not well-formed XML.
    #[error("the document is not well-formed XML at byte {at}: {why}")]
    Malformed {
        /// Offset of the fault.
        at: usize,
        /// What is wrong.
        why: String,
    },
    /// The root element is another one.
    #[error("the document is <{root}>, not a lifecycle configuration")]
    NotLifecycle {
        /// Name of the root element.
        root: String,
    },
    /// Foreign rules could not be carried through unharmed.
    #[error("the rules of others cannot be kept byte for byte: {why}")]
    NotPreservable {
        /// What stands in the way.
        why: String,
    },
    /// A rule holds a character that XML does not allow.
    #[error("rule {id} holds a character that XML cannot carry")]
    NotExpressible {
        /// Id of the rule.
        id: String,
    },
    /// Two rules would have one id.
    #[error("two rules would have the id {id}")]
    DuplicateId {
        /// The id.
        id: String,
    },
}

/// A lifecycle configuration, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawDocument {
    text: String,
    minimum_object_size: Option<String>,
    version: String,
    /// Where the root's start tag ends; `None`: the root is one empty tag.
    root_opened: Option<usize>,
    rules: Vec<RawRule>,
    not_preservable: Option<String>,
}

/// One rule of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RawRule {
    span: Range<usize>,
    facts: ObservedRule,
}

impl RawDocument {
    /// Reads a document and the minimum-object-size setting that came with it.
    ///
    /// # Errors
    /// When the bytes are not a well-formed lifecycle document. A document that can be read but not rewritten safely
    /// is no error: see [`Document::not_preservable`].
    pub fn parse(bytes: &[u8], minimum_object_size: Option<String>) -> Result<Self, DocumentError> {
        let text = std::str::from_utf8(bytes).map_err(|error| DocumentError::NotUtf8 { at: error.valid_up_to() })?;
        let body = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let Outline { root_opened, rules, hazard } = outline(body, text.len() - body.len())?;
        let rules: Vec<RawRule> = rules
            .into_iter()
            .map(|span| {
                let Facts { id, meaning, reach } = rule::read(&text[span.clone()]);
                RawRule { span, facts: ObservedRule { id, meaning, reach } }
            })
            .collect();
        let not_preservable = hazard.or_else(|| repeated_id(&rules));
        let version = version(text, minimum_object_size.as_deref());
        Ok(Self { text: text.to_owned(), minimum_object_size, version, root_opened, rules, not_preservable })
    }

    /// The whole document as it was read.
    pub fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The setting for small objects that came with the document, as S3 names it.
    pub fn minimum_object_size(&self) -> Option<&str> {
        self.minimum_object_size.as_deref()
    }

    /// Hash of the exact bytes and of the minimum-object-size setting.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Each rule: what is known of it and its exact XML, in document order.
    pub fn rules(&self) -> impl Iterator<Item = (&ObservedRule, &str)> {
        self.rules.iter().map(|rule| (&rule.facts, &self.text[rule.span.clone()]))
    }

    /// The facts that planning needs.
    pub fn to_facts(&self) -> Document {
        Document {
            version: self.version.clone(),
            rules: self.rules.iter().map(|rule| rule.facts.clone()).collect(),
            not_preservable: self.not_preservable.clone(),
        }
    }

    /// Why the document cannot be rewritten safely, if so.
    pub(crate) fn not_preservable(&self) -> Option<&str> {
        self.not_preservable.as_deref()
    }

    /// Where the root's start tag ends; `None`: the root is one empty tag.
    pub(crate) fn root_opened(&self) -> Option<usize> {
        self.root_opened
    }

    /// The text of the document.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Where each rule stands, with its id.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (Range<usize>, Option<&str>)> {
        self.rules.iter().map(|rule| (rule.span.clone(), rule.facts.id.as_deref()))
    }
}

/// S3 refuses two rules with one id, so such a document could not be put back.
fn repeated_id(rules: &[RawRule]) -> Option<String> {
    let mut seen = BTreeSet::new();
    let repeated = rules.iter().filter_map(|rule| rule.facts.id.as_deref()).find(|id| !seen.insert(*id))?;
    Some(format!("the document holds two rules with the id {repeated}"))
}

fn version(text: &str, minimum_object_size: Option<&str>) -> String {
    let mut hash = Sha256::new();
    // The length keeps the two parts apart, the marker tells an absent setting from an empty one.
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
    hash.update([u8::from(minimum_object_size.is_some())]);
    hash.update(minimum_object_size.unwrap_or_default());
    hash.finalize().iter().take(16).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

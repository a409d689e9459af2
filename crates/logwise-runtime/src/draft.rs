//! A condition as a part wants it to be.

use crate::conditions::{ConditionType, Reason};

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Not known.
    Unknown,
}

impl Truth {
    /// As Kubernetes writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(truth: bool) -> Self {
        if truth { Self::True } else { Self::False }
    }
}

/// A condition as a part wants it to be; generation and transition time are added when it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Which condition.
    pub kind: ConditionType,
    /// Its status.
    pub truth: Truth,
    /// Why.
    pub reason: Reason,
    /// Starts with the fact, ends with the next step.
    pub message: String,
}

/// Longest message kept, in characters.
const MAX_MESSAGE: usize = 1_000;

/// Characters kept at the end of a message that is too long: the next step stands there.
const KEPT_END: usize = 300;

impl Draft {
    /// A condition; a message beyond 1,000 characters is cut in the middle, between the fact and the next step.
    pub fn new(kind: ConditionType, truth: impl Into<Truth>, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, truth: truth.into(), reason, message: shortened(message.into()) }
    }

    /// The condition of this type as an object has it.
    pub(crate) fn parse(kind: ConditionType, condition: &serde_json::Value) -> Option<Self> {
        let text = |key: &str| condition.get(key).and_then(serde_json::Value::as_str);
        let truth = match text("status")? {
            "True" => Truth::True,
            "False" => Truth::False,
            _ => Truth::Unknown,
        };
        Some(Self { kind, truth, reason: Reason::from_name(text("reason")?)?, message: text("message")?.to_owned() })
    }

    /// Whether people want to hear of this state.
    pub fn is_abnormal(&self) -> bool {
        match self.truth {
            Truth::True => !self.kind.is_positive(),
            Truth::False => self.kind.is_positive(),
            Truth::Unknown => true,
        }
    }
}

fn shortened(message: String) -> String {
    let length = message.chars().count();
    if length <= MAX_MESSAGE {
        return message;
    }
    let begin: String = message.chars().take(MAX_MESSAGE - KEPT_END - 5).collect();
    let end: String = message.chars().skip(length - KEPT_END).collect();
    format!("{begin} ... {end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_keeps_the_fact_and_the_next_step() {
        let text = format!("Fact {} Next step", "ä".repeat(2_000));
        let draft = Draft::new(ConditionType::Ready, false, Reason::Pending, text);
        assert_eq!(draft.message.chars().count(), MAX_MESSAGE);
        assert!(draft.message.starts_with("Fact ") && draft.message.ends_with(" Next step"));
    }
}

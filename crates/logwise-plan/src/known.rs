use serde::{Deserialize, Serialize};

/// A fact about an outside system, in the three states it can be in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Known<T> {
    /// Read completely.
    Known(T),
    /// The system answered that the thing does not exist.
    Absent,
    /// Not read; the text says why. Never treated as zero or as absent.
    Unknown(String),
}

impl<T> Known<T> {
    /// The value, if it was read.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Unknown(_) => None,
        }
    }

    /// Applies `f` to a known value; keeps the other two states.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Known<U> {
        match self {
            Self::Known(value) => Known::Known(f(value)),
            Self::Absent => Known::Absent,
            Self::Unknown(why) => Known::Unknown(why),
        }
    }

    /// True for [`Known::Unknown`].
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

impl<T> From<Result<T, String>> for Known<T> {
    /// A reading that failed is unknown, for the reason it gives.
    fn from(reading: Result<T, String>) -> Self {
        reading.map_or_else(Self::Unknown, Self::Known)
    }
}

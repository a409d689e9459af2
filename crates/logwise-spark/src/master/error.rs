use logwise_runtime::ErrorClass;

/// A call to a Spark master, or to a driver or worker of its, that did not succeed. The text begins with the address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SparkError {
    /// Nobody is there, or the connection broke off.
    #[error("{address} cannot be reached ({why})")]
    Reach {
        /// `host:port`.
        address: String,
        /// What the system says.
        why: String,
        /// Whether there was a connection, so that the request may have arrived.
        connected: bool,
    },
    /// No answer came in time.
    #[error("{address} did not answer within {seconds} s")]
    Deadline {
        /// `host:port`.
        address: String,
        /// How long it was waited.
        seconds: u64,
    },
    /// The answer was an HTTP status that says no.
    #[error("{address} answered HTTP {status}")]
    Answer {
        /// `host:port`.
        address: String,
        /// The status.
        status: u16,
    },
    /// The answer was a page for people: something else listens there.
    #[error("{address} answered HTML instead of JSON")]
    Html {
        /// `host:port`.
        address: String,
    },
    /// The answer was not what a Spark program of a known version gives.
    #[error("{address} answered JSON of another shape ({why})")]
    Shape {
        /// `host:port`.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The master is not the active one.
    #[error("{address} is {state}")]
    Standby {
        /// `host:port`.
        address: String,
        /// Its state, such as `STANDBY` or `RECOVERING`.
        state: String,
    },
    /// The master would not do it.
    #[error("{address} refused to {what}: {why}")]
    Refused {
        /// `host:port`.
        address: String,
        /// What was asked.
        what: &'static str,
        /// The master's reason.
        why: String,
    },
    /// The call might not be made any more.
    #[error("nothing was sent: {why}")]
    NotSent {
        /// Why not.
        why: String,
    },
}

impl SparkError {
    /// What kind of failure it is.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Answer { status: 401 | 403, .. } => ErrorClass::Denied,
            Self::Answer { status: 429, .. } => ErrorClass::Throttled,
            Self::Answer { status: 300..=499, .. } | Self::Html { .. } | Self::Shape { .. } | Self::Refused { .. } => {
                ErrorClass::Invalid
            }
            Self::NotSent { .. } => ErrorClass::Conflict,
            Self::Reach { .. } | Self::Deadline { .. } | Self::Answer { .. } | Self::Standby { .. } => {
                ErrorClass::Transient
            }
        }
    }

    /// Whether a call that changes something may have done so all the same: only a later look at the master tells.
    pub const fn may_have_happened(&self) -> bool {
        match self {
            Self::Reach { connected, .. } => *connected,
            Self::Answer { status, .. } => *status >= 500,
            Self::Deadline { .. } | Self::Html { .. } | Self::Shape { .. } => true,
            Self::Standby { .. } | Self::Refused { .. } | Self::NotSent { .. } => false,
        }
    }

    /// The same without what begins like one of these values, in the words of the other side: it may quote what it was
    /// sent, and cut that anywhere. Values that are too short to be told from other words stay.
    #[must_use]
    pub fn without<'a>(self, values: impl IntoIterator<Item = &'a str>) -> Self {
        let hide = |why: String| values.into_iter().fold(why, |why, value| hidden(&why, value));
        match self {
            Self::Refused { address, what, why } => Self::Refused { address, what, why: hide(why) },
            Self::Shape { address, why } => Self::Shape { address, why: hide(why) },
            other => other,
        }
    }

    /// Whether reading again at once may succeed. A time-out has taken its time already.
    pub(super) const fn is_worth_repeating(&self) -> bool {
        match self {
            Self::Reach { .. } => true,
            Self::Answer { status, .. } => *status >= 500,
            _ => false,
        }
    }
}

/// Fewest characters of a value that are hidden.
const SHORTEST: usize = 8;

/// What stands in the place of a value.
const HIDDEN: &str = "(secret)";

/// How a value may stand in a text: as it is, within JSON, and in one line.
fn forms(value: &str) -> [String; 3] {
    let json = serde_json::Value::from(value).to_string();
    let lines: Vec<&str> = value.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    [value.to_owned(), json.trim_matches('"').to_owned(), lines.join(" ")]
}

/// The text without this value, and without what of it stands before a cut.
fn hidden(text: &str, value: &str) -> String {
    let forms = forms(value);
    forms.iter().fold(text.to_owned(), |text, form| {
        let begin: String = form.chars().take(SHORTEST).collect();
        if begin.chars().count() < SHORTEST {
            return text;
        }
        let (mut out, mut rest) = (String::new(), text.as_str());
        while let Some((before, after)) = rest.split_once(begin.as_str()) {
            let ends = forms.iter().filter_map(|form| form.strip_prefix(begin.as_str()));
            let length = ends.map(|end| common(after, end)).max().unwrap_or(0);
            out += before;
            out += HIDDEN;
            rest = after.get(length..).unwrap_or_default();
        }
        out + rest
    })
}

/// Bytes of what both texts begin with.
fn common(text: &str, other: &str) -> usize {
    let same = text.chars().zip(other.chars()).take_while(|(one, other)| one == other);
    same.map(|(one, _)| one.len_utf8()).sum()
}

/// No master answered as the active one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no Spark master is active: {}", .causes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct NoActiveMaster {
    /// One cause per master, in the order in which the masters were named.
    pub causes: Vec<SparkError>,
}

impl NoActiveMaster {
    /// An outage or a wrong address look the same from here.
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Transient
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> SparkError {
        SparkError::Answer { address: "m:1".into(), status }
    }

    #[test]
    fn a_failure_has_a_class_and_says_whether_the_call_may_have_arrived() {
        use ErrorClass::{Conflict, Denied, Invalid, Throttled, Transient};
        let (address, why) = (|| "m:1".to_owned(), || "w".to_owned());
        let table = [
            (SparkError::Reach { address: address(), why: why(), connected: false }, Transient, false),
            (SparkError::Reach { address: address(), why: why(), connected: true }, Transient, true),
            (SparkError::Deadline { address: address(), seconds: 5 }, Transient, true),
            (answer(403), Denied, false),
            (answer(404), Invalid, false),
            (answer(429), Throttled, false),
            (answer(302), Invalid, false),
            (answer(500), Transient, true),
            (SparkError::Html { address: address() }, Invalid, true),
            (SparkError::Shape { address: address(), why: why() }, Invalid, true),
            (SparkError::Standby { address: address(), state: "STANDBY".into() }, Transient, false),
            (SparkError::Refused { address: address(), what: "kill a driver", why: why() }, Invalid, false),
            (SparkError::NotSent { why: why() }, Conflict, false),
        ];
        for (error, class, arrived) in table {
            assert_eq!((error.class(), error.may_have_happened()), (class, arrived), "{error}");
        }
    }

    #[test]
    fn what_was_sent_is_not_told_back() {
        let key = "wJalrXUtnFEMI/K7MDENG";
        let pem = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n";
        let told = |why: &str, values: &[&str]| {
            let (address, why) = ("m:1".to_owned(), why.to_owned());
            SparkError::Refused { address, what: "take the driver", why }.without(values.iter().copied()).to_string()
        };
        let begin = "m:1 refused to take the driver: ";
        assert_eq!(told(&format!("no {key}, {key}"), &["short", key]), format!("{begin}no (secret), (secret)"));
        assert_eq!(told("cut at wJalrXUtnF ...", &[key]), format!("{begin}cut at (secret) ..."));
        assert_eq!(told("a short one", &["short"]), format!("{begin}a short one"), "as any word");
        let json = serde_json::json!({"key": pem}).to_string();
        assert_eq!(told(&json, &[pem]), format!(r#"{begin}{{"key":"(secret)"}}"#));
        assert_eq!(told("-----BEGIN KEY----- MIIEvQIBADANBg", &[pem]), format!("{begin}(secret)"));
        let shape = SparkError::Shape { address: "m:1".into(), why: format!("string \"{key}\"") };
        assert!(!shape.without([key]).to_string().contains("FEMI"));
    }

    #[test]
    fn all_masters_are_named_with_what_is_wrong() {
        let standby = SparkError::Standby { address: "a:8080".into(), state: "STANDBY".into() };
        let none = NoActiveMaster { causes: vec![standby, answer(502)] };
        assert_eq!(none.to_string(), "no Spark master is active: a:8080 is STANDBY; m:1 answered HTTP 502");
        assert_eq!(none.class(), ErrorClass::Transient);
    }
}

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

    /// Whether reading again at once may succeed. A time-out has taken its time already.
    pub(super) const fn is_worth_repeating(&self) -> bool {
        match self {
            Self::Reach { .. } => true,
            Self::Answer { status, .. } => *status >= 500,
            _ => false,
        }
    }
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
    fn all_masters_are_named_with_what_is_wrong() {
        let standby = SparkError::Standby { address: "a:8080".into(), state: "STANDBY".into() };
        let none = NoActiveMaster { causes: vec![standby, answer(502)] };
        assert_eq!(none.to_string(), "no Spark master is active: a:8080 is STANDBY; m:1 answered HTTP 502");
        assert_eq!(none.class(), ErrorClass::Transient);
    }
}

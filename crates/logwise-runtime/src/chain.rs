//! An error with its causes, as one text.

use std::error::Error;

/// "what failed: because of this: because of that". A cause that the text names already is not repeated.
///
/// For log fields (`error = chain(&error)`), since a JSON line shows of an error only its own text, and for conditions.
/// Only for errors whose causes are fit for people and hold no secrets.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| (**cause).source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Failed {
        text: &'static str,
        source: Option<Box<Failed>>,
    }

    fn failed(text: &'static str, source: Option<Failed>) -> Failed {
        Failed { text, source: source.map(Box::new) }
    }

    #[test]
    fn each_cause_is_told_once() {
        let deep = || failed("connection refused", None);
        assert_eq!(chain(&deep()), "connection refused");
        let told = failed("cannot connect: connection refused", Some(deep()));
        let all = failed("the watch failed", Some(told));
        assert_eq!(chain(&all), "the watch failed: cannot connect: connection refused");
        let all = failed("listing failed", Some(failed("the client gave up", Some(deep()))));
        assert_eq!(chain(&all), "listing failed: the client gave up: connection refused");
    }
}

use std::path::PathBuf;
use std::time::Duration;

use sqlx::mysql::MySqlDatabaseError;
use sqlx::sqlite::SqliteError;

/// Why the Orchestrator DB could not be used. Display and sources hold no secret and no row.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The folder of the SQLite file.
    #[error("the folder {} of the Orchestrator DB does not exist", .0.display())]
    Folder(PathBuf),
    /// Opening the connection and its settings.
    #[error("connecting to {url}")]
    Connect {
        /// The database, without its password.
        url: String,
        /// The cause.
        source: sqlx::Error,
    },
    /// Bringing the schema up to date.
    #[error("bringing the schema of {url} up to date (step {step})")]
    Migrate {
        /// The database, without its password.
        url: String,
        /// The migration or the lock around all of them.
        step: &'static str,
        /// The cause.
        source: sqlx::Error,
    },
    /// Writing rows: nothing of the batch was kept, or the answer to the commit was lost.
    #[error("writing {what}")]
    Write {
        /// The row, or how many.
        what: String,
        /// The cause.
        source: sqlx::Error,
    },
    /// Reading rows.
    #[error("reading {what}")]
    Read {
        /// What was read.
        what: &'static str,
        /// The cause.
        source: sqlx::Error,
    },
    /// No answer in time. What was sent may still take effect; repeating it is safe.
    #[error("{what}: no answer within {after:?}")]
    Deadline {
        /// What was attempted.
        what: String,
        /// The deadline.
        after: Duration,
    },
}

/// What kind of failure a [`StoreError`] is: whether to retry and what to tell people is a match on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The DB refuses this row; repeating it cannot help.
    Invalid,
    /// The schema or the folder does not exist.
    NotFound,
    /// User, password, rights, or a file that cannot be written.
    Denied,
    /// Too many connections.
    Throttled,
    /// A lock or a deadlock with another writer.
    Conflict,
    /// No answer, or an answer that repeating may change.
    Transient,
}

impl ErrorClass {
    /// What is wrong, for a text that must stay the same while the failure lasts: no number, no name.
    pub const fn fact(self) -> &'static str {
        match self {
            Self::Invalid => "it refuses a row",
            Self::NotFound => "its schema or folder does not exist",
            Self::Denied => "it refuses the user or the right to write",
            Self::Throttled => "it has too many connections",
            Self::Conflict => "another writer holds its locks",
            Self::Transient => "it cannot be reached or fails",
        }
    }

    /// What people can do about it; as constant as [`ErrorClass::fact`].
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::Invalid => {
                "the row waits and is tried again; compare the columns of the table with the migrations of this version"
            }
            Self::NotFound => "create what is missing or correct the database URL",
            Self::Denied => "check user, password and rights in the database",
            Self::Throttled => "raise the server's connection limit or close other clients",
            Self::Conflict | Self::Transient => {
                "it is tried again without help; if it stays, look at the database server"
            }
        }
    }
}

impl StoreError {
    /// The kind of failure.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Folder(_) => ErrorClass::NotFound,
            Self::Connect { source, .. }
            | Self::Migrate { source, .. }
            | Self::Write { source, .. }
            | Self::Read { source, .. } => class_of(source),
            Self::Deadline { .. } => ErrorClass::Transient,
        }
    }

    /// One line for people: the fact, its cause and the next step.
    pub fn explain(&self) -> String {
        let cause = std::error::Error::source(self).map_or_else(String::new, |source| format!(": {source}"));
        format!("{self}{cause}; {}", self.class().next_step())
    }

    /// Whether the failure happened with a working connection, so that the rows may be the reason.
    pub(crate) fn may_be_the_row(&self) -> bool {
        match self {
            Self::Write { source, .. } => match self.class() {
                ErrorClass::Invalid => true,
                ErrorClass::Transient => !is_the_server(source),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether a table of ours is gone although its migration is recorded.
    pub(crate) fn misses_table(&self) -> bool {
        let (Self::Write { source, .. } | Self::Read { source, .. }) = self else { return false };
        mysql_number(source) == Some(1146)
            || source.as_database_error().is_some_and(|error| error.message().starts_with("no such table"))
    }
}

fn mysql_number(error: &sqlx::Error) -> Option<u16> {
    Some(error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let error = error.as_database_error()?;
    error.try_downcast_ref::<SqliteError>()?;
    // The low byte is the primary result code.
    error.code()?.parse::<u32>().ok().map(|code| code & 0xff)
}

pub(crate) fn class_of(error: &sqlx::Error) -> ErrorClass {
    if let Some(number) = mysql_number(error) {
        let state = error
            .as_database_error()
            .and_then(|error| error.code().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        return class_of_mysql(number, &state);
    }
    if let Some(code) = sqlite_code(error) {
        return match code {
            5 | 6 => ErrorClass::Conflict,
            3 | 8 | 23 => ErrorClass::Denied,
            18 | 19 | 20 | 25 => ErrorClass::Invalid,
            _ => ErrorClass::Transient,
        };
    }
    match error {
        sqlx::Error::Encode(_) => ErrorClass::Invalid,
        _ => ErrorClass::Transient,
    }
}

fn class_of_mysql(number: u16, state: &str) -> ErrorClass {
    match number {
        1040 | 1203 | 1226 => ErrorClass::Throttled,
        1020 | 1205 | 1213 => ErrorClass::Conflict,
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1698 | 3118 => ErrorClass::Denied,
        1049 => ErrorClass::NotFound,
        1118 | 1153 | 1264 | 1265 | 1292 | 1366 | 1406 | 3140 | 3819 => ErrorClass::Invalid,
        _ if state.starts_with("22") || state.starts_with("23") => ErrorClass::Invalid,
        _ => ErrorClass::Transient,
    }
}

/// Failures that hit every row alike: read-only servers, full disks, missing tables, shutdowns.
fn is_the_server(error: &sqlx::Error) -> bool {
    match mysql_number(error) {
        Some(number) => matches!(number, 1021 | 1030 | 1053 | 1114 | 1146 | 1290 | 1317 | 1792 | 1836 | 1927 | 3024),
        None => matches!(sqlite_code(error), Some(1 | 10 | 11 | 13 | 14 | 26)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mysql_errors_have_a_class() {
        for (number, state, class) in [
            (1406, "22001", ErrorClass::Invalid),
            (4025, "23000", ErrorClass::Invalid),
            (1213, "40001", ErrorClass::Conflict),
            (1205, "HY000", ErrorClass::Conflict),
            (1045, "28000", ErrorClass::Denied),
            (1049, "42000", ErrorClass::NotFound),
            (1040, "08004", ErrorClass::Throttled),
            (1290, "HY000", ErrorClass::Transient),
        ] {
            assert_eq!(class_of_mysql(number, state), class, "{number}");
        }
    }

    #[test]
    fn a_message_ends_with_the_next_step_and_keeps_its_cause_once() {
        let error = StoreError::Connect {
            url: "mysql://u:***@h:3306/s".into(),
            source: sqlx::Error::Protocol("nonsense".into()),
        };
        let text = error.explain();
        assert_eq!(text.matches("nonsense").count(), 1, "{text}");
        assert!(text.ends_with("look at the database server"), "{text}");
        assert!(!error.to_string().contains("nonsense"));
    }
}

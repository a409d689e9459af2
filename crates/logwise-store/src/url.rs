//! Where the Orchestrator DB is. The text may hold a password, so nothing here ever repeats it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use sqlx::mysql::MySqlSslMode;

/// Address of the Orchestrator DB: `sqlite://PATH` or
/// `mysql://USER[:PASSWORD]@HOST[:PORT]/SCHEMA[?ssl-mode=...&ssl-ca=...]` (`mariadb://` means the same). Special characters of user, password and schema are percent-encoded.
/// Debug and Display show `***` in place of the password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DatabaseUrl(pub(crate) Place);

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Sqlite(PathBuf),
    MySql(Box<Server>),
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    pub(crate) schema: String,
    pub(crate) tls: Tls,
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    Disabled,
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

impl Tls {
    const ALL: [(&'static str, Self); 5] = [
        ("DISABLED", Self::Disabled),
        ("PREFERRED", Self::Preferred),
        ("REQUIRED", Self::Required),
        ("VERIFY_CA", Self::VerifyCa),
        ("VERIFY_IDENTITY", Self::VerifyIdentity),
    ];

    pub(crate) const fn mode(self) -> MySqlSslMode {
        match self {
            Self::Disabled => MySqlSslMode::Disabled,
            Self::Preferred => MySqlSslMode::Preferred,
            Self::Required => MySqlSslMode::Required,
            Self::VerifyCa => MySqlSslMode::VerifyCa,
            Self::VerifyIdentity => MySqlSslMode::VerifyIdentity,
        }
    }
}

/// A part of the URL that is missing or wrong. Never repeats what was written: it may be a piece of the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part} {must} (the form is sqlite://PATH or mysql://USER:PASSWORD@HOST:PORT/SCHEMA)")]
pub struct UrlError {
    /// The part: scheme, path, user, password, host, port, schema, ssl-mode, ssl-ca or options.
    pub part: &'static str,
    must: &'static str,
}

const fn wrong<T>(part: &'static str, must: &'static str) -> Result<T, UrlError> {
    Err(UrlError { part, must })
}

impl DatabaseUrl {
    /// Whether it names an SQLite file, which has one writer.
    pub const fn is_sqlite(&self) -> bool {
        matches!(self.0, Place::Sqlite(_))
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// Names the part and what is allowed there.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let Some((scheme, rest)) = text.split_once(':') else { return wrong("scheme", "must be sqlite or mysql") };
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        match scheme {
            "sqlite" => parse_path(rest).map(|path| Self(Place::Sqlite(path))),
            "mysql" | "mariadb" => parse_server(rest).map(|server| Self(Place::MySql(Box::new(server)))),
            _ => wrong("scheme", "must be sqlite or mysql"),
        }
    }

    /// The same server with this password, for passwords that come from a Secret. Changes nothing for SQLite.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        if let Place::MySql(server) = &mut self.0 {
            server.password = Some(password.to_owned());
        }
        self
    }

    /// The SQLite file, if it is one: such a DB serves one replica only.
    pub fn sqlite_path(&self) -> Option<&Path> {
        match &self.0 {
            Place::Sqlite(path) => Some(path),
            Place::MySql(_) => None,
        }
    }
}

fn parse_path(path: &str) -> Result<PathBuf, UrlError> {
    if path.contains(":memory:") {
        return wrong("path", "must be a file: a database in memory is lost at each restart");
    }
    if path.contains(['?', '#']) {
        return wrong("path", "must be a file name without ? and #: there are no options");
    }
    if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        return wrong("path", "must name a file, such as sqlite:///var/lib/logwise/orchestrator.db");
    }
    Ok(PathBuf::from(path))
}

fn parse_server(rest: &str) -> Result<Server, UrlError> {
    let (rest, options) = rest.split_once('?').map_or((rest, None), |(rest, options)| (rest, Some(options)));
    let Some((authority, schema)) = rest.split_once('/') else {
        return wrong("schema", "must follow the host as /SCHEMA");
    };
    let Some((login, address)) = authority.rsplit_once('@') else {
        return wrong(
            "user",
            "must stand before the host as USER@ or USER:PASSWORD@, special characters percent-encoded",
        );
    };
    let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
    let (host, port) = parse_address(address)?;
    let mut server = Server {
        host,
        port,
        user: decode("user", user)?,
        password: password.map(|password| decode("password", password)).transpose()?,
        schema: decode("schema", schema)?,
        tls: Tls::Preferred,
        ca: None,
    };
    if server.user.is_empty() {
        return wrong("user", "must not be empty");
    }
    if server.schema.is_empty() || server.schema.contains('/') || server.schema.chars().count() > 64 {
        return wrong("schema", "must be the name of one existing schema, 1 to 64 characters");
    }
    for option in options.unwrap_or_default().split('&').filter(|option| !option.is_empty()) {
        parse_option(&mut server, option)?;
    }
    Ok(server)
}

fn parse_address(address: &str) -> Result<(String, u16), UrlError> {
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or("x"))),
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || "@%".contains(c)) {
        return wrong("host", "must be a name or an address; an IPv6 address stands in brackets");
    }
    match port.map_or(Ok(3306), str::parse) {
        Ok(port) if port > 0 => Ok((host.to_owned(), port)),
        _ => wrong("port", "must be a number from 1 to 65535"),
    }
}

fn parse_option(server: &mut Server, option: &str) -> Result<(), UrlError> {
    match option.split_once('=') {
        Some(("ssl-mode", value)) => match Tls::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(value)) {
            Some((_, tls)) => server.tls = *tls,
            None => {
                return wrong("ssl-mode", "must be one of DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY");
            }
        },
        Some(("ssl-ca", value)) if !value.is_empty() => server.ca = Some(PathBuf::from(decode("ssl-ca", value)?)),
        _ => return wrong("options", "must be ssl-mode=MODE or ssl-ca=FILE"),
    }
    Ok(())
}

fn decode(part: &'static str, text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| {
            byte.and_then(|byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok())
        };
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push(high * 16 + low),
            _ => return wrong(part, "must have two hexadecimal digits after each %"),
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => wrong(part, "must be UTF-8 without NUL after percent-decoding"),
    }
}

impl FromStr for DatabaseUrl {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for DatabaseUrl {
    type Error = UrlError;
    fn try_from(text: String) -> Result<Self, UrlError> {
        Self::parse(&text)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Place::MySql(server) => {
                let secret = if server.password.is_some() { ":***" } else { "" };
                let (open, close) = if server.host.contains(':') { ("[", "]") } else { ("", "") };
                write!(
                    f,
                    "mysql://{}{secret}@{open}{}{close}:{}/{}",
                    server.user, server.host, server.port, server.schema
                )
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Server {
        match DatabaseUrl::parse(text).unwrap().0 {
            Place::MySql(server) => *server,
            Place::Sqlite(_) => panic!("not a server"),
        }
    }

    #[test]
    fn the_whole_form_is_read() {
        let all = server(
            "mysql://log%40wise:p%2Fa%3As%40s%25@db.example:3307/pipe?ssl-mode=verify_ca&ssl-ca=/etc/ca%20one.pem",
        );
        assert_eq!(
            (all.user.as_str(), all.password.as_deref(), all.host.as_str(), all.port),
            ("log@wise", Some("p/a:s@s%"), "db.example", 3307)
        );
        assert_eq!(
            (all.schema.as_str(), all.tls == Tls::VerifyCa, all.ca),
            ("pipe", true, Some(PathBuf::from("/etc/ca one.pem")))
        );
        let least = server("mariadb://u@[::1]/s");
        assert_eq!(
            (least.host.as_str(), least.port, least.password, least.tls == Tls::Preferred),
            ("::1", 3306, None, true)
        );
        assert_eq!(DatabaseUrl::parse("sqlite:///a/b.db").unwrap().sqlite_path(), Some(Path::new("/a/b.db")));
        assert_eq!(DatabaseUrl::parse("sqlite://b.db").unwrap().sqlite_path(), Some(Path::new("b.db")));
    }

    #[test]
    fn each_wrong_part_is_named_and_no_piece_of_the_text_is_repeated() {
        for (text, part) in [
            ("hunter2", "scheme"),
            ("postgres://u:hunter2@h/s", "scheme"),
            ("sqlite::memory:", "path"),
            ("sqlite://", "path"),
            ("sqlite:///var/lib/", "path"),
            ("sqlite:///x.db?mode=ro", "path"),
            ("mysql://u:hunter2@h", "schema"),
            ("mysql://u:hunter2@h/", "schema"),
            ("mysql://h/s", "user"),
            ("mysql://:hunter2@h/s", "user"),
            ("mysql://u:hun/ter2@h/s", "user"),
            ("mysql://u:hunter2%2@h/s", "password"),
            ("mysql://u:hunter2%ff@h/s", "password"),
            ("mysql://u:hunter2@/s", "host"),
            ("mysql://u:hunter2@h:0/s", "port"),
            ("mysql://u:hunter2@h:hunter2/s", "port"),
            ("mysql://u:hunter2@[::1]hunter2/s", "port"),
            ("mysql://u:hunter2@h/s?ssl-mode=hunter2", "ssl-mode"),
            ("mysql://u:hunter2@h/s?hunter2=1", "options"),
        ] {
            let error = DatabaseUrl::parse(text).unwrap_err();
            assert_eq!(error.part, part, "{text}: {error}");
            assert!(error.to_string().starts_with(part) && !error.to_string().contains("hunter"), "{error}");
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        let url = DatabaseUrl::parse("mysql://u:hunter2@h/s").unwrap();
        assert_eq!(url.to_string(), "mysql://u:***@h:3306/s");
        assert_eq!(format!("{url:?}"), "DatabaseUrl(mysql://u:***@h:3306/s)");
        let url = DatabaseUrl::parse("mysql://u@[::1]:1/s").unwrap();
        assert_eq!(url.to_string(), "mysql://u@[::1]:1/s");
        assert_eq!(url.with_password("hunter2").to_string(), "mysql://u:***@[::1]:1/s");
    }

    #[test]
    fn a_configuration_file_gives_the_same_error() {
        let error = serde_json::from_str::<DatabaseUrl>("\"mysql://u:hunter2@h:x/s\"").unwrap_err().to_string();
        assert!(error.starts_with("port must be a number from 1 to 65535") && !error.contains("hunter"), "{error}");
    }
}

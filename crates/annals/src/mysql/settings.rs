//! What a `mysql://` URL says: where the server is, and how to be its guest.

use std::fs;
use std::str::FromStr;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use sqlx::mysql::MySqlConnectOptions;

use crate::error::{Error, ErrorKind, Result};
use crate::unit::parse_duration;

/// Connections of one transport or store, at most, unless the URL says otherwise.
const MAX_CONNECTIONS: u32 = 8;

/// How long a call waits for a connection, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// No statement of ours takes long, and none waits for ever for someone else's lock.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Beyond this many seconds a wait for a row has no end.
const FOR_EVER: u64 = 100_000_000;
/// The longest that the server waits for a table, in seconds: a year.
const A_YEAR: u64 = 31_536_000;

/// What holds on each session, whatever the server's own settings are.
///
/// A value that does not fit is an error and never cut, times are UTC, and a string is
/// only what stands between single quotes. READ COMMITTED, because the default locks
/// the gaps between the rows that a statement reads: workers that lease side by side
/// would then wait for each other at the end of the queue, and deadlock with those who
/// enqueue there.
const OF_ALL: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET SESSION \
    sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
    time_zone = '+00:00', autocommit = 1 /*M!100600 , idle_transaction_timeout = 60 */";

/// Parameters of a URL that are read here.
const NAMES: [&str; 14] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "socket",
    "max_connections",
    "connect_timeout",
    "statement_timeout",
    "lock_timeout",
    "password_file",
    // MySQL's own names.
    "ssl-mode",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
];

/// How connections are made, and what holds on them.
pub(crate) struct Settings {
    pub(super) options: MySqlConnectOptions,
    pub(super) max_connections: u32,
    pub(super) connect_timeout: Duration,
    statement_timeout: Duration,
    lock_timeout: Duration,
    /// What a connection was told, the last time that one was opened.
    pub(super) packet: AtomicUsize,
}

impl Settings {
    /// Whether a parameter of a URL is read here, and not by who opens the URL.
    pub(super) fn knows(name: &str) -> bool {
        NAMES.contains(&name)
    }

    /// Those of a URL.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for what cannot be understood, or a password file that
    /// cannot be read.
    pub(super) fn of(url: &str, doing: &str) -> Result<Self> {
        let wrong =
            |found: String, hint: &str| Error::new(ErrorKind::Usage, doing, found).hint(hint);
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let mut settings = Self {
            options: MySqlConnectOptions::new(),
            max_connections: MAX_CONNECTIONS,
            connect_timeout: CONNECT_TIMEOUT,
            statement_timeout: STATEMENT_TIMEOUT,
            lock_timeout: LOCK_TIMEOUT,
            packet: AtomicUsize::new(0),
        };
        let mut password = None;
        let mut drivers = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "max_connections" => {
                    settings.max_connections =
                        value.parse().ok().filter(|most| *most > 0).ok_or_else(|| {
                            wrong(format!("max_connections={value}"), "write a number from 1 on")
                        })?;
                }
                "password_file" => {
                    let text = fs::read_to_string(value).map_err(|error| {
                        wrong(
                            format!("the password file {value}: {error}"),
                            "give a file that holds the password and nothing else",
                        )
                    })?;
                    password = Some(text.trim_end_matches(['\r', '\n']).to_owned());
                }
                "connect_timeout" | "statement_timeout" | "lock_timeout" => {
                    let time = parse_duration(value).map_err(|why| {
                        wrong(format!("{name}: {why}"), "such as 500ms, 5s or 2m")
                    })?;
                    match name {
                        "statement_timeout" => settings.statement_timeout = time,
                        "lock_timeout" => settings.lock_timeout = time,
                        _ => settings.connect_timeout = time,
                    }
                }
                "sslmode" | "ssl-mode" => drivers.push(format!("ssl-mode={}", mode(value))),
                "sslrootcert" | "ssl-ca" => drivers.push(format!("ssl-ca={value}")),
                "sslcert" | "ssl-cert" => drivers.push(format!("ssl-cert={value}")),
                "sslkey" | "ssl-key" => drivers.push(format!("ssl-key={value}")),
                "socket" => drivers.push(pair.to_owned()),
                _ => {
                    return Err(wrong(
                        format!("the URL's parameter {name} is not known"),
                        &format!("known are {}", NAMES.join(", ")),
                    ));
                }
            }
        }
        let options = MySqlConnectOptions::from_str(&format!("{address}?{}", drivers.join("&")));
        let options = options.map_err(|error| {
            let hint = "use mysql://USER@HOST:PORT/DATABASE?sslmode=verify-full";
            wrong(error.to_string(), hint).caused_by(error)
        })?;
        // All of a session is set by ourselves.
        let options = options.pipes_as_concat(false).no_engine_substitution(false).timezone(None);
        settings.options = match password {
            Some(password) => options.password(&password),
            None => options,
        };
        Ok(settings)
    }

    /// How long a few statements can take, if they are not to take for ever: the time
    /// for a connection, for a statement that runs, and for one before it that ran
    /// late.
    pub(super) fn patience(&self) -> Option<Duration> {
        let limited = !self.statement_timeout.is_zero();
        limited.then(|| self.connect_timeout + 2 * self.statement_timeout)
    }

    /// The statements that set what holds on each session.
    pub(crate) fn of_session(&self) -> String {
        // Whole seconds are all that the servers know here; none at all is for ever.
        let seconds = self.lock_timeout.as_millis().div_ceil(1000);
        let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
        let for_rows = seconds.unwrap_or(FOR_EVER).min(FOR_EVER);
        let for_tables = seconds.unwrap_or(A_YEAR).min(A_YEAR);
        let millis = self.statement_timeout.as_millis();
        let statement = self.statement_timeout.as_secs_f64();
        format!(
            "{OF_ALL}, innodb_lock_wait_timeout = {for_rows}, lock_wait_timeout = {for_tables} \
             /*M!100600 , max_statement_time = {statement} */ /*!80000 , max_execution_time = {millis} */"
        )
    }
}

/// A mode of TLS by the name that PostgreSQL's URLs have for it, or by MySQL's own.
fn mode(name: &str) -> &str {
    match name {
        "disable" => "disabled",
        "prefer" => "preferred",
        "require" => "required",
        "verify-ca" => "verify_ca",
        "verify-full" => "verify_identity",
        own => own,
    }
}

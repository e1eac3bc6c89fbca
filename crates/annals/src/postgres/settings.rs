//! What a `postgres://` URL says: where the server is, and how to be its guest.

use std::fs;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use crate::error::{Error, ErrorKind, Result};
use crate::unit::parse_duration;

/// Connections of one transport or store, at most, unless the URL says otherwise.
const MAX_CONNECTIONS: u32 = 8;

/// How long a call waits for a connection, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of each session: no statement of ours takes long, and none waits for ever
/// for someone else's lock.
const OF_ALL: &[(&str, &str)] = &[
    ("statement_timeout", "60000"),
    ("lock_timeout", "10000"),
    ("idle_in_transaction_session_timeout", "60000"),
    // Compiling takes longer than our statements.
    ("jit", "off"),
];

/// Parameters that are the driver's.
const DRIVERS: [&str; 14] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "ssl-mode",
    "ssl-root-cert",
];

/// How connections are made, and what holds on them.
pub(crate) struct Settings {
    pub(super) options: PgConnectOptions,
    pub(super) max_connections: u32,
    pub(super) connect_timeout: Duration,
    /// Connections come from PgBouncer, for one transaction at a time: nothing that is
    /// set, prepared or listened for stays.
    pub(super) pgbouncer: bool,
    of_session: Vec<(&'static str, String)>,
}

/// Parameters that are ours.
const OWN: [&str; 6] = [
    "max_connections",
    "connect_timeout",
    "statement_timeout",
    "lock_timeout",
    "password_file",
    "pgbouncer",
];

impl Settings {
    /// Whether a parameter of a URL is read here, and not by who opens the URL.
    pub(super) fn knows(name: &str) -> bool {
        OWN.contains(&name) || DRIVERS.contains(&name) || name.starts_with("options[")
    }

    /// Those of a URL; what is `beside` holds on each session too, unless the URL
    /// says otherwise.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for what cannot be understood, or a password file that
    /// cannot be read.
    pub(super) fn of(
        url: &str,
        doing: &str,
        beside: &[(&'static str, &'static str)],
    ) -> Result<Self> {
        let wrong =
            |found: String, hint: &str| Error::new(ErrorKind::Usage, doing, found).hint(hint);
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let mut settings = Self {
            options: PgConnectOptions::new_without_pgpass(),
            max_connections: MAX_CONNECTIONS,
            connect_timeout: CONNECT_TIMEOUT,
            pgbouncer: false,
            of_session: Vec::new(),
        };
        for (name, value) in OF_ALL.iter().chain(beside) {
            settings.set(name, (*value).to_owned());
        }
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
                "pgbouncer" => {
                    settings.pgbouncer = value.parse().map_err(|_| {
                        wrong(format!("pgbouncer={value}"), "write pgbouncer=true or leave it out")
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
                        "statement_timeout" => settings.set("statement_timeout", millis(time)),
                        "lock_timeout" => settings.set("lock_timeout", millis(time)),
                        _ => settings.connect_timeout = time,
                    }
                }
                _ if Self::knows(name) => drivers.push(pair),
                _ => {
                    return Err(wrong(
                        format!("the URL's parameter {name} is not known"),
                        "known are sslmode, sslrootcert, sslcert, sslkey, application_name, options, \
                         max_connections, connect_timeout, statement_timeout, lock_timeout, \
                         password_file and pgbouncer",
                    ));
                }
            }
        }
        let named = drivers.iter().any(|pair| pair.starts_with("application_name="));
        let options = PgConnectOptions::from_str(&format!("{address}?{}", drivers.join("&")));
        settings.options = options.map_err(|error| {
            let hint = "use postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full";
            wrong(error.to_string(), hint).caused_by(error)
        })?;
        if !named {
            settings.options = settings.options.application_name("annals");
        }
        if let Some(password) = password {
            settings.options = settings.options.password(&password);
        }
        if settings.pgbouncer {
            // It refuses parameters that it does not know.
            settings.options =
                settings.options.statement_cache_capacity(0).extra_float_digits(None);
        }
        Ok(settings)
    }

    fn set(&mut self, name: &'static str, value: String) {
        self.of_session.retain(|(known, _)| *known != name);
        self.of_session.push((name, value));
    }

    /// How long a few statements can take, if they are not to take for ever: the time for
    /// a connection, for a statement that runs, and for one before it that ran late.
    pub(super) fn patience(&self) -> Option<Duration> {
        let (_, of_statement) =
            self.of_session.iter().find(|(name, _)| *name == "statement_timeout")?;
        let of_statement = of_statement.parse().ok().filter(|millis| *millis > 0)?;
        Some(self.connect_timeout + 2 * Duration::from_millis(of_statement))
    }

    /// What holds on each session.
    pub(super) fn of_session(&self) -> impl Iterator<Item = (&str, &str)> {
        self.of_session.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// The statements that set the same for a transaction.
    pub(super) fn for_transaction(&self) -> String {
        let set = |(name, value)| format!("SET LOCAL {name} = '{value}'; ");
        self.of_session().map(set).collect()
    }
}

/// Milliseconds, as a setting of PostgreSQL takes them.
fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

//! What errors of MariaDB and MySQL mean for who operates the server.
//!
//! Told by the server's number of an error rather than its SQLSTATE, which for most
//! of them is the same, `HY000`.

use sqlx::mysql::MySqlDatabaseError;

use crate::error::{Error, ErrorKind};

/// The SQLSTATE of what our own procedures refuse.
const OURS: &str = "AN001";

/// Said when another process makes the tables for too long.
pub(super) fn no_lock() -> sqlx::Error {
    let found = "another process has been making the tables for 50 s";
    std::io::Error::new(std::io::ErrorKind::TimedOut, found).into()
}

/// Says what an error means.
pub(super) fn explain(doing: String, error: sqlx::Error) -> Error {
    let database = match &error {
        sqlx::Error::Database(found) => found.try_downcast_ref::<MySqlDatabaseError>(),
        _ => None,
    };
    let (kind, hint) = match (&error, database) {
        (_, Some(found)) if found.code() == Some(OURS) => {
            return Error::new(ErrorKind::Usage, doing, found.message()).caused_by(error);
        }
        (_, Some(found)) => meaning(found.number(), found.code().unwrap_or_default()),
        (sqlx::Error::Tls(_), _) => {
            (ErrorKind::Away, Some("check sslmode and sslrootcert in the URL"))
        }
        (sqlx::Error::PoolTimedOut, _) => {
            (ErrorKind::Away, Some("let it have more: max_connections= in the URL"))
        }
        (sqlx::Error::Configuration(_), _) => (ErrorKind::Usage, None),
        (
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound,
            _,
        ) => (ErrorKind::Damaged, Some("the tables are not as annals made them")),
        _ => (ErrorKind::Away, Some("check that the server runs, and its host and port")),
    };
    let found = match (&error, database) {
        (_, Some(found)) => format!("{} (error {})", found.message(), found.number()),
        (sqlx::Error::Io(error), _) => error.to_string(),
        (sqlx::Error::PoolTimedOut, _) => "all of its connections are in use".to_owned(),
        (other, _) => other.to_string(),
    };
    let mut explained = Error::new(kind, doing, found).caused_by(error);
    if let Some(hint) = hint {
        explained = explained.hint(hint);
    }
    explained
}

/// What an error's number means (MariaDB's and MySQL's error references). The two
/// servers share the numbers up to 1999; above, each has its own.
fn meaning(number: u16, state: &str) -> (ErrorKind, Option<&'static str>) {
    use ErrorKind as Kind;
    match number {
        1045 | 1698 => (
            Kind::Away,
            // MariaDB says no more to whom it wants to use TLS.
            Some(
                "check the user, the password (password_file=), the host it may come from, and \
                 whether the server wants sslmode=require",
            ),
        ),
        1044 | 1142 | 1143 | 1227 | 1370 | 1419 => (
            Kind::Away,
            Some(
                "grant this user what it needs; `annals migrate --roles` makes roles that have it",
            ),
        ),
        1049 => (Kind::Away, Some("create the database, or correct its name in the URL")),
        1040 | 1203 | 1226 => {
            (Kind::Away, Some("raise max_connections, or let fewer programs connect"))
        }
        // --read-only, a replica's or a person's; and a server that has turned itself so.
        1290 | 1792 | 1836 => (Kind::Away, Some("the server is read-only; connect to the primary")),
        3 | 1021 | 1026 | 1114 => (Kind::Away, Some("free disk space on the server")),
        // Of the storage engine, in its own words: a full disk among them.
        1030 | 1180 | 1181 => (Kind::Away, Some("check the server's disk and its log")),
        1020 | 1205 | 1213 | 1317 | 1412 | 1969 | 3024 | 3572 => (
            Kind::Away,
            Some("it is tried again; look who holds the lock with SHOW ENGINE INNODB STATUS"),
        ),
        1153 => (Kind::Usage, Some("raise the server's max_allowed_packet to 16M or more")),
        1665 => (Kind::Usage, Some("set the server's binlog_format to MIXED or ROW")),
        // It stops, or ended this connection.
        1037..=1039 | 1041 | 1053 | 1077 | 1079 | 1152 | 1158..=1161 | 1184 | 1927 | 4031 => {
            (Kind::Away, Some("check the server and its log"))
        }
        1034 | 1035 | 1194 | 1195 | 1712 | 1877 => {
            (Kind::Damaged, Some("the server says that its files are corrupted"))
        }
        // No value of an event does this: statements and tables do not fit.
        1046 | 1048 | 1051 | 1054 | 1064 | 1136 | 1146 | 1305 | 1364 | 1526 | 1932 => (
            Kind::Usage,
            Some("if somebody changed the tables, undo that; `annals migrate` makes missing ones"),
        ),
        // Values that the server does not take.
        1062 | 1264 | 1265 | 1366 | 1406 | 1292 | 3140 | 3819 | 4025 => (Kind::Event, None),
        _ => match state.get(..2) {
            Some("22" | "23") => (Kind::Event, None),
            Some("42") => (Kind::Usage, None),
            Some("08") => (Kind::Away, Some("check the server and its log")),
            _ => (Kind::Transient, None),
        },
    }
}

//! What an error of Redis means for who operates it.

use redis::{ErrorKind as Kinds, RedisError};

use crate::error::{Error, ErrorKind};

/// Says what was found, whose fault it is, and what to do.
pub(super) fn explain(doing: String, error: RedisError) -> Error {
    let found = found(&error);
    let (kind, hint) = meaning(&error, &found);
    let mut explained = Error::new(kind, doing, found).caused_by(error);
    if let Some(hint) = hint {
        explained = explained.hint(hint);
    }
    explained
}

/// What the server or the system said, without the place in our script.
fn found(error: &RedisError) -> String {
    let text = match (server_code(error), error.detail()) {
        (Some(code), Some(detail)) => format!("{detail} ({code})"),
        (Some(code), None) => code,
        (None, _) => return error.to_string(),
    };
    match (text.split_once(" script: "), text.rsplit_once(" (")) {
        (Some((said, _)), Some((_, code))) => format!("{said} ({code}"),
        _ => text,
    }
}

/// The word with which the server's answer began.
fn server_code(error: &RedisError) -> Option<String> {
    if let Some(code) = error.code() {
        return Some(code.to_owned());
    }
    // Of a pipeline, the first that failed.
    let failed = error.clone().into_server_errors()?;
    failed.first().map(|(_, error)| error.code().to_owned())
}

fn meaning(error: &RedisError, found: &str) -> (ErrorKind, Option<&'static str>) {
    use ErrorKind as Kind;
    match error.kind() {
        Kinds::AuthenticationFailed => return (Kind::Away, Some(PASSWORD)),
        Kinds::InvalidClientConfig => return (Kind::Usage, None),
        Kinds::Parse | Kinds::UnexpectedReturnType => {
            return (Kind::Damaged, Some("the key is not as annals made it"));
        }
        _ => {}
    }
    if found.contains("certificate") {
        return (Kind::Away, Some("check sslrootcert and sslmode in the URL"));
    }
    let Some(code) = server_code(error) else {
        return (Kind::Away, Some("check that the server runs, and its host and port"));
    };
    match code.as_str() {
        "NOAUTH" | "WRONGPASS" => (Kind::Away, Some(PASSWORD)),
        "NOPERM" => (Kind::Away, Some(RIGHTS)),
        "READONLY" => {
            (Kind::Away, Some("the server is a read-only replica; connect to the primary"))
        }
        "OOM" => (Kind::Full, Some("raise the server's maxmemory, or let workers catch up")),
        "LOADING" => (Kind::Away, Some("the server reads its data; it is tried again")),
        "MISCONF" => (
            Kind::Away,
            Some("the server cannot write its snapshot or log: look at its disk and its log"),
        ),
        "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" => {
            (Kind::Away, Some("look at redis-cli cluster info; it is tried again"))
        }
        "NOREPLICAS" => {
            (Kind::Away, Some("the server has fewer replicas than its min-replicas-to-write"))
        }
        "BUSY" => (Kind::Away, Some("another script runs for long; it is tried again")),
        "MOVED" | "ASK" => (Kind::Usage, Some("this is a cluster: add cluster=true to the URL")),
        "CROSSSLOT" => (Kind::Usage, Some("give the name a hash tag: {annals}:audit")),
        "WRONGTYPE" => (
            Kind::Usage,
            Some("the key is used for something else; choose another name in the URL"),
        ),
        // Within a script the server tells these apart by words alone.
        _ if found.contains("can't run this command") || found.contains("can't access") => {
            (Kind::Away, Some(RIGHTS))
        }
        _ if found.contains("cluster support disabled") => {
            (Kind::Usage, Some("this is no cluster: leave cluster=true out of the URL"))
        }
        _ if found.contains("DB index") => {
            (Kind::Usage, Some("the server has fewer databases; correct the number in the URL"))
        }
        _ if found.contains("unknown command") => {
            (Kind::Usage, Some("use Redis 7 or newer, or Valkey"))
        }
        _ => (Kind::Transient, None),
    }
}

const PASSWORD: &str =
    "check the user and the password in the URL: redis://USER:PASSWORD@…, or password_file=";
const RIGHTS: &str = "let the user run these commands on these keys: docs/redis.md lists both";

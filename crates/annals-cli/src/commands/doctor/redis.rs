//! What a Redis that holds a queue promises.

use annals::transport::redis::{Promises, RedisTransport};
use annals::transport::redis_list::RedisListTransport;

use super::{Finding, Verdict};
use crate::render::shown;
use crate::render::size::{bytes, count};

/// Whether a URL is that of a stream, or of a list.
pub(super) fn is_one(url: &str) -> bool {
    url.starts_with("redis:") || url.starts_with("rediss:") || is_a_list(url)
}

fn is_a_list(url: &str) -> bool {
    url.starts_with("redis+list:") || url.starts_with("rediss+list:")
}

/// Looks at the server's settings.
pub(super) async fn findings(url: &str, what: &str) -> Vec<Finding> {
    let mut beside = Vec::new();
    let promises = match is_a_list(url) {
        false => match RedisTransport::open(url).await {
            Ok(transport) => transport.promises().await,
            Err(error) => Err(error),
        },
        true => match RedisListTransport::open(url).await {
            Ok(transport) => {
                beside = lists(what, &transport).await;
                transport.promises().await
            }
            Err(error) => Err(error),
        },
    };
    match promises {
        Ok(promises) => {
            let mut findings = judge(what, &promises);
            findings.extend(beside);
            findings
        }
        Err(error) => {
            let found = format!("its settings cannot be read: {}", error.found());
            vec![
                Finding::new(Verdict::Warn, what, found)
                    .hint("let this user run INFO and CONFIG GET"),
            ]
        }
    }
}

/// Names other lists that the application may mean, if this one is not there.
async fn lists(what: &str, transport: &RedisListTransport) -> Vec<Finding> {
    let Ok(mut likely) = transport.likely().await else { return Vec::new() };
    if likely.iter().any(|(name, _)| name == transport.key()) {
        return Vec::new();
    }
    likely.truncate(5);
    let named: Vec<String> = likely
        .iter()
        .map(|(name, waiting)| format!("{} ({} waiting)", shown(name), count(*waiting)))
        .collect();
    match named.as_slice() {
        [] => Vec::new(),
        named => {
            vec![
            Finding::new(
                Verdict::Warn,
                what,
                format!("the list {} is not there, and rows of an application wait in {}",
                    shown(transport.key()), named.join(", ")),
            )
            .hint("name it with ?key=, or set REDIS_PREFIX: Laravel puts a prefix before each key"),
        ]
        }
    }
}

fn judge(what: &str, promises: &Promises) -> Vec<Finding> {
    let mut findings = Vec::new();
    if promises.replica {
        findings.push(
            Finding::new(Verdict::Fail, what, "the server is a read-only replica")
                .hint("connect to the primary"),
        );
    }
    findings.push(durability(what, promises));
    findings.push(memory(what, promises));
    findings
}

/// What a crash loses of what was acknowledged as sent.
fn durability(what: &str, promises: &Promises) -> Finding {
    if !promises.appendonly {
        let found = match promises.snapshots {
            Some(false) => "appendonly no, no snapshots: a crash or a restart loses all that waits",
            _ => "appendonly no: a crash loses all that came since the last snapshot",
        };
        return Finding::new(Verdict::Warn, what, found)
            .hint("set appendonly yes and appendfsync always");
    }
    let (verdict, loses) = match promises.appendfsync.as_deref() {
        Some("always") => (Verdict::Ok, "a crash loses nothing"),
        Some("everysec") => (Verdict::Warn, "a crash of the machine loses about the last second"),
        Some(_) => (Verdict::Warn, "a crash of the machine loses what the system had not written"),
        None => {
            (Verdict::Warn, "this user has no right to CONFIG GET, so nobody knows what is lost")
        }
    };
    let sync = promises.appendfsync.as_deref().unwrap_or("unknown");
    let found = format!("appendonly yes, appendfsync {sync}: {loses}");
    let finding = Finding::new(verdict, what, found);
    match verdict {
        Verdict::Ok => finding,
        _ => finding.hint("set appendfsync always where nothing may be lost"),
    }
}

/// What happens when memory is short.
fn memory(what: &str, promises: &Promises) -> Finding {
    let policy = &promises.maxmemory_policy;
    let bound = match promises.maxmemory {
        0 => "no maxmemory".to_owned(),
        bound => format!("maxmemory {}", bytes(bound)),
    };
    let evicts = policy.starts_with("allkeys");
    let (verdict, then) = match (evicts, promises.maxmemory) {
        (true, 0) => (Verdict::Warn, "with a maxmemory it would throw the queue away"),
        (true, _) => (Verdict::Fail, "when memory is short it throws the queue away"),
        (false, 0) => (Verdict::Ok, "the machine's memory is the bound"),
        (false, _) => (Verdict::Ok, "when it is full, events go to the spool"),
    };
    let finding =
        Finding::new(verdict, what, format!("{bound}, maxmemory-policy {policy}: {then}"));
    match evicts {
        true => finding.hint("set maxmemory-policy noeviction"),
        false => finding,
    }
}

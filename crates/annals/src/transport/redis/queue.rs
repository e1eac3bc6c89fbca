//! The queue's scripts. Every function is one of them, and so one round trip.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use super::super::{
    Buried, Delivery, Message, Receipt, TransportStats, Want, Which, id_beside, random_lease,
};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
use crate::redis::{Call, Script, Server};

static PREPARE: Script = Script::new(include_str!("prepare.lua"));
static SEND: Script = Script::new(include_str!("send.lua"));
static RECEIVE: Script = Script::new(include_str!("receive.lua"));
static SETTLE: Script = Script::new(include_str!("settle.lua"));
static FAILED: Script = Script::new(include_str!("failed.lua"));
static STATS: Script = Script::new(include_str!("stats.lua"));

/// Events of one receive, at most: while a script runs, nobody else is served.
const MAX_EVENTS: usize = 10_000;

/// Buried events that one script looks at.
const PAGE: usize = 200;

/// The names of the keys. In a cluster they lie in one slot.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) stream: String,
    group: String,
    leases: String,
    count: String,
    failed: String,
}

impl Keys {
    /// Those of a stream; `None` if it has no name.
    pub(super) fn of(stream: &str, group: &str) -> Option<Self> {
        if stream.is_empty() || group.is_empty() {
            return None;
        }
        let tagged = stream
            .split_once('{')
            .and_then(|(_, rest)| rest.split_once('}'))
            .is_some_and(|(tag, _)| !tag.is_empty());
        let beside = |what| match tagged {
            true => format!("{stream}:{what}"),
            false => format!("{{{stream}}}:{what}"),
        };
        Some(Self {
            stream: stream.to_owned(),
            group: group.to_owned(),
            leases: beside("leases"),
            count: beside("count"),
            failed: beside("failed"),
        })
    }
}

/// An entry of the stream, as the server names it: its time and a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    millis: u64,
    number: u64,
}

impl Place {
    fn key(self) -> u128 {
        u128::from(self.millis) << 64 | u128::from(self.number)
    }

    fn of_key(key: u128) -> Self {
        // Both halves fit.
        let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
        Self { millis: half(key >> 64), number: half(key) }
    }

    /// When it was sent; what we send has the microseconds in the number.
    fn time(self) -> Option<Timestamp> {
        let micros = self.millis.checked_mul(1_000)? + (self.number / 1_000_000).min(999);
        Timestamp::from_micros(i64::try_from(micros).ok()?)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (millis, number) = text.split_once('-').ok_or(())?;
        let parse = |digits: &str| digits.parse().map_err(|_| ());
        Ok(Self { millis: parse(millis)?, number: parse(number)? })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.number)
    }
}

/// Makes the group, before the first entry; answers whether it had to.
pub(super) async fn prepare(server: &Server, keys: &Keys) -> Result<bool> {
    let call = PREPARE.on(&[&keys.stream, &keys.leases]).arg(&keys.group);
    server.script("make the group of", call).await
}

/// Answers how many replicas have it.
pub(super) async fn send(
    server: &Server,
    keys: &Keys,
    batch: &[Message],
    replicas: u32,
    wait: Duration,
) -> Result<u32> {
    const DOING: &str = "send to";
    let mut call = SEND.on(&[&keys.stream]);
    for message in batch {
        call = call.arg(message.id.as_bytes().as_slice()).arg(message.body.as_slice());
    }
    if replicas == 0 {
        return server.script::<()>(DOING, call).await.map(|()| 0);
    }
    let ((), confirmed) = server.confirmed(DOING, call, replicas, wait).await?;
    Ok(confirmed)
}

/// What was received, and how the stream stands.
pub(super) struct Received {
    pub(super) deliveries: Vec<Delivery>,
    /// The last entry that was ever delivered.
    pub(super) place: Place,
    /// How many leases there had been, and how many there are with this one.
    pub(super) leases: Range<u64>,
    /// When the next lease ends.
    pub(super) due: Option<Duration>,
    /// Whether there is more to be done before anything is delivered.
    pub(super) more: bool,
}

type Answer = (String, u64, u64, i64, bool, Vec<Entry>);

/// An entry, its attempts, and its fields and their values.
type Entry = (String, u32, Vec<Vec<u8>>);

/// Leases what is ready; `None` if there is no group.
pub(super) async fn receive(server: &Server, keys: &Keys, want: Want) -> Result<Option<Received>> {
    let lease = random_lease();
    let call = RECEIVE
        .on(&[&keys.stream, &keys.leases, &keys.count])
        .arg(&keys.group)
        .arg(lease)
        .arg(want.events.min(MAX_EVENTS))
        .arg(want.bytes)
        .arg(micros(want.lease));
    let answer = server.script("receive from", call).await;
    let (at, before, after, due, more, entries): Answer = match answer {
        Err(error) if error.found().contains("NOGROUP") => return Ok(None),
        answer => answer?,
    };
    let delivery = |(at, attempts, fields): Entry| {
        let (id, body) = event(fields);
        let receipt = Receipt { key: place(server, &at)?.key(), lease };
        Ok(Delivery { id: id_beside(&id, &body), body, attempts, receipt, refused: None })
    };
    Ok(Some(Received {
        deliveries: entries.into_iter().map(delivery).collect::<Result<_>>()?,
        place: place(server, &at)?,
        leases: before..after,
        due: u64::try_from(due).ok().map(Duration::from_micros),
        more,
    }))
}

/// The id and the body among the fields of an entry.
fn event(fields: Vec<Vec<u8>>) -> (Vec<u8>, Vec<u8>) {
    let (mut id, mut body) = (Vec::new(), Vec::new());
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match name.as_slice() {
            b"i" => id = value,
            b"b" => body = value,
            _ => {}
        }
    }
    (id, body)
}

/// Waits until an entry stands behind a place; answers whether one does.
pub(super) async fn wait(
    server: &Server,
    keys: &Keys,
    behind: Place,
    wait: Duration,
) -> Result<bool> {
    let mut read = redis::cmd("XREAD");
    // Nothing would be for ever.
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
    read.arg("COUNT").arg(1).arg("BLOCK").arg(millis);
    read.arg("STREAMS").arg(&keys.stream).arg(behind.to_string());
    let came: redis::Value = server.wait_for("wait for events of", read, wait).await?;
    Ok(came != redis::Value::Nil)
}

/// What becomes of delivered events.
#[derive(Clone, Copy)]
pub(super) enum Settle {
    Ack,
    Retry(Timestamp),
    Release,
}

pub(super) async fn settle(
    server: &Server,
    keys: &Keys,
    what: Settle,
    receipts: &[Receipt],
) -> Result<usize> {
    let (doing, word, argument) = match what {
        Settle::Ack => ("acknowledge to", "ack", 0),
        Settle::Retry(at) => ("put back into", "retry", at.as_micros().max(0)),
        Settle::Release => ("release to", "release", 0),
    };
    let mut receipts = receipts.to_vec();
    receipts.sort_by_key(|receipt| (receipt.lease, receipt.key));
    let mut done = 0;
    for held in receipts.chunk_by(|one, other| one.lease == other.lease) {
        let mut call = settling(keys, word, argument, held);
        for receipt in held {
            call = call.arg(Place::of_key(receipt.key).to_string());
        }
        done += server.script::<usize>(doing, call).await?;
    }
    Ok(done)
}

/// Buries in the order given, by which the buried are numbered.
pub(super) async fn bury(
    server: &Server,
    keys: &Keys,
    burials: &[(Receipt, String)],
) -> Result<usize> {
    let mut done = 0;
    for held in burials.chunk_by(|(one, _), (other, _)| one.lease == other.lease) {
        let receipts: Vec<Receipt> = held.iter().map(|(receipt, _)| *receipt).collect();
        let mut call = settling(keys, "bury", 0, &receipts);
        for (receipt, reason) in held {
            call = call.arg(Place::of_key(receipt.key).to_string()).arg(reason);
        }
        done += server.script::<usize>("bury in", call).await?;
    }
    Ok(done)
}

/// What is to be done to entries of one lease, which follow. A worker's receipts are
/// of one.
fn settling(keys: &Keys, word: &str, argument: i64, held: &[Receipt]) -> Call {
    let places = || held.iter().map(|receipt| receipt.key);
    let [first, last] = [places().min(), places().max()]
        .map(|key| Place::of_key(key.unwrap_or_default()).to_string());
    SETTLE
        .on(&[&keys.stream, &keys.leases, &keys.failed])
        .arg(&keys.group)
        .arg(word)
        .arg(argument)
        .arg(held.first().map_or(0, |receipt| receipt.lease))
        .arg(held.len())
        .arg(first)
        .arg(last)
}

pub(super) async fn buried(
    server: &Server,
    keys: &Keys,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<Buried>> {
    let mut range = redis::cmd("XRANGE");
    range.arg(&keys.failed);
    match after {
        None => range.arg("-"),
        Some(number) => range.arg(format!("({number}-0")),
    };
    range.arg("+").arg("COUNT").arg(limit);
    let entries: Vec<(String, Vec<Vec<u8>>)> = server.command("list the failed of", range).await?;
    let buried = |(at, fields): (String, Vec<Vec<u8>>)| {
        let text = |name: &[u8]| {
            let value = fields.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| &pair[1]);
            value.map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
        };
        let (reason, attempts, micros) = (text(b"r"), text(b"a"), text(b"t"));
        let failed_at = micros.parse().ok().and_then(Timestamp::from_micros);
        let (id, body) = event(fields);
        Ok(Buried {
            number: place(server, &at)?.millis,
            id: id_beside(&id, &body),
            body,
            reason,
            attempts: attempts.parse().unwrap_or_default(),
            failed_at: failed_at.unwrap_or(Timestamp::MIN),
        })
    };
    entries.into_iter().map(buried).collect()
}

/// Revives or removes what is buried, a page at a time.
pub(super) async fn failed(
    server: &Server,
    keys: &Keys,
    what: &'static str,
    which: Which<'_>,
) -> Result<usize> {
    let doing = if what == "revive" { "revive in" } else { "remove from" };
    let ids: Vec<&[u8]> = match which {
        Which::All => Vec::new(),
        Which::Ids([]) => return Ok(0),
        Which::Ids(ids) => ids.iter().map(|id| id.as_bytes().as_slice()).collect(),
    };
    let (mut done, mut from) = (0, "-".to_owned());
    while !from.is_empty() {
        let call =
            FAILED.on(&[&keys.stream, &keys.failed]).arg(what).arg(&from).arg(PAGE).arg(&ids);
        let (here, next): (usize, String) = server.script(doing, call).await?;
        (done, from) = (done + here, next);
    }
    Ok(done)
}

pub(super) async fn stats(server: &Server, keys: &Keys) -> Result<TransportStats> {
    let call = STATS.on(&[&keys.stream, &keys.leases, &keys.failed]).arg(&keys.group);
    let (waiting, leased, failed, oldest, bytes): (u64, u64, u64, String, u64) =
        server.script("read the figures of", call).await?;
    Ok(TransportStats {
        ready: waiting.saturating_sub(leased),
        leased,
        failed,
        oldest: oldest.parse().ok().and_then(Place::time),
        bytes: Some(bytes),
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn place(server: &Server, text: &str) -> Result<Place> {
    text.parse().map_err(|()| {
        let doing = server.doing("read an answer of");
        Error::new(ErrorKind::Damaged, doing, format!("{text} is no entry of a stream"))
    })
}

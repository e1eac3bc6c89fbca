//! The table of everything that can be set.

use std::time::Duration;

/// One thing that can be set.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Setting {
    /// Its name in `annals.toml`: `section.name`, or a name at the top.
    pub key: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Its value if nobody sets it; `{data_dir}` stands for that setting. `None`
    /// if it is then not set at all.
    pub default: Option<&'static str>,
    /// What it does, in one line.
    pub doc: &'static str,
}

/// What a setting may be.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// A path.
    Path,
    /// The name of a log: no space and no plus.
    LogName,
    /// A URL; a password in it is never shown.
    Url,
    /// A scheme, a host and perhaps a port: `https://audit.example.com`.
    Origin,
    /// Any text.
    Text,
    /// Roles of values: `audit-team=auditor`, `acme-support=reader@acme`.
    Roles,
    /// One or more URLs.
    Urls,
    /// Properties of a foreign message, each with the event's field that it is:
    /// `verb=action`.
    Mapping,
    /// Fields of entities: `customer.email`.
    Fields,
    /// Addresses and networks: `10.0.0.0/8`.
    Networks,
    /// A command of the shell.
    Command,
    /// Witnesses: for each its key, a space and its URL.
    Witnesses,
    /// Where checkpoints are published: URLs, files and commands.
    Targets,
    /// A whole number between these, both included.
    Count(u64, u64),
    /// A number of bytes between these, both included, such as `64MiB`.
    Bytes(u64, u64),
    /// A time between these, both included, such as `5s`.
    Duration(Duration, Duration),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An address and a port.
    Address,
}

impl Setting {
    /// The environment variable that sets it: `worker.batch_size` is
    /// `ANNALS_WORKER_BATCH_SIZE`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("ANNALS_{}", self.key.replace('.', "_").to_ascii_uppercase())
    }

    /// The setting with that key.
    #[must_use]
    pub fn find(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

const fn setting(
    key: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    doc: &'static str,
) -> Setting {
    Setting { key, kind, default, doc }
}

/// Everything that can be set, in the order of `annals init`.
pub const SETTINGS: &[Setting] = &[
    setting(
        "data_dir",
        Kind::Path,
        Some("annals-data"),
        "Where the embedded databases and the spool lie; made for its owner alone.",
    ),
    setting(
        "transport",
        Kind::Urls,
        Some("sqlite:{data_dir}/queue.db"),
        "The queue: capture sends to the first, a worker reads all. sqlite:PATH?max_bytes=N bounds it.",
    ),
    setting("store", Kind::Url, Some("sqlite:{data_dir}/store.db"), "Where events rest."),
    setting(
        "mirror",
        Kind::Urls,
        None,
        "Plain copies written after the store, such as \"file:/var/log/annals/audit.log\".",
    ),
    setting(
        "symfony.map",
        Kind::Mapping,
        None,
        "Which property of a Symfony message is which field, beside those that go by their names: PROPERTY=FIELD.",
    ),
    setting(
        "worker.batch_size",
        Kind::Count(1, 10_000),
        Some("100"),
        "Events of a batch, at most.",
    ),
    setting(
        "worker.batch_bytes",
        Kind::Bytes(256 * KIB, 256 * MIB),
        Some("8MiB"),
        "Bytes of a batch, at most.",
    ),
    setting(
        "worker.flush_interval",
        Kind::Duration(Duration::ZERO, HOUR),
        Some("5s"),
        "How long a batch that is not full waits for more, unless the worker was idle.",
    ),
    setting(
        "worker.concurrency",
        Kind::Count(1, 64),
        Some("1"),
        "Batches at a time, for each transport.",
    ),
    setting(
        "worker.retries",
        Kind::Count(0, 1000),
        Some("3"),
        "How often an event is tried again before it goes to failed.",
    ),
    setting(
        "worker.lease",
        Kind::Duration(SECOND, Duration::from_secs(86_400)),
        Some("60s"),
        "For how long a received event is one worker's alone.",
    ),
    setting(
        "worker.rescue_after",
        Kind::Duration(Duration::ZERO, YEAR),
        Some("60s"),
        "How long the store is away before a Redis list is moved to the spool; sooner if Redis is nearly full.",
    ),
    setting(
        "worker.time_limit",
        Kind::Duration(SECOND, YEAR),
        None,
        "Leave after this time, for a supervisor to start the worker anew.",
    ),
    setting("worker.max_events", Kind::Count(1, u64::MAX), None, "Leave after this many events."),
    setting(
        "worker.memory_limit",
        Kind::Bytes(16 * MIB, 1024 * GIB),
        None,
        "Leave when the process occupies more than this.",
    ),
    setting(
        "log.name",
        Kind::LogName,
        Some("annals"),
        "What the log is signed as, before the store's own number: best a URL without a scheme, never changed.",
    ),
    setting(
        "log.key_file",
        Kind::Path,
        None,
        "The private key that signs the log; ANNALS_LOG_KEY may hold it instead. Made under data_dir if there is neither.",
    ),
    setting(
        "log.witnesses",
        Kind::Witnesses,
        None,
        "Who cosigns the log's checkpoints, each with its key and its URL, as `annals witness` prints them.",
    ),
    setting(
        "log.publish",
        Kind::Targets,
        None,
        "Where checkpoints are published too: file:PATH, exec:COMMAND, https://…, syslog:, syslog://HOST.",
    ),
    setting(
        "log.publish_every",
        Kind::Duration(SECOND, YEAR),
        Some("60s"),
        "How often they are published there, at most.",
    ),
    setting(
        "seal.fields",
        Kind::Fields,
        None,
        "Personal fields of events that come in without marks: TYPE.FIELD, actor.name, context.ip, context.user_agent.",
    ),
    setting(
        "seal.key_file",
        Kind::Path,
        None,
        "The master key that wraps the keys of subjects; made if it is not there. Without one, events with personal fields go to failed.",
    ),
    setting(
        "seal.key_command",
        Kind::Command,
        None,
        "A command in its place, such as of a key management service: see docs/erasure.md.",
    ),
    setting(
        "redact.drop",
        Kind::Fields,
        None,
        "Fields that are left out: TYPE.FIELD, or *.FIELD; by ingest before the queue, by workers before the store.",
    ),
    setting("redact.mask", Kind::Fields, None, "Fields of which a few letters stay, likewise."),
    setting(
        "redact.hash",
        Kind::Fields,
        None,
        "Fields that are replaced by a keyed hash, so that `query --value-hash` can ask for a value.",
    ),
    setting(
        "redact.key_file",
        Kind::Path,
        None,
        "The key of those hashes; made if it is not there. ANNALS_REDACT_KEY may hold it instead.",
    ),
    setting(
        "redact.patterns",
        Kind::Choice(&["ingest", "all", "off"]),
        Some("ingest"),
        "Whether what looks like a secret is replaced: in what is posted, in all that workers store, or nowhere.",
    ),
    setting(
        "capture.delivery",
        Kind::Choice(&["buffered", "durable", "strict"]),
        Some("buffered"),
        "When a record call returns: once in bounded memory, or once on disk.",
    ),
    setting(
        "capture.when_full",
        Kind::Choice(&["spill", "block", "fail", "drop"]),
        Some("spill"),
        "What a full buffer does: to the spool, wait, refuse, or drop and count.",
    ),
    setting(
        "capture.buffer_bytes",
        Kind::Bytes(256 * KIB, 16 * GIB),
        Some("16MiB"),
        "Bytes of encoded events that the buffer holds, at most.",
    ),
    setting(
        "capture.linger",
        Kind::Duration(Duration::ZERO, Duration::from_secs(10)),
        Some("20ms"),
        "How long a buffered event may wait for company; a crash loses at most that.",
    ),
    setting(
        "capture.max_block",
        Kind::Duration(Duration::ZERO, HOUR),
        Some("100ms"),
        "How long a caller may wait for room before the event is dropped and counted.",
    ),
    setting(
        "ingest.listen",
        Kind::Address,
        Some("127.0.0.1:4620"),
        "Where the server listens. Anything but loopback wants TLS (tls.certificate) and keys.",
    ),
    setting(
        "ingest.max_body_bytes",
        Kind::Bytes(KIB, GIB),
        Some("16MiB"),
        "Bytes of one request's body, at most.",
    ),
    setting(
        "ingest.max_events",
        Kind::Count(1, 100_000),
        Some("10000"),
        "Events of one request, at most.",
    ),
    setting(
        "tls.certificate",
        Kind::Path,
        None,
        "The server's certificate, and those up to an authority, in PEM; read again when it changes.",
    ),
    setting("tls.key", Kind::Path, None, "The private key of that certificate, in PEM."),
    setting(
        "tls.client_authorities",
        Kind::Path,
        None,
        "Authorities, in PEM, of one of which every client must show a certificate.",
    ),
    setting(
        "tls.plain",
        Kind::Choice(&["loopback", "anywhere"]),
        Some("loopback"),
        "Where it may listen without TLS: on this machine (loopback), or anywhere, as behind a proxy that speaks TLS.",
    ),
    setting(
        "access.key_file",
        Kind::Path,
        Some("{data_dir}/access.key"),
        "The key under which keys of applications are kept; made if it is not there, and the same for all servers of a \
         store. ANNALS_ACCESS_KEY may hold it instead.",
    ),
    setting(
        "access.ingest",
        Kind::Choice(&["loopback", "keys"]),
        Some("loopback"),
        "Who may send events in without a key: programs of this machine (loopback), or nobody (keys).",
    ),
    setting(
        "access.proxies",
        Kind::Networks,
        None,
        "Proxies whose X-Forwarded-For is believed, as addresses or networks.",
    ),
    setting(
        "access.url",
        Kind::Origin,
        None,
        "Where people reach the server in their browsers, if something before it speaks TLS or names it otherwise.",
    ),
    setting(
        "access.session",
        Kind::Duration(SECOND, YEAR),
        Some("12h"),
        "How long somebody who has signed in stays so.",
    ),
    setting(
        "access.requests_per_key",
        Kind::Count(1, 1_000_000),
        Some("5000"),
        "Requests of one key in a second, and twice as many at once; others get 429 and when to come again.",
    ),
    setting(
        "access.requests_per_address",
        Kind::Count(1, 1_000_000),
        Some("5000"),
        "The same of one address; programs of this machine that show no key have no such bound.",
    ),
    setting(
        "oidc.issuer",
        Kind::Url,
        None,
        "A provider of identities that people sign in by (OpenID Connect), to the letter as it names itself.",
    ),
    setting("oidc.name", Kind::Text, Some("your organisation"), "What people call it."),
    setting("oidc.client_id", Kind::Text, Some("annals"), "What it calls this server."),
    setting(
        "oidc.secret_file",
        Kind::Path,
        None,
        "A file with what it knows this server by, if it wants that; ANNALS_OIDC_SECRET may hold it instead.",
    ),
    setting(
        "oidc.scopes",
        Kind::Text,
        Some("profile email"),
        "What it is asked for beside openid, between spaces.",
    ),
    setting(
        "oidc.claim",
        Kind::Text,
        Some("groups"),
        "The claim of its tokens that says what somebody is; in an object between dots, such as realm_access.roles.",
    ),
    setting(
        "oidc.roles",
        Kind::Roles,
        None,
        "The role that whoever has a value of that claim has, VALUE=ROLE or VALUE=ROLE@TENANT,TENANT; the first that fits counts.",
    ),
    setting(
        "metrics.listen",
        Kind::Address,
        None,
        "Where `annals work` answers Prometheus at /metrics, such as 127.0.0.1:9620. Loopback only.",
    ),
    setting(
        "retention.archive",
        Kind::Path,
        None,
        "Where what goes by rules of retention is archived first; the rules are tables [[retention.rule]].",
    ),
    setting(
        "prune.older_than",
        Kind::Duration(MILLI, CENTURY),
        None,
        "`up` removes events of that age daily; `annals prune` takes it as its default.",
    ),
];

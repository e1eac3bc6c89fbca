//! The configuration: flags over `ANNALS_*` over `annals.toml` over defaults.
//!
//! [`SETTINGS`] is the one table of what can be set. Every layer is read raw
//! ([`Sources`]), then validated as a whole by [`Config::load`], which reports
//! all faults at once, each with its place: the flag, the variable, or the line
//! of the file. Nothing here opens a backend.

mod envfile;
mod fault;
mod file;
mod laravel;
mod load;
mod rules;
mod setting;
mod suggest;
mod template;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::capture::{AuditOptions, Delivery, WhenFull};
use crate::retention::Policy;
use crate::worker::WorkerOptions;

pub use envfile::EnvFile;
pub use fault::{Fault, Faults, Origin};
pub use file::ConfigFile;
pub use setting::{Kind, SETTINGS, Setting};
pub use suggest::closest;
pub use template::template;

/// Where the raw settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Values given as flags.
    pub flags: Vec<Flag>,
    /// The process's environment. Names that begin with `ANNALS_` matter, and those of
    /// an application whose worker's place Annals takes.
    pub environment: Vec<(String, String)>,
    /// That application's own file of variables, below the process's.
    pub application: Option<EnvFile>,
    /// The file, if there is one.
    pub file: Option<ConfigFile>,
}

/// A setting given as a flag.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The setting's key, as in [`SETTINGS`].
    pub key: &'static str,
    /// The flag's name, such as `--batch-size`.
    pub name: &'static str,
    /// What was given, once for each time the flag stood there.
    pub values: Vec<String>,
}

/// A whole and valid configuration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where the embedded databases, the spool and the shop's data lie.
    pub data_dir: PathBuf,
    /// URLs of the transports; never empty. Capture sends to the first, a worker
    /// reads them all.
    pub transports: Vec<String>,
    /// URL of the store.
    pub store: String,
    /// URLs of the mirrors.
    pub mirrors: Vec<String>,
    /// How workers work.
    pub worker: WorkerOptions,
    /// How the command captures.
    pub capture: CaptureSettings,
    /// How events are taken in over HTTP.
    pub ingest: IngestSettings,
    /// How the server speaks TLS.
    pub tls: TlsSettings,
    /// Who may use the server.
    pub access: AccessSettings,
    /// The provider of identities that people sign in by, if there is one.
    pub oidc: Option<OidcSettings>,
    /// How the log is signed.
    pub log: LogSettings,
    /// How personal fields are sealed.
    pub seal: SealSettings,
    /// What is not stored as it came.
    pub redact: RedactSettings,
    /// Which events go when, by rules.
    pub retention: RetentionSettings,
    /// Who may look at a worker.
    pub metrics: MetricsSettings,
    /// The age at which `up` prunes daily, and the default of `annals prune`.
    pub prune_older_than: Option<Duration>,
    /// Every setting with its value and origin, in the table's order.
    pub settings: Vec<Resolved>,
    /// What is odd and yet no fault, such as a variable that sets nothing.
    pub warnings: Vec<Fault>,
}

/// The settings of [`AuditOptions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureSettings {
    /// When `record` counts as done.
    pub delivery: Delivery,
    /// What happens when the buffer is full.
    pub when_full: WhenFull,
    /// Bytes that the buffer holds, at most.
    pub buffer_bytes: usize,
    /// How long a buffered event may wait for company.
    pub linger: Duration,
    /// How long a caller may wait for room.
    pub max_block: Duration,
}

/// The settings of the HTTP ingest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IngestSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Bytes of one request's body, at most.
    pub max_body_bytes: usize,
    /// Events of one request, at most.
    pub max_events: usize,
}

/// How the server speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsSettings {
    /// The file of its certificate, if it speaks TLS.
    pub certificate: Option<PathBuf>,
    /// The file of the private key.
    pub key: Option<PathBuf>,
    /// The file of the authorities of clients' certificates, if they must show one.
    pub client_authorities: Option<PathBuf>,
    /// Whether it may listen without TLS where others reach it.
    pub plain_anywhere: bool,
}

/// Who may use the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessSettings {
    /// The file of the access key.
    pub key_file: PathBuf,
    /// Whether programs of this machine may send events in without a key.
    pub open_ingest: bool,
    /// Proxies that are believed: addresses and networks.
    pub proxies: Vec<String>,
    /// Where people reach the server: `SCHEME://HOST[:PORT]`.
    pub url: Option<String>,
    /// How long a session lasts.
    pub session: Duration,
    /// Requests of one key in a second.
    pub requests_per_key: u32,
    /// Requests from one address in a second.
    pub requests_per_address: u32,
}

/// A provider of identities that people sign in by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OidcSettings {
    /// Who it is, to the letter.
    pub issuer: String,
    /// What people call it.
    pub name: String,
    /// What it calls this server.
    pub client_id: String,
    /// The file with what it knows this server by.
    pub secret_file: Option<PathBuf>,
    /// What it is asked for beside `openid`.
    pub scopes: String,
    /// The claim that says what somebody is.
    pub claim: String,
    /// What values of that claim make somebody; the first that fits counts.
    pub roles: Vec<RoleOf>,
}

/// The role that whoever has a value has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoleOf {
    /// The value.
    pub value: String,
    /// `reader`, `operator`, `auditor` or `administrator`.
    pub role: String,
    /// With whose data; with that of all tenants if there are none.
    pub tenants: Vec<String>,
}

impl RoleOf {
    /// Reads `VALUE=ROLE` or `VALUE=ROLE@TENANT,TENANT`.
    fn read(text: &str) -> Option<Self> {
        const ROLES: [&str; 4] = ["reader", "operator", "auditor", "administrator"];
        // Names of groups may have anything in them.
        let (value, role) = text.rsplit_once('=')?;
        let (role, tenants) = match role.split_once('@') {
            None => (role, Vec::new()),
            Some((role, tenants)) => (role, tenants.split(',').map(str::to_owned).collect()),
        };
        let named = tenants.iter().all(|tenant| !tenant.is_empty());
        (!value.is_empty() && ROLES.contains(&role) && named).then(|| Self {
            value: value.to_owned(),
            role: role.to_owned(),
            tenants,
        })
    }
}

/// Who may look at a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricsSettings {
    /// Where a worker answers Prometheus, if it does.
    pub listen: Option<SocketAddr>,
}

/// How the log is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogSettings {
    /// What its origin begins with.
    pub name: String,
    /// The file of its private key, if one was named.
    pub key_file: Option<PathBuf>,
    /// Who cosigns its checkpoints: for each a key, a space and a URL.
    pub witnesses: Vec<String>,
    /// Where they are published.
    pub publish: Vec<String>,
    /// How often, at most.
    pub publish_every: Duration,
}

/// How personal fields are sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealSettings {
    /// Fields that are personal though nobody marked them.
    pub fields: Vec<String>,
    /// The file of the master key, if one was named.
    pub key_file: Option<PathBuf>,
    /// The command in its place.
    pub key_command: Option<String>,
}

/// What is not stored as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedactSettings {
    /// Fields that are left out.
    pub drop: Vec<String>,
    /// Fields that are masked.
    pub mask: Vec<String>,
    /// Fields that are replaced by a keyed hash.
    pub hash: Vec<String>,
    /// The file of that key, if one was named.
    pub key_file: Option<PathBuf>,
    /// Where secrets are looked for.
    pub patterns: Patterns,
}

/// Where what looks like a secret is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patterns {
    /// In what is posted, before it is queued.
    #[default]
    Ingest,
    /// In all that workers store, too.
    All,
    /// Nowhere.
    Off,
}

/// How long events are kept, by rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionSettings {
    /// The rules; none of them if the configuration has none.
    pub policy: Policy,
    /// Where what goes is archived first.
    pub archive: Option<PathBuf>,
}

/// The variable that holds the private key of the log itself. It is no setting: nothing
/// shows it.
pub const LOG_KEY: &str = "ANNALS_LOG_KEY";

/// The variable that holds the master key itself, likewise.
pub const MASTER_KEY: &str = "ANNALS_MASTER_KEY";

/// The variable that holds the key of hashes itself, likewise.
pub const REDACT_KEY: &str = "ANNALS_REDACT_KEY";

/// The variable that holds the access key itself, likewise.
pub const ACCESS_KEY: &str = "ANNALS_ACCESS_KEY";

/// The variable that holds what a provider of identities knows this server by, likewise.
pub const OIDC_SECRET: &str = "ANNALS_OIDC_SECRET";

/// One setting as it came out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Resolved {
    /// Which one.
    pub setting: &'static Setting,
    /// Its value as text, passwords hidden; `None` if it is not set.
    pub value: Option<String>,
    /// Where the value came from.
    pub origin: Origin,
}

impl CaptureSettings {
    /// The options of a capture handle.
    #[must_use]
    pub fn options(&self) -> AuditOptions {
        AuditOptions {
            delivery: self.delivery,
            when_full: self.when_full,
            buffer_bytes: self.buffer_bytes,
            linger: self.linger,
            max_block: self.max_block,
            ..AuditOptions::default()
        }
    }
}

#[cfg(test)]
mod tests;

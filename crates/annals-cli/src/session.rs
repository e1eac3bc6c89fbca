//! What every command needs: the configuration, and what it leads to.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals::access::{AccessKey, Keyring, Known, People, Tenants, Token};
use annals::config::{
    ACCESS_KEY, Config, ConfigFile, EnvFile, LOG_KEY, MASTER_KEY, OIDC_SECRET, Patterns,
    REDACT_KEY, Sources,
};
use annals::context::proxy::TrustedProxies;
use annals::log::VerifierKey;
use annals::proof::{Cosigner, Keys, Publisher, Signer, Target, WitnessAddress};
use annals::redact::{self, HashKey, Redactor};
use annals::rollup::Roller;
use annals::seal::{Declared, MasterKey, Opener, Sealer};
use annals::store::laravel::AuditsTable;
use annals::store::{self, Appender, Store};
use annals::transport::{self, Transport};
use annals::url::without_secrets;
use annals::worker::{Worker, WorkerOptions};
use annals::{Audit, AuditOptions, Delivery};
use annals_server::{
    Provider, ProviderSettings, Reading, Server, SignIn, Tls, TlsFiles, Watched, Wire,
};
use zeroize::Zeroizing;

use crate::args::Cli;
use crate::failure::Failure;
use crate::keeper::Keeper;
use crate::out::Out;
use crate::remote::{Remote, RemoteStore};
use crate::render::shown;
use crate::render::style::WARN;
use crate::signals::reopen_on_hangup;

/// The configuration file that is read if it is there.
pub(crate) const DEFAULT_FILE: &str = "annals.toml";

/// One run of the command.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) config: Config,
    pub(crate) out: Out,
    /// The configuration file, given or default, whether it is there or not.
    pub(crate) file: PathBuf,
    /// The store that would be used without `--store`, where that names an archive: it has
    /// the keys of what is sealed there.
    behind: Option<String>,
    /// The server that reads instead of this process.
    remote: Option<Remote>,
}

impl Session {
    /// Reads the configuration; every fault of it is told at once.
    pub(crate) fn open(cli: &Cli) -> Result<Self, Failure> {
        let given = cli.global.config.clone();
        let file = given.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        // `init` makes the file that `--config` names; for all else it must exist.
        let init = matches!(cli.command, crate::args::Command::Init(_));
        let read = !init && (given.is_some() || file.exists());
        let mut flags = cli.global.flags();
        flags.extend(cli.command.flags());
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
            })
            .collect();
        let file_read = if read { Some(ConfigFile::read(&file)?) } else { None };
        let application = cli.global.env_file.as_deref().map(EnvFile::read).transpose()?;
        let sources = Sources { flags, environment, application, file: file_read };
        let config = Config::load(&sources)?;
        let behind = match config.store.starts_with("archive:") {
            true => Some(Config::load(&Sources { flags: Vec::new(), ..sources })?.store),
            false => None,
        };
        let out = Out::new(cli.global.json);
        for warning in &config.warnings {
            out.note(format!("{WARN}warning:{WARN:#} {}", shown(&warning.to_string())));
        }
        let remote = match (&cli.global.server, cli.command.needs_the_store()) {
            (None, _) => None,
            (Some(_), Some(name)) => {
                return Err(Failure::usage(format!("`annals {name}` works where the store is"))
                    .hint("leave --server out, and ANNALS_SERVER"));
            }
            (Some(url), None) => Some(Remote::open(url, cli.global.server_key.as_deref())?),
        };
        Ok(Self { config, out, file, behind, remote })
    }

    /// The server that reads instead of this process, if one is to.
    pub(crate) fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// Refuses what a server does not do.
    pub(crate) fn here_only(&self, what: &str, wanted: bool) -> Result<(), Failure> {
        if self.remote.is_none() || !wanted {
            return Ok(());
        }
        Err(Failure::usage(format!("{what} works where the store is"))
            .hint("leave --server out, and ANNALS_SERVER"))
    }

    /// The transport that events are sent to: the first of those configured that is
    /// no other application's, else the spool.
    pub(crate) async fn transport(&self) -> Result<Arc<dyn Transport>, Failure> {
        match self.sending_url() {
            Some(url) => Ok(transport::open(url).await?),
            None => Ok(transport::open(&self.spool_url()).await?),
        }
    }

    fn sending_url(&self) -> Option<&String> {
        self.config.transports.iter().find(|url| !transport::is_foreign(url))
    }

    /// Every transport that a worker reads: those configured, and the spool where
    /// one of them may need it or it is there already.
    pub(crate) async fn transports(&self) -> Result<Vec<Arc<dyn Transport>>, Failure> {
        let mut open = Vec::new();
        for url in &self.config.transports {
            open.push(transport::open(url).await?);
        }
        let spool = self.spool_url();
        if !self.config.transports.contains(&spool)
            && (!self.config.transports.iter().all(|url| is_near(url))
                || self.spool_path().exists())
        {
            open.push(transport::open(&spool).await?);
        }
        Ok(open)
    }

    /// Lets a worker read these; the one that is the spool takes what is rescued too.
    pub(crate) fn reading(&self, worker: Worker, transports: &[Arc<dyn Transport>]) -> Worker {
        let spool = self.spool_url();
        transports.iter().map(Arc::clone).fold(worker, |worker, transport| {
            if transport.url() == spool {
                worker.spool(transport)
            } else {
                worker.transport(transport)
            }
        })
    }

    /// As [`Self::transports`], but only those that are there: looking at a queue
    /// must not make it.
    pub(crate) async fn existing_transports(&self) -> Result<Vec<Arc<dyn Transport>>, Failure> {
        let mut open = Vec::new();
        let spool = self.spool_url();
        let configured = &self.config.transports;
        let beside = Some(&spool).filter(|spool| !configured.contains(spool));
        for url in configured.iter().chain(beside) {
            if sqlite_path(url).is_none_or(|path| path.exists()) {
                open.push(transport::open(url).await?);
            }
        }
        Ok(open)
    }

    /// The store, to be read: it must be there.
    pub(crate) async fn store(&self) -> Result<Arc<dyn Store>, Failure> {
        if let Some(remote) = &self.remote {
            return Ok(Arc::new(RemoteStore::new(remote.clone())));
        }
        Ok(store::open_existing(&self.config.store).await?)
    }

    /// The store to be read, or why there is none that could be: it is not there
    /// yet, or is a plain file.
    pub(crate) async fn readable_store(&self) -> annals::Result<Result<Arc<dyn Store>, String>> {
        let url = &self.config.store;
        if url.starts_with("file:") {
            return Ok(Err(format!("{} is a plain file, which keeps no figures", shown_url(url))));
        }
        if AuditsTable::is_named_by(url) {
            let shown = shown_url(url);
            return Ok(Err(format!(
                "{shown} is an application's own table, which keeps no figures"
            )));
        }
        if sqlite_path(url).is_some_and(|path| !path.exists()) {
            return Ok(Err(format!("nothing has been stored in {} yet", shown_url(url))));
        }
        Ok(Ok(store::open_existing(url).await?))
    }

    /// A worker for the store and the mirrors, whose files a SIGHUP reopens. `store` is the
    /// store if it has a log ([`Session::store_with_log`]): what writes events and what signs
    /// them share its connections.
    pub(crate) async fn worker(
        &self,
        options: WorkerOptions,
        store: Option<&Arc<dyn Store>>,
    ) -> Result<Worker, Failure> {
        let appender = match store {
            Some(store) => Arc::clone(store) as Arc<dyn Appender>,
            None => store::open_appender(&self.config.store).await?,
        };
        let mut appenders = vec![Arc::clone(&appender)];
        let mut worker = Worker::new(appender, options);
        for url in &self.config.mirrors {
            let mirror = store::open_appender(url).await?;
            appenders.push(Arc::clone(&mirror));
            worker = worker.mirror(mirror);
        }
        reopen_on_hangup(appenders)?;
        if let Some(sealer) = self.sealer(store)? {
            worker = worker.sealer(Arc::new(sealer));
        }
        if let Some(redactor) = self.redactor(false)? {
            worker = worker.redactor(redactor);
        }
        Ok(worker)
    }

    /// What Prometheus may ask of this process: these queues, and the store if there is one
    /// with a log.
    pub(crate) fn watched(
        &self,
        transports: &[Arc<dyn Transport>],
        store: Option<Arc<dyn Store>>,
    ) -> Result<Watched, Failure> {
        let (spool, sending) = (self.spool_url(), self.sending_url());
        let takes = |url: &str| sending.is_none_or(|sending| sending == url) || url == spool;
        let watched = transports.iter().fold(Watched::new(), |watched, transport| {
            watched.transport(Arc::clone(transport), takes(transport.url()))
        });
        Ok(match store {
            Some(store) => watched.store(store, self.witness_keys()?),
            None => watched,
        })
    }

    /// What seals personal values; none without a master key, or if the store has no place
    /// for keys.
    fn sealer(&self, store: Option<&Arc<dyn Store>>) -> Result<Option<Sealer>, Failure> {
        let (url, fields) = (&self.config.store, &self.config.seal.fields);
        let master = if store.is_some() { self.master_key(true)? } else { None };
        let (Some(store), Some(master)) = (store, master) else {
            if fields.is_empty() {
                return Ok(None);
            }
            let what = match store {
                None => format!("{} keeps no keys to seal `seal.fields` with", shown_url(url)),
                Some(_) => "`seal.fields` are to be sealed, and there is no master key".to_owned(),
            };
            return Err(Failure::usage(what).hint("set `seal.key_file` or `seal.key_command`"));
        };
        Ok(Some(Sealer::new(Arc::clone(store), master, Declared::of(fields)?)?))
    }

    /// What redacts what is posted, or what a worker stores; none if there is nothing to do.
    pub(crate) fn redactor(&self, posted: bool) -> Result<Option<Arc<Redactor>>, Failure> {
        let redact = &self.config.redact;
        let fields = redact::Fields::of(&redact.drop, &redact.mask, &redact.hash)?;
        let patterns = match redact.patterns {
            Patterns::All => true,
            Patterns::Ingest => posted,
            Patterns::Off => false,
        };
        let key = if redact.hash.is_empty() { None } else { self.hash_key(true)? };
        let redactor = Redactor::new(fields, key, patterns)?;
        Ok((!redactor.is_idle()).then(|| Arc::new(redactor)))
    }

    /// The key of hashes; none if there is none here.
    pub(crate) fn hash_key(&self, may_make: bool) -> Result<Option<HashKey>, Failure> {
        Ok(match (std::env::var(REDACT_KEY), &self.config.redact.key_file) {
            (Ok(key), _) => Some(HashKey::from_text(&key)?),
            (Err(_), Some(file)) => Some(HashKey::from_file(file, may_make)?),
            (Err(_), None) => None,
        })
    }

    /// What opens the sealed values of `store`; none without a master key. An archive's are
    /// opened with the keys of the store that is configured.
    pub(crate) async fn opener(&self, store: Arc<dyn Store>) -> Result<Option<Opener>, Failure> {
        let Some(master) = self.master_key(false)? else { return Ok(None) };
        let keeper = match &self.behind {
            None => store,
            Some(url) if url.starts_with("archive:") => {
                let found = "an archive holds sealed values, and no keys";
                return Err(Failure::usage(found).hint(
                    "configure the store that it was written from, and name the archive with --store",
                ));
            }
            Some(url) => store::open_existing(url).await?,
        };
        Ok(Some(Opener::new(keeper, master)?))
    }

    /// How the server keeps from others what goes over the wire.
    pub(crate) fn wire(&self) -> Result<Wire, Failure> {
        let tls = &self.config.tls;
        match (&tls.certificate, &tls.key) {
            (Some(certificate), Some(key)) => {
                let authorities = tls.client_authorities.clone();
                let files = TlsFiles::new(certificate, key).client_authorities(authorities);
                Ok(Wire::Tls(Tls::open(files)?))
            }
            (None, None) if tls.client_authorities.is_none() => {
                Ok(if tls.plain_anywhere { Wire::Plain } else { Wire::Loopback })
            }
            _ => Err(Failure::usage("TLS wants tls.certificate and tls.key, both")
                .hint("give the files of both, or none of the two")),
        }
    }

    /// Lets keys in, and answers who reads this store, if it keeps keys and has a log.
    pub(crate) fn answering(
        &self,
        server: Server,
        transports: &[Arc<dyn Transport>],
        store: Option<Arc<dyn Store>>,
    ) -> Result<Server, Failure> {
        let access = &self.config.access;
        let server =
            server.proxies(TrustedProxies::new(access.proxies.iter().map(String::as_str))?);
        let open_ingest = access.open_ingest;
        let Some(store) = store else {
            if open_ingest {
                return Ok(server);
            }
            let shown = shown_url(&self.config.store);
            return Err(Failure::usage(format!(
                "access.ingest wants keys, and {shown} keeps none"
            ))
            .hint(
                "use a store in SQLite, PostgreSQL or MariaDB, or access.ingest = \"loopback\"",
            ));
        };
        let keys = Arc::new(Known::new(&self.keyring(Arc::clone(&store))?));
        let retention = &self.config.retention;
        let reading = Reading::new(store)
            .transports(transports)
            .witnesses(self.witness_keys()?)
            .retention(retention.policy.clone(), retention.archive.is_some());
        let mut sign_in = SignIn::new(access.url.clone(), access.session);
        if let Some(provider) = self.provider()? {
            sign_in = sign_in.provider(provider);
        }
        Ok(server.keys(keys, open_ingest).people(sign_in).reading(reading))
    }

    /// The store, for a server: what is there already needs no rights to make it, and one
    /// that is away is waited for.
    pub(crate) async fn store_to_serve(&self) -> Result<Option<Arc<dyn Store>>, Failure> {
        match self.readable_store().await {
            Ok(Ok(store)) => Ok(Some(store)),
            _ => self.store_with_log().await,
        }
    }

    fn access_key(&self) -> Result<AccessKey, Failure> {
        Ok(match std::env::var(ACCESS_KEY) {
            Ok(key) => AccessKey::from_text(&key)?,
            Err(_) => AccessKey::from_file(&self.config.access.key_file, true)?,
        })
    }

    /// The keys of applications that may use the servers of this store.
    pub(crate) fn keyring(&self, store: Arc<dyn Store>) -> Result<Keyring, Failure> {
        Ok(Keyring::new(store, self.access_key()?)?)
    }

    /// The people who may use the servers of this store.
    pub(crate) fn people(&self, store: Arc<dyn Store>) -> Result<People, Failure> {
        Ok(People::new(store, self.access_key()?)?)
    }

    /// The provider of identities that people sign in by, if there is one.
    fn provider(&self) -> Result<Option<Provider>, Failure> {
        let Some(oidc) = &self.config.oidc else { return Ok(None) };
        let client_secret = match (std::env::var(OIDC_SECRET), &oidc.secret_file) {
            (Ok(secret), _) => Some(Zeroizing::new(secret)),
            (Err(_), Some(path)) => Some(annals::access::read_secret(path)?),
            (Err(_), None) => None,
        };
        let roles = oidc.roles.iter().map(|of| {
            let role = of.role.parse().map_err(Failure::usage)?;
            let tenants = match of.tenants.as_slice() {
                [] => Tenants::All,
                some => Tenants::Only(some.iter().cloned().collect()),
            };
            Ok((of.value.clone(), role, tenants))
        });
        let settings = ProviderSettings {
            name: oidc.name.clone(),
            issuer: oidc.issuer.clone(),
            client_id: oidc.client_id.clone(),
            client_secret: client_secret.map(|secret| Zeroizing::new(secret.trim().to_owned())),
            scopes: oidc.scopes.clone(),
            claim: oidc.claim.clone(),
            roles: roles.collect::<Result<_, Failure>>()?,
        };
        Ok(Some(Provider::new(settings)?))
    }

    /// The page on which somebody sets a password by a link, of a server that listens there or
    /// where it is configured.
    pub(crate) fn welcome(&self, link: &Token, listens: Option<SocketAddr>) -> String {
        let origin = self.config.access.url.clone().unwrap_or_else(|| {
            let scheme = if self.config.tls.certificate.is_some() { "https" } else { "http" };
            format!("{scheme}://{}", listens.unwrap_or(self.config.ingest.listen))
        });
        format!("{origin}/welcome?link={}", *link.to_secret_text())
    }

    /// A link for the first administrator, if there is none: a server that starts prints it.
    pub(crate) async fn first_link(
        &self,
        store: Option<&Arc<dyn Store>>,
        listens: SocketAddr,
    ) -> Option<String> {
        let people = self.people(Arc::clone(store?)).ok()?;
        match people.first().await {
            Ok(first) => first.map(|link| self.welcome(&link, Some(listens))),
            Err(error) => {
                tracing::warn!(%error, "cannot look whether there is an administrator");
                None
            }
        }
    }

    fn master_key(&self, may_make: bool) -> Result<Option<MasterKey>, Failure> {
        let seal = &self.config.seal;
        Ok(match (std::env::var(MASTER_KEY), &seal.key_command, &seal.key_file) {
            (Ok(key), ..) => Some(MasterKey::from_text(&key)?),
            (Err(_), Some(command), _) => Some(MasterKey::from_command(command)),
            (Err(_), None, Some(file)) => Some(MasterKey::from_file(file, may_make)?),
            (Err(_), None, None) => None,
        })
    }

    /// What counts the events of this store, signs its log, has that witnessed and publishes
    /// it; none without one that has a log.
    pub(crate) fn keeper(&self, store: Option<&Arc<dyn Store>>) -> Result<Option<Keeper>, Failure> {
        // What is configured wrongly is told even where there is no log.
        let (witnesses, targets) = (self.witnesses()?, self.targets()?);
        let Some(store) = store.map(Arc::clone) else { return Ok(None) };
        let roller = Roller::new(Arc::clone(&store))?;
        let signer = Arc::new(self.signer_of(Arc::clone(&store))?);
        let cosigner = Cosigner::new(Arc::clone(&store), Arc::clone(&signer), witnesses);
        let publisher = Publisher::new(store, targets, self.config.log.publish_every);
        Ok(Some(Keeper::new(roller, signer, cosigner, publisher)))
    }

    /// The store, if it is of a kind that has a log.
    pub(crate) async fn store_with_log(&self) -> Result<Option<Arc<dyn Store>>, Failure> {
        let url = &self.config.store;
        if url.starts_with("file:") || AuditsTable::is_named_by(url) {
            return Ok(None);
        }
        Ok(Some(store::open(url).await?))
    }

    /// Who is to cosign the log.
    pub(crate) fn witnesses(&self) -> Result<Vec<WitnessAddress>, Failure> {
        let read = |text: &String| {
            text.parse().map_err(|fault| Failure::usage(format!("log.witnesses: {fault}")))
        };
        self.config.log.witnesses.iter().map(read).collect()
    }

    /// The keys of those.
    pub(crate) fn witness_keys(&self) -> Result<Vec<VerifierKey>, Failure> {
        Ok(self.witnesses()?.into_iter().map(|witness| witness.key).collect())
    }

    /// Where checkpoints are published.
    pub(crate) fn targets(&self) -> Result<Vec<Target>, Failure> {
        let read = |text: &String| {
            text.parse().map_err(|fault| Failure::usage(format!("log.publish: {fault}")))
        };
        self.config.log.publish.iter().map(read).collect()
    }

    /// What signs the log of this store.
    pub(crate) fn signer_of(&self, store: Arc<dyn Store>) -> Result<Signer, Failure> {
        let directory = self.config.data_dir.join("log");
        let keys = match (std::env::var(LOG_KEY), &self.config.log.key_file) {
            (Ok(key), _) => Keys::Given(key),
            (Err(_), Some(file)) => Keys::File(file.clone()),
            (Err(_), None) => Keys::Directory(directory.clone()),
        };
        Ok(Signer::new(store, &self.config.log.name, keys, directory)?)
    }

    /// Starts capturing into the first transport. What it cannot take goes to the
    /// spool where there is one; otherwise whoever sent it is told at once.
    pub(crate) async fn capture(&self, mut options: AuditOptions) -> Result<Audit, Failure> {
        let transport = self.transport().await?;
        options.delivery = Delivery::Strict;
        if self.may_spill() {
            options.delivery = Delivery::Durable;
            options.spool = Some(transport::open(&self.spool_url()).await?);
        }
        Ok(Audit::start(transport, options)?)
    }

    /// Where rescued events lie.
    pub(crate) fn spool_path(&self) -> PathBuf {
        self.config.data_dir.join("spool.db")
    }

    pub(crate) fn spool_url(&self) -> String {
        format!("sqlite:{}", self.spool_path().display())
    }

    /// Whether the spool stands in for the transport that events are sent to.
    pub(crate) fn may_spill(&self) -> bool {
        self.sending_url().is_some_and(|url| !is_near(url))
    }

    /// Refuses a transport that is gone when this command ends.
    pub(crate) fn refuse_memory(&self) -> Result<(), Failure> {
        if self.config.transports.iter().any(|url| url.starts_with("memory:")) {
            return Err(Failure::usage(
                "memory: is a queue within one process, and is gone when this command ends",
            )
            .hint("use it with `annals up`, or choose sqlite:PATH"));
        }
        Ok(())
    }
}

/// Whether a transport needs no spool: SQLite on this machine is as near as the spool
/// itself, and memory is meant to be forgotten.
fn is_near(url: &str) -> bool {
    ["sqlite:", "memory:"].iter().any(|scheme| url.starts_with(scheme))
}

/// The file of a SQLite URL, that of `sync:sqlite:PATH` too.
pub(crate) fn sqlite_path(url: &str) -> Option<&Path> {
    let rest = url.strip_prefix("sync:").unwrap_or(url).strip_prefix("sqlite:")?;
    Some(Path::new(rest.split('?').next().unwrap_or(rest)))
}

/// A URL for messages.
pub(crate) fn shown_url(url: &str) -> String {
    shown(&without_secrets(url)).into_owned()
}

//! From raw layers to one valid configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::envfile::Variable;
use super::fault::{Fault, Faults, Origin};
use super::laravel;
use super::setting::{Kind, SETTINGS, Setting};
use super::suggest::closest;
use super::value::{Given, Value, shown, validate};
use super::{
    ACCESS_KEY, AccessSettings, CaptureSettings, Config, IngestSettings, LOG_KEY, LogSettings,
    MASTER_KEY, MetricsSettings, OIDC_SECRET, OidcSettings, Patterns, REDACT_KEY, RedactSettings,
    Resolved, RetentionSettings, RoleOf, SealSettings, Sources, TlsSettings,
};
use crate::capture::{Delivery, WhenFull};
use crate::retention::Policy;
use crate::url::without_secrets;
use crate::worker::WorkerOptions;

/// What one source sets, raw.
pub(super) type Layer = Vec<(&'static Setting, Origin, Given)>;

/// Variables that the command reads and that are no settings.
const OTHER_VARIABLES: [&str; 9] = [
    "ANNALS_CONFIG",
    "ANNALS_ENV_FILE",
    "ANNALS_SERVER",
    "ANNALS_KEY",
    LOG_KEY,
    MASTER_KEY,
    REDACT_KEY,
    ACCESS_KEY,
    OIDC_SECRET,
];

impl Config {
    /// Validates what the sources give, all of it: a value that is overridden
    /// must be right too.
    ///
    /// # Errors
    /// Every fault of every source, with its place.
    pub fn load(sources: &Sources) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let mut warnings = Vec::new();
        let mut given = flags(sources, &mut faults);
        let variables = variables(sources, &mut faults);
        given.extend(environment(&variables, &mut warnings));
        let mut policy = Policy::default();
        if let Some(file) = &sources.file {
            let (layer, rules) = file.layer(&mut faults);
            given.extend(layer);
            policy = rules;
        }
        given.extend(laravel::layer(&variables, &mut warnings));
        let mut values: Vec<Option<(Value, Origin)>> = vec![None; SETTINGS.len()];
        for (setting, origin, raw) in given {
            match validate(setting, &raw) {
                // The sources come in order of precedence: the first one counts.
                Ok(value) => {
                    if let Some(slot) = slot(&mut values, setting.key)
                        && slot.is_none()
                    {
                        *slot = Some((value, origin));
                    }
                }
                Err(what) => {
                    faults.push(Fault::new(origin.clone(), describe(&origin, setting, &what)));
                }
            }
        }
        let mut config = Values(values).config(warnings, &mut faults);
        if let Some(setting) =
            config.settings.iter().find(|one| one.setting.key == "prune.older_than")
            && setting.value.is_some()
            && !policy.rules().is_empty()
        {
            let what = "there are rules of retention too, of which one may say otherwise; leave one of the two out";
            faults.push(Fault::new(setting.origin.clone(), format!("`prune.older_than`: {what}")));
        }
        config.retention.policy = policy;
        if faults.is_empty() {
            return Ok(config);
        }
        faults.sort_by(|a, b| a.origin.cmp(&b.origin));
        Err(Faults(faults))
    }
}

fn describe(origin: &Origin, setting: &Setting, what: &str) -> String {
    match origin {
        Origin::File(..) => format!("`{}`: {what}", setting.key),
        _ => what.to_owned(),
    }
}

fn slot<'a>(
    values: &'a mut [Option<(Value, Origin)>],
    key: &str,
) -> Option<&'a mut Option<(Value, Origin)>> {
    let index = SETTINGS.iter().position(|setting| setting.key == key)?;
    values.get_mut(index)
}

fn flags(sources: &Sources, faults: &mut Vec<Fault>) -> Layer {
    let mut layer = Layer::new();
    for flag in &sources.flags {
        let origin = Origin::Flag(flag.name);
        match (Setting::find(flag.key), flag.values.as_slice()) {
            (None, _) => {
                faults
                    .push(Fault::new(origin, format!("sets `{}`, which is no setting", flag.key)));
            }
            (Some(_), []) => {}
            (Some(setting), many) if setting.kind == Kind::Urls => {
                layer.push((setting, origin, Given::Texts(many.to_vec())));
            }
            (Some(setting), [one]) => layer.push((setting, origin, Given::Text(one.clone()))),
            (Some(setting), many) => layer.push((setting, origin, Given::Texts(many.to_vec()))),
        }
    }
    layer
}

/// The process's variables, and those of the application's file that it has not.
fn variables(sources: &Sources, faults: &mut Vec<Fault>) -> Vec<Variable> {
    let outside = sources.environment.iter().map(|(name, value)| Variable {
        name: name.clone(),
        value: value.clone(),
        origin: Origin::Variable(name.clone()),
    });
    let mut variables: Vec<Variable> = outside.collect();
    if let Some(file) = &sources.application {
        let inside = file.variables(&sources.environment, faults);
        variables.extend(
            inside
                .into_iter()
                .filter(|one| sources.environment.iter().all(|(name, _)| *name != one.name)),
        );
    }
    variables
}

/// Variables that set nothing are warnings: a container platform may add
/// `ANNALS_SERVICE_HOST` and its like by itself.
fn environment(variables: &[Variable], warnings: &mut Vec<Fault>) -> Layer {
    let mut layer = Layer::new();
    let ours = |one: &&Variable| {
        one.name.starts_with("ANNALS_") && !OTHER_VARIABLES.contains(&one.name.as_str())
    };
    let mut variables: Vec<&Variable> = variables.iter().filter(ours).collect();
    variables.sort_by(|a, b| a.name.cmp(&b.name));
    let known: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
    for Variable { name, value, origin } in variables {
        let origin = origin.clone();
        if let Some(index) = known.iter().position(|variable| variable == name) {
            let setting = &SETTINGS[index];
            let given = match setting.kind {
                // These have spaces themselves.
                Kind::Witnesses | Kind::Targets => {
                    Given::Texts(value.lines().map(str::to_owned).collect())
                }
                Kind::Urls | Kind::Mapping | Kind::Fields | Kind::Networks => {
                    Given::Texts(value.split_whitespace().map(str::to_owned).collect())
                }
                _ => Given::Text(value.clone()),
            };
            layer.push((setting, origin, given));
            continue;
        }
        let near = closest(name, known.iter().map(String::as_str));
        let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
        warnings.push(Fault::new(origin, format!("sets nothing that Annals knows{hint}")));
    }
    layer
}

/// A URL of Symfony's table that says the mapping too; what it says itself counts first.
fn mapped(mut url: String, mapping: &[String]) -> String {
    for pair in mapping {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str("map.");
        url.push_str(pair);
    }
    url
}

/// The value of each setting, by its place in the table.
struct Values(Vec<Option<(Value, Origin)>>);

impl Values {
    fn config(mut self, warnings: Vec<Fault>, faults: &mut Vec<Fault>) -> Config {
        self.fill_defaults();
        let data_dir = PathBuf::from(self.text("data_dir"));
        let store = self.text("store");
        let mapping = self.texts("symfony.map");
        // `sync:` alone goes to the configured store.
        let transports: Vec<String> = self
            .texts("transport")
            .into_iter()
            .map(|url| if url == "sync:" { format!("sync:{store}") } else { url })
            .map(|url| if url.starts_with("symfony+") { mapped(url, &mapping) } else { url })
            .collect();
        // A server's database holds both: each has tables of its own.
        let file = |url: &&String| url.starts_with("sqlite:") && **url == store;
        if let Some(shared) = transports.iter().find(file) {
            let what = format!(
                "the transport and the store are both {}; give each its own file",
                without_secrets(shared)
            );
            faults.push(Fault::new(self.origin("transport").min(self.origin("store")), what));
        }
        Config {
            data_dir,
            worker: self.worker(),
            capture: self.capture(),
            ingest: self.ingest(),
            tls: TlsSettings {
                certificate: self.path("tls.certificate"),
                key: self.path("tls.key"),
                client_authorities: self.path("tls.client_authorities"),
                plain_anywhere: self.text("tls.plain") == "anywhere",
            },
            oidc: self.oidc(),
            access: AccessSettings {
                key_file: self.path("access.key_file").unwrap_or_default(),
                open_ingest: self.text("access.ingest") == "loopback",
                proxies: self.texts("access.proxies"),
                url: Some(self.text("access.url")).filter(|url| !url.is_empty()),
                session: self.duration("access.session").unwrap_or_default(),
                requests_per_key: self.count("access.requests_per_key"),
                requests_per_address: self.count("access.requests_per_address"),
            },
            prune_older_than: self.duration("prune.older_than"),
            log: LogSettings {
                name: self.text("log.name"),
                key_file: self.path("log.key_file"),
                witnesses: self.texts("log.witnesses"),
                publish: self.texts("log.publish"),
                publish_every: self.duration("log.publish_every").unwrap_or_default(),
            },
            redact: RedactSettings {
                drop: self.texts("redact.drop"),
                mask: self.texts("redact.mask"),
                hash: self.texts("redact.hash"),
                key_file: self.path("redact.key_file"),
                patterns: match self.text("redact.patterns").as_str() {
                    "all" => Patterns::All,
                    "off" => Patterns::Off,
                    _ => Patterns::Ingest,
                },
            },
            metrics: MetricsSettings { listen: self.address("metrics.listen") },
            retention: RetentionSettings {
                policy: Policy::default(),
                archive: self.path("retention.archive"),
            },
            seal: SealSettings {
                fields: self.texts("seal.fields"),
                key_file: self.path("seal.key_file"),
                key_command: Some(self.text("seal.key_command"))
                    .filter(|command| !command.is_empty()),
            },
            settings: self.resolved(),
            mirrors: self.texts("mirror"),
            transports,
            store,
            warnings,
        }
    }

    fn fill_defaults(&mut self) {
        for (index, setting) in SETTINGS.iter().enumerate() {
            let Some(default) = setting.default.filter(|_| self.0[index].is_none()) else {
                continue;
            };
            let text = default.replace("{data_dir}", &self.text("data_dir"));
            // A test checks that each default of the table is valid.
            let given = if matches!(setting.kind, Kind::Urls) {
                Given::Texts(vec![text])
            } else {
                Given::Text(text)
            };
            if let Ok(value) = validate(setting, &given) {
                self.0[index] = Some((value, Origin::Default));
            }
        }
    }

    fn worker(&self) -> WorkerOptions {
        WorkerOptions {
            batch_size: self.size("worker.batch_size"),
            batch_bytes: self.size("worker.batch_bytes"),
            flush_interval: self.duration("worker.flush_interval").unwrap_or_default(),
            concurrency: self.size("worker.concurrency"),
            retries: u32::try_from(self.size("worker.retries")).unwrap_or(u32::MAX),
            lease: self.duration("worker.lease").unwrap_or_default(),
            rescue_after: self.duration("worker.rescue_after").unwrap_or_default(),
            time_limit: self.duration("worker.time_limit"),
            max_events: self.number("worker.max_events"),
            memory_limit: self.number("worker.memory_limit"),
            ..WorkerOptions::default()
        }
    }

    fn capture(&self) -> CaptureSettings {
        CaptureSettings {
            delivery: match self.text("capture.delivery").as_str() {
                "durable" => Delivery::Durable,
                "strict" => Delivery::Strict,
                _ => Delivery::Buffered,
            },
            when_full: match self.text("capture.when_full").as_str() {
                "block" => WhenFull::Block,
                "fail" => WhenFull::Fail,
                "drop" => WhenFull::Drop,
                _ => WhenFull::Spill,
            },
            buffer_bytes: self.size("capture.buffer_bytes"),
            linger: self.duration("capture.linger").unwrap_or_default(),
            max_block: self.duration("capture.max_block").unwrap_or_default(),
        }
    }

    fn address(&self, key: &str) -> Option<SocketAddr> {
        match self.get(key) {
            Some((Value::Address(address), _)) => Some(*address),
            _ => None,
        }
    }

    fn ingest(&self) -> IngestSettings {
        IngestSettings {
            listen: self
                .address("ingest.listen")
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
            max_body_bytes: self.size("ingest.max_body_bytes"),
            max_events: self.size("ingest.max_events"),
        }
    }

    fn resolved(&self) -> Vec<Resolved> {
        let each = SETTINGS.iter().zip(&self.0);
        each.map(|(setting, value)| Resolved {
            setting,
            value: value.as_ref().map(|(value, _)| shown(setting.kind, value)),
            origin: value.as_ref().map_or(Origin::Default, |(_, origin)| origin.clone()),
        })
        .collect()
    }

    fn get(&self, key: &str) -> Option<&(Value, Origin)> {
        let index = SETTINGS.iter().position(|setting| setting.key == key)?;
        self.0.get(index)?.as_ref()
    }

    fn origin(&self, key: &str) -> Origin {
        self.get(key).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    fn text(&self, key: &str) -> String {
        match self.get(key) {
            Some((Value::Text(text), _)) => text.clone(),
            _ => Setting::find(key)
                .and_then(|setting| setting.default)
                .unwrap_or_default()
                .to_owned(),
        }
    }

    fn oidc(&self) -> Option<OidcSettings> {
        Some(OidcSettings {
            issuer: Some(self.text("oidc.issuer")).filter(|issuer| !issuer.is_empty())?,
            name: self.text("oidc.name"),
            client_id: self.text("oidc.client_id"),
            secret_file: self.path("oidc.secret_file"),
            scopes: self.text("oidc.scopes"),
            claim: self.text("oidc.claim"),
            roles: self.texts("oidc.roles").iter().filter_map(|text| RoleOf::read(text)).collect(),
        })
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        Some(self.text(key)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    fn texts(&self, key: &str) -> Vec<String> {
        match self.get(key) {
            Some((Value::Texts(texts), _)) => texts.clone(),
            _ => Vec::new(),
        }
    }

    fn number(&self, key: &str) -> Option<u64> {
        match self.get(key) {
            Some((Value::Number(number), _)) => Some(*number),
            _ => None,
        }
    }

    fn count(&self, key: &str) -> u32 {
        self.number(key).and_then(|number| u32::try_from(number).ok()).unwrap_or(u32::MAX)
    }

    fn size(&self, key: &str) -> usize {
        self.number(key).and_then(|number| usize::try_from(number).ok()).unwrap_or_default()
    }

    fn duration(&self, key: &str) -> Option<Duration> {
        match self.get(key) {
            Some((Value::Duration(duration), _)) => Some(*duration),
            _ => None,
        }
    }
}

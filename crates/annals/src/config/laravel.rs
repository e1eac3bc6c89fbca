//! The environment that a Laravel application with laravel-async-audit-logger has.
//!
//! It is looked at when an `AUDIT_*` variable of that package is set, or when the
//! application's `.env` is given, and it counts below everything that is said to Annals
//! itself. The names and their units are those of the package's `config/audit.php`, and
//! of Laravel's `config/database.php`.
//!
//! | variable | sets |
//! |---|---|
//! | `AUDIT_REDIS_CONNECTION`, `AUDIT_REDIS_KEY`, `REDIS_*`, `APP_NAME` | `transport` |
//! | `DB_*`, `APP_TIMEZONE` | `store`: the application's table `audits` |
//! | `AUDIT_BATCH_SIZE` | `worker.batch_size` |
//! | `AUDIT_FLUSH_INTERVAL`, seconds | `worker.flush_interval` |
//! | `AUDIT_MEMORY_LIMIT`, MB | `worker.memory_limit` |
//! | `AUDIT_PRUNE_DAYS` | `prune.older_than` |
//!
//! `AUDIT_SLEEP_MS` says how long the package's worker sleeps when its list is empty;
//! ours looks more often, at no cost, and leaves it aside.

use super::envfile::Variable;
use super::fault::{Fault, Origin};
use super::load::Layer;
use super::setting::Setting;
use super::value::Given;

/// The package's variables, by which such an application is known.
const PACKAGE: [&str; 8] = [
    "AUDIT_DRIVER",
    "AUDIT_REDIS_CONNECTION",
    "AUDIT_REDIS_KEY",
    "AUDIT_BATCH_SIZE",
    "AUDIT_FLUSH_INTERVAL",
    "AUDIT_PRUNE_DAYS",
    "AUDIT_MEMORY_LIMIT",
    "AUDIT_SLEEP_MS",
];

/// What the variables of an application set.
pub(super) fn layer(variables: &[Variable], warnings: &mut Vec<Fault>) -> Layer {
    let application = Application { variables };
    let mut layer = Layer::new();
    if !PACKAGE.iter().any(|name| application.variable(name).is_some()) {
        return layer;
    }
    let mut set = |key: &str, value: Option<(String, Origin)>, given: fn(String) -> Given| {
        if let (Some(setting), Some((value, origin))) = (Setting::find(key), value) {
            layer.push((setting, origin, given(value)));
        }
    };
    match application.driver() {
        Some((driver, origin)) if driver == "sync" => {
            let what = "is sync: the application writes its table itself, and a worker finds nothing to do";
            warnings.push(Fault::new(origin, what));
        }
        _ => set("transport", Some(application.transport()), |url| Given::Texts(vec![url])),
    }
    set("store", application.store(), Given::Text);
    let number = |name: &str, unit: &str| {
        let variable = application.variable(name)?;
        Some((format!("{}{unit}", variable.value.trim()), variable.origin.clone()))
    };
    set("worker.batch_size", number("AUDIT_BATCH_SIZE", ""), Given::Text);
    set("worker.flush_interval", number("AUDIT_FLUSH_INTERVAL", "s"), Given::Text);
    set("worker.memory_limit", number("AUDIT_MEMORY_LIMIT", "MiB"), Given::Text);
    set("prune.older_than", number("AUDIT_PRUNE_DAYS", "d"), Given::Text);
    layer
}

struct Application<'a> {
    variables: &'a [Variable],
}

impl Application<'_> {
    /// A variable that says something; Laravel reads `null` and `(null)` as nothing.
    fn variable(&self, name: &str) -> Option<&Variable> {
        let found = self.variables.iter().find(|variable| variable.name == name)?;
        (!matches!(found.value.as_str(), "" | "null" | "(null)" | "empty" | "(empty)"))
            .then_some(found)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.variable(name).map(|variable| variable.value.as_str())
    }

    fn driver(&self) -> Option<(String, Origin)> {
        let driver = self.variable("AUDIT_DRIVER")?;
        Some((driver.value.to_ascii_lowercase(), driver.origin.clone()))
    }

    /// The list, and the variable to name if something is wrong with it.
    fn transport(&self) -> (String, Origin) {
        let connection = self.text("AUDIT_REDIS_CONNECTION").unwrap_or("default");
        let number_of = match connection {
            "default" => "REDIS_DB".to_owned(),
            other => format!("REDIS_{}_DB", other.to_ascii_uppercase().replace('-', "_")),
        };
        let database =
            self.text(&number_of).unwrap_or(if connection == "cache" { "1" } else { "0" });
        let key = self.text("AUDIT_REDIS_KEY").unwrap_or("audit_pkg:buffer");
        let key = format!("{}{key}", self.prefix());
        let address = match self.text("REDIS_URL") {
            Some(url) => {
                let url = url.split('?').next().unwrap_or(url).trim_end_matches('/');
                let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
                let scheme = if matches!(scheme, "rediss" | "tls") { "rediss" } else { "redis" };
                let path = if rest.contains('/') { String::new() } else { format!("/{database}") };
                format!("{scheme}+list://{rest}{path}")
            }
            None => {
                let host = self.text("REDIS_HOST").unwrap_or("127.0.0.1");
                let (scheme, host) = match host.split_once("://") {
                    Some((_, host)) => ("rediss", host),
                    None if self.text("REDIS_SCHEME") == Some("tls") => ("rediss", host),
                    None => ("redis", host),
                };
                let port = self.text("REDIS_PORT").unwrap_or("6379");
                let user = escaped(self.text("REDIS_USERNAME").unwrap_or_default());
                let secret = match self.text("REDIS_PASSWORD") {
                    Some(password) => format!("{user}:{}@", escaped(password)),
                    None => String::new(),
                };
                format!("{scheme}+list://{secret}{host}:{port}/{database}")
            }
        };
        let url = format!("{address}?key={}{}", escaped(&key).replace("%3A", ":"), self.timezone());
        (url, self.origin(&["AUDIT_REDIS_KEY", "REDIS_URL", "REDIS_HOST", "AUDIT_DRIVER"]))
    }

    /// What Laravel puts before each key.
    fn prefix(&self) -> String {
        if let Some(given) = self.variables.iter().find(|variable| variable.name == "REDIS_PREFIX")
        {
            return given.value.clone();
        }
        let name = self.text("APP_NAME").unwrap_or("laravel");
        format!("{}_database_", slug(name))
    }

    /// The application's table, if the environment says where it is.
    fn store(&self) -> Option<(String, Origin)> {
        let origin = || self.origin(&["DB_URL", "DATABASE_URL", "DB_CONNECTION", "DB_DATABASE"]);
        let options = format!("layout=laravel{}", self.timezone());
        if let Some(url) = self.text("DB_URL").or_else(|| self.text("DATABASE_URL")) {
            let (scheme, rest) = url.split_once("://")?;
            let scheme = database(scheme)?;
            let join = if rest.contains('?') { '&' } else { '?' };
            return Some((format!("{scheme}://{rest}{join}{options}"), origin()));
        }
        let scheme = database(self.text("DB_CONNECTION")?)?;
        if scheme == "sqlite" {
            let path = self.text("DB_DATABASE").unwrap_or("database/database.sqlite");
            return Some((format!("sqlite:{path}?{options}"), origin()));
        }
        let port = self.text("DB_PORT").unwrap_or(if scheme == "mysql" { "3306" } else { "5432" });
        let host = self.text("DB_HOST").unwrap_or("127.0.0.1");
        let user = escaped(self.text("DB_USERNAME").unwrap_or("root"));
        let secret = self.text("DB_PASSWORD").map(|password| format!(":{}", escaped(password)));
        let name = escaped(self.text("DB_DATABASE").unwrap_or("laravel"));
        let secret = secret.unwrap_or_default();
        Some((format!("{scheme}://{user}{secret}@{host}:{port}/{name}?{options}"), origin()))
    }

    fn timezone(&self) -> String {
        match self.text("APP_TIMEZONE") {
            Some(zone) if zone != "UTC" => format!("&timezone={zone}"),
            _ => String::new(),
        }
    }

    /// Where the first of these that is set was set.
    fn origin(&self, names: &[&str]) -> Origin {
        let set = names.iter().find_map(|name| self.variable(name));
        set.or(self.variables.first()).map_or(Origin::Default, |variable| variable.origin.clone())
    }
}

/// The scheme of Laravel's name for a database; SQL Server's has none.
fn database(name: &str) -> Option<&'static str> {
    match name {
        "mysql" | "mariadb" => Some("mysql"),
        "pgsql" | "postgres" | "postgresql" => Some("postgres"),
        "sqlite" => Some("sqlite"),
        _ => None,
    }
}

/// A name as Laravel makes it part of a key: small letters and digits, and `_` between
/// the words.
fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for letter in name.to_lowercase().chars() {
        match letter {
            '@' => slug.push_str("_at_"),
            letter if letter.is_alphanumeric() => slug.push(letter),
            '-' | '_' | ' ' | '\t' if !slug.ends_with('_') => slug.push('_'),
            _ => {}
        }
    }
    slug.trim_matches('_').to_owned()
}

/// Text as it may stand in a URL.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

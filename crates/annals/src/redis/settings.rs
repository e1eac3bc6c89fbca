//! What a `redis://` URL says: where the server is, and how to be its guest.

use std::fs;
use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo,
    IntoConnectionInfo, RedisResult, TlsCertificates, TlsMode,
};

use super::link::Link;
use crate::error::{Error, ErrorKind, Result};
use crate::unit::parse_duration;

/// How long a call waits for a connection, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it waits for an answer: longer than a disk takes to sync at its worst.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How connections are made.
pub(super) struct Settings {
    client: Kind,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
    /// What the URL says to the backend.
    pub(super) options: Vec<(String, String)>,
}

enum Kind {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
}

/// How a server's certificate is looked at; the names are PostgreSQL's.
#[derive(Clone, Copy, Default, PartialEq)]
enum Verify {
    #[default]
    Full,
    /// Its authority, not the name in it.
    Authority,
    /// Not at all.
    Nothing,
}

/// What stands behind the question mark, for the connection.
#[derive(Default)]
struct Asked {
    cluster: bool,
    verify: Option<Verify>,
    authority: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    password: Option<String>,
}

impl Settings {
    /// Those of a URL; the parameters in `own` are the backend's.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for what cannot be understood, or a file that cannot be
    /// read.
    pub(super) fn of(url: &str, doing: &str, own: &[&str]) -> Result<Self> {
        let wrong =
            |found: String, hint: &str| Error::new(ErrorKind::Usage, doing, found).hint(hint);
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let mut asked = Asked::default();
        let mut times = [CONNECT_TIMEOUT, RESPONSE_TIMEOUT];
        let mut options = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value)
                .ok_or_else(|| wrong(format!("{name}={value}"), "escape it as UTF-8, by %XX"))?;
            let read = |what: &str, hint: &str| {
                let text = fs::read(&value);
                text.map_err(|error| wrong(format!("the {what} {value}: {error}"), hint))
            };
            match name {
                _ if own.contains(&name) => options.push((name.to_owned(), value)),
                "cluster" => {
                    asked.cluster = value.parse().map_err(|_| {
                        wrong(format!("cluster={value}"), "write cluster=true or leave it out")
                    })?;
                }
                "connect_timeout" | "response_timeout" => {
                    let time = parse_duration(&value).map_err(|why| {
                        wrong(format!("{name}: {why}"), "such as 500ms, 5s or 2m")
                    })?;
                    times[usize::from(name == "response_timeout")] = time;
                }
                "password_file" => {
                    let hint = "give a file that holds the password and nothing else";
                    let text = String::from_utf8(read("password file", hint)?)
                        .map_err(|_| wrong(format!("the password file {value}"), hint))?;
                    asked.password = Some(text.trim_end_matches(['\r', '\n']).to_owned());
                }
                "sslmode" => {
                    asked.verify = Some(match value.as_str() {
                        "verify-full" => Verify::Full,
                        "verify-ca" => Verify::Authority,
                        "require" => Verify::Nothing,
                        _ => {
                            let hint = "write verify-full, verify-ca or require";
                            return Err(wrong(format!("sslmode={value}"), hint));
                        }
                    });
                }
                "sslrootcert" => asked.authority = Some(read("certificate", "give a PEM file")?),
                "sslcert" => asked.certificate = Some(read("certificate", "give a PEM file")?),
                "sslkey" => asked.key = Some(read("key", "give a PEM file")?),
                _ => {
                    let own: String = own.iter().map(|name| format!("{name}, ")).collect();
                    return Err(wrong(
                        format!("the URL's parameter {name} is not known"),
                        &format!(
                            "known are {own}cluster, connect_timeout, response_timeout, \
                             password_file, sslmode, sslrootcert, sslcert and sslkey"
                        ),
                    ));
                }
            }
        }
        let hint = "use redis://USER:PASSWORD@HOST:PORT/DATABASE, or rediss:// for TLS";
        let address = plain(address).ok_or_else(|| wrong("no such URL".to_owned(), hint))?;
        let info = address
            .as_str()
            .into_connection_info()
            .map_err(|error| wrong(error.to_string(), hint))?;
        let tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        if !tls && (asked.verify.is_some() || asked.authority.is_some() || asked.key.is_some()) {
            return Err(wrong(
                "TLS is asked for on a plain connection".to_owned(),
                "use rediss://",
            ));
        }
        if asked.certificate.is_some() != asked.key.is_some() {
            let hint = "give both sslcert and sslkey";
            return Err(wrong("half of a client's certificate".to_owned(), hint));
        }
        if asked.cluster && info.redis_settings().db() != 0 {
            let found = format!("database {} of a cluster", info.redis_settings().db());
            return Err(wrong(found, "a cluster has database 0 alone; leave it out"));
        }
        let [connect_timeout, response_timeout] = times;
        let client =
            asked.client(info, tls, times).map_err(|error| wrong(error.to_string(), hint))?;
        Ok(Self { client, connect_timeout, response_timeout, options })
    }

    /// Connects. A connection sets no bound to a call; who calls does.
    pub(super) async fn connect(&self) -> RedisResult<Link> {
        match &self.client {
            Kind::Single(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(None)
                    .set_response_timeout(None);
                client.get_multiplexed_async_connection_with_config(&config).await.map(Link::Single)
            }
            Kind::Cluster(client) => client.get_async_connection().await.map(Link::Cluster),
        }
    }

    /// Whether it is a cluster.
    pub(super) fn cluster(&self) -> bool {
        matches!(self.client, Kind::Cluster(_))
    }
}

impl Asked {
    fn client(self, info: ConnectionInfo, tls: bool, times: [Duration; 2]) -> RedisResult<Kind> {
        let verify = self.verify.unwrap_or_default();
        // Small packets go at once.
        let tcp = TcpSettings::default().set_nodelay(true);
        let mut redis =
            info.redis_settings().clone().set_lib_name("annals", env!("CARGO_PKG_VERSION"));
        if let Some(password) = &self.password {
            redis = redis.set_password(password);
        }
        let mut info = info.set_redis_settings(redis).set_tcp_settings(tcp.clone());
        let own = self.certificate.zip(self.key);
        let certificates = TlsCertificates {
            client_tls: own
                .map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key }),
            root_cert: self.authority,
        };
        if tls {
            // What an application has chosen for all of it stays.
            let _ = rustls::crypto::ring::default_provider().install_default();
            if let ConnectionAddr::TcpTls { host, port, .. } = info.addr().clone() {
                let insecure = verify == Verify::Nothing;
                info = info.set_addr(ConnectionAddr::TcpTls {
                    host,
                    port,
                    insecure,
                    tls_params: None,
                });
            }
        }
        if self.cluster {
            let [connect, response] = times;
            let mut builder = ClusterClientBuilder::new([info])
                .tcp_settings(tcp)
                .connection_timeout(connect)
                .response_timeout(Duration::MAX)
                .overall_response_timeout(None)
                .retries(CLUSTER_RETRIES)
                .max_retry_wait(u64::try_from(response.as_millis() / 8).unwrap_or(1_000));
            if tls {
                let mode = match verify {
                    Verify::Nothing => TlsMode::Insecure,
                    _ => TlsMode::Secure,
                };
                builder = builder
                    .tls(mode)
                    .danger_accept_invalid_hostnames(verify == Verify::Authority)
                    .certs(certificates);
            }
            return builder.build().map(|client| Kind::Cluster(Box::new(client)));
        }
        if !tls {
            return Client::open(info).map(|client| Kind::Single(Box::new(client)));
        }
        let client = Client::build_with_tls(info, certificates)?;
        if verify != Verify::Authority {
            return Ok(Kind::Single(Box::new(client)));
        }
        let info = client.get_connection_info().clone();
        let mut address = info.addr().clone();
        address.set_danger_accept_invalid_hostnames(true);
        Client::open(info.set_addr(address)).map(|client| Kind::Single(Box::new(client)))
    }
}

/// How often a call is sent to a cluster that moves its slots or has lost a master.
const CLUSTER_RETRIES: u32 = 4;

/// The address without the word that a backend adds to the scheme: `redis+list://`.
fn plain(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let scheme = scheme.split('+').next().unwrap_or_default();
    matches!(scheme, "redis" | "rediss").then(|| format!("{scheme}://{rest}"))
}

/// A value of a URL's query, its `%XX` undone.
fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

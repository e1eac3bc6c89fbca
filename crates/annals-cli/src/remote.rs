//! A server that reads for this command: `--server URL`.

mod store;
mod tail;

use std::time::Duration;

use annals::url::without_secrets;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

use crate::failure::Failure;
use crate::render::shown;

pub(crate) use store::RemoteStore;

/// How long an answer may take: a verification reads all there is.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long a server may take to be reached.
const CONNECT: Duration = Duration::from_secs(10);

/// Bytes of an answer, at most.
const MOST: u64 = 512 * 1024 * 1024;

/// A server, and the key that is shown to it.
#[derive(Clone)]
pub(crate) struct Remote {
    agent: Agent,
    url: String,
    key: String,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What a request asks for beside its path.
pub(crate) type Pairs = Vec<(&'static str, String)>;

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Remote {
    /// # Errors
    /// For a URL that is none, one over which a key would travel in clear, or no key.
    pub(crate) fn open(url: &str, key: Option<&str>) -> Result<Self, Failure> {
        let url = url.trim_end_matches('/');
        let wrong =
            |found: String| Err(Failure::usage(format!("--server {}: {found}", shown(url))));
        match url.split_once("://") {
            Some(("https", _)) => {}
            Some(("http", host)) if is_near(host) => {}
            Some(("http", _)) => {
                return wrong("the key would travel in clear; use https://".to_owned());
            }
            _ => return wrong("expected a URL such as https://annals.example".to_owned()),
        }
        let Some(key) = key.map(str::trim).filter(|key| !key.is_empty()) else {
            return Err(Failure::usage("a server wants a key")
                .hint("set ANNALS_KEY, or give --key; `annals keys create` makes one there"));
        };
        if let Err(fault) = key.parse::<annals::access::Token>() {
            return Err(Failure::usage(format!("the key: {fault}")));
        }
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("annals/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.new_agent(), url: url.to_owned(), key: key.to_owned() })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What is there, as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        path: &str,
        pairs: Pairs,
    ) -> Result<T, Failure> {
        let answer = self.get(path, pairs).await?;
        self.read(path, &answer)
    }

    /// What is there, as it is; `None` if there is nothing.
    async fn found(&self, path: &str) -> Result<Option<Answer>, Failure> {
        let answer = self.ask("GET", path, Vec::new(), None).await?;
        match answer.status {
            404 => Ok(None),
            _ => self.right(answer).map(Some),
        }
    }

    /// What is there, as text.
    pub(crate) async fn text(&self, path: &str) -> Result<String, Failure> {
        let answer = self.get(path, Vec::new()).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// Sends an object; answers one.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let answer = self.ask("POST", path, Vec::new(), Some(body.to_string())).await?;
        let answer = self.right(answer)?;
        self.read(path, &answer)
    }

    /// Removes what is there.
    pub(crate) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        let answer = self.ask("DELETE", path, Vec::new(), None).await?;
        let answer = self.right(answer)?;
        self.read(path, &answer)
    }

    async fn get(&self, path: &str, pairs: Pairs) -> Result<Answer, Failure> {
        let answer = self.ask("GET", path, pairs, None).await?;
        self.right(answer)
    }

    fn read<T: DeserializeOwned>(&self, path: &str, answer: &Answer) -> Result<T, Failure> {
        serde_json::from_slice(&answer.body).map_err(|error| {
            Failure::failed(format!("read what {} answered to {path}: {error}", self.url))
                .hint("is it a server of annals, and of this version?")
        })
    }

    /// The answer, or what the server says is wrong.
    fn right(&self, answer: Answer) -> Result<Answer, Failure> {
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        let problem: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
        let said = detail.map_or_else(|| format!("status {}", answer.status), str::to_owned);
        Err(Failure::failed(format!("ask {}: {said}", self.url)))
    }

    async fn ask(
        &self,
        method: &'static str,
        path: &str,
        pairs: Pairs,
        body: Option<String>,
    ) -> Result<Answer, Failure> {
        let (agent, key) = (self.agent.clone(), self.key.clone());
        let uri = format!("{}{path}", self.url);
        let asking = tokio::task::spawn_blocking(move || {
            let bearer = format!("Bearer {key}");
            let mut answer = match (method, body) {
                ("POST", body) => agent
                    .post(&uri)
                    .header("Authorization", &bearer)
                    .content_type("application/json")
                    .send(body.unwrap_or_default())?,
                ("DELETE", _) => agent.delete(&uri).header("Authorization", &bearer).call()?,
                _ => {
                    let asked = agent.get(&uri).header("Authorization", &bearer);
                    asked.query_pairs(pairs).call()?
                }
            };
            let status = answer.status().as_u16();
            let body = answer.body_mut().with_config().limit(MOST).read_to_vec()?;
            Ok::<_, ureq::Error>(Answer { status, body })
        });
        let failed = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("ask {}: {error}", without_secrets(&self.url)))
                .hint("check that the server runs, and its URL")
        };
        match asking.await {
            Ok(answer) => answer.map_err(|error| failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }
}

/// Whether a host of a URL is this machine.
fn is_near(host: &str) -> bool {
    let host = host.split('/').next().unwrap_or(host);
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "annals_0123456789abcdef_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_key_travels_in_clear_on_this_machine_only() {
        for (url, right) in [
            ("https://annals.example", true),
            ("https://annals.example/", true),
            ("http://127.0.0.1:4620", true),
            ("http://localhost:4620/", true),
            ("http://[::1]:4620", true),
            ("http://annals.example", false),
            ("http://127.0.0.1.evil.example", false),
            ("http://10.0.0.1", false),
            ("annals.example", false),
            ("ftp://localhost", false),
        ] {
            assert_eq!(Remote::open(url, Some(KEY)).is_ok(), right, "{url}");
        }
        assert!(Remote::open("https://annals.example", None).is_err());
        assert!(Remote::open("https://annals.example", Some("secret")).is_err());
    }
}

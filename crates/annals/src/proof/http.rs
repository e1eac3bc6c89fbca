//! Requests of a few kilobytes to other machines.

use std::time::Duration;

use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

/// How long a request may take, from looking up the name to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of an answer, at most.
const MOST: u64 = 64 * 1024;

/// Sends requests. It follows no redirection, and believes the certificates that the
/// system believes.
#[derive(Clone, Debug)]
pub(super) struct Http(Agent);

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Http {
    pub(super) fn new() -> Self {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("annals/", env!("CARGO_PKG_VERSION")))
            .build();
        Self(config.new_agent())
    }

    /// Posts a text; or says why nothing came back.
    pub(super) async fn post(&self, url: String, body: String) -> Result<Answer, String> {
        let agent = self.0.clone();
        call(move || agent.post(url).content_type("text/plain; charset=utf-8").send(body)).await
    }

    /// Gets a text; or says why nothing came back.
    pub(super) async fn get(&self, url: String) -> Result<Answer, String> {
        let agent = self.0.clone();
        call(move || agent.get(url).call()).await
    }
}

async fn call<F>(request: F) -> Result<Answer, String>
where
    F: FnOnce() -> Result<ureq::http::Response<ureq::Body>, ureq::Error> + Send + 'static,
{
    let answer = tokio::task::spawn_blocking(move || {
        let mut answer = request()?;
        let body = answer.body_mut().with_config().limit(MOST).lossy_utf8(true).read_to_string()?;
        Ok::<_, ureq::Error>(Answer { status: answer.status().as_u16(), body })
    });
    match answer.await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

impl Answer {
    /// What it says, for people: the detail of a problem (RFC 9457), else its beginning.
    pub(super) fn said(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Problem {
            detail: String,
        }
        let text = match serde_json::from_str::<Problem>(&self.body) {
            Ok(problem) => problem.detail,
            Err(_) => self.body.clone(),
        };
        let begin: String =
            text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
        match begin.as_str() {
            "" => format!("it answered {}", self.status),
            begin => format!("it answered {}: {begin}", self.status),
        }
    }
}

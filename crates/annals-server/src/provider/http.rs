//! Requests of a few kilobytes to a provider of identities.

use std::time::Duration;

use tokio::task::spawn_blocking;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};
use zeroize::Zeroizing;

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of an answer, at most.
const MOST: u64 = 1024 * 1024;

/// Sends requests. It follows no redirection, and believes the certificates that the system
/// believes.
#[derive(Clone, Debug)]
pub(super) struct Http(Agent);

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

    /// What is there; or why it cannot be had.
    pub(super) async fn get(&self, url: String) -> Result<String, String> {
        let agent = self.0.clone();
        call(url.clone(), move || agent.get(&url).header("Accept", "application/json").call()).await
    }

    /// What a form is answered with; or why it is not.
    pub(super) async fn post(
        &self,
        url: String,
        form: Zeroizing<String>,
        authorization: Option<Zeroizing<String>>,
    ) -> Result<String, String> {
        let agent = self.0.clone();
        call(url.clone(), move || {
            let mut request = agent.post(&url).header("Accept", "application/json");
            if let Some(authorization) = &authorization {
                request = request.header("Authorization", authorization.as_str());
            }
            request.content_type("application/x-www-form-urlencoded").send(form.as_str())
        })
        .await
    }
}

async fn call<F>(url: String, request: F) -> Result<String, String>
where
    F: FnOnce() -> Result<ureq::http::Response<ureq::Body>, ureq::Error> + Send + 'static,
{
    let answered = spawn_blocking(move || {
        let mut answer = request()?;
        let body = answer.body_mut().with_config().limit(MOST).read_to_string()?;
        Ok::<_, ureq::Error>((answer.status().as_u16(), body))
    });
    match answered.await {
        Ok(Ok((200, body))) => Ok(body),
        Ok(Ok((status, body))) => {
            let begin: String =
                body.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
            Err(format!("{url} answered {status}: {begin}"))
        }
        Ok(Err(error)) => Err(format!("{url}: {error}")),
        Err(error) => Err(error.to_string()),
    }
}

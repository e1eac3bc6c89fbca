//! Signing in by a provider of identities: OpenID Connect Core 1.0, the authorization code
//! flow, with PKCE (RFC 7636), a state and a nonce; the provider is found by its issuer
//! (OpenID Connect Discovery 1.0).

mod crypto;
mod http;
mod token;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use annals::access::{Role, Subject, Tenants};
use annals::{Error, ErrorKind, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use http::Http;
pub(crate) use token::Claims;

/// How long what a provider says of itself is believed.
const KNOWN_FOR: Duration = Duration::from_secs(3_600);

/// How soon keys that may have been changed are read again.
const KEYS_AGAIN: Duration = Duration::from_secs(10);

/// A provider of identities that people sign in by.
#[derive(Clone, Debug)]
pub struct Provider(Arc<Shared>);

/// What is configured of one.
#[derive(Clone)]
pub struct ProviderSettings {
    /// What people call it.
    pub name: String,
    /// Who it is, to the letter: an `https://` URL, or an `http://` one of this machine.
    pub issuer: String,
    /// What it calls us.
    pub client_id: String,
    /// What shows it that we are that, if it wants to be shown.
    pub client_secret: Option<Zeroizing<String>>,
    /// What to ask for beside `openid`, between spaces.
    pub scopes: String,
    /// The claim that says what somebody is, in an object between dots: `realm_access.roles`.
    pub claim: String,
    /// Which role whoever has a value of that claim has, and with whose data: the first that
    /// fits counts.
    pub roles: Vec<(String, Role, Tenants)>,
}

impl fmt::Debug for ProviderSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderSettings").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Shared {
    settings: ProviderSettings,
    http: Http,
    known: Mutex<Option<(Instant, Arc<Found>)>>,
}

/// What a provider says of itself.
#[derive(Debug)]
struct Found {
    says: Says,
    keys: JwkSet,
    read: Instant,
}

#[derive(Clone, Debug, Deserialize)]
struct Says {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    id_token_signing_alg_values_supported: Vec<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

/// What somebody who was sent to the provider comes back with, beside what it says: it is
/// theirs alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Going {
    pub(crate) state: String,
    pub(crate) nonce: String,
    pub(crate) verifier: String,
    pub(crate) next: String,
    pub(crate) back: String,
    /// Until when, in milliseconds since 1970.
    pub(crate) until: i64,
}

/// Who somebody is, and what that makes them here.
#[derive(Debug)]
pub(crate) struct Recognised {
    pub(crate) subject: Subject,
    pub(crate) name: String,
    /// `None` if they have no role.
    pub(crate) role: Option<(Role, Tenants)>,
}

fn doing(settings: &ProviderSettings) -> String {
    format!("sign in by {}", settings.issuer)
}

impl Provider {
    /// # Errors
    /// [`ErrorKind::Usage`] for an issuer over which others could say who somebody is.
    pub fn new(settings: ProviderSettings) -> Result<Self> {
        crypto::install();
        if !is_private(&settings.issuer) {
            let found = "everyone on the way to it could say who somebody is";
            return Err(Error::new(ErrorKind::Usage, doing(&settings), found)
                .hint("give its https:// URL as oidc.issuer"));
        }
        let known = Mutex::default();
        Ok(Self(Arc::new(Shared { settings, http: Http::new(), known })))
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.0.settings.issuer
    }

    /// What people call it.
    pub(crate) fn name(&self) -> &str {
        &self.0.settings.name
    }

    /// Where to send somebody who is to come back to `back`, and later on to `next`; and what
    /// they are to come back with.
    pub(crate) async fn way(&self, back: String, next: String) -> Result<(String, Going)> {
        let found = self.found(false).await?;
        let random = || annals::access::random_text().map(|text| text.to_string());
        let going = Going {
            state: random()?,
            nonce: random()?,
            verifier: random()?,
            next,
            back,
            until: annals::Timestamp::now().after(Duration::from_secs(600)).as_millis(),
        };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(going.verifier.as_bytes()));
        let settings = &self.0.settings;
        let scope = format!("openid {}", settings.scopes);
        let query = serde_urlencoded::to_string([
            ("response_type", "code"),
            ("client_id", &*settings.client_id),
            ("redirect_uri", &*going.back),
            ("scope", scope.trim()),
            ("state", &*going.state),
            ("nonce", &*going.nonce),
            ("code_challenge", &*challenge),
            ("code_challenge_method", "S256"),
        ])
        .unwrap_or_default();
        let there = &found.says.authorization_endpoint;
        let join = if there.contains('?') { '&' } else { '?' };
        Ok((format!("{there}{join}{query}"), going))
    }

    /// Who came back with this code.
    ///
    /// # Errors
    /// [`ErrorKind::Away`] if the provider cannot be asked, [`ErrorKind::Usage`] if what it
    /// answers is not to be believed.
    pub(crate) async fn who(&self, going: &Going, code: &str) -> Result<Recognised> {
        let settings = &self.0.settings;
        let found = self.found(false).await?;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &*going.back),
            ("code_verifier", &*going.verifier),
        ];
        let posts = found.says.token_endpoint_auth_methods_supported.as_slice();
        let basic = posts.is_empty() || posts.iter().any(|way| way == "client_secret_basic");
        let mut header = None;
        match &settings.client_secret {
            Some(secret) if basic => header = Some(basic_header(&settings.client_id, secret)),
            secret => {
                form.push(("client_id", &settings.client_id));
                form.extend(secret.as_ref().map(|secret| ("client_secret", secret.as_str())));
            }
        }
        let form = Zeroizing::new(serde_urlencoded::to_string(&form).unwrap_or_default());
        let answer = self.0.http.post(found.says.token_endpoint.clone(), form, header).await;
        let answer = answer.map_err(|said| Error::new(ErrorKind::Away, doing(settings), said))?;
        #[derive(Deserialize)]
        struct Tokens {
            id_token: Zeroizing<String>,
        }
        let disbelieved = |found: String| Error::new(ErrorKind::Usage, doing(settings), found);
        let tokens: Tokens = serde_json::from_str(&answer)
            .map_err(|error| disbelieved(format!("it answers no id_token: {error}")))?;
        let claims = match self.claims(&found, &tokens.id_token, &going.nonce) {
            // It may have taken another key since.
            Err(token::Disbelief::Key) if found.read.elapsed() >= KEYS_AGAIN => {
                let found = self.found(true).await?;
                self.claims(&found, &tokens.id_token, &going.nonce)
            }
            claims => claims,
        };
        let claims = claims.map_err(|why| disbelieved(why.to_string()))?;
        Ok(self.recognised(claims))
    }

    fn claims(
        &self,
        found: &Found,
        token: &str,
        nonce: &str,
    ) -> std::result::Result<Claims, token::Disbelief> {
        let settings = &self.0.settings;
        let expected = token::Expected {
            issuer: &settings.issuer,
            client_id: &settings.client_id,
            nonce,
            algorithms: &found.says.id_token_signing_alg_values_supported,
        };
        token::read(token, &found.keys, &expected)
    }

    /// What the claims make of somebody.
    fn recognised(&self, claims: Claims) -> Recognised {
        let settings = &self.0.settings;
        let has = |value: &Value, wanted: &str| match value {
            Value::String(text) => text == wanted,
            Value::Array(texts) => texts.iter().any(|text| text.as_str() == Some(wanted)),
            _ => false,
        };
        let mut value = claims.others.get(settings.claim.split('.').next().unwrap_or_default());
        for name in settings.claim.split('.').skip(1) {
            value = value.and_then(|value| value.get(name));
        }
        let role = value.and_then(|value| {
            let fits = settings.roles.iter().find(|(wanted, ..)| has(value, wanted));
            fits.map(|(_, role, tenants)| (*role, tenants.clone()))
        });
        let text = |name: &str| claims.others.get(name).and_then(Value::as_str);
        // An address that nobody has checked is anybody's to claim.
        let mail = text("email")
            .filter(|_| claims.others.get("email_verified") == Some(&Value::Bool(true)));
        let name = mail.or_else(|| text("preferred_username")).unwrap_or(&claims.sub).to_owned();
        let subject = Subject { issuer: settings.issuer.clone(), subject: claims.sub };
        Recognised { subject, name, role }
    }

    /// What it says of itself, anew if that was long ago or is wanted.
    async fn found(&self, anew: bool) -> Result<Arc<Found>> {
        let shared = &self.0;
        let known = shared.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, found)) = &known
            && at.elapsed() < KNOWN_FOR
            && !anew
        {
            return Ok(Arc::clone(found));
        }
        let found = match self.look().await {
            Ok(found) => Arc::new(found),
            // What was known before serves as long as nothing says otherwise.
            Err(error) => match known {
                Some((_, found)) if !anew => {
                    tracing::warn!(%error, "cannot ask the provider of identities about itself");
                    return Ok(found);
                }
                _ => return Err(error),
            },
        };
        let known = Some((Instant::now(), Arc::clone(&found)));
        *shared.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(found)
    }

    async fn look(&self) -> Result<Found> {
        let settings = &self.0.settings;
        let away = |said: String| {
            Error::new(ErrorKind::Away, doing(settings), said)
                .hint("check oidc.issuer, and that the server reaches it")
        };
        let at =
            format!("{}/.well-known/openid-configuration", settings.issuer.trim_end_matches('/'));
        let text = self.0.http.get(at).await.map_err(away)?;
        let says: Says = serde_json::from_str(&text).map_err(|error| away(error.to_string()))?;
        if says.issuer != settings.issuer {
            return Err(away(format!("it says that it is {:?}", says.issuer)));
        }
        let places = [&says.authorization_endpoint, &says.token_endpoint, &says.jwks_uri];
        if let Some(place) = places.into_iter().find(|place| !is_private(place)) {
            return Err(away(format!("it wants to be asked in clear at {place:?}")));
        }
        let keys = self.0.http.get(says.jwks_uri.clone()).await.map_err(away)?;
        let keys = serde_json::from_str(&keys).map_err(|error| away(error.to_string()))?;
        Ok(Found { says, keys, read: Instant::now() })
    }
}

/// Whether nobody on the way reads or changes what goes there.
fn is_private(url: &str) -> bool {
    let Ok(url) = url.parse::<axum::http::Uri>() else { return false };
    let near = url.host().is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.eq_ignore_ascii_case("localhost")
            || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    });
    match url.scheme_str() {
        Some("https") => url.host().is_some(),
        Some("http") => near,
        _ => false,
    }
}

/// The id and the secret of a client, encoded as RFC 6749, 2.3.1 wants them.
fn basic_header(id: &str, secret: &str) -> Zeroizing<String> {
    let encoded = |text: &str| {
        let pair = Zeroizing::new(serde_urlencoded::to_string([("", text)]).unwrap_or_default());
        Zeroizing::new(pair.trim_start_matches('=').to_owned())
    };
    let both = Zeroizing::new(format!("{}:{}", *encoded(id), *encoded(secret)));
    Zeroizing::new(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(&*both)))
}

#[cfg(test)]
mod tests {
    use super::{basic_header, is_private};

    #[test]
    fn where_nobody_listens() {
        for (url, private) in [
            ("https://id.example.com/realms/x", true),
            ("http://id.example.com", false),
            ("http://127.0.0.1:3000", true),
            ("http://[::1]:3000/", true),
            ("http://localhost:3000", true),
            ("http://127.0.0.1.evil.example", false),
            ("ftp://127.0.0.1", false),
            ("id.example.com", false),
            ("", false),
        ] {
            assert_eq!(is_private(url), private, "{url}");
        }
    }

    #[test]
    fn a_secret_with_signs_is_encoded() {
        // "a%3Ab:p%26q"
        assert_eq!(*basic_header("a:b", "p&q"), "Basic YSUzQWI6cCUyNnE=");
    }
}

//! ID tokens: who somebody is, as the provider has signed it (OpenID Connect Core 1.0,
//! 3.1.3.7).

use std::fmt;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::crypto::{TAKEN, is_taken};

/// What a token must say.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    /// The algorithms that the provider says it signs with; empty if it says nothing.
    pub(super) algorithms: &'a [String],
}

/// What a token says.
#[derive(Debug, Deserialize)]
pub(crate) struct Claims {
    pub(crate) sub: String,
    nonce: Option<String>,
    aud: Value,
    azp: Option<String>,
    iat: Option<f64>,
    #[serde(flatten)]
    pub(crate) others: Map<String, Value>,
}

/// Why a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Disbelief {
    /// None of the provider's keys signed it, as far as they are known.
    Key,
    /// Something else is wrong.
    Says(String),
}

impl fmt::Display for Disbelief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("its token is signed by a key that it does not tell of"),
            Self::Says(what) => write!(f, "its token is not to be believed: {what}"),
        }
    }
}

/// Characters of a `sub`, at most (OpenID Connect Core 1.0, 2).
const MOST: usize = 255;

/// Seconds that its clock may be ahead of ours, or behind.
const LEEWAY: u64 = 60;

/// What a token says, if the provider says it to us, now, and about who asked.
pub(super) fn read(
    token: &str,
    keys: &JwkSet,
    expected: &Expected<'_>,
) -> Result<Claims, Disbelief> {
    let says = |what: &dyn fmt::Display| Disbelief::Says(what.to_string());
    let header = decode_header(token).map_err(|error| says(&error))?;
    let algorithm = header.alg;
    let offered = |algorithm: Algorithm| {
        let offered = expected.algorithms;
        offered.is_empty() && algorithm == Algorithm::RS256
            || offered.iter().any(|name| *name == format!("{algorithm:?}"))
    };
    if !TAKEN.contains(&algorithm) || !offered(algorithm) {
        return Err(says(&format!("it is signed with {algorithm:?}")));
    }
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.client_id]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.leeway = LEEWAY;
    validation.validate_nbf = true;
    // Some providers name their only key by nothing.
    let named = keys.keys.iter().filter(|key| {
        let name = key.common.key_id.as_ref();
        header.kid.as_ref().is_none_or(|wanted| name.is_none_or(|name| name == wanted))
    });
    let keys = named.filter_map(|key| DecodingKey::from_jwk(key).ok());
    let mut keys = keys.filter(|key| is_taken(key.family()) && key.family() == algorithm.family());
    let claims = keys.find_map(|key| match decode::<Claims>(token, &key, &validation) {
        Ok(data) => Some(Ok(data.claims)),
        Err(error) if is_signature(&error) => None,
        Err(error) => Some(Err(says(&error))),
    });
    let claims = claims.unwrap_or(Err(Disbelief::Key))?;
    if claims.nonce.as_deref() != Some(expected.nonce) {
        return Err(says(&"it is not about this attempt to sign in"));
    }
    let several = claims.aud.as_array().is_some_and(|all| all.len() > 1);
    let to_us = claims.azp.as_deref().is_none_or(|to| to == expected.client_id);
    if !to_us || several && claims.azp.is_none() {
        return Err(says(&"it was made for somebody else"));
    }
    let now = annals::Timestamp::now().as_millis() as f64 / 1_000.0;
    if claims.iat.is_some_and(|at| at > now + LEEWAY as f64) {
        return Err(says(&"it is of the future"));
    }
    if claims.sub.is_empty() || claims.sub.chars().count() > MOST {
        return Err(says(&"it names nobody"));
    }
    Ok(claims)
}

fn is_signature(error: &jsonwebtoken::errors::Error) -> bool {
    use jsonwebtoken::errors::ErrorKind;
    matches!(error.kind(), ErrorKind::InvalidSignature)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    /// A provider with a key of its own.
    struct Issuer {
        key: Ed25519KeyPair,
        keys: JwkSet,
    }

    fn encoded(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    impl Issuer {
        fn new(name: &str) -> Self {
            super::super::crypto::install();
            let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
            let key = Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap();
            let x = encoded(key.public_key());
            let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": name, "x": x}]});
            Self { key, keys: serde_json::from_value(keys).unwrap() }
        }

        fn token(&self, header: &Value, claims: &Value) -> String {
            let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
            let signature = self.key.sign(signed.as_bytes());
            format!("{signed}.{}", encoded(signature))
        }
    }

    fn seconds() -> i64 {
        annals::Timestamp::now().as_millis() / 1_000
    }

    fn header() -> Value {
        json!({"alg": "EdDSA", "kid": "k1"})
    }

    fn right() -> Value {
        json!({
            "iss": "https://id.example", "aud": "annals", "sub": "jo", "nonce": "n",
            "iat": seconds(), "exp": seconds() + 300, "groups": ["a"],
        })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = right();
        claims[name] = value;
        claims
    }

    fn without(name: &str) -> Value {
        let mut claims = right();
        claims.as_object_mut().unwrap().remove(name);
        claims
    }

    fn reads(token: &str, keys: &JwkSet) -> Result<String, Disbelief> {
        let algorithms = ["EdDSA", "ES256", "HS256", "none"].map(str::to_owned);
        let expected = Expected {
            issuer: "https://id.example",
            client_id: "annals",
            nonce: "n",
            algorithms: &algorithms,
        };
        read(token, keys, &expected).map(|claims| claims.sub)
    }

    #[test]
    fn what_the_provider_says_to_us_now_is_believed() {
        let issuer = Issuer::new("k1");
        for claims in [
            right(),
            with("aud", json!(["annals"])),
            with("azp", json!("annals")),
            // Its clock is a little behind, or ahead.
            with("exp", json!(seconds() - 30)),
            with("iat", json!(seconds() + 30)),
            without("iat"),
        ] {
            let token = issuer.token(&header(), &claims);
            assert_eq!(reads(&token, &issuer.keys).as_deref(), Ok("jo"), "{claims}");
        }
        let several = with("aud", json!(["annals", "others"]));
        let mut to_us = several.clone();
        to_us["azp"] = json!("annals");
        assert!(reads(&issuer.token(&header(), &to_us), &issuer.keys).is_ok());
        assert!(reads(&issuer.token(&header(), &several), &issuer.keys).is_err());
        // A key without a name, as some have who have one only.
        let nameless = issuer.token(&json!({"alg": "EdDSA"}), &right());
        assert!(reads(&nameless, &issuer.keys).is_ok());
    }

    #[test]
    fn nothing_else_is() {
        let issuer = Issuer::new("k1");
        for claims in [
            with("iss", json!("https://id.example/")),
            with("iss", json!("https://evil.example")),
            without("iss"),
            with("aud", json!("others")),
            with("aud", json!([])),
            without("aud"),
            with("azp", json!("others")),
            with("nonce", json!("m")),
            without("nonce"),
            with("exp", json!(seconds() - 120)),
            without("exp"),
            with("iat", json!(seconds() + 600)),
            with("nbf", json!(seconds() + 600)),
            with("sub", json!("")),
            with("sub", json!("x".repeat(256))),
            with("sub", json!(7)),
            without("sub"),
        ] {
            let token = issuer.token(&header(), &claims);
            let found = reads(&token, &issuer.keys);
            assert!(matches!(found, Err(Disbelief::Says(_))), "{claims}: {found:?}");
        }
        let good = issuer.token(&header(), &right());
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let changed = format!(
            "{}.{}",
            encoded(header().to_string()),
            encoded(with("sub", json!("al")).to_string())
        );
        for forged in [
            format!("{changed}.{signature}"),
            format!("{signed}."),
            signed.to_owned(),
            format!("{signed}.{}", encoded([0; 64])),
            String::new(),
            "..".to_owned(),
            "a.b.c".to_owned(),
        ] {
            assert!(reads(&forged, &issuer.keys).is_err(), "{forged}");
        }
        // Signed by nobody.
        let none = issuer.token(&json!({"alg": "none", "kid": "k1"}), &right());
        assert!(reads(&none, &issuer.keys).is_err());
        // Signed with what everybody knows.
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, issuer.key.public_key().as_ref());
        let signed = format!(
            "{}.{}",
            encoded(json!({"alg": "HS256", "kid": "k1"}).to_string()),
            encoded(right().to_string())
        );
        let hmac = format!("{signed}.{}", encoded(ring::hmac::sign(&key, signed.as_bytes())));
        assert!(reads(&hmac, &issuer.keys).is_err());
        // Signed by somebody else, under the same name or another.
        let other = Issuer::new("k1").token(&header(), &right());
        assert_eq!(reads(&other, &issuer.keys), Err(Disbelief::Key));
        let another = issuer.token(&json!({"alg": "EdDSA", "kid": "k2"}), &right());
        assert_eq!(reads(&another, &issuer.keys), Err(Disbelief::Key));
        // With a way that the provider does not say it has.
        let expected = Expected {
            issuer: "https://id.example",
            client_id: "annals",
            nonce: "n",
            algorithms: &["RS256".to_owned()],
        };
        assert!(read(&good, &issuer.keys, &expected).is_err());
        let unsaid = Expected { algorithms: &[], ..expected };
        assert!(read(&good, &issuer.keys, &unsaid).is_err(), "it is RS256 then");
    }

    #[test]
    fn curves_are_read_as_well() {
        super::super::crypto::install();
        let random = SystemRandom::new();
        let way = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(way, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(way, key.as_ref(), &random).unwrap();
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let keys = json!({"keys": [
            {"kty": "oct", "kid": "k1", "k": encoded("secret")},
            {"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "x": encoded(x), "y": encoded(y)},
        ]});
        let keys = serde_json::from_value(keys).unwrap();
        let header = json!({"alg": "ES256", "kid": "k1"});
        let signed = format!("{}.{}", encoded(header.to_string()), encoded(right().to_string()));
        let signature = key.sign(&random, signed.as_bytes()).unwrap();
        let token = format!("{signed}.{}", encoded(signature));
        assert_eq!(reads(&token, &keys).as_deref(), Ok("jo"));
    }
}

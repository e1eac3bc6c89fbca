//! Passwords, and what is kept of them: argon2id (RFC 9106), keyed with the access key, so
//! that who has the database alone cannot even try.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use super::access_key::AccessKey;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::random;

/// Characters of a password, at least.
pub const MIN_PASSWORD: usize = 12;

/// Bytes of a password, at most.
pub const MAX_PASSWORD: usize = 1_024;

/// What guessing costs: 19 MiB and two passes, as OWASP's cheat sheet for storing passwords
/// wants it at least.
const COST: (u32, u32, u32) = (19 * 1_024, 2, 1);

/// What is wrong with a password for somebody of that name, if something is.
pub(super) fn fault(name: &str, password: &str) -> Option<String> {
    let mut characters = password.chars();
    let first = characters.next();
    let (name, lower) = (name.to_lowercase(), password.to_lowercase());
    if password.chars().count() < MIN_PASSWORD {
        Some(format!("a password has at least {MIN_PASSWORD} characters"))
    } else if password.len() > MAX_PASSWORD {
        Some(format!("a password has at most {MAX_PASSWORD} bytes"))
    } else if characters.all(|character| Some(character) == first) {
        Some("a password is more than one character many times".to_owned())
    } else if lower.contains(&name) && lower.len() < name.len() + MIN_PASSWORD {
        Some("a password is more than a name and a few characters".to_owned())
    } else {
        None
    }
}

/// What is kept of a password. It takes a while, and [`COST`].
pub(super) fn hash(key: &AccessKey, password: &str) -> Result<String> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Usage, "keep a password", error.to_string())
    };
    let salt = random::<16>()?;
    let salt = SaltString::encode_b64(&*salt).map_err(|error| failed(&error))?;
    let pepper = key.pepper();
    let hasher = hasher(&pepper).ok_or_else(|| failed(&"its cost is none"))?;
    let hash = hasher.hash_password(password.as_bytes(), &salt).map_err(|error| failed(&error))?;
    Ok(hash.to_string())
}

/// Whether that is kept of the password. It takes as long if nothing is kept: so nobody
/// learns who there is.
pub(super) fn is_hash(key: &AccessKey, password: &str, kept: Option<&str>) -> bool {
    // Of no password: as long as one, and nobody's.
    const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
                          AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let pepper = key.pepper();
    let (Some(hasher), Ok(hash)) = (hasher(&pepper), PasswordHash::new(kept.unwrap_or(NOBODY)))
    else {
        return false;
    };
    hasher.verify_password(password.as_bytes(), &hash).is_ok() && kept.is_some()
}

fn hasher(pepper: &Zeroizing<[u8; 32]>) -> Option<Argon2<'_>> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).ok()?;
    Argon2::new_with_secret(&**pepper, Algorithm::Argon2id, Version::V0x13, params).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_of_one_password_and_one_access_key() {
        let key = AccessKey::generate().unwrap();
        let kept = hash(&key, "correct horse battery").unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_ne!(kept, hash(&key, "correct horse battery").unwrap(), "each has its salt");
        assert!(is_hash(&key, "correct horse battery", Some(&kept)));
        assert!(!is_hash(&key, "correct horse batterz", Some(&kept)));
        assert!(!is_hash(&key, "correct horse battery", None));
        assert!(!is_hash(&key, "", None));
        let other = AccessKey::generate().unwrap();
        assert!(!is_hash(&other, "correct horse battery", Some(&kept)));
    }

    #[test]
    fn weak_ones_are_refused() {
        for (password, told) in [
            ("short", "at least 12 characters"),
            ("elevenchars", "at least 12 characters"),
            ("aaaaaaaaaaaaaaaa", "many times"),
            ("JO@example.com1", "more than a name"),
        ] {
            let fault = fault("jo@example.com", password).unwrap();
            assert!(fault.contains(told), "{password}: {fault}");
        }
        assert_eq!(fault("jo@example.com", "correct horse battery"), None);
        assert!(fault("jo", &"ab".repeat(MAX_PASSWORD)).unwrap().contains("at most"));
    }
}

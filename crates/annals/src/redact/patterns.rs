//! Secrets by their looks, in texts that nobody declared.
//!
//! Each kind has a sign that is looked for first, so that a text without any is passed in
//! one go over its bytes.

use std::ops::Range;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Secret {
    /// 13 to 19 digits of an issuer of cards, whose last one is right (ISO/IEC 7812-1).
    Card,
    /// A private key in PEM (RFC 7468).
    PrivateKey,
    /// A token of an `Authorization` header (RFC 6750), or a JSON Web Token (RFC 7519).
    BearerToken,
    /// A key of a known service, by its prefix.
    ApiKey,
    /// The password of a URL (RFC 3986, userinfo).
    UrlPassword,
}

impl Secret {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Card, Self::PrivateKey, Self::BearerToken, Self::ApiKey, Self::UrlPassword];

    /// What stands in its place: `[redacted: …]`.
    #[must_use]
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Card => "[redacted: card number]",
            Self::PrivateKey => "[redacted: private key]",
            Self::BearerToken => "[redacted: token]",
            Self::ApiKey => "[redacted: api key]",
            Self::UrlPassword => "[redacted: password]",
        }
    }
}

/// Keys that say whose they are: what they begin with, and how many letters, digits, `_` and
/// `-` follow at least.
const API_KEYS: [(&str, usize); 19] = [
    ("AKIA", 16),
    ("ASIA", 16),
    ("ghp_", 30),
    ("gho_", 30),
    ("ghs_", 30),
    ("ghu_", 30),
    ("github_pat_", 40),
    ("glpat-", 20),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("xapp-", 20),
    ("sk_live_", 16),
    ("rk_live_", 16),
    ("sk-ant-", 20),
    ("sk-proj-", 20),
    ("AIza", 35),
    ("npm_", 36),
    ("annals_", 81),
    ("SG.", 40),
];

/// The secrets in a text, in order, none within another.
#[must_use]
pub fn find_secrets(text: &str) -> Vec<(Range<usize>, Secret)> {
    let mut found: Vec<(Range<usize>, Secret)> = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at)).copied();
        let begins = before.is_none_or(|before| !is_word(before));
        let secret = match bytes[at] {
            b'0'..=b'9' if before.is_none_or(|before| !is_part_of_number(before)) => {
                card(bytes, at)
            }
            b'-' if bytes[at..].starts_with(b"-----BEGIN ") => private_key(text, at),
            b'B' | b'b' if begins => bearer(bytes, at),
            b'e' if begins && bytes[at..].starts_with(b"eyJ") => jwt(bytes, at),
            b'A' | b'a' | b'g' | b'x' | b's' | b'r' | b'n' | b'S' if begins => api_key(bytes, at),
            b':' if bytes[at..].starts_with(b"://") => url_password(bytes, at),
            _ => None,
        };
        match secret {
            Some((range, secret)) => {
                at = range.end.max(at + 1);
                found.push((range, secret));
            }
            None if bytes[at].is_ascii_digit() => {
                // The rest of a number is no number of its own.
                while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                    at += 1;
                }
            }
            None => at += 1,
        }
    }
    found
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// What before a digit makes it part of something else: a decimal, an identifier, a hash.
fn is_part_of_number(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'.' | b'-' | b'+' | b'/' | b'#' | b'%' | b'&')
}

/// A card's number: of an issuer, in one piece or in groups as they are printed.
fn card(bytes: &[u8], at: usize) -> Option<(Range<usize>, Secret)> {
    let (mut digits, mut groups, mut end, mut separator) =
        (Vec::with_capacity(19), vec![0], at, None);
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'0'..=b'9' if digits.len() < 20 => {
                digits.push(byte - b'0');
                *groups.last_mut()? += 1;
                end += 1;
            }
            b' ' | b'-'
                if separator.is_none_or(|one| one == *byte)
                    && bytes.get(end + 1).is_some_and(u8::is_ascii_digit)
                    && digits.len() < 19 =>
            {
                separator = Some(*byte);
                groups.push(0);
                end += 1;
            }
            _ => break,
        }
    }
    let after = bytes.get(end).copied();
    let goes_on = after.is_some_and(|after| {
        is_word(after)
            || matches!(after, b'-' | b'/' | b':' | b'@')
            || after == b'.' && bytes.get(end + 1).is_some_and(u8::is_ascii_digit)
    });
    let printed = groups.len() == 1
        || matches!(groups[..], [4, 4, 4, 4] | [4, 6, 5] | [4, 6, 4] | [4, 4, 4, 4, 3]);
    let first = |count: usize| {
        digits[..count].iter().fold(0_u32, |number, digit| number * 10 + u32::from(*digit))
    };
    let length = digits.len();
    if goes_on || !printed || !(13..=19).contains(&length) {
        return None;
    }
    let issued = match first(4) {
        // Those of 13 digits are no more issued, and look like the numbers of articles.
        4000..=4999 => matches!(length, 16 | 19),
        5100..=5599 | 2221..=2720 => length == 16,
        3400..=3499 | 3700..=3799 => length == 15,
        3000..=3059 | 3600..=3699 | 3800..=3999 => length == 14,
        6011 | 6440..=6599 => matches!(length, 16 | 19),
        3528..=3589 => length == 16,
        6200..=6299 => (16..=19).contains(&length),
        5018 | 5020 | 5038 | 6304 | 6759 | 6761..=6763 => (13..=19).contains(&length),
        _ => false,
    };
    (issued && luhn(&digits)).then_some((at..end, Secret::Card))
}

/// Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B).
fn luhn(digits: &[u8]) -> bool {
    let double = |digit: u8| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let all = digits.iter().rev().enumerate();
    let sum: u32 =
        all.map(|(at, digit)| u32::from(if at % 2 == 1 { double(*digit) } else { *digit })).sum();
    sum.is_multiple_of(10)
}

fn private_key(text: &str, at: usize) -> Option<(Range<usize>, Secret)> {
    let label = text[at..].lines().next()?;
    if !label.contains("PRIVATE KEY-----") {
        return None;
    }
    let end = text[at..].find("-----END ").map_or(text.len(), |end| {
        let end = at + end + "-----END ".len();
        text[end..].find("-----").map_or(text.len(), |rest| end + rest + "-----".len())
    });
    Some((at..end, Secret::PrivateKey))
}

/// Letters, digits and the marks that tokens have.
fn token_end(bytes: &[u8], from: usize) -> usize {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    from + bytes[from..].iter().take_while(|byte| is_token(byte)).count()
}

/// `Bearer` or `Basic`, and what follows.
fn bearer(bytes: &[u8], at: usize) -> Option<(Range<usize>, Secret)> {
    let scheme = ["bearer ", "basic "].into_iter().find(|scheme| {
        bytes
            .get(at..at + scheme.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(scheme.as_bytes()))
    })?;
    let from = at + scheme.len();
    let end = token_end(bytes, from);
    let token = &bytes[from..end];
    // Words follow these words as well.
    let mixed = token.iter().any(u8::is_ascii_digit)
        || token.iter().any(u8::is_ascii_uppercase) && token.iter().any(u8::is_ascii_lowercase);
    (token.len() >= 16 && mixed).then_some((from..end, Secret::BearerToken))
}

/// Header, claims and signature, the first two of them JSON in base64url.
fn jwt(bytes: &[u8], at: usize) -> Option<(Range<usize>, Secret)> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let mut end = at;
    for part in 0..3 {
        if part > 0 {
            (bytes.get(end) == Some(&b'.')).then_some(())?;
            end += 1;
        }
        let length = bytes[end..].iter().take_while(|byte| is_part(byte)).count();
        let begins = part == 2 || bytes[end..].starts_with(b"eyJ");
        (length >= 10 && begins).then_some(())?;
        end += length;
    }
    Some((at..end, Secret::BearerToken))
}

fn api_key(bytes: &[u8], at: usize) -> Option<(Range<usize>, Secret)> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let (prefix, least) =
        API_KEYS.iter().find(|(prefix, _)| bytes[at..].starts_with(prefix.as_bytes()))?;
    let from = at + prefix.len();
    let length = bytes[from..].iter().take_while(|byte| is_part(byte)).count();
    let key = &bytes[from..from + length];
    // AWS's have capitals and digits, and sixteen of them.
    let fits = match *prefix {
        "AKIA" | "ASIA" => {
            length == 16
                && key.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        }
        _ => length >= *least && key.iter().any(u8::is_ascii_digit),
    };
    fits.then_some((at..from + length, Secret::ApiKey))
}

/// What stands between the colon and the at sign of an authority.
fn url_password(bytes: &[u8], at: usize) -> Option<(Range<usize>, Secret)> {
    let from = at + 3;
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"/?#\"'<>[]{}|\\^`".contains(byte);
    let length = bytes[from..].iter().position(ends).unwrap_or(bytes.len() - from);
    let authority = &bytes[from..from + length];
    let sign = authority.iter().rposition(|byte| *byte == b'@')?;
    let colon = authority[..sign].iter().position(|byte| *byte == b':')?;
    let password = from + colon + 1..from + sign;
    // Nothing, or what others have put in its place.
    let hidden = bytes[password.clone()].iter().all(|byte| matches!(byte, b'*' | b'x' | b'X'));
    (!hidden).then_some((password, Secret::UrlPassword))
}

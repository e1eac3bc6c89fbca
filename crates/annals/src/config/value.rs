//! One value: from what was given to what fits its setting, and back to text.

use std::net::SocketAddr;
use std::time::Duration;

use super::RoleOf;
use super::setting::{Kind, Setting};
use super::suggest::closest;
use crate::context::proxy::TrustedProxies;
use crate::foreign::symfony::Field;
use crate::unit::{format_bytes, format_duration, parse_bytes, parse_duration};
use crate::url::without_secrets;

/// A value as it was given.
#[derive(Clone, Debug)]
pub(super) enum Given {
    /// A text, or the one value of a flag or a variable.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// A whole number in the file.
    Number(String),
    /// What no setting can be: its description.
    Other(String),
}

/// A value that fits its setting.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Texts(Vec<String>),
    Number(u64),
    Duration(Duration),
    Address(SocketAddr),
}

/// Reads a raw value as what its setting may be.
pub(super) fn validate(setting: &Setting, given: &Given) -> Result<Value, String> {
    let one = || match given {
        Given::Text(text) => Ok(text.as_str()),
        Given::Texts(texts) if texts.len() == 1 => Ok(texts[0].as_str()),
        Given::Texts(texts) => Err(format!("expected one value, found {}", texts.len())),
        Given::Number(number) => {
            Err(format!("expected {}, found the number {number}", expected(setting.kind)))
        }
        Given::Other(found) => Err(format!("expected {}, found {found}", expected(setting.kind))),
    };
    match setting.kind {
        Kind::Path => match one()? {
            "" => Err("expected a path, found nothing".to_owned()),
            path => Ok(Value::Text(path.to_owned())),
        },
        Kind::LogName => match one()? {
            name if name.is_empty()
                || name.contains(|letter: char| letter.is_whitespace() || letter == '+') =>
            {
                Err(format!("expected {}, found {name:?}", expected(setting.kind)))
            }
            name => Ok(Value::Text(name.to_owned())),
        },
        Kind::Text => match one()? {
            "" => Err("expected a text, found nothing".to_owned()),
            text => Ok(Value::Text(text.to_owned())),
        },
        Kind::Roles => {
            let texts: Vec<&str> = match given {
                Given::Texts(texts) => texts.iter().map(String::as_str).collect(),
                _ => vec![one()?],
            };
            let texts = texts.into_iter().map(|text| match RoleOf::read(text) {
                Some(_) => Ok(text.to_owned()),
                None => Err(format!("expected {}, found {text:?}", expected(setting.kind))),
            });
            texts.collect::<Result<_, _>>().map(Value::Texts)
        }
        Kind::Url => url(one()?).map(Value::Text),
        Kind::Origin => {
            let text = one()?;
            let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
            match host {
                Some(host) if !host.is_empty() && host.bytes().all(plain) => {
                    Ok(Value::Text(text.to_ascii_lowercase()))
                }
                _ => Err(format!("expected {}, found {text:?}", expected(setting.kind))),
            }
        }
        Kind::Urls => {
            let texts: Vec<&str> = match given {
                Given::Texts(texts) => texts.iter().map(String::as_str).collect(),
                _ => vec![one()?],
            };
            if texts.is_empty() {
                return Err("expected a URL, found nothing".to_owned());
            }
            texts.into_iter().map(url).collect::<Result<_, _>>().map(Value::Texts)
        }
        Kind::Mapping => {
            let texts: Vec<&str> = match given {
                Given::Texts(texts) => texts.iter().map(String::as_str).collect(),
                _ => vec![one()?],
            };
            let pair = |text: &str| match text.split_once('=') {
                Some((name, field)) if !name.is_empty() => {
                    field.parse::<Field>().map(|_| text.to_owned())
                }
                _ => Err(format!("expected {}, found {text:?}", expected(setting.kind))),
            };
            texts.into_iter().map(pair).collect::<Result<_, _>>().map(Value::Texts)
        }
        Kind::Fields => {
            let texts: Vec<&str> = match given {
                Given::Texts(texts) => texts.iter().map(String::as_str).collect(),
                _ => vec![one()?],
            };
            let field = |text: &str| match text.rsplit_once('.') {
                Some((entity, field)) if !entity.is_empty() && !field.is_empty() => {
                    Ok(text.to_owned())
                }
                _ => Err(format!("expected {}, found {text:?}", expected(setting.kind))),
            };
            texts.into_iter().map(field).collect::<Result<_, _>>().map(Value::Texts)
        }
        Kind::Networks => {
            let texts: Vec<&str> = match given {
                Given::Texts(texts) => texts.iter().map(String::as_str).collect(),
                _ => vec![one()?],
            };
            match TrustedProxies::new(texts.iter().copied()) {
                Ok(_) => Ok(Value::Texts(texts.into_iter().map(str::to_owned).collect())),
                Err(error) => Err(error.found().to_owned()),
            }
        }
        Kind::Witnesses | Kind::Targets => {
            let texts: Vec<&str> = match given {
                Given::Texts(texts) => texts.iter().map(String::as_str).collect(),
                _ => vec![one()?],
            };
            let fits = |text: &&str| match setting.kind {
                Kind::Targets => text.contains(':'),
                _ => text.split_whitespace().count() == 2,
            };
            match texts.iter().find(|text| !fits(text)) {
                Some(wrong) => Err(format!(
                    "expected {}, found {:?}",
                    expected(setting.kind),
                    without_secrets(wrong)
                )),
                None => Ok(Value::Texts(texts.into_iter().map(str::to_owned).collect())),
            }
        }
        Kind::Command => match one()? {
            "" => Err("expected a command, found nothing".to_owned()),
            command => Ok(Value::Text(command.to_owned())),
        },
        Kind::Count(least, most) => {
            let text = if let Given::Number(number) = given { number } else { one()? };
            let wrong = || format!("expected {}, found {text:?}", expected(setting.kind));
            let number: u64 = text.parse().map_err(|_| wrong())?;
            if (least..=most).contains(&number) { Ok(Value::Number(number)) } else { Err(wrong()) }
        }
        Kind::Bytes(least, most) => {
            let bytes =
                parse_bytes(if let Given::Number(number) = given { number } else { one()? })?;
            if (least..=most).contains(&bytes) {
                return Ok(Value::Number(bytes));
            }
            Err(format!("expected {}, found {}", expected(setting.kind), format_bytes(bytes)))
        }
        Kind::Duration(least, most) => {
            let duration = parse_duration(one()?)?;
            if (least..=most).contains(&duration) {
                return Ok(Value::Duration(duration));
            }
            Err(format!("expected {}, found {}", expected(setting.kind), format_duration(duration)))
        }
        Kind::Choice(words) => {
            let word = one()?;
            if words.contains(&word) {
                return Ok(Value::Text(word.to_owned()));
            }
            let near = closest(word, words.iter().copied());
            let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            Err(format!("expected {}, found {word:?}{hint}", expected(setting.kind)))
        }
        Kind::Address => {
            let text = one()?;
            text.parse()
                .map(Value::Address)
                .map_err(|_| format!("expected {}, found {text:?}", expected(setting.kind)))
        }
    }
}

fn expected(kind: Kind) -> String {
    match kind {
        Kind::Path => "a path in quotes".to_owned(),
        Kind::LogName => "a name without spaces and pluses".to_owned(),
        Kind::Url => "a URL in quotes".to_owned(),
        Kind::Text => "a text in quotes".to_owned(),
        Kind::Roles => {
            "VALUE=ROLE or VALUE=ROLE@TENANT in quotes, with a role that is reader, operator, \
             auditor or administrator, or a list of them"
                .to_owned()
        }
        Kind::Origin => {
            "https://HOST in quotes, perhaps with a port, and without a path".to_owned()
        }
        Kind::Urls => "a URL in quotes, or a list of them".to_owned(),
        Kind::Mapping => "PROPERTY=FIELD in quotes, or a list of them".to_owned(),
        Kind::Fields => "TYPE.FIELD in quotes, or a list of them".to_owned(),
        Kind::Networks => "an address or a network in quotes, or a list of them".to_owned(),
        Kind::Witnesses => "a key and a URL in quotes, or a list of them".to_owned(),
        Kind::Targets => {
            "file:PATH, exec:COMMAND, a URL or syslog: in quotes, or a list of them".to_owned()
        }
        Kind::Command => "a command in quotes".to_owned(),
        Kind::Count(least, u64::MAX) => format!("a whole number of at least {least}"),
        Kind::Count(least, most) => format!("a whole number from {least} to {most}"),
        Kind::Bytes(least, most) => {
            format!("a size from {} to {}", format_bytes(least), format_bytes(most))
        }
        Kind::Duration(least, most) => {
            format!(
                "a time with its unit from {} to {}",
                format_duration(least),
                format_duration(most)
            )
        }
        Kind::Choice(words) => match words.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        },
        Kind::Address => "an address with its port such as 127.0.0.1:4620".to_owned(),
    }
}

fn url(text: &str) -> Result<String, String> {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
    let fits = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '+');
    // A single letter is a drive of Windows, not a scheme.
    if fits && scheme.len() > 1 {
        return Ok(text.to_owned());
    }
    Err(format!(
        "expected a URL such as sqlite:annals-data/store.db, found {:?}",
        without_secrets(text)
    ))
}

/// A value as `annals config` shows it.
pub(super) fn shown(kind: Kind, value: &Value) -> String {
    match (kind, value) {
        (Kind::Url, Value::Text(url)) => without_secrets(url),
        (_, Value::Text(text)) => text.clone(),
        (_, Value::Texts(urls)) => {
            urls.iter().map(|url| without_secrets(url)).collect::<Vec<_>>().join(" ")
        }
        (Kind::Bytes(..), Value::Number(bytes)) => format_bytes(*bytes),
        (_, Value::Number(number)) => number.to_string(),
        (_, Value::Duration(duration)) => format_duration(*duration),
        (_, Value::Address(address)) => address.to_string(),
    }
}

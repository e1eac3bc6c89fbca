//! Masks: enough to recognise a value by who knows it, too little to learn it.

/// The mark in the place of a value; `value` is its JSON.
///
/// Of an e-mail address the first letter and the domain stay, of a text or number of at
/// least eight letters and digits the last four, or the last two if there are fewer than
/// twelve; of all else nothing.
pub(super) fn mark(value: &str) -> String {
    let text = match value.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(value).ok(),
        Some(b'-' | b'0'..=b'9') => Some(value.to_owned()),
        _ => None,
    };
    match text.as_deref().and_then(mask) {
        Some(mask) => {
            let mask = serde_json::Value::from(mask);
            format!(r#"{{"$annals":{{"kind":"redacted","mask":{mask}}}}}"#)
        }
        None => crate::event::REDACTED.to_owned(),
    }
}

fn mask(text: &str) -> Option<String> {
    if let Some((name, domain)) = text.split_once('@')
        && name.chars().count() > 1
        && domain.contains('.')
        && !domain.contains('@')
    {
        return Some(format!("{}\u{2026}@{domain}", name.chars().next()?));
    }
    let known = |letter: &char| letter.is_alphanumeric();
    let count = text.chars().filter(known).count();
    let shown = match count {
        0..8 => return None,
        8..12 => 2,
        _ => 4,
    };
    let end: Vec<char> = text.chars().filter(known).skip(count - shown).collect();
    Some(format!("\u{2026}{}", end.into_iter().collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_keeps_what_tells_nobody_the_value() {
        for (value, shown) in [
            (r#""jo.doe@example.org""#, Some("j\u{2026}@example.org")),
            (r#""4111 1111 1111 1234""#, Some("\u{2026}1234")),
            (r#""+49 30 901820""#, Some("\u{2026}20")),
            ("123456789012", Some("\u{2026}9012")),
            (r#""secret""#, None),
            (r#""a@b.c""#, None),
            ("true", None),
            (r#"{"a":"4111111111111234"}"#, None),
        ] {
            let mark = mark(value);
            match shown {
                Some(shown) => assert!(mark.contains(&format!("\"mask\":\"{shown}\"")), "{mark}"),
                None => assert_eq!(mark, crate::event::REDACTED),
            }
        }
    }
}

//! Walking over an encoded event, and putting other values in the place of some.

use super::scan::{end_of_string, end_of_value};

/// What is to become of a value.
pub(crate) enum Turn {
    /// It stays, and what it holds is looked at.
    Into,
    /// It stays, whatever it holds.
    Keep,
    /// This JSON takes its place.
    Put(String),
    /// It goes, with its key. Only what is in an object can go.
    #[cfg(feature = "redact")]
    Remove,
}

/// Looks at each value of an encoded event, outermost first, with its place as a JSON
/// pointer (RFC 6901) over the keys as they are written, and how deep it is: 1 for the
/// event's own fields. `None` if nothing was put anywhere.
///
/// # Errors
/// What `visit` says.
pub(crate) fn rewrite<E>(
    event: &str,
    visit: &mut dyn FnMut(&str, usize, &str) -> Result<Turn, E>,
) -> Result<Option<String>, E> {
    let mut walk = Walk { text: event, out: String::new(), copied: 0, path: String::new(), visit };
    let start = walk.skip_space(0);
    if event.as_bytes().get(start) == Some(&b'{') {
        walk.members(start + 1, 1)?;
    }
    if walk.copied == 0 {
        return Ok(None);
    }
    walk.out.push_str(&event[walk.copied..]);
    Ok(Some(walk.out))
}

struct Walk<'t, 'v, E> {
    text: &'t str,
    out: String,
    /// Up to where `out` has what `text` has.
    copied: usize,
    path: String,
    visit: &'v mut dyn FnMut(&str, usize, &str) -> Result<Turn, E>,
}

impl<E> Walk<'_, '_, E> {
    fn skip_space(&self, mut at: usize) -> usize {
        while matches!(self.text.as_bytes().get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            at += 1;
        }
        at
    }

    /// Walks over the members of an object or an array, from behind its bracket on.
    fn members(&mut self, from: usize, depth: usize) -> Result<(), E> {
        let bytes = self.text.as_bytes();
        let in_object = bytes[from - 1] == b'{';
        let mut at = from;
        for index in 0_usize.. {
            at = self.skip_space(at);
            let (outer, member) = (self.path.len(), at);
            match bytes.get(at) {
                None | Some(b'}' | b']') => break,
                Some(b'"') if in_object => {
                    let close = end_of_string(bytes, at);
                    push_key(&mut self.path, &self.text[at + 1..close.max(at + 2) - 1]);
                    // Behind the colon.
                    at = self.skip_space(self.skip_space(close) + 1);
                }
                Some(_) => self.path.push_str(&format!("/{index}")),
            }
            let end = end_of_value(bytes, at);
            let gone = self.value(at, end, depth)?;
            self.path.truncate(outer);
            if gone && in_object {
                at = self.remove(member, end);
                continue;
            }
            at = self.skip_space(end);
            if bytes.get(at) == Some(&b',') {
                at += 1;
            }
        }
        Ok(())
    }

    /// Leaves a member out, with the comma behind it, or before it if it is the last. What
    /// comes next begins where it answers.
    fn remove(&mut self, member: usize, end: usize) -> usize {
        self.out.push_str(&self.text[self.copied..member]);
        let behind = self.skip_space(end);
        if self.text.as_bytes().get(behind) == Some(&b',') {
            self.copied = self.skip_space(behind + 1);
        } else {
            self.out.truncate(self.out.trim_end().len());
            if self.out.ends_with(',') {
                self.out.pop();
            }
            self.copied = end;
        }
        self.copied
    }

    /// Answers whether it is to go.
    fn value(&mut self, start: usize, end: usize, depth: usize) -> Result<bool, E> {
        let raw = self.text[start..end].trim_end();
        match (self.visit)(&self.path, depth, raw)? {
            Turn::Keep => {}
            Turn::Into if raw.starts_with(['{', '[']) => self.members(start + 1, depth + 1)?,
            Turn::Into => {}
            Turn::Put(json) => {
                self.out.push_str(&self.text[self.copied..start]);
                self.out.push_str(&json);
                self.copied = start + raw.len();
            }
            #[cfg(feature = "redact")]
            Turn::Remove => return Ok(true),
        }
        Ok(false)
    }
}

/// Adds a key to a pointer.
fn push_key(path: &mut String, key: &str) {
    path.push('/');
    if !key.contains(['~', '/']) {
        path.push_str(key);
        return;
    }
    for letter in key.chars() {
        match letter {
            '~' => path.push_str("~0"),
            '/' => path.push_str("~1"),
            plain => path.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::super::personal::{has_personal, personal_value};
    use super::*;

    #[test]
    fn values_are_found_with_their_places_and_replaced_alone() {
        let event = r#"{"a":1,"o" : {"x/y":[true,{"~":"\"}"}],"m":{"$annals":{"kind":"personal","value":{"b":[1]}}}},"z":null}"#;
        let mut seen = Vec::new();
        let rewritten = rewrite::<Infallible>(event, &mut |path, depth, raw| {
            seen.push(format!("{depth} {path} {raw}"));
            Ok(match personal_value(raw) {
                Some(value) => Turn::Put(format!("<{value}>")),
                None => Turn::Into,
            })
        });
        let rewritten = rewritten.unwrap().unwrap();
        assert_eq!(
            rewritten,
            r#"{"a":1,"o" : {"x/y":[true,{"~":"\"}"}],"m":<{"b":[1]}>},"z":null}"#
        );
        assert_eq!(seen[0], "1 /a 1");
        assert!(seen.contains(&r#"4 /o/x~1y/1/~0 "\"}""#.to_owned()), "{seen:?}");
        assert_eq!(seen.last().unwrap(), "1 /z null");
        assert!(has_personal(event) && !has_personal(&rewritten));
    }
}

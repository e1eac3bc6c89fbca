//! Text of strangers, made safe for a terminal.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with everything escaped that a terminal would obey instead of show,
/// or that makes text look like other text: control characters, overrides of
/// the writing direction, and characters without width.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            hidden if is_hidden(hidden) => {
                // Writing into a string has no way to fail.
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(hidden));
            }
            plain => safe.push(plain),
        }
    }
    Cow::Owned(safe)
}

/// The first characters of a text, with an ellipsis if there are more. Cut before
/// it is made safe, so that no escape is torn.
pub(crate) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Arabic letter mark, soft hyphen, Mongolian vowel separator.
            '\u{61c}' | '\u{ad}' | '\u{180e}'
            // Zero width space, marks of direction; the joiners beside them are
            // part of ordinary words and emoji.
            | '\u{200b}' | '\u{200e}' | '\u{200f}'
            // Line and paragraph separator; embeddings and overrides.
            | '\u{2028}'..='\u{202e}'
            // Invisible operators, isolates, deprecated format characters.
            | '\u{2060}'..='\u{206f}'
            // Byte order mark, interlinear annotation, tags.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

//! How names are written: `snake_case`, `camelCase` and the like.

/// A way of writing a name.
#[derive(Clone, Copy)]
pub(crate) enum Case {
    Snake,
    Camel,
    Pascal,
    Screaming,
    Kebab,
}

/// The cases, each under the name that asks for it.
pub(crate) const CASES: [(&str, Case); 5] = [
    ("snake_case", Case::Snake),
    ("camelCase", Case::Camel),
    ("PascalCase", Case::Pascal),
    ("SCREAMING_SNAKE_CASE", Case::Screaming),
    ("kebab-case", Case::Kebab),
];

impl Case {
    /// Writes the name of a field (in snake_case) or a type (in PascalCase).
    pub(crate) fn write(self, name: &str) -> String {
        let words = words(name);
        match self {
            Self::Snake => words.join("_"),
            Self::Kebab => words.join("-"),
            Self::Screaming => words.join("_").to_uppercase(),
            Self::Pascal => words.iter().map(|word| capital(word)).collect(),
            Self::Camel => {
                let mut words = words.iter();
                let first = words.next().cloned().unwrap_or_default();
                first + &words.map(|word| capital(word)).collect::<String>()
            }
        }
    }
}

/// The words of a name, in lower case: "HTTPServer2" has "http" and "server2".
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let characters: Vec<char> = name.chars().collect();
    for (index, character) in characters.iter().enumerate() {
        let after_lower = index > 0 && !characters[index - 1].is_uppercase();
        let before_lower = characters.get(index + 1).is_some_and(|next| next.is_lowercase());
        let begins =
            *character == '_' || (character.is_uppercase() && (after_lower || before_lower));
        if begins && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if let (Some(word), true) = (words.last_mut(), *character != '_') {
            word.extend(character.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn capital(word: &str) -> String {
    let mut characters = word.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + characters.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_become_snake_case() {
        for (given, expected) in [
            ("Product", "product"),
            ("OrderLine", "order_line"),
            ("HTTPServer", "http_server"),
            ("V2Order", "v2_order"),
            ("Order2Line", "order2_line"),
            ("already_snake", "already_snake"),
            ("Straße", "straße"),
        ] {
            assert_eq!(Case::Snake.write(given), expected);
        }
    }

    #[test]
    fn fields_take_every_case() {
        let written: Vec<String> = CASES.iter().map(|(_, case)| case.write("unit_price")).collect();
        assert_eq!(written, ["unit_price", "unitPrice", "UnitPrice", "UNIT_PRICE", "unit-price"]);
    }
}

//! Writing the values that most fields have: texts without escapes, whole
//! numbers, truth values and nothing.
//!
//! `serde_json` writes them as well, byte by byte and for any value there is. In
//! the time of a `record` that was the largest part. What is written here is what
//! it would write; any other value is left to it.

use std::fmt;

use serde::Serialize;
use serde::ser::{Impossible, Serializer};

use crate::event::{is_verbatim, write_number};

/// Appends a plain value as JSON; answers whether it was one. If not, `out` is as
/// it was.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> bool {
    let before = out.len();
    let plain = value.serialize(Plain(out)).is_ok();
    if !plain {
        out.truncate(before);
    }
    plain
}

struct Plain<'a>(&'a mut Vec<u8>);

/// The value is of another kind.
#[derive(Debug)]
struct NotPlain;

impl fmt::Display for NotPlain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a plain value")
    }
}

impl std::error::Error for NotPlain {}

impl serde::ser::Error for NotPlain {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

type Done = Result<(), NotPlain>;

impl Plain<'_> {
    fn word(self, word: &str) -> Done {
        self.0.extend_from_slice(word.as_bytes());
        Ok(())
    }

    fn signed(self, value: i64) -> Done {
        if value < 0 {
            self.0.push(b'-');
        }
        write_number(value.unsigned_abs(), self.0);
        Ok(())
    }

    fn unsigned(self, value: u64) -> Done {
        write_number(value, self.0);
        Ok(())
    }
}

/// Methods of the serializer that turn a value down.
macro_rules! turn_down {
    ($($method:ident($($argument:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$ok, NotPlain> { Err(NotPlain) })*
    };
}

impl Serializer for Plain<'_> {
    type Ok = ();
    type Error = NotPlain;
    type SerializeSeq = Impossible<(), NotPlain>;
    type SerializeTuple = Impossible<(), NotPlain>;
    type SerializeTupleStruct = Impossible<(), NotPlain>;
    type SerializeTupleVariant = Impossible<(), NotPlain>;
    type SerializeMap = Impossible<(), NotPlain>;
    type SerializeStruct = Impossible<(), NotPlain>;
    type SerializeStructVariant = Impossible<(), NotPlain>;

    fn serialize_bool(self, value: bool) -> Done {
        self.word(if value { "true" } else { "false" })
    }

    fn serialize_i8(self, value: i8) -> Done {
        self.signed(value.into())
    }

    fn serialize_i16(self, value: i16) -> Done {
        self.signed(value.into())
    }

    fn serialize_i32(self, value: i32) -> Done {
        self.signed(value.into())
    }

    fn serialize_i64(self, value: i64) -> Done {
        self.signed(value)
    }

    fn serialize_u8(self, value: u8) -> Done {
        self.unsigned(value.into())
    }

    fn serialize_u16(self, value: u16) -> Done {
        self.unsigned(value.into())
    }

    fn serialize_u32(self, value: u32) -> Done {
        self.unsigned(value.into())
    }

    fn serialize_u64(self, value: u64) -> Done {
        self.unsigned(value)
    }

    fn serialize_str(self, value: &str) -> Done {
        if !is_verbatim(value.as_bytes()) {
            return Err(NotPlain);
        }
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'"');
        Ok(())
    }

    fn serialize_none(self) -> Done {
        self.word("null")
    }

    fn serialize_unit(self) -> Done {
        self.word("null")
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Done {
        self.serialize_str(variant)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Done {
        Err(NotPlain)
    }

    turn_down! {
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_seq(Option<usize>) -> Impossible<(), NotPlain>;
        serialize_tuple(usize) -> Impossible<(), NotPlain>;
        serialize_tuple_struct(&'static str, usize) -> Impossible<(), NotPlain>;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Impossible<(), NotPlain>;
        serialize_map(Option<usize>) -> Impossible<(), NotPlain>;
        serialize_struct(&'static str, usize) -> Impossible<(), NotPlain>;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Impossible<(), NotPlain>;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Serialize)]
    struct Wrapped<T>(T);

    #[derive(Serialize)]
    enum Size {
        Small,
        Of(u8),
    }

    /// What is written is what `serde_json` writes; answers whether it was plain.
    fn written<T: Serialize>(value: &T) -> bool {
        let mut out = b"before".to_vec();
        let plain = write(value, &mut out);
        let expected = if plain { serde_json::to_string(value).unwrap() } else { String::new() };
        assert_eq!(out, format!("before{expected}").into_bytes());
        plain
    }

    #[test]
    fn plain_values_are_written_and_others_are_not() {
        assert!(written(&true) && written(&Some(-7_i8)) && written(&None::<u8>) && written(&()));
        assert!(written(&i64::MIN) && written(&u64::MAX) && written(&Wrapped(Some("kettle"))));
        assert!(written(&Size::Small) && !written(&Size::Of(1)));
        assert!(!written(&1.5) && !written(&'x') && !written(&[1, 2]) && !written(&u128::MAX));
        assert!(!written(&"a\"b") && !written(&"a\nb") && !written(&serde_json::json!({"a": 1})));
        assert!(!written(&serde_json::value::RawValue::from_string("1".to_owned()).unwrap()));
    }

    proptest! {
        #[test]
        fn any_text_or_number_is_written_as_serde_json_does(text: String, number: i64, large: u64) {
            written(&text);
            prop_assert!(written(&number) && written(&large));
        }
    }
}

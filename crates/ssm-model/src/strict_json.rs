//! JSON in which every key of an object occurs once.
//!
//! Of two equal keys most readers keep the last and say nothing: a header or an index would then mean one thing here and another
//! elsewhere. A byte-order mark, which some editors put first, is passed over.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use thiserror::Error;

/// Why a text was refused.
#[derive(Debug, Error)]
pub(crate) enum StrictError {
    /// The same key twice in one object.
    #[error("`{0}` is there twice")]
    Twice(String),
    /// No JSON.
    #[error("{0}")]
    Syntax(String),
}

/// A text without the mark that may precede it.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Reads a text as JSON.
pub(crate) fn parse(text: &[u8]) -> Result<Value, StrictError> {
    let text = std::str::from_utf8(text).map_err(|error| StrictError::Syntax(format!("not UTF-8: {error}")))?;
    let twice = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_str(without_mark(text));
    let value = Strict { twice: &twice }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| twice.take().map_or_else(|| StrictError::Syntax(error.to_string()), StrictError::Twice))
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    /// The first key that occurs twice; the error of the library holds only text.
    twice: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                self.twice.replace(Some(key));
                return Err(A::Error::custom("a repeated key"));
            }
            object.insert(key, entries.next_value_seed(self)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_repeated_key_is_named_at_any_depth() {
        let refusal = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(refusal(r#"{"a": 1, "b": 2, "a": 1}"#), "`a` is there twice");
        assert_eq!(refusal(r#"[{"x": {"dtype": "F32", "d\u0074ype": "F32"}}]"#), "`dtype` is there twice");
        assert!(refusal(r#"{"a": 1"#).contains("EOF"));
        assert!(refusal(r#"{"a": 1} {"#).contains("trailing characters"));
        assert!(parse(&[b'"', 0xff, b'"']).is_err());
    }

    #[test]
    fn everything_else_is_read_unchanged() {
        let text = r#"{"a": [null, true, -3, 18446744073709551615, 1.5, "x"], "b": {"a": {}}}"#;
        assert_eq!(
            parse(format!("\u{feff}{text}").as_bytes()).unwrap().to_string(),
            text.replace(": ", ":").replace(", ", ",")
        );
    }
}

//! JSON as Python writes it.

use serde_json::{Map, Value};

use super::error::ConfigError;
use crate::strict_json::{self, StrictError};

/// Parses an object in which `Infinity`, `-Infinity` and `NaN` are values too.
///
/// Each becomes `{"__float__": "Infinity"}`, which is how newer versions of transformers write them.
pub(super) fn parse_object(text: &str) -> Result<Map<String, Value>, ConfigError> {
    match strict_json::parse(quote_non_finite(text).as_bytes()) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ConfigError::Json("the file holds another JSON value".into())),
        Err(StrictError::Twice(key)) => Err(ConfigError::Twice { key }),
        Err(StrictError::Syntax(problem)) => Err(ConfigError::Json(problem)),
    }
}

/// Reads a number, also in the form that [`parse_object`] gives to non-finite ones, and where it was written as a text.
pub(super) fn as_float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(word) => non_finite(word),
        Value::Object(object) if object.len() == 1 => non_finite(object.get("__float__")?.as_str()?),
        _ => None,
    }
}

/// The numbers that JSON has no word for.
fn non_finite(word: &str) -> Option<f64> {
    match word {
        "Infinity" | "inf" => Some(f64::INFINITY),
        "-Infinity" | "-inf" => Some(f64::NEG_INFINITY),
        "NaN" | "nan" => Some(f64::NAN),
        _ => None,
    }
}

fn quote_non_finite(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if let Some(token) = ["-Infinity", "Infinity", "NaN"].into_iter().find(|t| rest.starts_with(t)) {
            out.extend(["{\"__float__\":\"", token, "\"}"]);
            rest = &rest[token.len()..];
            continue;
        } else {
            in_string = c == '"';
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{as_float, parse_object};

    #[test]
    fn bare_non_finite_numbers_are_read_outside_strings_only() {
        let object =
            parse_object(r#"{"a": [0.0, Infinity], "b": -Infinity, "c": "NaN \" Infinity", "d": NaN}"#).unwrap();
        assert_eq!(as_float(&object["a"][1]), Some(f64::INFINITY));
        assert_eq!(as_float(&object["b"]), Some(f64::NEG_INFINITY));
        assert_eq!(object["c"], "NaN \" Infinity");
        assert!(as_float(&object["d"]).unwrap().is_nan());
        assert_eq!(as_float(&"Infinity".into()), Some(f64::INFINITY));
        assert_eq!(as_float(&"1.0".into()), None, "a finite number needs no text");
    }

    #[test]
    fn other_malformed_json_stays_malformed() {
        for text in ["", "{", "[1]", "{\"a\": Inf}", "{\"a\": NaNa}"] {
            assert!(parse_object(text).is_err(), "{text}");
        }
    }
}

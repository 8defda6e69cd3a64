//! Options of a strategy: declared once, checked in one place, printed the same everywhere.

use std::collections::BTreeMap;
use std::fmt;

use hint::Hint;
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

/// Value of one option of a strategy.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum OptionValue {
    /// A whole number.
    Integer(i64),
    /// A real number.
    Number(f64),
    /// One of a fixed set of words.
    Word(String),
}

impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Word(value) => f.write_str(value),
        }
    }
}

impl Serialize for OptionValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Number(value) => serializer.serialize_f64(*value),
            Self::Word(value) => serializer.serialize_str(value),
        }
    }
}

/// What values an option takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptionKind {
    /// A whole number in `min..=max`.
    Integer {
        /// Smallest allowed value.
        min: i64,
        /// Largest allowed value.
        max: i64,
    },
    /// A real number in `min..=max`.
    Number {
        /// Smallest allowed value.
        min: f64,
        /// Largest allowed value.
        max: f64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl fmt::Display for OptionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer { min, max } => write!(f, "a whole number in {min}..={max}"),
            Self::Number { min, max } => write!(f, "a number in {min}..={max}"),
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
        }
    }
}

/// Default of an option, in a form that a `static` can hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptionDefault {
    /// A whole number.
    Integer(i64),
    /// A real number.
    Number(f64),
    /// A word.
    Word(&'static str),
}

impl From<OptionDefault> for OptionValue {
    fn from(default: OptionDefault) -> Self {
        match default {
            OptionDefault::Integer(value) => Self::Integer(value),
            OptionDefault::Number(value) => Self::Number(value),
            OptionDefault::Word(value) => Self::Word(value.to_owned()),
        }
    }
}

/// Declaration of one option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptionInfo {
    /// Key in the experiment file.
    pub name: &'static str,
    /// Allowed values.
    pub kind: OptionKind,
    /// Value where the file is silent.
    pub default: OptionDefault,
    /// One line of help.
    pub help: &'static str,
}

impl OptionInfo {
    /// Checks a value against the declaration; whole numbers are accepted where a real number is asked.
    ///
    /// # Errors
    /// [`OptionError::BadValue`] names option, value and what is allowed.
    pub fn check(&self, value: &OptionValue) -> Result<OptionValue, OptionError> {
        let accepted = match (self.kind, value) {
            (OptionKind::Integer { min, max }, OptionValue::Integer(v)) if (min..=max).contains(v) => {
                Some(value.clone())
            }
            (OptionKind::Number { min, max }, OptionValue::Number(v)) if (min..=max).contains(v) => Some(value.clone()),
            (OptionKind::Number { min, max }, OptionValue::Integer(v)) if (min..=max).contains(&(*v as f64)) => {
                Some(OptionValue::Number(*v as f64))
            }
            (OptionKind::Choice(words), OptionValue::Word(v)) if words.contains(&v.as_str()) => Some(value.clone()),
            _ => None,
        };
        accepted.ok_or_else(|| OptionError::BadValue {
            option: self.name,
            value: value.to_string(),
            allowed: self.kind.to_string(),
        })
    }
}

/// Options of one strategy with every default filled in; sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ResolvedOptions(BTreeMap<&'static str, OptionValue>);

impl ResolvedOptions {
    /// Checks `given` against `declared` and fills in the defaults.
    ///
    /// # Errors
    /// An unknown key or a value out of its range.
    pub fn resolve(
        declared: &'static [OptionInfo],
        given: &BTreeMap<String, OptionValue>,
    ) -> Result<Self, OptionError> {
        if let Some(unknown) = given.keys().find(|key| declared.iter().all(|option| option.name != key.as_str())) {
            let known: Vec<_> = declared.iter().map(|option| option.name).collect();
            return Err(OptionError::Unknown {
                option: unknown.clone(),
                nearest: crate::spelling::nearest(unknown, known.iter().copied()),
                known: known.join(", "),
            });
        }
        declared
            .iter()
            .map(|option| {
                let value = match given.get(option.name) {
                    Some(value) => option.check(value)?,
                    None => option.default.into(),
                };
                Ok((option.name, value))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Compact JSON with sorted keys: the form in which options enter ids and records.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_else(|_| unreachable!("option values are plain scalars"))
    }

    /// The value of an option, where it is declared.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OptionValue> {
        self.0.get(name)
    }

    /// The word of a declared [`OptionKind::Choice`].
    ///
    /// # Panics
    /// If the strategy did not declare it: an error in the strategy, not in the input.
    #[must_use]
    pub fn word(&self, name: &str) -> &str {
        match self.get(name) {
            Some(OptionValue::Word(word)) => word,
            other => panic!("option `{name}` is not a declared word: {other:?}"),
        }
    }

    /// The value of a declared [`OptionKind::Number`].
    ///
    /// # Panics
    /// If the strategy did not declare it: an error in the strategy, not in the input.
    #[must_use]
    pub fn number(&self, name: &str) -> f64 {
        match self.get(name) {
            Some(OptionValue::Number(number)) => *number,
            other => panic!("option `{name}` is not a declared number: {other:?}"),
        }
    }

    /// The value of a declared [`OptionKind::Integer`].
    ///
    /// # Panics
    /// If the strategy did not declare it: an error in the strategy, not in the input.
    #[must_use]
    pub fn integer(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(OptionValue::Integer(number)) => *number,
            other => panic!("option `{name}` is not a declared whole number: {other:?}"),
        }
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &OptionValue)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }
}

/// Why options were refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum OptionError {
    /// No option of that name.
    #[error("unknown option `{option}`")]
    Unknown {
        /// What was written.
        option: String,
        /// The closest declared name.
        nearest: Option<&'static str>,
        /// All declared names.
        known: String,
    },
    /// A value of the wrong type or outside its range.
    #[error("option `{option}` cannot be `{value}`: it takes {allowed}")]
    BadValue {
        /// The option.
        option: &'static str,
        /// What was written.
        value: String,
        /// What is allowed.
        allowed: String,
    },
}

impl Hint for OptionError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { nearest: Some(name), .. } => Some(format!("did you mean `{name}`?")),
            Self::Unknown { known, .. } if known.is_empty() => Some("this strategy takes no options".to_owned()),
            Self::Unknown { known, .. } => Some(format!("its options are: {known}")),
            Self::BadValue { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: &[OptionInfo] = &[
        OptionInfo {
            name: "q",
            kind: OptionKind::Number { min: 0.0, max: 1.0 },
            default: OptionDefault::Number(0.5),
            help: "",
        },
        OptionInfo {
            name: "rank",
            kind: OptionKind::Choice(&["l1", "l2"]),
            default: OptionDefault::Word("l1"),
            help: "",
        },
    ];

    #[test]
    fn defaults_are_filled_in_and_sorted() {
        let given = BTreeMap::from([("q".to_owned(), OptionValue::Integer(1))]);
        let options = ResolvedOptions::resolve(DECLARED, &given).unwrap();
        assert_eq!(options.to_json(), r#"{"q":1.0,"rank":"l1"}"#);
        assert!((options.number("q") - 1.0).abs() < f64::EPSILON);
        assert_eq!(options.word("rank"), "l1");
    }

    #[test]
    fn a_typo_and_a_value_out_of_range_are_refused_with_a_hint() {
        let typo = BTreeMap::from([("rnak".to_owned(), OptionValue::Integer(1))]);
        let error = ResolvedOptions::resolve(DECLARED, &typo).unwrap_err();
        assert_eq!(error.to_string(), "unknown option `rnak`");
        assert_eq!(error.hint().unwrap(), "did you mean `rank`?");
        let range = BTreeMap::from([("q".to_owned(), OptionValue::Number(1.5))]);
        let error = ResolvedOptions::resolve(DECLARED, &range).unwrap_err();
        assert_eq!(error.to_string(), "option `q` cannot be `1.5`: it takes a number in 0..=1");
    }
}

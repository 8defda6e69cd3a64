//! A JSON object that knows which of its settings were read, so that none is ignored.

use serde_json::{Map, Value};

use super::error::ConfigError;
use super::json;

pub(super) struct Fields {
    prefix: &'static str,
    object: Map<String, Value>,
    /// Unknown settings of objects inside this one, with their parents.
    unknown: Vec<String>,
}

impl Fields {
    /// `prefix` goes before every key in errors, for example `ssm_cfg.`.
    pub(super) fn new(prefix: &'static str, object: Map<String, Value>) -> Self {
        Self { prefix, object, unknown: Vec::new() }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.object.keys().cloned().collect()
    }

    /// Takes a setting out; JSON's null counts as absent, as it does in Python's defaults.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.object.remove(key).filter(|value| !value.is_null())
    }

    pub(super) fn required(&mut self, key: &str) -> Result<usize, ConfigError> {
        self.size(key)?.ok_or_else(|| ConfigError::Missing { key: self.name(key) })
    }

    pub(super) fn size(&mut self, key: &str) -> Result<Option<usize>, ConfigError> {
        self.typed(key, "a whole number, zero or more", |value| value.as_u64().and_then(|n| n.try_into().ok()))
    }

    /// A list of whole numbers.
    pub(super) fn sizes(&mut self, key: &str) -> Result<Option<Vec<usize>>, ConfigError> {
        self.typed(key, "a list of whole numbers, zero or more", |value| {
            value.as_array()?.iter().map(|value| value.as_u64().and_then(|n| n.try_into().ok())).collect()
        })
    }

    /// A list of words.
    pub(super) fn words(&mut self, key: &str) -> Result<Option<Vec<String>>, ConfigError> {
        self.typed(key, "a list of words", |value| {
            value.as_array()?.iter().map(|value| value.as_str().map(String::from)).collect()
        })
    }

    /// A size that may be the word "auto", which is what absence means.
    pub(super) fn size_or_auto(&mut self, key: &str) -> Result<Option<usize>, ConfigError> {
        let size = self.typed(key, "a whole number or \"auto\"", |value| match value.as_str() {
            Some(word) => (word == "auto").then_some(None),
            None => value.as_u64().and_then(|n| n.try_into().ok()).map(Some),
        })?;
        Ok(size.flatten())
    }

    /// A list of `N` numbers.
    pub(super) fn floats<const N: usize>(&mut self, key: &str) -> Result<Option<[f64; N]>, ConfigError> {
        let expected = if N == 2 { "a list of two numbers" } else { "a list of five numbers" };
        self.typed(key, expected, |value| {
            let numbers: Vec<f64> = value.as_array()?.iter().map(json::as_float).collect::<Option<_>>()?;
            numbers.try_into().ok()
        })
    }

    /// A setting under its name or under the one of older files.
    pub(super) fn either<T>(
        &mut self,
        key: &str,
        old_key: &str,
        read: impl Fn(&mut Self, &str) -> Result<Option<T>, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        let value = read(self, key)?;
        let old = read(self, old_key)?;
        Ok(value.or(old))
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub(super) fn float(&mut self, key: &str) -> Result<Option<f64>, ConfigError> {
        self.typed(key, "a number", json::as_float)
    }

    /// A pair of numbers, lower bound first.
    pub(super) fn limits(&mut self, key: &str) -> Result<Option<(f32, f32)>, ConfigError> {
        self.typed(key, "a list of two numbers", |value| match value.as_array()?.as_slice() {
            [low, high] => Some((json::as_float(low)? as f32, json::as_float(high)? as f32)),
            _ => None,
        })
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        self.typed(key, "a text", |value| value.as_str().map(String::from))
    }

    /// Reads a rank that may be the word "auto", which is also what absence means: `ceil(d_model / 16)`.
    pub(super) fn dt_rank(&mut self, key: &str, d_model: usize) -> Result<usize, ConfigError> {
        let rank = self.typed(key, "a whole number or \"auto\"", |value| match value.as_str() {
            Some(word) => (word == "auto").then(|| d_model.div_ceil(16)),
            None => value.as_u64().and_then(|n| n.try_into().ok()),
        })?;
        Ok(rank.unwrap_or(d_model.div_ceil(16)))
    }

    pub(super) fn object(&mut self, key: &str, prefix: &'static str) -> Result<Self, ConfigError> {
        let object = self.typed(key, "an object", |value| value.as_object().cloned())?;
        Ok(Self::new(prefix, object.unwrap_or_default()))
    }

    /// Refuses a setting that is present with another value than one of `supported`.
    pub(super) fn only(&mut self, key: &str, supported: &[Value], words: &'static str) -> Result<(), ConfigError> {
        match self.take(key) {
            Some(value) if !supported.contains(&value) => {
                Err(ConfigError::Unsupported { key: self.name(key), value: value.to_string(), supported: words })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a setting that is present and differs from what other settings already say.
    pub(super) fn agrees(&mut self, key: &str, expected: usize, meaning: &str) -> Result<(), ConfigError> {
        match self.size(key)? {
            Some(got) if got != expected => {
                let key = self.name(key);
                Err(ConfigError::Sizes(format!("`{key}` is {got}, but {meaning} is {expected}")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a number that is present and differs from what other settings already say.
    pub(super) fn agrees_float(&mut self, key: &str, expected: f64, meaning: &str) -> Result<(), ConfigError> {
        match self.float(key)? {
            Some(got) if (got - expected).abs() > 1e-9 * expected.abs() => {
                let key = self.name(key);
                Err(ConfigError::Sizes(format!("`{key}` is {got}, but {meaning} is {expected}")))
            }
            _ => Ok(()),
        }
    }

    /// Takes over the unread settings of an object inside this one, so that all of them are refused at once.
    pub(super) fn close(&mut self, nested: Self, without_effect: &[&str]) {
        self.unknown.extend(nested.unread(&[without_effect]));
    }

    /// Refuses what was not read and is not known to change nothing, all of it at once.
    pub(super) fn finish(self, without_effect: &[&[&str]]) -> Result<(), ConfigError> {
        let keys = self.unread(without_effect);
        if keys.is_empty() { Ok(()) } else { Err(ConfigError::Unknown { keys }) }
    }

    /// Settings that were not read, those of objects inside included. Null says nothing, whatever the setting.
    fn unread(self, without_effect: &[&[&str]]) -> Vec<String> {
        let known = |key: &str| without_effect.iter().any(|keys| keys.contains(&key));
        let own = self.object.iter().filter(|(key, value)| !value.is_null() && !known(key));
        let own = own.map(|(key, _)| self.name(key)).collect::<Vec<_>>();
        own.into_iter().chain(self.unknown).collect()
    }

    fn typed<T>(
        &mut self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match read(&value) {
            Some(value) => Ok(Some(value)),
            None => Err(ConfigError::Type { key: self.name(key), expected, got: value.to_string() }),
        }
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

//! A strategy as the command line names it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use records::schema::TrialKey;

/// A strategy with some of its options: `utrc`, or `utrc:q=0.5,importance=clip`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    strategy: String,
    options: Vec<(String, String)>,
}

impl FromStr for Pick {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (strategy, options) = text.split_once(':').unwrap_or((text, ""));
        if strategy.contains([',', '=']) {
            return Err(format!(
                "`{strategy}` is no name of one strategy: write name:option=value, and name each strategy by itself"
            ));
        }
        let options = options.split(',').filter(|option| !option.is_empty()).map(|option| {
            let pair = option.split_once('=').ok_or_else(|| format!("`{option}` is no option: write name=value"))?;
            if pair.1.contains([':', '=']) {
                return Err(format!("`{option}` is no option: write name=value, and a comma before the next one"));
            }
            Ok((pair.0.trim().to_owned(), pair.1.trim().to_owned()))
        });
        Ok(Self { strategy: strategy.trim().to_owned(), options: options.collect::<Result<_, String>>()? })
    }
}

impl Pick {
    /// The strategy.
    pub fn strategy(&self) -> &str {
        &self.strategy
    }

    /// Its options as written, in order.
    pub fn options(&self) -> &[(String, String)] {
        &self.options
    }

    pub(crate) fn takes(&self, trial: &TrialKey) -> bool {
        let params: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&trial.strategy_params).unwrap_or_default();
        let says = |value: &serde_json::Value, wanted: &str| {
            let number = |text: &str| text.parse::<f64>().ok();
            let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            written == *wanted || number(&written).zip(number(wanted)).is_some_and(|(a, b)| a.total_cmp(&b).is_eq())
        };
        trial.strategy == self.strategy
            && self.options.iter().all(|(name, wanted)| params.get(name).is_some_and(|value| says(value, wanted)))
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.strategy)?;
        for (index, (name, value)) in self.options.iter().enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { ':' } else { ',' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_grammar_names_strategies() {
        let read = |text: &str| text.parse::<Pick>().map(|pick| pick.to_string());
        for text in ["utrc", "utrc:q=0.5", "top_k:importance=clip,source=residual"] {
            assert_eq!(read(text).as_deref(), Ok(text));
        }
        assert_eq!(read("utrc: q = 0.5").as_deref(), Ok("utrc:q=0.5"));
        for (text, said) in [
            ("utrc:q", "write name=value"),
            ("utrc:q=1:source=residual", "a comma before the next one"),
            ("utrc,tome", "name each strategy by itself"),
            ("q=1", "no name of one strategy"),
        ] {
            assert!(read(text).unwrap_err().contains(said), "{text}");
        }
    }
}

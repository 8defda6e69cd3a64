//! The sizes of an attention, checked alike in every dialect and named as each names them.

use super::error::ConfigError;
use super::sizes::{divides, within};

/// Most heads, and most channels of a head.
const MOST: usize = 1 << 12;

/// A size with the key that sets it.
pub(crate) type Keyed<'a, T> = (&'a str, T);

/// Channels of a head, where heads share a width evenly.
pub(crate) fn head_dim((key, heads): Keyed<'_, usize>, (of, width): Keyed<'_, usize>) -> Result<usize, ConfigError> {
    within(key, heads, MOST)?;
    divides(key, heads, of, width)?;
    Ok(width / heads)
}

/// Heads, and how they turn with the position.
pub(crate) struct Heads<'a> {
    /// Heads of queries.
    pub(crate) queries: Keyed<'a, usize>,
    /// Heads of keys and values, where a key sets them.
    pub(crate) keys: Option<Keyed<'a, usize>>,
    pub(crate) head_dim: Keyed<'a, usize>,
    /// Channels of a head that turn.
    pub(crate) rotary_dim: usize,
    pub(crate) rotary: Rotary<'a>,
    pub(crate) rotary_base: Keyed<'a, f64>,
}

/// The key that says how many channels of a head turn.
pub(crate) enum Rotary<'a> {
    /// Their number.
    Channels(&'a str),
    /// Their share of the head.
    Share(&'a str),
}

impl Heads<'_> {
    /// Refuses sizes that no model has and sizes that do not fit each other.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let ((heads_key, heads), (head_dim_key, head_dim)) = (self.queries, self.head_dim);
        within(heads_key, heads, MOST)?;
        within(head_dim_key, head_dim, MOST)?;
        if let Some((key, kv_heads)) = self.keys {
            within(key, kv_heads, heads)?;
            divides(key, kv_heads, heads_key, heads)?;
        }
        let turning = self.rotary_dim;
        if turning > head_dim || !turning.is_multiple_of(2) {
            return Err(ConfigError::Sizes(match self.rotary {
                Rotary::Channels(key) => {
                    format!("{key} is {turning}, expected an even number of at most {head_dim_key} = {head_dim}")
                }
                Rotary::Share(key) => format!(
                    "{key} turns {turning} of the {head_dim} channels of a head, expected an even number of at most all"
                ),
            }));
        }
        let (key, base) = self.rotary_base;
        if base > 1.0 && base.is_finite() {
            Ok(())
        } else {
            Err(ConfigError::Sizes(format!("{key} is {base}, expected more than 1")))
        }
    }
}

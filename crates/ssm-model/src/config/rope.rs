//! Rotary positions in the dialects of transformers.

use serde_json::json;

use super::error::ConfigError;
use super::fields::Fields;

/// Share of a head that turns, and the base of its frequencies. Older versions wrote `rotary_pct` and `rotary_emb_base`,
/// later ones `partial_rotary_factor` and `rope_theta`, at the top level or in `rope_parameters`. `share` and `base` are upstream's defaults.
pub(super) fn read(fields: &mut Fields, share: f64, base: f64) -> Result<(f64, f64), ConfigError> {
    fields.only("rope_scaling", &[], "null (positions are not stretched)")?;
    let mut nested = fields.object("rope_parameters", "rope_parameters.")?;
    nested.only("rope_type", &[json!("default")], "\"default\" (positions are not stretched)")?;
    let share = agreed(&mut nested, fields, "partial_rotary_factor", "rotary_pct")?.unwrap_or(share);
    let base = agreed(&mut nested, fields, "rope_theta", "rotary_emb_base")?.unwrap_or(base);
    fields.close(nested, &[]);
    if (0.0..=1.0).contains(&share) {
        Ok((share, base))
    } else {
        Err(ConfigError::Sizes(format!(
            "`rotary_pct` (or `partial_rotary_factor`) is {share}, expected between 0 and 1"
        )))
    }
}

/// A number that `rope_parameters` or the top level may hold, there also under its old name; all that are present must agree.
fn agreed(
    nested: &mut Fields,
    fields: &mut Fields,
    name: &'static str,
    old_name: &'static str,
) -> Result<Option<f64>, ConfigError> {
    let mut value = nested.float(name)?;
    for key in [old_name, name] {
        match value {
            Some(value) => fields.agrees_float(key, value, "the same setting elsewhere")?,
            None => value = fields.float(key)?,
        }
    }
    Ok(value)
}

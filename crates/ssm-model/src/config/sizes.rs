//! Sizes that no model has are refused before anything is allocated from them.

use super::error::ConfigError;

pub(crate) fn epsilon(name: &str, value: f64) -> Result<(), ConfigError> {
    if value > 0.0 && value < 1.0 {
        Ok(())
    } else {
        Err(ConfigError::Sizes(format!("{name} is {value}, expected between 0 and 1")))
    }
}

/// Whether multiplying by it changes nothing.
pub(crate) fn is_one(factor: f64) -> bool {
    (factor - 1.0).abs() <= 0.0
}

/// A constant that a model multiplies by.
pub(crate) fn factor(name: &str, value: f64) -> Result<(), ConfigError> {
    if value.is_finite() && value != 0.0 && value.abs() <= 1e6 {
        Ok(())
    } else {
        Err(ConfigError::Sizes(format!(
            "{name} is {value}, expected a finite number that is not 0, of at most a million"
        )))
    }
}

pub(crate) fn within(name: &str, value: usize, max: usize) -> Result<(), ConfigError> {
    if (1..=max).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::Sizes(format!("{name} is {value}, expected 1 to {max}")))
    }
}

pub(crate) fn divides(part: &str, part_size: usize, whole: &str, whole_size: usize) -> Result<(), ConfigError> {
    if whole_size.is_multiple_of(part_size) {
        Ok(())
    } else {
        Err(ConfigError::Sizes(format!("{part} is {part_size}, which does not divide {whole} = {whole_size}")))
    }
}

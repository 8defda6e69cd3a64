//! A projection with or without bias.

use candle_core::{Device, Tensor};
use ssm_kernels::ops;

use super::kind::Named;
use crate::config::sizes::is_one;
use crate::error::ModelError;
use crate::loader::Loader;

#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

/// Rows of a projection that a checkpoint stores as a weight of their own, and what they are multiplied by on the way: the constants by which
/// an architecture multiplies the input or the output of a projection become part of its weights.
pub(super) struct Part {
    /// Name of the stored projection.
    pub(super) name: &'static str,
    pub(super) rows: usize,
    /// Factors of the weight, and of the bias, each with the number of rows that it holds for; none: 1.
    pub(super) factors: Vec<(usize, f64)>,
    pub(super) bias_factors: Vec<(usize, f64)>,
}

impl Part {
    /// Rows as they are stored.
    pub(super) fn plain(name: &'static str, rows: usize) -> Self {
        Self { name, rows, factors: Vec::new(), bias_factors: Vec::new() }
    }

    /// Rows that are multiplied: those of the weight by the product of both factors, those of the bias by that of the output.
    pub(super) fn scaled(name: &'static str, rows: usize, input: f64, output: f64) -> Self {
        Self { name, rows, factors: factor(rows, input * output), bias_factors: factor(rows, output) }
    }

    /// Names and shapes of the stored weights.
    pub(super) fn weights(&self, inputs: usize, bias: bool) -> Vec<Named> {
        let mut weights = vec![(format!("{}.weight", self.name), vec![self.rows, inputs])];
        weights.extend(bias.then(|| (format!("{}.bias", self.name), vec![self.rows])));
        weights
    }
}

fn factor(rows: usize, factor: f64) -> Vec<(usize, f64)> {
    if is_one(factor) { Vec::new() } else { vec![(rows, factor)] }
}

impl Linear {
    pub(super) fn load(
        weights: &mut Loader<'_>,
        name: &str,
        outputs: usize,
        inputs: usize,
        bias: bool,
    ) -> Result<Self, ModelError> {
        let weight = weights.matrix(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = bias.then(|| weights.placed(&format!("{name}.bias"), &[outputs])).transpose()?;
        Ok(Self { weight, bias })
    }

    /// One projection from its parts, in order; the names of the parts follow `prefix`.
    pub(super) fn join(
        weights: &mut Loader<'_>,
        prefix: &str,
        parts: &[Part],
        inputs: usize,
        bias: bool,
    ) -> Result<Self, ModelError> {
        let mut rows = Vec::with_capacity(parts.len());
        let mut biases = Vec::with_capacity(parts.len());
        for part in parts {
            let weight = weights.vector(&format!("{prefix}.{}.weight", part.name), &[part.rows, inputs])?;
            rows.push(multiplied(weight, &part.factors)?);
            if bias {
                let bias = weights.vector(&format!("{prefix}.{}.bias", part.name), &[part.rows])?;
                biases.push(multiplied(bias.unsqueeze(1)?, &part.bias_factors)?.squeeze(1)?);
            }
        }
        let names: Vec<&str> = parts.iter().map(|part| part.name).collect();
        let name = format!("{prefix}.{}.weight", names.join("+"));
        let weight = weights.product(&name, &Tensor::cat(&rows, 0)?)?;
        let bias = if bias { Some(weights.place(&Tensor::cat(&biases, 0)?)?) } else { None };
        Ok(Self { weight, bias })
    }

    /// The weight, where it is all there is.
    #[cfg(feature = "cuda")]
    pub(super) fn without_bias(&self) -> Option<&Tensor> {
        self.bias.is_none().then_some(&self.weight)
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(match &self.bias {
            Some(bias) => ops::linear_with_bias(x, &self.weight, bias)?,
            None => ops::linear(x, &self.weight)?,
        })
    }
}

/// Rows times their factors.
fn multiplied(rows: Tensor, factors: &[(usize, f64)]) -> Result<Tensor, ModelError> {
    if factors.is_empty() {
        return Ok(rows);
    }
    let column: Vec<f32> = factors.iter().flat_map(|(rows, factor)| vec![*factor as f32; *rows]).collect();
    let height = column.len();
    Ok(rows.broadcast_mul(&Tensor::from_vec(column, (height, 1), &Device::Cpu)?)?)
}

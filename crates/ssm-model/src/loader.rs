//! Brings weights to where a model computes.

use candle_core::{DType, Tensor};
use ssm_kernels::{Placement, finite, host};

use crate::checkpoint::error::CheckpointError;

/// Where a model takes its weights from: a checkpoint, or numbers made up.
pub trait WeightSource {
    /// The weight with this canonical name: contiguous, float32, on the CPU.
    ///
    /// # Errors
    /// A weight that is missing, of another shape, not finite, or unreadable.
    fn take(&mut self, canonical_name: &str, shape: &[usize]) -> Result<Tensor, CheckpointError>;
}

/// Takes weights and puts them where they are used.
pub(crate) struct Loader<'a> {
    source: &'a mut dyn WeightSource,
    placement: &'a Placement,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(source: &'a mut dyn WeightSource, placement: &'a Placement) -> Self {
        Self { source, placement }
    }

    /// A matrix of a product, in the dtype of activations.
    pub(crate) fn matrix(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, CheckpointError> {
        let weight = self.source.take(name, shape)?;
        self.product(name, &weight)
    }

    /// Puts a matrix that was computed from [`Loader::vector`] where it is used, in the dtype of activations. `name` is for messages.
    pub(crate) fn product(&self, name: &str, weight: &Tensor) -> Result<Tensor, CheckpointError> {
        if self.placement.dtype == DType::F32 {
            return Ok(weight.to_device(&self.placement.device)?);
        }
        let weight = host::cast(weight, self.placement.dtype)?;
        // Rounding can overflow.
        if let Some((index, _)) = finite::first_non_finite_value(&weight, false)? {
            let place = CheckpointError::place(index, weight.dims());
            return Err(CheckpointError::TooLarge { name: name.to_owned(), dtype: weight.dtype().as_str(), place });
        }
        Ok(weight.to_device(&self.placement.device)?)
    }

    /// A weight of a norm, a convolution or a scan: float32 everywhere, as taken from the checkpoint.
    pub(crate) fn vector(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, CheckpointError> {
        self.source.take(name, shape)
    }

    /// Puts what was computed from [`Loader::vector`] where it is used.
    pub(crate) fn place(&self, vector: &Tensor) -> Result<Tensor, CheckpointError> {
        Ok(vector.contiguous()?.to_device(&self.placement.device)?)
    }

    /// [`Loader::vector`], placed.
    pub(crate) fn placed(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, CheckpointError> {
        let vector = self.vector(name, shape)?;
        self.place(&vector)
    }
}

//! A language model, driven layer by layer.
//!
//! Whoever drives decides what happens between layers: reduce, fork, observe. A plain forward is a loop over `layer`.

use candle_core::{DType, Tensor};
use ssm_kernels::ops::{self, RowPlan};
use ssm_kernels::{Placement, Segments};

use crate::block::{Block, FinalNorm};
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::loader::{Loader, WeightSource};
use crate::signals::{SignalSet, Signals};
use crate::state::{LayerState, ModelState};
use crate::time::RowTime;

/// What flows from block to block, one row per token of the packed stream.
///
/// As in mamba_ssm the two branches are kept apart: the block adds them, normalises the sum and runs on it. A Transformer is
/// driven the same way: `hidden` is what attention and MLP of the last block add.
#[derive(Clone, Debug)]
pub struct Activations {
    /// `[tokens, d_model]`: output of the last block, or the embedding before the first one.
    pub hidden: Tensor,
    /// `[tokens, d_model]`, float32: the residual stream; none before the first block.
    pub residual: Option<Tensor>,
}

/// What a driver asks of a layer besides its output.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerRequest<'a> {
    /// State before each root segment; zeros where absent.
    pub initial: Option<&'a LayerState>,
    /// Internals to return.
    pub signals: SignalSet,
    /// Whether to return the state after each segment.
    pub states: bool,
    /// Rows of the activations to gather and merge before the block reads them; the segments are those that are left.
    pub rows: Option<&'a RowPlan>,
    /// Position of every row, for an architecture that reads them ([`ModelConfig::uses_positions`]). Where absent, the rows of
    /// a segment are numbered one after the other from the end of its parent or initial state on.
    pub positions: Option<&'a [u32]>,
    /// Factors on the step sizes, one per row that the scan sees; all 1 where absent.
    pub time: Option<&'a [RowTime]>,
}

/// What a layer returns.
pub struct LayerOutput {
    /// Activations after the block.
    pub activations: Activations,
    /// The internals that were asked for.
    pub signals: Signals,
    /// The state after each segment, where asked for.
    pub state: Option<LayerState>,
}

/// A language model on one device.
#[derive(Debug)]
pub struct LanguageModel {
    config: ModelConfig,
    placement: Placement,
    /// `[vocab_size, d_model]`
    embedding: Tensor,
    blocks: Vec<Block>,
    norm_f: FinalNorm,
    /// `[vocab_size, d_model]`; the embedding itself where they are tied.
    lm_head: Tensor,
}

impl LanguageModel {
    /// Takes every weight of the model and puts it where it computes; the caller finishes a checkpoint's weights to refuse
    /// surplus ones.
    ///
    /// # Errors
    /// A missing or misshapen weight, by name.
    pub fn load(
        config: &ModelConfig,
        weights: &mut dyn WeightSource,
        placement: &Placement,
    ) -> Result<Self, ModelError> {
        let mut weights = Loader::new(weights, placement);
        let shape = [config.vocab_size, config.d_model];
        let embedding = weights.matrix(config.embedding_name(), &shape)?;
        let blocks = (0..config.n_layer)
            .map(|index| Block::load(config, &mut weights, index))
            .collect::<Result<_, ModelError>>()?;
        let norm_f = FinalNorm::load(config, &mut weights)?;
        let lm_head =
            if config.tie_embeddings { embedding.clone() } else { weights.matrix(config.head_name(), &shape)? };
        Ok(Self { config: config.clone(), placement: placement.clone(), embedding, blocks, norm_f, lm_head })
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where it computes.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Embeds the tokens of a packed stream.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn embed(&self, tokens: &[u32]) -> Result<Activations, ModelError> {
        let vocab_size = self.config.vocab_size;
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab_size) {
            return Err(ModelError::Token { token, vocab_size });
        }
        let hidden = ops::gather_rows(&self.embedding, tokens)?;
        Ok(Activations { hidden, residual: None })
    }

    /// Runs block `index` over a packed stream.
    ///
    /// # Errors
    /// A layer that is not there, activations or positions that do not fit `segments`, or an initial state of another shape or
    /// architecture.
    pub fn layer(
        &self,
        index: usize,
        activations: &Activations,
        segments: &Segments,
        request: LayerRequest<'_>,
    ) -> Result<LayerOutput, ModelError> {
        let n_layer = self.blocks.len();
        let block = self.blocks.get(index).ok_or(ModelError::Layer { layer: index, n_layer })?;
        block.forward(activations, segments, request, self.config.norm_eps as f32)
    }

    /// Logits of the given rows of the stream: `[rows, vocab_size]`, float32. The head runs at these rows only.
    ///
    /// # Errors
    /// A row that is not there.
    pub fn head(&self, activations: &Activations, rows: &[u32]) -> Result<Tensor, ModelError> {
        self.head_as(activations, rows, DType::F32)
    }

    /// As [`LanguageModel::head`], rounded to `dtype`.
    ///
    /// # Errors
    /// As [`LanguageModel::head`].
    pub fn head_as(&self, activations: &Activations, rows: &[u32], dtype: DType) -> Result<Tensor, ModelError> {
        let hidden = take(&activations.hidden, rows)?;
        let residual = activations.residual.as_ref().map(|residual| take(residual, rows)).transpose()?;
        let normed = self.norm_f.forward(&hidden, residual.as_ref(), self.config.norm_eps as f32)?;
        Ok(ops::linear_as(&normed, &self.lm_head, dtype)?)
    }

    /// Runs all layers over a packed stream, from zero states or from `initial`, and returns the states after it.
    ///
    /// # Errors
    /// As [`LanguageModel::layer`].
    pub fn prefill(
        &self,
        tokens: &[u32],
        segments: &Segments,
        initial: Option<&ModelState>,
    ) -> Result<(Activations, ModelState), ModelError> {
        let mut activations = self.embed(tokens)?;
        let mut states = Vec::with_capacity(self.blocks.len());
        for index in 0..self.blocks.len() {
            let request =
                LayerRequest { initial: initial.map(|state| &state.0[index]), states: true, ..LayerRequest::default() };
            let output = self.layer(index, &activations, segments, request)?;
            activations = output.activations;
            states.extend(output.state);
        }
        Ok((activations, ModelState(states)))
    }

    /// Feeds one token to each sequence: `tokens[i]` continues from the `i`-th state. Returns logits `[sequences,
    /// vocab_size]` and the new states.
    ///
    /// # Errors
    /// As [`LanguageModel::layer`].
    pub fn step(&self, tokens: &[u32], state: &ModelState) -> Result<(Tensor, ModelState), ModelError> {
        let segments = Segments::independent(&vec![1; tokens.len()]);
        let (activations, state) = self.prefill(tokens, &segments, Some(state))?;
        let rows: Vec<u32> = (0..tokens.len() as u32).collect();
        Ok((self.head(&activations, &rows)?, state))
    }
}

/// Rows by index; rows that follow each other are not copied.
fn take(x: &Tensor, rows: &[u32]) -> Result<Tensor, ModelError> {
    let neighbours = rows.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    match rows.first() {
        Some(first) if neighbours && *first as usize + rows.len() <= x.dim(0)? => {
            Ok(x.narrow(0, *first as usize, rows.len())?)
        }
        _ => Ok(ops::gather_rows(x, rows)?),
    }
}

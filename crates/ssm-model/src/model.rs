//! A language model, driven layer by layer.
//!
//! Whoever drives decides what happens between layers: reduce, fork, observe. A plain forward is a loop over `layer`.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use ssm_kernels::{Placement, Segments, ops};

use crate::block::{Layer, LayerConfig, Norm, SharedBlocks};
use crate::config::ModelConfig;
use crate::config::sizes::is_one;
use crate::error::ModelError;
use crate::loader::{Loader, WeightSource};
use crate::state::ModelState;
use crate::stream::{Activations, LayerOutput, LayerRequest};

/// Whether the process was asked to end.
#[derive(Clone)]
struct Stop(Arc<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stop")
    }
}

/// A language model on one device.
#[derive(Debug)]
pub struct LanguageModel {
    config: ModelConfig,
    placement: Placement,
    /// `[vocab_size, d_model]`
    embedding: Tensor,
    layers: Vec<Layer>,
    final_norm: Norm,
    /// `[vocab_size, d_model]`; the embedding itself where they are tied.
    lm_head: Tensor,
    stop: Option<Stop>,
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
        let ModelConfig { d_model, vocab_size, norm_eps, final_norm, naming, .. } = *config;
        let embedding = weights.matrix(naming.embedding, &[vocab_size, d_model])?;
        let mut blocks = SharedBlocks::new();
        let load = |(index, layer): (usize, &LayerConfig)| {
            layer.load(d_model, norm_eps, naming, &mut weights, index, &mut blocks)
        };
        let layers = config.layers.iter().enumerate().map(load).collect::<Result<_, ModelError>>()?;
        let final_norm =
            final_norm.load_scaled(d_model, norm_eps, &mut weights, naming.final_norm, config.logit_factor)?;
        let lm_head = if config.tie_embeddings {
            embedding.clone()
        } else {
            weights.matrix(naming.head, &[vocab_size, d_model])?
        };
        Ok(Self {
            config: config.clone(),
            placement: placement.clone(),
            embedding,
            layers,
            final_norm,
            lm_head,
            stop: None,
        })
    }

    /// From here on [`LanguageModel::layer`] and [`LanguageModel::head`] return [`ModelError::Stopped`] once `stop` is true. A long
    /// sequence takes seconds a layer, and whoever drives the model must end within them.
    #[must_use]
    pub fn stopping_when(self, stop: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { stop: Some(Stop(Arc::new(stop))), ..self }
    }

    /// Whether its work was asked to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| (stop.0)())
    }

    fn check_stop(&self) -> Result<(), ModelError> {
        if self.is_stopped() { Err(ModelError::Stopped) } else { Ok(()) }
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
        let factor = self.config.embedding_factor;
        let hidden = if is_one(factor) { hidden } else { (hidden * factor)? };
        let embeddings = self.config.reads_embeddings().then(|| hidden.to_dtype(DType::F32)).transpose()?;
        Ok(Activations { hidden, residual: None, embeddings })
    }

    /// Runs block `index` over a packed stream.
    ///
    /// # Errors
    /// A layer that is not there, activations or positions that do not fit `segments`, an initial state of another shape or kind of
    /// layer, or work that was asked to end.
    pub fn layer(
        &self,
        index: usize,
        activations: &Activations,
        segments: &Segments,
        request: LayerRequest<'_>,
    ) -> Result<LayerOutput, ModelError> {
        self.check_stop()?;
        let n_layer = self.layers.len();
        let layer = self.layers.get(index).ok_or(ModelError::Layer { layer: index, n_layer })?;
        layer.forward(activations, segments, request)
    }

    /// Logits of the given rows of the stream: `[rows, vocab_size]`, float32. The head runs at these rows only.
    ///
    /// # Errors
    /// A row that is not there, or work that was asked to end.
    pub fn head(&self, activations: &Activations, rows: &[u32]) -> Result<Tensor, ModelError> {
        self.head_as(activations, rows, DType::F32)
    }

    /// As [`LanguageModel::head`], rounded to `dtype`.
    ///
    /// # Errors
    /// As [`LanguageModel::head`].
    pub fn head_as(&self, activations: &Activations, rows: &[u32], dtype: DType) -> Result<Tensor, ModelError> {
        self.check_stop()?;
        let hidden = take(&activations.hidden, rows)?;
        let residual = activations.residual.as_ref().map(|residual| take(residual, rows)).transpose()?;
        let (normed, _) = self.final_norm.add(&hidden, residual.as_ref(), None)?;
        Ok(ops::linear_as(&normed, &self.lm_head, dtype)?)
    }

    /// All weights as the graph of a decoding step reads them, or why there is no such graph.
    #[cfg(feature = "cuda")]
    pub(crate) fn decoding(&self) -> Result<ops::decode::DecoderWeights, String> {
        if !self.placement.device.is_cuda() || self.placement.dtype != DType::BF16 {
            return Err("a graph needs bfloat16 on a GPU".to_owned());
        }
        let named = |index: usize, reason| format!("layer {index} ({}): {reason}", self.config.layers[index].kind());
        let layer = |(index, layer): (usize, &Layer)| layer.decoding().map_err(|reason| named(index, reason));
        let layers = self.layers.iter().enumerate().map(layer).collect::<Result<_, _>>()?;
        let (final_norm, norm_eps) = self.final_norm.rms().ok_or("only RMSNorm has kernels for it")?;
        Ok(ops::decode::DecoderWeights {
            embedding: self.embedding.clone(),
            embedding_factor: self.config.embedding_factor,
            layers,
            final_norm: final_norm.clone(),
            lm_head: self.lm_head.clone(),
            norm_eps,
        })
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
        let mut states = Vec::with_capacity(self.layers.len());
        for index in 0..self.layers.len() {
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

//! Greedy generation after a prompt: by a graph where there are kernels for the model, else step by step.

use candle_core::Tensor;
use ssm_kernels::ops;

use crate::error::ModelError;
use crate::model::LanguageModel;
use crate::state::ModelState;

/// Some sequences that a model carries on, each by its most likely token: the smallest of equals.
#[derive(Debug)]
pub struct Decoder<'a> {
    model: &'a LanguageModel,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Steps {
        state: ModelState,
        /// Why not by a graph.
        reason: String,
    },
    #[cfg(feature = "cuda")]
    Graph(Box<ops::decode::Decoder>),
}

impl LanguageModel {
    /// Carries sequences on from their states: as one CUDA graph a step where the model has kernels for it
    /// ([`Decoder::steps_because`] says so where it has none). The graph sums in another order than [`LanguageModel::step`]
    /// ([`ssm_kernels::ops::decode`](https://docs.rs/ssm-kernels) says which), so that logits differ from it in the last places; a
    /// sequence has the same bits in every batch.
    ///
    /// # Errors
    /// States that do not fit, or the driver's reason.
    pub fn decoder(&self, state: ModelState) -> Result<Decoder<'_>, ModelError> {
        #[cfg(feature = "cuda")]
        let reason = match self.graph(&state)? {
            Ok(graph) => return Ok(Decoder { model: self, way: Way::Graph(Box::new(graph)) }),
            Err(reason) => reason,
        };
        #[cfg(not(feature = "cuda"))]
        let reason = "a graph needs a GPU".to_owned();
        Ok(Decoder { model: self, way: Way::Steps { state, reason } })
    }

    /// As [`LanguageModel::decoder`], by [`LanguageModel::step`] whatever the model.
    pub fn decoder_by_steps(&self, state: ModelState) -> Decoder<'_> {
        Decoder { model: self, way: Way::Steps { state, reason: "asked for".to_owned() } }
    }

    /// The graph, or why there is none.
    #[cfg(feature = "cuda")]
    fn graph(&self, state: &ModelState) -> Result<Result<ops::decode::Decoder, String>, ModelError> {
        use ops::decode::MixerState;
        let weights = match self.decoding() {
            Ok(weights) => weights,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut states = Vec::with_capacity(state.0.len());
        for layer in &state.0 {
            let layer = layer.recurrent()?;
            states.push(MixerState { conv: layer.conv.clone(), ssm: layer.ssm.clone() });
        }
        let sequences = states.first().map_or(Ok(0), |state| state.ssm.dim(0))?;
        if let Some(refusal) = weights.refusal(sequences) {
            return Ok(Err(refusal));
        }
        Ok(Ok(ops::decode::Decoder::new(weights, &states)?))
    }
}

impl Decoder<'_> {
    /// Reads `tokens`, one per sequence, and returns `count` tokens after them, one list per step.
    ///
    /// # Errors
    /// A token outside the vocabulary, a logit that is NaN, or an error of the device.
    pub fn generate(&mut self, tokens: &[u32], count: usize) -> Result<Vec<Vec<u32>>, ModelError> {
        match &mut self.way {
            Way::Steps { state, .. } => {
                let mut generated: Vec<Vec<u32>> = Vec::with_capacity(count);
                for step in 0..count {
                    let last = if step == 0 { tokens } else { &generated[step - 1] };
                    let (logits, after) = self.model.step(last, state)?;
                    *state = after;
                    generated.push(most_likely(&logits)?);
                }
                Ok(generated)
            }
            #[cfg(feature = "cuda")]
            Way::Graph(graph) => Ok(graph.generate(tokens, count)?),
        }
    }

    /// Why it steps instead of running a graph, where it does.
    pub fn steps_because(&self) -> Option<&str> {
        match &self.way {
            Way::Steps { reason, .. } => Some(reason),
            #[cfg(feature = "cuda")]
            Way::Graph(_) => None,
        }
    }

    /// Bytes of weights and states that a step of the graph reads and writes at least.
    pub fn step_bytes(&self) -> Option<usize> {
        match &self.way {
            Way::Steps { .. } => None,
            #[cfg(feature = "cuda")]
            Way::Graph(graph) => Some(graph.step_bytes()),
        }
    }
}

/// The most likely token of each row of logits, `[rows, vocab_size]`; of equals the smallest.
///
/// # Errors
/// A logit that is NaN, or an error of the device.
pub fn most_likely(logits: &Tensor) -> Result<Vec<u32>, ModelError> {
    let any = vec![0; logits.dim(0)?];
    Ok(ops::log_probs(logits, &any)?.into_iter().map(|score| score.greedy).collect())
}

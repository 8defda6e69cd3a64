//! A step as a graph, and the sequences that it carries on.

use candle_core::Tensor;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaGraph, sys};

use super::buffers::{Buffers, LayerBuffers};
use super::launch::Launch;
use super::{DecoderWeights, MixerState};
use crate::cuda::Gpu;
use crate::error::KernelError;

/// Tokens between two looks of the host.
const ROOM: usize = 64;

/// Some sequences and the graph that carries each of them on by a token.
pub struct Decoder {
    gpu: Gpu,
    weights: DecoderWeights,
    buffers: Buffers,
    /// What the graph changes in place.
    _states: Vec<LayerBuffers>,
    graph: CudaGraph,
    /// Tokens chosen so far.
    chosen: usize,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("sequences", &self.buffers.sequences)
            .field("chosen", &self.chosen)
            .finish_non_exhaustive()
    }
}

impl Decoder {
    /// Captures a step. `states` has one entry per layer and is copied.
    ///
    /// # Errors
    /// A model or number of sequences that the kernels do not take ([`DecoderWeights::refusal`]), or the driver's reason.
    pub fn new(weights: DecoderWeights, states: &[MixerState]) -> Result<Self, KernelError> {
        let sequences = states.first().map_or(Ok(0), |state| state.ssm.dim(0))?;
        if let Some(refusal) = weights.refusal(sequences) {
            return Err(KernelError::Device(format!("decode: {refusal}")));
        }
        let gpu = Gpu::of(&weights.embedding, "decode")?;
        let buffers = Buffers::new(&gpu, &weights, sequences, ROOM)?;
        let states = states.iter().map(LayerBuffers::of).collect::<Result<Vec<_>, _>>()?;
        let launch = Launch { gpu: &gpu, weights: &weights, buffers: &buffers };
        launch.load()?;
        let stream = gpu.stream();
        stream.synchronize().w()?;
        stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).w()?;
        let captured = launch.step(&states);
        // The capture ends whatever happened in it.
        let graph =
            stream.end_capture(sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY).w();
        captured?;
        let graph = graph?.ok_or_else(|| KernelError::Device("decode: the driver captured no graph".to_owned()))?;
        Ok(Self { gpu, weights, buffers, _states: states, graph, chosen: 0 })
    }

    /// Reads `tokens`, one per sequence, and chooses `count` tokens after them, each the most likely one: the smallest of equals.
    /// Returns one list per step. A later call goes on from the states after the last token that was read, which is the one before
    /// the last that was chosen.
    ///
    /// # Errors
    /// A logit that is NaN, tokens that do not fit, or the driver's reason.
    pub fn generate(&mut self, tokens: &[u32], count: usize) -> Result<Vec<Vec<u32>>, KernelError> {
        let sequences = self.buffers.sequences;
        let vocab = self.weights.embedding.dim(0)?;
        if tokens.len() != sequences || tokens.iter().any(|token| *token as usize >= vocab) {
            return Err(KernelError::Device(format!(
                "decode: expected {sequences} tokens below {vocab}, got {tokens:?}"
            )));
        }
        let tokens = Tensor::new(tokens, self.weights.embedding.device())?;
        Launch { gpu: &self.gpu, weights: &self.weights, buffers: &self.buffers }.embed(&tokens)?;
        let mut steps = Vec::with_capacity(count);
        while steps.len() < count {
            let block = (count - steps.len()).min(ROOM);
            for _ in 0..block {
                self.graph.launch().w()?;
            }
            let history = self.buffers.history.to_vec2::<u32>()?;
            for step in 0..block {
                steps.push(history[(self.chosen + step) % ROOM].clone());
            }
            self.chosen += block;
            if steps.iter().flatten().any(|token| *token == u32::MAX) {
                return Err(KernelError::Device("decode: a logit is NaN".to_owned()));
            }
        }
        Ok(steps)
    }

    /// Logits of the last step, one list per sequence: what the last token that it returned was chosen from.
    ///
    /// # Errors
    /// The driver's reason.
    pub fn logits(&self) -> Result<Vec<Vec<f32>>, KernelError> {
        Ok(self.buffers.logits.to_vec2()?)
    }

    /// Bytes that a step has to read and write at least.
    #[must_use]
    pub fn step_bytes(&self) -> usize {
        self.weights.step_bytes(self.buffers.sequences)
    }
}

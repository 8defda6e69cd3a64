//! The same sizes in candle-transformers, which many Rust programs run: what this project's own engine is measured against on
//! a CPU. Its Mamba reads one token per call; its Mamba-2 reads a prompt in chunks. Weights are of its own random start.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_transformers::models::{mamba, mamba2};
use ssm_model::catalog::Published;
use ssm_model::{MixerConfig, ModelConfig};

use super::{BenchError, Logits, Measurement, Shape};

/// Tokens of a chunk of its Mamba-2: the size that the published models were trained with.
const CHUNK: usize = 256;

/// Name of the rows in the report.
pub(super) const NAME: &str = "candle-transformers";

/// Measures a model on one sequence of each length of `shape`, all logits computed as far as it offers them.
pub(super) fn case(published: &Published, config: &ModelConfig, shape: &Shape) -> Result<Measurement, BenchError> {
    let variables = VarMap::new();
    let weights = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let mixer = config.layers.first().filter(|first| config.layers.iter().all(|layer| layer == *first));
    let mixer = mixer.map(|layer| &layer.mixer);
    let run: Box<dyn Fn(usize) -> candle_core::Result<()>> = match mixer {
        Some(MixerConfig::Mamba(_)) => {
            let config = mamba::Config {
                d_model: config.d_model,
                n_layer: config.n_layer(),
                vocab_size: config.vocab_size,
                pad_vocab_size_multiple: 1,
            };
            let model = mamba::Model::new(&config, weights)?;
            Box::new(move |length| {
                let mut state = mamba::State::new(1, &config, DType::F32, &Device::Cpu)?;
                for token in 0..length as u32 {
                    model.forward(&Tensor::new(&[token], &Device::Cpu)?, &mut state)?;
                }
                Ok(())
            })
        }
        Some(MixerConfig::Mamba2(mixer)) => {
            let config = mamba2::Config {
                d_model: config.d_model,
                n_layer: config.n_layer(),
                vocab_size: config.vocab_size,
                d_state: mixer.d_state,
                expand: mixer.expand,
                headdim: mixer.headdim,
                ngroups: mixer.ngroups,
                pad_vocab_size_multiple: 1,
            };
            let model = mamba2::Model::new(&config, weights)?;
            Box::new(move |length| {
                let mut state = mamba2::State::new(1, &config, DType::F32, &Device::Cpu)?;
                let tokens = Tensor::arange(0, length as u32, &Device::Cpu)?.unsqueeze(0)?;
                model.forward_prefill(&tokens, &mut state, CHUNK)?;
                Ok(())
            })
        }
        Some(MixerConfig::Attention(_) | MixerConfig::Mha(_)) | None => {
            let message = format!("{}: candle-transformers has no model of this architecture", published.short_name());
            return Err(BenchError::Name(message));
        }
    };
    // It runs one sequence at a time here: packed sequences of unequal length are not among what it offers.
    let start = Instant::now();
    for length in shape.lengths() {
        run(*length)?;
    }
    Ok(Measurement {
        model: published.short_name().to_owned(),
        shape: shape.to_string(),
        strategy: NAME.to_owned(),
        logits: Logits::All,
        tokens: shape.n_tokens(),
        tokens_left: shape.n_tokens(),
        seconds: vec![start.elapsed().as_secs_f64()],
        dense_flops: shape.n_tokens() as f64 * (config.flops_per_token() as f64 + config.head_flops_per_row()),
        memory: None,
        kernels: Vec::new(),
    })
}

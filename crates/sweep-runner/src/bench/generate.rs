use std::time::Instant;

use analysis::median;
use evaluation::{Prefilled, Reduction};
use reduction_strategies::{SegmentTokens, TokenTable};
use ssm_kernels::{Segments, device};
use ssm_model::{LanguageModel, most_likely};

use super::measure::{last_rows, tokens};
use super::{Bench, BenchError, Generate, Memory, Shape};

/// Greedy generation after some prompts.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Short name of the model.
    pub model: String,
    /// Prompts, and tokens after each.
    pub shape: String,
    /// Strategy that reduces the prompts.
    pub strategy: String,
    /// Prompts.
    pub prompts: usize,
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// Those that the last layer still has.
    pub prompt_tokens_left: usize,
    /// Tokens generated after all prompts.
    pub generated_tokens: usize,
    /// Why steps were not run as a graph; none where they were.
    pub steps_because: Option<String>,
    /// Bytes of weights and states that a step of the graph reads and writes at least.
    pub step_bytes: Option<usize>,
    /// Seconds of each timed run: until every prompt's first token is known to the host, and of the steps after it. Capturing the
    /// graph, once for all steps, is in neither.
    pub seconds: Vec<(f64, f64)>,
    /// Of the device, where it is known.
    pub memory: Option<Memory>,
}

impl Generation {
    /// Median seconds until every prompt's first token is known.
    #[must_use]
    pub fn first_token_seconds(&self) -> f64 {
        median(&self.seconds.iter().map(|(first, _)| *first).collect::<Vec<_>>())
    }

    /// Prompt tokens per second until then.
    #[must_use]
    pub fn prompt_tokens_per_s(&self) -> f64 {
        self.prompt_tokens as f64 / self.first_token_seconds()
    }

    /// Tokens per second of the steps, which give all but the first token of each prompt; none without a step.
    #[must_use]
    pub fn generated_tokens_per_s(&self) -> Option<f64> {
        let steps = median(&self.seconds.iter().map(|(_, rest)| *rest).collect::<Vec<_>>());
        let tokens = self.generated_tokens - self.prompts;
        (tokens > 0).then(|| tokens as f64 / steps)
    }

    /// Seconds of a step of all prompts; none without a step.
    #[must_use]
    pub fn step_seconds(&self) -> Option<f64> {
        self.generated_tokens_per_s().map(|rate| self.prompts as f64 / rate)
    }

    /// Prompt and generated tokens per second of the whole.
    #[must_use]
    pub fn tokens_per_s(&self) -> f64 {
        let whole = median(&self.seconds.iter().map(|(first, rest)| first + rest).collect::<Vec<_>>());
        (self.prompt_tokens + self.generated_tokens) as f64 / whole
    }
}

pub(super) fn case(
    bench: &Bench,
    name: &str,
    model: &LanguageModel,
    generate: &Generate,
    strategy: &str,
    reduction: &Reduction,
) -> Result<Generation, BenchError> {
    let device = &model.placement().device;
    let prompts = tokens(bench.seed, &generate.prompts, model.config().vocab_size);
    let before = Memory::before(device)?;
    let run = || run(model, &prompts, generate, reduction);
    let first = run()?;
    device::take_peak_memory(device)?;
    let mut seconds = Vec::new();
    for _ in 0..bench.repeats {
        let done = run()?;
        if done.tokens != first.tokens {
            return Err(BenchError::Drift(format!("{name} {generate} {strategy}")));
        }
        seconds.push(done.seconds);
    }
    Ok(Generation {
        model: name.to_owned(),
        shape: generate.to_string(),
        strategy: strategy.to_owned(),
        prompts: generate.prompts.lengths().len(),
        prompt_tokens: prompts.len(),
        prompt_tokens_left: first.prompt_tokens_left,
        generated_tokens: generate.tokens * generate.prompts.lengths().len(),
        steps_because: first.steps_because,
        step_bytes: first.step_bytes,
        seconds,
        memory: Memory::peak(device, before)?,
    })
}

/// One run.
struct Run {
    /// Until the first tokens are known, and from there to the last.
    seconds: (f64, f64),
    prompt_tokens_left: usize,
    steps_because: Option<String>,
    step_bytes: Option<usize>,
    /// Per step, the token of every prompt.
    tokens: Vec<Vec<u32>>,
}

/// The most likely token after each prompt, then after that one, and so on. The last token of a prompt stays in it.
fn run(model: &LanguageModel, prompts: &[u32], generate: &Generate, reduction: &Reduction) -> Result<Run, BenchError> {
    let start = Instant::now();
    let Prefilled { activations, segments, state } = prefill(model, prompts, &generate.prompts, reduction)?;
    let mut generated = vec![most_likely(&model.head(&activations, &last_rows(&segments))?)?];
    drop(activations);
    let first = start.elapsed().as_secs_f64();
    let mut decoder = model.decoder(state)?;
    let ready = Instant::now();
    generated.extend(decoder.generate(&generated[0].clone(), generate.tokens - 1)?);
    Ok(Run {
        seconds: (first, ready.elapsed().as_secs_f64()),
        prompt_tokens_left: segments.n_tokens(),
        steps_because: decoder.steps_because().map(str::to_owned),
        step_bytes: decoder.step_bytes(),
        tokens: generated,
    })
}

fn prefill(
    model: &LanguageModel,
    prompts: &[u32],
    shape: &Shape,
    reduction: &Reduction,
) -> Result<Prefilled, BenchError> {
    let lengths = shape.lengths();
    let prompt = |(item, n): (usize, &usize)| SegmentTokens::reducible(item as u64, *n).with_last_protected();
    let table = TokenTable::new(lengths.iter().enumerate().map(prompt).collect());
    Ok(evaluation::prefill(model, prompts.to_vec(), Segments::independent(lengths), table, reduction)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use reduction_strategies::registry::Strategy;
    use ssm_kernels::Placement;
    use ssm_model::catalog;

    use super::*;

    fn builtin(name: &str) -> LanguageModel {
        let checkpoint = catalog::builtin(name).unwrap().open().unwrap();
        let mut weights = checkpoint.weights;
        LanguageModel::load(&checkpoint.config, &mut weights, &Placement::cpu()).unwrap()
    }

    /// A model that reads its own tokens again from the start says the same.
    #[test]
    fn steps_say_what_reading_again_says() {
        for name in ["mamba-world", "mamba2-world", "neox-world"] {
            let model = builtin(name);
            let generate: Generate = "2x9+4".parse().unwrap();
            let prompts = tokens(3, &generate.prompts, 1000);
            let got = run(&model, &prompts, &generate, &Reduction::dense()).unwrap();
            let mut sequences: Vec<Vec<u32>> = prompts.chunks(9).map(<[u32]>::to_vec).collect();
            for tokens in &got.tokens {
                let segments = Segments::independent(&[sequences[0].len(); 2]);
                let (activations, _) = model.prefill(&sequences.concat(), &segments, None).unwrap();
                assert_eq!(
                    &most_likely(&model.head(&activations, &last_rows(&segments)).unwrap()).unwrap(),
                    tokens,
                    "{name}"
                );
                for (sequence, token) in sequences.iter_mut().zip(tokens) {
                    sequence.push(*token);
                }
            }
            assert_eq!((got.tokens.len(), got.prompt_tokens_left), (4, 18));
        }
    }

    #[test]
    fn a_reduced_prompt_keeps_its_last_token_and_goes_on() {
        let rule = Strategy::new("drop_suffix", &BTreeMap::new()).unwrap().rule();
        let reduction = Reduction { rule, keep_ratio: 0.5, sites: vec![0, 1], ..Reduction::dense() };
        let generate: Generate = "2x9+3".parse().unwrap();
        let prompts = tokens(3, &generate.prompts, 1000);
        for name in ["mamba2-world", "neox-world"] {
            let model = builtin(name);
            let done = prefill(&model, &prompts, &generate.prompts, &reduction).unwrap();
            assert_eq!(done.state.0.len(), model.config().n_layer());
            let got = run(&model, &prompts, &generate, &reduction).unwrap();
            assert!(got.prompt_tokens_left < 18 && got.tokens.len() == 3, "{name}");
            if let Ok(cache) = done.state.0[2].cache() {
                // The rows that are left, and the position after the protected last one.
                assert_eq!(cache.segments[0].keys.dim(0).unwrap(), done.segments.length(0));
                assert_eq!(cache.next_positions, [9, 9]);
            }
        }
    }
}

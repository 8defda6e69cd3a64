//! How benchmarks are put to a model, and where their rows come from.

use super::data::{Data, Files};

/// How a benchmark is asked: what enters its requests besides the data. The defaults are those of lm-evaluation-harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prompting {
    /// Solved examples in front of each question.
    pub fewshot: usize,
    /// Seed of the draw of examples.
    pub fewshot_seed: u64,
    /// Most tokens that a model reads at once, those of the prediction without the last included: longer contexts lose
    /// tokens on the left, longer texts are read in windows.
    pub max_length: usize,
}

impl Default for Prompting {
    fn default() -> Self {
        Self { fewshot: 0, fewshot_seed: 1234, max_length: 2048 }
    }
}

/// Everything that loading a task needs beside a tokenizer.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Where the rows of benchmarks come from.
    pub data: Data,
    /// How they are asked.
    pub prompting: Prompting,
}

impl Source {
    /// The rows of a benchmark.
    pub(super) fn files(&self, task: &'static str) -> Files<'_> {
        Files::new(&self.data, task)
    }
}

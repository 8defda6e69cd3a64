//! `bench`: speed and memory of prefill and generation with and without reduction, against ceilings measured in the same run.
//!
//! Weights are random and of published sizes, or those of a checkpoint; tokens are random. A speed is shown only after the same code, on a small
//! model of the same kind, agreed with the reference on the CPU.

mod ceilings;
mod check;
mod generate;
mod measure;
mod memory;
#[cfg(feature = "peer")]
mod peer;
mod render;
mod shapes;
mod sizes;

use std::path::Path;

use analysis::compare::Pick;
use candle_core::DType;
use evaluation::{EvaluationError, Reduction};
use hint::Hint;
use reduction_strategies::options::OptionValue;
use reduction_strategies::registry::{RegistryError, Strategy};
use reduction_strategies::schedule::{ScheduleError, Sites};
use ssm_kernels::{KernelError, Placement};
use ssm_model::{ConfigError, LanguageModel, ModelConfig, ModelError, RandomWeights};
use thiserror::Error;

pub use ceilings::Ceilings;
pub use generate::Generation;
pub use measure::Measurement;
pub use memory::Memory;
pub use shapes::{Generate, Shape};
use sizes::Sizes;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Bench {
    /// Published models by short name, `mamba2-2.7b` for instance, or folders with a `config.json`.
    pub models: Vec<String>,
    /// Sequences of a call.
    pub shapes: Vec<Shape>,
    /// Strategies besides dense.
    pub strategies: Vec<Pick>,
    /// Share of the tokens that is kept at each site.
    pub keep_ratio: f64,
    /// Rows that pass through the head, one case each.
    pub logits: Vec<Logits>,
    /// Prompts and how many tokens follow.
    pub generate: Vec<Generate>,
    /// Timed runs of each case.
    pub repeats: usize,
    /// Seed of weights and tokens.
    pub seed: u64,
    /// Measure candle-transformers beside it, on a CPU.
    pub peer: bool,
}

/// Which rows pass through the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Logits {
    /// Every row, a block of rows at a time.
    All,
    /// Every row, all logits as one tensor: what a forward returns that knows no better.
    AllAtOnce,
    /// The last row of each sequence.
    Last,
}

/// Results of a bench.
#[derive(Clone, Debug)]
pub struct Report {
    /// Name of the device.
    pub device: String,
    /// Compute dtype.
    pub dtype: DType,
    /// What the device reaches in this run.
    pub ceilings: Ceilings,
    /// One entry per model, shape, strategy and kind of logits.
    pub measurements: Vec<Measurement>,
    /// One entry per model, prompts and strategy.
    pub generations: Vec<Generation>,
}

/// Why a bench stopped.
#[derive(Debug, Error)]
pub enum BenchError {
    /// A name that stands for nothing.
    #[error("{0}")]
    Name(String),
    /// candle-transformers was asked for where it cannot be measured.
    #[error(
        "candle-transformers is measured on the CPU, with published sizes, by a program that was built with the feature `peer`"
    )]
    Peer,
    /// The check before the timing failed.
    #[error("{what}: off by {error:.2e} from the reference, at most {limit:.0e} is right; no speed is shown")]
    Check {
        /// What was compared.
        what: String,
        /// Relative difference.
        error: f64,
        /// Largest difference that passes.
        limit: f64,
    },
    /// A published size that cannot be built.
    #[error(transparent)]
    Config(ConfigError),
    /// Sites that a model does not have.
    #[error(transparent)]
    Schedule(ScheduleError),
    /// A strategy that there is not.
    #[error(transparent)]
    Strategy(RegistryError),
    /// Greedy generation came out differently the second time.
    #[error("{0}: two runs generated different tokens; no speed is shown")]
    Drift(String),
    /// An operation failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A forward failed.
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
    /// A file could not be written.
    #[error("{path}: {error}")]
    Write {
        /// The file.
        path: String,
        /// Why.
        error: String,
    },
}

impl Hint for BenchError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Strategy(error) => error.hint(),
            Self::Schedule(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Peer => Some("run `just bench-cpu`".to_owned()),
            Self::Model(error) => error.hint(),
            Self::Evaluation(error) => error.hint(),
            _ => None,
        }
    }
}

impl From<candle_core::Error> for BenchError {
    fn from(error: candle_core::Error) -> Self {
        Self::Kernel(error.into())
    }
}

impl Bench {
    /// Checks, measures the ceilings, then every case.
    ///
    /// # Errors
    /// An unknown name, a failed check, or an error of the device.
    pub fn run(&self, placement: &Placement, mut say: impl FnMut(&str)) -> Result<Report, BenchError> {
        let models = self.models.iter().map(|name| Sizes::find(name)).collect::<Result<Vec<_>, _>>()?;
        let reductions = self
            .strategies
            .iter()
            .map(|pick| Ok((pick.to_string(), strategy(pick)?)))
            .collect::<Result<Vec<_>, BenchError>>()?;
        if self.peer && !(cfg!(feature = "peer") && placement.device.is_cpu()) {
            return Err(BenchError::Peer);
        }
        say("checking against the reference on the CPU");
        for (index, sizes) in models.iter().enumerate() {
            if models[..index].iter().all(|earlier| earlier.small != sizes.small) {
                check::run(&sizes.small, placement, &reductions)?;
            }
        }
        say("measuring the ceilings");
        let ceilings = Ceilings::measure(placement)?;
        let (mut measurements, mut generations) = (Vec::new(), Vec::new());
        for sizes in &models {
            let (short_name, config) = (sizes.name.as_str(), &sizes.config);
            say(&format!("{short_name}: making weights"));
            let model = LanguageModel::load(config, &mut RandomWeights { seed: self.seed }, placement)?;
            let cases = self.cases(&reductions, config)?;
            for shape in &self.shapes {
                for logits in &self.logits {
                    for (name, reduction) in &cases {
                        say(&format!("{short_name} {shape} {name}, logits: {}", logits.name()));
                        measurements.push(measure::case(self, short_name, &model, shape, name, reduction, *logits)?);
                    }
                }
                #[cfg(feature = "peer")]
                if self.peer {
                    say(&format!("{short_name} {shape} {}", peer::NAME));
                    let published = sizes.published.as_ref().ok_or(BenchError::Peer)?;
                    measurements.push(peer::case(published, config, shape)?);
                }
            }
            for generate in &self.generate {
                for (name, reduction) in &cases {
                    say(&format!("{short_name} {generate} {name}"));
                    generations.push(generate::case(self, short_name, &model, generate, name, reduction)?);
                }
            }
        }
        let device = ceilings::device_name(placement);
        Ok(Report { device, dtype: placement.dtype, ceilings, measurements, generations })
    }

    /// Dense, then every strategy at the paper's sites.
    fn cases(
        &self,
        strategies: &[(String, Strategy)],
        config: &ModelConfig,
    ) -> Result<Vec<(String, Reduction)>, BenchError> {
        let mut cases = vec![("dense".to_owned(), Reduction::dense())];
        for (name, strategy) in strategies {
            let sites = Sites::Paper.resolve(&config.kinds()).map_err(BenchError::Schedule)?;
            let (rule, keep_ratio, seed) = (strategy.rule(), self.keep_ratio, self.seed);
            cases.push((name.clone(), Reduction { rule, keep_ratio, sites, seed, ..Reduction::dense() }));
        }
        Ok(cases)
    }
}

impl Logits {
    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::AllAtOnce => "all-at-once",
            Self::Last => "last",
        }
    }
}

impl Report {
    /// The report as Markdown tables.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        render::markdown(self)
    }

    /// Writes one row per measurement and kernel as Parquet.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_parquet(&self, path: &Path) -> Result<(), BenchError> {
        render::parquet(self, path)
    }
}

/// The strategy with the options that were picked.
fn strategy(pick: &Pick) -> Result<Strategy, BenchError> {
    let option = |(option, value): &(String, String)| {
        let value = match (value.parse::<i64>(), value.parse::<f64>()) {
            (Ok(whole), _) => OptionValue::Integer(whole),
            (_, Ok(number)) => OptionValue::Number(number),
            _ => OptionValue::Word(value.to_owned()),
        };
        (option.clone(), value)
    };
    Strategy::new(pick.strategy(), &pick.options().iter().map(option).collect()).map_err(BenchError::Strategy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_take_options() {
        let strategy = |text: &str| strategy(&text.parse().unwrap());
        let plain = strategy("utrc").unwrap();
        assert_eq!(plain.options.integer("match_window"), 0);
        let near = strategy("utrc:match_window=256,q=0.25,match_on=residual").unwrap();
        assert_eq!((near.options.integer("match_window"), near.options.word("match_on")), (256, "residual"));
        assert!((near.options.number("q") - 0.25).abs() < 1e-12);
        for (text, said) in [("utrc:q=2", "q"), ("utrk", "utrc")] {
            let error = format!("{:?}", strategy(text).unwrap_err());
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}

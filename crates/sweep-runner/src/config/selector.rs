//! Selectors: which trials and cells an entry of `exclude`, `zip` or `decide` means.

use std::fmt;

use evaluation::{Positions, Protocol};
use reduction_strategies::options::OptionValue;
use reduction_strategies::schedule::Sites;

/// One map of `exclude` or `zip`: all conditions must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// 1-based line in the file.
    pub line: usize,
    /// The reason given in the file.
    pub reason: Option<String>,
}

/// One key of a selector; it holds if any of its values does.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Model reference.
    Model(Vec<String>),
    /// Task name.
    Task(Vec<String>),
    /// Protocol.
    Protocol(Vec<&'static Protocol>),
    /// Strategy name.
    Strategy(Vec<String>),
    /// Positions of the kept tokens.
    Positions(Vec<Positions>),
    /// An option of a strategy.
    Option(String, Vec<OptionValue>),
    /// Asked nominal FLOPs reduction.
    FlopsReduction(Vec<f64>),
    /// Asked achieved FLOPs reduction.
    AchievedReduction(Vec<f64>),
    /// Asked keep ratio.
    KeepRatio(Vec<f64>),
    /// Seed of the trial.
    Seed(Vec<u64>),
    /// The sites that a schedule block describes in words.
    NamedSites(Sites),
    /// Exactly these sites.
    Sites(Vec<usize>),
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.conditions.iter().map(ToString::to_string).collect();
        write!(f, "{{{}}}", words.join(", "))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(values) => write!(f, "model: {}", any_of(values)),
            Self::Task(values) => write!(f, "task: {}", any_of(values)),
            Self::Protocol(values) => write!(f, "protocol: {}", any_of(values)),
            Self::Strategy(values) => write!(f, "strategy: {}", any_of(values)),
            Self::Positions(values) => {
                let names: Vec<_> = values.iter().map(|value| value.name()).collect();
                write!(f, "positions: {}", any_of(&names))
            }
            Self::Option(name, values) => write!(f, "{name}: {}", any_of(values)),
            Self::FlopsReduction(values) => write!(f, "flops_reduction: {}", any_of(values)),
            Self::AchievedReduction(values) => write!(f, "flops_reduction: {{achieved: {}}}", any_of(values)),
            Self::KeepRatio(values) => write!(f, "keep_ratio: {}", any_of(values)),
            Self::Seed(values) => write!(f, "seed: {}", any_of(values)),
            Self::NamedSites(sites) => write!(f, "sites: {sites}"),
            Self::Sites(sites) => write!(f, "sites: {sites:?}"),
        }
    }
}

fn any_of<T: fmt::Display>(values: &[T]) -> String {
    let words: Vec<_> = values.iter().map(ToString::to_string).collect();
    match words.as_slice() {
        [word] => word.clone(),
        _ => format!("[{}]", words.join(", ")),
    }
}

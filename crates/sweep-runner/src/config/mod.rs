//! Experiment files: YAML to a valid [`Experiment`], or a refusal that points at the place and says what to write.
//!
//! ```text
//! text -> parse (YAML to located nodes) -> wire (every key typed) -> resolve (checked against catalog and registry)
//! ```
//!
//! Nothing is loaded: models and tasks are known through a [`Catalog`] only. The format is described in
//! `docs/experiment-format.md`.

mod added;
mod bridge;
mod catalog;
mod claim;
mod counts;
mod error;
mod experiment;
#[cfg(test)]
pub(crate) mod fake;
mod items;
mod json_schema;
mod node;
mod parse;
mod probes;
mod random;
mod record_plans;
mod resolve;
mod resolve_bridge;
mod resolve_claim;
mod resolve_tasks;
mod schedules;
mod selector;
mod selectors;
mod strategies;
#[cfg(test)]
mod tests;
mod wire;
mod wire_bridge;
mod wire_claim;
mod wire_rows;
mod wire_selector;
mod wire_task;
mod write;

use std::io::Read;
use std::path::{Path, PathBuf};

pub use bridge::{Bridge, Step};
pub use catalog::{Catalog, CatalogError, LayerFacts, ModelFacts, PlannedTask, Scoring, UNUSABLE_TOKENIZER};
pub use claim::{Claim, Comparison, Entry, RowComparison};
pub(crate) use error::heading;
pub use error::{ConfigError, render_plain};
pub use experiment::{Amount, Experiment, Override, ProbeVariant, Sample, Schedule, SchedulePoint, SiteAxis, Variant};
pub use items::ItemChoice;
pub use json_schema::json_schema;
pub use record_plans::RecordPlans;
pub(crate) use record_plans::trim_to_lost;
pub use selector::{Condition, Selector};
pub(crate) use strategies::same_value;

use records::regular;

/// Reads and checks the experiment file at `path`.
///
/// # Errors
/// The file cannot be read, or says something unknown, wrong or impossible.
pub fn load(path: &Path, catalog: &dyn Catalog) -> Result<Experiment, ConfigError> {
    let (shown, text) = read(path)?;
    load_str(&shown, &text, catalog)
}

/// Where the text of an experiment is.
#[derive(Clone, Debug)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// Here.
    Text {
        /// Its name in errors.
        name: String,
        /// YAML.
        text: String,
    },
}

/// What is changed in an experiment before it is checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Amendments<'a> {
    /// Random weights take the place of every model of the hub, and the name of the experiment gets `-random`.
    pub random: bool,
    /// A YAML list, whose entries are added to `strategies`.
    pub strategies: Option<&'a str>,
}

/// As [`load`], with changes.
///
/// # Errors
/// As [`load`]; for random weights a model of the hub whose size is not known, or no such model at all.
pub fn load_amended(
    source: &Source,
    amendments: Amendments<'_>,
    catalog: &dyn Catalog,
) -> Result<Experiment, ConfigError> {
    let (name, text) = match source {
        Source::File(path) => read(path)?,
        Source::Text { name, text } => (name.clone(), text.clone()),
    };
    load_node(&name, &text, catalog, |node| {
        if amendments.random {
            random::replace_models(node)?;
        }
        amendments.strategies.map_or(Ok(()), |list| added::add_strategies(node, list))
    })
}

/// The name of a file in errors, and its text.
fn read(path: &Path) -> Result<(String, String), ConfigError> {
    let shown = path.display().to_string();
    let unreadable = |error: std::io::Error| {
        ConfigError::of_file(
            format!("cannot read {shown}: {error}"),
            "name an experiment file, for example experiments/smoke.yaml",
        )
    };
    let mut text = String::new();
    let file = regular::open(path).map_err(unreadable)?;
    // One byte more than allowed is enough to tell that a file is too large.
    file.take(parse::MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    Ok((shown, text))
}

/// Checks the text of an experiment; `file` is the name shown in errors.
///
/// # Errors
/// The text says something unknown, wrong or impossible.
pub fn load_str(file: &str, text: &str, catalog: &dyn Catalog) -> Result<Experiment, ConfigError> {
    load_node(file, text, catalog, |_| Ok(()))
}

#[cfg(test)]
fn load_random_str(file: &str, text: &str, catalog: &dyn Catalog) -> Result<Experiment, ConfigError> {
    load_node(file, text, catalog, random::replace_models)
}

/// Checks the text of an experiment after `change`.
fn load_node(
    file: &str,
    text: &str,
    catalog: &dyn Catalog,
    change: impl FnOnce(&mut node::Node) -> Result<(), error::Fault>,
) -> Result<Experiment, ConfigError> {
    if text.len() as u64 > parse::MAX_BYTES {
        let message = format!("{file} is larger than {} KiB", parse::MAX_BYTES / 1024);
        return Err(ConfigError::of_file(message, "an experiment names models and tasks; it does not contain data"));
    }
    parse::parse(text)
        .and_then(|mut node| change(&mut node).map(|()| node))
        .and_then(|node| {
            let mut faults = error::Faults::default();
            wire::WireExperiment::read(&node, &mut faults)?.resolve(text, catalog, faults)
        })
        .map_err(|fault| fault.in_file(file, text))
}

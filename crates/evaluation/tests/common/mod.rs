//! Models and tasks shared by the integration tests.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod grid;

use std::collections::BTreeMap;

use evaluation::tasks::{self, Task};
use evaluation::tokenizer::Tokenizer;
use evaluation::{Positions, Reduction, Scoring, Setup};
use reduction_strategies::options::OptionValue;
use reduction_strategies::registry::Strategy;
use ssm_model::{Checkpoint, LanguageModel, Placement, catalog, shipped};

pub(crate) const SITES: [usize; 3] = [4, 8, 12];

pub(crate) fn model(name: &str) -> LanguageModel {
    let checkpoint = match shipped::find(name) {
        Some(shipped) => Checkpoint::open(&shipped.folder().unwrap()),
        None => catalog::builtin(name).unwrap().open(),
    };
    let checkpoint = checkpoint.unwrap();
    let mut weights = checkpoint.weights;
    LanguageModel::load(&checkpoint.config, &mut weights, &Placement::cpu()).unwrap()
}

/// Three sites within a model: those of [`SITES`], or at the same share of a shallower one's depth.
pub(crate) fn sites(model: &LanguageModel) -> Vec<usize> {
    SITES.iter().map(|site| site * model.config().n_layer() / 16).collect()
}

/// The first items of a task, in the tokens that all models of its world share.
pub(crate) fn task(name: &str, limit: usize) -> Task {
    let tokenizer = if name.starts_with("books_") {
        let file = shipped::path("mamba2-books/tokenizer.json").unwrap();
        Tokenizer::from_json(&std::fs::read_to_string(file).unwrap()).unwrap()
    } else {
        Tokenizer::from_json(catalog::builtins()[0].tokenizer_json).unwrap()
    };
    tasks::load(name, &tasks::Source::default(), &tokenizer, tasks::Split::All, Some(limit)).unwrap()
}

/// A task under a protocol and a reduction.
pub(crate) fn setup<'a>(
    model: &'a LanguageModel,
    task: &'a Task,
    scoring: Scoring,
    reduction: &'a Reduction,
) -> Setup<'a> {
    Setup { model, kind: task.kind, items: &task.items, scoring, reduction }
}

pub(crate) fn reduction(strategy: &str, options: &[(&str, &str)], keep_ratio: f64) -> Reduction {
    let options: BTreeMap<String, OptionValue> =
        options.iter().map(|(name, value)| ((*name).to_owned(), OptionValue::Word((*value).to_owned()))).collect();
    let strategy = Strategy::new(strategy, &options).unwrap();
    let positions = Positions::Original;
    Reduction { rule: strategy.rule(), keep_ratio, sites: SITES.to_vec(), seed: 0, positions }
}

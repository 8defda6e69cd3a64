//! Models and tasks shared by the integration tests.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod grid;
pub(crate) mod spoiled;

use std::collections::BTreeMap;

use evaluation::tasks::{self, Task};
use evaluation::tokenizer::Tokenizer;
use evaluation::{Reduction, Scoring, Setup};
use reduction_strategies::options::OptionValue;
use reduction_strategies::registry::Strategy;
use ssm_model::{Checkpoint, LanguageModel, ModelConfig, Placement, RandomWeights, catalog, shipped};

pub(crate) const SITES: [usize; 3] = [4, 8, 12];

/// A small hybrid of random weights: sites at layers 2, 4 and 6, of which the last two are attention, and the signals for the first of
/// these come from the site before it.
const HYBRID: &str = r#"{"d_model": 48, "n_layer": 8, "vocab_size": 1104, "d_intermediate": 64,
    "ssm_cfg": {"layer": "Mamba2", "d_state": 16, "headdim": 16}, "attn_layer_idx": [3, 4, 6],
    "attn_cfg": {"causal": true, "d_conv": 4, "num_heads": 4, "num_heads_kv": 2, "rotary_emb_dim": 8}}"#;

/// A small Zamba2 of random weights, with sites at layers 2, 4 and 6: before, at and after a use of a shared block.
const ZAMBA2: &str = r#"{"model_type": "zamba2", "hidden_size": 48, "num_hidden_layers": 8, "vocab_size": 1104,
    "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid", "hybrid", "mamba", "mamba", "hybrid"], "num_mem_blocks": 2,
    "use_mem_rope": true, "use_shared_attention_adapter": true, "adapter_rank": 8, "intermediate_size": 64, "num_attention_heads": 4,
    "mamba_d_state": 16, "n_mamba_heads": 6}"#;

/// Models of random weights, for architectures that no trained model has; `zamba2-nope` reads no positions.
pub(crate) const RANDOM: [&str; 3] = ["hybrid", "zamba2", "zamba2-nope"];

pub(crate) fn model(name: &str) -> LanguageModel {
    load(name, &Placement::cpu())
}

pub(crate) fn load(name: &str, placement: &Placement) -> LanguageModel {
    let random = match name {
        "hybrid" => Some(HYBRID.to_owned()),
        "zamba2" => Some(ZAMBA2.to_owned()),
        "zamba2-nope" => Some(ZAMBA2.replace("\"use_mem_rope\": true", "\"use_mem_rope\": false")),
        _ => None,
    };
    if let Some(text) = random {
        let config = ModelConfig::from_json(&text).unwrap();
        return LanguageModel::load(&config, &mut RandomWeights { seed: 7 }, placement).unwrap();
    }
    let checkpoint = match shipped::find(name) {
        Some(shipped) => Checkpoint::open(&shipped.folder().unwrap()),
        None => catalog::builtin(name).unwrap().open(),
    };
    let checkpoint = checkpoint.unwrap();
    let mut weights = checkpoint.weights;
    LanguageModel::load(&checkpoint.config, &mut weights, placement).unwrap()
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
    Reduction { rule: strategy.rule(), keep_ratio, sites: SITES.to_vec(), ..Reduction::dense() }
}

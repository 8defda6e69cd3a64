//! Probes on models whose answers are known: by construction, or because a strategy cannot do otherwise.

mod common;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use common::{model, reduction, task};
use evaluation::Reduction;
use evaluation::probes::{self, Facts, Key, Probe, ProbeSetup, ProbeTable, Subject};
use evaluation::tasks::{Context, Item, Request, TaskKind};
use reduction_strategies::options::{OptionValue, ResolvedOptions};
use ssm_model::checkpoint::CheckpointError;
use ssm_model::{LanguageModel, ModelConfig, Placement, RandomWeights, SignalSet, WeightSource};

fn options(probe: &Probe, given: &[(&str, OptionValue)]) -> ResolvedOptions {
    let given: BTreeMap<String, OptionValue> =
        given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    ResolvedOptions::resolve(probe.options, &given).unwrap()
}

fn run(name: &str, model: &LanguageModel, items: &[Item], kind: TaskKind, reduction: Option<&Reduction>) -> ProbeTable {
    let probe = probes::find(name).unwrap();
    let options = options(probe, &[]);
    probe.run(&ProbeSetup { model, kind, items, options: &options, seed: 0, reduction }).unwrap()
}

fn value(table: &ProbeTable, measure: &str, keys: &[Key]) -> f64 {
    table.find(keys, measure).and_then(probes::ProbeRow::value).unwrap_or_else(|| panic!("no {measure} {keys:?}"))
}

/// Every declared row, and nothing else.
fn check_shape(probe: &Probe, table: &ProbeTable, layers: &[SignalSet]) {
    assert!(!table.rows.is_empty(), "{}", probe.name);
    for row in &table.rows {
        assert_eq!(row.keys.len(), probe.columns.len(), "{}", probe.name);
        let options = options(probe, &[]);
        let facts = Facts { layers, marks: true, options: &options, measure: &row.measure };
        for (column, key) in probe.columns.iter().zip(&row.keys) {
            assert_eq!(column.find(key, &facts).as_ref(), Ok(key), "{} {} {}", probe.name, column.name, row.measure);
        }
        assert!(probe.measures.iter().any(|measure| measure.name == row.measure), "{} {}", probe.name, row.measure);
        assert!(row.contributions.windows(2).all(|pair| pair[0].0 < pair[1].0), "{}: items ascend", probe.name);
        assert!(row.contributions.iter().all(|(_, sum, weight)| sum.is_finite() && *weight > 0.0));
    }
    for measure in probe.measures {
        assert!(table.rows.iter().any(|row| row.measure == measure.name), "{} lacks {}", probe.name, measure.name);
    }
}

#[test]
fn every_probe_measures_what_it_declares_and_twice_the_same() {
    let task = task("world_lambada", 2);
    for name in ["mamba2-world", "mamba-world"] {
        let model = model(name);
        let top_k = reduction("top_k", &[], 0.8);
        for probe in probes::all() {
            let of = (probe.subject == Subject::Reduction).then_some(&top_k);
            let table = run(probe.name, &model, &task.items, task.kind, of);
            let config = model.config();
            let layers: Vec<SignalSet> = (0..config.n_layer()).map(|layer| config.signals([layer])).collect();
            check_shape(probe, &table, &layers);
            assert_eq!(table, run(probe.name, &model, &task.items, task.kind, of), "{}", probe.name);
        }
    }
}

/// Random weights, but the step sizes are constant, the convolution sees one token, and nothing is added to the stream.
struct Recurrence;

impl WeightSource for Recurrence {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, CheckpointError> {
        let random = RandomWeights { seed: 1 }.take(name, shape)?;
        let zeros = Tensor::zeros(shape, random.dtype(), &Device::Cpu)?;
        if name.ends_with("conv1d.weight") {
            let own = Tensor::from_slice(&[0.0_f32, 0.0, 0.0, 1.0], (1, 1, 4), &Device::Cpu)?;
            return Ok(own.broadcast_as(shape)?.contiguous()?);
        }
        if name.ends_with("in_proj.weight") {
            // The last two rows make the step sizes of the two heads.
            let rows = shape[0] - 2;
            return Ok(Tensor::cat(&[random.narrow(0, 0, rows)?, zeros.narrow(0, rows, 2)?], 0)?);
        }
        // softplus(0) = ln 2 and A = -exp(0): every token halves the state.
        let zero = ["out_proj.weight", "A_log", "dt_bias"].iter().any(|end| name.ends_with(end));
        Ok(if zero { zeros } else { random })
    }
}

fn constant_recurrence() -> LanguageModel {
    let config = ModelConfig::from_json(
        r#"{"model_type": "mamba2", "architectures": ["Mamba2ForCausalLM"], "hidden_size": 8, "expand": 2, "head_dim": 8,
            "num_heads": 2, "state_size": 4, "n_groups": 1, "conv_kernel": 4, "num_hidden_layers": 2, "vocab_size": 16,
            "layer_norm_epsilon": 1e-5, "tie_word_embeddings": true, "use_conv_bias": true, "hidden_act": "silu",
            "residual_in_fp32": true, "rms_norm": true, "chunk_size": 64, "time_step_limit": [0.0, 1e30]}"#,
    )
    .unwrap();
    LanguageModel::load(&config, &mut Recurrence, &Placement::cpu()).unwrap()
}

fn item(context: Vec<u32>, necessary: Vec<u32>) -> Item {
    Item {
        id: "0".to_owned(),
        gold: None,
        contexts: vec![Context { tokens: context, necessary }],
        requests: vec![Request { context: 0, continuation: vec![3], scored: vec![0], characters: 1 }],
        ..Item::default()
    }
}

/// Equal tokens and a decay of one half: `h_t = w (1 - 2^-(t+1)) / (1 - 1/2)`. Without one token the state at the same token is the one
/// of a step before, so that the divergence is `2^-(t+1) / (1 - 2^-(t+1))`.
#[test]
fn divergence_of_a_linear_recurrence_is_its_decay() {
    let (model, position) = (constant_recurrence(), 3);
    let items = [item(vec![5; 16], vec![position])];
    let table = run("state_divergence", &model, &items, TaskKind::Target, None);
    for distance in [1_usize, 2, 4, 8] {
        let t = f64::from(position) + distance as f64;
        let left = 0.5_f64.powf(t + 1.0);
        let want = left / (1.0 - left);
        for class in ["<2", "all"] {
            let keys = [Key::from(1), Key::from(distance), Key::from(class), Key::from("necessary")];
            let got = value(&table, "divergence", &keys);
            assert!((got - want).abs() < 1e-3 * want + 1e-6, "{class} {distance}: {got} {want}");
        }
    }
    // All parts of the state have a half-life of one token.
    assert!(table.rows.iter().all(|row| row.keys[2] == Key::from("<2") || row.keys[2] == Key::from("all")));
}

#[test]
fn what_looks_ahead_leaks_and_what_does_not_leaks_nothing() {
    let task = task("world_lambada", 3);
    let model = model("mamba2-world");
    let of = |reduction: &Reduction, measure: &str| {
        let table = run("leak", &model, &task.items, task.kind, Some(reduction));
        value(&table, measure, &[Key::from("all")])
    };
    assert!(of(&Reduction::dense(), "changed").abs() < 1e-12);
    let dense = of(&Reduction::dense(), "total_variation");
    assert!(dense.abs() < 1e-12, "{dense}");
    let causal = reduction("local_merge", &[("decide", "online")], 0.8);
    assert!(of(&causal, "changed").abs() < 1e-12, "decides from earlier tokens alone");
    let top_k = reduction("top_k", &[], 0.8);
    assert!(of(&top_k, "total_variation") > 1e-4 && of(&top_k, "moved") > 0.0);
}

#[test]
fn only_rows_that_lost_a_neighbour_see_another_window() {
    let task = task("world_lambada", 2);
    for name in ["mamba2-world", "mamba-world"] {
        let model = model(name);
        let table = run("adjacency", &model, &task.items, task.kind, Some(&reduction("uniform", &[], 0.6)));
        let change = |lost: usize| value(&table, "x_change", &[Key::from(4), Key::from(lost)]);
        assert!(change(0).abs() < 1e-12, "{name}: {}", change(0));
        assert!(change(1) > 1e-3, "{name}: {}", change(1));
        let shares: f64 = (0..4)
            .filter_map(|lost| table.find(&[Key::from(4), Key::from(lost)], "tokens"))
            .filter_map(probes::ProbeRow::value)
            .sum();
        assert!((shares - 1.0).abs() < 1e-9, "{name}: {shares}");
    }
}

#[test]
fn an_importance_agrees_with_itself_and_splits_add_up() {
    let task = task("world_lambada", 4);
    let model = model("mamba2-world");
    let table = run("implicit_attention", &model, &task.items, task.kind, None);
    for (decay, name) in [("with", "hidden_attention"), ("without", "hidden_attention_no_decay")] {
        let own = value(&table, "correlation", &[Key::from(5), Key::from(name), Key::from("dt"), Key::from(decay)]);
        assert!((own - 1.0).abs() < 1e-9);
    }
    let random = reduction("random", &[], 0.7);
    let table = run("loss_split", &model, &task.items, task.kind, Some(&random));
    let share = |group: &str| value(&table, "items", &[Key::from(group)]);
    assert!((share("kept") + share("dropped") - 1.0).abs() < 1e-9);
    assert!((share("any") - 1.0).abs() < 1e-9);
    // What drops the earliest tokens keeps later ones.
    let table = run("kept_tokens", &model, &task.items, task.kind, Some(&reduction("drop_prefix", &[], 0.5)));
    let place = |fate: &str| value(&table, "place", &[Key::from(4), Key::from(fate)]);
    assert!(place("kept") > place("removed") + 0.4);
}

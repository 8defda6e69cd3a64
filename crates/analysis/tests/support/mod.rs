//! Realistic fake records with known effects, for tests of `analysis`, `report` and the pages.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use records::schema::{
    Aggregate, CellRecord, CostRecord, ItemRecord, MetricRecord, PlanItem, PlanRecord, SCHEMA_VERSION, SiteRecord,
    Status, TrialKey,
};
use records::{Family, Split};

/// Size of a fake experiment.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) models: Vec<&'static str>,
    pub(crate) protocols: Vec<&'static str>,
    pub(crate) tasks: Vec<&'static str>,
    /// `(strategy, importance, params, share of right answers lost per unit of FLOPs reduction)`.
    pub(crate) strategies: Vec<(&'static str, Option<&'static str>, &'static str, f64)>,
    pub(crate) reductions: Vec<f64>,
    pub(crate) items: usize,
    pub(crate) single_sites: bool,
}

impl Shape {
    /// Two models, all families, three reductions, two protocols, six tasks.
    pub(crate) fn full() -> Self {
        Self {
            models: vec!["builtin:mamba2-world", "builtin:mamba-world"],
            protocols: vec!["context", "upstream"],
            tasks: vec![
                "world_lambada",
                "world_hellaswag",
                "world_piqa",
                "world_arc_easy",
                "world_recall",
                "world_winogrande",
            ],
            strategies: vec![
                ("dense", None, "{}", 0.0),
                ("random", None, "{}", 1.2),
                ("uniform", None, "{}", 1.3),
                ("drop_prefix", None, "{}", 0.9),
                ("drop_suffix", None, "{}", 2.2),
                ("inverted_top_k", Some("clip"), "{}", 2.5),
                ("top_k", Some("clip"), "{}", 0.7),
                ("top_k", Some("l1"), "{}", 0.8),
                ("top_k", Some("dt_mean"), "{}", 0.4),
                ("ltmp", None, "{\"threshold\":0.1}", 0.9),
                ("tome", None, "{}", 1.1),
                ("pumer", None, "{}", 1.2),
                ("utrc", Some("clip"), "{\"q\":0.0}", 0.6),
                ("utrc", Some("clip"), "{\"q\":0.5}", 0.5),
                ("local_merge", None, "{\"window\":1}", 0.6),
                ("state_merge", None, "{}", 0.15),
                ("hold_state", None, "{}", 0.3),
                ("decimate", None, "{}", 0.8),
                ("utrc_released", Some("clip"), "{}", 1.0),
                ("evit_released", Some("clip"), "{}", 1.8),
                ("pumer_released", None, "{}", 1.5),
            ],
            reductions: vec![0.1, 0.2, 0.3],
            items: 40,
            single_sites: true,
        }
    }

    /// One model, few strategies, two tasks: fast.
    pub(crate) fn small() -> Self {
        let full = Self::full();
        Self {
            models: vec!["builtin:mamba2-world"],
            tasks: vec!["world_lambada", "world_piqa"],
            strategies: full
                .strategies
                .into_iter()
                .filter(|s| ["dense", "random", "top_k", "utrc", "utrc_released"].contains(&s.0))
                .collect(),
            reductions: vec![0.1, 0.2],
            items: 30,
            ..full
        }
    }
}

/// Writes an experiment named `ablation` below `dir`; returns its cells in plan order.
///
/// One cell of `utrc_released` fails, and one planned cell is missing on disk.
pub(crate) fn write(dir: &Path, shape: &Shape) -> Vec<CellRecord> {
    let cells = cells(shape);
    fs::create_dir_all(dir.join("cells")).expect("a folder for cells");
    for cell in &cells {
        let text = serde_json::to_string(cell).expect("records are plain data");
        fs::write(dir.join(format!("cells/{}.json", cell.cell_id)), text).expect("writable folder");
    }
    let mut ids: Vec<String> = cells.iter().map(|cell| cell.cell_id.clone()).collect();
    ids.push("never-run".to_owned());
    let digests: BTreeMap<String, &str> =
        shape.models.iter().map(|model| (format!("weights of {model}"), "0123456789abcdef")).collect();
    let plan = serde_json::json!({
        "experiment": "ablation",
        "question": "How much of the accuracy loss is the rule, how much the scoring?",
        "baseline": "dense",
        "seed": 7,
        "strategies": families(),
        "digests": digests,
        "cells": ids,
    });
    fs::write(dir.join("plan.json"), plan.to_string()).expect("writable folder");
    cells
}

/// The family of every strategy of [`Shape::full`].
fn families() -> BTreeMap<&'static str, Family> {
    let of = |family: Family, names: &[&'static str]| names.iter().map(|name| (*name, family)).collect::<Vec<_>>();
    [
        of(Family::Baseline, &["dense"]),
        of(Family::Control, &["random", "uniform", "drop_prefix", "drop_suffix", "inverted_top_k"]),
        of(Family::Pruning, &["top_k", "ltmp"]),
        of(Family::Merging, &["tome", "pumer", "utrc", "local_merge"]),
        of(Family::StateAware, &["state_merge", "hold_state", "decimate"]),
        of(Family::Released, &["utrc_released", "evit_released", "pumer_released"]),
    ]
    .concat()
    .into_iter()
    .collect()
}

fn cells(shape: &Shape) -> Vec<CellRecord> {
    let mut cells = Vec::new();
    for (model, protocol) in shape.models.iter().flat_map(|m| shape.protocols.iter().map(move |p| (*m, *p))) {
        for &(strategy, importance, params, loss) in &shape.strategies {
            let seeds: &[u64] = if strategy == "random" { &[0, 1, 2] } else { &[0] };
            let mut settings: Vec<(String, Vec<usize>, f64, f64)> = Vec::new();
            if strategy == "dense" {
                settings.push(("none".to_owned(), vec![], 1.0, 0.0));
            } else {
                for &reduction in &shape.reductions {
                    settings.push(("paper".to_owned(), vec![3, 5, 7], 1.0 - reduction * 0.4, reduction));
                }
                if shape.single_sites
                    && ["top_k", "utrc"].contains(&strategy)
                    && importance == Some("clip")
                    && protocol == "context"
                {
                    for site in 1..9_usize {
                        for keep in [0.5, 0.7, 0.9] {
                            let reduction = (1.0 - keep) * (10 - site) as f64 / 10.0;
                            settings.push((format!("sites {site}"), vec![site], keep, reduction));
                        }
                    }
                }
            }
            for (schedule, sites, keep_ratio, reduction) in settings {
                for &seed in seeds {
                    let trial = TrialKey {
                        trial_id: format!(
                            "{strategy}-{}-{}-{protocol}-{schedule}-{keep_ratio:.3}-{seed}",
                            importance.unwrap_or("none"),
                            model.trim_start_matches("builtin:")
                        )
                        .replace(' ', "_")
                            + &params.replace(|c: char| !c.is_alphanumeric(), ""),
                        experiment: "ablation".to_owned(),
                        model: model.to_owned(),
                        strategy: strategy.to_owned(),
                        strategy_params: params.to_owned(),
                        importance: importance.map(str::to_owned),
                        importance_source: importance.map(|_| "y".to_owned()),
                        schedule: schedule.clone(),
                        sites: sites.clone(),
                        keep_ratio: Some(keep_ratio),
                        flops_reduction_nominal: Some(reduction),
                        flops_reduction_asked: None,
                        calibration: None,
                        protocol: protocol.to_owned(),
                        seed,
                        split: Split::All,
                        limit: Some(shape.items),
                        device: "cpu".to_owned(),
                        dtype: "f32".to_owned(),
                    };
                    for (index, task) in shape.tasks.iter().enumerate() {
                        cells.push(cell(shape, &trial, task, index, loss));
                    }
                }
            }
        }
    }
    cells
}

fn cell(shape: &Shape, trial: &TrialKey, task: &str, task_index: usize, loss: f64) -> CellRecord {
    // Difficulty belongs to the item, so that trials are correlated as real ones are.
    let mut difficulty = ChaCha8Rng::seed_from_u64(task_index as u64);
    let mut noise =
        ChaCha8Rng::seed_from_u64(trial.trial_id.bytes().fold(trial.seed, |h, b| h.wrapping_mul(31) + u64::from(b)));
    let upstream = trial.protocol == "upstream" && trial.strategy != "dense";
    let site_effect = match trial.sites.as_slice() {
        [site] => (6.0 - *site as f64) * 0.3,
        _ => 1.0,
    };
    let nominal = trial.flops_reduction_nominal.expect("counts are exact");
    let lost = nominal * (loss * site_effect + if upstream { 0.5 } else { 0.0 });
    let chance = 0.92 - 0.06 * task_index as f64;
    let choices = if task.contains("lambada") { 1 } else { 4 };
    let (mut items, mut acc, mut norm, mut perplexity) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for index in 0..shape.items {
        let hard: f64 = difficulty.random();
        // One task has items that a token map must break into blocks.
        let shortest = if task == "world_piqa" { 80 } else { 18 };
        let length = shortest + difficulty.random_range(0..40_u64);
        let right = hard < chance - lost + noise.random_range(-0.08..0.08);
        let logit = -1.0 - 3.0 * hard - 4.0 * lost - noise.random_range(0.0..0.3);
        let loglikelihoods: Vec<f64> = (0..choices).map(|choice| logit - f64::from(choice) * 0.7).collect();
        acc.push((f64::from(u8::from(right)), 1.0));
        norm.push((f64::from(u8::from(right || noise.random_bool(0.05))), 1.0));
        perplexity.push((logit, 1.0 + (index % 3) as f64));
        items.push(ItemRecord {
            item_id: format!("{task}-{index}"),
            gold: (choices > 1).then_some(0),
            predicted: (choices > 1).then_some(u32::from(!right)),
            correct: Some(right),
            greedy: loglikelihoods.iter().map(|&l| l > -1.5).collect(),
            loglikelihoods,
            tokens_in: length,
            tokens_kept: (length as f64 * (1.0 - nominal)) as u64,
            necessary_kept: Some(if right { 1.0 } else { 0.5 }),
            coverage: if upstream { 0.8 } else { 1.0 },
            length: None,
            depth: None,
        });
    }
    let (plans, plan_items) = plans(trial, &items);
    let failed = trial.strategy == "utrc_released" && task_index == 1 && nominal > 0.15 && trial.protocol == "upstream";
    let tokens_in: u64 = items.iter().map(|item| item.tokens_in).sum();
    let sites = trial.sites.iter().enumerate().map(|(i, &site)| SiteRecord {
        site,
        tokens_in: tokens_in.saturating_sub(40 * i as u64),
        tokens_out: tokens_in.saturating_sub(40 * (i as u64 + 1)),
        merged_similarity: (trial.strategy != "top_k").then_some(0.7),
    });
    let metric =
        |name: &str, aggregate, contributions| MetricRecord { metric: name.to_owned(), aggregate, contributions };
    let mut metrics = vec![metric("acc", Aggregate::Mean, acc)];
    if choices > 1 {
        metrics.push(metric("acc_norm", Aggregate::Mean, norm));
    } else {
        metrics.push(metric("perplexity", Aggregate::ExpNegMean, perplexity));
    }
    CellRecord {
        schema_version: SCHEMA_VERSION,
        cell_id: format!("{}-{task}", trial.trial_id),
        code: records::code::Code::default(),
        trial: trial.clone(),
        task: task.to_owned(),
        primary_metric: "acc".to_owned(),
        status: if failed { Status::Failed } else { Status::Done },
        hint: None,
        error: failed.then(|| "index 37 is out of range for the rows kept".to_owned()),
        cost: if failed {
            CostRecord::default()
        } else {
            CostRecord {
                flops_reduction_achieved: nominal * (0.9 - 0.03 * task_index as f64),
                flops_executed: 1e9 * (1.0 - nominal),
                tokens_in,
                tokens_per_s: 5_000.0,
                peak_mem_bytes: 1 << 28,
                wall_s: 1.5,
                repeats_s: Vec::new(),
            }
        },
        metrics: if failed { vec![] } else { metrics },
        items: if failed { vec![] } else { items },
        sites: if failed { vec![] } else { sites.collect() },
        plans: if failed { vec![] } else { plans },
        plan_items: if failed { vec![] } else { plan_items },
        notes: BTreeMap::new(),
    }
}

/// Plans of the first three items: pruning strategies drop, the others merge into the left neighbour.
fn plans(trial: &TrialKey, items: &[ItemRecord]) -> (Vec<PlanRecord>, Vec<PlanItem>) {
    const WORDS: [&str; 14] = [
        " the", " red", " key", " was", " put", " under", " a", " wooden", " box", " by", " Anna", " who", " left", ".",
    ];
    let prunes = ["random", "uniform", "top_k", "drop_prefix", "drop_suffix", "ltmp", "decimate", "inverted_top_k"];
    let (mut plans, mut plan_items) = (Vec::new(), Vec::new());
    for (index, item) in items.iter().enumerate().take(3) {
        let n = item.tokens_in as u32;
        let mut random = ChaCha8Rng::seed_from_u64(index as u64 + trial.trial_id.len() as u64 * 17 + trial.seed);
        let mut live: Vec<u32> = (0..n).collect();
        plan_items.push(PlanItem {
            item: index,
            tokens: (0..n as usize).map(|i| WORDS[(i + index) % WORDS.len()].to_owned()).collect(),
            necessary: vec![2, 8, 10],
        });
        for &site in &trial.sites {
            let removed =
                live.len() - (live.len() as f64 * trial.keep_ratio.expect("counts are exact")).ceil() as usize;
            let (mut dropped, mut merged) = (Vec::new(), Vec::new());
            for step in 0..removed {
                let at = match trial.strategy.as_str() {
                    "drop_prefix" => 0,
                    "drop_suffix" => live.len() - 2,
                    _ => random.random_range(1..live.len() - 1),
                };
                let position = live.remove(at);
                let half = trial.strategy.starts_with("utrc") && step % 2 == 0;
                if prunes.contains(&trial.strategy.as_str()) || half {
                    dropped.push(position);
                } else {
                    merged.push((position, live[at - 1]));
                }
            }
            dropped.sort_unstable();
            merged.sort_unstable();
            plans.push(PlanRecord { item: index, site, kept: live.clone(), dropped, merged });
        }
    }
    (plans, plan_items)
}

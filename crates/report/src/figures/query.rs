//! Which records a figure shows: the file beside it that leads from a picture back to the frames.

use std::collections::BTreeSet;

use analysis::ProbeSet;
use serde_json::{Map, Value, json};

use crate::view::{Scene, View};

/// The rows of a frame that a figure shows, and the ids of the trials or probes that they come from.
#[derive(Clone, Debug)]
pub(super) struct Query {
    frame: String,
    rows: Vec<Map<String, Value>>,
    trials: BTreeSet<String>,
    probes: BTreeSet<String>,
}

impl Default for Query {
    fn default() -> Self {
        Self { frame: "trials.parquet".to_owned(), rows: Vec::new(), trials: BTreeSet::new(), probes: BTreeSet::new() }
    }
}

impl Query {
    /// The primary metric of arms on some tasks of a scene: those of one reduction have it in their filter through their labels and ids.
    pub(super) fn of_scene(
        view: &View,
        scene: &Scene,
        tasks: &[String],
        arms: impl IntoIterator<Item = usize>,
    ) -> Self {
        let mut query = Self::default();
        query.add(view, scene, tasks, arms);
        query
    }

    /// Adds arms of another scene.
    pub(super) fn add(
        &mut self,
        view: &View,
        scene: &Scene,
        tasks: &[String],
        arms: impl IntoIterator<Item = usize>,
    ) -> &mut Self {
        let chosen: BTreeSet<usize> = arms.into_iter().chain(scene.baseline.iter().map(|(arm, _)| *arm)).collect();
        let trials: BTreeSet<&String> = chosen.iter().flat_map(|arm| &view.arms[*arm].trials).collect();
        let filter = json!({
            "model": scene.model,
            "protocol": scene.protocol,
            "task": tasks,
            "primary": true,
            "trial_id": trials,
        });
        self.rows.extend(filter.as_object().cloned());
        self.trials.extend(trials.into_iter().cloned());
        self
    }

    /// The plans of one item.
    pub(super) fn of_plans(view: &View, (task, item): (&str, &str), arms: impl IntoIterator<Item = usize>) -> Self {
        let trials: BTreeSet<String> = arms.into_iter().flat_map(|arm| view.arms[arm].trials.clone()).collect();
        let filter = json!({ "task": task, "item_id": item, "trial_id": trials });
        Self {
            frame: "plans.parquet".to_owned(),
            rows: filter.as_object().cloned().into_iter().collect(),
            trials,
            probes: BTreeSet::new(),
        }
    }

    /// The rows of a probe.
    pub(super) fn of_probe<'a>(name: &str, sets: impl IntoIterator<Item = &'a ProbeSet>) -> Self {
        let mut query = Self { frame: format!("probe_{name}.parquet"), ..Self::default() };
        for set in sets {
            let record = &set.record;
            query.probes.insert(record.probe_id.clone());
            query.trials.extend(record.trial.iter().map(|trial| trial.trial_id.clone()));
        }
        query.rows.extend(json!({ "probe_id": query.probes }).as_object().cloned());
        query
    }

    /// Comparisons of a claim by their filter, with the trials and probes behind them.
    pub(super) fn of_claim(
        filter: &Value,
        trials: impl Iterator<Item = String>,
        probes: impl Iterator<Item = String>,
    ) -> Self {
        let rows = filter.as_object().cloned().into_iter().collect();
        Self { frame: "claims.parquet".to_owned(), rows, trials: trials.collect(), probes: probes.collect() }
    }

    /// The arms of a bridge, with the trials behind them.
    pub(super) fn of_bridge(name: &str, trials: impl Iterator<Item = String>) -> Self {
        let rows = json!({ "bridge": name }).as_object().cloned().into_iter().collect();
        Self { frame: "bridges.parquet".to_owned(), rows, trials: trials.collect(), probes: BTreeSet::new() }
    }

    /// The file beside a figure.
    pub(super) fn json(&self, figure: &str) -> String {
        let content = json!({
            "figure": figure,
            "frame": self.frame,
            "rows": self.rows,
            "trial_ids": self.trials,
            "probe_ids": self.probes,
        });
        serde_json::to_string_pretty(&content).unwrap_or_else(|_| unreachable!("it holds text alone")) + "\n"
    }
}

//! The names of rules: the strategy with whatever tells it from its siblings of the same experiment. Figures, tables and frames say the same.

use std::collections::{BTreeMap, BTreeSet};

use records::schema::{TrialKey, options_as_text};

use super::study::Study;

/// Names of all rules of an experiment.
pub struct Labels {
    /// Rules of each strategy, in order of appearance.
    variants: BTreeMap<String, Vec<TrialKey>>,
    schedules: usize,
}

impl Labels {
    /// From the finished trials of a study; its baseline is called by its name alone.
    pub fn of(study: &Study) -> Self {
        let mut variants: BTreeMap<String, Vec<TrialKey>> = BTreeMap::new();
        let mut schedules = BTreeSet::new();
        let (mut seen, mut rules) = (BTreeSet::new(), BTreeSet::new());
        let trials = study.cells.iter().filter(|cell| cell.is_done()).map(|cell| &cell.record.trial);
        for trial in trials.filter(|trial| trial.strategy != study.plan.baseline) {
            if !seen.insert(&trial.trial_id) {
                continue;
            }
            if rules.insert(rule(trial)) {
                variants.entry(trial.strategy.clone()).or_default().push(trial.clone());
            }
            if trial.sites.len() != 1 {
                schedules.insert(trial.schedule.clone());
            }
        }
        Self { variants, schedules: schedules.len() }
    }

    /// The strategy with whatever tells it from its siblings.
    pub fn label(&self, trial: &TrialKey) -> String {
        let siblings = self.siblings(&trial.strategy);
        let differs = |of: &dyn Fn(&TrialKey) -> Option<String>| siblings.iter().any(|other| of(other) != of(trial));
        let mut parts = Vec::new();
        if trial.strategy == "top_k" || differs(&|t| t.importance.clone()) {
            parts.extend(trial.importance.clone());
        }
        if differs(&|t| t.importance_source.clone()) {
            parts.extend(trial.importance_source.clone().map(|source| format!("of {source}")));
        }
        // The importance and its source are named above. Where signals come from is one choice for all rules of an experiment: a rule has
        // one name in all models, whether a layer lacks what it reads or not.
        let known = ["importance", "source", "signal_from"];
        let further = options(trial).into_iter().filter(|(name, _)| !known.contains(&name.as_str()));
        for (name, value) in further {
            if differs(&|t| options(t).get(&name).cloned()) {
                parts.push(format!("{name}={value}"));
            }
        }
        if self.schedules > 1 && trial.sites.len() != 1 {
            parts.push(trial.schedule.clone());
        }
        if parts.is_empty() { trial.strategy.clone() } else { format!("{} ({})", trial.strategy, parts.join(", ")) }
    }

    /// The labels of all trials of a study, by id.
    pub(crate) fn by_trial<'a>(&self, study: &'a Study) -> BTreeMap<&'a str, String> {
        let mut labels = BTreeMap::new();
        // Many trials are of one rule.
        let mut known: BTreeMap<(String, &str, bool), String> = BTreeMap::new();
        for trial in study.cells.iter().map(|cell| &cell.record.trial) {
            if !labels.contains_key(trial.trial_id.as_str()) {
                let key = (rule(trial), trial.schedule.as_str(), trial.sites.len() == 1);
                let label = known.entry(key).or_insert_with(|| self.label(trial));
                labels.insert(trial.trial_id.as_str(), label.clone());
            }
        }
        labels
    }

    /// Rules of a strategy, in order of appearance.
    pub fn siblings(&self, strategy: &str) -> &[TrialKey] {
        self.variants.get(strategy).map_or(&[], Vec::as_slice)
    }

    /// Names of the strategies, in alphabetical order.
    pub fn strategies(&self) -> impl Iterator<Item = &str> {
        self.variants.keys().map(String::as_str)
    }
}

/// What makes two trials the same rule, whatever they reduce and where.
pub fn rule(trial: &TrialKey) -> String {
    format!("{:?}", (&trial.strategy, &trial.importance, &trial.importance_source, options(trial)))
}

/// Options of a strategy, without a seed.
fn options(trial: &TrialKey) -> BTreeMap<String, String> {
    let mut options = options_as_text(&trial.strategy_params);
    options.remove("seed");
    options
}

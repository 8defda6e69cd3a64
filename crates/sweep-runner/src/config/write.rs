//! A valid experiment back to YAML: every default filled in, every override applied.
//!
//! The text is read by the same parser and means the same plan. Comments and anchors of the original are gone, option
//! lists are multiplied out, and lines are others. Values are written as JSON, which is YAML.

use std::fmt::Write as _;

use evaluation::SignalFrom;
use evaluation::probes::Key;
use evaluation::tasks::{Cut, TaskRef};
use reduction_strategies::options::OptionValue;
use reduction_strategies::schedule::{AfterKind, Sites};
use serde::Serialize;

use super::bridge::Bridge;
use super::catalog::ModelFacts;
use super::claim::{Claim, Comparison, Entry, RowComparison};
use super::experiment::{Amount, Experiment, ProbeVariant, Schedule, SiteAxis, Variant};
use super::selector::{Condition, Selector};

/// The experiment as a file.
pub(super) fn to_yaml(experiment: &Experiment) -> String {
    let mut yaml = Yaml::default();
    yaml.key("name", &experiment.name);
    yaml.optional("question", experiment.question.as_ref());
    yaml.optional("expect", experiment.expect.as_ref());
    if let Some(claim) = &experiment.claim {
        yaml.claim(claim);
    }
    for (index, bridge) in experiment.bridges.iter().enumerate() {
        yaml.bridge(index == 0, bridge);
    }
    yaml.models(&experiment.models);
    yaml.list("tasks", experiment.tasks.iter().map(|task| entry(&task.reference)));
    yaml.optional("primary", Some(&experiment.primary).filter(|primary| !primary.is_empty()));
    yaml.key("protocols", &experiment.protocols);
    // Entries that overlap multiply out to equal variants, which one list may not hold twice.
    let mut strategies: Vec<String> = Vec::new();
    for entry in experiment.strategies.iter().map(strategy) {
        if !strategies.contains(&entry) {
            strategies.push(entry);
        }
    }
    yaml.list("strategies", strategies);
    yaml.list("probes", experiment.probes.iter().map(probe));
    yaml.key("positions", &experiment.positions.iter().map(|positions| positions.name()).collect::<Vec<_>>());
    let signal_from = Some(experiment.signal_from).filter(|signal_from| *signal_from != SignalFrom::default());
    yaml.optional("signal_from", signal_from.map(SignalFrom::name).as_ref());
    yaml.list("schedule", experiment.schedules.iter().map(schedule));
    yaml.list("exclude", experiment.exclude.iter().map(selector));
    yaml.list("zip", experiment.zip.iter().map(selector));
    yaml.optional("sample", experiment.sample.as_ref());
    yaml.key("split", &experiment.split);
    yaml.optional("limit", experiment.limit.as_ref());
    yaml.raw("record_plans", &experiment.record_plans.written());
    yaml.key("fewshot", &experiment.prompting.fewshot);
    yaml.key("fewshot_seed", &experiment.prompting.fewshot_seed);
    yaml.key("max_length", &experiment.prompting.max_length);
    if !experiment.strategies.is_empty() {
        yaml.key("baseline", &experiment.baseline);
    }
    yaml.key("seed", &experiment.seed);
    yaml.key("upstream_batch_size", &experiment.upstream_batch_size);
    yaml.0
}

/// An entry of `tasks`.
fn entry(task: &TaskRef) -> String {
    let source = json(&task.source);
    match task.cut {
        None => source,
        Some(Cut { context, start, continuation }) => {
            format!("{{ {source}: {{ context: {context}, start: {start}, continuation: {continuation} }} }}")
        }
    }
}

#[derive(Default)]
struct Yaml(String);

impl Yaml {
    fn key<T: Serialize>(&mut self, key: &str, value: &T) {
        self.raw(key, &json(value));
    }

    fn raw(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.0, "{key}: {value}");
    }

    fn optional<T: Serialize>(&mut self, key: &str, value: Option<&T>) {
        if let Some(value) = value {
            self.key(key, value);
        }
    }

    fn claim(&mut self, claim: &Claim) {
        let _ = writeln!(self.0, "claim:\n  expect: {}", json(&claim.expect));
        let words = [
            ("estimand", &claim.estimand),
            ("population", &claim.population),
            ("margin_reason", &claim.margin_reason),
            ("seen", &claim.seen),
        ];
        for (key, text) in words {
            if let Some(text) = text {
                let _ = writeln!(self.0, "  {key}: {}", json(text));
            }
        }
        let _ = writeln!(self.0, "  status: {}\n  decide:", claim.status.name());
        for entry in &claim.decide {
            let entry = match entry {
                Entry::Trials(entry) => comparison(entry),
                Entry::Rows(entry) => row_comparison(entry),
            };
            let _ = writeln!(self.0, "    - {entry}");
        }
    }

    fn bridge(&mut self, is_first: bool, bridge: &Bridge) {
        if is_first {
            self.0 += "bridges:\n";
        }
        let _ = writeln!(self.0, "  - name: {}\n    steps:", json(&bridge.name));
        for (index, step) in bridge.steps.iter().enumerate() {
            let key = if index == 0 { "from" } else { "change" };
            let step = map(&[("factor", json(&step.factor)), (key, selector(&step.selector))]);
            let _ = writeln!(self.0, "      - {step}");
        }
    }

    fn models(&mut self, models: &[ModelFacts]) {
        let models: Vec<String> = models.iter().map(model).collect();
        let _ = writeln!(self.0, "models: [{}]", models.join(","));
    }

    /// One line per entry; no key at all where there is none, since an empty list is refused.
    fn list(&mut self, key: &str, entries: impl IntoIterator<Item = String>) {
        for (index, entry) in entries.into_iter().enumerate() {
            if index == 0 {
                let _ = writeln!(self.0, "{key}:");
            }
            let _ = writeln!(self.0, "  - {entry}");
        }
    }
}

fn comparison(comparison: &Comparison) -> String {
    let name = comparison.name.iter().map(|name| ("name", json(name)));
    let rest = [
        ("lower", selector(&comparison.lower)),
        ("higher", selector(&comparison.higher)),
        ("quantity", comparison.quantity.name().to_owned()),
        ("margin", json(&comparison.margin)),
    ];
    map(&name.chain(rest).collect::<Vec<_>>())
}

fn row_comparison(comparison: &RowComparison) -> String {
    let columns = |columns: &[(String, Key)]| {
        map(&columns.iter().map(|(column, key)| (column.as_str(), row_key(key))).collect::<Vec<_>>())
    };
    let list = |keys: &[Key]| format!("[{}]", keys.iter().map(row_key).collect::<Vec<_>>().join(", "));
    let rows: Vec<_> = comparison.rows.iter().map(|(column, keys)| (column.as_str(), list(keys))).collect();
    let name = comparison.name.iter().map(|name| ("name", json(name)));
    let rows = (!rows.is_empty()).then(|| ("rows", map(&rows)));
    let rest = [
        ("lower", columns(&comparison.lower)),
        ("higher", columns(&comparison.higher)),
        ("margin", json(&comparison.margin)),
    ];
    let what = [("probe", comparison.probe.name.to_owned()), ("measure", comparison.measure.name.to_owned())];
    map(&name.chain(what).chain(rows).chain(rest).collect::<Vec<_>>())
}

/// `none` is the key of a row that has nothing in a column.
fn row_key(key: &Key) -> String {
    if *key == Key::None { "none".to_owned() } else { json(key) }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| unreachable!("names, numbers and lists of them are JSON"))
}

/// `{ key: value, .. }`
fn map(entries: &[(&str, String)]) -> String {
    let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    format!("{{ {} }}", entries.join(", "))
}

/// An entry of `models`.
fn model(model: &ModelFacts) -> String {
    match &model.tokenizer {
        None => json(&model.reference),
        Some(tokenizer) => map(&[("path", json(&model.reference)), ("tokenizer", json(tokenizer))]),
    }
}

fn strategy(variant: &Variant) -> String {
    let mut options: Vec<(&str, String)> =
        variant.strategy.options.iter().map(|(name, value)| (name, json(value))).collect();
    if !variant.seeds.is_empty() {
        options.push(("seeds", json(&variant.seeds)));
    }
    let name = variant.strategy.registration.name;
    if options.is_empty() { name.to_owned() } else { format!("{name}: {}", map(&options)) }
}

fn probe(variant: &ProbeVariant) -> String {
    let options: Vec<(&str, String)> = variant.options.iter().map(|(name, value)| (name, json(value))).collect();
    format!("{}: {}", variant.probe.name, map(&options))
}

fn schedule(schedule: &Schedule) -> String {
    let sites = match &schedule.sites {
        SiteAxis::One(Sites::Paper) => "paper".to_owned(),
        SiteAxis::One(Sites::Explicit(layers)) => json(layers),
        SiteAxis::One(Sites::Every { start, every, count }) => {
            map(&[("start", json(start)), ("every", json(every)), ("count", json(count))])
        }
        SiteAxis::One(Sites::After(after)) => after_kind(after),
        SiteAxis::SingleAfter(after) => map(&[("single", after_kind(after))]),
        SiteAxis::Single(layers) => map(&[("single", json(layers))]),
        SiteAxis::SingleAll => map(&[("single", "all".to_owned())]),
    };
    let amounts = |of: fn(&Amount) -> Option<f64>| schedule.amounts.iter().filter_map(of).collect::<Vec<_>>();
    let flops = amounts(|amount| if let Amount::FlopsReduction(value) = amount { Some(*value) } else { None });
    let achieved = amounts(|amount| if let Amount::AchievedReduction(value) = amount { Some(*value) } else { None });
    let kept = amounts(|amount| if let Amount::KeepRatio(value) = amount { Some(*value) } else { None });
    let calibrated = amounts(|amount| if let Amount::Calibrated(value) = amount { Some(*value) } else { None });
    // A block has one kind of amounts, or none.
    let values = [
        ("flops_reduction", flops, false),
        ("flops_reduction", achieved, true),
        ("keep_ratio", kept, false),
        ("calibrate", calibrated, true),
    ];
    let mut entries = vec![("sites", sites)];
    for (key, values, achieved) in values.into_iter().filter(|(_, values, _)| !values.is_empty()) {
        entries.push((key, if achieved { map(&[("achieved", json(&values))]) } else { json(&values) }));
    }
    map(&entries)
}

/// Layers of a kind as sites.
fn after_kind(after: &AfterKind) -> String {
    let mut entries = vec![("after", after.kind.to_string())];
    entries.extend((after.start > 0).then(|| ("start", json(&after.start))));
    entries.extend((after.every > 1).then(|| ("every", json(&after.every))));
    entries.extend(after.count.map(|count| ("count", json(&count))));
    map(&entries)
}

fn selector(selector: &Selector) -> String {
    let mut entries: Vec<(&str, String)> = selector.conditions.iter().map(condition).collect();
    if let Some(reason) = &selector.reason {
        entries.push(("reason", json(reason)));
    }
    map(&entries)
}

fn condition(condition: &Condition) -> (&str, String) {
    match condition {
        Condition::Model(values) => ("model", json(values)),
        Condition::Task(values) => ("task", json(values)),
        Condition::Protocol(values) => ("protocol", json(values)),
        Condition::Strategy(values) => ("strategy", json(values)),
        Condition::Positions(values) => {
            ("positions", json(&values.iter().map(|value| value.name()).collect::<Vec<_>>()))
        }
        Condition::Option(name, values) => (name, json::<Vec<OptionValue>>(values)),
        Condition::FlopsReduction(values) => ("flops_reduction", json(values)),
        Condition::AchievedReduction(values) => ("flops_reduction", map(&[("achieved", json(values))])),
        Condition::KeepRatio(values) => ("keep_ratio", json(values)),
        Condition::Seed(values) => ("seed", json(values)),
        Condition::NamedSites(Sites::After(after)) => ("sites", after_kind(after)),
        Condition::NamedSites(sites) => ("sites", sites.to_string()),
        Condition::Sites(sites) => ("sites", json(sites)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::config::fake::{CATALOG, edited};
    use crate::config::{Entry, Experiment, load, load_str};
    use crate::plan::{Setting, build};

    /// Everything that a plan says, but for the lines to which exclusions refer and for duplicates, which the resolved text
    /// no longer has.
    fn meaning(experiment: &Experiment) -> String {
        let mut experiment = experiment.clone();
        let sides = experiment.claim.iter_mut().flat_map(|claim| &mut claim.decide);
        let claimed = sides.flat_map(|entry| match entry {
            Entry::Trials(comparison) => vec![&mut comparison.lower, &mut comparison.higher],
            Entry::Rows(_) => Vec::new(),
        });
        let steps = experiment.bridges.iter_mut().flat_map(|bridge| &mut bridge.steps);
        let bridged = steps.map(|step| &mut step.selector);
        for selector in experiment.exclude.iter_mut().chain(&mut experiment.zip).chain(claimed).chain(bridged) {
            selector.line = 0;
        }
        let mut plan = build(&experiment, &Setting::default(), &CATALOG).unwrap();
        plan.duplicates = 0;
        serde_json::to_string_pretty(&plan).unwrap()
    }

    fn assert_round_trip(experiment: &Experiment) {
        let text = experiment.to_yaml();
        let again =
            load_str("again.yaml", &text, &CATALOG).unwrap_or_else(|error| panic!("{}\n{text}", error.render()));
        assert_eq!(meaning(&again), meaning(experiment), "{text}");
        assert_eq!(again.expect, experiment.expect);
        assert_eq!(again.to_yaml(), text, "what is resolved is its own resolution");
    }

    #[test]
    fn every_committed_experiment_round_trips() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
        let mut files = 0;
        let entries = ["", "claims"].map(|below| std::fs::read_dir(folder.join(below)).unwrap());
        for entry in entries.into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                assert_round_trip(&load(&path, &CATALOG).unwrap_or_else(|error| panic!("{}", error.render())));
                files += 1;
            }
        }
        assert!(files >= 3);
    }

    #[test]
    fn every_key_round_trips() {
        assert_round_trip(&load_str("x.yaml", &edited(""), &CATALOG).unwrap());
        let all = edited(
            "question: \"Does `a: b` # or \\\"c\\\"\\nand é survive?\"\nexpect: yes\n\
             models: [{ path: builtin:mamba2-world, tokenizer: EleutherAI/gpt-neox-20b }, builtin:mamba-world]\ntasks: [world_lambada, world_piqa]\n\
             protocols: [context, aligned, upstream]\n\
             strategies: [dense, { random: { seeds: [0, 1] } }, { top_k: { importance: [clip, dt_mean] } }, \
             { top_k: { importance: clip } }, { utrc: { q: [0, 0.25, 1] } }, { top_p: { p: 0.8 } }, uniform]\n\
             schedule: [{ sites: paper, flops_reduction: [0.1, 0.2] }, { sites: [3, 5], keep_ratio: 0.9 }, \
             { sites: { start: 2, every: 3, count: 2 }, keep_ratio: 0.5 }, { sites: { single: [4] }, keep_ratio: 0.7 }, \
             { sites: { single: all }, keep_ratio: 0.6 }, { sites: { after: mamba }, keep_ratio: 0.8 }, \
             { sites: { after: mamba, start: 2, every: 3, count: 2 }, keep_ratio: 0.8 }, { sites: { single: { after: mamba, start: 10 } }, keep_ratio: 0.4 }, \
             { sites: paper, flops_reduction: { achieved: [0.1, 0.15] } }, \
             { sites: paper }, { sites: [6, 9], calibrate: { achieved: [0.1, 0.15] } }]\n\
             exclude: [{ strategy: utrc, q: 0.25, flops_reduction: 0.1, reason: 'too: slow' }, { sites: [3, 5], model: builtin:mamba-world }, \
             { keep_ratio: 0.9, task: world_piqa }, { flops_reduction: { achieved: 0.15 }, task: world_piqa }, { protocol: [upstream], seed: 1 }, { sites: paper, strategy: uniform }, { sites: { after: mamba, start: 2, every: 3, count: 2 }, strategy: uniform }]\n\
             zip: [{ model: builtin:mamba2-world }, { model: builtin:mamba-world, flops_reduction: 0.2 }]\n\
             claim: { expect: 'a: \"b\"', estimand: e, population: p, margin_reason: m, seen: 'all of it', status: confirmatory, decide: [{ lower: { strategy: top_k, importance: clip }, \
             higher: { strategy: utrc, q: [0, 1] }, margin: -1.5, quantity: accuracy_lost }, { name: one, lower: { strategy: random }, \
             higher: { strategy: dense }, margin: 2 }] }\n\
             sample: { count: 200, seed: 3 }\nsplit: held_out\nlimit: 7\nrecord_plans: lost\nfewshot: 3\nfewshot_seed: 9\nmax_length: 512\nbaseline: dense\nseed: 5\nupstream_batch_size: 8",
        );
        assert_round_trip(&load_str("x.yaml", &all, &CATALOG).unwrap_or_else(|error| panic!("{}", error.render())));
        // No sample, which could draw every arm but one.
        let bridges = edited(
            "protocols: [context, upstream]\nstrategies: [dense, { top_k: { importance: [clip, dt_mean] } }]\n\
             bridges: [{ name: a, steps: [{ factor: 'first: \"b\"', from: { strategy: top_k, importance: clip, protocol: context, \
             sites: paper, flops_reduction: 0.2 } }, { factor: metric, change: { importance: dt_mean } }, \
             { factor: scoring, change: { protocol: upstream } }] }]",
        );
        assert_round_trip(&load_str("x.yaml", &bridges, &CATALOG).unwrap_or_else(|error| panic!("{}", error.render())));
    }

    #[test]
    fn an_override_is_part_of_the_text_and_named() {
        let mut experiment = load_str("x.yaml", &edited("limit: 50"), &CATALOG).unwrap();
        experiment.override_limit(4);
        assert!(experiment.to_yaml().contains("\nlimit: 4\n"));
        assert_eq!(serde_json::to_string(&experiment.overrides).unwrap(), r#"[{"key":"limit","file":50,"used":4}]"#);
        assert_eq!(load_str("x.yaml", &experiment.to_yaml(), &CATALOG).unwrap().limit, Some(4));
    }
}

//! The format of experiment files as a JSON Schema (draft 7), by which editors complete and check them.
//!
//! Files are read by hand (`parse`, `wire`), so that a refusal has its place; there are no types from which a schema could be derived. This
//! one is built from the same tables that the readers use: keys, strategies and probes with their options, tasks, models, protocols. It says
//! less than the program: whether a task or a folder exists, whether sites are inside a model, what selectors select.

use evaluation::probes;
use evaluation::tasks::{SPLITS, benchmarks, books_tasks, builtin_tasks};
use evaluation::{POSITIONS, SIGNAL_FROM, protocol};
use records::claim::{QUANTITIES, STATUSES};
use records::schema::FIRST_PLANS;
use reduction_strategies::options::{OptionInfo, OptionKind, OptionValue};
use reduction_strategies::registry;
use serde_json::{Map, Value, json};
use ssm_model::{LayerKind, catalog, shipped};

/// The schema, indented, with a line break at its end.
///
/// # Errors
/// Never in practice: it holds nothing that JSON cannot say.
pub fn json_schema() -> serde_json::Result<String> {
    Ok(serde_json::to_string_pretty(&schema())? + "\n")
}

fn schema() -> Value {
    let mut properties = Map::new();
    for (key, help, value) in keys() {
        properties.insert(key.to_owned(), described(value, help));
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Experiment of ssm-reduce",
        "description": "docs/experiment-format.md describes every key",
        "type": "object",
        "properties": properties,
        "required": ["name", "models", "tasks"],
        "anyOf": [{ "required": ["strategies"] }, { "required": ["probes"] }],
        "additionalProperties": false,
        "definitions": {
            "sites": sites(),
            "after": after(),
            "block": block(),
            "shares": one_or_more(&share()),
            "achieved": map(&[("achieved", json!({ "$ref": "#/definitions/shares" }))], &["achieved"]),
            "selector": selector(&[]),
        },
    })
}

/// Every key with its help and what it takes.
fn keys() -> Vec<(&'static str, &'static str, Value)> {
    let strategies: Vec<Value> = registry::all().into_iter().map(|own| json!(own.name)).collect();
    let excluded = selector(&[("reason", text())]);
    vec![
        (
            "name",
            "Name of the experiment and of its results folder",
            json!({ "type": "string", "pattern": "^[a-z0-9_-]+$" }),
        ),
        ("question", "What the experiment asks; heads the report", text()),
        ("expect", "What its author expects, recorded beforehand", text()),
        ("claim", "A claim, and the comparisons that decide it", claim()),
        ("bridges", "Arms to compare one after the other, each with the one before it", bridges()),
        ("models", "Models, as references or with a tokenizer", list(&model())),
        ("tasks", "What is scored: known tasks, files of items, folders of files", list(&task())),
        ("protocols", "How scores are read from shortened sequences (default [context])", list(&protocols())),
        ("strategies", "What is compared; `sweep strategies` lists all", list(&strategy())),
        ("probes", "Looks into the models; `sweep probes` lists all", list(&probe())),
        (
            "positions",
            "Positions of the kept tokens, for models that read them",
            one_or_more(&words(POSITIONS.map(|(name, _)| name))),
        ),
        (
            "signal_from",
            "Which layer of a hybrid shows a rule what it reads at a site",
            words(SIGNAL_FROM.map(|(name, _)| name)),
        ),
        ("schedule", "Where and how much is reduced", one_or_more(&json!({ "$ref": "#/definitions/block" }))),
        ("exclude", "Cells to exclude: those that match all keys of one map", list(&excluded)),
        ("zip", "Keep only these combinations", list(&json!({ "$ref": "#/definitions/selector" }))),
        ("sample", "Run a random part of the grid", map(&[("count", whole(1)), ("seed", whole(0))], &["count"])),
        ("split", "Which half of the items of each task may be seen", words(SPLITS.map(|(name, _)| name))),
        ("limit", "Largest number of items per task, counted after `split`", whole(1)),
        (
            "record_plans",
            "Items of each cell whose plans are recorded (default 20)",
            one_of([whole(FIRST_PLANS as u64), words(["all", "lost"])]),
        ),
        ("fewshot", "Solved examples before each question of a benchmark", whole(0)),
        ("fewshot_seed", "Seed of the draw of examples (default 1234)", whole(0)),
        ("max_length", "Most tokens of a benchmark that a model reads at once (default 2048)", whole(1)),
        (
            "baseline",
            "What every strategy is compared to (default dense); must be among `strategies`",
            json!({ "enum": strategies }),
        ),
        (
            "primary",
            "The metric by which tables and figures show the tasks, or a map from tasks to metrics",
            one_of([text(), json!({ "type": "object", "additionalProperties": text() })]),
        ),
        ("seed", "Seed of everything without a seed of its own (default 0)", whole(0)),
        ("upstream_batch_size", "Rows per batch under `upstream` (default 96)", whole(1)),
    ]
}

fn described(mut schema: Value, help: &str) -> Value {
    schema["description"] = json!(help);
    schema
}

fn text() -> Value {
    json!({ "type": "string", "pattern": "\\S" })
}

fn whole(min: u64) -> Value {
    json!({ "type": "integer", "minimum": min })
}

fn share() -> Value {
    json!({ "type": "number", "minimum": 0, "exclusiveMaximum": 1 })
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    json!({ "enum": words.into_iter().collect::<Vec<_>>() })
}

/// Text of which some values are known: editors offer them.
fn known_or_text<'a>(known: impl IntoIterator<Item = &'a str>) -> Value {
    json!({ "anyOf": [words(known), text()] })
}

fn one_of(forms: impl IntoIterator<Item = Value>) -> Value {
    json!({ "oneOf": forms.into_iter().collect::<Vec<_>>() })
}

fn list(of: &Value) -> Value {
    json!({ "type": "array", "minItems": 1, "items": of })
}

/// A value, or a list of such values.
fn one_or_more(of: &Value) -> Value {
    one_of([of.clone(), list(of)])
}

fn map(entries: &[(&str, Value)], required: &[&str]) -> Value {
    let properties: Map<String, Value> =
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn protocols() -> Value {
    let known = protocol::all().iter().map(|own| json!({ "const": own.name, "description": own.help }));
    one_of(known)
}

fn model() -> Value {
    let builtins = catalog::builtins().iter().map(|model| model.name);
    let builtins =
        builtins.chain(shipped::shipped().iter().map(|model| model.name)).map(|name| format!("builtin:{name}"));
    let published = catalog::published().iter();
    let published =
        published.flat_map(|model| [format!("hub:{}", model.name), format!("random:{}", model.short_name())]);
    let known: Vec<String> = builtins.chain(published).collect();
    let reference = known_or_text(known.iter().map(String::as_str));
    one_of([reference.clone(), map(&[("path", reference), ("tokenizer", text())], &["path"])])
}

fn task() -> Value {
    let own = builtin_tasks().iter().chain(books_tasks()).map(|task| task.name);
    let known = known_or_text(own.chain(benchmarks().iter().map(|task| task.name)));
    let options =
        map(&[("context", one_or_more(&whole(1))), ("start", whole(1)), ("continuation", whole(1))], &["context"]);
    let with_options =
        json!({ "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": options });
    one_of([known, with_options])
}

fn strategy() -> Value {
    let entries = registry::all().into_iter().map(|own| (own.name, own.summary, own.options, own.seeded));
    named_with_options(entries.collect())
}

fn probe() -> Value {
    named_with_options(probes::all().iter().map(|own| (own.name, own.question, own.options, false)).collect())
}

/// A name, or a map of one name to its options.
fn named_with_options(entries: Vec<(&'static str, &'static str, &'static [OptionInfo], bool)>) -> Value {
    let names: Vec<Value> =
        entries.iter().map(|(name, help, ..)| json!({ "const": name, "description": help })).collect();
    let mut properties = Map::new();
    for (name, help, options, seeded) in entries {
        let mut own: Vec<(&str, Value)> = options.iter().map(|info| (info.name, option(info))).collect();
        if seeded {
            own.push(("seeds", described(list(&whole(0)), "Seeds to run it with, one trial each")));
        }
        let mut options = map(&own, &[]);
        // `- top_k:` without options is read too.
        options["type"] = json!(["object", "null"]);
        properties.insert(name.to_owned(), described(options, help));
    }
    let with_options = json!({
        "type": "object", "properties": properties, "minProperties": 1, "maxProperties": 1, "additionalProperties": false
    });
    one_of(names.into_iter().chain([with_options]))
}

fn option(info: &OptionInfo) -> Value {
    let value = match info.kind {
        OptionKind::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        OptionKind::Number { min, max } => {
            let mut number = json!({ "type": "number" });
            // JSON has no infinite numbers.
            for (key, bound) in [("minimum", min), ("maximum", max)].into_iter().filter(|(_, bound)| bound.is_finite())
            {
                number[key] = json!(bound);
            }
            number
        }
        OptionKind::Choice(choices) => words(choices.iter().copied()),
    };
    let mut axis = described(one_or_more(&value), info.help);
    axis["default"] = json!(OptionValue::from(info.default));
    axis
}

fn after() -> Value {
    let kind = words(LayerKind::ALL.map(LayerKind::name));
    map(&[("after", kind), ("start", whole(0)), ("every", whole(1)), ("count", whole(1))], &["after"])
}

fn sites() -> Value {
    let layers = list(&whole(0));
    let after = json!({ "$ref": "#/definitions/after" });
    let every = map(&[("start", whole(0)), ("every", whole(1)), ("count", whole(1))], &["start", "every", "count"]);
    let single = one_of([words(["all"]), layers.clone(), after.clone()]);
    one_of([words(["paper"]), layers, every, after, map(&[("single", single)], &["single"])])
}

fn block() -> Value {
    let achieved = json!({ "$ref": "#/definitions/achieved" });
    let reduction = one_of([json!({ "$ref": "#/definitions/shares" }), achieved.clone()]);
    let ratio = one_or_more(&json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 }));
    let mut block = map(
        &[
            (
                "sites",
                described(
                    json!({ "allOf": [{ "$ref": "#/definitions/sites" }] }),
                    "Layers after which tokens are reduced",
                ),
            ),
            ("flops_reduction", described(reduction, "Share of block FLOPs saved: nominal, or { achieved: .. }")),
            ("keep_ratio", described(ratio, "Share of arriving tokens kept at each site")),
            (
                "calibrate",
                described(
                    json!({ "allOf": [achieved] }),
                    "For rules of free count: the share that a threshold is to achieve",
                ),
            ),
        ],
        &["sites"],
    );
    let pairs = [["flops_reduction", "keep_ratio"], ["flops_reduction", "calibrate"], ["keep_ratio", "calibrate"]];
    block["not"] = json!({ "anyOf": pairs.map(|pair| json!({ "required": pair })) });
    block
}

/// A map of conditions; an option of any strategy is one.
fn selector(more: &[(&str, Value)]) -> Value {
    let any_text = one_or_more(&text());
    let number = one_or_more(&json!({ "type": "number" }));
    let reduction = one_of([number.clone(), json!({ "$ref": "#/definitions/achieved" })]);
    let sites = one_of([words(["paper"]), whole(0), list(&whole(0)), json!({ "$ref": "#/definitions/after" })]);
    let mut conditions = vec![
        ("model", any_text.clone()),
        ("task", any_text.clone()),
        ("protocol", one_or_more(&words(protocol::all().iter().map(|own| own.name)))),
        ("strategy", one_or_more(&words(registry::all().into_iter().map(|own| own.name)))),
        ("positions", one_or_more(&words(POSITIONS.map(|(name, _)| name)))),
        ("flops_reduction", reduction),
        ("keep_ratio", number),
        ("seed", one_or_more(&whole(0))),
        ("sites", sites),
    ];
    let option = one_or_more(&json!({ "type": ["number", "string", "boolean"] }));
    let names = registry::all().into_iter().flat_map(|own| own.options).map(|info| info.name);
    let names: std::collections::BTreeSet<&str> = names.collect();
    conditions.extend(names.into_iter().map(|name| (name, option.clone())));
    conditions.extend(more.iter().cloned());
    let mut selector = map(&conditions, &[]);
    selector["minProperties"] = json!(1);
    selector
}

fn bridges() -> Value {
    let selector = json!({ "$ref": "#/definitions/selector" });
    let factor = described(text(), "What the step changes, in words; what the first arm is");
    let first = map(&[("factor", factor.clone()), ("from", selector.clone())], &["factor", "from"]);
    let step = map(&[("factor", factor), ("change", selector)], &["factor", "change"]);
    let name = json!({ "type": "string", "pattern": "^[a-z0-9_-]+$" });
    list(&map(&[("name", name), ("steps", list(&one_of([first, step])))], &["name", "steps"]))
}

fn claim() -> Value {
    let side = json!({ "$ref": "#/definitions/selector" });
    let margin = json!({ "type": "number", "minimum": -100, "maximum": 100 });
    let quantities = QUANTITIES[..6].iter().map(|(word, _)| *word);
    let trials = map(
        &[
            ("name", text()),
            ("lower", side.clone()),
            ("higher", side),
            ("quantity", words(quantities)),
            ("margin", margin.clone()),
        ],
        &["lower", "higher", "margin"],
    );
    let row =
        json!({ "type": "object", "additionalProperties": one_or_more(&json!({ "type": ["number", "string"] })) });
    let rows = map(
        &[
            ("name", text()),
            ("probe", words(probes::all().iter().map(|own| own.name))),
            ("measure", text()),
            ("rows", row.clone()),
            ("lower", row.clone()),
            ("higher", row),
            ("margin", margin),
        ],
        &["probe", "measure", "lower", "higher", "margin"],
    );
    map(
        &[
            ("expect", described(text(), "What is claimed, in words")),
            ("seen", described(text(), "What of the data was known when the comparisons were fixed")),
            ("estimand", described(text(), "The quantity that is estimated")),
            ("population", described(text(), "What the estimate is meant to hold for")),
            ("margin_reason", described(text(), "Why the margins are what they are")),
            (
                "status",
                described(
                    words(STATUSES.map(|(word, _)| word)),
                    "Whether comparisons and margins were fixed before the data were looked at (default exploratory)",
                ),
            ),
            ("decide", described(list(&one_of([trials, rows])), "The comparisons that decide")),
        ],
        &["expect", "decide"],
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::config::wire::KEYS;

    fn experiments() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../experiments")
    }

    #[test]
    fn the_committed_schema_is_the_programs() {
        let committed = fs::read_to_string(experiments().join("schema.json")).unwrap_or_default();
        assert!(committed == json_schema().unwrap(), "write it again: sweep schema > experiments/schema.json");
    }

    #[test]
    fn every_key_of_the_reader_is_described_and_no_other() {
        let described: Vec<&str> = keys().into_iter().map(|(key, ..)| key).collect();
        assert_eq!(described, KEYS);
    }

    #[test]
    fn every_shipped_experiment_names_the_schema() {
        for (folder, schema) in [("", "schema.json"), ("claims", "../schema.json"), ("fresh", "../schema.json")] {
            for entry in fs::read_dir(experiments().join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if path.extension() == Some(Path::new("x.yaml").extension().unwrap()) {
                    let text = fs::read_to_string(&path).unwrap();
                    let first = text.lines().next().unwrap();
                    assert_eq!(first, format!("# yaml-language-server: $schema={schema}"), "{}", path.display());
                }
            }
        }
    }
}

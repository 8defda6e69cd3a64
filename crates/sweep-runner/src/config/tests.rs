use std::fmt::Write as _;
use std::path::PathBuf;

use evaluation::protocol::CONTEXT;
use hint::Hint;

use super::fake::{CATALOG, edited};
use super::{Amount, RecordPlans, SiteAxis, load, load_str};

/// A snapshot without the long expression in its header.
macro_rules! snapshot {
    ($value:expr) => {
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!($value) })
    };
}

/// What the file `bad.yaml` is told, case by case.
fn refusals(cases: &[(&str, String)]) -> String {
    let mut out = String::new();
    for (name, text) in cases {
        match load_str("bad.yaml", text, &CATALOG) {
            Ok(_) => panic!("{name} was accepted:\n{text}"),
            Err(error) => {
                assert!(error.hint().is_some(), "{name} has no hint: {error}");
                let _ = writeln!(out, "== {name}\n{}", error.render());
            }
        }
    }
    out
}

fn edit(name: &'static str, lines: &str) -> (&'static str, String) {
    (name, edited(lines))
}

#[test]
fn refusals_of_yaml() {
    let bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n\
                c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n\
                e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]\n";
    snapshot!(refusals(&[
        ("empty file", String::new()),
        ("a list", "- dense\n".to_owned()),
        ("unclosed bracket", "name: t\nmodels: [builtin:mamba2-world\ntasks: [world_lambada]\n".to_owned()),
        ("key twice", "name: t\nseed: 1\nseed: 2\n".to_owned()),
        ("tab", "name: t\n\tseed: 1\n".to_owned()),
        ("alias bomb", bomb.to_owned()),
        ("two documents", "name: t\n---\nname: u\n".to_owned()),
        ("NaN", "name: t\nseed: .nan\n".to_owned()),
        ("number too large", "name: t\nseed: 18446744073709551615\n".to_owned()),
    ]));
}

#[test]
fn refusals_of_keys() {
    snapshot!(refusals(&[
        edit("typo at the top", "protcols: [context]"),
        edit("missing key", "tasks:"),
        edit("banned word in schedule", "schedule: { sites: paper, reduce_ratio: 0.9 }"),
        edit("banned word in a strategy", "strategies:\n  - dense\n  - top_k: { reduce_ratio: 0.9 }"),
        edit("typo in schedule", "schedule: { sites: paper, flop_reduction: 0.2 }"),
        edit("unknown option", "strategies:\n  - dense\n  - top_k:\n      imprtance: clip"),
        edit("option of a strategy without any", "strategies: [dense, { uniform: { stride: 2 } }]"),
        edit("second key in a strategy", "strategies:\n  - dense\n  - top_k: {}\n    importance: clip"),
        edit("seeds where nothing is random", "strategies: [dense, { top_k: { seeds: [0, 1] } }]"),
        edit("include", "include: other.yaml"),
    ]));
}

#[test]
fn a_primary_metric_holds_for_every_task_or_for_those_it_names() {
    let primary = |line: &str| load_str("good.yaml", &edited(line), &CATALOG).unwrap().primary;
    assert!(primary("").is_empty());
    assert_eq!(primary("primary: loss"), [("world_lambada".to_owned(), "loss".to_owned())].into());
    let two = "tasks: [world_lambada, { books_long: { context: [16, 32] } }]\nprimary: { books_long: loss }";
    let cut = ["books_long@16", "books_long@32"].map(|name| (name.to_owned(), "loss".to_owned()));
    assert_eq!(primary(two), cut.into(), "both lengths, and no other task");
}

#[test]
fn refusals_of_primary() {
    snapshot!(refusals(&[
        edit("a metric that the task does not report", "primary: los"),
        edit("a task of another experiment", "primary: { world_lambda: loss }"),
        edit("a task's metric", "primary: { world_lambada: perplexity }"),
        edit("a list", "primary: [loss]"),
    ]));
}

#[test]
fn refusals_of_types() {
    snapshot!(refusals(&[
        edit("text for a list", "tasks: world_lambada"),
        edit("number for text", "models: [7]"),
        edit("text for a whole number", "limit: many"),
        edit("negative limit", "limit: -5"),
        edit("percent sign", "schedule: { sites: paper, flops_reduction: 20% }"),
        edit("map for a number", "schedule:\n  sites: paper\n  flops_reduction:\n    from: 0.1\n    to: 0.3"),
        edit("empty list", "schedule: { sites: paper, flops_reduction: [] }"),
        edit("word for sites", "schedule: { sites: papers, flops_reduction: 0.2 }"),
        edit("half of an every", "schedule: { sites: { start: 3, evry: 2 }, flops_reduction: 0.2 }"),
        edit("empty selector", "exclude: [{}]"),
    ]));
}

#[test]
fn refusals_of_names() {
    snapshot!(refusals(&[
        edit("experiment name", "name: My Ablation"),
        edit("strategy", "strategies: [dense, topk]"),
        edit("model", "models: [builtin:mamba2-wrold]"),
        edit("model scheme", "models: [bultin:mamba2-world]"),
        edit("hub model without owner", "models: [hub:mamba2-130m]"),
        edit("task", "tasks: [world_lambda]"),
        edit("protocol", "protocols: [contxt]"),
        edit("baseline not listed", "baseline: uniform"),
        edit("default baseline not listed", "strategies: [top_k]"),
        edit("option value", "strategies: [dense, { top_k: { importance: [clip, dt_men] } }]"),
        edit("option out of range", "strategies: [dense, { utrc: { q: [0.5, 1.5] } }]"),
    ]));
}

#[test]
fn refusals_of_models_with_a_tokenizer() {
    let entry = |name, entry: &str| edit(name, &format!("models: [{entry}]"));
    snapshot!(refusals(&[
        entry("typo in the key", "{ path: builtin:mamba2-world, tokeniser: EleutherAI/gpt-neox-20b }"),
        entry("no path", "{ tokenizer: EleutherAI/gpt-neox-20b }"),
        entry("no such model", "{ path: builtin:mamba2-wrold, tokenizer: EleutherAI/gpt-neox-20b }"),
        entry("no such tokenizer", "{ path: builtin:mamba2-world, tokenizer: EleutherAI/gpt-neox-20 }"),
        entry("number for a tokenizer", "{ path: builtin:mamba2-world, tokenizer: 20 }"),
        entry("empty tokenizer", "{ path: builtin:mamba2-world, tokenizer: '' }"),
        entry("list for a model", "[builtin:mamba2-world]"),
        entry("twice", "builtin:mamba2-world, { path: builtin:mamba2-world, tokenizer: EleutherAI/gpt-neox-20b }"),
    ]));
}

#[test]
fn a_tokenizer_is_named_beside_a_model() {
    let text = edited(
        "models: [{ path: hub:state-spaces/mamba2-130m@main, tokenizer: EleutherAI/gpt-neox-20b }, { path: builtin:mamba-world }]",
    );
    let experiment = load_str("t.yaml", &text, &CATALOG).unwrap_or_else(|error| panic!("{}", error.render()));
    let tokenizers: Vec<_> = experiment.models.iter().map(|model| model.tokenizer.as_deref()).collect();
    assert_eq!(tokenizers, [Some("EleutherAI/gpt-neox-20b"), None]);
    let resolved = experiment.to_yaml();
    assert!(resolved.contains("\nmodels: [{ path: \"hub:state-spaces/mamba2-130m@main\", tokenizer: \"EleutherAI/gpt-neox-20b\" },\"builtin:mamba-world\"]\n"), "{resolved}");
    assert_eq!(load_str("t.yaml", &resolved, &CATALOG).unwrap().to_yaml(), resolved);
    // Random weights use it too, and a reference to the hub in it is no model.
    let random = text.replace("tokenizer: E", "tokenizer: hub:E");
    let error = super::load_random_str("t.yaml", &random, &CATALOG).unwrap_err();
    assert_eq!(error.to_string(), "unknown tokenizer `hub:EleutherAI/gpt-neox-20b`");
    let random = super::load_random_str("t.yaml", &text, &CATALOG).unwrap();
    assert_eq!(random.models[0].reference, "random:mamba2-130m");
    assert_eq!(random.models[0].tokenizer.as_deref(), Some("EleutherAI/gpt-neox-20b"));
}

#[test]
fn refusals_of_positions() {
    let neox = "models: [builtin:neox-world]\npositions";
    snapshot!(refusals(&[
        edit("typo", &format!("{neox}: compactd")),
        edit("another word", &format!("{neox}: [original, relative]")),
        edit("a number", &format!("{neox}: 3")),
        edit("twice", &format!("{neox}: [original, original]")),
        edit("nothing reads them", "positions: [original, compacted]"),
        edit("exclude what is not planned", "exclude: [{ positions: compacted }]"),
    ]));
}

#[test]
fn refusals_of_signal_from() {
    let hybrid = "models: [builtin:hybrid-books]\nsignal_from";
    snapshot!(refusals(&[
        edit("typo", &format!("{hybrid}: nearest_smm")),
        edit("another word", &format!("{hybrid}: next")),
        edit("a list", &format!("{hybrid}: [site, nearest_ssm]")),
        edit("no hybrid", "signal_from: nearest_ssm"),
    ]));
}

#[test]
fn refusals_of_splits() {
    snapshot!(refusals(&[
        edit("typo", "split: heldout"),
        edit("another word", "split: test"),
        edit("a list", "split: [tune, held_out]"),
    ]));
}

#[test]
fn refusals_of_schedules() {
    snapshot!(refusals(&[
        edit("percent", "schedule: { sites: paper, flops_reduction: [10, 20] }"),
        edit("whole", "schedule: { sites: paper, flops_reduction: 1 }"),
        edit("keep nothing", "schedule: { sites: paper, keep_ratio: [0.9, 0] }"),
        edit("keep more than all", "schedule: { sites: paper, keep_ratio: 90 }"),
        edit("both", "schedule: { sites: paper, keep_ratio: 0.9, flops_reduction: 0.2 }"),
        edit("neither", "schedule: { sites: paper }"),
        edit("none at all", "schedule:"),
        edit(
            "beyond one model",
            "models: [builtin:mamba2-world, builtin:neox-world]\nschedule: { sites: [3, 13], keep_ratio: 0.9 }"
        ),
        edit("single site beyond", "schedule: { sites: { single: [2, 16] }, keep_ratio: 0.9 }"),
        edit("out of order", "schedule: { sites: [5, 3], keep_ratio: 0.9 }"),
        edit("unreachable", "schedule: { sites: [10, 12], flops_reduction: [0.1, 0.5] }"),
        edit("unreachable single", "schedule: { sites: { single: all }, flops_reduction: 0.2 }"),
        edit("endless", "schedule: { sites: { start: 1, every: 9000000000000000000, count: 3 }, keep_ratio: 0.9 }"),
    ]));
}

#[test]
fn refusals_of_sites_after_a_kind_of_layers() {
    let sites = |models: &str, sites: &str| {
        edited(&format!("models: [{models}]\nschedule: {{ sites: {sites}, keep_ratio: 0.9 }}"))
    };
    let hybrid = |text: &str| sites("builtin:hybrid-books", text);
    snapshot!(refusals(&[
        ("a model without such layers", sites("builtin:hybrid-books, builtin:mamba-books", "{ after: attention }")),
        ("one at a time, without such layers", sites("builtin:neox-books", "{ single: { after: mamba } }")),
        ("unknown kind", hybrid("{ after: attn }")),
        ("no word", hybrid("{ after: 5 }")),
        ("beyond the last", hybrid("{ after: attention, start: 12 }")),
        ("more than there are", hybrid("{ after: attention, count: 3 }")),
        ("typo", hybrid("{ after: attention, strat: 3 }")),
        ("select another kind", hybrid("{ after: attention }") + "exclude: [{ sites: { after: mamba } }]"),
    ]));
}

#[test]
fn refusals_of_achieved_reductions() {
    let schedule = |amount: &str| edited(&format!("schedule: {{ sites: paper, flops_reduction: {amount} }}"));
    let exclude = |amount: &str, selected: &str| {
        let schedule = format!("schedule: {{ sites: paper, flops_reduction: {amount} }}");
        edited(&format!("{schedule}\nexclude: [{{ strategy: top_k, flops_reduction: {selected} }}]"))
    };
    snapshot!(refusals(&[
        ("typo", schedule("{ acheived: 0.2 }")),
        ("percent", schedule("{ achieved: 20 }")),
        ("text", schedule("{ achieved: \"0.2\" }")),
        ("text with a percent sign", schedule("{ achieved: 20% }")),
        ("no value", schedule("{ achieved: }")),
        ("empty", schedule("{}")),
        ("no map", schedule("achieved")),
        ("a list of maps", schedule("[0.1, { achieved: 0.2 }]")),
        ("twice", schedule("{ achieved: [0.2, 0.2] }")),
        ("per item", schedule("{ achieved: 0.2, per: item }")),
        ("more than any ratio gives", schedule("{ achieved: 0.9 }")),
        ("select the nominal one", exclude("{ achieved: 0.2 }", "0.2")),
        ("select another one", exclude("{ achieved: 0.2 }", "{ achieved: 0.3 }")),
        ("select an achieved one of nominal ones", exclude("0.2", "{ achieved: 0.2 }")),
    ]));
}

#[test]
fn refusals_of_duplicates_and_selections() {
    snapshot!(refusals(&[
        edit("ratio twice", "schedule: { sites: paper, flops_reduction: [0.1, 0.2, 0.1] }"),
        edit("strategy twice", "strategies: [dense, top_k, top_k]"),
        edit("option value twice", "strategies: [dense, { utrc: { q: [1, 1.0] } }]"),
        edit("task twice", "tasks: [world_lambada, world_lambada]"),
        edit("exclude an unlisted task", "exclude: [{ strategy: top_k, task: world_piqa }]"),
        edit("exclude an unplanned ratio", "exclude: [{ flops_reduction: 0.3 }]"),
        edit("exclude by a quantity that is not given", "exclude: [{ keep_ratio: 0.9 }]"),
        edit("exclude an unplanned option value", "exclude: [{ importance: l2 }]"),
        edit("exclude by an unknown key", "exclude:\n  - strategy: top_k\n    tsk: world_lambada"),
        edit("exclude other sites", "exclude: [{ sites: [3, 4] }]"),
        edit("zip an unlisted model", "zip: [{ model: builtin:mamba-world, flops_reduction: 0.2 }]"),
        edit("sample of nothing", "sample: { count: 0 }"),
    ]));
}

#[test]
fn refusals_of_several_things() {
    let levels = "name: My Test\nmodels: [builtin:mamba2-wrold, 7]\ntasks: [world_lambda, world_pica]\nprotcols: [context]\n\
                  strategies:\n  - dens\n  - top_k: { importance: [clp, l1, l3], sourc: residual }\n  - utrc: { q: 2 }\n\
                  schedule: { sites: [3, 2], flops_reduction: [20, 0.1, 30] }\nlimit: 0\nexclude: [{ strategy: topk }]\n";
    let axes = "split: heldout\nprotocols: [contxt, uptream]\nexclude: [{ strategy: topk, task: world }, { protocol: aligned }]\nseeed: 1";
    snapshot!(refusals(&[
        ("at every level", levels.to_owned()),
        edit("selectors and words", axes),
        edit("a misspelt key is not missing too", "tasks:\ntaks: [world_lambada]\nlimit: -1"),
    ]));
}

#[test]
fn refusals_of_common_slips() {
    snapshot!(refusals(&[
        edit("an entry indented more", "strategies:\n  - dense\n    - top_k\n  - utrc"),
        edit("an entry indented less", "strategies:\n   - dense\n  - top_k"),
        edit("a key indented as its list", "schedule:\n  - sites: paper\n  keep_ratio: 0.9"),
        edit("a tab", "strategies:\n\t- dense"),
        edit("a colon in a text", "question: On novels: does it hold"),
        edit("no space behind a colon", "limit:40"),
        edit("an indented key", "  limit: 40"),
        edit("options as deep as their strategy", "strategies:\n  - dense\n  - top_k:\n    importance: clip"),
        edit("sites all", "schedule: { sites: all, keep_ratio: 0.9 }"),
        edit("one protocol", "protocols: context"),
        edit("one model, without its scheme", "models: mamba2-world"),
        edit("one seed", "strategies: [dense, { random: { seeds: 3 } }]"),
        edit("one layer", "schedule: { sites: 5, keep_ratio: 0.9 }"),
    ]));
}

#[test]
fn places_are_exact() {
    let error = load_str("x", &edited("schedule: { sites: paper, flops_reduction: [0.1, 20] }"), &CATALOG).unwrap_err();
    assert_eq!((error.line(), error.column()), (Some(5), Some(50)));
    let umlaut = "name: t\nquestion: \"ä ö ü\"\nmodels: [\"ä\", 3]\ntasks: [a]\nstrategies: [dense]\n";
    let error = load_str("x", umlaut, &CATALOG).unwrap_err();
    assert_eq!((error.line(), error.column()), (Some(3), Some(15)));
}

#[test]
fn a_file_that_is_missing_or_huge_is_refused_as_a_whole() {
    let error = load(&PathBuf::from("no/such.yaml"), &CATALOG).unwrap_err();
    assert!(error.to_string().starts_with("cannot read no/such.yaml"));
    assert_eq!(error.line(), None);
    let huge = format!("name: t\n# {}\n", "x".repeat(1 << 20));
    assert!(load_str("x.yaml", &huge, &CATALOG).unwrap_err().to_string().contains("larger than 1024 KiB"));
}

#[test]
fn silence_means_the_documented_defaults() {
    let experiment = load_str("x", &edited(""), &CATALOG).unwrap();
    assert_eq!(experiment.protocols, [&CONTEXT]);
    assert_eq!(experiment.baseline, "dense");
    assert_eq!((experiment.seed, experiment.limit, experiment.upstream_batch_size), (0, None, 96));
    assert_eq!(experiment.schedules[0].amounts, [Amount::FlopsReduction(0.2)]);
}

#[test]
fn plans_are_recorded_of_some_of_all_or_of_lost_items() {
    let of = |text: &str| load_str("x", &edited(text), &CATALOG).map(|experiment| experiment.record_plans);
    assert_eq!(of("").unwrap(), RecordPlans::First(20));
    assert_eq!(of("record_plans: 4").unwrap(), RecordPlans::First(4));
    assert_eq!(of("record_plans: all").unwrap(), RecordPlans::All);
    assert_eq!(of("record_plans: lost").unwrap(), RecordPlans::Lost);
    for wrong in ["record_plans: 3", "record_plans: some", "record_plans: [4]"] {
        let error = of(wrong).unwrap_err().render();
        assert!(error.contains("record_plans") && error.contains("help"), "{error}");
    }
}

#[test]
fn every_form_of_a_schedule_is_read() {
    let blocks = "schedule:\n  - { sites: [3, 5], keep_ratio: 0.9 }\n  - { sites: { start: 2, every: 3, count: 4 }, flops_reduction: [0, 0.1] }\n  \
                  - { sites: { single: [2, 4] }, keep_ratio: 1 }\n  - { sites: { single: all }, keep_ratio: 0.5 }\n  \
                  - { sites: { after: mamba, start: 2, every: 4 }, keep_ratio: 0.5 }\n  - { sites: { single: { after: mamba, start: 9 } }, keep_ratio: 0.5 }";
    let experiment = load_str("x", &edited(blocks), &CATALOG).unwrap();
    let layers = experiment.models[0].kinds();
    let expanded: Vec<_> =
        experiment.schedules.iter().map(|block| block.sites.expand(&layers).unwrap().len()).collect();
    assert_eq!(expanded, [1, 1, 2, 16, 1, 7]);
    assert_eq!(experiment.schedules[4].points[0][0].sites, [2, 6, 10, 14]);
    assert_eq!(experiment.schedules[3].sites, SiteAxis::SingleAll);
    assert_eq!(experiment.schedules[1].amounts, [Amount::FlopsReduction(0.0), Amount::FlopsReduction(0.1)]);
}

#[test]
fn words_that_old_yaml_takes_for_booleans_stay_words() {
    let experiment = load_str("x", &edited("question: no\nname: on"), &CATALOG).unwrap();
    assert_eq!((experiment.name.as_str(), experiment.question.as_deref()), ("on", Some("no")));
}

/// Whatever stands in a file, the answer is a refusal with a place and never a panic.
#[test]
fn damaged_files_are_refused_calmly() {
    let text = include_str!("../../../../experiments/ablation.yaml").replace("dense", "dänse");
    let check = |damaged: &str| {
        if let Err(error) = load_str("x.yaml", damaged, &CATALOG) {
            assert!(error.render().contains("help: "), "{damaged}");
        }
    };
    for (at, _) in text.char_indices() {
        check(&text[..at]);
    }
    for (at, letter) in text.char_indices() {
        check(&format!("{}{}", &text[..at], &text[at + letter.len_utf8()..]));
    }
    check(&format!("\u{feff}{text}"));
    check(&text.replace('\n', "\r\n"));
}

#[test]
fn refusals_of_probes() {
    snapshot!(refusals(&[
        edit("unknown probe", "probes: [necesary_tokens]"),
        edit("probe like nothing else", "probes: [microscope]"),
        edit("unknown option of a probe", "probes:\n  - position: { blocks: 0.1 }"),
        edit("value out of range", "probes:\n  - position: { block: 1.5 }"),
        edit("probe twice", "probes: [leak, { leak: { items: 40 } }]"),
        edit("seeds of a probe", "probes:\n  - position: { seeds: [1] }"),
        edit("no list of probes", "probes: leak"),
        edit("strategy probe alone", "strategies:\nschedule:\nprobes: [similarity, leak]"),
        edit("baseline without strategies", "strategies:\nschedule:\nbaseline: dense\nprobes: [similarity]"),
        edit("neither strategies nor probes", "strategies:\nschedule:"),
    ]));
}

#[test]
fn probes_may_stand_alone_and_lists_multiply() {
    let text =
        edited("strategies:\nschedule:\nprobes: [{ position: { block: [0.1, 0.2], places: [3, 5] } }, similarity]");
    let experiment = load_str("t.yaml", &text, &CATALOG).unwrap();
    assert!(experiment.strategies.is_empty());
    let probes: Vec<_> = experiment.probes.iter().map(|p| (p.probe.name, p.options.integer("items"))).collect();
    assert_eq!(probes.len(), 5);
    assert_eq!((probes[0], probes[4]), (("position", 40), ("similarity", 40)));
    let again = load_str("t.yaml", &experiment.to_yaml(), &CATALOG).unwrap();
    assert_eq!(again.probes, experiment.probes);
}

/// Wherever a model of the hub is named, random weights of its size take its place; the rest is unchanged.
#[test]
fn random_weights_take_the_place_of_models_of_the_hub() {
    let text = edited(
        "models: [hub:state-spaces/mamba2-130m@main, builtin:mamba-world]\n\
         exclude: [{ model: hub:state-spaces/mamba2-130m@main, strategy: top_k }]",
    );
    let experiment = super::load_random_str("t.yaml", &text, &CATALOG).unwrap();
    assert_eq!(experiment.name, "t-random");
    let models: Vec<_> = experiment.models.iter().map(|model| (model.reference.as_str(), model.is_random())).collect();
    assert_eq!(models, [("random:mamba2-130m", true), ("builtin:mamba-world", false)]);
    assert_eq!(experiment.exclude[0].to_string(), "{model: random:mamba2-130m, strategy: top_k}");
    // What is written beside the results needs no flag.
    let again = load_str("t.yaml", &experiment.to_yaml(), &CATALOG).unwrap();
    assert_eq!(again.to_yaml(), experiment.to_yaml());
}

#[test]
fn refusals_of_random_weights() {
    let refusal = |models: &str| {
        let text = edited(&format!("models: [{models}]"));
        format!("{}\n\n", super::load_random_str("t.yaml", &text, &CATALOG).unwrap_err().render())
    };
    snapshot!([refusal("builtin:mamba2-world"), refusal("hub:someone/mamba3-9b@main")].concat());
}

#[test]
fn the_documented_example_loads() {
    let page = include_str!("../../../../docs/experiment-format.md");
    let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    load_str("experiment-format.md", example, &CATALOG).unwrap_or_else(|error| panic!("{}", error.render()));
    for key in super::wire::KEYS {
        assert!(page.contains(&format!("| `{key}` |")), "`{key}` is not described");
    }
}

#[test]
fn committed_experiments_load() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let experiment = load(&path, &CATALOG).unwrap_or_else(|error| panic!("{}", error.render()));
            assert_eq!(
                Some(experiment.name.as_str()),
                path.file_stem().and_then(|stem| stem.to_str()),
                "name and file differ"
            );
            count += 1;
        }
    }
    assert!(count >= 3);
}

#[test]
fn refusals_of_claims() {
    let claim = |rest: &str| format!("claim:\n  expect: top_k loses\n  {rest}");
    let decide = |entry: &str| claim(&format!("decide: [{{ {entry} }}]"));
    let sides = "lower: { strategy: top_k }, higher: { strategy: dense }";
    snapshot!(refusals(&[
        edit("no words", "claim: { decide: [] }"),
        edit("nothing to decide by", &claim("status: exploratory")),
        edit("another status", &claim("status: some\n  decide: []")),
        edit("no margin", &decide(sides)),
        edit("a margin in words", &decide(&format!("{sides}, margin: large"))),
        edit("a margin beyond all", &decide(&format!("{sides}, margin: 200"))),
        edit("one side alone", &decide("lower: { strategy: top_k }, margin: 1")),
        edit("an unknown arm", &decide("lower: { strategy: topk }, higher: { strategy: dense }, margin: 1")),
        edit(
            "an arm that is not listed",
            &decide("lower: { strategy: random }, higher: { strategy: dense }, margin: 1")
        ),
        edit(
            "an option of another strategy",
            &decide("lower: { strategy: dense, importance: clip }, higher: { strategy: top_k }, margin: 1")
        ),
        edit(
            "an unplanned ratio",
            &decide("lower: { strategy: top_k, flops_reduction: 0.9 }, higher: { strategy: dense }, margin: 1")
        ),
        edit("another quantity", &decide(&format!("{sides}, margin: 1, quantity: accuraccy"))),
        edit("a typo", &decide(&format!("{sides}, margn: 1"))),
    ]));
}

#[test]
fn refusals_of_bridges() {
    let steps = |name: &str, steps: &str| format!("bridges: [{{ name: {name}, steps: [{steps}] }}]");
    let first = "{ factor: first, from: { strategy: top_k } }";
    let then = |change: &str| steps("b", &format!("{first}, {{ factor: then, change: {change} }}"));
    snapshot!(refusals(&[
        edit("no name", &format!("bridges: [{{ steps: [{first}] }}]")),
        edit("a name that is no file", &steps("a/b", first)),
        edit("one arm", &steps("b", first)),
        edit(
            "no first arm",
            &steps(
                "b",
                "{ factor: first, change: { strategy: top_k } }, { factor: then, change: { strategy: dense } }"
            )
        ),
        edit("no factor", &steps("b", &format!("{first}, {{ change: {{ strategy: dense }} }}"))),
        edit("two changes", &then("{ strategy: dense, protocol: context }")),
        edit("two values", &then("{ strategy: [dense, top_k] }")),
        edit("another model", &then("{ model: builtin:mamba2-world }")),
        edit("an unknown strategy", &then("{ strategy: topk }")),
        edit(
            "two of one name",
            "bridges:\n  - { name: b, steps: [{ factor: f, from: { strategy: top_k } }, { factor: g, change: { strategy: dense } }] }\n  \
             - { name: b, steps: [{ factor: f, from: { strategy: top_k } }, { factor: g, change: { strategy: dense } }] }"
        ),
    ]));
}

#[test]
fn refusals_of_claims_about_probes() {
    let claim = |probes: &str, entry: &str| format!("{probes}claim:\n  expect: it grows\n  decide: [{{ {entry} }}]");
    let listed = |entry: &str| claim("probes: [state_divergence]\n", entry);
    let rows = "rows: { layer: [5, 9], half_life: all, removed: other }";
    let sides = "lower: { distance: 2 }, higher: { distance: 32 }, margin: 0";
    let divergence = "probe: state_divergence, measure: divergence";
    snapshot!(refusals(&[
        edit("a probe that is not listed", &claim("", &format!("{divergence}, {rows}, {sides}"))),
        edit("an unknown probe", &listed(&format!("probe: divergence, measure: divergence, {rows}, {sides}"))),
        edit("a probe of strategies", &listed(&format!("probe: kept_tokens, measure: dt_mean, {rows}, {sides}"))),
        edit("another measure", &listed(&format!("probe: state_divergence, measure: divergense, {rows}, {sides}"))),
        edit("a column is missing", &listed(&format!("{divergence}, rows: {{ layer: 5, half_life: all }}, {sides}"))),
        edit(
            "a column is named twice",
            &listed(&format!(
                "{divergence}, rows: {{ layer: 5, half_life: all, removed: other, distance: 2 }}, {sides}"
            ))
        ),
        edit("an unknown column", &listed(&format!("{divergence}, rows: {{ depth: 5 }}, {sides}"))),
        edit(
            "sides that differ",
            &listed(&format!("{divergence}, {rows}, lower: {{ distance: 2 }}, higher: {{ layer: 5 }}, margin: 0"))
        ),
        edit(
            "two values on a side",
            &listed(&format!(
                "{divergence}, {rows}, lower: {{ distance: [1, 2] }}, higher: {{ distance: 32 }}, margin: 0"
            ))
        ),
        edit("a quantity", &listed(&format!("{divergence}, {rows}, {sides}, quantity: loss"))),
    ]));
}

#[test]
fn refusals_of_free_counts() {
    snapshot!(refusals(&[
        edit("a ratio for a free count", "strategies: [dense, top_p]"),
        edit("a free count beside a ratio", "strategies: [dense, top_k, top_p]"),
        edit("no ratio for others", "strategies: [dense, top_k, top_p]\nschedule: { sites: paper }"),
        edit("sites alone where no count is free", "schedule: { sites: paper }"),
        edit("nothing to calibrate", "schedule: { sites: paper, calibrate: { achieved: 0.2 } }"),
        edit(
            "an amount that nobody takes",
            "strategies: [dense, top_p]\nschedule: [{ sites: paper }, { sites: paper, keep_ratio: 0.9 }]",
        ),
        edit(
            "calibrated and a ratio",
            "strategies: [dense, top_p]\nschedule: { sites: paper, keep_ratio: 0.9, calibrate: { achieved: 0.2 } }"
        ),
        edit("calibrated to nothing", "strategies: [dense, top_p]\nschedule: { sites: paper, calibrate: 0.2 }"),
        edit(
            "calibrated to a percentage",
            "strategies: [dense, top_p]\nschedule: { sites: paper, calibrate: { achieved: 20 } }"
        ),
        edit(
            "calibrated to what is out of reach",
            "strategies: [dense, top_p]\nschedule: { sites: [15], calibrate: { achieved: 0.2 } }"
        ),
        edit(
            "excluded by a ratio",
            "strategies: [dense, top_p]\nschedule: { sites: paper }\nexclude: [{ keep_ratio: 0.9 }]",
        ),
    ]));
}

mod free_counts;

use std::collections::BTreeSet;
use std::path::PathBuf;

use evaluation::tasks::{Prompting, TaskRef};
use evaluation::{Positions, Shapes};
use records::schema::{Calibration, TrialKey};

use super::{Cell, ExperimentPlan, GridError, PlannedTrial, Reason, Setting, build, to_json, write_table};
use crate::config::fake::{CATALOG, FakeCatalog, edited, layer};
use crate::config::{Catalog, CatalogError, ItemChoice, ModelFacts, PlannedTask, load, load_str, render_plain};

/// A snapshot without the long expression in its header.
macro_rules! snapshot {
    ($($value:expr),+) => {
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!($($value),+) })
    };
}

fn plan_with(lines: &str, setting: &Setting, catalog: &dyn Catalog) -> Result<ExperimentPlan, GridError> {
    let experiment = load_str("x.yaml", &edited(lines), catalog).unwrap_or_else(|error| panic!("{}", error.render()));
    build(&experiment, setting, catalog)
}

fn plan(lines: &str) -> ExperimentPlan {
    plan_with(lines, &Setting::default(), &CATALOG).unwrap()
}

fn committed(name: &str) -> ExperimentPlan {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../experiments/{name}.yaml"));
    let experiment = load(&path, &CATALOG).unwrap_or_else(|error| panic!("{}", error.render()));
    build(&experiment, &Setting::default(), &CATALOG).unwrap()
}

fn table(plan: &ExperimentPlan) -> String {
    let mut out = Vec::new();
    write_table(plan, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Cells in words, in order; without options, whose defaults belong to the strategies.
fn cells(plan: &ExperimentPlan) -> Vec<String> {
    let words = |cell: &Cell| {
        let key = &plan.trial_of(cell).key;
        format!(
            "{}, {}, {}, {}, keep_ratio {:.4}, {}",
            key.model,
            key.protocol,
            key.strategy,
            key.schedule,
            key.keep_ratio.unwrap(),
            cell.task
        )
    };
    plan.cells.iter().map(words).collect()
}

fn ids(plan: &ExperimentPlan) -> BTreeSet<&str> {
    plan.cells.iter().map(|cell| cell.cell_id.as_str()).collect()
}

const BOTH: &str = "models: [builtin:mamba2-world, builtin:mamba-world]";
const THREE: &str = "schedule: { sites: paper, flops_reduction: [0.1, 0.2, 0.3] }";

#[test]
fn the_grid_is_a_product_with_one_dense_trial_per_model_and_protocol() {
    let plan = plan(&format!(
        "{BOTH}\n{THREE}\ntasks: [world_lambada, world_piqa]\nprotocols: [context, upstream]\n\
         strategies: [dense, {{ random: {{ seeds: [0, 1] }} }}, {{ top_k: {{ importance: [clip, l1] }} }}]"
    ));
    // Two models, two protocols, (1 dense + 2 seeds x 3 + 2 metrics x 3) trials, two tasks.
    assert_eq!(plan.trials.len(), 2 * 2 * (1 + 6 + 6));
    assert_eq!(plan.cells.len(), 2 * plan.trials.len());
    let dense: Vec<_> = plan.trials.iter().filter(|trial| trial.key.strategy == "dense").collect();
    assert_eq!(dense.len(), 4);
    assert!(
        dense
            .iter()
            .all(|trial| trial.key.keep_ratio.unwrap().to_bits() == 1.0_f64.to_bits() && trial.key.sites.is_empty())
    );
    assert!(
        dense.iter().all(|trial| trial.key.flops_reduction_nominal.unwrap().to_bits() == 0 && trial.amount.is_none())
    );
    assert_eq!(ids(&plan).len(), plan.cells.len());
}

#[test]
fn cells_are_ordered_by_model_then_trial_then_task() {
    let plan = plan(&format!("{BOTH}\ntasks: [world_piqa, world_lambada]"));
    snapshot!(cells(&plan).join("\n"));
}

#[test]
fn a_trial_key_is_filled_completely() {
    let plan = plan("strategies: [dense, { random: { seeds: [7] } }, { utrc: { q: 1 } }]\nlimit: 5\nseed: 3");
    let keys: Vec<_> = plan.trials.iter().map(|trial| &trial.key).collect();
    assert_eq!(keys.iter().map(|key| key.seed).collect::<Vec<_>>(), [3, 7, 3]);
    assert_eq!(keys[2].strategy_params, plan.trials[2].strategy.options.to_json());
    assert!(keys[2].strategy_params.contains("\"q\":1.0"));
    // Id and parameters change with the strategy's version and defaults, which are not this module's.
    let stable = TrialKey { trial_id: "..".to_owned(), strategy_params: "..".to_owned(), ..keys[2].clone() };
    snapshot!(serde_json::to_string(&stable).unwrap());
}

#[test]
fn one_target_gives_each_depth_its_own_ratio() {
    let plan = plan(&BOTH.replace("builtin:mamba-world", "builtin:neox-world"));
    let ratios: Vec<_> = plan.trials.iter().filter(|trial| trial.amount.is_some()).map(|trial| &trial.key).collect();
    assert!((ratios[0].keep_ratio.unwrap() - ratios[1].keep_ratio.unwrap()).abs() > 1e-4);
    assert!(ratios.iter().all(|key| (key.flops_reduction_nominal.unwrap() - 0.2).abs() < 1e-9));
}

#[test]
fn an_exclusion_removes_what_matches_all_its_keys_and_records_why() {
    let with = |exclude: &str| {
        plan(&format!("{THREE}\nstrategies: [dense, top_k, {{ utrc: {{ q: [0, 1] }} }}]\nexclude: {exclude}"))
    };
    let all = with("[{ strategy: utrc, q: 1.0, flops_reduction: 0.1, reason: too slow }]");
    assert_eq!(all.cells.len(), 1 + 3 + 6 - 1);
    let reason = "too slow (line 6: {strategy: utrc, q: 1, flops_reduction: 0.1})";
    assert_eq!(all.excluded.len(), 1);
    assert_eq!(all.excluded[0].reason, Reason::Exclude(reason.to_owned()));
    assert_eq!(all.excluded[0].task, "world_lambada");
    assert_eq!(with("[{ flops_reduction: [0.1, 0.2] }]").cells.len(), 1 + 1 + 2);
    assert_eq!(with("[{ q: 0 }]").cells.len(), 1 + 3 + 3, "a strategy without the option stays");
    assert_eq!(with("[{ sites: paper, strategy: top_k }]").cells.len(), 1 + 6, "dense has no sites");
}

#[test]
fn an_exclusion_that_matches_nothing_is_noted() {
    let plan = plan("exclude: [{ strategy: dense, flops_reduction: 0.2 }]");
    assert_eq!(
        plan.notes,
        ["exclude on line 6 leaves out no cell that another entry does not: {strategy: dense, flops_reduction: 0.2}"]
    );
}

#[test]
fn excluding_the_baseline_alone_or_everything_is_refused() {
    let error = plan_with(
        "tasks: [world_lambada, world_piqa]\nexclude: [{ strategy: dense, task: world_piqa }]",
        &Setting::default(),
        &CATALOG,
    );
    assert!(matches!(&error, Err(GridError::NoBaseline { task, .. }) if task == "world_piqa"));
    snapshot!(render_plain(&error.unwrap_err()));
    let error = plan_with("exclude: [{ task: world_lambada }]", &Setting::default(), &CATALOG);
    assert!(matches!(error, Err(GridError::Empty { .. })));
    // Leaving a task out altogether is fine.
    assert_eq!(plan("tasks: [world_lambada, world_piqa]\nexclude: [{ task: world_piqa }]").cells.len(), 2);
}

#[test]
fn zip_keeps_the_listed_combinations_and_the_baseline() {
    let plan = plan(&format!(
        "{BOTH}\n{THREE}\nzip:\n  - {{ model: builtin:mamba2-world, flops_reduction: 0.1 }}\n  \
         - {{ model: builtin:mamba-world, flops_reduction: [0.2, 0.3] }}"
    ));
    assert_eq!(plan.cells.len(), 2 + 1 + 2);
    assert_eq!(plan.excluded.iter().filter(|excluded| excluded.reason == Reason::Zip).count(), 3);
    snapshot!(cells(&plan).join("\n"));
}

#[test]
fn a_sample_keeps_the_baseline_and_depends_on_seed_and_set_only() {
    let with = |strategies: &str, sample: &str| {
        plan(&format!("{BOTH}\n{THREE}\nstrategies: [{strategies}]\nsample: {sample}"))
    };
    let straight = with("dense, uniform, top_k, utrc", "{ count: 5, seed: 1 }");
    assert_eq!(straight.trials.len(), 2 + 5);
    assert_eq!(straight.trials.iter().filter(|trial| trial.key.strategy == "dense").count(), 2);
    assert_eq!(ids(&straight), ids(&with("utrc, top_k, dense, uniform", "{ count: 5, seed: 1 }")));
    assert_ne!(ids(&straight), ids(&with("dense, uniform, top_k, utrc", "{ count: 5, seed: 2 }")));
    let all = with("dense, uniform", "{ count: 99 }");
    assert_eq!(all.trials.len(), 2 + 6);
    assert_eq!(all.notes, ["sample: all 6 trials besides the baseline, no more than the 99 asked for"]);
}

#[test]
fn equal_cells_run_once() {
    let plan = plan(
        "schedule:\n  - { sites: paper, keep_ratio: 0.9 }\n  - { sites: [3, 4, 6, 7, 8, 9, 11], keep_ratio: [0.9, 0.8] }",
    );
    assert_eq!(plan.cells.len(), 1 + 2);
    assert_eq!(plan.duplicates, 1);
    assert_eq!(plan.trials[1].key.schedule, "paper", "the first name stays");
    let overlapping = self::plan("strategies: [dense, top_k, { top_k: { importance: [clip, l1] } }]");
    assert_eq!((overlapping.cells.len(), overlapping.duplicates), (3, 1));
}

/// A baseline with two reductions used to be shown as unreduced, with every difference to its first one.
#[test]
fn a_baseline_that_reduces_does_so_in_one_way() {
    let planned = |amounts: &str| {
        let lines = format!("schedule: {{ sites: paper, flops_reduction: {amounts} }}\nbaseline: top_k");
        plan_with(&lines, &Setting::default(), &CATALOG)
    };
    assert!(planned("0.2").is_ok());
    let error = planned("[0.1, 0.2]");
    assert!(matches!(&error, Err(GridError::SeveralBaselines { baseline, .. }) if baseline == "top_k"), "{error:?}");
}

#[test]
fn a_limit_counts_what_the_split_leaves() {
    let items = |lines: &str| plan(lines).cells[0].items;
    let counts = ["split: all", "split: tune", "split: held_out", "split: tune\nlimit: 7", "split: tune\nlimit: 400"];
    assert_eq!(counts.map(items), [500, 240, 260, 7, 240]);
}

#[test]
fn an_id_changes_if_and_only_if_a_result_can() {
    let base = plan("protocols: [context, upstream]");
    let of = |lines: &str| plan(&format!("protocols: [context, upstream]\n{lines}"));
    for same in [
        "name: other",
        "question: why?",
        "baseline: top_k",
        "sample: { count: 50 }",
        "protocols: [upstream, context]",
        "strategies: [top_k, dense]",
        "split: all",
    ] {
        assert_eq!(ids(&base), ids(&of(same)), "{same}");
    }
    for other in [
        "split: tune",
        "split: held_out",
        "limit: 10",
        "seed: 1",
        "tasks: [world_piqa]",
        "models: [builtin:mamba-world]",
    ] {
        assert!(ids(&base).is_disjoint(&ids(&of(other))), "{other}");
    }
    let setting = |device: &str, dtype: &str| Setting { device: device.to_owned(), dtype: dtype.to_owned() };
    let lines = "protocols: [context, upstream]";
    let moved = [
        plan_with(lines, &setting("cuda", "f32"), &CATALOG),
        plan_with(lines, &setting("cpu", "bf16"), &CATALOG),
        plan_with(lines, &Setting::default(), &FakeCatalog { weights: "other", data: "d" }),
        plan_with(lines, &Setting::default(), &FakeCatalog { weights: "w", data: "other" }),
    ];
    for moved in moved {
        assert!(ids(&base).is_disjoint(&ids(&moved.unwrap())));
    }
    // A ratio, a site or an option moves only the strategies that have it.
    for partly in [
        "schedule: { sites: paper, flops_reduction: 0.21 }",
        "schedule: { sites: [3], keep_ratio: 0.9 }",
        "strategies: [dense, { top_k: { importance: l1 } }]",
    ] {
        assert_eq!(ids(&base).intersection(&ids(&of(partly))).count(), 2, "{partly}: the two dense cells stay");
    }
    let shared: Vec<_> =
        base.cells.iter().filter(|cell| ids(&of("upstream_batch_size: 8")).contains(cell.cell_id.as_str())).collect();
    let protocol = |cell: &Cell| base.trial_of(cell).key.protocol.as_str();
    assert_eq!(
        shared.iter().map(|cell| protocol(cell)).collect::<Vec<_>>(),
        ["context", "context"],
        "only upstream depends on its batch"
    );
}

#[test]
fn ids_are_pinned() {
    // A change here orphans every record made before: bump the schema version knowingly instead.
    let plan = plan("strategies: [dense]\nprotocols: [context, upstream]");
    let pinned: Vec<_> = plan.cells.iter().map(|cell| format!("{} {}", cell.trial_id, cell.cell_id)).collect();
    snapshot!(pinned.join("\n"));
}

const TRANSFORMER: &str = "models: [builtin:mamba2-world, builtin:neox-world]";

#[test]
fn positions_are_an_axis_of_reduced_transformers_alone() {
    let one = plan(TRANSFORMER);
    let both = plan(&format!("{TRANSFORMER}\npositions: [original, compacted]"));
    assert_eq!((one.trials.len(), both.trials.len(), both.duplicates), (4, 5, 0));
    assert!(ids(&one).is_subset(&ids(&both)), "the default is no part of an id");
    let of = |plan: &ExperimentPlan| -> Vec<_> {
        plan.trials.iter().map(|trial| trial.positions.map(Positions::name)).collect()
    };
    assert_eq!(of(&both), [None, None, None, Some("original"), Some("compacted")]);
    let params: Vec<_> = both.trials[3..].iter().map(|trial| trial.key.strategy_params.as_str()).collect();
    assert!(!params[0].contains("positions") && params[1].contains(r#""positions":"compacted""#), "{params:?}");
    let shown = table(&both);
    assert!(shown.contains("positions original") && shown.contains("positions compacted"), "{shown}");
    assert!(!table(&one).contains("positions"));

    let left = |lines: &str| plan(&format!("{TRANSFORMER}\npositions: [original, compacted]\n{lines}")).trials.len();
    assert_eq!(left("exclude: [{ positions: compacted }]"), 4);
    assert_eq!(left("zip: [{ positions: [compacted] }]"), 4, "what reads no positions stays");
}

#[test]
fn a_strategy_that_reads_what_a_model_lacks_is_refused_unless_it_is_left_out() {
    let lines = format!("{TRANSFORMER}\nstrategies: [dense, {{ top_k: {{ importance: [clip, dt_mean] }} }}]");
    let error = plan_with(&lines, &Setting::default(), &CATALOG).unwrap_err();
    assert!(matches!(&error, GridError::NoSignal { signal, .. } if signal == "dt"));
    snapshot!(render_plain(&error));
    let left_out = format!("{lines}\nexclude: [{{ model: builtin:neox-world, importance: dt_mean }}]");
    assert_eq!(plan(&left_out).trials.len(), 3 + 2);
    let gated = format!("{TRANSFORMER}\nstrategies: [dense, {{ top_k: {{ source: gated_output }} }}]");
    assert!(plan_with(&gated, &Setting::default(), &CATALOG).unwrap_err().to_string().contains("reads gated_output"));
}

/// The models of [`CATALOG`] with an attention as layer 4.
struct WithAttention;

impl Catalog for WithAttention {
    fn model(&self, reference: &str) -> Result<ModelFacts, CatalogError> {
        let mut facts = CATALOG.model(reference)?;
        facts.layers[4] = layer(true);
        Ok(facts)
    }

    fn choose_tokenizer(&self, reference: &str, tokenizer: Option<&str>) -> Result<(), CatalogError> {
        CATALOG.choose_tokenizer(reference, tokenizer)
    }

    fn task(&self, task: &TaskRef, prompting: Prompting) -> Result<PlannedTask, CatalogError> {
        CATALOG.task(task, prompting)
    }

    fn shapes(
        &self,
        model: &str,
        task: &TaskRef,
        items: ItemChoice,
        protocols: &[evaluation::Scoring],
    ) -> Result<Vec<Shapes>, CatalogError> {
        CATALOG.shapes(model, task, items, protocols)
    }
}

#[test]
fn signals_are_asked_of_the_layers_of_the_sites() {
    let planned = |sites: &str| {
        let strategies = "strategies: [dense, { top_k: { importance: [clip, dt_mean] } }]";
        let lines = format!("{strategies}\nschedule: {{ sites: {sites}, keep_ratio: 0.8 }}");
        plan_with(&lines, &Setting::default(), &WithAttention)
    };
    assert_eq!(planned("[3, 5]").unwrap().trials.len(), 3);
    let error = planned("[3, 4]").unwrap_err();
    snapshot!(render_plain(&error));
    assert!(matches!(&error, GridError::NoSignal { signal, layer: 4, kind: "attention", .. } if signal == "dt"));
}

#[test]
fn signals_of_an_earlier_layer_are_said_and_part_of_ids_where_they_matter() {
    let planned = |more: &str, sites: &str| {
        let strategies = "strategies: [dense, { top_k: { importance: [clip, dt_mean] } }]";
        let lines = format!("{strategies}\nschedule: {{ sites: {sites}, keep_ratio: 0.8 }}\n{more}");
        plan_with(&lines, &Setting::default(), &WithAttention).unwrap()
    };
    let nearest = "signal_from: nearest_ssm";
    assert_eq!(ids(&planned("", "[3, 5]")), ids(&planned(nearest, "[3, 5]")), "every site shows what is read");
    let plan = planned(nearest, "[3, 4]");
    let said: Vec<_> =
        plan.trials.iter().map(|trial| trial.key.strategy_params.contains(r#""signal_from":"nearest_ssm""#)).collect();
    assert_eq!(said, [false, false, true], "dense and clip read nothing that layer 4 lacks");
    assert!(table(&plan).contains("signal_from nearest_ssm"));
}

/// The words for sites are a label: layers of a kind are the same sites as their numbers.
#[test]
fn sites_after_a_kind_of_layers_are_those_layers() {
    let planned = |sites: &str| {
        plan(&format!(
            "models: [builtin:hybrid-books]\nschedule: {{ sites: {sites}, keep_ratio: 0.8 }}\nsignal_from: nearest_ssm"
        ))
    };
    let attention = planned("{ after: attention }");
    assert_eq!(ids(&attention), ids(&planned("[5, 11]")));
    assert_ne!(ids(&attention), ids(&planned("{ after: attention, start: 6 }")));
    assert!(table(&attention).contains("after attention (5,11)"), "{}", table(&attention));
    assert!(table(&planned("{ after: mamba }")).contains("after mamba (0,1,..,15: 14)"));
    let one_by_one = planned("{ single: { after: attention } }");
    let sites: Vec<&[usize]> = one_by_one.trials.iter().map(|trial| trial.key.sites.as_slice()).collect();
    assert_eq!(sites, [&[][..], &[5], &[11]]);
}

#[test]
fn layers_of_two_kinds_are_estimated_each_by_its_own_cost() {
    let flops = |catalog: &dyn Catalog| {
        let lines = "models: [builtin:mamba-world]\nlimit: 1\nstrategies: [dense]";
        plan_with(lines, &Setting::default(), catalog).unwrap().total.flops
    };
    // 80 context tokens see half of themselves, 5 further ones all of them, in the one layer that attends.
    let pairs = (0.5 * 80.0 * 80.0 + 5.0 * 80.0) * 1e3;
    assert!((flops(&WithAttention) - flops(&CATALOG) - pairs).abs() < 1.0);
}

#[test]
fn attention_over_a_context_enters_the_estimate() {
    let flops = |model: &str| plan(&format!("models: [{model}]\nlimit: 1\nstrategies: [dense]")).total.flops;
    // 80 context tokens see half of themselves, 5 further ones all of them; 8 layers of 85 tokens, 5 head rows.
    let want = 8.0 * (85.0 * 1e6 + (0.5 * 80.0 * 80.0 + 5.0 * 80.0) * 1e3) + 5.0 * 2e5;
    assert!((flops("builtin:neox-world") - want).abs() < 1.0);
}

#[test]
fn per_token_perplexity_is_refused_where_it_would_leak() {
    let plan = plan("tasks: [world_text, world_lambada]\nprotocols: [aligned, context, upstream]");
    let refused: Vec<_> = plan
        .excluded
        .iter()
        .map(|excluded| (excluded.task.as_str(), excluded.trial.split(' ').nth(1), excluded.trial.contains("top_k")))
        .collect();
    // `dense` reduces nothing, and under `context` what is scored is not reduced.
    assert_eq!(refused, [("world_text", Some("aligned"), true), ("world_text", Some("upstream"), true)]);
    let says = |why: &str| why.contains("leaks the future") && why.contains("Use protocol `context`");
    assert!(plan.excluded.iter().all(|excluded| matches!(excluded.reason, Reason::Nature(why) if says(why))));
}

#[test]
fn causal_takes_causal_strategies_only_and_running_text_of_them() {
    let plan = plan(
        "tasks: [world_text, world_lambada]\nprotocols: [causal]\n\
         strategies: [dense, top_k, { local_merge: { decide: [whole, online] } }, block_causal]",
    );
    let says = |why: &str| why.contains("looks at later tokens") && why.contains("Use `aligned`");
    assert!(plan.excluded.iter().all(|excluded| matches!(excluded.reason, Reason::Nature(why) if says(why))));
    // Of the two tasks: top_k and local_merge decided over the whole sequence.
    assert_eq!((plan.excluded.len(), plan.cells.len()), (4, 6));
    let strategies: Vec<_> = plan.trials.iter().map(|trial| trial.key.strategy.as_str()).collect();
    assert_eq!(strategies, ["dense", "local_merge", "block_causal"]);
}

#[test]
fn a_cell_costs_less_reduced_and_more_upstream() {
    let plan = plan("protocols: [context, upstream]\ntasks: [world_piqa]\nlimit: 10");
    let flops: Vec<_> = plan.cells.iter().map(|cell| cell.estimate.flops).collect();
    assert!(flops[1] < flops[0] && flops[0] < flops[2]);
    // 10 items x (80 context + 2 x 5 choice tokens) x 16 layers x 1e6 + 10 x 10 rows x 2e5.
    assert!((flops[0] - (10.0 * 90.0 * 16.0 * 1e6 + 100.0 * 2e5)).abs() < 1.0);
    assert!((plan.total.flops - flops.iter().sum::<f64>()).abs() < 1.0);
}

#[test]
fn an_absurd_grid_is_refused() {
    let seeds: Vec<_> = (0..70_000).map(|seed: u32| seed.to_string()).collect();
    let lines = format!(
        "strategies: [dense, {{ random: {{ seeds: [{}] }} }}]\nschedule: {{ sites: {{ single: all }}, keep_ratio: 0.5 }}",
        seeds[..20_000].join(",")
    );
    let many = format!("{lines}\ntasks: [world_lambada, world_piqa, world_hellaswag, world_winogrande]");
    assert!(matches!(plan_with(&many, &Setting::default(), &CATALOG), Err(GridError::TooLarge)));
}

#[test]
fn plan_json_says_what_the_analysis_reads() {
    let plan = plan("question: why?");
    snapshot!(serde_json::to_string_pretty(&plan.index()).unwrap());
    let whole: serde_json::Value = serde_json::from_str(&to_json(&plan).unwrap()).unwrap();
    assert_eq!(whole["cells"].as_array().unwrap().len(), 2);
    assert_eq!(whole["trials"][1]["asked"]["flops_reduction"], 0.2);
}

#[test]
fn tables_of_the_committed_experiments() {
    snapshot!("ablation", table(&committed("ablation")));
    snapshot!("smoke", table(&committed("smoke")));
    snapshot!("layers", table(&committed("layers")));
    snapshot!("transformer_control", table(&committed("transformer-control")));
}

#[test]
fn a_table_shows_exclusions_duplicates_and_notes() {
    snapshot!(table(&plan(
        "name: everything\nquestion: Does the table say all?\ntasks: [world_text, world_piqa]\nprotocols: [aligned]\n\
         strategies: [dense, { top_k: { importance: [clip, l1] } }, { random: { seeds: [0, 1, 2, 3, 4] } }, uniform]\n\
         schedule: [{ sites: paper, keep_ratio: [0.9, 0.8] }, { sites: [3, 5], keep_ratio: 0.9 }, { sites: [3, 5], flops_reduction: 0.1 }]\n\
         exclude: [{ strategy: uniform, sites: paper }, { strategy: dense, sites: paper, reason: never matches }]\nlimit: 100\nsample: { count: 12 }"
    )));
}

const ACHIEVED: &str = "schedule: { sites: paper, flops_reduction: { achieved: [0.1, 0.2] } }";

#[test]
fn an_achieved_reduction_is_solved_task_by_task() {
    let tasks = "tasks: [world_lambada, world_hellaswag]\nprotocols: [context, upstream]";
    let plan = plan(&format!("{ACHIEVED}\n{tasks}\nstrategies: [dense, {{ random: {{ seeds: [0, 1] }} }}, utrc]"));
    // Per protocol: dense on two tasks; of three others two reductions on two tasks, each a trial of its own.
    assert_eq!((plan.trials.len(), plan.cells.len()), (2 * (1 + 3 * 2 * 2), 2 * (2 + 3 * 2 * 2)));
    assert_eq!(ids(&plan).len(), plan.cells.len());
    for trial in plan.trials.iter().filter(|trial| trial.key.strategy != "dense") {
        let (asked, achieved) = (trial.key.flops_reduction_asked.unwrap(), trial.achieved.unwrap());
        assert!((achieved - asked).abs() <= super::TOLERANCE, "{}", trial.describe());
        let own: Vec<_> = plan.cells.iter().filter(|cell| cell.trial_id == trial.key.trial_id).collect();
        assert_eq!((own.len(), Some(&own[0].task)), (1, trial.task.as_ref()));
    }
    // Four continuations that are not reduced: more of the context goes.
    let ratio = |task: &str, protocol: &str| {
        let own = |trial: &&PlannedTrial| trial.task.as_deref() == Some(task) && trial.key.protocol == protocol;
        plan.trials.iter().find(own).unwrap().key.keep_ratio
    };
    assert!(ratio("world_hellaswag", "context") < ratio("world_lambada", "context"));
    snapshot!(table(&plan));
}

#[test]
fn an_achieved_reduction_changes_no_other_id() {
    let both = "[{ sites: paper, flops_reduction: 0.2 }, { sites: paper, flops_reduction: { achieved: 0.2 } }]";
    let (nominal, both) = (plan(""), plan(&format!("schedule: {both}")));
    assert!(ids(&both).is_superset(&ids(&nominal)));
    assert_eq!(both.cells.len(), nominal.cells.len() + 1);
}

#[test]
fn what_cannot_be_achieved_is_refused_with_what_can() {
    let refused = |lines: &str| {
        let error = plan_with(&format!("{ACHIEVED}\n{lines}"), &Setting::default(), &CATALOG).unwrap_err();
        render_plain(&error)
    };
    let all = [
        ("coarse steps", refused("schedule: { sites: [0], flops_reduction: { achieved: 0.022 } }\nlimit: 1")),
        (
            "out of reach",
            refused(
                "tasks: [world_text, world_hellaswag]\nschedule: { sites: [8], flops_reduction: { achieved: 0.4 } }",
            ),
        ),
    ];
    snapshot!(all.map(|(name, text)| format!("== {name}\n{text}")).join("\n"));
    let own = plan(&format!("{ACHIEVED}\nstrategies: [dense, top_k, evit_released]"));
    let ratio = |strategy: &str| own.trials.iter().find(|trial| trial.key.strategy == strategy).unwrap().key.keep_ratio;
    assert!(ratio("evit_released") < ratio("top_k"), "it keeps one token more at every site");
}

#[test]
fn a_claim_pools_the_tasks_of_an_achieved_reduction() {
    let plan = plan(&format!(
        "{ACHIEVED}\ntasks: [world_lambada, world_piqa]\nstrategies: [dense, {{ random: {{ seeds: [0, 1] }} }}, top_k]\n\
         claim: {{ expect: e, decide: [{{ lower: {{ strategy: random, flops_reduction: {{ achieved: 0.2 }} }}, higher: {{ strategy: top_k }}, margin: 1 }}] }}"
    ));
    let comparisons = plan.claim.unwrap().comparisons;
    assert_eq!(comparisons.len(), 1);
    assert_eq!(comparisons[0].setting, "20 % achieved FLOPs reduction");
    assert_eq!(comparisons[0].tasks, ["world_lambada", "world_piqa"]);
    assert_eq!((comparisons[0].lower.trials.len(), comparisons[0].higher.trials.len()), (4, 2));
}

const FREE: &str = "tasks: [world_lambada, world_piqa]\nprotocols: [context, upstream]\n\
                    strategies: [dense, top_k, { top_p: { p: [0.8, 0.9] } }]\n\
                    schedule: [{ sites: paper, flops_reduction: 0.2 }, { sites: paper }, { sites: [3, 5], calibrate: { achieved: [0.1, 0.2] } }]";

#[test]
fn a_free_count_takes_sites_alone_and_is_measured_when_run() {
    let plan = plan(FREE);
    let own = |strategy: &str| plan.trials.iter().filter(|trial| trial.key.strategy == strategy).collect::<Vec<_>>();
    assert_eq!(own("top_k").len(), 2, "one for each protocol: a block of sites alone is not for it");
    assert!(own("top_k").iter().all(|trial| trial.key.keep_ratio.is_some() && trial.calibrate.is_none()));
    // For each protocol two values of `p` at the sites of the paper, and two reductions on two tasks.
    assert_eq!(own("top_p").len(), 2 * (2 + 2 * 2));
    assert_eq!(plan.duplicates, 2 * 2 * 2, "a calibrated `p` is not the one in the file");
    for trial in own("top_p") {
        let key = &trial.key;
        assert_eq!((key.keep_ratio, key.flops_reduction_nominal, &key.calibration), (None, None, &None));
        assert_eq!(trial.uncalibrated().is_some(), key.schedule == "sites 3,5");
    }
    // Estimates assume that nothing is removed.
    let estimate = |strategy: &str| {
        let own = |cell: &&Cell| plan.trial_of(cell).key.strategy == strategy;
        plan.cells.iter().find(own).unwrap().estimate.flops
    };
    assert!((estimate("top_p") - estimate("dense")).abs() < 1.0 && estimate("top_k") < estimate("dense"));
    snapshot!(table(&plan));
}

//! The binary `sweep` as its users meet it: what it refuses, and that a run can be repeated. How it survives: `survival.rs`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use records::schema::CellRecord;
use ssm_model::Placement;
use sweep_runner::config::{self, Experiment};
use sweep_runner::library::Library;
use sweep_runner::plan::{self, ExperimentPlan, Setting};
use sweep_runner::run::{self, RunError, RunOptions};

use crate::desk::{Desk, TINY, parquet, text};

fn folder_experiment() -> String {
    TINY.replace("builtin:mamba2-world", "model")
}

#[test]
fn refuses_what_an_experiment_cannot_mean() {
    let cases = [
        ("an unknown key", TINY.replace("limit: 2", "limits: 2"), "did you mean `limit`?"),
        ("an unknown strategy", TINY.replace("random:", "randm:"), "did you mean `random`?"),
        ("an unknown model", TINY.replace("mamba2-world", "mamba2-word"), "did you mean `builtin:mamba2-world`?"),
        ("an unknown task", TINY.replace("world_piqa", "world_pica"), "did you mean `world_piqa`?"),
        ("ratio 0", TINY.replace("[0.8]", "[0]"), "keep_ratio 0 is outside (0, 1]"),
        ("ratio 1.5", TINY.replace("[0.8]", "[1.5]"), "keep_ratio 1.5 is outside (0, 1]"),
        ("a site beyond the model", TINY.replace("[4, 8]", "[4, 16]"), "site 16 is beyond the model"),
        ("the ambiguous word", TINY.replace("keep_ratio", "reduce_ratio"), "use keep_ratio"),
    ];
    for (what, experiment, said) in cases {
        assert_ne!(experiment, TINY, "{what}");
        let stderr = Desk::new(&experiment).refused();
        assert!(stderr.contains(said), "{what}: {stderr}");
    }
}

#[test]
fn refuses_an_alias_bomb_quickly() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    let started = Instant::now();
    let stderr = Desk::new(&bomb).refused();
    assert!(stderr.contains("expands to far more values"), "{stderr}");
    assert!(started.elapsed() < Duration::from_secs(5), "ten thousand million values were not expanded");
}

#[test]
fn rules_of_python_need_the_python_package() {
    let output = Desk::new(TINY).sweep(&["plan", "tiny.yaml", "--rules", "mine.py"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("holds no Python") && stderr.contains("docs/python.md"), "{stderr}");
}

#[test]
fn refuses_truncated_weights() {
    let desk = Desk::new(&folder_experiment());
    let weights = desk.model_folder().join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 4]).unwrap();
    let stderr = desk.refused();
    assert!(stderr.contains("model.safetensors") && stderr.contains("truncated"), "{stderr}");
    assert!(stderr.contains("damaged model") && !stderr.contains("unknown"), "{stderr}");
}

#[test]
fn refuses_a_pickle_that_names_a_command_and_does_not_run_it() {
    let desk = Desk::new(&folder_experiment());
    let folder = desk.model_folder();
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    let hostile = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command/hostile/pytorch_model.bin");
    fs::copy(hostile, folder.join("pytorch_model.bin")).unwrap();
    let stderr = desk.refused();
    assert!(stderr.contains("os") && stderr.contains("system"), "{stderr}");
    assert!(!desk.path("pickle-was-run").exists());
}

#[test]
fn refuses_a_tokenizer_with_more_tokens_than_the_model() {
    let desk = Desk::new(&folder_experiment());
    let path = desk.model_folder().join("tokenizer.json");
    let mut tokenizer: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    let known = vocabulary.len();
    for extra in 0..60 {
        vocabulary.insert(format!("extra{extra}"), (known + extra).into());
    }
    fs::write(&path, tokenizer.to_string()).unwrap();
    let stderr = desk.refused();
    insta::assert_snapshot!(stderr, @r"
      × tokenizer of `model`: the tokenizer's ids go up to 1163, the model embeds 1104 tokens, 0 to 1103
       ╭─[tiny.yaml:2:10]
     1 │ name: tiny
     2 │ models: [model]
       ·          ──┬──
       ·            ╰── unusable tokenizer
     3 │ tasks: [world_lambada, world_piqa]
       ╰────
      help: tokenizer.json belongs to another model, or tokenizer_config.json adds tokens that this one does not
            know
    ");
}

#[test]
fn models_lists_what_is_present_and_what_is_not() {
    let desk = Desk::new(TINY);
    let stdout = text(&desk.sweep(&["models"]).stdout);
    for word in [
        "builtin:mamba2-world",
        "state-spaces/mamba2-2.7b",
        "tiiuae/falcon-mamba-7b",
        "12,17,22,27,32,37,42",
        "10.1 GiB",
        "random:mamba2-2.7b",
    ] {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
}

#[test]
fn a_plan_is_a_table_and_writes_nothing() {
    let desk = Desk::new(TINY);
    let before = desk.listing();
    let output = desk.sweep(&["plan", "tiny.yaml"]);
    let stdout = text(&output.stdout);
    assert!(output.status.success());
    for word in ["4 cells = 2 trials on 2 tasks, 8 items", "random (seed 0)", "keep 0.8", "4,8"] {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
    assert!(!text(&output.stderr).contains("loading"));
    assert_eq!(desk.listing(), before);
}

#[test]
fn a_second_run_reuses_every_cell() {
    let desk = Desk::new(TINY);
    assert!(desk.run("out").contains("4 cells run, 0 already there, 0 failed"));
    let (frames, trials) = (desk.frames("out"), fs::read(desk.path("out/trials.csv")).unwrap());
    assert!(desk.run("out").contains("0 cells run, 4 already there, 0 failed"));
    assert_eq!(desk.frames("out"), frames);
    // Nothing was measured anew, so that even the timings stay.
    assert_eq!(fs::read(desk.path("out/trials.csv")).unwrap(), trials);
}

#[test]
fn lost_and_damaged_cells_run_again_alone() {
    let desk = Desk::new(TINY);
    desk.run("out");
    let frames = desk.frames("out");
    let cells = desk.cells("out");
    let kept = fs::read(&cells[1]).unwrap();
    fs::remove_file(&cells[0]).unwrap();
    assert!(desk.run("out").contains("1 cells run, 3 already there, 0 failed"));
    assert_eq!(desk.frames("out"), frames);
    assert_eq!(fs::read(&cells[1]).unwrap(), kept, "the others are left as they were");
    fs::write(&cells[1], &kept[..kept.len() / 2]).unwrap();
    assert!(desk.run("out").contains("1 cells run, 3 already there, 0 failed"));
    assert_eq!(desk.frames("out"), frames);
}

#[test]
fn two_folders_hold_the_same_results() {
    let desk = Desk::new(TINY);
    desk.run("a");
    desk.run("b");
    assert_eq!(desk.frames("a"), desk.frames("b"));
    let names =
        |out: &str| -> Vec<_> { desk.cells(out).iter().map(|path| path.file_name().unwrap().to_owned()).collect() };
    assert_eq!(names("a"), names("b"));
    assert_eq!(fs::read(desk.path("a/guards.json")).unwrap(), fs::read(desk.path("b/guards.json")).unwrap());
}

/// Cells that share work are recorded as cells that run one by one; the manifest says what was saved.
#[test]
fn sharing_changes_no_record() {
    let desk = Desk::new(TINY);
    desk.run("shared");
    let alone = desk.sweep(&["run", "tiny.yaml", "--out", "alone", "--no-sharing"]);
    assert!(alone.status.success(), "{}", text(&alone.stderr));
    assert_eq!(desk.frames("shared"), desk.frames("alone"));
    let sharing = |out: &str| {
        let mut manifests = fs::read_dir(desk.path(out).join("manifests")).unwrap();
        let manifest = fs::read_to_string(manifests.next().unwrap().unwrap().path()).unwrap();
        serde_json::from_str::<serde_json::Value>(&manifest).unwrap()["sharing"].clone()
    };
    let count = |name: &str| sharing("shared")[name].as_u64().unwrap();
    assert!(count("token_layers_executed") < count("token_layers_asked"));
    assert!(count("token_layers_asked") < count("token_layers_by_request"));
    assert!(sharing("alone").is_null());
    let refused = desk.sweep(&["run", "tiny.yaml", "--memory", "lots"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("800M or 4GiB"), "{}", text(&refused.stderr));
}

/// Cells that are repeated for their time are recorded as those that ran once, with the time of each repeat.
#[test]
fn repeats_change_no_result() {
    let desk = Desk::new(TINY);
    desk.run("once");
    let timed = desk.sweep(&["run", "tiny.yaml", "--out", "timed", "--repeats", "3"]);
    assert!(timed.status.success(), "{}", text(&timed.stderr));
    assert_eq!(desk.frames("once"), desk.frames("timed"));
    let repeats = |out: &str| -> Vec<(f64, Vec<f64>)> {
        let cost = |path: &PathBuf| {
            let cell: CellRecord = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            (cell.cost.wall_s, cell.cost.repeats_s)
        };
        desk.cells(out).iter().map(cost).collect()
    };
    assert!(repeats("once").iter().all(|(_, repeats)| repeats.is_empty()));
    for (wall_s, mut repeats) in repeats("timed") {
        repeats.sort_by(f64::total_cmp);
        assert_eq!(repeats.len(), 3);
        assert_eq!(wall_s.to_bits(), repeats[1].to_bits());
    }
    let figures = fs::read_dir(desk.path("timed/figures")).unwrap();
    assert!(figures.flatten().any(|file| file.file_name().to_string_lossy().contains("_vs_time_")));
    let refused = desk.sweep(&["run", "tiny.yaml", "--repeats", "3", "--memory", "1GiB"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("cannot be used with"), "{}", text(&refused.stderr));
    let refused = desk.sweep(&["run", "tiny.yaml", "--repeats", "3", "--workers", "2"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("would slow each other down"), "{}", text(&refused.stderr));
    let refused = desk.sweep(&["run", "tiny.yaml", "--device", "cpu", "--profile-kernels"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("add --device cuda"), "{}", text(&refused.stderr));
    let again = desk.sweep(&["run", "tiny.yaml", "--out", "once", "--repeats", "3"]);
    assert!(again.status.success() && text(&again.stderr).contains("stay untimed"), "{}", text(&again.stderr));
}

/// What guards found belongs to sites, data and options as much as to the model: only equal guards are kept.
#[test]
fn guards_run_again_where_something_that_they_depend_on_changed() {
    let desk = Desk::new(TINY);
    desk.run("out");
    let ids = || -> Vec<String> {
        let rows: Vec<serde_json::Value> =
            serde_json::from_str(&fs::read_to_string(desk.path("out/guards.json")).unwrap()).unwrap();
        let mut ids: Vec<String> = rows.iter().map(|row| row["guard_id"].as_str().unwrap().to_owned()).collect();
        ids.dedup();
        ids
    };
    let first = ids();
    assert_eq!(first.len(), 2, "{first:?}");
    let report = fs::read_to_string(desk.path("out/report.md")).unwrap();
    assert!(report.contains("| `context` | `random` | passed | passed | passed | – |"), "{report}");
    // Other sites: the reduction is another one, `dense` is not.
    fs::write(desk.path("tiny.yaml"), TINY.replace("[4, 8]", "[4, 9]")).unwrap();
    desk.run("out");
    let second = ids();
    assert_eq!(second[0], first[0]);
    assert_ne!(second[1], first[1]);
    assert_eq!(second.len(), 2, "rows of another plan are dropped");
    // A task less: what is scored changes for both, although no cell is missing.
    fs::write(desk.path("tiny.yaml"), TINY.replace("[4, 8]", "[4, 9]").replace(", world_piqa", "")).unwrap();
    assert!(desk.run("out").contains("0 cells run"));
    assert!(ids().iter().all(|id| !second.contains(id)));
    // A lost file is made again.
    fs::remove_file(desk.path("out/guards.json")).unwrap();
    assert!(desk.run("out").contains("0 cells run"));
    assert_eq!(ids().len(), 2);
}

#[test]
fn frames_have_exactly_the_documented_columns() {
    let desk = Desk::new(TINY);
    desk.run("out");
    let columns = |name: &str| -> String {
        let frame = parquet(&desk.path("out").join(name));
        let names: Vec<String> = frame.get_column_names().into_iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    assert_eq!(
        columns("trials.parquet"),
        "trial_id, cell_id, experiment, model, strategy, strategy_params, label, importance, importance_source, schedule, sites, \
         keep_ratio, flops_reduction_nominal, flops_reduction_achieved, flops_executed, protocol, task, seed, split, limit, n, \
         metric, primary, value, stderr, ci_low, ci_high, baseline_value, diff, diff_ci_low, diff_ci_high, p_value, coverage, \
         tokens_in, tokens_per_s, peak_mem_bytes, wall_s, device, dtype, status, error"
    );
    assert_eq!(
        columns("items.parquet"),
        "trial_id, cell_id, task, item_id, gold, predicted, correct, loglikelihoods, greedy, tokens_in, tokens_kept, \
         necessary_kept, coverage, length, depth"
    );
    // Two trials, with four metrics of world_lambada and three of world_piqa; two items of each.
    assert_eq!(parquet(&desk.path("out/trials.parquet")).height(), 2 * (4 + 3));
    assert_eq!(parquet(&desk.path("out/items.parquet")).height(), 2 * 2 * 2);
}

#[test]
fn a_report_is_spliced_between_its_marks() {
    let desk = Desk::new(TINY);
    desk.run("out");
    let table = "tables/main_mamba2-world_context.md";
    fs::write(desk.path("readme.md"), format!("before\n<!-- BEGIN: {table} -->\nstale\n<!-- END -->\nafter\n"))
        .unwrap();
    let output = desk.sweep(&["report", "out", "--splice", "readme.md"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (readme, table) = (
        fs::read_to_string(desk.path("readme.md")).unwrap(),
        fs::read_to_string(desk.path("out").join(table)).unwrap(),
    );
    assert!(readme.starts_with("before\n") && readme.ends_with("after\n"), "{readme}");
    assert!(readme.contains(table.trim()) && !readme.contains("stale"), "{readme}");
}

#[test]
fn logits_are_those_of_the_model() {
    let desk = Desk::new(TINY);
    let rows: [&[u32]; 2] = [&[5, 17, 300, 42, 9], &[7, 8]];
    let lines: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    fs::write(desk.path("tokens.jsonl"), lines.join("\n")).unwrap();
    let output = desk.sweep(&[
        "logits",
        "--model",
        "builtin:mamba2-world",
        "--tokens",
        "tokens.jsonl",
        "--out",
        "logits.safetensors",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let tensors = candle_core::safetensors::load(desk.path("logits.safetensors"), &candle_core::Device::Cpu).unwrap();
    assert_eq!(tensors.len(), rows.len());
    let model = Library::new().load_model("builtin:mamba2-world", &Placement::cpu()).unwrap();
    for (index, row) in rows.iter().enumerate() {
        let got = &tensors[&format!("logits.{index}")];
        assert_eq!(got.dims(), &[row.len(), 1104]);
        let (activations, _) = model.prefill(row, &ssm_kernels::Segments::independent(&[row.len()]), None).unwrap();
        let want = model.head(&activations, &(0..row.len() as u32).collect::<Vec<_>>()).unwrap();
        assert_eq!(got.to_vec2::<f32>().unwrap(), want.to_vec2::<f32>().unwrap());
    }
}

/// Replaces the last value of a weight of the model folder.
fn damage(desk: &Desk, name: &str, value: f32) {
    let file = desk.path("model/model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &candle_core::Device::Cpu).unwrap();
    let weight = tensors.get_mut(name).unwrap();
    let floats = weight.to_dtype(candle_core::DType::F32).unwrap();
    let mut values = floats.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    *values.last_mut().unwrap() = value;
    *weight = candle_core::Tensor::from_vec(values, weight.dims().to_vec(), weight.device()).unwrap();
    candle_core::safetensors::save(&tensors, &file).unwrap();
}

/// One damaged value used to give a believable perplexity, four times too large, and exit code 0.
#[test]
fn a_weight_that_is_no_number_is_refused_by_name() {
    for (name, value) in [
        ("backbone.layers.3.mixer.dt_bias", f32::NAN),
        ("backbone.layers.3.mixer.in_proj.weight", f32::NEG_INFINITY),
        ("backbone.embeddings.weight", f32::INFINITY),
    ] {
        let desk = Desk::new(&folder_experiment());
        desk.model_folder();
        damage(&desk, name, value);
        let output = desk.sweep(&["run", "tiny.yaml", "--out", "out"]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        let cells = desk.cells("out");
        assert_eq!(cells.len(), 4, "{name}");
        for cell in cells {
            let record: serde_json::Value = serde_json::from_str(&fs::read_to_string(cell).unwrap()).unwrap();
            let [status, error, hint] = ["status", "error", "hint"].map(|key| record[key].as_str().unwrap());
            assert_eq!(status, "failed");
            assert!(error.contains(&format!("weight `{name}` is {value} at [")), "{error}");
            assert!(hint.contains("compare its checksum"), "{hint}");
        }
    }
    let desk = Desk::new(&folder_experiment());
    desk.model_folder();
    damage(&desk, "backbone.layers.3.mixer.A_log", f32::INFINITY);
    desk.run("out");
}

/// Numbers that overflow on the way fail their cells, whose records say where.
#[test]
fn what_overflows_in_a_layer_fails_its_cells_and_logits() {
    let desk = Desk::new(&folder_experiment());
    desk.model_folder();
    damage(&desk, "backbone.layers.3.mixer.out_proj.weight", f32::MAX);
    let output = desk.sweep(&["run", "tiny.yaml", "--out", "out"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let cells = desk.cells("out");
    assert_eq!(cells.len(), 4);
    for cell in cells {
        let record = fs::read_to_string(cell).unwrap();
        // The block that overflows, or the next one, whose norm cannot hold the square of what this one made.
        let names_it = record.contains("layer 3: the output of the block is NaN or infinite at token ")
            || record.contains("layer 4: x is NaN or infinite at token ");
        assert!(names_it, "{record}");
    }
    fs::write(desk.path("tokens.jsonl"), "[5, 17, 300]").unwrap();
    let output = desk.sweep(&["logits", "--model", "model", "--tokens", "tokens.jsonl", "--out", "logits.safetensors"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let onto_itself = desk.sweep(&["logits", "--model", "model", "--tokens", "tokens.jsonl", "--out", "tokens.jsonl"]);
    assert_eq!(onto_itself.status.code(), Some(2), "{}", text(&onto_itself.stderr));
    assert!(stderr.contains("the logits of token 0 are not finite") && stderr.contains("help:"), "{stderr}");
    assert!(!desk.path("logits.safetensors").exists() && !desk.path("logits.tmp").exists());
}

/// A plan with one trial that fails. No experiment file can ask for one: what would fail is refused beforehand, so the
/// ratio is spoiled after the plan was made (guards look at the lowest ratio of a strategy and do not meet it).
fn spoiled(library: &Library) -> (Experiment, ExperimentPlan) {
    let source = TINY.replace("[0.8]", "[0.8, 0.9]");
    let experiment = config::load_str("tiny.yaml", &source, library).unwrap();
    let mut plan = plan::build(&experiment, &Setting::default(), library).unwrap();
    let trial =
        plan.trials.iter_mut().find(|trial| trial.key.keep_ratio > Some(0.85) && trial.key.strategy == "random");
    trial.unwrap().key.keep_ratio = Some(1.5);
    (experiment, plan)
}

#[test]
fn failing_cells_are_rows_and_the_others_go_on() {
    let (library, desk) = (Library::new(), Desk::new(TINY));
    let (experiment, plan) = spoiled(&library);
    let out = desk.path("out");
    let summary = run::run(&experiment, &plan, &library, &out, &RunOptions::default()).unwrap();
    assert_eq!((summary.ran, summary.failed), (6, 2));
    analysis::run(&out).unwrap();
    let trials = parquet(&out.join("trials.parquet"));
    let failed: Vec<_> =
        trials.column("status").unwrap().str().unwrap().iter().map(|status| status == Some("failed")).collect();
    let errors: Vec<_> = trials.column("error").unwrap().str().unwrap().iter().map(|error| error.is_some()).collect();
    assert_eq!(failed.iter().filter(|failed| **failed).count(), 2);
    assert_eq!(failed, errors);
    // Failed cells are left alone, until they are retried; the others are not run again.
    let again = run::run(&experiment, &plan, &library, &out, &RunOptions::default()).unwrap();
    assert_eq!((again.ran, again.reused, again.failed, again.left_failed), (0, 4, 0, 2));
    let options = RunOptions { retry_failed: true, ..RunOptions::default() };
    let retried = run::run(&experiment, &plan, &library, &out, &options).unwrap();
    assert_eq!((retried.ran, retried.reused, retried.failed, retried.left_failed), (2, 4, 2, 0));
}

#[test]
fn a_run_stops_at_as_many_failures_as_are_allowed() {
    let (library, desk) = (Library::new(), Desk::new(TINY));
    let (experiment, plan) = spoiled(&library);
    for no_sharing in [false, true] {
        let out = desk.path(if no_sharing { "alone" } else { "shared" });
        let options = RunOptions { max_failures: Some(1), no_sharing, ..RunOptions::default() };
        let stopped = run::run(&experiment, &plan, &library, &out, &options);
        assert!(matches!(stopped, Err(RunError::Failures { failures: 1, .. })), "{stopped:?}");
        // The failed cell is recorded; those of the other task were not run.
        let recorded = desk.cells(out.file_name().unwrap().to_str().unwrap()).len();
        assert_eq!(recorded, plan.cells.len() / 2);
        let options = RunOptions { max_failures: Some(2), no_sharing, ..RunOptions::default() };
        let summary = run::run(&experiment, &plan, &library, &out, &options);
        // What failed before does not count.
        assert!(summary.is_ok_and(|summary| summary.failed == 1 && summary.left_failed == 1));
    }
}

#[test]
fn a_plan_says_which_rates_were_measured_on_this_machine() {
    let desk = Desk::new(&TINY.replace("limit: 2", "limit: 40"));
    let planned = |arguments: &[&str]| {
        let output = desk.sweep(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let before = planned(&["plan", "tiny.yaml"]);
    assert!(before.contains("(assumed rates and mean lengths, not measured)"), "{before}");
    assert!(
        before.contains("at an assumed rate: none was measured here; --measure does, and so does a run"),
        "{before}"
    );
    for (command, cells) in [(&["plan", "tiny.yaml", "--measure"][..], 2), (&["run", "tiny.yaml", "--out", "out"], 4)] {
        planned(command);
        let after = planned(&["plan", "tiny.yaml"]);
        assert!(after.contains("(mean lengths, rates measured on this machine)"), "{after}");
        assert!(after.contains(&format!("FLOPs/s, measured over {cells} cells)")), "{after}");
        // The plan of a results folder is the same on every machine.
        let ids = |plan: &str| plan.lines().filter(|line| line.contains("random (")).count();
        assert_eq!(ids(&before), ids(&after));
    }
    assert!(desk.path("rates/rates.json").is_file());
    fs::write(desk.path("rates/rates.json"), "no JSON").unwrap();
    assert_eq!(planned(&["plan", "tiny.yaml"]), before, "what cannot be read is measured again");
}

#[test]
fn what_new_writes_is_an_experiment() {
    let desk = Desk::new(TINY);
    for template in ["compare", "layers", "protocols", "books", "long-context"] {
        for rule in ["write_read", "utrc", "top_p"] {
            let name = format!("{template}-{rule}").replace('_', "-");
            let written = desk.sweep(&["new", &name, "--template", template, "--rule", rule]);
            if (template, rule) == ("layers", "top_p") {
                assert!(text(&written.stderr).contains("takes no keep ratio"), "{}", text(&written.stderr));
                continue;
            }
            assert_eq!(text(&written.stdout), format!("{name}.yaml\n"), "{}", text(&written.stderr));
            let planned = desk.sweep(&["plan", &format!("{name}.yaml")]);
            assert!(planned.status.success(), "{name}: {}", text(&planned.stderr));
            assert!(text(&planned.stdout).contains(rule), "{name}");
        }
    }
    assert!(desk.path("schema.json").is_file());
    let again = desk.sweep(&["new", "compare-utrc"]);
    assert!(text(&again.stderr).contains("compare-utrc.yaml is there already"), "{}", text(&again.stderr));
    for (arguments, problem) in [
        (&["new", "My Rule"][..], "`My Rule` cannot name an experiment"),
        (&["new", "a", "--rule", "utcr"], "did you mean `utrc`?"),
        (&["new", "a", "--rule", "dense"], "`dense` removes nothing"),
    ] {
        let refused = desk.sweep(arguments);
        assert!(
            refused.status.code() == Some(2) && text(&refused.stderr).contains(problem),
            "{}",
            text(&refused.stderr)
        );
    }
}

#[test]
fn rules_are_compared_and_ranked_for_programs() {
    let desk = Desk::new(
        &TINY.replace("  - random: { seeds: [0] }", "  - random: { seeds: [0, 1] }\n  - drop_prefix\n  - utrc"),
    );
    let said = |arguments: &[&str]| {
        let output = desk.sweep(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    said(&["run", "tiny.yaml", "--out", "out", "--limit", "8"]);
    for file in ["references.bib", "checklist.md"] {
        assert!(desk.path("out").join(file).is_file(), "{file}");
    }
    assert!(
        fs::read_to_string(desk.path("out/references.bib")).unwrap().contains("@inproceedings{zhan2024rethinking,")
    );
    let pairs = ["compare", "out", "--a", "utrc", "--b", "random", "--b", "drop_prefix"];
    assert!(said(&pairs).contains("\nHolm's correction over 2 comparisons at equal achieved reductions:"));
    let rows = said(&[&pairs[..], &["--json", "--out", "pairs.parquet"]].concat());
    let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
    // Two tasks and their mean, of each pair.
    assert_eq!(rows.as_array().unwrap().len(), 6);
    assert_eq!(parquet(&desk.path("pairs.parquet")).height(), 6);
    let ranking: serde_json::Value = serde_json::from_str(&said(&["rank", "out", "--json"])).unwrap();
    let protocol = &ranking["protocols"][0];
    assert_eq!((protocol["contests"].as_u64(), protocol["rules"].as_array().map(Vec::len)), (Some(2), Some(3)));
    let ranks = protocol["rules"].as_array().unwrap().iter().map(|rule| rule["mean_rank"].as_f64().unwrap());
    assert!((ranks.sum::<f64>() - 6.0).abs() < 1e-9, "the ranks of three rules add up to six");
    assert!(said(&["rank", "out", "--rule", "utrc"]).contains("\n### utrc against each other rule\n"));
    let unknown = desk.sweep(&["rank", "out", "--rule", "tome"]);
    assert!(text(&unknown.stderr).contains("no rule is `tome`"), "{}", text(&unknown.stderr));
}

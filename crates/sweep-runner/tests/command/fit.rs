//! Tasks that have no place in a model: said by the plan, and no end of the other tasks.

use std::fs;

use crate::desk::{Desk, TINY, text};
use insta::assert_snapshot;

/// ARC rows in words of the reference models; `long` has an answer of eight words.
fn rows(long: bool) -> String {
    let row = |id: &str, answer: &str| {
        format!(
            r#"{{"id": "{id}", "question": "The pet of Theo was", "choices": {{"text": ["{answer}", "a gecko"], "label": ["A", "B"]}}, "answerKey": "B"}}"#
        ) + "\n"
    };
    row("q-0", "an otter") + &row("q-1", if long { "a gecko and an otter and a gecko" } else { "an otter" })
}

fn with_data(experiment: &str, rows: &str) -> Desk {
    Desk::with_data(experiment, &[("arc/ARC-Easy-Test.jsonl", rows)])
}

const EXPERIMENT: &str = "\
name: tiny
models: [builtin:mamba2-world]
tasks: [arc_easy, world_lambada]
strategies: [dense, top_k]
schedule: { sites: [4, 8], keep_ratio: [0.8] }
limit: 2
max_length: 5
";

/// The status of each cell by task, and the errors of those that failed.
fn ended(desk: &Desk, out: &str) -> (Vec<String>, Vec<String>) {
    let (mut ended, mut errors) = (Vec::new(), Vec::new());
    for path in desk.cells(out) {
        let cell: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        ended.push(format!("{} {}", cell["task"].as_str().unwrap(), cell["status"].as_str().unwrap()));
        let words = [&cell["error"], &cell["hint"]].map(|word| word.as_str().map(str::to_owned));
        errors.extend(words.into_iter().flatten());
    }
    ended.sort();
    errors.dedup();
    (ended, errors)
}

#[test]
fn a_continuation_without_room_fails_its_own_task_alone() {
    let desk = with_data(EXPERIMENT, &rows(true));
    let plan = desk.sweep(&["plan", "tiny.yaml", "--data-dir", "data"]);
    assert!(plan.status.success(), "{}", text(&plan.stderr));
    let plan = text(&plan.stdout);
    let note = plan.lines().find(|line| line.starts_with("note: "));
    assert_snapshot!(note.unwrap_or(&plan), @"note: arc_easy will fail on builtin:mamba2-world, and other tasks will not: arc/ARC-Easy-Test.jsonl:2: a continuation of 8 tokens exceeds `max_length` 5; raise `max_length` in the experiment file");
    for arguments in [&[][..], &["--no-sharing"], &["--workers", "2"]] {
        let out = format!("out{}", arguments.concat());
        let run = || {
            let words = [&["run", "tiny.yaml", "--out", &out, "--data-dir", "data"], arguments].concat();
            let output = desk.sweep(&words);
            assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
            text(&output.stderr)
        };
        let stderr = run();
        assert!(stderr.contains("exceeds `max_length` 5"), "{stderr}");
        let (cells, errors) = ended(&desk, &out);
        assert_eq!(cells, ["arc_easy failed", "arc_easy failed", "world_lambada done", "world_lambada done"]);
        let why = "arc/ARC-Easy-Test.jsonl:2: a continuation of 8 tokens exceeds `max_length` 5";
        assert_eq!(errors[..2], [why, "raise `max_length` in the experiment file"]);
        // Again: there is nothing left to do, and nothing to wait for.
        run();
        let retry = desk.sweep(&["retry", "--failed", &out, "--data-dir", "data"]);
        assert_eq!(retry.status.code(), Some(1), "{}", text(&retry.stderr));
        assert_eq!(ended(&desk, &out).0, cells);
    }
    // Fixed data is other data; the other task is not run again.
    fs::write(desk.path("data/arc/ARC-Easy-Test.jsonl"), rows(false)).unwrap();
    let output = desk.sweep(&["run", "tiny.yaml", "--out", "out", "--data-dir", "data", "--accept-changes"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("2 cells run, 2 already there, 0 failed"), "{}", text(&output.stderr));
}

#[test]
fn a_model_that_no_task_fits_ends_without_guards() {
    let desk = with_data(&EXPERIMENT.replace(", world_lambada", ""), &rows(true));
    let output = desk.sweep(&["run", "tiny.yaml", "--out", "out", "--data-dir", "data"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(ended(&desk, "out").0, ["arc_easy failed", "arc_easy failed"]);
    let fast = desk.sweep(&["run", "tiny.yaml", "--out", "fast", "--data-dir", "data", "--fail-fast"]);
    assert_eq!(fast.status.code(), Some(1));
    assert!(text(&fast.stderr).contains("failed cells, for example"), "{}", text(&fast.stderr));
}

#[test]
fn a_word_that_a_tokenizer_does_not_know_is_in_the_plan() {
    let experiment = EXPERIMENT.replace("builtin:mamba2-world", "./model").replace("arc_easy, ", "world_piqa, ");
    let desk = Desk::new(&experiment);
    let tokenizer = desk.model_folder().join("tokenizer.json");
    let own = fs::read_to_string(&tokenizer).unwrap();
    // Full stops are parts of words.
    let other =
        own.replace(r#""pre_tokenizer":{"type":"Whitespace"}"#, r#""pre_tokenizer":{"type":"WhitespaceSplit"}"#);
    assert_ne!(other, own);
    fs::write(&tokenizer, other).unwrap();
    let plan = desk.sweep(&["plan", "tiny.yaml"]);
    let said = text(&plan.stdout) + &text(&plan.stderr);
    let note = "world_piqa will fail on ./model, and other tasks will not: world_piqa.jsonl:1: the tokenizer does not know `Goal:`";
    assert!(said.split_whitespace().collect::<Vec<_>>().join(" ").contains(note), "{said}");
    // Written otherwise, the same tokenizer.
    fs::write(&tokenizer, own.replace("\"version\":", "\n\"version\": ")).unwrap();
    let plan = desk.sweep(&["plan", "tiny.yaml"]);
    assert!(plan.status.success(), "{}", text(&plan.stderr));
}

#[test]
fn a_pipe_as_tokenizer_is_refused() {
    let desk = Desk::new(&EXPERIMENT.replace("builtin:mamba2-world", "./model").replace("arc_easy, ", ""));
    let tokenizer = desk.model_folder().join("tokenizer.json");
    fs::remove_file(&tokenizer).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&tokenizer).status().unwrap().success());
    assert!(desk.refused().contains("not a regular file"));
}

/// Ids of the trials of a plan.
fn trials(desk: &Desk, experiment: &str) -> Vec<String> {
    fs::write(desk.path("tiny.yaml"), experiment).unwrap();
    let output = desk.sweep(&["plan", "tiny.yaml", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let trials = plan["trials"].as_array().unwrap().iter();
    trials.map(|trial| trial["key"]["trial_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_folder_takes_its_tokenizer_from_where_the_experiment_says() {
    let entry = |model: &str| TINY.replace("builtin:mamba2-world", model);
    let named = |tokenizer: &str| entry(&format!("{{ path: ./model, tokenizer: {tokenizer} }}"));
    let desk = Desk::new(&entry("./model"));
    let tokenizer = desk.model_folder().join("tokenizer.json");
    let own = trials(&desk, &entry("./model"));
    fs::create_dir(desk.path("words")).unwrap();
    fs::rename(&tokenizer, desk.path("words/tokenizer.json")).unwrap();
    assert_snapshot!(desk.refused(), @"
     × `./model` has no tokenizer: ./model holds no tokenizer.json
      ╭─[tiny.yaml:2:10]
    1 │ name: tiny
    2 │ models: [./model]
      ·          ───┬───
      ·             ╰── unusable tokenizer
    3 │ tasks: [world_lambada, world_piqa]
      ╰────
     help: name the one that it was trained with, for example `models: [{ path: ./model, tokenizer: EleutherAI/
           gpt-neox-20b }]`; a tokenizer is a repository of the hub (`<owner>/<name>`, perhaps with
           `@<revision>`), a folder with tokenizer.json, or the file itself. For state-spaces models neox-
           tokenizer/20B_tokenizer.json in the folder that --data-dir or SWEEP_DATA_DIR names serves too
    ");
    // The content decides, wherever it is.
    for place in ["./words", "words", "words/tokenizer.json"] {
        assert_eq!(trials(&desk, &named(place)), own, "{place}");
    }
    let text_of = fs::read_to_string(desk.path("words/tokenizer.json")).unwrap();
    fs::write(desk.path("other.json"), text_of.replace("\"version\":", "\n\"version\": ")).unwrap();
    assert!(trials(&desk, &named("other.json")).iter().all(|id| !own.contains(id)));
    // A run and what is written beside its results.
    fs::write(desk.path("tiny.yaml"), named("./words")).unwrap();
    desk.run("out");
    let again = desk.sweep(&["retry", "--failed", "out"]);
    assert!(text(&again.stderr).contains("0 cells run"), "{}", text(&again.stderr));
    let refused = |tokenizer: &str| {
        fs::write(desk.path("tiny.yaml"), named(tokenizer)).unwrap();
        desk.refused()
    };
    assert_snapshot!(refused("./wrods"), @"
     × no tokenizer `./wrods`
      ╭─[tiny.yaml:2:38]
    1 │ name: tiny
    2 │ models: [{ path: ./model, tokenizer: ./wrods }]
      ·                                      ───┬───
      ·                                         ╰── unknown
    3 │ tasks: [world_lambada, world_piqa]
      ╰────
     help: a tokenizer is a repository of the hub (`<owner>/<name>`, perhaps with `@<revision>`), a folder with
           tokenizer.json, or the file itself
    ");
    assert_snapshot!(refused("./model"), @"
     × ./model holds no tokenizer.json
      ╭─[tiny.yaml:2:38]
    1 │ name: tiny
    2 │ models: [{ path: ./model, tokenizer: ./model }]
      ·                                      ───┬───
      ·                                         ╰── without tokenizer
    3 │ tasks: [world_lambada, world_piqa]
      ╰────
     help: a tokenizer is a repository of the hub (`<owner>/<name>`, perhaps with `@<revision>`), a folder with
           tokenizer.json, or the file itself
    ");
    assert_snapshot!(refused("gpt-neox-20b"), @"
     × no tokenizer `gpt-neox-20b`
      ╭─[tiny.yaml:2:38]
    1 │ name: tiny
    2 │ models: [{ path: ./model, tokenizer: gpt-neox-20b }]
      ·                                      ──────┬─────
      ·                                            ╰── unknown
    3 │ tasks: [world_lambada, world_piqa]
      ╰────
     help: did you mean `EleutherAI/gpt-neox-20b`?
    ");
    assert_snapshot!(refused("model/config.json"), @"
     × model/config.json is no tokenizer: expected `,` or `}` at line 2 column 18
      ╭─[tiny.yaml:2:38]
    1 │ name: tiny
    2 │ models: [{ path: ./model, tokenizer: model/config.json }]
      ·                                      ────────┬────────
      ·                                              ╰── unusable tokenizer
    3 │ tasks: [world_lambada, world_piqa]
      ╰────
     help: a tokenizer is a repository of the hub (`<owner>/<name>`, perhaps with `@<revision>`), a folder with
           tokenizer.json, or the file itself
    ");
    // The tokenizer is at fault, and not the model.
    let books = ssm_model::shipped::path("mamba2-books/tokenizer.json").unwrap();
    fs::copy(books, desk.path("books.json")).unwrap();
    let refused = refused("books.json");
    assert!(
        refused.contains("the tokenizer's ids go up to 8191") && refused.contains("─[tiny.yaml:2:38]"),
        "{refused}"
    );
}

//! Benchmarks on the command line: own rows in the words of the reference models, from the data directory to the records.

use std::fs;

use crate::desk::{Desk, text};
use insta::assert_snapshot;
use serde_json::Value;

const EXPERIMENT: &str = "\
name: tiny
models: [builtin:mamba2-world]
tasks: [lambada_openai, arc_easy]
strategies: [dense, top_k]
schedule: { sites: [4, 8], keep_ratio: [0.8] }
";

/// Three passages and two questions of the tiny world.
fn with_data(experiment: &str) -> Desk {
    let lambada = (
        "lambada/lambada_test.jsonl",
        r#"{"text": "Tilda carried the pink shell to the attic. The color of the shell was pink"}
{"text": "The pet of Theo was a gecko. At home Theo fed the gecko"}
{"text": "Theo put the grey bench in the bakery. The color of the bench was grey"}
"#,
    );
    let arc = (
        "arc/ARC-Easy-Test.jsonl",
        r#"{"id": "q1", "question": "what is the color of the shell?", "choices": {"text": ["pink", "the grey bench"], "label": ["A", "B"]}, "answerKey": "A"}
{"id": "q2", "question": "what is the pet of Theo?", "choices": {"text": ["a gecko", "an otter"], "label": ["1", "2"]}, "answerKey": "2"}
"#,
    );
    Desk::with_data(experiment, &[lambada, arc])
}

fn records(desk: &Desk) -> Vec<Value> {
    let mut records: Vec<Value> = fs::read_dir(desk.path("out/cells"))
        .unwrap()
        .map(|entry| serde_json::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap())
        .collect();
    let key = |record: &Value| format!("{} {}", record["task"], record["trial"]["strategy"]);
    records.sort_by_key(key);
    records
}

#[test]
fn benchmarks_run_from_the_data_directory_to_the_records() {
    let desk = with_data(EXPERIMENT);
    let output = desk.sweep(&["run", "tiny.yaml", "--out", "out", "--data-dir", "data"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = records(&desk).into_iter().map(|record| {
        let metrics = record["metrics"].as_array().unwrap().iter().map(|metric| metric["metric"].as_str().unwrap());
        let items = record["items"].as_array().unwrap().iter().map(|item| item["item_id"].as_str().unwrap());
        format!(
            "{} {} {}: {} of {}",
            record["task"].as_str().unwrap(),
            record["trial"]["strategy"].as_str().unwrap(),
            record["status"].as_str().unwrap(),
            metrics.collect::<Vec<_>>().join(" "),
            items.collect::<Vec<_>>().join(" ")
        )
    });
    assert_snapshot!(shown.collect::<Vec<_>>().join("\n"), @"
    arc_easy dense done: acc acc_norm loss of q1 q2
    arc_easy top_k done: acc acc_norm loss of q1 q2
    lambada_openai dense done: acc perplexity loss of lambada_openai-0 lambada_openai-1 lambada_openai-2
    lambada_openai top_k done: acc perplexity loss of lambada_openai-0 lambada_openai-1 lambada_openai-2
    ");
    // Again, with the variable: the same cells.
    let again = desk.command(&["run", "tiny.yaml", "--out", "out"]).env("SWEEP_DATA_DIR", "data").output().unwrap();
    assert!(text(&again.stderr).contains("0 cells run, 4 already there"), "{}", text(&again.stderr));
}

#[test]
fn processes_of_a_run_read_the_same_data() {
    let desk = with_data(EXPERIMENT);
    let output =
        desk.sweep(&["run", "tiny.yaml", "--out", "out", "--workers", "2", "--device", "cpu", "--data-dir", "data"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(records(&desk).len(), 4);
}

#[test]
fn other_data_and_other_prompts_are_other_cells() {
    let desk = with_data(EXPERIMENT);
    let ids = || -> Vec<String> {
        let output = desk.sweep(&["plan", "tiny.yaml", "--json", "--data-dir", "data"]);
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        let cells = plan["cells"].as_array().unwrap().iter();
        cells.map(|cell| cell["cell_id"].as_str().unwrap().to_owned()).collect()
    };
    let first = ids();
    assert_eq!(first, ids());
    fs::write(desk.path("tiny.yaml"), format!("{EXPERIMENT}max_length: 64\n")).unwrap();
    let shorter = ids();
    assert!(shorter.iter().all(|id| !first.contains(id)), "the length of what is read enters the ids of benchmarks");
    fs::write(desk.path("tiny.yaml"), EXPERIMENT).unwrap();
    let rows = fs::read_to_string(desk.path("data/arc/ARC-Easy-Test.jsonl")).unwrap();
    fs::write(desk.path("data/arc/ARC-Easy-Test.jsonl"), rows.replace("an otter", "a bear")).unwrap();
    let changed = ids().into_iter().filter(|id| !first.contains(id)).count();
    assert_eq!(changed, 2, "the two cells of one task");
}

/// Standard error of a command that is refused.
fn refusal(desk: &Desk, arguments: &[&str]) -> String {
    let output = desk.command(arguments).env_remove("SWEEP_DATA_DIR").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    text(&output.stderr)
}

#[test]
fn what_is_missing_is_named_before_anything_runs() {
    let desk = with_data(EXPERIMENT);
    assert_snapshot!(refusal(&desk, &["plan", "tiny.yaml"]), @"
    Error: 
      × `lambada_openai`: EleutherAI/lambada_openai/default/test is not in the cache
       ╭─[tiny.yaml:3:9]
     2 │ models: [builtin:mamba2-world]
     3 │ tasks: [lambada_openai, arc_easy]
       ·         ───────┬──────
       ·                ╰── not on this machine
     4 │ strategies: [dense, top_k]
       ╰────
      help: `sweep fetch lambada_openai` downloads it and `sweep run` does so by itself; or name a folder that
            holds it with --data-dir

    Error: 
      × `arc_easy`: allenai/ai2_arc/ARC-Easy/test is not in the cache
       ╭─[tiny.yaml:3:25]
     2 │ models: [builtin:mamba2-world]
     3 │ tasks: [lambada_openai, arc_easy]
       ·                         ────┬───
       ·                             ╰── not on this machine
     4 │ strategies: [dense, top_k]
       ╰────
      help: `sweep fetch arc_easy` downloads it and `sweep run` does so by itself; or name a folder that holds
            it with --data-dir
    ");
    fs::write(desk.path("long.yaml"), EXPERIMENT.replace("[lambada_openai, arc_easy]", "[longdocs_ppl]")).unwrap();
    assert_snapshot!(refusal(&desk, &["plan", "long.yaml"]), @"
     × `longdocs_ppl` is a benchmark whose files are not part of this program, and no data directory was named
      ╭─[long.yaml:3:9]
    2 │ models: [builtin:mamba2-world]
    3 │ tasks: [longdocs_ppl]
      ·         ──────┬─────
      ·               ╰── not on this machine
    4 │ strategies: [dense, top_k]
      ╰────
     help: name the folder that holds them with --data-dir DIR or SWEEP_DATA_DIR; docs/models-and-data.md says
           what it holds
    ");
    assert_snapshot!(refusal(&desk, &["plan", "tiny.yaml", "--data-dir", "nowhere"]), @r"
    × --data-dir names nowhere, which is no folder
    help: name the folder that holds lambada/, arc/ and so on; docs/models-and-data.md describes it
    ");
    fs::remove_file(desk.path("data/arc/ARC-Easy-Test.jsonl")).unwrap();
    assert_snapshot!(refusal(&desk, &["plan", "tiny.yaml", "--data-dir", "data"]), @"
     × `arc_easy` has no data in data: there is no arc/ARC-Easy-Test.jsonl
      ╭─[tiny.yaml:3:25]
    2 │ models: [builtin:mamba2-world]
    3 │ tasks: [lambada_openai, arc_easy]
      ·                         ────┬───
      ·                             ╰── not on this machine
    4 │ strategies: [dense, top_k]
      ╰────
     help: a file may be compressed by bzip2, with .bz2 behind its name; docs/models-and-data.md says what is
           read. Without a data directory the rows of allenai/ai2_arc are downloaded
    ");
    fs::write(
        desk.path("tiny.yaml"),
        EXPERIMENT.replace("[lambada_openai, arc_easy]", "[lambada_openai]") + "fewshot: 2\n",
    )
    .unwrap();
    assert_snapshot!(refusal(&desk, &["plan", "tiny.yaml", "--data-dir", "data"]), @r"
     × `lambada_openai` has no training split to draw the examples of `fewshot` from
      ╭─[tiny.yaml:3:9]
    2 │ models: [builtin:mamba2-world]
    3 │ tasks: [lambada_openai]
      ·         ───────┬──────
      ·                ╰── not with these settings
    4 │ strategies: [dense, top_k]
      ╰────
     help: leave the task out, or set `fewshot: 0`
    ");
    fs::write(desk.path("data/lambada/lambada_test.jsonl"), "{\"text\": \"The pet\"}\n{\"texts\": 1}\n").unwrap();
    fs::write(desk.path("tiny.yaml"), EXPERIMENT.replace("[lambada_openai, arc_easy]", "[lambada_openai]")).unwrap();
    assert_snapshot!(refusal(&desk, &["plan", "tiny.yaml", "--data-dir", "data"]), @r"
     × lambada/lambada_test.jsonl:2: missing field `text`
      ╭─[tiny.yaml:3:9]
    2 │ models: [builtin:mamba2-world]
    3 │ tasks: [lambada_openai]
      ·         ───────┬──────
      ·                ╰── damaged task
    4 │ strategies: [dense, top_k]
      ╰────
     help: the row has texts; docs/models-and-data.md lists the forms that are read
    ");
}

#[test]
fn the_list_of_tasks_counts_what_is_there() {
    let desk = with_data(EXPERIMENT);
    let output = desk.sweep(&["tasks", "--data-dir", "data"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    let row = |name: &str| {
        let line = stdout.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("lambada_openai"), "lambada_openai 3 acc,");
    assert_eq!(row("arc_easy"), "arc_easy 2 acc,");
    assert_eq!(row("hellaswag"), "hellaswag not here");
}

//! `--random`: an experiment on models of the hub runs with random weights of their sizes, and says so everywhere.

use std::fs;
use std::process::Output;

use crate::desk::{Desk, TINY, text};

/// The smallest published model.
fn experiment() -> String {
    TINY.replace("builtin:mamba2-world", "hub:EleutherAI/pythia-70m@main").replace("[4, 8]", "[1, 3]")
}

/// Runs the program with a data folder that holds a tokenizer in place of GPT-NeoX's.
fn with_data(desk: &Desk, arguments: &[&str]) -> Output {
    let folder = desk.path("data/neox-tokenizer");
    fs::create_dir_all(&folder).unwrap();
    let tokenizer = ssm_model::catalog::builtin("mamba2-world").unwrap().tokenizer_json;
    fs::write(folder.join("20B_tokenizer.json"), tokenizer).unwrap();
    desk.command(arguments).args(["--data-dir", "data"]).output().unwrap()
}

fn ids(output: &Output) -> Vec<String> {
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let trials = plan["trials"].as_array().unwrap().iter();
    trials.map(|trial| trial["key"]["trial_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_run_with_random_weights_says_so_everywhere() {
    let desk = Desk::new(&experiment());
    let output = with_data(&desk, &["run", "tiny.yaml", "--random", "--limit", "1"]);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("RANDOM WEIGHTS in random:pythia-70m") && stderr.contains("4 cells run"), "{stderr}");
    let folder = desk.path("results/tiny-random");
    let report = fs::read_to_string(folder.join("report.md")).unwrap();
    assert!(
        report.contains("# tiny-random") && report.contains("**RANDOM WEIGHTS.** Never trained: `random:pythia-70m`"),
        "{report}"
    );
    let manifest = fs::read_dir(folder.join("manifests")).unwrap().next().unwrap().unwrap().path();
    let manifest: serde_json::Value = serde_json::from_str(&fs::read_to_string(manifest).unwrap()).unwrap();
    assert_eq!(manifest["random_models"], serde_json::json!(["random:pythia-70m"]));
    // What is written beside the results goes on without the flag.
    let again = with_data(&desk, &["retry", "--failed", "results/tiny-random"]);
    assert!(text(&again.stderr).contains("0 cells run, 4 already there"), "{}", text(&again.stderr));
}

#[test]
fn another_seed_is_another_model() {
    let plan = |model: &str| {
        let desk = Desk::new(&TINY.replace("builtin:mamba2-world", model));
        ids(&with_data(&desk, &["plan", "tiny.yaml", "--json"]))
    };
    let first = plan("random:mamba2-130m");
    assert_eq!(first, plan("random:mamba2-130m@0"));
    for other in ["random:mamba2-130m@1", "random:mamba-130m", "builtin:mamba2-world"] {
        assert!(plan(other).iter().all(|id| !first.contains(id)), "{other}");
    }
}

#[test]
fn without_the_tokenizer_or_a_model_to_replace_it_is_refused() {
    let refused = |experiment: &str| {
        let output =
            Desk::new(experiment).command(&["plan", "tiny.yaml", "--random"]).env_remove("SWEEP_DATA_DIR").output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(2));
        text(&output.stderr)
    };
    let stderr = refused(&experiment());
    assert!(stderr.contains("needs the tokenizer of EleutherAI/gpt-neox-20b, which is not in"), "{stderr}");
    assert!(stderr.contains("20B_tokenizer.json with --data-dir"), "{stderr}");
    let stderr = refused(TINY);
    assert!(stderr.contains("--random has nothing to replace"), "{stderr}");
}

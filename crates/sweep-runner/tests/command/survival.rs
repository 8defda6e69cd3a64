//! A sweep survives: kills, signals, full disks, other processes on its folder, and changes of what it is asked.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::desk::{Desk, TINY, text};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use sweep_runner::config;
use sweep_runner::library::Library;
use sweep_runner::plan::{self, Setting};
use sweep_runner::run::{self, RunOptions, Shard};

/// Two tasks under two protocols, in several groups each.
const GROUPED: &str = "\
name: grouped
models: [builtin:mamba2-world]
tasks: [world_lambada, world_piqa]
protocols: [context, upstream]
strategies:
  - dense
  - random: { seeds: [0] }
  - utrc
schedule: { sites: [4, 8], keep_ratio: [0.8] }
upstream_batch_size: 16
limit: 120
";

const RUN: [&str; 4] = ["run", "tiny.yaml", "--out", "out"];

impl Desk {
    fn start(&self) -> Child {
        self.command(&RUN).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn names(&self, folder: &str) -> BTreeSet<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn json(&self, file: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(file)).unwrap()).unwrap()
    }

    /// Groups of all families.
    fn groups(&self) -> u64 {
        self.json("out/groups.json").as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
    }

    /// Groups that each process finished.
    fn groups_by_process(&self) -> Vec<u64> {
        let manifests = self.names("out/manifests");
        let groups = |name: &String| self.json(&format!("out/manifests/{name}"))["groups"].as_u64().unwrap();
        manifests.iter().filter(|name| !name.starts_with('.')).map(groups).collect()
    }

    /// Every file that has its name is whole.
    fn assert_whole(&self) {
        for folder in ["cells", "parts"] {
            for name in self.names(&format!("out/{folder}")).iter().filter(|name| !name.starts_with('.')) {
                let content = fs::read_to_string(self.path("out").join(folder).join(name)).unwrap();
                assert!(content.lines().count() > 0, "{name} is empty");
                for line in content.lines() {
                    serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{folder}/{name}: {error}"));
                }
            }
        }
    }

    /// Nothing is left of the way there.
    fn assert_tidy(&self) {
        for folder in ["parts", "leases"] {
            assert_eq!(self.names(&format!("out/{folder}")), BTreeSet::new(), "{folder}");
        }
        for folder in ["", "cells", "manifests", "tables", "figures"] {
            let names = self.names(&format!("out/{folder}"));
            assert!(names.iter().all(|name| !name.starts_with('.') || name == ".sweep-results"), "{names:?}");
        }
    }

    /// Waits for a part of a cell that will lack other groups for a while, and kills the process there.
    fn kill_at_a_part(&self, child: &mut Child) -> PathBuf {
        let started = Instant::now();
        self.wait_for("part", "out/parts");
        let groups = self.json("out/groups.json");
        let stays = |name: &String| {
            let family = name.split('-').next().and_then(|family| groups[family].as_u64());
            !name.starts_with('.') && family.is_some_and(|count| count > 2)
        };
        loop {
            assert!(started.elapsed() < Duration::from_mins(2), "no part within two minutes");
            if let Some(name) = self.names("out/parts").into_iter().find(stays) {
                child.kill().unwrap();
                child.wait().unwrap();
                let path = self.path("out/parts").join(name);
                assert!(path.exists(), "the cells were recorded before the process was killed");
                return path;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn wait_for(&self, what: &str, folder: &str) {
        let started = Instant::now();
        while !self.names(folder).iter().any(|name| !name.starts_with('.')) {
            assert!(started.elapsed() < Duration::from_mins(2), "no {what} within two minutes");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Sends a signal.
fn signal(child: &Child, name: &str) {
    let sent = std::process::Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

fn cells_run(said: &str) -> usize {
    let line = said.lines().find(|line| line.contains(" cells run, ")).unwrap_or_else(|| panic!("{said}"));
    line.split(' ').next().unwrap().parse().unwrap()
}

/// Kills runs of one experiment at random moments, `kills` of them altogether, starting each anew until it ends.
#[expect(clippy::print_stderr, reason = "shown with --nocapture: which moments were tried")]
fn kill_at_random_moments(kills: usize, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let undisturbed = Desk::new(GROUPED);
    let started = Instant::now();
    undisturbed.run("out");
    let took = started.elapsed();
    let frames = undisturbed.frames("out");
    let mut killed = 0;
    while killed < kills {
        let desk = Desk::new(GROUPED);
        loop {
            let mut child = desk.start();
            // Short lives are many, so that some end while the folder is made and some while figures are drawn.
            let life = took.mul_f64(random.random_range(0.0_f64..1.0).powi(2));
            let started = Instant::now();
            let ended = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break Some(status);
                }
                if killed < kills && started.elapsed() >= life {
                    break None;
                }
                thread::sleep(Duration::from_millis(1));
            };
            if let Some(status) = ended {
                assert!(status.success(), "{status}");
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            killed += 1;
            eprintln!("killed after {life:?}");
            desk.assert_whole();
        }
        // No finished group was run again (a process may have been killed before it counted its last one).
        let finished: u64 = desk.groups_by_process().iter().sum();
        assert!(finished <= desk.groups(), "{finished} groups were finished, there are {}", desk.groups());
        assert!(desk.run("out").starts_with("0 cells run"));
        assert_eq!(desk.frames("out"), frames, "after {killed} kills");
        desk.assert_tidy();
    }
    eprintln!("{killed} kills; an undisturbed run takes {took:?}");
}

#[test]
fn a_run_that_is_killed_goes_on() {
    kill_at_random_moments(5, 1);
}

#[test]
#[ignore = "takes minutes: just test-survival"]
fn a_run_survives_fifty_kills() {
    kill_at_random_moments(50, 2);
}

#[test]
fn two_processes_share_the_work_and_run_nothing_twice() {
    let (desk, alone) = (Desk::new(GROUPED), Desk::new(GROUPED));
    let children = [desk.start(), desk.start(), desk.start()];
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
    }
    let finished = desk.groups_by_process();
    assert_eq!(finished.len(), 3);
    assert_eq!(finished.iter().sum::<u64>(), desk.groups(), "{finished:?}");
    assert!(finished.iter().filter(|groups| **groups > 0).count() > 1, "several took part: {finished:?}");
    desk.assert_whole();
    desk.assert_tidy();
    alone.run("out");
    assert_eq!(desk.frames("out"), alone.frames("out"));
    assert_eq!(fs::read(desk.path("out/guards.json")).unwrap(), fs::read(alone.path("out/guards.json")).unwrap());
}

#[test]
fn what_a_dead_process_held_is_taken_over() {
    let (desk, alone) = (Desk::new(GROUPED), Desk::new(GROUPED));
    let mut first = desk.start();
    desk.wait_for("lease", "out/leases");
    desk.wait_for("part", "out/parts");
    let second = desk.start();
    thread::sleep(Duration::from_millis(300));
    first.kill().unwrap();
    first.wait().unwrap();
    let status = text(&desk.sweep(&["status", "out"]).stdout);
    assert!(status.contains("builtin:mamba2-world"), "{status}");
    assert!(second.wait_with_output().unwrap().status.success());
    alone.run("out");
    desk.assert_tidy();
    assert_eq!(desk.frames("out"), alone.frames("out"));
}

#[test]
fn signals_end_a_run_in_order_and_have_their_own_exit_codes() {
    let desk = Desk::new(GROUPED);
    for (name, code) in [("INT", 130), ("TERM", 143), ("USR1", 75)] {
        let child = desk.command(&RUN).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        desk.wait_for("lease of a group", "out/leases");
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{name}: {stderr}");
        assert!(
            stderr.contains(&format!("stopped by SIG{name}")) && stderr.contains("run the same command"),
            "{stderr}"
        );
        assert_eq!(desk.names("out/leases"), BTreeSet::new(), "leases are given back");
    }
    desk.run("out");
    desk.assert_tidy();
}

/// A file that cannot grow is met like a disk that is full.
#[test]
fn a_full_disk_is_an_error_that_names_the_file_and_the_next_run_goes_on() {
    let (desk, alone) = (Desk::new(GROUPED), Desk::new(GROUPED));
    let sweep = assert_cmd::cargo::cargo_bin!("sweep").display().to_string();
    let script = format!("trap '' XFSZ; ulimit -f 60; exec '{sweep}' run tiny.yaml --out out");
    let mut command = std::process::Command::new("sh");
    let output = command.args(["-c", &script]).current_dir(desk.path("")).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("no room for out/") && stderr.contains("File too large"), "{stderr}");
    assert!(stderr.contains("run the same command again"), "{stderr}");
    assert_eq!(desk.names("out/leases"), BTreeSet::new());
    desk.assert_whole();
    desk.run("out");
    alone.run("out");
    desk.assert_tidy();
    assert_eq!(desk.frames("out"), alone.frames("out"));
}

#[test]
fn shards_cut_the_work_and_the_report_merges_it() {
    let (library, desk, alone) = (Library::new(), Desk::new(GROUPED), Desk::new(GROUPED));
    let experiment = config::load_str("tiny.yaml", GROUPED, &library).unwrap();
    let plan = plan::build(&experiment, &Setting::default(), &library).unwrap();
    let out = desk.path("out");
    let mut unfinished = Vec::new();
    for index in [2, 0, 1] {
        let options = RunOptions { shard: Some(Shard { index, count: 3 }), ..RunOptions::default() };
        unfinished.push(run::run(&experiment, &plan, &library, &out, &options).unwrap().unfinished);
    }
    assert!(unfinished.is_sorted_by(|a, b| a > b) && unfinished[2] == 0, "{unfinished:?}");
    let report = desk.sweep(&["report", "out"]);
    assert!(report.status.success(), "{}", text(&report.stderr));
    alone.run("out");
    assert_eq!(desk.frames("out"), alone.frames("out"));
    desk.assert_tidy();
}

#[test]
fn other_weights_are_refused_with_what_differs() {
    let desk = Desk::new(&TINY.replace("builtin:mamba2-world", "model"));
    let weights = desk.model_folder().join("model.safetensors");
    desk.run("out");
    let before = desk.names("out/cells");
    let mut bytes = fs::read(&weights).unwrap();
    // The last bytes are some weight; its low mantissa bits may be anything.
    let place = bytes.len() - 4;
    bytes[place] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let plan = fs::read(desk.path("out/plan.json")).unwrap();
    let output = desk.sweep(&RUN);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    let old = serde_json::from_slice::<Value>(&plan).unwrap()["digests"]["weights of model"].clone();
    for word in ["weights of model: ", old.as_str().unwrap(), " now", "--out", "--accept-changes"] {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
    assert!(!stderr.contains("tokenizer of model"), "{stderr}");
    assert_eq!(fs::read(desk.path("out/plan.json")).unwrap(), plan, "nothing is written");
    let output = desk.sweep(&[&RUN[..], &["--accept-changes"]].concat());
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(cells_run(&stderr), 4, "{stderr}");
    let after = desk.names("out/cells");
    assert!(after.is_superset(&before) && after.len() == 8, "the old records stay");
    assert_eq!(cells_run(&desk.run("out")), 0);
}

#[test]
fn only_what_is_new_or_changed_is_run() {
    let desk = Desk::new(TINY);
    desk.run("out");
    let contents = |names: &BTreeSet<String>| -> Vec<Vec<u8>> {
        names.iter().map(|name| fs::read(desk.path("out/cells").join(name)).unwrap()).collect()
    };
    let first = desk.names("out/cells");
    let (was, rewrite) = (contents(&first), |text: &str| fs::write(desk.path("tiny.yaml"), text).unwrap());
    rewrite(&TINY.replace("[0.8]", "[0.8, 0.7]"));
    assert!(desk.run("out").contains("2 cells run, 4 already there, 0 failed"));
    rewrite(&TINY.replace("world_piqa]", "world_piqa, world_winogrande]"));
    assert!(desk.run("out").contains("2 cells run, 4 already there, 0 failed"));
    rewrite(&TINY.replace("[4, 8]", "[4, 9]"));
    assert!(desk.run("out").contains("2 cells run, 2 already there, 0 failed"), "`dense` has no sites");
    rewrite(TINY);
    assert!(desk.run("out").contains("0 cells run, 4 already there, 0 failed"), "the old cells are still there");
    assert_eq!(contents(&first), was);
}

/// A results folder in which two cells failed, though the experiment is sound.
fn with_failures(desk: &Desk) {
    let library = Library::new();
    let experiment = config::load_str("tiny.yaml", TINY, &library).unwrap();
    let mut plan = plan::build(&experiment, &Setting::default(), &library).unwrap();
    plan.trials.iter_mut().find(|trial| trial.key.strategy == "random").unwrap().key.keep_ratio = Some(1.5);
    run::run(&experiment, &plan, &library, &desk.path("out"), &RunOptions::default()).unwrap();
    // The records are those of the sound experiment but for how they ended.
    for cell in desk.cells("out") {
        let text = fs::read_to_string(&cell).unwrap();
        fs::write(&cell, text.replace("\"keep_ratio\":1.5", "\"keep_ratio\":0.8")).unwrap();
    }
}

#[test]
fn failed_cells_are_shown_left_alone_and_retried() {
    let (desk, alone) = (Desk::new(TINY), Desk::new(TINY));
    with_failures(&desk);
    let status = text(&desk.sweep(&["status", "out"]).stdout);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let row = status.lines().find(|line| line.contains("builtin:mamba2-world")).unwrap();
    assert_eq!(words(row), ["builtin:mamba2-world", "4", "2", "2", "0", "2", "of", "2"], "{status}");
    assert!(status.contains("failed (`sweep retry --failed` runs them again)") && status.contains("1.5"), "{status}");
    // What to do about it reaches everybody who is told that it failed.
    let hint = "keep_ratio is the share of tokens that is kept";
    assert!(status.contains(&format!("hint: {hint}")), "{status}");
    assert!(desk.sweep(&["report", "out"]).status.success());
    let report = fs::read_to_string(desk.path("out/report.md")).unwrap();
    assert!(report.contains(&format!("(hint: {hint}")), "{report}");
    let guards = fs::read_to_string(desk.path("out/guards.json")).unwrap();
    assert!(guards.contains(&format!("\"hint\": \"{hint}")), "{guards}");
    let output = desk.sweep(&RUN);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("0 cells run, 2 already there") && stderr.contains("2 cells failed in an earlier run"));
    let refused = desk.sweep(&["retry", "out"]);
    assert_eq!(refused.status.code(), Some(2), "what is retried must be said");
    let output = desk.sweep(&["retry", "out", "--failed"]);
    let stderr = text(&output.stderr);
    assert!(output.status.success() && stderr.contains("2 cells run, 2 already there, 0 failed"), "{stderr}");
    alone.run("out");
    assert_eq!(desk.frames("out"), alone.frames("out"));
    let status: Value = serde_json::from_slice(&desk.sweep(&["status", "out", "--json"]).stdout).unwrap();
    assert_eq!(status["models"][0]["done"], 4);
    assert_eq!(status["failures"], serde_json::json!({}));
    assert_eq!(status["leases"], serde_json::json!([]));
}

#[test]
fn status_names_who_is_running_what() {
    let desk = Desk::new(GROUPED);
    let mut child = desk.start();
    desk.wait_for("part", "out/parts");
    let status: Value = serde_json::from_slice(&desk.sweep(&["status", "out", "--json"]).stdout).unwrap();
    let lease = &status["leases"][0];
    assert_eq!(lease["holder"][1], child.id(), "{status}");
    assert!(lease["work"].as_str().unwrap().contains("builtin:mamba2-world world_"), "{status}");
    assert_eq!(lease["stale"], false);
    desk.kill_at_a_part(&mut child);
    let status = text(&desk.sweep(&["status", "out"]).stdout);
    assert!(status.contains("stale, taken over by the next run") && status.contains("group "), "{status}");
    let nothing = desk.sweep(&["status", "elsewhere"]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(text(&nothing.stderr).contains("results/smoke"), "{}", text(&nothing.stderr));
}

/// A damaged part is no part: its group is run again.
#[test]
fn a_damaged_part_is_run_again() {
    let (desk, alone) = (Desk::new(GROUPED), Desk::new(GROUPED));
    let mut child = desk.start();
    let part = desk.kill_at_a_part(&mut child);
    let content = fs::read(&part).unwrap();
    fs::write(&part, &content[..content.len() / 2]).unwrap();
    desk.run("out");
    alone.run("out");
    assert_eq!(desk.frames("out"), alone.frames("out"));
    desk.assert_tidy();
}

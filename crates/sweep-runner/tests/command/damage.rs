//! What a run finds in its folder is looked at before it is believed: damage, records of something else, results of other code.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use crate::desk::{Desk, TINY, text};
use serde_json::{Value, json};
use sweep_runner::record::lease::{Leases, Taken};

const RUN: [&str; 4] = ["run", "tiny.yaml", "--out", "out"];

impl Desk {
    /// A finished run.
    fn finished(experiment: &str) -> Self {
        let desk = Self::new(experiment);
        desk.run("out");
        desk
    }

    fn cell_of(&self, strategy: &str, task: &str) -> PathBuf {
        let is_it = |path: &PathBuf| {
            let cell = json_of(path);
            cell["trial"]["strategy"] == strategy && cell["task"] == task
        };
        self.cells("out").into_iter().find(is_it).unwrap()
    }

    /// Names of what was moved away, below `out`.
    fn moved(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path("out").join(folder)).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn json_of(path: &PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn change(path: &PathBuf, change: impl FnOnce(&mut Value)) {
    let mut value = json_of(path);
    change(&mut value);
    fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stderr)
}

/// Does something to a record.
type Damage<'a> = Box<dyn Fn() + 'a>;

/// Each damage is seen by everybody; a report names the file and writes nothing, a run makes the cell again.
#[test]
fn a_record_that_cannot_be_is_moved_away_and_made_again() {
    let desk = Desk::finished(TINY);
    let frames = desk.frames("out");
    let path = desk.cell_of("random", "world_piqa");
    let sound = fs::read(&path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let contribution = |value: &mut Value, pair: Value| value["metrics"][0]["contributions"][1] = pair;
    let damages: Vec<(&str, Damage<'_>)> = vec![
        (
            "missing field `items`",
            Box::new(|| change(&path, |cell| drop(cell.as_object_mut().unwrap().remove("items")))),
        ),
        (
            "it is of cell",
            Box::new(|| {
                fs::copy(desk.cell_of("dense", "world_piqa"), &path).unwrap();
            }),
        ),
        ("it is of cell 0123", Box::new(|| change(&path, |cell| cell["cell_id"] = "0123".into()))),
        ("`protocol`", Box::new(|| change(&path, |cell| cell["trial"]["protocol"] = "foo".into()))),
        ("more than all of it", Box::new(|| change(&path, |cell| contribution(cell, json!([5.0, 1.0]))))),
        ("a negative weight", Box::new(|| change(&path, |cell| contribution(cell, json!([0.0, -1.0]))))),
        (
            "`correct` is",
            Box::new(|| {
                change(&path, |cell| {
                    let was = cell["items"][1]["correct"].as_bool().unwrap();
                    contribution(cell, json!([f64::from(u8::from(!was)), 1.0]));
                });
            }),
        ),
        (
            "the log-likelihood is -",
            Box::new(|| {
                change(&path, |cell| {
                    let metrics = cell["metrics"].as_array_mut().unwrap();
                    let loss = metrics.iter_mut().find(|metric| metric["metric"] == "loss").unwrap();
                    loss["contributions"][1][0] = 99.0.into();
                });
            }),
        ),
        (
            "1 contributions for 2 items",
            Box::new(|| {
                change(&path, |cell| {
                    cell["metrics"][0]["contributions"].as_array_mut().unwrap().pop();
                });
            }),
        ),
        ("coverage is 1.5", Box::new(|| change(&path, |cell| cell["items"][0]["coverage"] = 1.5.into()))),
        ("record version 1", Box::new(|| change(&path, |cell| cell["schema_version"] = 1.into()))),
        ("EOF", Box::new(|| fs::write(&path, &sound[..0]).unwrap())),
        ("EOF", Box::new(|| fs::write(&path, &sound[..sound.len() / 2]).unwrap())),
        ("expected value", Box::new(|| fs::write(&path, [0xff, 0xfe, 0x00]).unwrap())),
    ];
    for (index, (why, damage)) in damages.iter().enumerate() {
        damage();
        let trials = fs::read(desk.path("out/trials.parquet")).unwrap();
        for command in ["analyse", "report"] {
            let output = desk.sweep(&[command, "out"]);
            let stderr = text(&output.stderr);
            // A task or protocol that the plan does not ask for is told from the plan's families.
            assert_eq!(output.status.code(), Some(1), "{why}: {stderr}");
            assert!(stderr.contains(&name) && stderr.contains("`sweep run`"), "{why}: {stderr}");
            assert!(
                path.exists() && fs::read(desk.path("out/trials.parquet")).unwrap() == trials,
                "nothing is written"
            );
        }
        let stderr = said(&desk.sweep(&RUN));
        assert!(stderr.contains(&name) && stderr.contains(why), "{why}: {stderr}");
        assert!(stderr.contains("1 cells run, 3 already there, 0 failed"), "{why}: {stderr}");
        assert_eq!(desk.frames("out"), frames, "{why}");
        assert_eq!(desk.moved("damaged/cells").len(), index + 1, "{why}: nothing is lost");
    }
    let status = text(&desk.sweep(&["status", "out"]).stdout);
    assert!(!status.contains("damaged"), "{status}");
    fs::write(&path, "{}").unwrap();
    let status = text(&desk.sweep(&["status", "out"]).stdout);
    assert!(status.contains("damaged (the next `sweep run`") && status.contains(&name), "{status}");
}

#[test]
fn damaged_files_beside_the_cells_block_nothing() {
    let desk = Desk::finished(TINY);
    let (frames, guards) = (desk.frames("out"), fs::read(desk.path("out/guards.json")).unwrap());
    let manifest = fs::read_dir(desk.path("out/manifests")).unwrap().next().unwrap().unwrap().path();
    let manifest = format!("manifests/{}", manifest.file_name().unwrap().to_str().unwrap());
    let out_of_range = String::from_utf8(guards.clone()).unwrap().replacen("\"measured\": 1.0", "\"measured\": 7.0", 1);
    for (name, content) in [
        ("guards.json", &guards[..guards.len() / 2]),
        ("guards.json", out_of_range.as_bytes()),
        ("guards.json", b""),
        ("plan.json", b"{\"experiment\": \"ti"),
        ("groups.json", b"\xff\xff"),
        (&manifest, b"[]"),
    ] {
        fs::write(desk.path("out").join(name), content).unwrap();
        if name != "plan.json" {
            let status = desk.sweep(&["status", "out"]);
            assert!(said(&status).is_empty() && text(&status.stdout).contains(name), "{name}");
        }
        let stderr = said(&desk.sweep(&RUN));
        assert!(stderr.contains("damaged/") && stderr.contains(name), "{name}: {stderr}");
        assert!(stderr.contains("0 cells run, 4 already there, 0 failed"), "{name}: {stderr}");
        assert_eq!(desk.frames("out"), frames, "{name}");
        assert_eq!(fs::read(desk.path("out/guards.json")).unwrap(), guards, "{name}");
        assert!(desk.sweep(&["status", "out"]).status.success());
    }
    assert_eq!(
        desk.moved("damaged"),
        ["groups.json", "guards.1.json", "guards.2.json", "guards.json", "manifests", "plan.json"]
    );
}

#[test]
fn cells_of_other_code_are_made_again_and_those_of_other_rules_are_not() {
    let desk = Desk::finished(TINY);
    let frames = desk.frames("out");
    let edited = |rule: &str| {
        for task in ["world_lambada", "world_piqa"] {
            change(&desk.cell_of("random", task), |cell| cell["code"]["rule"] = rule.into());
        }
    };
    edited("another constant");
    // What other code made may be meant to stay.
    let stderr = said(&desk.sweep(&[&RUN[..], &["--keep-other-code"]].concat()));
    assert!(stderr.contains("0 cells run, 4 already there"), "{stderr}");
    let stderr = said(&desk.sweep(&RUN));
    assert!(stderr.contains("2 cells of `random` were made before the code of their rule changed"), "{stderr}");
    assert!(stderr.contains("2 cells run, 2 already there, 0 failed"), "{stderr}");
    assert_eq!(desk.moved("other-code/cells").len(), 2);
    assert_eq!(desk.frames("out"), frames);
    assert!(desk.run("out").contains("0 cells run, 4 already there"));
    // One of two: a report says that they do not belong together.
    change(&desk.cell_of("random", "world_piqa"), |cell| cell["code"]["rule"] = "another constant".into());
    let stderr = said(&desk.sweep(&["report", "out"]));
    assert!(stderr.contains("the cells of `random` were made by 2 versions of its code"), "{stderr}");
    for cell in desk.cells("out") {
        change(&cell, |cell| cell["code"]["shared"] = "another model".into());
    }
    let stderr = said(&desk.sweep(&RUN));
    assert!(stderr.contains("by other code of models, scores or what all rules share"), "{stderr}");
    assert!(stderr.contains("4 cells run, 0 already there, 0 failed"), "{stderr}");
    // As a version of before there were digests wrote it.
    change(&desk.cell_of("dense", "world_piqa"), |cell| drop(cell.as_object_mut().unwrap().remove("code")));
    let stderr = said(&desk.sweep(&RUN));
    assert!(stderr.contains("1 cells of `dense` were made by a program that did not say"), "{stderr}");
    assert!(stderr.contains("1 cells run, 3 already there, 0 failed"), "{stderr}");
    assert_eq!(desk.frames("out"), frames);
}

#[test]
fn guards_of_other_code_run_again() {
    let desk = Desk::finished(TINY);
    let path = desk.path("out/guards.json");
    let guards = fs::read(&path).unwrap();
    change(&path, |rows| {
        for row in rows.as_array_mut().unwrap() {
            row["code"]["rule"] = "another constant".into();
            row["passed"] = false.into();
        }
    });
    assert!(desk.run("out").contains("0 cells run, 4 already there"));
    assert_eq!(fs::read(&path).unwrap(), guards);
}

#[test]
fn a_process_of_another_build_is_waited_for_by_people() {
    let desk = Desk::finished(TINY);
    let plan = desk.path("out/plan.json");
    let before = fs::read(&plan).unwrap();
    // This process lives, and holds a lease as another build would.
    let leases = Leases::open(&desk.path("out/leases"));
    let Taken::Mine(lease) = leases.take("group", "some group").unwrap() else { panic!("nobody holds it") };
    let path = fs::read_dir(desk.path("out/leases")).unwrap().next().unwrap().unwrap().path();
    assert!(desk.sweep(&RUN).status.success(), "the same build");
    change(&path, |record| record["build"] = "another".into());
    let output = desk.sweep(&RUN);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    let who = format!("process {} on", std::process::id());
    assert!(stderr.contains(&who) && stderr.contains("another build") && stderr.contains("some group"), "{stderr}");
    assert_eq!(fs::read(&plan).unwrap(), before);
    drop(lease);
}

/// The same weights under another name, the same sites under another word: the numbers are the same, the labels are the plan's.
#[test]
fn a_record_says_what_the_plan_says_of_it() {
    let desk = Desk::finished(TINY);
    let frames = desk.frames("out");
    for cell in desk.cells("out") {
        change(&cell, |cell| {
            cell["trial"]["model"] = "elsewhere".into();
            cell["trial"]["schedule"] = "in other words".into();
        });
    }
    assert!(desk.run("out").contains("0 cells run, 4 already there"));
    assert_eq!(desk.frames("out"), frames);
}

#[test]
fn probes_are_looked_at_like_cells() {
    let desk = Desk::finished(&format!("{TINY}probes: [leak]\n"));
    let of = |strategy: &str| {
        let entries = fs::read_dir(desk.path("out/probes")).unwrap().map(|entry| entry.unwrap().path());
        entries.into_iter().find(|path| json_of(path)["trial"]["strategy"] == strategy).unwrap()
    };
    let frame = fs::read(desk.path("out/probe_leak.parquet")).unwrap();
    change(&of("random"), |probe| probe["rows"][0]["contributions"][0][1] = Value::Null);
    change(&of("dense"), |probe| probe["code"]["rule"] = "another constant".into());
    let stderr = said(&desk.sweep(&RUN));
    assert!(stderr.contains("2 probes run, 2 already there, 0 failed"), "{stderr}");
    assert_eq!((desk.moved("damaged/probes").len(), desk.moved("other-code/probes").len()), (1, 1), "{stderr}");
    assert_eq!(fs::read(desk.path("out/probe_leak.parquet")).unwrap(), frame);
}

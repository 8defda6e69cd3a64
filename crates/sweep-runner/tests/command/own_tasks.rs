//! Tasks of a user: the example of the documentation, from the file to the figure, and what is refused before a run.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::desk::{Desk, text};

/// The first block of this language on a page.
fn block(page: &str, language: &str) -> String {
    let start = page.split(&format!("```{language}\n")).nth(1).unwrap();
    start.split("```").next().unwrap().to_owned()
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/own-tasks.md")).unwrap()
}

#[test]
fn the_documented_example_runs_from_the_file_to_the_report() {
    let page = page();
    let desk = Desk::new(&block(&page, "yaml"));
    fs::write(desk.path("capitals.jsonl"), block(&page, "json")).unwrap();
    let run = desk.sweep(&["run", "tiny.yaml", "--out", "capitals"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let report = fs::read_to_string(desk.path("capitals/report.md")).unwrap();
    assert!(report.contains("| capitals (loss) |"), "{report}");
    // Both items name the person and the town: four tokens at least of each context are marked.
    let cells: Vec<String> = fs::read_dir(desk.path("capitals/cells"))
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    assert!(cells.iter().all(|cell| cell.contains("\"task\":\"capitals\"")));
    // The content of the file decides the ids, its place does not.
    let plan = |file: &str| text(&desk.sweep(&["plan", file, "--json"]).stdout);
    let before = plan("tiny.yaml");
    fs::create_dir(desk.path("other")).unwrap();
    fs::copy(desk.path("capitals.jsonl"), desk.path("other/capitals.jsonl")).unwrap();
    let moved = block(&page, "yaml").replace("./capitals.jsonl", "./other/");
    fs::write(desk.path("moved.yaml"), moved).unwrap();
    let ids = |plan: &str| -> Vec<String> {
        plan.lines().filter(|line| line.contains("\"cell_id\"")).map(str::to_owned).collect()
    };
    assert!(!ids(&before).is_empty());
    assert_eq!(ids(&before), ids(&plan("moved.yaml")));
    let changed = block(&page, "json").replace("Rome", "Bonn");
    fs::write(desk.path("capitals.jsonl"), changed).unwrap();
    assert_ne!(ids(&before), ids(&plan("tiny.yaml")));
}

#[test]
fn files_that_are_no_tasks_are_refused_in_the_plan() {
    let page = page();
    let lines = block(&page, "json");
    let (first, second) = lines.trim().split_once('\n').unwrap();
    let desk = Desk::new(&block(&page, "yaml"));
    let refused = |content: &str| {
        fs::write(desk.path("capitals.jsonl"), content).unwrap();
        let plan = desk.sweep(&["plan", "tiny.yaml"]);
        assert!(!plan.status.success(), "{content}");
        text(&plan.stderr).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for (content, problem) in [
        (String::new(), "the file holds no item"),
        (format!("{first}\n{first}\n"), "the id `capital-1` is already on line 1"),
        (format!("{first}\n\n{second}\n"), "the line is blank; each line is one item"),
        (
            format!("{first}\n{{\"id\": \"b\", \"text\": \"A b\"}}\n"),
            "this is an item of running text, but the first line is an item with a `target`",
        ),
        (first.replace("\"target\"", "\"taget\""), "unknown field `taget`"),
        (format!("{first}\n{}", second.replace("\" Kiev\"", "\" \"")), "`target` is white space only"),
    ] {
        let said = refused(&content);
        assert!(said.contains(problem), "{problem}: {said}");
        assert!(said.contains("capitals.jsonl"), "{said}");
    }
    for read in [format!("\u{feff}{first}\r\n{second}\r\n\r\n\n"), format!("{first}\n{second}")] {
        fs::write(desk.path("capitals.jsonl"), read).unwrap();
        let plan = desk.sweep(&["plan", "tiny.yaml"]);
        assert!(plan.status.success(), "{}", text(&plan.stderr));
    }
    fs::remove_file(desk.path("capitals.jsonl")).unwrap();
    let plan = desk.sweep(&["plan", "tiny.yaml"]);
    assert!(text(&plan.stderr).contains("there is no file"), "{}", text(&plan.stderr));
}

/// An item of 20,000 tokens takes many passes before its first cell (the guards), each of them longer than a user waits.
#[test]
fn a_signal_ends_a_run_inside_a_long_item() {
    let desk = Desk::new(
        "name: long\nmodels: [builtin:mamba2-world]\ntasks: [./long.jsonl]\nstrategies: [dense, tome]\nschedule: { sites: [4, 8], \
         keep_ratio: 0.8 }\n",
    );
    let target = " gecko".repeat(20_000);
    let item = |id: &str| format!(r#"{{"id": "{id}", "context": "The pet of Theo was a", "target": "{target}"}}"#);
    fs::write(desk.path("long.jsonl"), format!("{}\n{}\n", item("a"), item("b"))).unwrap();
    let plan = text(&desk.sweep(&["plan", "tiny.yaml"]).stdout);
    assert!(plan.contains("which is read whole: `max_length` (2048) is for benchmarks"), "{plan}");
    let child =
        desk.command(&["run", "tiny.yaml", "--out", "out"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap();
    let guarding = || fs::read_dir(desk.path("out/leases")).is_ok_and(|mut leases| leases.next().is_some());
    while !guarding() {
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_secs(1));
    let asked = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", text(&output.stderr));
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    let guards = fs::read_to_string(desk.path("out/guards.json")).unwrap();
    assert!(!guards.contains("stopped before its end"), "{guards}");
}

/// One item with a target, compressed by bzip2.
const PACKED: &[u8] =
    b"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x6d\x2e\x4c\x98\x00\x00\x21\x5b\x80\x00\x10\x50\x04\x00\x10\x04\x00\x2f\
    \xe9\xdc\xca\x20\x00\x50\xa0\x00\x68\x19\x32\x06\x89\x3c\xa7\xa9\xea\x68\x07\xa0\xd4\x95\x25\x15\xb3\x5f\x98\xdf\
    \x80\x83\xad\x0a\x4d\x58\x15\x0c\xd7\x3b\x24\x44\x1e\x28\xce\xf9\xb0\x7b\xad\x70\xc8\x7e\x04\x12\xd2\xa9\x29\xf8\
    \xbb\x92\x29\xc2\x84\x83\x69\x72\x64\xc0";

/// Hidden files are those of editors and of macOS; what a single file may be, a file of a folder may be.
#[test]
fn a_folder_is_its_files_of_items() {
    let line = block(&page(), "json");
    let desk = Desk::new(&block(&page(), "yaml").replace("./capitals.jsonl", "./tasks/"));
    let tasks = desk.path("tasks");
    fs::create_dir_all(tasks.join("folder.jsonl")).unwrap();
    for name in ["plain.jsonl", ".hidden.jsonl", "._plain.jsonl", "notes.txt"] {
        fs::write(tasks.join(name), if name == "plain.jsonl" { &line } else { "no item" }).unwrap();
    }
    fs::write(tasks.join("packed.jsonl.bz2"), PACKED).unwrap();
    let plan = desk.sweep(&["plan", "tiny.yaml", "--json"]);
    assert!(plan.status.success(), "{}", text(&plan.stderr));
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    let names: Vec<&str> =
        plan["tasks"].as_array().unwrap().iter().map(|task| task["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["packed", "plain"]);
}

//! Tasks of a user: the example of the documentation, from the file to the figure, and what is refused before a run.

mod desk;

use std::fs;
use std::path::Path;

use desk::{Desk, text};

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
        (format!("{first}\n\n{second}\n"), "the line is blank: one item a line"),
        (
            format!("{first}\n{{\"id\": \"b\", \"text\": \"A b\"}}\n"),
            "an item of running text, but the task asks an item with a target",
        ),
        (first.replace("\"target\"", "\"taget\""), "unknown field `taget`"),
        (format!("{first}\n{}", second.replace("\" Kiev\"", "\" \"")), "`target` has an empty text"),
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

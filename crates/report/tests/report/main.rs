//! `report` over a fake experiment: files, contents, determinism.

#[path = "../../../analysis/tests/support/mod.rs"]
mod support;
mod timed;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hint::Hint;
use support::Shape;

fn names(files: &[PathBuf], kind: &str) -> BTreeSet<String> {
    files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == kind))
        .filter_map(|file| file.file_stem().map(|stem| stem.to_string_lossy().into_owned()))
        .collect()
}

/// Writes the full fake experiment where a person can look at the figures: `target/tmp/report`.
#[test]
fn the_full_experiment_has_every_figure() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    let _ = fs::remove_dir_all(&dir);
    support::write(&dir, &Shape::full());
    let summary = report::run(&dir).expect("a complete experiment");
    assert!(summary.failed > 0 && summary.unfinished == 1);
    for file in summary.figures.iter().chain(&summary.tables) {
        assert!(fs::metadata(file).expect("written").len() > 0, "{}", file.display());
    }
    let svg = names(&summary.figures, "svg");
    for expected in [
        "accuracy_vs_flops_mamba2-world_context",
        "tasks_vs_flops_mamba-world_upstream",
        "differences_mamba2-world_context",
        "layer_ratio_mamba-world_context",
        "protocol_comparison_30",
        "token_map_world_lambada",
    ] {
        assert!(svg.contains(expected), "{expected} is missing from {svg:?}");
    }
    for kind in ["pdf", "png", "csv", "json"] {
        assert_eq!(names(&summary.figures, kind), svg, "{kind}");
    }
    // Sweeps over single sites were run under one protocol only.
    assert!(!svg.contains("layer_ratio_mamba-world_upstream"));
    let tables = names(&summary.tables, "tex");
    assert!(tables.contains("main_mamba2-world_context") && tables.contains("protocols"));
    assert_eq!(names(&summary.tables, "md"), tables);
}

#[test]
fn the_page_says_what_a_reader_must_know() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-small");
    let _ = fs::remove_dir_all(&dir);
    support::write(&dir, &Shape::small());
    let summary = report::run(&dir).expect("a complete experiment");
    let page = fs::read_to_string(summary.report).expect("the page");
    for needle in [
        "**Question.** How much of the accuracy loss",
        "**LIMITED.**",
        "cells failed",
        "index 37 is out of range for the rows kept",
        "1 of",
        "planned cells are not finished",
        "for reproduction only",
        "`random` is the mean of 3 seeds",
        "paired bootstrap over items",
        "(figures/accuracy_vs_flops_mamba2-world_context.svg)",
    ] {
        assert!(page.contains(needle), "`{needle}` is missing");
    }
}

/// The file for a browser: the answer with its figure first, all rows, and no address that it would load from.
#[test]
fn the_browser_gets_everything_in_one_file() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    support::write(dir.path(), &Shape::full());
    let summary = report::run(dir.path()).expect("a complete experiment");
    let html = fs::read_to_string(summary.html).expect("the page");
    for needle in [
        "Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-",
        "prefers-color-scheme: dark",
        "@media print",
        "id=\"results\"",
        "What the items say is not recorded",
        "\"labels\":[",
        "one reduction costs most",
        "are not told apart from",
        "id=\"figure-token_map_world_lambada\"",
    ] {
        assert!(html.contains(needle), "{needle} is missing");
    }
    let answer = &html[html.find("id=\"answer\"").expect("an answer")..html.find("id=\"results\"").expect("rows")];
    assert_eq!(answer.matches("<svg").count(), 1);
    assert!(!html.contains("src=\"") && !html.contains("url("), "nothing is loaded");
}

#[test]
fn two_runs_write_the_same_bytes() {
    let run = || {
        let dir = tempfile::tempdir().expect("a temporary folder");
        support::write(dir.path(), &Shape::small());
        let summary = report::run(dir.path()).expect("a complete experiment");
        let files = summary.figures.iter().chain(&summary.tables).chain(&summary.frames).chain([&summary.report]);
        files
            .map(|file| {
                let name = file.strip_prefix(dir.path()).expect("inside").to_owned();
                (name, fs::read(file).expect("written"))
            })
            .collect::<Vec<_>>()
    };
    for (first, second) in run().into_iter().zip(run()) {
        assert_eq!(first.0, second.0);
        assert!(first.1 == second.1, "{} differs between two runs", first.0.display());
    }
}

#[test]
fn a_fonts_name_is_in_every_figure_and_no_system_font_is_needed() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    support::write(dir.path(), &Shape::small());
    let summary = report::run(dir.path()).expect("a complete experiment");
    for file in summary.figures.iter().filter(|file| file.extension().is_some_and(|e| e == "svg")) {
        let svg = fs::read_to_string(file).expect("text");
        assert!(svg.contains("font-family=\"DejaVu Sans, Verdana, sans-serif\""));
        assert!(svg.contains("width=\"5.5000in\""));
    }
    for file in summary.figures.iter().filter(|file| file.extension().is_some_and(|e| e == "pdf")) {
        let pdf = fs::read(file).expect("bytes");
        assert!(pdf.starts_with(b"%PDF-") && !pdf.windows(6).any(|window| window == b"/Type3"));
    }
}

/// Every size of a text in a drawing, in points on paper.
fn text_sizes(svg: &str) -> Vec<f64> {
    let number = |text: &str, until: &str| text.split(until).next().and_then(|size| size.parse::<f64>().ok());
    let inches = svg.split("width=\"").nth(1).and_then(|rest| number(rest, "in")).expect("a width");
    let pixels = svg.split("viewBox=\"0 0 ").nth(1).and_then(|rest| number(rest, " ")).expect("a view");
    let sizes = svg.split("font-size=\"").skip(1).filter_map(|rest| number(rest, "\""));
    sizes.map(|size| size / pixels * inches * 72.0).collect()
}

/// Writes the figures of every paper where a person can look at them: `target/tmp/report-acl` and so on.
#[test]
fn figures_are_made_for_their_paper() {
    let widths = [("acl", "3.0300in"), ("neurips", "5.5000in"), ("icml", "3.2500in"), ("nature", "3.5000in")];
    for (name, width) in widths.into_iter().chain([("slides", "10.0000in")]) {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}"));
        let _ = fs::remove_dir_all(&dir);
        // The narrowest one shows everything.
        support::write(&dir, &if name == "acl" { Shape::full() } else { Shape::small() });
        let paper = report::Paper::named(name);
        let summary = report::run_as(&dir, &report::Wishes { paper, ..report::Wishes::default() })
            .expect("a complete experiment");
        assert!(summary.failed_figures.is_empty(), "{name}: {:?}", summary.failed_figures);
        for file in summary.figures.iter().filter(|file| file.extension().is_some_and(|kind| kind == "svg")) {
            let svg = fs::read_to_string(file).expect("text");
            assert!(svg.contains(&format!("width=\"{width}\"")), "{}", file.display());
            let least = text_sizes(&svg).into_iter().fold(f64::INFINITY, f64::min);
            assert!((6.99..20.0).contains(&least), "{}: {least} pt", file.display());
            let height = svg.split("height=\"").nth(1).and_then(|rest| rest.split("in").next()).expect("a height");
            assert!(
                name == "slides" || height.parse::<f64>().expect("inches") < 9.7,
                "{}: {height} in",
                file.display()
            );
        }
        for file in summary.figures.iter().filter(|file| file.extension().is_some_and(|kind| kind == "pdf")) {
            let pdf = fs::read(file).expect("bytes");
            let holds = |what: &[u8]| pdf.windows(what.len()).any(|window| window == what);
            assert!(holds(b"/FontFile2") && !holds(b"/Type3") && holds(b"%PDF-1.5"), "{}", file.display());
        }
    }
}

/// The rows that the query beside a figure names are in the frame, and are those of its trials.
#[test]
fn a_figure_leads_back_to_its_trials() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    support::write(dir.path(), &Shape::small());
    let summary = report::run(dir.path()).expect("a complete experiment");
    let frame = fs::read_to_string(dir.path().join("trials.csv")).expect("the frame");
    let mut lines = frame.lines();
    let head: Vec<&str> = lines.next().expect("a head").split(',').collect();
    // No field of the fake experiment holds a quotation mark.
    let fields = |line: &str| -> Vec<String> {
        let quoted = line
            .split('"')
            .enumerate()
            .map(|(place, part)| if place % 2 == 1 { part.replace(',', ";") } else { part.to_owned() });
        quoted.collect::<String>().split(',').map(str::to_owned).collect()
    };
    let rows: Vec<Vec<String>> = lines.map(fields).collect();
    let mut seen = 0;
    for file in summary.figures.iter().filter(|file| file.extension().is_some_and(|kind| kind == "json")) {
        let query: serde_json::Value = serde_json::from_slice(&fs::read(file).expect("a query")).expect("JSON");
        let ids: BTreeSet<&str> =
            query["trial_ids"].as_array().expect("ids").iter().filter_map(|id| id.as_str()).collect();
        assert!(!ids.is_empty() && file.file_stem().expect("a name") == query["figure"].as_str().expect("a name"));
        if query["frame"] != "trials.parquet" {
            continue;
        }
        let fits = |row: &Vec<String>, filter: &serde_json::Value| {
            filter.as_object().expect("columns").iter().all(|(column, wanted)| {
                let value = &row[head.iter().position(|name| name == column).expect("a column of the frame")];
                let is = |wanted: &serde_json::Value| {
                    wanted.as_str().map_or_else(|| wanted.to_string(), str::to_owned) == *value
                };
                wanted.as_array().map_or_else(|| is(wanted), |all| all.iter().any(is))
            })
        };
        let filters = query["rows"].as_array().expect("rows");
        let chosen = rows.iter().filter(|row| filters.iter().any(|filter| fits(row, filter)));
        let found: BTreeSet<&str> = chosen.map(|row| row[0].as_str()).collect();
        assert_eq!(found, ids, "{}", file.display());
        seen += 1;
    }
    assert!(seen > 3);
}

#[test]
fn an_unusual_experiment_is_reported_as_far_as_it_goes() {
    // No baseline: nothing to compare, yet tables and a page.
    let mut shape = Shape::small();
    shape.strategies.retain(|strategy| strategy.0 != "dense");
    let dir = tempfile::tempdir().expect("a temporary folder");
    support::write(dir.path(), &shape);
    let summary = report::run(dir.path()).expect("a report without a baseline");
    assert!(fs::read_to_string(summary.report).expect("the page").contains("`dense` has not finished for"));
    // Only a baseline: no figure at all.
    let mut shape = Shape::small();
    shape.strategies.retain(|strategy| strategy.0 == "dense");
    let dir = tempfile::tempdir().expect("a temporary folder");
    support::write(dir.path(), &shape);
    let summary = report::run(dir.path()).expect("a report of the baseline alone");
    assert!(summary.figures.is_empty());
    // Two items of one task.
    let mut shape = Shape::small();
    shape.tasks.truncate(1);
    shape.items = 2;
    let dir = tempfile::tempdir().expect("a temporary folder");
    support::write(dir.path(), &shape);
    report::run(dir.path()).expect("a tiny report");
}

/// Random weights of a published size, the paper's methods and two of its tasks.
#[test]
fn numbers_of_the_paper_stand_beside_ours() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-paper");
    let _ = fs::remove_dir_all(&dir);
    let shape = Shape {
        models: vec!["random:mamba2-2.7b", "builtin:mamba2-world"],
        protocols: vec!["upstream"],
        tasks: vec!["lambada_openai", "hellaswag"],
        strategies: vec![
            ("dense", None, "{}", 0.0),
            ("pumer_released", None, "{}", 1.5),
            ("utrc", Some("clip"), "{}", 0.5),
            ("random", None, "{}", 1.2),
        ],
        reductions: vec![0.1, 0.25],
        single_sites: false,
        ..Shape::small()
    };
    support::write(&dir, &shape);
    let summary = report::run(&dir).expect("a complete experiment");
    let page = fs::read_to_string(summary.report).expect("the page");
    assert!(page.contains("> **RANDOM WEIGHTS.** Never trained: `random:mamba2-2.7b`."));
    assert!(page.contains("### paper\n") && page.contains("*RANDOM WEIGHTS: our numbers prove the path"));
    let text = fs::read_to_string(dir.join("tables/paper.csv")).expect("the table");
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
    // Three tasks and metrics each for dense, PuMer and Ours at 10 %; 25 % is none of the paper's, `random` no method of it.
    assert_eq!(rows.len(), 9, "{text}");
    assert!(rows.iter().all(|row| row[0] == "random:mamba2-2.7b"));
    let find =
        |method: &str, task: &str| rows.iter().find(|row| row[2] == method && row[6] == task).expect(task).clone();
    assert_eq!(find("PuMer", "hellaswag (acc_norm)")[3], "pumer_released");
    // Ours, both ends of its interval, the paper's, the difference.
    let row = find("Ours", "lambada_openai (acc)");
    let number = |index: usize| row[index].parse::<f64>().expect("a number");
    assert!((number(11) - 59.0).abs() < 1e-9 && (number(8) - number(11) - number(12)).abs() < 1e-3, "{row:?}");
    assert_eq!(find("dense", "lambada_openai (perplexity)")[11], "4.1000");
    // Achieved 9 % at nominal 10 %: further apart than half a point.
    assert!((number(4) - 9.0).abs() < 1e-9, "{row:?}");
    let markdown = fs::read_to_string(dir.join("tables/paper.md")).expect("the table");
    assert!(markdown.contains("† achieved reduction differs by more than half a point: not compared."), "{markdown}");
    assert!(!dir.join("tables/paper.md").metadata().expect("written").is_dir());
}

/// Changes every recorded cell.
fn edit_cells(dir: &Path, edit: impl Fn(&mut serde_json::Value)) {
    for entry in fs::read_dir(dir.join("cells")).expect("cells") {
        let path = entry.expect("an entry").path();
        let mut cell = serde_json::from_str(&fs::read_to_string(&path).expect("a record")).expect("JSON");
        edit(&mut cell);
        fs::write(&path, cell.to_string()).expect("writable");
    }
}

fn page_of(dir: &Path) -> String {
    fs::read_to_string(dir.join("report.md")).expect("the page")
}

/// Makes every item of a cell right.
fn all_right(cell: &mut serde_json::Value) {
    for contribution in cell["metrics"][0]["contributions"].as_array_mut().expect("items") {
        *contribution = serde_json::json!([1.0, 1.0]);
    }
    for item in cell["items"].as_array_mut().expect("items") {
        item["correct"] = true.into();
        item["predicted"] = item["gold"].clone();
    }
}

#[test]
fn a_rule_that_removes_less_is_not_the_best() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    support::write(dir.path(), &Shape::small());
    // `utrc` does nothing and is as good as `dense`; `q` 0.5 would win every column.
    edit_cells(dir.path(), |cell| {
        if cell["trial"]["strategy_params"] == r#"{"q":0.5}"# && cell["status"] == "done" {
            cell["cost"]["flops_reduction_achieved"] = 0.001.into();
            all_right(cell);
        }
    });
    report::run(dir.path()).expect("a complete experiment");
    let page = page_of(dir.path());
    let headline = page.split("## Figures").next().expect("a headline");
    let rows: Vec<&str> = headline.lines().filter(|line| line.starts_with("| builtin:")).collect();
    assert_eq!(rows.len(), 4, "{headline}");
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert!(cells[6] != "`utrc (q=0.5)`" && cells[11].contains("`utrc (q=0.5)` (0.1)"), "{row}");
    }
    let table = fs::read_to_string(dir.path().join("tables/main_mamba2-world_context.md")).expect("the table");
    let apart: Vec<&str> = table.lines().filter(|line| line.contains("q=0.5")).collect();
    // Two tasks and the mean, at two reductions.
    assert!(apart.len() == 2 && apart.iter().all(|row| row.matches(" †").count() == 3), "{table}");
    assert!(apart.iter().all(|row| !row.contains("**") && !row.contains("<u>")) && table.contains("**"), "{table}");
    assert!(table.contains("| nominal reduction % | strategy | achieved % |"), "{table}");
    let latex = fs::read_to_string(dir.path().join("tables/main_mamba2-world_context.tex")).expect("the table");
    assert!(latex.contains("$^\\dagger$ achieved reduction differs"), "{latex}");
    let csv = fs::read_to_string(dir.path().join("figures/differences_mamba2-world_context.csv")).expect("numbers");
    assert!(csv.lines().any(|line| line.contains("q=0.5") && line.ends_with(",no")), "{csv}");
    let svg = fs::read_to_string(dir.path().join("figures/differences_mamba2-world_context.svg")).expect("a figure");
    assert!(svg.contains("nominal") && svg.contains("†") && svg.contains("minus dense"));
}

#[test]
fn one_column_has_one_kind_of_interval() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    support::write(dir.path(), &Shape::small());
    // Everything right, under one seed and under three.
    edit_cells(dir.path(), |cell| {
        if cell["status"] == "done" {
            all_right(cell);
        }
    });
    report::run(dir.path()).expect("a complete experiment");
    let csv = fs::read_to_string(dir.path().join("tables/main_mamba2-world_context.csv")).expect("the table");
    let column =
        |name: &str| csv.lines().next().expect("a header").split(',').position(|head| head == name).expect(name);
    for name in ["world_lambada (acc)", "world_piqa (acc)", "mean"] {
        let [low, high] = ["low", "high"].map(|end| column(&format!("{name} {end}")));
        let end =
            |line: &str, column: usize| line.split(',').nth(column).expect(name).parse::<f64>().expect("a number");
        let width = |line: &str| -> f64 { (end(line, high) - end(line, low)) / 2.0 };
        let widths: Vec<f64> = csv.lines().skip(1).map(width).collect();
        assert!(widths.iter().all(|width| *width > 1.0 && (width - widths[0]).abs() < 1e-3), "{name}: {widths:?}");
    }
}

#[test]
fn a_value_without_end_is_marked() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let shape = Shape { tasks: vec!["world_lambada"], single_sites: false, ..Shape::small() };
    support::write(dir.path(), &shape);
    edit_cells(dir.path(), |cell| {
        if cell["status"] != "done" {
            return;
        }
        cell["primary_metric"] = "perplexity".into();
        let hopeless = cell["trial"]["strategy"] == "top_k" || cell["trial"]["strategy"] == "dense";
        let metrics = cell["metrics"].as_array_mut().expect("metrics");
        let perplexity = metrics.iter_mut().find(|metric| metric["metric"] == "perplexity").expect("perplexity");
        for contribution in perplexity["contributions"].as_array_mut().expect("items") {
            if hopeless {
                *contribution = serde_json::json!([-5000.0, 1.0]);
            }
        }
    });
    let summary = report::run(dir.path()).expect("a report");
    assert!(summary.failed_figures.is_empty(), "{:?}", summary.failed_figures);
    let svg = dir.path().join("figures/tasks_vs_flops_mamba2-world_context.svg");
    let svg = fs::read_to_string(svg).expect("a figure");
    assert!(svg.contains('∞') && !svg.contains("NaN") && svg.len() < 1_000_000, "{}", svg.len());
    let table = fs::read_to_string(dir.path().join("tables/main_mamba2-world_context.md")).expect("the table");
    assert!(table.contains("| ∞ |") && table.contains("∞ or NaN: a value that is no finite number"), "{table}");
    let page = page_of(dir.path());
    assert!(page.contains("values are no finite numbers") && page.contains("An arrow with ∞ at the border"), "{page}");
}

/// Families of models: one panel per task, all models in it, where an achieved reduction was asked for.
#[test]
fn models_are_compared_rule_by_rule_at_the_same_achieved_reduction() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let models = vec!["builtin:mamba2-world", "builtin:mamba-world"];
    let shape = Shape { models, tasks: vec!["world_lambada"], single_sites: false, ..Shape::small() };
    support::write(dir.path(), &shape);
    edit_cells(dir.path(), |cell| {
        if cell["status"] != "done" {
            return;
        }
        cell["primary_metric"] = "perplexity".into();
        let nominal = cell["trial"]["flops_reduction_nominal"].clone();
        if nominal.as_f64().expect("a share") > 0.0 {
            cell["trial"]["flops_reduction_asked"] = nominal;
        }
    });
    let summary = report::run(dir.path()).expect("a report");
    assert!(summary.failed_figures.is_empty(), "{:?}", summary.failed_figures);
    let svg = names(&summary.figures, "svg");
    let name = svg.iter().find(|name| name.starts_with("added_loss_context_")).unwrap_or_else(|| panic!("{svg:?}"));
    let csv = fs::read_to_string(dir.path().join(format!("figures/{name}.csv"))).expect("numbers");
    for model in ["builtin:mamba2-world", "builtin:mamba-world"] {
        assert!(csv.lines().any(|line| line.starts_with(model) && line.contains("top_k")), "{csv}");
    }
}

/// Another metric must not take the place of the one that was asked for.
#[test]
fn a_primary_metric_without_a_value_is_shown_as_missing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let shape = Shape { tasks: vec!["world_lambada", "world_piqa"], single_sites: false, ..Shape::small() };
    support::write(dir.path(), &shape);
    let plan = dir.path().join("plan.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&plan).expect("a plan")).expect("JSON");
    index["primary"] = serde_json::json!({ "world_lambada": "recall_loss" });
    fs::write(&plan, index.to_string()).expect("written");
    report::run(dir.path()).expect("a report");
    let table = fs::read_to_string(dir.path().join("tables/main_mamba2-world_context.md")).expect("the table");
    assert!(table.contains("| world_lambada (recall_loss) | mean |"), "{table}");
    assert!(!table.contains("world_lambada (acc)"), "{table}");
    let row = table.lines().find(|line| line.contains("`dense`")).expect("the baseline");
    assert!(row.contains("| no value |"), "{row}");
    let page = page_of(dir.path());
    let reason = "no token that is scored counts for `recall_loss`";
    let headline = page.split("## Figures").next().unwrap_or_default();
    assert!(headline.contains("**No value.** `world_lambada` (mamba2-world, protocol `context`)"), "{headline}");
    assert!(headline.contains(reason), "{headline}");
    assert!(page.contains(&format!("world_lambada has no value: {reason}.")), "{page}");
    // With nothing else to show, it is not said that nothing has finished.
    index["primary"]["world_piqa"] = "recall_loss".into();
    fs::write(&plan, index.to_string()).expect("written");
    report::run(dir.path()).expect("a report");
    let page = page_of(dir.path());
    assert!(!page.contains("Nothing to compare yet") && page.contains("**No value.** `world_piqa`"), "{page}");
}

#[test]
fn names_break_no_format() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let shape = Shape { single_sites: false, ..Shape::small() };
    support::write(dir.path(), &shape);
    let hostile = format!("/m/a\u{1b}[2J\nb|c`<i>\\input{{x}}%$&~{}", "y".repeat(200));
    edit_cells(dir.path(), |cell| cell["trial"]["model"] = hostile.as_str().into());
    let plan = dir.path().join("plan.json");
    let mut edited: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&plan).expect("a plan")).expect("JSON");
    edited["question"] = "Is <script>x</script>\u{1b}[2J | a\n# heading?".into();
    fs::write(&plan, edited.to_string()).expect("writable");
    let summary = report::run(dir.path()).expect("a report");
    assert!(summary.failed_figures.is_empty(), "{:?}", summary.failed_figures);
    let texts = summary.figures.iter().chain(&summary.tables).chain([&summary.report]);
    for path in
        texts.filter(|path| path.extension().is_some_and(|kind| ["svg", "md", "tex"].iter().any(|text| kind == *text)))
    {
        let text = fs::read_to_string(path).expect("text");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{}", path.display());
        assert!(path.file_name().expect("a name").len() < 160, "{}", path.display());
    }
    let page = page_of(dir.path());
    assert!(page.contains("**Question.** Is &lt;script&gt;x&lt;/script&gt;\u{fffd}\\[2J \\| a # heading?\n"), "{page}");
    let html = fs::read_to_string(&summary.html).expect("the page for a browser");
    assert!(!html.chars().any(|c| c.is_control() && c != '\n'));
    assert!(html.contains("Is &lt;script&gt;x&lt;&#x2f;script&gt;") && !html.contains("<script>x"), "{html}");
    assert_eq!(html.matches("<script").count(), 2, "data and code");
    // Every row of a table has as many cells as its head.
    for path in summary.tables.iter().filter(|path| path.extension().is_some_and(|kind| kind == "md")) {
        let table = fs::read_to_string(path).expect("a table");
        let cells = |line: &str| line.replace("\\|", "").matches('|').count();
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
        assert!(rows.iter().all(|row| cells(row) == cells(rows[0])), "{table}");
    }
    for path in summary.tables.iter().filter(|path| path.extension().is_some_and(|kind| kind == "tex")) {
        let latex = fs::read_to_string(path).expect("a table");
        let head: Vec<&str> = latex.lines().take_while(|line| line.starts_with('%')).collect();
        assert_eq!((head.len(), latex.matches("\\input{").count()), (3, 0), "{latex}");
    }
}

#[test]
fn what_is_made_no_more_goes_and_what_is_foreign_stays() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let shape = Shape { models: vec!["builtin:mamba2-world", "builtin:mamba-world"], ..Shape::small() };
    support::write(dir.path(), &shape);
    report::run(dir.path()).expect("two models");
    let at = |name: &str| dir.path().join(name);
    let figure = "figures/accuracy_vs_flops_mamba-world_context";
    assert!(at(&format!("{figure}.svg")).exists() && at("tables/main_mamba-world_context.tex").exists());
    fs::write(at("figures/mine.svg"), "by hand").expect("writable");
    fs::write(at(&format!("{figure}.csv")), "changed by hand").expect("writable");
    // The second model leaves the experiment.
    support::write(dir.path(), &Shape::small());
    let summary = report::run(dir.path()).expect("one model");
    assert!(!summary.removed.is_empty());
    assert!(!at(&format!("{figure}.svg")).exists() && !at("tables/main_mamba-world_context.tex").exists());
    assert!(at("figures/mine.svg").exists() && at(&format!("{figure}.csv")).exists());
    assert!(at("figures/accuracy_vs_flops_mamba2-world_context.svg").exists());
    assert!(report::run(dir.path()).expect("again").removed.is_empty());
}

/// Adds a bridge over the trials of the context protocol, one of `upstream`, and one that never ran.
fn plan_bridge(dir: &Path, cells: &[records::schema::CellRecord]) {
    let arm = |importance: &str, protocol: &str| {
        let is_it = |cell: &&records::schema::CellRecord| {
            let trial = &cell.trial;
            let nominal = trial.flops_reduction_nominal.is_some_and(|share| (share - 0.2).abs() < 1e-9);
            let of_bridge = trial.strategy == "top_k" && trial.importance.as_deref() == Some(importance);
            of_bridge && nominal && trial.protocol == protocol && trial.sites.len() > 1
        };
        let trials: BTreeSet<&str> = cells.iter().filter(is_it).map(|cell| cell.trial.trial_id.as_str()).collect();
        assert!(!trials.is_empty(), "{importance} {protocol}");
        serde_json::json!({ "factor": format!("{importance} {protocol}"), "label": importance, "trials": trials })
    };
    let missing = serde_json::json!({ "factor": "no such", "label": "x", "trials": ["no-such-trial"] });
    let chain = serde_json::json!({
        "model": "builtin:mamba2-world", "setting": "20 % nominal FLOPs reduction", "tasks": ["world_lambada", "world_piqa"],
        "steps": [arm("clip", "context"), arm("l1", "context"), arm("l1", "upstream"), missing],
    });
    let path = dir.join("plan.json");
    let mut plan: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("a plan")).expect("JSON");
    plan["bridges"] = serde_json::json!([{ "name": "a", "chains": [chain] }]);
    fs::write(&path, plan.to_string()).expect("writable");
}

#[test]
fn a_bridge_shows_what_each_step_changes() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let cells = support::write(dir.path(), &Shape::small());
    plan_bridge(dir.path(), &cells);
    let summary = report::run(dir.path()).expect("a complete experiment");
    assert!(names(&summary.figures, "svg").contains("bridge_a") && names(&summary.tables, "tex").contains("bridge_a"));
    assert!(dir.path().join("bridges.parquet").exists());
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect("written");
    let csv = read("figures/bridge_a.csv");
    let header: Vec<&str> = csv.lines().next().expect("a header").split(',').collect();
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let field = |row: usize, name: &str| rows[row][header.iter().position(|head| *head == name).expect(name)];
    let number = |row: usize, name: &str| field(row, name).parse::<f64>().expect("a number");
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row.len() == header.len()), "{csv}");
    assert_eq!((field(0, "diff"), field(0, "from_first"), field(0, "unit")), ("", "", "points"));
    for row in [1, 2] {
        let step = number(row, "value") - number(row - 1, "value");
        assert!((number(row, "diff") - step).abs() < 1e-5, "{csv}");
        assert!(number(row, "diff_ci_low") <= step + 1e-5 && step - 1e-5 <= number(row, "diff_ci_high"), "{csv}");
        assert!((number(row, "from_first") - (number(row, "value") - number(0, "value"))).abs() < 1e-5);
    }
    assert_eq!((field(2, "protocol"), field(3, "value"), field(3, "factor")), ("upstream", "", "no such"));
    assert!(read("figures/bridge_a.svg").contains("not run"));
    let query: serde_json::Value = serde_json::from_str(&read("figures/bridge_a.json")).expect("JSON");
    assert_eq!(query["frame"], "bridges.parquet");
    assert_eq!(query["rows"][0]["bridge"], "a");
    assert!(read("tables/bridge_a.md").lines().count() >= 6);
    // A report without the bridge removes what it made.
    support::write(dir.path(), &Shape::small());
    report::run(dir.path()).expect("a complete experiment");
    assert!(!dir.path().join("bridges.parquet").exists() && !dir.path().join("figures/bridge_a.svg").exists());
}

#[test]
fn a_plan_without_families_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    support::write(dir.path(), &Shape::small());
    let path = dir.path().join("plan.json");
    let mut plan: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("the plan")).expect("JSON");
    plan["strategies"].as_object_mut().expect("families").remove("top_k");
    fs::write(&path, plan.to_string()).expect("writable folder");
    let error = report::run(dir.path()).expect_err("no family");
    assert!(error.to_string().contains("does not name the family of the strategy `top_k`"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("sweep run --keep-other-code")));
}

//! Pages say what the program is: paths, links, commands, flags and lists in them are held to what is there.

mod commands;
mod markdown;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use evaluation::tasks::{benchmarks, builtin_tasks};
use hint::Hint;
use reduction_strategies::registry;
use ssm_model::catalog;
use sweep_runner::library::Library;
use sweep_runner::run::Interrupt;
use sweep_runner::{cli, config};

use self::markdown::{At, Page, code_in, files, root};

/// Endings of files that are written by hand: a page that names one names one that is there.
const SOURCES: [&str; 9] = ["rs", "cu", "cuh", "py", "sh", "toml", "yaml", "md", "sbatch"];

/// Names in pages that stand for files of a reader, or that runs write.
const NOT_HERE: [&str; 14] = [
    "array.sbatch",
    "checklist.md",
    "experiment.yaml",
    "huggingface.py",
    "mine.yaml",
    "my_rule.rs",
    "my_rules.py",
    "report.md",
    "report.sbatch",
    "run.sh",
    "small_steps.rs",
    "SOURCES.md",
    "summary.md",
    "verdict.md",
];

fn ends_in(name: &str, ending: &str) -> bool {
    Path::new(name).extension().is_some_and(|own| own == ending)
}

fn pages() -> Vec<Page> {
    files().iter().filter(|name| ends_in(name, "md")).map(|name| Page::read(name)).collect()
}

/// Fails with all problems at once.
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// `a/../b` without looking at the disk.
fn joined(folder: &Path, link: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in folder.join(link).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path
}

#[test]
fn links_lead_to_pages_and_headings() {
    let pages = pages();
    let anchors: BTreeMap<PathBuf, Vec<String>> =
        pages.iter().map(|page| (PathBuf::from(&page.name), page.anchors())).collect();
    let mut problems = Vec::new();
    for page in &pages {
        let folder = Path::new(&page.name).parent().unwrap();
        for At { line, it } in page.links.iter().filter(|link| !link.it.contains("://")) {
            let (file, anchor) = it.split_once('#').map_or((it.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { PathBuf::from(&page.name) } else { joined(folder, file) };
            if !root().join(&target).exists() {
                problems.push(format!("{}:{line}: {it} leads to nothing", page.name));
            } else if let Some(anchor) = anchor
                && anchors.get(&target).is_none_or(|known| !known.iter().any(|known| known == anchor))
            {
                problems.push(format!("{}:{line}: {it}: no such heading", page.name));
            }
        }
    }
    none(&problems);
}

/// Whether `path`, in which `<word>` stands for any name, is a file or folder of the workspace, written from its root, from a crate, or
/// from anywhere below if it names a file alone.
fn is_there(path: &str, files: &[String]) -> bool {
    let wanted: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    files.iter().any(|file| {
        let parts: Vec<&str> = file.split('/').collect();
        parts.windows(wanted.len()).enumerate().any(|(start, window)| {
            let is_file = start + wanted.len() == parts.len();
            let fits = window.iter().zip(&wanted).all(|(part, wanted)| fits(part, wanted));
            fits && (is_file || wanted.len() > 1 || start == 0)
        })
    })
}

fn fits(part: &str, wanted: &str) -> bool {
    match wanted.split_once('<').and_then(|(before, rest)| Some((before, rest.split_once('>')?.1))) {
        Some((before, after)) => part.starts_with(before) && part.ends_with(after),
        None => part == wanted,
    }
}

#[test]
fn paths_in_pages_exist() {
    let files = files();
    let mut problems = Vec::new();
    for page in pages() {
        for At { line, it } in &page.code {
            let plain = it.chars().all(|c| c.is_alphanumeric() || "_-./<>".contains(c));
            let name = it.rsplit('/').next().unwrap_or_default();
            let ending = name.rsplit_once('.').map(|(_, ending)| ending);
            let in_tree = ["crates/", "docs/", "experiments/", "tools/", ".ci/", "src/", "tests/", "assets/"];
            let is_path =
                ending.is_some_and(|ending| SOURCES.contains(&ending)) || in_tree.iter().any(|top| it.starts_with(top));
            let made = NOT_HERE.contains(&name) || it.starts_with("results/") && it != "results/README.md";
            if plain && is_path && !made && !name.starts_with('.') && !is_there(it, &files) {
                problems.push(format!("{}:{line}: `{it}` is not there", page.name));
            }
        }
    }
    none(&problems);
}

#[test]
fn experiments_that_commands_name_exist() {
    let mut problems = Vec::new();
    for page in pages() {
        for At { line, it } in page.code.iter().chain(&page.block_lines) {
            let words = it.split_whitespace().filter(|word| word.starts_with("experiments/") && ends_in(word, "yaml"));
            for word in words.filter(|word| !word.contains('*') && !NOT_HERE.iter().any(|name| word.ends_with(name))) {
                if !root().join(word).exists() {
                    problems.push(format!("{}:{line}: {word} is not there", page.name));
                }
            }
        }
    }
    none(&problems);
}

#[test]
fn commands_in_pages_are_those_of_the_program() {
    let mut problems = Vec::new();
    for page in pages() {
        for At { line, it } in page.code.iter().chain(&page.block_lines) {
            problems.extend(commands::problem(it).map(|problem| format!("{}:{line}: {problem}", page.name)));
        }
    }
    let justfile = fs::read_to_string(root().join("justfile")).unwrap();
    for (index, line) in justfile.lines().enumerate().filter(|(_, line)| line.contains("--bin sweep -- ")) {
        for part in line.split(';') {
            // Recipes put arguments in by `{{NAME}}`.
            problems.extend(commands::problem(part.trim()).map(|problem| format!("justfile:{}: {problem}", index + 1)));
        }
    }
    none(&problems);
}

#[test]
fn the_check_of_commands_finds_mistakes() {
    for (line, said) in [
        ("sweep rum FILE", "`sweep` has no command `rum`"),
        ("sweep run FILE --limits 3", "`sweep run` has no flag `--limits`"),
        ("sweep submit slurm FILE -- --devise cuda", "`sweep run` has no flag `--devise`"),
        ("SBATCH_PARTITION=gpu sweep submit pbs FILE", "`sweep submit` has no command `pbs`"),
        ("cargo run --release --bin sweep -- plam x", "`sweep` has no command `plam`"),
        ("just tests", "the justfile has no recipe `tests`"),
        ("--acept-changes", "no command of `sweep` has `--acept-changes`"),
    ] {
        assert_eq!(commands::problem(line).as_deref(), Some(said));
    }
    for line in ["sweep run FILE --limit 3 | head --lines 2", "just test-slurm", "--out DIR", "cargo build --release"] {
        assert_eq!(commands::problem(line), None, "{line}");
    }
}

#[test]
fn the_table_of_commands_is_that_of_the_help() {
    let page = Page::read("docs/commands.md");
    let rows = page.rows.iter().filter(|(heading, _)| heading == "Commands");
    let (mut named, mut problems) = (BTreeSet::new(), Vec::new());
    for (_, cells) in rows {
        let commands = code_in(&cells[0]);
        for command in &commands {
            let words: Vec<&str> = command.split_whitespace().collect();
            problems.extend(commands::sweep(&words));
            named.insert(words[0].to_owned());
        }
        let first: Vec<&str> =
            commands[0].split_whitespace().take_while(|word| !word.contains(char::is_uppercase)).collect();
        for flag in code_in(&cells[1]).iter().filter(|code| code.starts_with("--")) {
            let words: Vec<&str> = first.iter().copied().chain(flag.split_whitespace()).collect();
            problems.extend(commands::sweep(&words));
        }
    }
    none(&problems);
    let known: BTreeSet<String> =
        cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    assert_eq!(named, known);
}

#[test]
fn exit_codes_are_those_of_the_program() {
    let codes = [Interrupt::Int, Interrupt::Term, Interrupt::Usr1].map(Interrupt::exit_code);
    assert_eq!(codes, [130, 143, 75]);
    let page = fs::read_to_string(root().join("docs/commands.md")).unwrap();
    let sentence = page.split("Exit codes: ").nth(1).unwrap().split("\n\n").next().unwrap();
    for part in ["0 done", "1 something failed", "130, 143 and 75 after SIGINT, SIGTERM and SIGUSR1"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    let rows = Page::read("docs/running.md").rows;
    let rows: Vec<_> =
        rows.iter().filter(|(heading, _)| heading == "Signals and exit codes").map(|(_, cells)| cells).collect();
    let table: Vec<&str> = rows.iter().map(|cells| cells[2].as_str()).collect();
    assert_eq!(table, codes.map(|code| code.to_string()));
}

#[test]
fn every_strategy_is_on_its_page_and_has_a_file() {
    let named: BTreeSet<String> = Page::read("docs/strategies.md")
        .named_under("Strategies")
        .into_iter()
        .filter(|name| {
            // Options stand in the second column.
            !name.contains(':')
        })
        .collect();
    let known: BTreeSet<String> = registry::all().iter().map(|strategy| strategy.name.to_owned()).collect();
    assert_eq!(named, known);
    for name in known {
        assert!(root().join(format!("crates/reduction-strategies/src/strategies/{name}.rs")).exists(), "{name}");
    }
}

#[test]
fn every_probe_is_on_its_page_and_has_a_file() {
    let page = Page::read("docs/probes.md");
    let named: BTreeSet<String> = page.headings.iter().flat_map(|heading| code_in(heading)).collect();
    let known: BTreeSet<String> = evaluation::probes::all().iter().map(|probe| probe.name.to_owned()).collect();
    assert_eq!(named, known);
    for name in known {
        assert!(root().join(format!("crates/evaluation/src/probes/{name}.rs")).exists(), "{name}");
    }
}

#[test]
fn every_task_and_model_is_on_its_page() {
    let page = Page::read("docs/models-and-data.md");
    let named: BTreeSet<String> = ["Prompts, as in lm-evaluation-harness", "Long documents"]
        .iter()
        .flat_map(|heading| page.named_under(heading))
        .collect();
    let known: BTreeSet<String> = benchmarks().iter().map(|task| task.name.to_owned()).collect();
    assert_eq!(named, known);
    let files = Page::read("crates/evaluation/assets/reference-tasks/README.md");
    let rows = files.rows.iter().filter(|(heading, _)| heading == "Reference tasks");
    let named: BTreeSet<String> = rows.map(|(_, cells)| cells[0].trim_end_matches(".jsonl").to_owned()).collect();
    let known: BTreeSet<String> = builtin_tasks().iter().map(|task| task.name.to_owned()).collect();
    assert_eq!(named, known);
    let models = fs::read_to_string(root().join("crates/ssm-model/assets/reference-models/README.md")).unwrap();
    for model in catalog::builtins() {
        assert!(models.contains(model.name), "{}", model.name);
    }
}

#[test]
fn every_experiment_is_in_the_list() {
    let mut named = BTreeSet::new();
    for (_, cells) in Page::read("experiments/README.md").rows {
        assert!(named.insert(code_in(&cells[0])[0].clone()), "{} stands twice", cells[0]);
    }
    let is_experiment = |name: &&str| ends_in(name, "yaml") && !name.starts_with("templates/");
    let files = files();
    let known: BTreeSet<String> = files
        .iter()
        .filter_map(|name| name.strip_prefix("experiments/"))
        .filter(is_experiment)
        .map(str::to_owned)
        .collect();
    assert_eq!(named, known);
}

/// The program lists the keys that it knows where it meets one that it does not.
#[test]
fn every_key_of_an_experiment_is_on_its_page() {
    let error = config::load_str("x.yaml", "qqqqqqqqqqqq: 1\n", &Library::new()).unwrap_err();
    let said = error.hint().unwrap();
    let known = said.split("known keys: ").nth(1).unwrap_or_else(|| panic!("{said}"));
    let known: BTreeSet<String> = known.split(',').map(|key| key.split_whitespace().collect()).collect();
    let page = Page::read("docs/experiment-format.md");
    let named: BTreeSet<String> = page.named_under("Keys").into_iter().collect();
    assert_eq!(named, known);
}

/// `(name, version line)` of `[workspace.dependencies]`, and the levels of `[profile.release.package.*]`.
fn manifest() -> (BTreeSet<String>, BTreeMap<String, String>) {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (mut dependencies, mut levels, mut section) = (BTreeSet::new(), BTreeMap::new(), "");
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section == "[workspace.dependencies]" && line.contains(" = ") && !line.contains("path = ") {
            dependencies.insert(line.split(' ').next().unwrap().to_owned());
        } else if let (Some(package), Some(level)) =
            (section.strip_prefix("[profile.release.package."), line.strip_prefix("opt-level = "))
        {
            levels.insert(package.trim_matches(['"', ']']).to_owned(), level.to_owned());
        }
    }
    (dependencies, levels)
}

#[test]
fn every_dependency_has_a_reason() {
    let text = fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let named: BTreeSet<String> = code_in(&text).into_iter().collect();
    let (known, _) = manifest();
    let missing: Vec<_> = known.difference(&named).collect();
    assert!(missing.is_empty(), "docs/dependencies.md does not say why these are there: {missing:?}");
    let rows: BTreeSet<String> = Page::read("docs/dependencies.md").named_under("Dependencies").into_iter().collect();
    let gone: Vec<_> = rows.difference(&known).collect();
    assert!(gone.is_empty(), "docs/dependencies.md names what is no dependency any more: {gone:?}");
}

#[test]
fn optimisation_levels_are_those_of_the_manifest() {
    let mut named = BTreeMap::new();
    for (heading, cells) in Page::read("docs/dependencies.md").rows {
        if heading == "The release profile" {
            let packages = code_in(&cells[1]);
            let packages = if packages.is_empty() { vec!["*".to_owned()] } else { packages };
            for package in packages {
                assert!(named.insert(package.clone(), cells[0].clone()).is_none(), "{package} stands twice");
            }
        }
    }
    assert_eq!(named, manifest().1);
}

#[test]
fn generated_blocks_are_whole() {
    for page in pages() {
        report::check_document(&root().join(&page.name)).unwrap();
    }
}

/// Tables of one experiment that two pages show are the same.
/// A result that is written by hand goes wrong with the next run: what is measured is in a generated block or value.
#[test]
fn findings_give_results_in_generated_places_alone() {
    let text = fs::read_to_string(root().join("docs/findings.md")).unwrap();
    let by_hand = without(&without(&text, "<!-- BEGIN: ", "<!-- END -->"), "<!-- VALUE: ", "<!-- /VALUE -->");
    let is_result = |word: &str| {
        let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
        word.trim_matches(|c: char| !c.is_ascii_digit())
            .split_once('.')
            .is_some_and(|(whole, rest)| digits(whole) && digits(rest))
    };
    let words: Vec<&str> = by_hand.split_whitespace().collect();
    let points =
        words.windows(2).filter(|pair| pair[0].ends_with(|c: char| c.is_ascii_digit()) && pair[1].starts_with("point"));
    let problems: Vec<String> = words
        .iter()
        .filter(|word| is_result(word))
        .map(|word| format!("docs/findings.md: {word} is written by hand"))
        .chain(points.map(|pair| format!("docs/findings.md: {} points is written by hand", pair[0])))
        .collect();
    none(&problems);
    assert!(by_hand.len() < text.len() && by_hand.contains("exploratory"), "the page has generated places and prose");
}

/// A text without what is between two marks.
fn without(text: &str, begin: &str, end: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, behind)) = rest.split_once(begin) {
        out += before;
        rest = behind.split_once(end).unwrap_or_else(|| panic!("a place has no {end}")).1;
    }
    out + rest
}

#[test]
fn generated_blocks_agree_among_pages() {
    let mut seen: BTreeMap<String, (String, String)> = BTreeMap::new();
    for page in pages() {
        let text = fs::read_to_string(root().join(&page.name)).unwrap();
        // Blocks within fences show how one is written.
        let outside: Vec<&str> = text.split("\n```").step_by(2).collect();
        for part in outside.iter().flat_map(|text| text.split("\n<!-- BEGIN: ").skip(1)) {
            let (name, rest) = part.split_once(" -->").unwrap();
            let body = rest.split("<!-- END -->").next().unwrap().trim().to_owned();
            assert!(
                name.contains(':'),
                "{}: the block of `{name}` names no experiment: any report would fill it",
                page.name
            );
            assert!(!body.is_empty(), "{}: the block of `{name}` is empty", page.name);
            let (first, before) = seen.entry(name.to_owned()).or_insert((page.name.clone(), body.clone()));
            assert_eq!(*before, body, "{name} in {first} and in {}", page.name);
        }
    }
    assert!(seen.contains_key("ablation-full:tables/protocols.md"));
}

/// The page names the columns of a frame in their order.
#[test]
fn columns_of_the_frames_are_on_their_page() {
    let page = Page::read("results/README.md");
    for (frame, known) in support_columns() {
        let rows = page.rows.iter().filter(|(heading, _)| *heading == format!("`{frame}`"));
        let named: Vec<String> = rows.flat_map(|(_, cells)| code_in(&cells[0])).collect();
        assert_eq!(named, known, "{frame}");
    }
}

#[path = "../../../../analysis/tests/support/mod.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod support;

fn support_columns() -> Vec<(&'static str, Vec<String>)> {
    use polars::prelude::{ParquetReader, SerReader};
    let folder = tempfile::tempdir().unwrap();
    support::write(folder.path(), &support::Shape::small());
    analysis::run(folder.path()).unwrap();
    let columns = |frame: &str| {
        let file = fs::File::open(folder.path().join(format!("{frame}.parquet"))).unwrap();
        let frame = ParquetReader::new(file).finish().unwrap();
        frame.get_column_names().into_iter().map(ToString::to_string).collect()
    };
    ["trials", "trial_axes", "items", "plans", "sites"].map(|frame| (frame, columns(frame))).into()
}

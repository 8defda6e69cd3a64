//! Digests of code: what changes them, and what does not. The functions under test belong to the build script.

#[path = "../../build/code.rs"]
mod code;
#[path = "../../build/git.rs"]
mod git;
#[path = "../../build/tokens.rs"]
mod tokens;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::desk::{self, Desk};
use code::Code;
use reduction_strategies::registry::Strategy;
use tempfile::TempDir;

const RULES: &str = "crates/reduction-strategies/src/strategies";
const TOP: &str = "//! Keeps the best.\n\n/// How many.\nconst N: u32 = 3;\n\npub(crate) fn n() -> u32 {\n    N\n}\n";

/// A workspace as small as the build script can read.
struct Workspace(TempDir);

impl Workspace {
    fn new() -> Self {
        let workspace = Self(tempfile::tempdir().unwrap());
        for krate in ["ssm-kernels", "ssm-model", "reduction-strategies", "evaluation", "sweep-runner", "hub"] {
            let manifest = format!("[package]\nname = \"{krate}\"\n\n[dependencies]\nblake3.workspace = true\n");
            workspace.write(&format!("crates/{krate}/Cargo.toml"), &manifest);
            workspace.write(&format!("crates/{krate}/src/lib.rs"), "pub fn a() {}\n");
            workspace.write(&format!("crates/{krate}/tests/t.rs"), "fn t() {}\n");
        }
        workspace.write("crates/ssm-kernels/build.rs", "fn main() {}\n");
        workspace.write("crates/ssm-kernels/src/ops/a.cu", "// a kernel\n");
        workspace.write("crates/sweep-runner/src/run/cell.rs", "fn record() {}\n");
        workspace.write("crates/sweep-runner/src/report.rs", "fn report() {}\n");
        workspace.write(&format!("{RULES}/mod.rs"), "automod::dir!(\"src/strategies\");\n");
        workspace.write(&format!("{RULES}/top.rs"), TOP);
        workspace.write(&format!("{RULES}/random.rs"), "use crate::random::Draw;\nfn draw() {}\n");
        workspace.write(&format!("{RULES}/both.rs"), "use super::top::{self, n};\nfn both() { n(); }\n");
        workspace.write("README.md", "A page.\n");
        workspace.write("rust-toolchain.toml", "[toolchain]\n");
        workspace.write("Cargo.toml", "[workspace.dependencies]\nblake3 = \"1\"\nclap = \"4\"\n");
        let package = |name: &str, version: &str, below: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nchecksum = \"{name}\"\n{below}\n")
        };
        let blake3 = package("blake3", "1.8.7", "dependencies = [\n \"cc\",\n]\n");
        let lock = ["version = 4\n\n", &blake3, &package("cc", "1.2.0", ""), &package("clap", "4.0.0", "")].concat();
        workspace.write("Cargo.lock", &lock);
        workspace
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} holds no `{from}`");
        self.write(name, &text.replace(from, to));
    }

    fn read(&self) -> Code {
        code::read(self.0.path(), false).unwrap()
    }

    fn git(&self, arguments: &[&str]) {
        let who = ["-c", "user.name=a", "-c", "user.email=a@b"];
        let output = Command::new("git").arg("-C").arg(self.0.path()).args(who).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Names of the rules whose digests differ, and whether that of all rules does.
fn changed(before: &Code, after: &Code) -> (Vec<String>, bool) {
    let rules = after.rules.iter().filter(|(rule, digest)| before.rules.get(*rule) != Some(digest));
    (rules.map(|(rule, _)| rule.clone()).collect(), before.cpu != after.cpu)
}

#[test]
fn an_edited_rule_changes_its_own_digest_and_those_of_rules_built_on_it() {
    let workspace = Workspace::new();
    let before = workspace.read();
    assert!(before.constants().contains(&before.cpu));
    assert_eq!(before.rules.keys().collect::<Vec<_>>(), ["both", "random", "top"]);
    workspace.edit(&format!("{RULES}/top.rs"), "= 3;", "= 4;");
    let after = workspace.read();
    assert_eq!(changed(&before, &after), (vec!["both".to_owned(), "top".to_owned()], false));
    assert_ne!(before.sources, after.sources);
    workspace.edit(&format!("{RULES}/random.rs"), "draw() {}", "draw() { 1; }");
    assert_eq!(changed(&after, &workspace.read()), (vec!["random".to_owned()], false));
    let before = workspace.read();
    workspace.write(&format!("{RULES}/new.rs"), "fn new() {}\n");
    assert_eq!(changed(&before, &workspace.read()), (vec!["new".to_owned()], false));
}

#[test]
fn comments_layout_and_unit_tests_change_no_digest_of_code() {
    let workspace = Workspace::new();
    let before = workspace.read();
    let (rule, shared) = (format!("{RULES}/top.rs"), "crates/evaluation/src/lib.rs");
    workspace.edit(&rule, "How many.", "How many there are // not \"a string\"");
    workspace.edit(&rule, "{\n    N\n}", "{ /* of them */ N }");
    workspace.write(
        shared,
        "//! Scores.\npub fn a() {\n}\n\n#[cfg(test)]\nmod tests {\n    fn t() {}\n}\n#[cfg(test)]\nuse b;\n",
    );
    workspace.write("crates/evaluation/src/tests.rs", "fn t() {}\n");
    workspace.write("crates/evaluation/tests/t.rs", "fn other() {}\n");
    workspace.edit("crates/sweep-runner/src/report.rs", "report()", "draw()");
    workspace.edit("Cargo.lock", "4.0.0", "4.1.0");
    let after = workspace.read();
    assert_eq!(changed(&before, &after), (vec![], false));
    assert_ne!(before.sources, after.sources, "the program is another one all the same");
}

#[test]
fn what_all_results_depend_on_changes_the_shared_digest_alone() {
    for (name, from, to) in [
        ("crates/ssm-kernels/src/lib.rs", "a()", "b()"),
        ("crates/ssm-model/src/lib.rs", "a()", "b()"),
        ("crates/reduction-strategies/src/lib.rs", "a()", "b()"),
        ("crates/evaluation/src/lib.rs", "{}", "{ \"// text\"; }"),
        ("crates/sweep-runner/src/run/cell.rs", "record()", "other()"),
        // A package below one that computes, and how that is asked for.
        ("Cargo.lock", "1.2.0", "1.2.1"),
        ("Cargo.toml", "blake3 = \"1\"", "blake3 = \"1.8\""),
    ] {
        let workspace = Workspace::new();
        let before = workspace.read();
        workspace.edit(name, from, to);
        assert_eq!(changed(&before, &workspace.read()), (vec![], true), "{name}");
    }
}

#[test]
fn kernels_count_where_they_are_compiled() {
    let workspace = Workspace::new();
    let read = || (workspace.read(), code::read(workspace.0.path(), true).unwrap());
    let (without, with) = read();
    assert!(without.cuda.is_none() && without.cpu == with.cpu && with.cuda.as_ref() != Some(&with.cpu));
    workspace.edit("crates/ssm-kernels/src/ops/a.cu", "a kernel", "another one");
    let (without_after, with_after) = read();
    assert_eq!((&without.cpu, &without.sources), (&without_after.cpu, &without_after.sources));
    assert!(with.cuda != with_after.cuda && with.cpu == with_after.cpu);
    let watches = |code: &Code, name: &str| code.watched.contains(&workspace.path(name));
    assert!(!watches(&without, "crates/ssm-kernels/src/ops/a.cu") && watches(&with, "crates/ssm-kernels/src/ops/a.cu"));
    assert!(watches(&without, RULES) && watches(&without, "Cargo.lock"));
    assert!(!watches(&without, "crates/evaluation/tests/t.rs") && !watches(&without, "README.md"));
}

#[test]
fn strings_with_the_marks_of_comments_are_code() {
    let digest = tokens::significant;
    assert_ne!(digest("const A: &str = \"a // b\";"), digest("const A: &str = \"a // c\";"));
    assert_ne!(digest("const A: &str = r#\"a \" /* b */\"#;"), digest("const A: &str = r#\"a \" /* c */\"#;"));
    assert_ne!(
        digest("const A: char = '\"'; // b\nconst B: u32 = 1;"),
        digest("const A: char = '\"'; // b\nconst B: u32 = 2;")
    );
    assert_eq!(digest("fn a<'a>() {} // b"), digest("fn a<'a>() {}"));
    assert_ne!(digest("a - -b"), digest("a --b"));
    assert_eq!(digest("no rust: \""), "no rust: \"");
}

/// What the program says of itself is what the sources are that the tests were built beside: an edit that called for no new build
/// would pass off old numbers as those of the edited rule.
#[test]
fn the_program_has_the_digests_of_its_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let sources = code::read(&root, cfg!(feature = "cuda")).unwrap();
    for registration in reduction_strategies::registry::all() {
        let strategy = Strategy::new(registration.name, &BTreeMap::new()).unwrap();
        let code = sweep_runner::code::of(Some(&strategy), "cpu");
        assert_eq!((Some(&code.rule), &code.shared), (sources.rules.get(registration.name), &sources.cpu));
    }
    let desk = Desk::new(&desk::TINY.replace("  - random: { seeds: [0] }\n", ""));
    desk.run("out");
    let manifests: Vec<_> =
        fs::read_dir(desk.path("out/manifests")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(&manifests[0]).unwrap()).unwrap();
    assert_eq!(manifest["sources"].as_str(), Some(sweep_runner::code::SOURCES));
    // Whether it is dirty was true when it was built: a file that nothing uses may have come since.
    let commit = |revision: &str| revision.trim_end_matches("-dirty").to_owned();
    assert_eq!(manifest["git_revision"].as_str().map(commit), Some(commit(&git::revision(&root))));
}

#[test]
fn the_revision_says_dirty_for_changed_and_for_unknown_sources_alone() {
    let workspace = Workspace::new();
    let revision = || git::revision(workspace.0.path());
    assert_eq!(revision(), "unknown");
    assert!(git::watched(workspace.0.path()).is_empty());
    workspace.git(&["init", "-q"]);
    workspace.git(&["add", "."]);
    workspace.git(&["commit", "-q", "-m", "all"]);
    let clean = revision();
    assert!(clean.len() == 40 && !clean.contains("dirty"), "{clean}");
    let watched = git::watched(workspace.0.path());
    assert!(watched.len() > 1 && watched.iter().all(|path| path.exists()), "{watched:?}");
    // Neither documents nor tests are what the program is made of.
    workspace.edit("README.md", "page", "leaf");
    workspace.write("crates/evaluation/tests/new.rs", "fn new() {}\n");
    assert_eq!(revision(), clean);
    let mine = format!("{RULES}/mine.rs");
    workspace.write(&mine, "fn mine() {}\n");
    assert_eq!(revision(), format!("{clean}-dirty"));
    fs::remove_file(workspace.path(&mine)).unwrap();
    assert_eq!(revision(), clean);
    workspace.edit(&format!("{RULES}/top.rs"), "= 3;", "= 4;");
    assert_eq!(revision(), format!("{clean}-dirty"));
    workspace.git(&["commit", "-q", "-a", "-m", "edited"]);
    assert!(!revision().contains("dirty") && revision() != clean);
    // An archive that was unpacked inside another repository is not of its revision.
    workspace.write("below/Cargo.toml", "[workspace]\n");
    assert_eq!(git::revision(Path::new(&workspace.path("below"))), "unknown");
}

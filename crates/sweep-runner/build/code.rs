//! Digests of the code: of everything that the program is made of, of what all results depend on, and of each rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::tokens::significant;

/// The crates whose code makes results.
const COMPUTING: [&str; 4] = ["ssm-kernels", "ssm-model", "reduction-strategies", "evaluation"];
/// What of this crate does: from model, data and scores to a record.
const OWN: [&str; 4] = ["src/library.rs", "src/library", "src/run/cell.rs", "src/run/tasks.rs"];
/// One file, one rule.
const RULES: &str = "crates/reduction-strategies/src/strategies";
/// How kernels are compiled.
const KERNELS: &str = "crates/ssm-kernels/build.rs";
/// Files that the program is made of, beside those of the crates.
const AROUND: [&str; 4] = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "experiments/templates"];
/// What is in a crate beside tests and examples.
const PARTS: [&str; 5] = ["Cargo.toml", "build.rs", "build", "src", "assets"];
/// Hex digits of a digest of code.
const DIGITS: usize = 16;

/// The digests.
pub(crate) struct Code {
    /// Of all sources, as they are.
    pub(crate) sources: String,
    /// Of what all results depend on that are computed on a CPU.
    pub(crate) cpu: String,
    /// The same on a GPU; none in a program that runs on none.
    pub(crate) cuda: Option<String>,
    /// Of each rule, by the name of its file.
    pub(crate) rules: BTreeMap<String, String>,
    /// Where a change calls for other digests.
    pub(crate) watched: Vec<PathBuf>,
}

/// Reads the sources of the workspace at `root`; kernels of the GPU count where `cuda` is asked for.
pub(crate) fn read(root: &Path, cuda: bool) -> io::Result<Code> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let folder = entry?.path();
        // The package around the program makes no result of it, and needs not call for another build of it.
        if folder.ends_with("python") {
            continue;
        }
        for part in PARTS {
            list(&folder.join(part), &mut all)?;
        }
    }
    for name in AROUND {
        list(&root.join(name), &mut all)?;
    }
    let mut sources = blake3::Hasher::new();
    let (mut cpu, mut kernels) = (blake3::Hasher::new(), blake3::Hasher::new());
    let mut rules = BTreeMap::new();
    let mut watched = vec![root.join(RULES)];
    for path in all {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let bytes = fs::read(&path)?;
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let is_kernel = matches!(extension, "cu" | "cuh");
        // A build without kernels is none of theirs.
        if is_kernel && !cuda {
            continue;
        }
        add(&mut sources, &name, &bytes);
        watched.push(path.clone());
        let text = || significant(&String::from_utf8_lossy(&bytes));
        match path.file_stem().filter(|_| name.starts_with(RULES) && !name.ends_with("/mod.rs")) {
            Some(rule) if extension == "rs" => {
                rules.insert(rule.to_string_lossy().into_owned(), text());
            }
            _ if is_kernel || name == KERNELS => add(&mut kernels, &name, &bytes),
            _ if extension == "rs" && is_shared(&name) => add(&mut cpu, &name, text().as_bytes()),
            _ => {}
        }
    }
    add(&mut cpu, "dependencies", dependencies(root)?.as_bytes());
    let cpu = short(&cpu);
    add(&mut kernels, "cpu", cpu.as_bytes());
    Ok(Code {
        sources: sources.finalize().to_hex().to_string(),
        cuda: cuda.then(|| short(&kernels)),
        cpu,
        rules: digests(&rules),
        watched,
    })
}

impl Code {
    /// As source text.
    pub(crate) fn constants(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "const CPU: &str = {:?};", self.cpu);
        let _ = writeln!(text, "const CUDA: Option<&str> = {:?};", self.cuda);
        let rules: Vec<_> = self.rules.iter().collect();
        let _ = writeln!(text, "const RULES: &[(&str, &str)] = &{rules:?};");
        text
    }
}

/// Whether the results of all rules depend on a file of Rust.
fn is_shared(name: &str) -> bool {
    let Some((krate, file)) = name.strip_prefix("crates/").and_then(|name| name.split_once('/')) else { return false };
    let is_test = file.ends_with("/tests.rs") || file.contains("/tests/") || file.starts_with("src/laws/");
    let is_own = |own: &str| file.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let computes = (COMPUTING.contains(&krate) && file.starts_with("src/"))
        || (krate == "sweep-runner" && OWN.into_iter().any(is_own));
    computes && !is_test
}

/// Each rule with the rules that its file names: one that builds on another changes with it.
fn digests(rules: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let names = |text: &str| -> Vec<&String> {
        let paths = ["super ::", "strategies ::"].into_iter().flat_map(|start| text.split(start).skip(1));
        let paths: Vec<&str> = paths.filter_map(|rest| rest.split(';').next()).collect();
        let words = |path: &&str| path.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect();
        let words: BTreeSet<String> = paths.iter().flat_map(|path| -> Vec<String> { words(path) }).collect();
        rules.keys().filter(|rule| words.contains(*rule)).collect()
    };
    let digest = |rule: &String| {
        let mut reached = BTreeSet::from([rule]);
        let mut open = vec![rule];
        while let Some(next) = open.pop() {
            open.extend(names(&rules[next]).into_iter().filter(|name| reached.insert(*name)));
        }
        let mut hasher = blake3::Hasher::new();
        for name in reached {
            add(&mut hasher, name, rules[name].as_bytes());
        }
        (rule.clone(), short(&hasher))
    };
    rules.keys().map(digest).collect()
}

/// What the computing crates take from elsewhere: exact versions of all packages below them, and how they ask for their own.
fn dependencies(root: &Path) -> io::Result<String> {
    let wanted = |manifest: &str, section: &str| -> io::Result<Vec<String>> {
        let text = fs::read_to_string(root.join(manifest))?;
        let lines = text.lines().skip_while(|line| *line != section).skip(1).take_while(|line| !line.starts_with('['));
        Ok(lines.filter(|line| line.starts_with(|c: char| c.is_ascii_alphabetic())).map(str::to_owned).collect())
    };
    let name = |line: &str| line.split([' ', '.', '=']).next().unwrap_or_default().to_owned();
    let mut direct = BTreeSet::new();
    for krate in COMPUTING {
        direct.extend(wanted(&format!("crates/{krate}/Cargo.toml"), "[dependencies]")?.iter().map(|line| name(line)));
    }
    direct.retain(|name| !COMPUTING.contains(&name.as_str()));
    let mut text = String::new();
    for line in wanted("Cargo.toml", "[workspace.dependencies]")?.iter().filter(|line| direct.contains(&name(line))) {
        let _ = writeln!(text, "{line}");
    }
    let lock = fs::read_to_string(root.join("Cargo.lock"))?;
    let packages: Vec<Package<'_>> = lock.split("[[package]]").skip(1).map(Package::parse).collect();
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = direct.iter().map(String::as_str).collect();
    while let Some(asked) = open.pop() {
        // `name`, or `name version` where there are several.
        let (name, version) = asked.split_once(' ').unwrap_or((asked, ""));
        for package in packages.iter().filter(|package| package.name == name && package.version.starts_with(version)) {
            if reached.insert((package.name, package.version, package.checksum)) {
                open.extend(&package.dependencies);
            }
        }
    }
    for (name, version, checksum) in reached {
        let _ = writeln!(text, "{name} {version} {checksum}");
    }
    Ok(text)
}

/// A package of `Cargo.lock`.
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    checksum: &'a str,
    dependencies: Vec<&'a str>,
}

impl<'a> Package<'a> {
    fn parse(text: &'a str) -> Self {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            line.unwrap_or_default().trim_matches('"')
        };
        let dependencies = text.lines().filter_map(|line| line.strip_prefix(" \"")?.split('"').next());
        // The text after the version says where it comes from.
        let dependencies = dependencies.map(|line| line.split(" (").next().unwrap_or(line)).collect();
        Self { name: value("name"), version: value("version"), checksum: value("checksum"), dependencies }
    }
}

/// All files at or below `path`; none where there is nothing.
fn list(path: &Path, files: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            list(&entry?.path(), files)?;
        }
    } else if path.is_file() {
        files.insert(path.to_owned());
    }
    Ok(())
}

fn add(hasher: &mut blake3::Hasher, name: &str, bytes: &[u8]) {
    hasher.update(name.as_bytes()).update(b"\0").update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

fn short(hasher: &blake3::Hasher) -> String {
    hasher.finalize().to_hex()[..DIGITS].to_owned()
}

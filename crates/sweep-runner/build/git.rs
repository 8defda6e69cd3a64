//! What git says of the sources; nothing where they came as an archive.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What the program is made of. Tests and examples are not, and neither are documents: after a change of those it is still the
/// program of its revision.
const PROGRAM: [&str; 8] = [
    "crates",
    "experiments/templates",
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    ".cargo",
    ":(exclude,glob)crates/*/tests/**",
    ":(exclude,glob)crates/*/examples/**",
];

/// The revision, with `-dirty` where the program is not made of it alone: a tracked file was changed, or there is one that git does not
/// know, for example a new strategy. `unknown` without git, and where an archive was unpacked inside another repository.
pub(crate) fn revision(root: &Path) -> String {
    let tracked = ask(root, &["ls-files", "--error-unmatch", "Cargo.toml"]).is_some();
    let Some(revision) = ask(root, &["rev-parse", "HEAD"]).filter(|_| tracked) else { return "unknown".to_owned() };
    let status = ask(root, &[&["status", "--porcelain", "--untracked-files=all", "--"][..], &PROGRAM].concat());
    // A status that cannot be had is no sign of a clean tree.
    let clean = status.is_some_and(|changes| changes.is_empty());
    format!("{revision}{}", if clean { "" } else { "-dirty" })
}

/// Files that change with the revision: the log of what `HEAD` was, or where there is none, `HEAD` and the branches.
pub(crate) fn watched(root: &Path) -> Vec<PathBuf> {
    let path = |name: &str| {
        let path = ask(root, &["rev-parse", "--git-path", name]).map(|path| root.join(path));
        path.filter(|path| path.exists())
    };
    let Some(head) = path("HEAD") else { return Vec::new() };
    path("logs/HEAD").map_or_else(
        || [Some(head.clone()), path("refs/heads"), path("packed-refs")].into_iter().flatten().collect(),
        |log| vec![head.clone(), log],
    )
}

fn ask(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

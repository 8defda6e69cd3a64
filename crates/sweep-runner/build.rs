//! Tells the program what it was built from: revision, compiler and digests of its sources, for manifests and records.
//!
//! This runs again when a file that the program is made of changes, and then only `sweep-runner` is compiled anew, which such a file
//! asks for in any case: everything else that may call for a rebuild (documents, tests) is not looked at.

#[path = "build/code.rs"]
mod code;
#[path = "build/git.rs"]
mod git;
#[path = "build/tokens.rs"]
mod tokens;

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    let code = code::read(&root, env::var_os("CARGO_FEATURE_CUDA").is_some())?;
    for path in code.watched.iter().chain(&git::watched(&root)) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    println!("cargo:rustc-env=SSM_REDUCE_GIT_REVISION={}", git::revision(&root));
    println!("cargo:rustc-env=SSM_REDUCE_SOURCES={}", code.sources);
    let compiler = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(compiler).arg("--version").output().ok().filter(|output| output.status.success());
    let version = version.map_or_else(|| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).into());
    println!("cargo:rustc-env=SSM_REDUCE_RUSTC={}", version.trim());
    fs::write(Path::new(&env::var("OUT_DIR")?).join("code.rs"), code.constants())?;
    Ok(())
}

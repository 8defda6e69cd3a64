//! The program that holds the command line: the binary `sweep`, or a Python interpreter.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use miette::miette;

use super::{Failure, failed, refused};

/// What a program that is not the binary `sweep` says of itself.
#[derive(Clone, Debug)]
pub struct Host {
    /// Words that start this command line again in another process: the interpreter and its module, say.
    pub program: Vec<String>,
    /// Registers the strategies of a file.
    pub load_rules: fn(&Path) -> Result<(), WordsAndHint>,
}

/// What is wrong, and what to do about it.
pub type WordsAndHint = (String, Option<String>);

/// Words that start this program again.
pub(super) fn program(host: Option<&Host>) -> Result<Vec<String>, Failure> {
    if let Some(host) = host {
        return Ok(host.program.clone());
    }
    let program = std::env::current_exe().map_err(|error| failed(miette!("cannot find this program: {error}")))?;
    Ok(vec![program.to_string_lossy().into_owned()])
}

/// Rules that are not part of the program.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct RulesArgs {
    /// Python file whose strategies the experiment may name; known to the `sweep` of the Python package alone. May be given
    /// several times
    #[arg(long, value_name = "FILE.py", value_parser = crate::home::argument())]
    rules: Vec<PathBuf>,
}

impl RulesArgs {
    /// Registers their strategies.
    pub(super) fn load(&self, host: Option<&Host>) -> Result<(), Failure> {
        for file in &self.rules {
            let Some(host) = host else {
                let help = "install the Python package, which brings its own `sweep`: docs/python.md";
                return Err(refused(miette!(help = help, "--rules: this `sweep` holds no Python")));
            };
            (host.load_rules)(file).map_err(|(problem, hint)| {
                let words = format!("{}: {problem}", file.display());
                refused(hint.map_or_else(|| miette!("{words}"), |hint| miette!(help = hint, "{words}")))
            })?;
        }
        Ok(())
    }

    /// The same as words of a command line.
    pub(super) fn words(&self) -> impl Iterator<Item = OsString> {
        self.rules.iter().flat_map(|file| ["--rules".into(), file.clone().into()])
    }
}

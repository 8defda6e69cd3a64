//! The program that holds the command line: the binary `sweep`, or a Python interpreter.

use miette::miette;

use super::{Failure, failed};

/// What a program that is not the binary `sweep` says of itself.
#[derive(Clone, Debug)]
pub struct Host {
    /// Words that start this command line again in another process: the interpreter and its module, say.
    pub program: Vec<String>,
}

/// Words that start this program again.
pub(super) fn program(host: Option<&Host>) -> Result<Vec<String>, Failure> {
    if let Some(host) = host {
        return Ok(host.program.clone());
    }
    let program = std::env::current_exe().map_err(|error| failed(miette!("cannot find this program: {error}")))?;
    Ok(vec![program.to_string_lossy().into_owned()])
}

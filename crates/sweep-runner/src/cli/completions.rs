//! `completions`: scripts that complete commands and flags in a shell.

use std::io::{self, Write};

use super::sweep::ignore_closed_pipe;
use super::{DONE, Failure};

/// A shell that has completions.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn print(shell: Shell) -> Result<u8, Failure> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    // The generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "sweep", &mut script);
    ignore_closed_pipe(io::stdout().lock().write_all(&script))?;
    Ok(DONE)
}

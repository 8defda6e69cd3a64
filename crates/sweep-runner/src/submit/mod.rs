//! Handing an experiment to a cluster: scripts from templates that are the user's to edit.

mod shell;
pub(crate) mod slurm;
mod template;

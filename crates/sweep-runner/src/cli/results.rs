//! Results folders as arguments.

use std::fs;
use std::path::Path;

use miette::miette;

use super::{Failure, refused};
use crate::record::marker::{self, Holds};

/// Refuses what is no results folder, before anything is read for it.
pub(super) fn expect(folder: &Path) -> Result<(), Failure> {
    let shown = folder.display();
    let facts = match fs::metadata(folder) {
        Ok(facts) => facts,
        Err(error) => return Err(no_results(&format!("cannot open {shown}: {error}"), None)),
    };
    if !facts.is_dir() {
        let experiment = folder.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let help = "this is an experiment file: name the folder that `sweep run` wrote from it, usually results/<name of the experiment>";
        return Err(no_results(&format!("{shown} is no folder"), experiment.then_some(help)));
    }
    let has_plan = fs::symlink_metadata(folder.join("plan.json")).is_ok();
    match marker::look(folder).map_err(refused)? {
        Holds::Results if has_plan => Ok(()),
        Holds::Results => {
            let help = "results appear as soon as `sweep run` has begun";
            Err(no_results(&format!("no run has written to {shown} yet: it holds no plan.json"), Some(help)))
        }
        _ if has_plan => {
            Err(no_results(&format!("{shown} is no results folder: its plan.json is none of `sweep run`"), None))
        }
        _ => Err(no_results(&format!("{shown} is no results folder: it holds no plan.json"), None)),
    }
}

fn no_results(problem: &str, help: Option<&str>) -> Failure {
    let help = help.unwrap_or("name the folder that `sweep run` wrote, for example results/smoke");
    refused(miette!(help = help, "{problem}"))
}

//! `fetch`: downloads what experiments name, before a run or on a machine that has a network.

use std::io::{self, Write};
use std::path::Path;

use evaluation::tasks::{Prompting, benchmarks};
use miette::miette;
use reduction_strategies::spelling::nearest;
use report::text::terminal;

use super::data::DataArgs;
use super::sweep::{ignore_closed_pipe, say};
use super::{DONE, Failure, refused};
use crate::config::{self, Catalog, CatalogError};
use crate::home;
use crate::library::Downloads;

/// What a reference to a model of the hub begins with.
const HUB: &str = "hub:";

/// `wanted` are experiment files, references and benchmarks; `tokenizer` is that of the references, if it is not their own. Prints a line per repository: reference or task, repository, revision, commit.
pub(super) fn run(wanted: &[String], tokenizer: Option<&str>, data: &DataArgs) -> Result<u8, Failure> {
    if tokenizer.is_some() && !wanted.iter().any(|word| word.starts_with(HUB)) {
        let help = "an experiment names it beside the model: `models: [{ path: .., tokenizer: .. }]`";
        return Err(refused(miette!(
            help = help,
            "--tokenizer has no reference to go with: no hub:<owner>/<name> is named"
        )));
    }
    let library = data.library(Downloads::Refresh)?;
    for word in wanted {
        let file = home::expand(Path::new(word)).map_err(|problem| refused(miette!("{problem}")))?;
        let named = |error: CatalogError| {
            let hint = error.hint.clone().unwrap_or_default();
            refused(if error.message.contains(word) {
                miette!(help = hint, "{error}")
            } else {
                miette!(help = hint, "{word}: {error}")
            })
        };
        // Opened as well, so that what cannot be used is found out here.
        if word.starts_with(HUB) {
            library.choose_tokenizer(word, tokenizer).map_err(named)?;
            library.model(word).map_err(named)?;
        } else if benchmarks().iter().any(|task| task.name == word) {
            library.task(&word.as_str().into(), Prompting::default()).map_err(named)?;
        } else if !file.exists() {
            let tasks = benchmarks().iter().map(|task| task.name);
            let help = nearest(word, tasks).map_or_else(
                || "write an experiment file, hub:<owner>/<name>, or a benchmark of `sweep tasks`".to_owned(),
                |near| format!("did you mean the benchmark `{near}`?"),
            );
            return Err(refused(miette!(help = help, "`{word}` is no file, no reference and no benchmark")));
        } else {
            config::load(&file, &library).map_err(refused)?;
        }
    }
    let commits = library.hub_commits();
    if commits.is_empty() {
        say("nothing to fetch: neither a model nor a data set of a hub is named");
    }
    let mut out = io::stdout().lock();
    let written = commits.iter().try_for_each(|used| {
        let words = [&used.reference, &used.repository, &used.revision, &used.commit].map(|word| terminal(word));
        writeln!(out, "{}", words.join("\t"))
    });
    ignore_closed_pipe(written)?;
    Ok(DONE)
}

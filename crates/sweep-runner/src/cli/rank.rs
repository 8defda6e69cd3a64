//! `rank`: the rules of a results folder against each other, over models, tasks and reductions.

use std::io::{self, Write};
use std::path::PathBuf;

use analysis::compare::Pick;
use clap::Args;
use miette::miette;

use super::sweep::ignore_closed_pipe;
use super::{DONE, Failure, failed, hinted, refused, results};

/// What to rank.
#[derive(Args)]
pub(super) struct RankArgs {
    /// Results folder
    #[arg(value_parser = crate::home::argument())]
    folder: PathBuf,
    /// The rule that is shown against each other one: a name, or name:option=value,option=value; the best one if left out
    #[arg(long, value_name = "STRATEGY")]
    rule: Option<Pick>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &RankArgs) -> Result<u8, Failure> {
    results::expect(&args.folder)?;
    let study = analysis::study(&args.folder).map_err(|error| refused(hinted(&error.to_string(), &error)))?;
    let ranking = analysis::rank::rank(&study, args.rule.as_ref()).map_err(|problem| {
        refused(miette!(help = "name one rule of the folder, with options where it has several variants", "{problem}"))
    })?;
    let said = if args.json {
        serde_json::to_string_pretty(&ranking)
            .map(|ranking| ranking + "\n")
            .map_err(|error| failed(miette!("cannot print the ranking: {error}")))?
    } else {
        report::ranking(&ranking)
    };
    ignore_closed_pipe(io::stdout().lock().write_all(said.as_bytes()))?;
    Ok(DONE)
}

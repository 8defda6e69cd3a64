//! `compare`: whether one rule is better than another, item by item, as a Markdown table.

use std::io::{self, Write};
use std::path::PathBuf;

use analysis::compare::{Pick, compare};
use clap::Args;
use miette::miette;

use super::sweep::ignore_closed_pipe;
use super::{DONE, Failure, hinted, refused, results};

/// What to compare.
#[derive(Args)]
pub(super) struct CompareArgs {
    /// Results folder of the first rule
    #[arg(value_parser = crate::home::argument())]
    first: PathBuf,
    /// Results folder of the second rule; the first one where it is left out
    #[arg(value_parser = crate::home::argument())]
    second: Option<PathBuf>,
    /// Strategy of the first folder: a name, or name:option=value,option=value
    #[arg(long, value_name = "STRATEGY")]
    a: Option<Pick>,
    /// Strategy of the second folder
    #[arg(long, value_name = "STRATEGY")]
    b: Option<Pick>,
}

pub(super) fn run(args: &CompareArgs) -> Result<u8, Failure> {
    if args.second.is_none() && (args.a.is_none() || args.b.is_none()) {
        let help = "name a second folder, or two strategies of this one: --a utrc --b my_rule";
        return Err(refused(miette!(help = help, "there is nothing to compare {} with", args.first.display())));
    }
    let second = args.second.as_ref().unwrap_or(&args.first);
    results::expect(&args.first)?;
    results::expect(second)?;
    let pairs = compare(&args.first, second, args.a.as_ref(), args.b.as_ref())
        .map_err(|error| refused(hinted(&error.to_string(), &error)))?;
    ignore_closed_pipe(io::stdout().lock().write_all(report::comparison(&pairs).as_bytes()))?;
    Ok(DONE)
}

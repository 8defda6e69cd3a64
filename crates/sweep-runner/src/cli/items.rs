//! `items`: the items of a task under two arms, with what was removed from each.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use analysis::compare::Pick;
use analysis::items::{ItemsWanted, items};
use clap::Args;
use report::Marks;

use super::sweep::ignore_closed_pipe;
use super::{DONE, Failure, hinted, refused, results};

/// Which items to show.
#[derive(Args)]
pub(super) struct ItemsArgs {
    /// Results folder
    #[arg(value_parser = crate::home::argument())]
    folder: PathBuf,
    /// The first arm: a strategy, or name:option=value,option=value
    #[arg(long, value_name = "STRATEGY", default_value = "dense")]
    a: Pick,
    /// The second arm
    #[arg(long, value_name = "STRATEGY")]
    b: Pick,
    /// Only items that A answers right and B does not
    #[arg(long)]
    lost: bool,
    /// Only this model
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Only this protocol
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<String>,
    /// Only this task
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// Only this reduction, as the experiment asks for it: 20, 20% or 0.2
    #[arg(long, value_name = "REDUCTION", value_parser = records::schema::Reduction::value_from_text)]
    reduction: Option<f64>,
    /// Only this item
    #[arg(long, value_name = "ITEM")]
    item: Option<String>,
    /// At most so many items of each task and setting
    #[arg(long, value_name = "N", default_value_t = 20)]
    most: usize,
}

pub(super) fn run(args: ItemsArgs) -> Result<u8, Failure> {
    results::expect(&args.folder)?;
    let ItemsArgs { folder, a, b, lost, model, protocol, task, reduction, item, most } = args;
    let wanted = ItemsWanted { a, b, model, protocol, task, reduction, item, lost };
    let pairs = items(&folder, &wanted).map_err(|error| refused(hinted(&error.to_string(), &error)))?;
    let mut out = io::stdout().lock();
    let marks = if out.is_terminal() && std::env::var_os("NO_COLOR").is_none() { Marks::Ansi } else { Marks::Plain };
    ignore_closed_pipe(out.write_all(report::items(&pairs, most, marks).as_bytes()))?;
    Ok(DONE)
}

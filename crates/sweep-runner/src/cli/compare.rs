//! `compare`: whether one rule is better than others, item by item: a Markdown table, JSON or a frame.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use analysis::compare::{Pick, compare, frame, rows};
use clap::Args;
use miette::miette;
use polars::prelude::{DataFrame, ParquetWriter};
use records::files::{self, Durability};

use super::sweep::ignore_closed_pipe;
use super::{DONE, Failure, failed, hinted, refused, results};

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
    /// Strategy of the second folder; may be given several times
    #[arg(long, value_name = "STRATEGY")]
    b: Vec<Pick>,
    /// Print the rows as a JSON list instead
    #[arg(long)]
    json: bool,
    /// Also write the rows as a frame
    #[arg(long, value_name = "FILE.parquet", value_parser = crate::home::argument())]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &CompareArgs) -> Result<u8, Failure> {
    if args.second.is_none() && (args.a.is_none() || args.b.is_empty()) {
        let help = "name a second folder, or two strategies of this one: --a utrc --b my_rule";
        return Err(refused(miette!(help = help, "there is nothing to compare {} with", args.first.display())));
    }
    let second = args.second.as_ref().unwrap_or(&args.first);
    results::expect(&args.first)?;
    results::expect(second)?;
    let pairs = compare(&args.first, second, args.a.as_ref(), &args.b)
        .map_err(|error| refused(hinted(&error.to_string(), &error)))?;
    if let Some(file) = &args.out {
        let mut frame = frame(&pairs).map_err(|error| failed(hinted(&error.to_string(), &error)))?;
        write_frame(&mut frame, file)?;
    }
    let said = if args.json {
        serde_json::to_string_pretty(&rows(&pairs))
            .map(|rows| rows + "\n")
            .map_err(|error| failed(miette!("cannot print the rows: {error}")))?
    } else {
        report::comparison(&pairs)
    };
    ignore_closed_pipe(io::stdout().lock().write_all(said.as_bytes()))?;
    Ok(DONE)
}

/// Writes a frame as Parquet, whole or not at all.
fn write_frame(frame: &mut DataFrame, file: &Path) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    let shown = file.display();
    ParquetWriter::new(&mut bytes).finish(frame).map_err(|error| failed(miette!("cannot make {shown}: {error}")))?;
    files::write(file, &bytes, Durability::Plain).map_err(|error| {
        failed(miette!(help = "name a file in a folder that is there", "cannot write {shown}: {error}"))
    })
}

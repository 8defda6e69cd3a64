//! `claims`: the claims of several results folders in one table.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use miette::miette;

use super::sweep::ignore_closed_pipe;
use super::{DONE, Failure, failed, hinted, refused, results};

/// Which claims, and where their table goes.
#[derive(Args)]
pub(super) struct ClaimsArgs {
    /// Results folders of experiments with a claim, in the order of the rows
    #[arg(required = true, value_parser = crate::home::argument())]
    folders: Vec<PathBuf>,
    /// Write claims.md and claims.csv into this folder instead of printing the table
    #[arg(long, value_name = "DIR", value_parser = crate::home::argument())]
    out: Option<PathBuf>,
    /// Put the table into a document: into its block `<!-- BEGIN: NAME:claims.md -->`, where NAME is that of the folder of --out
    #[arg(long, value_name = "DOCUMENT", requires = "out", value_parser = crate::home::argument())]
    splice: Option<PathBuf>,
}

pub(super) fn run(args: &ClaimsArgs) -> Result<u8, Failure> {
    let name = args.out.as_ref().and_then(|out| out.file_name()).map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    if let Some(document) = &args.splice {
        report::check_block(document, &format!("{name}:claims.md"))
            .map_err(|error| refused(hinted(&error.to_string(), &error)))?;
    }
    let mut studies = Vec::new();
    for folder in &args.folders {
        results::expect(folder)?;
        let study = analysis::study(folder).map_err(|error| refused(hinted(&error.to_string(), &error)))?;
        if study.claim.is_none() {
            return Err(refused(miette!(
                help = "name results folders of experiments with a `claim`",
                "{} makes no claim",
                folder.display()
            )));
        }
        let name = &study.plan.experiment;
        if let Some(index) = studies.iter().position(|other: &analysis::Study| other.plan.experiment == *name) {
            return Err(refused(miette!(
                help = "rows are told apart by the names of their experiments",
                "{} and {} both hold `{name}`",
                args.folders[index].display(),
                folder.display()
            )));
        }
        studies.push(study);
    }
    let Some(table) = report::overview(&studies) else {
        return Err(refused(miette!(
            help = "run their experiments first",
            "no claim of these folders has a comparison"
        )));
    };
    let Some(out) = &args.out else {
        ignore_closed_pipe(io::stdout().lock().write_all(table.markdown.as_bytes()))?;
        return Ok(DONE);
    };
    let cannot = |error: io::Error| {
        failed(miette!(
            help = "--out names a folder; it is made where it is missing",
            "cannot write {}: {error}",
            out.display()
        ))
    };
    fs::create_dir_all(out).map_err(cannot)?;
    fs::write(out.join("claims.md"), table.markdown).map_err(cannot)?;
    fs::write(out.join("claims.csv"), table.csv).map_err(cannot)?;
    if let Some(document) = &args.splice {
        report::splice(out, &name, document).map_err(|error| failed(hinted(&error.to_string(), &error)))?;
    }
    Ok(DONE)
}

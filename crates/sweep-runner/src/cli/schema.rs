//! `schema`: the format of experiment files for editors.

use std::io::{self, Write};

use miette::miette;

use super::sweep::ignore_closed_pipe;
use super::{DONE, Failure, failed};
use crate::config;

pub(super) fn print() -> Result<u8, Failure> {
    let schema = config::json_schema().map_err(|error| failed(miette!("cannot print the schema: {error}")))?;
    ignore_closed_pipe(io::stdout().lock().write_all(schema.as_bytes()))?;
    Ok(DONE)
}

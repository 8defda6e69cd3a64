//! How long the analysis of a large experiment takes: about 2,500 fake cells of 500 items. `just time-analysis`.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod support;

use std::io::{self, Write};
use std::time::Instant;

use support::Shape;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    support::write(folder.path(), &Shape { items: 500, ..Shape::full() });
    let started = Instant::now();
    let analysis = analysis::run(folder.path())?;
    let took = started.elapsed().as_secs_f64();
    writeln!(io::stdout(), "{} cells, {} rows: {took:.1} s", analysis.done + analysis.failed, analysis.rows)?;
    Ok(())
}

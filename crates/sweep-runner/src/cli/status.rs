//! `status`: how far an experiment is.

use std::io::{self, Write};
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use miette::miette;
use records::schema;
use report::text::{terminal, terminal_lines};

use super::sweep::ignore_closed_pipe;
use super::{DONE, Failure, failed, refused, results};
use crate::record::status::{self, LeaseStatus, Status, Stopped};

/// Failures that are shown one by one.
const SHOWN: usize = 10;

pub(super) fn show(folder: &Path, json: bool) -> Result<u8, Failure> {
    results::expect(folder)?;
    let Some(status) = status::read(folder).map_err(failed)? else {
        return Err(refused(miette!("{} holds no plan.json", folder.display())));
    };
    let mut out = io::stdout().lock();
    let written = if json {
        let text = serde_json::to_string_pretty(&status).map_err(|error| failed(miette!("cannot print: {error}")))?;
        writeln!(out, "{text}")
    } else {
        let mut text = Vec::new();
        write(&status, &mut text)
            .and_then(|()| out.write_all(terminal_lines(&String::from_utf8_lossy(&text)).as_bytes()))
    };
    ignore_closed_pipe(written)?;
    Ok(DONE)
}

fn write(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "experiment  {}", terminal(&status.experiment))?;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["model", "cells", "done", "failed", "missing", "groups done"]);
    for model in &status.models {
        let groups = model.groups.map_or_else(|| "?".to_owned(), |all| format!("{} of {all}", model.groups_done));
        let counts = [model.cells, model.done, model.failed, model.missing].map(|count| count.to_string());
        table.add_row(std::iter::once(terminal(&model.model)).chain(counts).chain([groups]));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    writeln!(out, "\n{}", table.trim_fmt())?;
    if !status.damaged.is_empty() {
        writeln!(
            out,
            "\ndamaged (the next `sweep run` moves these files into damaged/ and makes their content again)"
        )?;
        for (path, why) in &status.damaged {
            writeln!(out, "  {path}: {why}")?;
        }
    }
    section(out, "running", status.leases.iter().filter(|lease| !lease.stale))?;
    section(out, "stale, taken over by the next run", status.leases.iter().filter(|lease| lease.stale))?;
    // Of no interest any more once others have done the work.
    if status.models.iter().any(|model| model.missing > 0) && !status.stopped.is_empty() {
        writeln!(out, "\nstopped before the work was done")?;
        for Stopped { host, pid, why } in &status.stopped {
            writeln!(out, "  process {pid} on {}: {}", terminal(host), terminal(why))?;
        }
    }
    if status.sharing.token_layers_asked > 0 {
        let sharing = &status.sharing;
        writeln!(
            out,
            "\nsharing     {:.2} million token-layers executed, {:.1} % of cell by cell, in {} processes so far",
            sharing.token_layers_executed as f64 / 1e6,
            100.0 * sharing.token_layers_executed as f64 / sharing.token_layers_asked as f64,
            status.processes,
        )?;
    }
    if !status.failures.is_empty() {
        writeln!(out, "\nfailed (`sweep retry --failed` runs them again)")?;
        for (cell, schema::Failure { error, hint }) in status.failures.iter().take(SHOWN) {
            writeln!(out, "  {}  {}", terminal(cell), terminal(error))?;
            if let Some(hint) = hint {
                writeln!(out, "    hint: {}", terminal(hint))?;
            }
        }
        if status.failures.len() > SHOWN {
            writeln!(out, "  and {} more", status.failures.len() - SHOWN)?;
        }
    }
    Ok(())
}

fn section<'a>(out: &mut dyn Write, title: &str, leases: impl Iterator<Item = &'a LeaseStatus>) -> io::Result<()> {
    for (index, lease) in leases.enumerate() {
        if index == 0 {
            writeln!(out, "\n{title}")?;
        }
        let holder = lease.holder.as_ref();
        let holder = holder.map_or_else(|| "unknown".to_owned(), |(host, pid)| format!("process {pid} on {host}"));
        let LeaseStatus { work, held_s, silent_s, .. } = lease;
        let (work, holder) = (terminal(work), terminal(&holder));
        writeln!(out, "  {work}: {holder}, for {held_s} s, last sign of life {silent_s} s ago")?;
    }
    Ok(())
}

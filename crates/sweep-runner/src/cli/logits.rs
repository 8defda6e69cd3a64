//! `logits`: float32 logits of given token ids.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use candle_core::Tensor;
use miette::miette;
use records::files::{self, Durability};
use records::regular;
use ssm_kernels::{Segments, host};

use super::data::DataArgs;
use super::device::DeviceArgs;
use super::{DONE, Failure, failed, hinted, refused};
use crate::library::Downloads;

/// An output that is the token file, or a file of the model, would be lost.
fn refuse_an_input(out: &Path, tokens: &Path, model: &str) -> Result<(), Failure> {
    let Ok(out) = out.canonicalize() else { return Ok(()) };
    let is_tokens = tokens.canonicalize().is_ok_and(|tokens| tokens == out);
    let is_of_model = Path::new(model).canonicalize().is_ok_and(|folder| out.starts_with(folder));
    if is_tokens || is_of_model {
        let help = "name another file: this one would be overwritten";
        return Err(refused(miette!(help = help, "{} is read as an input", out.display())));
    }
    Ok(())
}

/// Each line runs alone, so that a long file needs no more memory than its longest line.
pub(super) fn write(
    model: &str,
    tokens: &Path,
    out: &Path,
    data: &DataArgs,
    device: &DeviceArgs,
) -> Result<u8, Failure> {
    files::check(out).map_err(|error| refused(miette!("cannot write {}: {error}", out.display())))?;
    refuse_an_input(out, tokens, model)?;
    let text = regular::read_text(tokens, regular::MAX_BYTES)
        .map_err(|error| refused(miette!("cannot read {}: {error}", tokens.display())))?;
    let mut rows: Vec<Vec<u32>> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row: Vec<u32> = serde_json::from_str(line).map_err(|error| {
            let help = "write one JSON list of token ids a line, for example [17, 4, 256]";
            refused(miette!(help = help, "{}:{}: {error}", tokens.display(), index + 1))
        })?;
        if row.is_empty() {
            return Err(refused(miette!("{}:{}: an empty list has no logits", tokens.display(), index + 1)));
        }
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(refused(miette!("{} holds no line", tokens.display())));
    }
    let (placement, _) = device.open()?;
    let model = data.library(Downloads::Missing)?.load_weights(model, &placement).map_err(refused)?;
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        let logits = model
            .prefill(row, &Segments::independent(&[row.len()]), None)
            .and_then(|(activations, _)| {
                let all: Vec<u32> = (0..row.len() as u32).collect();
                model.head(&activations, &all)
            })
            .and_then(|logits| Ok(host::copy(&logits)?))
            .map_err(|error| {
                let said = format!("{}: row {index}: {error}", tokens.display());
                refused(hinted(&said, &error))
            })?;
        evaluation::check_logits(&logits).map_err(|error| {
            let said = format!("{}: row {index}: {error}; nothing was written", tokens.display());
            failed(hinted(&said, &error))
        })?;
        tensors.insert(format!("logits.{index}"), logits);
    }
    files::write_with(out, Durability::Plain, |aside, _| {
        candle_core::safetensors::save(&tensors, aside).map_err(io::Error::other)
    })
    .map_err(|error| failed(miette!("cannot write {}: {error}", out.display())))?;
    Ok(DONE)
}

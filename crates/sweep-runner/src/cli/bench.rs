//! `bench`: speed and memory of prefill and generation.

use std::io::{self, Write};
use std::path::PathBuf;

use analysis::compare::Pick;
use miette::miette;
use records::files;

use super::device::DeviceArgs;
use super::sweep::ignore_closed_pipe;
use super::{DONE, Failure, failed, hinted, refused};
use crate::bench::{Bench, BenchError, Generate, Logits, Shape};
use crate::say::say;

/// What to measure.
#[derive(clap::Args)]
pub(super) struct BenchArgs {
    /// Sizes to run with random weights: a published model, e.g. mamba2-2.7b, or a folder with a config.json; several with
    /// commas
    #[arg(long, value_name = "MODEL", value_delimiter = ',', default_value = "mamba2-130m")]
    random: Vec<String>,
    /// Sequences of a call, e.g. 16x2048, or 300x40-180 for lengths from 40 to 180; several with commas. 1x512 where nothing
    /// is to be generated either
    #[arg(long, value_delimiter = ',')]
    shape: Vec<Shape>,
    /// Prompts and how many tokens to generate greedily after each, e.g. 16x2048+100; several with commas. 1x2048+1 shows the
    /// time to the first token
    #[arg(long, value_name = "PROMPTS+TOKENS", value_delimiter = ',')]
    generate: Vec<Generate>,
    /// A strategy besides dense: a name, or name:option=value,option=value; once for each
    #[arg(long, value_name = "STRATEGY")]
    strategy: Vec<Pick>,
    /// Share of the tokens that is kept at each site of the paper's schedule; 0.905 is 29.8 % fewer FLOPs at 64 layers
    #[arg(long, default_value_t = 0.905)]
    keep_ratio: f64,
    /// Rows that pass through the head; several with commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all")]
    logits: Vec<Logits>,
    /// Timed runs of each case
    #[arg(long, default_value_t = 7)]
    repeats: usize,
    /// Seed of weights and tokens
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Also measure candle-transformers' models of these sizes on the CPU (needs a build with --features peer)
    #[arg(long)]
    peer: bool,
    /// Also write the measurements as Parquet
    #[arg(long, value_name = "FILE", value_parser = crate::home::argument())]
    out: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(super) fn run(args: BenchArgs) -> Result<u8, Failure> {
    if !(args.keep_ratio > 0.0 && args.keep_ratio <= 1.0) || args.repeats == 0 {
        return Err(refused(miette!("--keep-ratio must be in (0, 1] and --repeats at least 1")));
    }
    if let Some(path) = &args.out {
        files::check(path).map_err(|error| refused(miette!("cannot write {}: {error}", path.display())))?;
    }
    let (placement, _) = args.device.open()?;
    let mut shapes = args.shape;
    if shapes.is_empty() && args.generate.is_empty() {
        shapes.push(Shape::default());
    }
    let bench = Bench {
        models: args.random,
        shapes,
        generate: args.generate,
        strategies: args.strategy,
        keep_ratio: args.keep_ratio,
        logits: args.logits,
        repeats: args.repeats,
        seed: args.seed,
        peer: args.peer,
    };
    let report = bench.run(&placement, say).map_err(|error| {
        let report = hinted(&error.to_string(), &error);
        let is_refusal = matches!(
            error,
            BenchError::Name(_)
                | BenchError::Strategy(_)
                | BenchError::Config(_)
                | BenchError::Schedule(_)
                | BenchError::Peer
        );
        if is_refusal { refused(report) } else { failed(report) }
    })?;
    if let Some(path) = args.out {
        report.write_parquet(&path).map_err(|error| failed(miette!("{error}")))?;
    }
    ignore_closed_pipe(io::stdout().lock().write_all(report.to_markdown().as_bytes()))?;
    Ok(DONE)
}

use std::fmt::Write as _;
use std::path::Path;

use polars::prelude::*;
use records::files::{self, Durability};

use super::{BenchError, Generation, Logits, Measurement, Memory, Report};

pub(super) fn markdown(report: &Report) -> String {
    let mut text = String::new();
    let ceilings = report.ceilings;
    let _ = writeln!(
        text,
        "{}, {}. Ceilings of this run: product {}FLOP/s, copy {}B/s read and written.\n",
        report.device,
        report.dtype.as_str(),
        scaled(ceilings.gemm_flops_per_s),
        scaled(ceilings.copy_bytes_per_s)
    );
    prefills(&mut text, report);
    generations(&mut text, report);
    kernels(&mut text, &report.measurements);
    text
}

fn prefills(text: &mut String, report: &Report) {
    if report.measurements.is_empty() {
        return;
    }
    text.push_str("| model | shape | strategy | logits | tokens/s | spread | share of the product ceiling | over dense | reducing, ms | weights, GiB | peak besides, GiB |\n");
    text.push_str("|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|\n");
    let ceilings = report.ceilings;
    for measurement in &report.measurements {
        let dense = report.measurements.iter().find(|other| {
            let same = other.model == measurement.model && other.shape == measurement.shape;
            same && other.logits == measurement.logits && other.strategy == "dense"
        });
        let over = dense.map_or(f64::NAN, |dense| dense.median() / measurement.median());
        let (low, high) = spread(measurement);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:+.1} % .. {:+.1} % | {:.0} % | {over:.2} | {} | {} |",
            measurement.model,
            measurement.shape,
            measurement.strategy,
            measurement.logits.name(),
            thousands(measurement.tokens_per_s()),
            100.0 * low,
            100.0 * high,
            100.0 * measurement.dense_flops / measurement.median() / ceilings.gemm_flops_per_s,
            measurement.reduction_seconds().map_or_else(|| "-".to_owned(), |seconds| format!("{:.2}", 1e3 * seconds)),
            memory(measurement.memory)
        );
    }
}

fn generations(text: &mut String, report: &Report) {
    let generations = &report.generations;
    if generations.is_empty() {
        return;
    }
    text.push_str("\nGreedy generation. The first token comes with the prompt, the others with one step each, by *graph* where the model has kernels for it; *of the copy* is what a step has to read and write at least against the copy ceiling; *end to end* counts prompt and generated tokens over the whole time.\n\n");
    text.push_str("| model | prompts + tokens | strategy | first token, ms | prompt tokens/s | generated tokens/s | step, ms | by | of the copy | end to end, tokens/s | over dense | weights, GiB | peak besides, GiB |\n");
    text.push_str("|---|---|---|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|\n");
    for generation in generations {
        let dense = generations.iter().find(|other| {
            other.model == generation.model && other.shape == generation.shape && other.strategy == "dense"
        });
        let over = dense.map_or(f64::NAN, |dense| generation.tokens_per_s() / dense.tokens_per_s());
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.1} | {} | {} | {} | {} | {} | {} | {over:.2} | {} |",
            generation.model,
            generation.shape,
            generation.strategy,
            1e3 * generation.first_token_seconds(),
            thousands(generation.prompt_tokens_per_s()),
            generation.generated_tokens_per_s().map_or_else(|| "-".to_owned(), thousands),
            generation.step_seconds().map_or_else(|| "-".to_owned(), |seconds| format!("{:.3}", 1e3 * seconds)),
            if generation.steps_because.is_some() { "steps" } else { "graph" },
            of_the_copy(generation, report.ceilings.copy_bytes_per_s),
            thousands(generation.tokens_per_s()),
            memory(generation.memory)
        );
    }
    for generation in generations {
        if let Some(reason) = &generation.steps_because {
            let _ = writeln!(text, "\n{} {}: no graph, {reason}.", generation.model, generation.shape);
        }
    }
}

/// What a step of the graph reads and writes at least, as a share of what a copy does in the time.
fn of_the_copy(generation: &Generation, copy_bytes_per_s: f64) -> String {
    let share = generation.step_bytes.zip(generation.step_seconds());
    share.map_or_else(
        || "-".to_owned(),
        |(bytes, seconds)| format!("{:.0} %", 1e2 * bytes as f64 / seconds / copy_bytes_per_s),
    )
}

/// Two columns: weights, and what was used besides.
fn memory(memory: Option<Memory>) -> String {
    let gib = |bytes: usize| bytes as f64 / f64::from(1 << 30);
    memory.map_or_else(|| "- | -".to_owned(), |memory| format!("{:.1} | {:.1}", gib(memory.weights), gib(memory.peak)))
}

fn kernels(text: &mut String, measurements: &[Measurement]) {
    for measurement in measurements.iter().filter(|measurement| !measurement.kernels.is_empty()) {
        let total: f64 = measurement.kernels.iter().map(|kernel| kernel.seconds).sum();
        let _ = writeln!(
            text,
            "\n{} {} {}, logits {}: {:.2} ms in kernels of {:.2} ms\n",
            measurement.model,
            measurement.shape,
            measurement.strategy,
            measurement.logits.name(),
            1e3 * total,
            1e3 * measurement.median()
        );
        text.push_str("| kernel | launches | ms | share |\n|---|---:|---:|---:|\n");
        for kernel in &measurement.kernels {
            let share = 100.0 * kernel.seconds / total;
            let _ = writeln!(
                text,
                "| {} | {} | {:.3} | {share:.1} % |",
                kernel.kernel,
                kernel.launches,
                1e3 * kernel.seconds
            );
        }
    }
}

/// How far the slowest and the fastest run are from the median, as shares of the speed.
fn spread(measurement: &Measurement) -> (f64, f64) {
    let median = measurement.median();
    let slowest = measurement.seconds.iter().copied().fold(0.0, f64::max);
    let fastest = measurement.seconds.iter().copied().fold(f64::INFINITY, f64::min);
    (median / slowest - 1.0, median / fastest - 1.0)
}

/// Three digits or more and the unit's prefix.
fn scaled(value: f64) -> String {
    if value >= 1e12 { format!("{:.2} T", value * 1e-12) } else { format!("{:.1} G", value * 1e-9) }
}

fn thousands(value: f64) -> String {
    if value >= 1e4 { format!("{:.1}k", value * 1e-3) } else { format!("{value:.0}") }
}

/// A row of the frame: a prefill or one of its kernels, or a generation.
struct Row<'a> {
    model: &'a str,
    shape: &'a str,
    strategy: &'a str,
    logits: &'static str,
    kernel: &'a str,
    launches: usize,
    seconds: f64,
    tokens_in: usize,
    tokens_kept: usize,
    tokens_per_s: f64,
    memory: Option<Memory>,
    generation: Option<&'a Generation>,
}

impl<'a> Row<'a> {
    fn of_prefill(measurement: &'a Measurement, kernel: &'a str, launches: usize, seconds: f64) -> Self {
        Self {
            model: &measurement.model,
            shape: &measurement.shape,
            strategy: &measurement.strategy,
            logits: measurement.logits.name(),
            kernel,
            launches,
            seconds,
            tokens_in: measurement.tokens,
            tokens_kept: measurement.tokens_left,
            tokens_per_s: measurement.tokens_per_s(),
            memory: measurement.memory,
            generation: None,
        }
    }

    fn of_generation(generation: &'a Generation) -> Self {
        let tokens = generation.prompt_tokens + generation.generated_tokens;
        Self {
            model: &generation.model,
            shape: &generation.shape,
            strategy: &generation.strategy,
            logits: Logits::Last.name(),
            kernel: "generation",
            launches: 1,
            seconds: tokens as f64 / generation.tokens_per_s(),
            tokens_in: generation.prompt_tokens,
            tokens_kept: generation.prompt_tokens_left,
            tokens_per_s: generation.tokens_per_s(),
            memory: generation.memory,
            generation: Some(generation),
        }
    }
}

/// One row per prefill and kernel, one with the kernel `total` per prefill, and one with the kernel `generation` per
/// generation.
pub(super) fn parquet(report: &Report, path: &Path) -> Result<(), BenchError> {
    let prefills = report.measurements.iter().flat_map(|measurement| {
        let kernels = measurement
            .kernels
            .iter()
            .map(move |kernel| Row::of_prefill(measurement, &kernel.kernel, kernel.launches, kernel.seconds));
        std::iter::once(Row::of_prefill(measurement, "total", 1, measurement.median())).chain(kernels)
    });
    let rows: Vec<Row<'_>> = prefills.chain(report.generations.iter().map(Row::of_generation)).collect();
    let text = |name: &str, value: &dyn Fn(&Row<'_>) -> String| {
        Column::new(name.into(), rows.iter().map(value).collect::<Vec<String>>())
    };
    let number = |name: &str, value: &dyn Fn(&Row<'_>) -> Option<f64>| {
        Column::new(name.into(), rows.iter().map(value).collect::<Vec<Option<f64>>>())
    };
    let generated = |value: fn(&Generation) -> Option<f64>| move |row: &Row<'_>| row.generation.and_then(value);
    let columns = vec![
        text("device", &|_| report.device.clone()),
        text("dtype", &|_| report.dtype.as_str().to_owned()),
        text("model", &|row| row.model.to_owned()),
        text("shape", &|row| row.shape.to_owned()),
        text("strategy", &|row| row.strategy.to_owned()),
        text("logits", &|row| row.logits.to_owned()),
        text("kernel", &|row| row.kernel.to_owned()),
        number("launches", &|row| Some(row.launches as f64)),
        number("seconds", &|row| Some(row.seconds)),
        number("tokens_in", &|row| Some(row.tokens_in as f64)),
        number("tokens_kept", &|row| Some(row.tokens_kept as f64)),
        number("tokens_per_s", &|row| Some(row.tokens_per_s)),
        number("tokens_generated", &generated(|generation| Some(generation.generated_tokens as f64))),
        number("first_token_seconds", &generated(|generation| Some(generation.first_token_seconds()))),
        number("generated_tokens_per_s", &generated(Generation::generated_tokens_per_s)),
        number("step_bytes", &generated(|generation| generation.step_bytes.map(|bytes| bytes as f64))),
        number("weights_bytes", &|row| row.memory.map(|memory| memory.weights as f64)),
        number("peak_mem_bytes", &|row| row.memory.map(|memory| memory.peak as f64)),
        number("gemm_flops_per_s", &|_| Some(report.ceilings.gemm_flops_per_s)),
        number("copy_bytes_per_s", &|_| Some(report.ceilings.copy_bytes_per_s)),
    ];
    let failed = |error: String| BenchError::Write { path: path.display().to_string(), error };
    let mut frame = DataFrame::new(rows.len(), columns).map_err(|error| failed(error.to_string()))?;
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut frame).map_err(|error| failed(error.to_string()))?;
    files::write(path, &bytes, Durability::Plain).map_err(|error| failed(error.to_string()))
}

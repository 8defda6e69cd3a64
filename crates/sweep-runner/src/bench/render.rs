use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;

use polars::prelude::*;

use super::{BenchError, Measurement, Report};

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
    text.push_str("| model | shape | strategy | tokens/s | spread | share of the product ceiling | over dense | reducing, ms | peak GiB |\n");
    text.push_str("|---|---|---|---:|---:|---:|---:|---:|---:|\n");
    for measurement in &report.measurements {
        let dense = report.measurements.iter().find(|other| {
            other.model == measurement.model && other.shape == measurement.shape && other.strategy == "dense"
        });
        let over = dense.map_or(f64::NAN, |dense| dense.median() / measurement.median());
        let (low, high) = spread(measurement);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:+.1} % .. {:+.1} % | {:.0} % | {over:.2} | {:.2} | {} |",
            measurement.model,
            measurement.shape,
            measurement.strategy,
            thousands(measurement.tokens_per_s()),
            100.0 * low,
            100.0 * high,
            100.0 * measurement.dense_flops / measurement.median() / ceilings.gemm_flops_per_s,
            1e3 * measurement.reduction_seconds(),
            measurement
                .peak_bytes
                .map_or_else(|| "-".to_owned(), |bytes| format!("{:.1}", bytes as f64 / f64::from(1 << 30)))
        );
    }
    for measurement in report.measurements.iter().filter(|measurement| !measurement.kernels.is_empty()) {
        let total: f64 = measurement.kernels.iter().map(|kernel| kernel.seconds).sum();
        let _ = writeln!(
            text,
            "\n{} {} {}: {:.2} ms in kernels of {:.2} ms\n",
            measurement.model,
            measurement.shape,
            measurement.strategy,
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
    text
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

/// A case, one of its kernels, launches and seconds.
type Row<'a> = (&'a Measurement, &'a str, usize, f64);

/// One row per case and kernel, and one with the kernel `total` per case.
pub(super) fn parquet(report: &Report, path: &Path) -> Result<(), BenchError> {
    let rows: Vec<Row<'_>> = report
        .measurements
        .iter()
        .flat_map(|measurement| {
            let kernels = measurement
                .kernels
                .iter()
                .map(move |kernel| (measurement, kernel.kernel.as_str(), kernel.launches, kernel.seconds));
            std::iter::once((measurement, "total", 1, measurement.median())).chain(kernels)
        })
        .collect();
    let text = |name: &str, value: fn(&Measurement) -> &str| {
        Column::new(name.into(), rows.iter().map(|row| value(row.0)).collect::<Vec<_>>())
    };
    let number = |name: &str, value: &dyn Fn(&Row<'_>) -> Option<f64>| {
        Column::new(name.into(), rows.iter().map(value).collect::<Vec<Option<f64>>>())
    };
    let columns = vec![
        Column::new("device".into(), vec![report.device.as_str(); rows.len()]),
        Column::new("dtype".into(), vec![report.dtype.as_str(); rows.len()]),
        text("model", |measurement| &measurement.model),
        text("shape", |measurement| &measurement.shape),
        text("strategy", |measurement| &measurement.strategy),
        Column::new("kernel".into(), rows.iter().map(|row| row.1).collect::<Vec<_>>()),
        number("launches", &|row| Some(row.2 as f64)),
        number("seconds", &|row| Some(row.3)),
        number("tokens_in", &|row| Some(row.0.tokens as f64)),
        number("tokens_kept", &|row| Some(row.0.tokens_left as f64)),
        number("tokens_per_s", &|row| Some(row.0.tokens_per_s())),
        number("peak_mem_bytes", &|row| row.0.peak_bytes.map(|bytes| bytes as f64)),
        number("gemm_flops_per_s", &|_| Some(report.ceilings.gemm_flops_per_s)),
        number("copy_bytes_per_s", &|_| Some(report.ceilings.copy_bytes_per_s)),
    ];
    let failed = |error: String| BenchError::Write { path: path.display().to_string(), error };
    let mut frame = DataFrame::new(rows.len(), columns).map_err(|error| failed(error.to_string()))?;
    let file = File::create(path).map_err(|error| failed(error.to_string()))?;
    ParquetWriter::new(file).finish(&mut frame).map_err(|error| failed(error.to_string()))?;
    Ok(())
}

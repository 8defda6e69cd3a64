//! `report` over a fake experiment: files, contents, determinism.

mod support;

use std::fs;
use std::path::Path;

use support::Shape;
use sweep_runner::report;

/// Writes the full fake experiment where a person can look at the figures: `target/tmp/report`.
#[test]
fn the_full_experiment_has_every_figure() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    let _ = fs::remove_dir_all(&dir);
    support::write(&dir, &Shape::full());
    let summary = report::run(&dir).expect("a complete experiment");
    assert!(summary.failed > 0 && summary.unfinished == 1);
    for file in summary.figures.iter().chain(&summary.tables) {
        assert!(fs::metadata(file).expect("written").len() > 0, "{}", file.display());
    }
}

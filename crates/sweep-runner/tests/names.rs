//! Readers of results know names without the engine: they must be the engine's.

use records::names::{BENCHMARKS, PROBES};

#[test]
fn probes_and_benchmarks_are_those_of_the_engine() {
    let probes: Vec<&str> = evaluation::probes::all().iter().map(|probe| probe.name).collect();
    assert_eq!(probes, PROBES);
    let benchmarks: Vec<&str> = evaluation::tasks::benchmarks().iter().map(|benchmark| benchmark.name).collect();
    assert_eq!(benchmarks, BENCHMARKS);
}

#[test]
fn strategies_that_reports_name_are_registered() {
    for name in report::named_strategies() {
        assert!(reduction_strategies::registry::find(name).is_ok(), "{name}");
    }
}

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
fn every_strategy_has_a_look_and_no_other() {
    let named: std::collections::BTreeSet<&str> = report::named_strategies().collect();
    for name in &named {
        assert!(reduction_strategies::registry::find(name).is_ok(), "{name}");
    }
    // `top_k` looks like the importance that it ranks by.
    for strategy in reduction_strategies::registry::all().into_iter().filter(|strategy| strategy.name != "top_k") {
        assert!(named.contains(strategy.name), "{}", strategy.name);
    }
}

#[test]
fn what_is_from_a_paper_has_a_reference() {
    let tags: std::collections::BTreeSet<&str> = report::reference_tags().collect();
    // Own ones say where they come from in words; those of the program's own tasks have no paper.
    let is_own =
        |source: &str| ["control", "this program's", "causal counterpart"].iter().any(|own| source.starts_with(own));
    // A reference that nobody could look up is none.
    let is_unfound = |source: &str| source.contains("neither paper nor code was found");
    for strategy in reduction_strategies::registry::all() {
        let tag = format!("strategy:{}", strategy.name);
        let needs = !strategy.source.is_empty() && !is_own(strategy.source) && !is_unfound(strategy.source);
        assert!(!needs || tags.contains(tag.as_str()), "{tag}: {}", strategy.source);
    }
    for name in BENCHMARKS.iter().filter(|name| !name.starts_with("longdocs")) {
        assert!(tags.contains(format!("task:{name}").as_str()), "{name}");
    }
    for tag in tags.iter().filter_map(|tag| tag.strip_prefix("strategy:")) {
        assert!(reduction_strategies::registry::find(tag).is_ok(), "{tag}");
    }
}

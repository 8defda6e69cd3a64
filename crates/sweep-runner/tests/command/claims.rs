//! A claim from its file to its verdict, and two rules compared, as users of the binary meet them.

use std::fs;

use crate::desk::{Desk, TINY, parquet, text};

const CLAIM: &str = "\
claim:
  expect: Dropping tokens costs more than sixty points.
  decide:
    - { name: dense against chance, lower: { strategy: random }, higher: { strategy: dense }, margin: 60 }
    - { quantity: flops, lower: { strategy: random }, higher: { strategy: dense }, margin: 1 }
";

fn desk() -> Desk {
    Desk::new(
        &TINY
            .replace("  - random: { seeds: [0] }\n", "  - random: { seeds: [0, 1] }\n  - uniform\n")
            .replace("limit: 2\n", &format!("limit: 12\n{CLAIM}")),
    )
}

#[test]
fn a_claim_ends_in_a_verdict() {
    let desk = desk();
    desk.run("out");
    let verdict = fs::read_to_string(desk.path("out/verdict.md")).unwrap();
    // Twelve items of two tasks cannot lose sixty points at this ratio; the saved FLOPs are counted.
    for words in [
        "**All comparisons.** Of 2 comparisons 1 supported, 1 smaller than the margin, 0 opposite, 0 undecided.",
        "more than sixty points",
        "* dense against chance (context), margin 60 points: `builtin:mamba2-world` ",
        "**Status: exploratory.**",
        "has the BLAKE3 digest `",
    ] {
        assert!(verdict.contains(words), "{words}: {verdict}");
    }
    let report = fs::read_to_string(desk.path("out/report.md")).unwrap();
    assert!(report.contains("## Verdict") && report.contains("figures/claim.svg"), "{report}");
    for figure in ["claim_effects", "claim", "claim_effects_costs", "claim_costs"] {
        assert!(desk.path(&format!("out/figures/{figure}.pdf")).exists(), "{figure}");
    }
    let frame = parquet(&desk.path("out/claims.parquet"));
    let column = |name: &str| frame.column(name).unwrap();
    let verdicts: Vec<_> = column("verdict").str().unwrap().iter().map(|word| word.unwrap().to_owned()).collect();
    assert_eq!(verdicts, ["smaller than the margin", "supported"]);
    let effect = column("effect").f64().unwrap();
    let (low, high) =
        (column("ci_low").f64().unwrap().get(0).unwrap(), column("ci_high").f64().unwrap().get(0).unwrap());
    assert!(low <= effect.get(0).unwrap() && effect.get(0).unwrap() <= high && high <= 60.0);
    // One model is no sample of models: its own effect is all there is.
    let effects = parquet(&desk.path("out/claim_effects.parquet"));
    let pooled = |name: &str, row: usize| effects.column(name).unwrap().f64().unwrap().get(row);
    assert_eq!(effects.column("model").unwrap().str().unwrap().iter().flatten().count(), 2, "two of four rows");
    assert_eq!((pooled("effect", 0), pooled("ci_low", 0), pooled("between_models", 0)), (None, None, None));
    assert!(effects.column("missing").unwrap().str().unwrap().get(0).unwrap().contains("one model"));
    assert!((pooled("effect", 1).unwrap() - effect.get(0).unwrap()).abs() < 1e-9);
    assert!(pooled("ci_low", 1).unwrap() <= low + 1e-9 && (pooled("level", 1).unwrap() - 0.95).abs() < 1e-12);
    assert!((column("smallest_effect").f64().unwrap().get(0).unwrap() - (high - low) / 2.0).abs() < 1e-9);

    fs::write(
        desk.path("page.md"),
        "a\n<!-- BEGIN: tiny:verdict.md -->\n<!-- END -->\nb <!-- BEGIN: other:x.md -->c<!-- END -->",
    )
    .unwrap();
    assert!(desk.sweep(&["report", "out", "--splice", "page.md"]).status.success());
    let page = fs::read_to_string(desk.path("page.md")).unwrap();
    assert!(page.contains(verdict.trim()) && page.ends_with("c<!-- END -->"), "{page}");
}

#[test]
fn a_claim_about_what_does_not_run_is_refused() {
    let claim = CLAIM.replace("strategy: random", "strategy: uniform");
    let stderr = Desk::new(&format!("{TINY}{claim}")).refused();
    assert!(stderr.contains("strategy `uniform` is not in this experiment"), "{stderr}");
    let stderr = Desk::new(&format!("{TINY}{CLAIM}exclude: [{{ strategy: random }}]\n")).refused();
    assert!(stderr.contains("no trial that runs is {strategy: random}") && stderr.contains("help"), "{stderr}");
}

#[test]
fn two_rules_are_compared_item_by_item() {
    let desk = desk();
    desk.run("out");
    let output = desk.sweep(&["compare", "out", "--a", "random", "--b", "uniform"]);
    let stdout = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for word in [
        "A: `random`; B: `uniform`",
        "| world_lambada | acc | 12 |",
        "mean over tasks",
        "at an equal achieved reduction",
    ] {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
    // A rule is as good as itself: nothing gained, nothing lost.
    let same = text(&desk.sweep(&["compare", "out", "out"]).stdout);
    assert!(same.contains("+0.0 to +0.0 | 0 / 0 | 1.00 |") && same.contains("not told apart"), "{same}");

    let refused = |arguments: &[&str]| {
        let output = desk.sweep(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        text(&output.stderr)
    };
    assert!(refused(&["compare", "out"]).contains("--a utrc --b my_rule"));
    assert!(refused(&["compare", "out", "--a", "random", "--b", "tome"]).contains("it has dense, random, uniform"));
    let none = refused(&["compare", "out", "--a", "dense", "--b", "uniform"]);
    assert!(none.contains("`dense` reduces nothing, so it has no partner"), "{none}");
    assert!(desk.sweep(&["run", "tiny.yaml", "--limit", "5", "--out", "fewer"]).status.success());
    let fewer = refused(&["compare", "out", "fewer"]);
    assert!(fewer.contains("the items differ") && fewer.contains("same `limit`"), "{fewer}");
}

const ABOUT_ROWS: &str = "\
name: tiny
claim:
  expect: What a removed token takes away grows along the sequence.
  decide:
    - probe: state_divergence
      measure: divergence
      rows: { layer: [5, 9], half_life: all, removed: other }
      lower: { distance: 2 }
      higher: { distance: 32 }
      margin: 0
models: [builtin:mamba2-world]
tasks: [world_lambada]
probes:
  - state_divergence: { items: 12, every: 4 }
limit: 12
";

#[test]
fn a_claim_may_rest_on_the_rows_of_a_probe() {
    let desk = Desk::new(ABOUT_ROWS);
    desk.run("out");
    let verdict = fs::read_to_string(desk.path("out/verdict.md")).unwrap();
    assert!(
        verdict.contains("Of 2 comparisons 0 supported, 0 smaller than the margin, 2 opposite, 0 undecided"),
        "{verdict}"
    );
    let claims = parquet(&desk.path("out/claims.parquet"));
    let effect = claims.column("effect").unwrap().f64().unwrap();
    assert!(effect.iter().all(|effect| effect.unwrap() < 0.0), "{effect:?}");
    assert_eq!(claims.column("quantity").unwrap().str().unwrap().get(0), Some("divergence"));
}

#[test]
fn unequal_reductions_get_a_warning_and_no_verdict() {
    let random = "  - random: { seeds: [0] }\n";
    let desk = Desk::new(&TINY.replace(random, &format!("{random}  - evit_released\n")));
    desk.run("out");
    // The released EViT keeps a token more per site.
    let stdout = text(&desk.sweep(&["compare", "out", "--a", "random", "--b", "evit_released"]).stdout);
    for word in [
        "> **Warning.** † On 2 of 2 tasks",
        "**Not compared** (mean over tasks), not on equal terms",
        "% † |",
        "% nominal FLOPs",
    ] {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
    let report = fs::read_to_string(desk.path("out/report.md")).unwrap();
    assert!(report.contains("† achieved reduction differs by more than half a point: not compared"), "{report}");
}

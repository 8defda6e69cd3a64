//! Trials of rules whose count follows from the data: their ids and their names.

use super::*;

#[test]
fn free_counts_change_no_other_id() {
    let with =
        "strategies: [dense, top_k, top_p]\nschedule: [{ sites: paper, flops_reduction: 0.2 }, { sites: paper }]";
    let (without, with) = (plan(""), plan(with));
    assert!(ids(&with).is_superset(&ids(&without)));
    assert_eq!(with.cells.len(), without.cells.len() + 1);
}

/// Knows a threshold for every request.
struct Calibrated(f64);

impl Catalog for Calibrated {
    fn model(&self, reference: &str) -> Result<ModelFacts, CatalogError> {
        CATALOG.model(reference)
    }

    fn choose_tokenizer(&self, reference: &str, tokenizer: Option<&str>) -> Result<(), CatalogError> {
        CATALOG.choose_tokenizer(reference, tokenizer)
    }

    fn task(&self, task: &TaskRef, prompting: Prompting) -> Result<PlannedTask, CatalogError> {
        CATALOG.task(task, prompting)
    }

    fn shapes(
        &self,
        model: &str,
        task: &TaskRef,
        items: ItemChoice,
        protocols: &[evaluation::Scoring],
    ) -> Result<Vec<Shapes>, CatalogError> {
        CATALOG.shapes(model, task, items, protocols)
    }

    fn calibration(&self, _request: &str) -> Option<Calibration> {
        Some(Calibration { option: "p".to_owned(), value: self.0, achieved: 0.199, items: 240 })
    }
}

#[test]
fn a_calibrated_trial_is_named_by_what_was_asked_for_and_by_what_was_found() {
    let plan = |p: f64| plan_with(FREE, &Setting::default(), &Calibrated(p)).unwrap();
    let (one, other) = (plan(0.75), plan(0.5));
    let calibrated = |plan: &ExperimentPlan| -> Vec<PlannedTrial> {
        plan.trials.iter().filter(|trial| trial.calibrate.is_some()).cloned().collect()
    };
    let ids = |plan: &ExperimentPlan| -> BTreeSet<String> {
        calibrated(plan).into_iter().map(|trial| trial.key.trial_id).collect()
    };
    assert_eq!(ids(&one).len(), 2 * 2 * 2, "protocols, reductions and tasks, whatever was found");
    assert!(ids(&one).is_disjoint(&ids(&other)));
    for trial in calibrated(&one) {
        assert!(trial.uncalibrated().is_none());
        assert!((trial.strategy.options.number("p") - 0.75).abs() < 1e-12);
        assert!(trial.key.strategy_params.contains(r#""p":"calibrated""#), "{}", trial.key.strategy_params);
        assert!(trial.key.reduction().is_achieved());
    }
    // Tasks of one reduction are one arm, though each has a threshold of its own.
    let [first, second] = [0, 1].map(|index| calibrated(&one)[index].key.clone());
    assert_ne!(first.trial_id, second.trial_id);
    assert_eq!(first.arm(), second.arm());
    // The request does not depend on what is found, nor on the value in the file.
    let requests = |plan: &ExperimentPlan| -> Vec<_> {
        calibrated(plan).into_iter().filter_map(|trial| trial.calibrate).collect()
    };
    assert_eq!(requests(&one), requests(&other));
    assert!(table(&one).contains("p 0.75 achieves 19.90 % there"), "{}", table(&one));
}

#[test]
fn a_claim_compares_a_calibrated_rule_with_a_solved_one() {
    let plan = plan(
        "strategies: [dense, top_k, top_p]\n\
         schedule: [{ sites: paper, flops_reduction: { achieved: 0.2 } }, { sites: paper, calibrate: { achieved: 0.2 } }]\n\
         claim: { expect: e, decide: [{ lower: { strategy: top_k, flops_reduction: { achieved: 0.2 } }, higher: { strategy: top_p }, margin: 1 }] }",
    );
    let comparisons = plan.claim.unwrap().comparisons;
    assert_eq!((comparisons.len(), comparisons[0].setting.as_str()), (1, "20 % achieved FLOPs reduction"));
}

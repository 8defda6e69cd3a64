//! The chains of a bridge, settled against the grid: which trials each arm is.
//!
//! A chain begins at every arm that the first entry selects, one per model, sites, reduction and positions. Each later entry changes one
//! thing of the arm before it and leaves the rest: options that a new strategy shares keep their values, its others have their defaults.

use records::bridge::{BridgeChain, BridgeStep, PlannedBridge};
use records::schema::in_words;
use reduction_strategies::options::OptionValue;

use super::claim::{Arm, Axis, arms, is_on, trials, value};
use super::{ExperimentPlan, GridError, PlannedTrial};
use crate::config::{Bridge, Condition, Step, same_value};

/// What all arms of a chain have in common.
const COMMON: [Axis; 3] = [Axis::Model, Axis::Sites, Axis::Amount];

pub(super) fn resolve(bridge: &Bridge, plan: &ExperimentPlan) -> Result<PlannedBridge, GridError> {
    let refused = |step: &Step, problem: String, help: &'static str| GridError::Bridge {
        name: bridge.name.clone(),
        line: step.selector.line,
        problem,
        help,
    };
    let [first, rest @ ..] = bridge.steps.as_slice() else { unreachable!("the file is refused") };
    let arms = arms(plan);
    let trial = |arm: &Arm| &plan.trials[arm.0[0]];
    let starts: Vec<&Arm> =
        arms.iter().filter(|arm| trial(arm).amount.is_some() && is_on(arm, &first.selector, plan)).collect();
    if starts.is_empty() {
        let problem = format!("no trial that runs is {}", first.selector);
        return Err(refused(first, problem, "add it to the grid, or take it out of `exclude`, `zip` and `sample`"));
    }
    let mut chains = Vec::new();
    for (index, start) in starts.iter().enumerate() {
        if starts[..index].iter().any(|other| is_in_place(trial(other), trial(start))) {
            let problem = format!("{} selects several arms of one model", first.selector);
            return Err(refused(first, problem, "name the protocol and the options in which they differ"));
        }
        let mut chain: Vec<&Arm> = vec![start];
        for step in rest {
            let before = trial(chain[chain.len() - 1]);
            let next = arms.iter().find(|arm| is_changed(before, trial(arm), &step.selector.conditions[0]));
            let Some(next) = next else {
                let problem = format!("no trial that runs is {} with {}", before.describe(), step.selector);
                let help = "list the strategy with these options; options that it does not share with the one before must have their defaults";
                return Err(refused(step, problem, help));
            };
            if chain.iter().any(|arm| trial(arm).key.trial_id == trial(next).key.trial_id) {
                let problem = format!("{} leads back to {}", step.selector, trial(next).describe());
                return Err(refused(step, problem, "a step changes something, and no arm comes twice"));
            }
            chain.push(next);
        }
        let tasks = tasks(&chain, plan);
        if tasks.is_empty() {
            let problem = format!("its arms on {} have no task in common", trial(start).key.model);
            return Err(refused(first, problem, "run all of them on the same tasks"));
        }
        chains.push(planned(bridge, &chain, tasks, plan));
    }
    Ok(PlannedBridge { name: bridge.name.clone(), chains })
}

fn is_in_place(a: &PlannedTrial, b: &PlannedTrial) -> bool {
    a.positions == b.positions && COMMON.iter().all(|axis| value(a, *axis) == value(b, *axis))
}

/// Whether `after` is `before` with this one thing changed.
fn is_changed(before: &PlannedTrial, after: &PlannedTrial, change: &Condition) -> bool {
    if after.amount.is_none() || COMMON.iter().any(|axis| value(before, *axis) != value(after, *axis)) {
        return false;
    }
    let (mut strategy, mut protocol, mut positions) =
        (before.key.strategy.as_str(), before.key.protocol.as_str(), before.positions);
    let mut option = None;
    match change {
        Condition::Strategy(values) => strategy = &values[0],
        Condition::Protocol(values) => protocol = values[0].name,
        Condition::Positions(values) => positions = Some(values[0]),
        Condition::Option(name, values) => option = Some((name.as_str(), &values[0])),
        _ => unreachable!("the file is refused"),
    }
    let is = |name: &str, own: &OptionValue| match (option, before.strategy.options.get(name)) {
        (Some((changed, value)), _) if changed == name => same_value(value, own),
        (_, Some(value)) => same_value(value, own),
        (_, None) => {
            let declared = after.strategy.registration.options.iter().find(|option| option.name == name);
            declared.is_some_and(|option| same_value(&option.default.into(), own))
        }
    };
    // An option that the strategy does not have changes nothing.
    let has_option = option.is_none_or(|(name, _)| after.strategy.options.get(name).is_some());
    after.key.strategy == strategy
        && after.key.protocol == protocol
        && after.positions == positions
        && has_option
        && after.strategy.options.iter().all(|(name, own)| is(name, own))
}

/// Tasks that every arm runs.
fn tasks(chain: &[&Arm], plan: &ExperimentPlan) -> Vec<String> {
    let runs = |arm: &Arm, task: &str| {
        let mut own = arm.0.iter().filter(|&&trial| plan.trials[trial].has_task(task)).peekable();
        own.peek().is_some() && own.all(|&trial| plan.cells.iter().any(|cell| cell.trial == trial && cell.task == task))
    };
    let common = plan.tasks.iter().filter(|task| chain.iter().all(|arm| runs(arm, &task.name)));
    common.map(|task| task.name.clone()).collect()
}

fn planned(bridge: &Bridge, chain: &[&Arm], tasks: Vec<String>, plan: &ExperimentPlan) -> BridgeChain {
    let first = &plan.trials[chain[0].0[0]];
    let several_sites = plan.trials.iter().filter_map(|trial| value(trial, Axis::Sites)).any(|sites| sites != "paper");
    let sites = value(first, Axis::Sites).filter(|_| several_sites);
    let setting = [value(first, Axis::Amount), sites].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let steps = bridge.steps.iter().zip(chain).map(|(step, arm)| {
        let key = &plan.trials[arm.0[0]].key;
        BridgeStep {
            factor: step.factor.clone(),
            label: in_words(&key.strategy, &key.strategy_params),
            trials: trials(arm, &tasks, plan),
        }
    });
    BridgeChain { model: first.key.model.clone(), setting, steps: steps.collect(), tasks }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fake::{CATALOG, edited};
    use crate::config::load_str;
    use crate::plan::{Setting, build};

    const GRID: &str = "models: [builtin:mamba2-world, builtin:mamba-world]\nprotocols: [context, upstream]\n\
        strategies: [dense, { top_k: { source: [ssm_output, block_output] } }, { inverted_top_k: { source: block_output } }, evit_released]\n\
        schedule: { sites: paper, flops_reduction: [0.1, 0.2] }";

    fn bridge(grid: &str, steps: &[&str]) -> Result<PlannedBridge, GridError> {
        let steps: Vec<String> = steps
            .iter()
            .enumerate()
            .map(|(index, step)| {
                format!("{{ factor: f{index}, {}: {step} }}", if index == 0 { "from" } else { "change" })
            })
            .collect();
        let text = edited(&format!("{grid}\nbridges: [{{ name: b, steps: [{}] }}]", steps.join(", ")));
        let experiment = load_str("x.yaml", &text, &CATALOG).unwrap_or_else(|error| panic!("{}", error.render()));
        build(&experiment, &Setting::default(), &CATALOG).map(|mut plan| plan.bridges.remove(0))
    }

    const FIRST: &str = "{ strategy: top_k, source: ssm_output, protocol: context }";

    #[test]
    fn every_step_changes_one_thing_and_keeps_the_rest() {
        let steps = [
            FIRST,
            "{ source: block_output }",
            "{ strategy: inverted_top_k }",
            "{ strategy: evit_released }",
            "{ protocol: upstream }",
        ];
        let bridge = bridge(GRID, &steps).unwrap();
        let places: Vec<(&str, &str)> =
            bridge.chains.iter().map(|chain| (chain.model.as_str(), chain.setting.as_str())).collect();
        let (mamba2, mamba) = ("builtin:mamba2-world", "builtin:mamba-world");
        let (ten, twenty) = ("10 % nominal FLOPs reduction", "20 % nominal FLOPs reduction");
        assert_eq!(places, [(mamba2, ten), (mamba2, twenty), (mamba, ten), (mamba, twenty)]);
        for chain in &bridge.chains {
            let labels: Vec<&str> =
                chain.steps.iter().map(|step| step.label.split([' ', '{']).next().unwrap()).collect();
            assert_eq!(labels, ["top_k", "top_k", "inverted_top_k", "evit_released", "evit_released"]);
            let mut trials: Vec<&String> = chain.steps.iter().flat_map(|step| &step.trials).collect();
            trials.dedup();
            assert_eq!((trials.len(), chain.steps[4].factor.as_str()), (5, "f4"));
            assert!(!chain.tasks.is_empty());
        }
    }

    #[test]
    fn a_bridge_that_breaks_is_refused() {
        let problem = |grid: &str, steps: &[&str]| bridge(grid, steps).unwrap_err().to_string();
        let several = problem(GRID, &["{ strategy: top_k, source: ssm_output }", "{ source: block_output }"]);
        assert!(several.contains("selects several arms of one model"), "{several}");
        // The arm that keeps the lowest y is not in the grid.
        let missing = problem(GRID, &[FIRST, "{ strategy: inverted_top_k }"]);
        assert!(
            missing.contains("no trial that runs is") && missing.contains("with {strategy: inverted_top_k}"),
            "{missing}"
        );
        let back = problem(GRID, &[FIRST, "{ source: block_output }", "{ source: ssm_output }"]);
        assert!(back.contains("leads back to"), "{back}");
        let excluded = format!("{GRID}\nexclude: [{{ protocol: upstream, strategy: top_k }}]");
        let excluded = problem(&excluded, &[FIRST, "{ protocol: upstream }"]);
        assert!(excluded.contains("no trial that runs is"), "{excluded}");
        let none = problem(
            &format!("{GRID}\nexclude: [{{ strategy: top_k, source: ssm_output }}]"),
            &[FIRST, "{ source: block_output }"],
        );
        assert!(none.contains("no trial that runs is {strategy: top_k"), "{none}");
    }
}

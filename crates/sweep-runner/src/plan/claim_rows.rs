//! Comparisons of the rows of a probe: one for every model and combination of the columns that both sides have in common.

use evaluation::probes::Facts;
use records::claim::{ArmName, PlannedComparison, PlannedRows, Quantity};
use records::probes::Key;

use ssm_model::SignalSet;

use super::{ExperimentPlan, GridError, ProbeCell};
use crate::config::{PlannedTask, RowComparison, Scoring};

pub(super) fn resolve(entry: &RowComparison, plan: &ExperimentPlan) -> Result<Vec<PlannedComparison>, GridError> {
    let mut comparisons = Vec::new();
    for (index, model) in plan.models.iter().enumerate() {
        let looks = |cell: &&ProbeCell| cell.model == index && cell.probe.name == entry.probe.name;
        let cells: Vec<&ProbeCell> = plan.probes.iter().filter(looks).collect();
        let Some(first) = cells.first() else { continue };
        let tasks: Vec<String> = cells.iter().map(|cell| cell.task.clone()).collect();
        let layers: Vec<SignalSet> = model.layers.iter().map(|layer| layer.signals).collect();
        let is_text = |task: &PlannedTask| task.kind == Scoring::RunningText;
        let unmarked = plan.tasks.iter().find(|task| tasks.contains(&task.name) && is_text(task));
        let facts =
            Facts { layers: &layers, marks: unmarked.is_none(), options: &first.options, measure: entry.measure.name };
        let place = match unmarked {
            Some(task) => format!("{} in {}", task.name, model.reference),
            None => model.reference.clone(),
        };
        for common in product(&entry.rows) {
            let keys = |side: &[(String, Key)]| {
                let written = |name: &str| side.iter().chain(&common).find(|(column, _)| column == name);
                let columns = entry.probe.columns.iter();
                let keys = columns.filter_map(|column| Some((column, &written(column.name)?.1)));
                keys.map(|(column, key)| {
                    column.find(key, &facts).map_err(|known| no_row(entry, column.name, key, &place, &known))
                })
                .collect::<Result<Vec<Key>, GridError>>()
            };
            let side = |side: &[(String, Key)]| ArmName { label: words(side), trials: Vec::new() };
            comparisons.push(PlannedComparison {
                entry: 0,
                name: entry.name.clone(),
                model: Some(model.reference.clone()),
                protocol: None,
                setting: words(&common),
                lower: side(&entry.lower),
                higher: side(&entry.higher),
                quantity: Quantity::Probe,
                margin: entry.margin,
                tasks: tasks.clone(),
                rows: Some(PlannedRows {
                    probe: entry.probe.name.to_owned(),
                    measure: entry.measure.name.to_owned(),
                    lower: keys(&entry.lower)?,
                    higher: keys(&entry.higher)?,
                }),
            });
        }
    }
    if comparisons.is_empty() {
        return Err(GridError::ClaimWithoutRows { probe: entry.probe.name, line: entry.line });
    }
    Ok(comparisons)
}

/// That the probe has no such row there, and what its column can hold.
fn no_row(entry: &RowComparison, column: &str, key: &Key, place: &str, known: &str) -> GridError {
    let (probe, measure, asked) = (entry.probe.name, entry.measure.name, words(&[(column.to_owned(), key.clone())]));
    GridError::Claim {
        line: entry.line,
        problem: format!("`{probe}` has no row of `{measure}` with {asked} on {place}"),
        help: format!("`{column}` can be {known} there; options of the probe may change that"),
    }
}

/// Every combination of one value per column, in the order of the file.
fn product(columns: &[(String, Vec<Key>)]) -> Vec<Vec<(String, Key)>> {
    columns.iter().fold(vec![Vec::new()], |combinations, (column, keys)| {
        let longer = |combination: &Vec<(String, Key)>| {
            let with = |key: &Key| combination.iter().cloned().chain([(column.clone(), key.clone())]).collect();
            keys.iter().map(with).collect::<Vec<Vec<_>>>()
        };
        combinations.iter().flat_map(longer).collect()
    })
}

/// `distance 32, half_life all`
fn words(columns: &[(String, Key)]) -> String {
    let word = |(column, key): &(String, Key)| match key {
        Key::None => format!("{column} none"),
        key => format!("{column} {key}"),
    };
    columns.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use miette::Diagnostic;

    use crate::config::fake::{CATALOG, edited};
    use crate::config::load_str;
    use crate::plan::{Setting, build};

    use super::*;

    #[test]
    fn one_comparison_per_model_and_combination() {
        let text = edited(
            "models: [builtin:mamba2-world, builtin:mamba-world]\n\
             probes: [state_divergence]\n\
             claim:\n  expect: it grows\n  decide:\n    - probe: state_divergence\n      measure: divergence\n      \
             rows: { layer: [5, 9], half_life: all, removed: [necessary, other] }\n      \
             lower: { distance: 2 }\n      higher: { distance: 32 }\n      margin: 0",
        );
        let plan = build(&load_str("tiny.yaml", &text, &CATALOG).unwrap(), &Setting::default(), &CATALOG).unwrap();
        let claim = plan.claim.unwrap();
        let settings: Vec<&str> = claim.comparisons.iter().map(|comparison| comparison.setting.as_str()).collect();
        let of_one = [
            "layer 5, half_life all, removed necessary",
            "layer 5, half_life all, removed other",
            "layer 9, half_life all, removed necessary",
            "layer 9, half_life all, removed other",
        ];
        assert_eq!(settings, [of_one, of_one].concat());
        let first = &claim.comparisons[0];
        assert_eq!((first.lower.label.as_str(), first.higher.label.as_str()), ("distance 2", "distance 32"));
        assert_eq!((first.what(), first.quantity), ("divergence", Quantity::Probe));
        // Keys are in the order of the probe's columns, whatever the order of the file.
        let rows = first.rows.as_ref().unwrap();
        let columns: Vec<&str> = plan.probes[0].probe.columns.iter().map(|column| column.name).collect();
        let layer = columns.iter().position(|column| *column == "layer").unwrap();
        let distance = columns.iter().position(|column| *column == "distance").unwrap();
        assert_eq!((&rows.lower[layer], &rows.lower[distance]), (&Key::Whole(5), &Key::Whole(2)));
        assert_eq!(rows.higher[distance], Key::Whole(32));
    }

    /// What is wrong with a comparison of rows, and the advice.
    fn refused(grid: &str, entry: &str) -> (String, String) {
        let text = edited(&format!("{grid}\nclaim:\n  expect: it grows\n  decide:\n    - {{ {entry}, margin: 0 }}"));
        let experiment = load_str("t.yaml", &text, &CATALOG).unwrap_or_else(|error| panic!("{}", error.render()));
        match build(&experiment, &Setting::default(), &CATALOG) {
            Err(error) => (error.to_string(), error.help().map(|help| help.to_string()).unwrap_or_default()),
            Ok(plan) => panic!("{:?}", plan.claim),
        }
    }

    #[test]
    fn rows_that_no_run_has_are_refused_before_it() {
        let of = |columns: &str| {
            let entry = format!("probe: state_divergence, measure: divergence, {columns}");
            refused("probes: [state_divergence]", &entry)
        };
        let sides = "lower: { distance: 2 }, higher: { distance: 32 }";
        let (problem, help) = of(&format!("rows: {{ layer: 4, half_life: all, removed: other }}, {sides}"));
        assert!(
            problem.ends_with("`state_divergence` has no row of `divergence` with layer 4 on builtin:mamba2-world")
        );
        assert_eq!(help, "`layer` can be 5, 9, 13, 15 there; options of the probe may change that");
        let (problem, help) = of(&format!("rows: {{ layer: 5, half_life: 2-9, removed: other }}, {sides}"));
        assert!(problem.contains("half_life 2-9") && help.contains("<2, 2-8, 8-32, 32-128, >=128, all"), "{help}");
        let (problem, help) =
            of("rows: { layer: 5, half_life: all, removed: other }, lower: { distance: 2 }, higher: { distance: 30 }");
        assert!(problem.contains("distance 30") && help.contains("1, 2, 4, 8 and so on"), "{help}");
        // Running text marks no tokens.
        let grid = "strategies:\nschedule:\ntasks: [world_text]\nprobes: [state_divergence]";
        let entry = "probe: state_divergence, measure: divergence, rows: { layer: 5, half_life: all, distance: 2 }, \
                     lower: { removed: other }, higher: { removed: necessary }";
        let (problem, _) = refused(grid, entry);
        assert!(problem.contains("removed necessary on world_text in builtin:mamba2-world"), "{problem}");
    }

    #[test]
    fn a_key_may_be_written_as_people_do() {
        let text = edited(
            "probes: [position, causal_split]\nclaim:\n  expect: it grows\n  decide:\n    \
             - { probe: position, measure: answer_lost, rows: { necessary: any }, lower: { place: 0 }, higher: { place: 1 }, margin: 0 }\n    \
             - { probe: causal_split, measure: answer_lost, rows: { removed: other, layer: none }, lower: { variant: conv }, higher: { variant: all }, margin: 0 }",
        );
        let plan = build(&load_str("t.yaml", &text, &CATALOG).unwrap(), &Setting::default(), &CATALOG).unwrap();
        let claim = plan.claim.unwrap();
        let higher: Vec<&[Key]> =
            claim.comparisons.iter().map(|own| own.rows.as_ref().unwrap().higher.as_slice()).collect();
        assert_eq!(higher[0], [Key::Number(1.0), Key::from("any")]);
        assert_eq!(higher[1], [Key::from("all"), Key::from("other"), Key::None]);
    }
}

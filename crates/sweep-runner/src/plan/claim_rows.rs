//! Comparisons of the rows of a probe: one for every model and combination of the columns that both sides have in common.

use records::claim::{ArmName, PlannedComparison, PlannedRows, Quantity};
use records::probes::Key;

use super::{ExperimentPlan, GridError, ProbeCell};
use crate::config::RowComparison;

pub(super) fn resolve(entry: &RowComparison, plan: &ExperimentPlan) -> Result<Vec<PlannedComparison>, GridError> {
    let mut comparisons = Vec::new();
    for (index, model) in plan.models.iter().enumerate() {
        let looks = |cell: &&ProbeCell| cell.model == index && cell.probe.name == entry.probe.name;
        let tasks: Vec<String> = plan.probes.iter().filter(looks).map(|cell| cell.task.clone()).collect();
        if tasks.is_empty() {
            continue;
        }
        for common in product(&entry.rows) {
            let keys = |side: &[(String, Key)]| {
                let key = |name: &str| side.iter().chain(&common).find(|(column, _)| column == name);
                let columns = entry.probe.columns.iter();
                columns.filter_map(|column| key(column.name).map(|(_, key)| key.clone())).collect::<Vec<Key>>()
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
                    lower: keys(&entry.lower),
                    higher: keys(&entry.higher),
                }),
            });
        }
    }
    if comparisons.is_empty() {
        return Err(GridError::ClaimWithoutRows(entry.probe.name));
    }
    Ok(comparisons)
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
        Key::None => column.clone(),
        key => format!("{column} {key}"),
    };
    columns.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
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
}

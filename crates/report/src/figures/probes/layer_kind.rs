//! Figure of `layer_kind`: what the answer loses where attention layers, scans, or both miss some tokens.

use analysis::PooledRow;
use records::probes::Key;

use super::{Failed, Figure, Seen, csv_by_task, find, short, words};
use crate::figures::dots::{DotPanel, Dots};
use crate::style;

const COLUMNS: [&str; 2] = ["hidden_from", "removed"];
const ARMS: [(&str, &str); 3] = [("attention", "attention layers"), ("ssm", "scans"), ("both", "both: pruned")];
const REMOVED: [(&str, &str); 2] =
    [("necessary", "all tokens that the answer needs"), ("other", "as many others, drawn by chance")];

pub(super) fn draw(seen: &Seen<'_>) -> Result<Vec<Figure>, Failed> {
    // Tasks ask for different things: a mean over them would hide that attention holds the one and scans the other.
    let mut tables: Vec<(&str, &str, usize, Vec<PooledRow>)> = Vec::new();
    for (model, sets) in &seen.models {
        for (task, items) in seen.tasks() {
            let rows = seen.pooled(sets, &COLUMNS, |set, _| set.record.task == task);
            // A task that needs no token in particular has nothing to compare.
            if rows.iter().any(|row| row.keys[1] == Key::from("necessary")) {
                tables.push((model, task, items, rows));
            }
        }
    }
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let grid = tables.iter().map(|(model, task, items, rows)| {
        let panel = |measure: &str| {
            let row = |(arm, _): &(&str, &str)| {
                let one = |(entry, (removed, _)): (usize, &(&str, &str))| {
                    Some((entry, find(rows, measure, &[Key::from(*arm), Key::from(*removed)])?))
                };
                REMOVED.iter().enumerate().filter_map(one).collect()
            };
            DotPanel { title: String::new(), rows: ARMS.iter().map(row).collect() }
        };
        (format!("{}, {task}, n = {items}", short(model)), vec![panel("loss_increase"), panel("answer_lost")])
    });
    let looks = [style::cycle(1), style::cycle(0)];
    let dots = Dots {
        rows: ARMS.iter().map(|(_, label)| (*label).to_owned()).collect(),
        grid: grid.collect(),
        legend: REMOVED.iter().zip(looks).map(|((_, label), look)| ((*label).to_owned(), look)).collect(),
        x: vec![words(&["Loss increase (nats per token)", "Loss increase (nats)"]), words(&["Answers lost (share)"])],
        zero: Some(0.0),
        notes: vec!["Protocol context. Bars: 95 % intervals.".to_owned()],
        sheet: seen.sheet,
    };
    let caption = format!(
        "Context tokens are hidden from later tokens in one kind of layers after the site: attention layers do not read them, scans do not \
         hold them, or both (which is pruning). Zero where a model has no layers of the kind. Left: change of the answer's loss; right: \
         share of right answers that are no more right. {}",
        seen.basis().replace("Mean over the tasks", "Tasks")
    );
    let csv = csv_by_task(&COLUMNS, tables.iter().map(|(model, task, _, rows)| (*model, *task, rows.as_slice())));
    Ok(seen.figure("", dots.draw(), csv, caption)?.into_iter().collect())
}

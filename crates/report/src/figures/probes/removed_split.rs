//! Figures of `removed_split`: which part of the tokens that a strategy removes the answer misses, in the mean over tasks and, where there
//! are several, in each: one may miss the write and another the place in the convolution.

use analysis::{PooledRow, ProbeSet};
use records::probes::{Key, ProbeRow};

use super::causal_split::VARIANTS;
use super::{Failed, Figure, Seen, csv, find, key, short, strategies, words};
use crate::figures::dots::{DotPanel, Dots};
use crate::style::{self, Style};

const COLUMNS: [&str; 3] = ["strategy", "variant", "necessary"];
const MEASURES: [(&str, &[&str]); 2] = [
    ("loss_increase", &["Loss increase (nats per token)", "Loss increase (nats)"]),
    ("answer_lost", &["Answers lost (share)"]),
];

pub(super) fn draw(seen: &Seen<'_>) -> Result<Vec<Figure>, Failed> {
    let mut figures = of_tasks(seen, "")?;
    let tasks = seen.tasks();
    if tasks.len() > 1 {
        for (task, _) in tasks {
            figures.extend(of_tasks(&seen.of_task(task), &crate::text::file_name(task))?);
        }
    }
    Ok(figures)
}

/// All items, and those that lose a token which the answer needs.
fn of_tasks(seen: &Seen<'_>, task: &str) -> Result<Vec<Figure>, Failed> {
    let items = [
        ("", "any", "All items."),
        (
            "dropped",
            "dropped",
            "Items of which a token that the answer needs is removed; their number differs by strategy.",
        ),
    ];
    let mut figures = Vec::new();
    for (part, necessary, which) in items {
        let own = |set: &ProbeSet, row: &ProbeRow| *key(set, row, "necessary") == Key::from(necessary);
        let tables: Vec<(&str, Vec<PooledRow>)> =
            seen.models.iter().map(|(model, sets)| (*model, seen.pooled(sets, &COLUMNS, own))).collect();
        let part = [task, part].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
        if tables.iter().any(|(_, rows)| !rows.is_empty()) {
            figures.extend(of_items(seen, &tables, (&part, necessary, which))?);
        }
    }
    Ok(figures)
}

fn of_items(
    seen: &Seen<'_>,
    tables: &[(&str, Vec<PooledRow>)],
    (part, necessary, which): (&str, &str, &str),
) -> Result<Option<Figure>, Failed> {
    let rows = strategies(seen, false);
    let grid = tables.iter().map(|(model, table)| {
        let panel = |(measure, _): &(&str, &[&str])| {
            let row = |(label, _): &(String, Style)| {
                let one = |(entry, (variant, _)): (usize, &(&str, &str))| {
                    let keys = [Key::from(label.as_str()), Key::from(*variant), Key::from(necessary)];
                    Some((entry, find(table, measure, &keys)?))
                };
                VARIANTS.iter().enumerate().filter_map(one).collect()
            };
            DotPanel { title: String::new(), rows: rows.iter().map(row).collect() }
        };
        (short(model), MEASURES.iter().map(panel).collect())
    });
    let dots = Dots {
        rows: rows.iter().map(|(label, _)| label.clone()).collect(),
        grid: grid.collect(),
        legend: VARIANTS
            .iter()
            .enumerate()
            .map(|(entry, (_, label))| ((*label).to_owned(), style::cycle(entry)))
            .collect(),
        x: MEASURES.iter().map(|(_, labels)| words(labels)).collect(),
        zero: Some(0.0),
        notes: seen.notes(&format!("{which} Bars: 95 % intervals.")),
        sheet: seen.sheet,
    };
    let caption = format!(
        "All tokens that a strategy removes lose one of their effects on later tokens in all layers after their sites: what they write into the \
         state, their decay of the state, both, their places in the convolution, or all of them (which is pruning; in a hybrid, attention \
         does not read them either). {which} Left: change of the answer's loss; right: share of right answers that are no more right. \
         Protocol `context`. {}",
        seen.basis()
    );
    seen.figure(part, dots.draw(), csv(&COLUMNS, tables), caption)
}

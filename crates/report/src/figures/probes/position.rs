//! Figure of `position`: the cost of a removed block by its place in the context.

use analysis::PooledRow;
use records::each_once;

use super::{FEWEST_ITEMS, Failed, Figure, Seen, csv, number, short, text};
use crate::figures::lines::{Axis, Line, LinePanel, Lines, Share, Spread};
use crate::style;

const COLUMNS: [&str; 2] = ["place", "necessary"];
const KINDS: [(&str, &str); 3] =
    [("any", "all blocks"), ("removed", "blocks with a necessary token"), ("kept", "blocks without one")];

pub(super) fn draw(seen: &Seen<'_>) -> Result<Vec<Figure>, Failed> {
    // Not every kind occurs in every task at every place, and tasks differ in level: one row of panels per task.
    let sets = seen.models.iter().flat_map(|(_, sets)| sets);
    let tasks: Vec<&str> = each_once(sets.map(|set| set.record.task.as_str()));
    let mut tables: Vec<(&str, Vec<PooledRow>)> = Vec::new();
    let mut grid: Vec<(String, Vec<LinePanel>)> = Vec::new();
    for task in &tasks {
        let mut row = Vec::new();
        for (model, sets) in &seen.models {
            let rows = seen.pooled(sets, &COLUMNS, |set, _| set.record.task == *task);
            row.push(LinePanel { title: format!("{}, {task}", short(model)), lines: lines(&rows) });
            tables.push((model, rows));
        }
        grid.push((String::new(), row));
    }
    let legend = KINDS.iter().enumerate().map(|(index, (_, label))| ((*label).to_owned(), style::cycle(index)));
    let lines = Lines {
        grid,
        legend: legend.collect(),
        x: (
            &["Place of the removed block (0 start, 1 end of the context)", "Place of the block", "Place"],
            Axis::Linear,
        ),
        y: (&["Loss increase (nats)", "Loss (nats)"], Axis::Linear),
        share: Share::Rows,
        zero: Some(0.0),
        spread: Spread::Band,
        notes: seen.notes("Bands: 95 % intervals."),
        sheet: seen.sheet,
    };
    let caption = format!(
        "Change of the answer's loss (nats per scored token) when a block of neighbouring context tokens leaves, by the place of the block. Points \
         of fewer than {FEWEST_ITEMS} items are left out. {}",
        seen.basis().replace("Mean over the tasks", "Tasks")
    );
    Ok(seen.figure("", lines.draw(), csv(&COLUMNS, &tables), caption)?.into_iter().collect())
}

fn lines(rows: &[PooledRow]) -> Vec<Line> {
    let line = |(entry, (kind, _)): (usize, &(&str, &str))| {
        let own = rows.iter().filter(|row| row.measure == "loss_increase" && text(&row.keys[1]) == *kind);
        let own = own.filter(|row| row.estimate.n >= FEWEST_ITEMS);
        let mut points: Vec<_> = own.map(|row| (number(&row.keys[0]), row.estimate)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line { entry, points }
    };
    KINDS.iter().enumerate().map(line).collect()
}

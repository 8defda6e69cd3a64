//! Figure of `layer_kind`: what the answer loses where attention layers, scans, or both miss some tokens.

use analysis::PooledRow;
use records::probes::Key;

use super::{Failed, Figure, Seen, csv, find, short};
use crate::figures::dots::{DotPanel, Dots};
use crate::figures::figure;
use crate::style;

const COLUMNS: [&str; 2] = ["hidden_from", "removed"];
const ARMS: [(&str, &str); 3] = [("attention", "attention layers"), ("ssm", "scans"), ("both", "both: pruned")];
const REMOVED: [(&str, &str); 2] =
    [("necessary", "all tokens that the answer needs"), ("other", "as many others, drawn by chance")];

pub(super) fn draw(seen: &Seen<'_>) -> Result<Vec<Figure>, Failed> {
    let tables: Vec<(&str, Vec<PooledRow>)> =
        seen.models.iter().map(|(model, sets)| (*model, seen.pooled(sets, &COLUMNS, |_, _| true))).collect();
    let grid = tables.iter().map(|(model, rows)| {
        let panel = |measure: &str| {
            let row = |(arm, _): &(&str, &str)| {
                let one = |(entry, (removed, _)): (usize, &(&str, &str))| {
                    Some((entry, find(rows, measure, &[Key::from(*arm), Key::from(*removed)])?))
                };
                REMOVED.iter().enumerate().filter_map(one).collect()
            };
            DotPanel { title: String::new(), rows: ARMS.iter().map(row).collect() }
        };
        (short(model), vec![panel("loss_increase"), panel("answer_lost")])
    });
    let looks = [style::cycle(1), style::cycle(0)];
    let dots = Dots {
        rows: ARMS.iter().map(|(_, label)| (*label).to_owned()).collect(),
        grid: grid.collect(),
        legend: REMOVED.iter().zip(looks).map(|((_, label), look)| ((*label).to_owned(), look)).collect(),
        x: ["Loss increase (nats per token)", "Answers lost (share)"].map(str::to_owned).to_vec(),
        zero: Some(0.0),
    };
    let caption = format!(
        "Context tokens are hidden from later tokens in one kind of layers after the site: attention layers do not read them, scans do not \
         hold them, or both (which is pruning). Zero where a model has no layers of the kind. Left: change of the answer's loss; right: \
         share of right answers that are no more right. {}",
        seen.basis()
    );
    Ok(figure(seen.file(""), dots.draw(), csv(&COLUMNS, &tables), caption)?.into_iter().collect())
}

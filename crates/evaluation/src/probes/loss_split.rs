//! Probe `loss_split`: is an answer lost because a necessary token was dropped, or although all of them were kept?
//!
//! Protocol `context`. A token that was merged into another one counts as dropped: its row is gone.

use super::table::{Gather, Key, ProbeTable};
use super::{Column, Measure, Needs, Probe, ProbeSetup, Subject, Values, items};
use crate::error::EvaluationError;
use crate::protocol::CONTEXT;
use crate::run::{Reduction, Settings, Setup, evaluate};
use crate::score::metrics::correct;
use crate::score::{ChoiceScore, ItemScore};
use crate::tasks::Item;

pub(super) static PROBE: Probe = Probe {
    name: "loss_split",
    version: 1,
    question: "Are answers lost because a necessary token was removed, or although all of them were kept?",
    formula: "loss and right answers of items, split by whether every necessary context token is alive after the last layer",
    columns: &[Column {
        name: "necessary",
        help: "kept: all of them; dropped: at least one was removed; any: both together",
        values: Values::Words(&["kept", "dropped", "any"]),
    }],
    measures: &[
        Measure { name: "items", unit: "share", help: "items of this kind" },
        Measure { name: "loss", unit: "nats per scored token", help: "of the right answer" },
        Measure { name: "loss_increase", unit: "nats per scored token", help: "over the loss of the whole sequence" },
        Measure { name: "correct", unit: "share", help: "right answers, as the task counts them" },
        Measure { name: "correct_dense", unit: "share", help: "right answers of the same items without reduction" },
    ],
    options: &[items(200)],
    subject: Subject::Reduction,
    needs: Needs { necessary_tokens: true, ..Needs::NOTHING },
    cost: "two evaluations: without reduction and with it",
    run,
};

fn run(setup: &ProbeSetup<'_>) -> Result<ProbeTable, EvaluationError> {
    let (model, kind, items) = (setup.model, setup.kind, setup.items);
    let score = |reduction: &Reduction| {
        let setup = Setup { model, kind, items, scoring: CONTEXT.defaults(), reduction };
        evaluate(&setup, Settings::default())
    };
    let reduced = score(setup.reduction())?;
    let dense = score(&Reduction::dense())?;
    let mut gather = Gather::default();
    for (index, (item, (own, whole))) in items.iter().zip(reduced.items.iter().zip(&dense.items)).enumerate() {
        let Some(kept) = own.necessary_kept else { continue };
        // A share of counts: exactly 1 if all are there.
        let group = if kept >= 1.0 { "kept" } else { "dropped" };
        let (loss, before) = (loss(item, own), loss(item, whole));
        let right = |score: &ItemScore| correct(kind, item, score).map(|right| f64::from(u8::from(right)));
        for name in ["kept", "dropped", "any"] {
            let inside = name == group || name == "any";
            let keys = [Key::from(name)];
            gather.add(index, "items", f64::from(u8::from(inside)), &keys);
            if !inside {
                continue;
            }
            gather.add(index, "loss", loss, &keys);
            gather.add(index, "loss_increase", loss - before, &keys);
            for (measure, right) in [("correct", right(own)), ("correct_dense", right(whole))] {
                gather.add(index, measure, right.unwrap_or(f64::NAN), &keys);
            }
        }
    }
    Ok(gather.finish())
}

/// Mean loss over the scored tokens of the right continuation.
fn loss(item: &Item, score: &ItemScore) -> f64 {
    let choice: &ChoiceScore = &score.choices[item.gold.unwrap_or(0) as usize];
    -choice.loglikelihood / choice.tokens.len().max(1) as f64
}

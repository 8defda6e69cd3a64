//! Items under two arms: which of them one loses, and what it did with their tokens.

use std::collections::BTreeMap;
use std::path::Path;

use hint::Hint;
use records::each_once;
use records::schema::{CellRecord, ItemRecord, Status, TrialKey};
use records::task_items::TaskItem;
use thiserror::Error;

use super::compare::{Pick, label, point};
use super::error::AnalyseError;
use super::input;

/// What is wanted of a results folder.
#[derive(Clone, Debug)]
pub struct ItemsWanted {
    /// The first arm, usually the baseline.
    pub a: Pick,
    /// The second arm.
    pub b: Pick,
    /// One model; all if not given.
    pub model: Option<String>,
    /// One protocol; all if not given.
    pub protocol: Option<String>,
    /// One task; all if not given.
    pub task: Option<String>,
    /// One reduction that was asked for, 0 to 1; all if not given.
    pub reduction: Option<f64>,
    /// One item; all if not given.
    pub item: Option<String>,
    /// Only items that the first arm answers right and the second does not.
    pub lost: bool,
}

/// Two cells of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemPairs {
    /// The model.
    pub model: String,
    /// The protocol.
    pub protocol: String,
    /// The task.
    pub task: String,
    /// Sites and the reduction that was asked for of the second arm, in words.
    pub setting: String,
    /// Strategies with their options.
    pub labels: [String; 2],
    /// FLOPs reduction that each side achieved, 0 to 1.
    pub achieved: [f64; 2],
    /// Items that both sides scored.
    pub items: usize,
    /// Of them, those that the first side answers right and the second does not, and the other way round.
    pub lost_and_gained: [usize; 2],
    /// The items that were wanted, in task order.
    pub pairs: Vec<ItemPair>,
}

/// One item under both arms.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemPair {
    /// What it says.
    pub text: TaskItem,
    /// What both sides made of it.
    pub sides: [ItemSide; 2],
}

/// One item under one arm.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemSide {
    /// Scores.
    pub record: ItemRecord,
    /// What became of its tokens; none where no plan was recorded, empty where the arm removes nothing.
    pub fates: Option<BTreeMap<u32, Fate>>,
    /// Tokens of the sequence that was reduced; 0 where no plan was recorded.
    pub tokens: usize,
}

/// What became of a removed token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// 0-based layer of the site that removed it.
    pub site: usize,
    /// Position of the token that it was merged into; none where it was dropped.
    pub into: Option<u32>,
}

/// Why there are no items to show.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ItemsError {
    /// The folder could not be read.
    #[error(transparent)]
    Read(#[from] AnalyseError),
    /// What the items say is not recorded.
    #[error("what the items of {task} say is not recorded")]
    NoText {
        /// The task.
        task: String,
    },
    /// Nothing to pair.
    #[error("{problem}")]
    Pairs {
        /// What is the matter.
        problem: String,
        /// What to do.
        hint: String,
    },
}

impl Hint for ItemsError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Read(error) => error.hint(),
            Self::NoText { .. } => Some("`sweep run` on the experiment records it and runs no cell again".to_owned()),
            Self::Pairs { hint, .. } => Some(hint.clone()),
        }
    }
}

/// The items of a results folder under two arms, one entry per pair of cells. A cell is paired with one of the same model, protocol and
/// task whose sites and reduction are the same, or that reduces nothing.
///
/// # Errors
/// The folder cannot be read, holds no such pair, or not what the items say.
pub fn items(dir: &Path, wanted: &ItemsWanted) -> Result<Vec<ItemPairs>, ItemsError> {
    let recorded = input::read(dir)?;
    let texts = input::task_items(dir, &recorded.plan)?;
    let is_wanted = |cell: &&CellRecord| {
        let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
        cell.status == Status::Done
            && is(&wanted.model, &cell.trial.model)
            && is(&wanted.protocol, &cell.trial.protocol)
            && is(&wanted.task, &cell.task)
    };
    let done: Vec<&CellRecord> = recorded.cells.iter().filter(is_wanted).collect();
    let of = |pick: &Pick| done.iter().copied().filter(|cell| pick.takes(&cell.trial)).collect::<Vec<_>>();
    let (left, right) = (of(&wanted.a), of(&wanted.b));
    for (pick, cells) in [(&wanted.a, &left), (&wanted.b, &right)] {
        if cells.is_empty() {
            return Err(nothing(pick, &recorded.cells, &done));
        }
    }
    let asked = |cell: &&&CellRecord| wanted.reduction.is_none_or(|wanted| cell.trial.reduction().is_written(wanted));
    if let Some(value) = wanted.reduction.filter(|_| !right.iter().any(|cell| asked(&cell))) {
        return Err(ItemsError::Pairs {
            problem: format!("`{}` has no cell at a reduction of {:.1} %", wanted.b, value * 100.0),
            hint: format!("it has {}", listed(right.iter().map(|cell| cell.trial.reduction().in_words(1)))),
        });
    }
    let mut all = Vec::new();
    for b in right.iter().filter(asked) {
        let Some(a) = partner(&left, b) else { continue };
        let (model, task) = (&b.trial.model, &b.task);
        let texts = texts.iter().find(|file| file.model == *model && file.task == *task);
        let texts = texts.ok_or_else(|| ItemsError::NoText { task: task.clone() })?;
        let texts: BTreeMap<&str, &TaskItem> = texts.items.iter().map(|item| (item.item_id.as_str(), item)).collect();
        all.push(pair(a, b, &texts, wanted)?);
    }
    if all.is_empty() {
        return Err(ItemsError::Pairs {
            problem: format!("no cell of `{}` has a partner among those of `{}`", wanted.b, wanted.a),
            hint: "both need the same model, protocol, sites and reduction, unless the first reduces nothing; `sweep plan` shows the grid".to_owned(),
        });
    }
    Ok(all)
}

/// The cell of the other arm: of the same seed, if there is one.
fn partner<'a>(cells: &[&'a CellRecord], b: &CellRecord) -> Option<&'a CellRecord> {
    let own = &b.trial;
    let fits = |a: &&&CellRecord| {
        let trial = &a.trial;
        let same = (&trial.model, &trial.protocol, trial.split, trial.limit)
            == (&own.model, &own.protocol, own.split, own.limit);
        same && a.task == b.task && a.cell_id != b.cell_id && (trial.sites.is_empty() || point(trial) == point(own))
    };
    let mut fitting = cells.iter().filter(fits);
    let first = fitting.clone().next();
    fitting.find(|a| a.trial.seed == own.seed).or(first).copied()
}

fn pair(
    a: &CellRecord,
    b: &CellRecord,
    texts: &BTreeMap<&str, &TaskItem>,
    wanted: &ItemsWanted,
) -> Result<ItemPairs, ItemsError> {
    let partners: BTreeMap<&str, usize> =
        a.items.iter().enumerate().map(|(index, item)| (item.item_id.as_str(), index)).collect();
    let (mut items, mut lost_and_gained, mut pairs) = (0, [0, 0], Vec::new());
    for (index, item) in b.items.iter().enumerate() {
        let Some(&other) = partners.get(item.item_id.as_str()) else { continue };
        items += 1;
        let lost = is_lost(&a.items[other], item);
        let gained = is_lost(item, &a.items[other]);
        lost_and_gained[0] += usize::from(lost);
        lost_and_gained[1] += usize::from(gained);
        if (wanted.lost && !lost) || wanted.item.as_ref().is_some_and(|id| *id != item.item_id) {
            continue;
        }
        let text = texts.get(item.item_id.as_str()).ok_or_else(|| ItemsError::NoText { task: b.task.clone() })?;
        pairs.push(ItemPair { text: (*text).clone(), sides: [side(a, other), side(b, index)] });
    }
    let reduction = b.trial.reduction();
    Ok(ItemPairs {
        model: b.trial.model.clone(),
        protocol: b.trial.protocol.clone(),
        task: b.task.clone(),
        setting: setting(&b.trial, &reduction.in_words(1)),
        labels: [label(&a.trial), label(&b.trial)],
        achieved: [a.cost.flops_reduction_achieved, b.cost.flops_reduction_achieved],
        items,
        lost_and_gained,
        pairs,
    })
}

fn setting(trial: &TrialKey, reduction: &str) -> String {
    if trial.sites.is_empty() { "nothing removed".to_owned() } else { format!("{}, {reduction}", trial.schedule) }
}

/// Whether `a` is right where `b` is wrong.
pub fn is_lost(a: &ItemRecord, b: &ItemRecord) -> bool {
    a.correct == Some(true) && b.correct == Some(false)
}

fn side(cell: &CellRecord, index: usize) -> ItemSide {
    let (fates, tokens) = fates(cell, index);
    ItemSide { record: cell.items[index].clone(), fates, tokens }
}

/// What became of the tokens of an item, by original position, and how many tokens the reduced sequence had.
pub fn fates(cell: &CellRecord, item: usize) -> (Option<BTreeMap<u32, Fate>>, usize) {
    let mut fates = BTreeMap::new();
    let (mut found, mut tokens) = (cell.trial.sites.is_empty(), 0);
    for plan in cell.plans.iter().filter(|plan| plan.item == item) {
        found = true;
        tokens = tokens.max(plan.kept.len() + plan.dropped.len() + plan.merged.len());
        let dropped = plan.dropped.iter().map(|token| (*token, None));
        for (token, into) in dropped.chain(plan.merged.iter().map(|(token, into)| (*token, Some(*into)))) {
            fates.insert(token, Fate { site: plan.site, into });
        }
    }
    (found.then_some(fates), tokens)
}

/// Each name once, in words.
fn listed(names: impl Iterator<Item = String>) -> String {
    each_once(names).join(", ")
}

fn nothing(pick: &Pick, cells: &[CellRecord], done: &[&CellRecord]) -> ItemsError {
    let hint = if done.is_empty() {
        let models = listed(cells.iter().map(|cell| cell.trial.model.clone()));
        let protocols = listed(cells.iter().map(|cell| cell.trial.protocol.clone()));
        let tasks = listed(cells.iter().map(|cell| cell.task.clone()));
        format!("there are the models {models}; the protocols {protocols}; the tasks {tasks}")
    } else {
        format!("it has {}", listed(done.iter().map(|cell| cell.trial.strategy.clone())))
    };
    ItemsError::Pairs { problem: format!("there is no finished cell of `{pick}`"), hint }
}

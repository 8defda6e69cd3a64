//! Tables for papers, one file each, in Markdown, CSV and LaTeX.

mod bridge;
mod claim;
mod effects;
mod format;
mod latex;
mod losses;
mod main_table;
mod paper;
mod protocols;

use super::paper::Wide;
use super::select::Select;
use super::view::{View, distinct};
use records::each_once;

use analysis::{BridgeResult, Study};
pub(super) use claim::{effects as claim_effects_table, table as claim_table};
pub(super) use format::{Row, Table, TableCell};
pub(super) use latex::captions;
pub(super) use paper::named;

impl Table {
    /// The caption of the LaTeX table. Its heads are short, and what other formats put in brackets has a column of its own.
    pub(super) fn latex_caption(&self) -> String {
        let caption = self.caption.replace("in brackets the achieved", "beside it the achieved");
        caption.replace("are underlined", "have a °") + &self.short_note
    }

    /// The LaTeX of the chosen rows in a column of this width; none where nothing is chosen.
    pub(super) fn latex(&self, wide: Wide, select: &Select) -> Option<String> {
        latex::latex(self, wide, select)
    }
}

/// Names of all rules of the tables, each once.
pub(super) fn rules(tables: &[Table]) -> Vec<String> {
    let cells = tables.iter().filter(|table| table.has_rules).flat_map(|table| &table.rows).flat_map(|row| &row.cells);
    each_once(cells.filter_map(|cell| match cell {
        TableCell::Name(name) => Some(name.clone()),
        _ => None,
    }))
}

/// Reductions that were asked for, in words, each once.
pub(super) fn reductions(tables: &[Table]) -> Vec<String> {
    let asked = distinct(tables.iter().flat_map(|table| table.asked.iter().flatten().copied()));
    asked.into_iter().map(|asked| asked.in_words(1)).collect()
}

/// Every table the experiment has data for, in reading order.
pub(super) fn all(study: &Study, view: &View, bridges: &[BridgeResult]) -> Vec<Table> {
    let mut tables: Vec<Table> = view.scenes.iter().filter_map(|scene| main_table::table(view, scene)).collect();
    tables.extend(bridge::tables(bridges));
    tables.extend(effects::tables(view, &study.plan.baseline));
    tables.extend(losses::tables(view, &study.plan.baseline));
    tables.extend(protocols::table(view, &study.plan.baseline));
    tables.extend(paper::table(study, view));
    tables.extend(study.claim.iter().flat_map(|result| [claim::effects(result), claim::table(result)]));
    tables
}

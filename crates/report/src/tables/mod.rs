//! Tables for papers, one file each, in Markdown, CSV and LaTeX.

mod claim;
mod effects;
mod format;
mod losses;
mod main_table;
mod paper;
mod protocols;

use super::view::View;

use analysis::Study;
pub(super) use claim::table as claim_table;
pub(super) use format::Table;
pub(super) use paper::named;

/// Every table the experiment has data for, in reading order.
pub(super) fn all(study: &Study, view: &View) -> Vec<Table> {
    let mut tables: Vec<Table> = view.scenes.iter().filter_map(|scene| main_table::table(view, scene)).collect();
    tables.extend(effects::tables(view, &study.plan.baseline));
    tables.extend(losses::tables(view, &study.plan.baseline));
    tables.extend(protocols::table(view, &study.plan.baseline));
    tables.extend(paper::table(study, view));
    tables.extend(study.claim.as_ref().map(claim::table));
    tables
}

//! Tables for papers, one file each, in Markdown, CSV and LaTeX.

mod format;
mod main_table;
mod protocols;

use super::view::View;

pub(super) use format::Table;

/// Every table the experiment has data for, in reading order.
pub(super) fn all(view: &View) -> Vec<Table> {
    let mut tables: Vec<Table> = view.scenes.iter().filter_map(|scene| main_table::table(view, scene)).collect();
    tables.extend(protocols::table(view));
    tables
}

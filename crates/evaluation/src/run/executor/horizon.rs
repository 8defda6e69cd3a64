//! Rows that nobody will read are not executed.
//!
//! The models are causal: a row depends on those before it. Behind the last row that a lane reads, rows matter only as long
//! as a rule still looks at them. `upstream` pads on the right, so this is where it counts. A *horizon* is the first original
//! position that a lane needs no more; for rules that look at no value (and for `dense`) it is known before anything runs,
//! for the others after their last site. A branch executes up to the furthest horizon of its lanes, and at least up to one row that
//! reaches the end, so that it has a place in the stream.

use reduction_strategies::{SegmentTokens, TokenTable, positions_of};

use super::walk::{Branch, Walk};
use crate::error::EvaluationError;
use crate::score::After;

impl Walk<'_> {
    /// Sets the horizons of all lanes of a document that are known before it runs.
    pub(super) fn foresee(&mut self, document: usize) {
        let catalogued = &self.catalogue.documents[self.documents[document]];
        if catalogued.table.len() > 1 {
            return;
        }
        for (index, lane) in catalogued.lanes.iter().enumerate() {
            let reduction = &self.cells[lane.cell].reduction;
            if reduction.sites.is_empty() || reduction.rule.is_blind() {
                // A rule that fails does so again where it runs, and is recorded there.
                let horizon =
                    self.table_at_the_end(document, index).and_then(|table| self.horizon(document, index, &table));
                self.logs[document][index].horizon = horizon.ok();
            }
        }
    }

    /// Sets the horizons of the lanes of `branch` for which `site` was the last one.
    pub(super) fn set_horizons(&mut self, branch: &Branch, site: usize) {
        if branch.table.len() > 1 {
            return;
        }
        for lane in &branch.lanes {
            let sites = &self.cells[self.lane(branch, *lane).cell].reduction.sites;
            if self.logs[branch.document][*lane].horizon.is_none() && sites.iter().all(|other| *other <= site) {
                // A lane that cannot be read says so when it is answered.
                self.logs[branch.document][*lane].horizon = self.horizon(branch.document, *lane, &branch.table).ok();
            }
        }
    }

    /// Rows of each segment that some lane still needs.
    pub(super) fn live_rows(&self, document: usize, lanes: &[usize], table: &[SegmentTokens]) -> Vec<usize> {
        let horizons = lanes.iter().map(|lane| self.logs[document][*lane].horizon);
        match (table, horizons.collect::<Option<Vec<u32>>>()) {
            ([only], Some(horizons)) => {
                let horizon = horizons.into_iter().max().unwrap_or(0);
                vec![only.positions.partition_point(|position| *position < horizon)]
            }
            _ => table.iter().map(|segment| segment.positions.len()).collect(),
        }
    }

    /// The tokens that a blind rule keeps after all its sites.
    fn table_at_the_end(&self, document: usize, lane: usize) -> Result<Vec<SegmentTokens>, EvaluationError> {
        let document = &self.catalogue.documents[self.documents[document]];
        let lane = document.lanes[lane];
        let reduction = &self.cells[lane.cell].reduction;
        let mut table = TokenTable::new(document.table.clone());
        for site in &reduction.sites {
            table = table.apply(&reduction.plan_blindly(*site, &table.segments, Some(lane.item))?)?;
        }
        Ok(table.segments)
    }

    /// The first original position that a lane does not read from `table`, its tokens after the last site.
    fn horizon(&self, document: usize, lane: usize, table: &[SegmentTokens]) -> Result<u32, EvaluationError> {
        let before = &self.catalogue.documents[self.documents[document]].segments;
        let lengths: Vec<usize> = table.iter().map(|segment| segment.positions.len()).collect();
        let segments = before.with_lengths(&lengths);
        let positions = positions_of(table);
        let after = After { before, segments: &segments, positions: &positions };
        let placements = self.readings(document, lane, &after)?;
        let rows = placements.iter().flat_map(|(_, _, readings)| readings).filter_map(|reading| reading.row);
        // Where nothing is read, the first row that reaches the end is needed all the same: every branch on the way there has it.
        let last = rows.max().unwrap_or(0);
        Ok(table[0].positions.get(last as usize).map_or(0, |position| position + 1))
    }
}

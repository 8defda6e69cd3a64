//! The end of the layers: which rows every lane reads, scored once each.

use std::collections::HashMap;
use std::sync::Arc;

use reduction_strategies::positions_of;
use ssm_kernels::Segments;

use super::CellRequest;
use super::catalogue::Catalogue;
use super::walk::{Branch, End, Pack, Walk};
use crate::batch::Query;
use crate::error::EvaluationError;
use crate::score::{After, Answer, Reading, ScoredTarget, Scorer, score};

/// Readings of one lane, in the order of its unit's placements.
struct Asked {
    branch: usize,
    lane: usize,
    /// Per placement: index of the query, and its readings with the index of each in the list of distinct ones.
    placements: Vec<(usize, Vec<(usize, Reading)>)>,
}

/// Index of a query, the query, and what it reads.
type QueryReadings<'a> = (usize, &'a Query, Vec<Reading>);

impl<'a> Walk<'a> {
    /// Scores all lanes of a pack that has passed the last layer. Lanes that cannot be read end with their error.
    pub(super) fn answer(&mut self, pack: &Pack) -> Result<(), EvaluationError> {
        let mut distinct: Vec<(&'a Query, Reading)> = Vec::new();
        let mut asked = Vec::new();
        let mut first_row = 0;
        for (index, branch) in pack.branches.iter().enumerate() {
            let catalogue: &'a Catalogue<'a> = self.catalogue;
            let document = &catalogue.documents[self.documents[branch.document]];
            let lengths: Vec<usize> = branch.table.iter().map(|segment| segment.positions.len()).collect();
            let segments = document.segments.with_lengths(&lengths);
            let positions = positions_of(&branch.table);
            let after = After { before: &document.segments, segments: &segments, positions: &positions };
            let mut known = HashMap::new();
            for lane in &branch.lanes {
                match self.readings(branch.document, *lane, &after) {
                    Ok(placements) => {
                        let placements = placements.into_iter().map(|(query_index, query, readings)| {
                            let readings = readings.into_iter().map(|reading| {
                                let place = *known.entry((reading.row, reading.target)).or_insert_with(|| {
                                    let row = reading.row.map(|row| first_row + executed_row(&segments, branch, row));
                                    distinct.push((query, Reading { row, ..reading }));
                                    distinct.len() - 1
                                });
                                (place, reading)
                            });
                            (query_index, readings.collect())
                        });
                        asked.push(Asked { branch: index, lane: *lane, placements: placements.collect() });
                    }
                    Err(error) => self.logs[branch.document][*lane].end = Some(Err(Arc::new(error))),
                }
            }
            first_row += branch.rows.iter().sum::<usize>() as u32;
        }
        let vocab_size = self.model.config().vocab_size;
        let scores = score(Scorer::Model(self.model), vocab_size, &pack.activations, &distinct)?;
        let rows = distinct.iter().filter(|(_, reading)| reading.row.is_some()).count();
        self.sharing.head_rows_executed += rows as u64;
        for asked in asked {
            let branch = &pack.branches[asked.branch];
            let end = self.end(branch, &asked, &scores).map_err(Arc::new);
            self.logs[branch.document][asked.lane].end = Some(end);
        }
        Ok(())
    }

    /// Query and readings of each placement of a lane; rows count from the branch's first one.
    pub(super) fn readings(
        &self,
        document: usize,
        lane: usize,
        after: &After<'_>,
    ) -> Result<Vec<QueryReadings<'a>>, EvaluationError> {
        let catalogue: &'a Catalogue<'a> = self.catalogue;
        let lane = catalogue.documents[self.documents[document]].lanes[lane];
        let (queries, unit) = catalogue.unit_of(lane);
        let CellRequest { layout, reduction, .. } = &self.cells[lane.cell];
        let scoring = layout.scoring;
        layout.check(reduction)?;
        let readings = |placement: &crate::batch::Placement| {
            let query = &queries[placement.query];
            Ok((placement.query, query, scoring.readings(query, placement, after)?))
        };
        unit.placements.iter().map(readings).collect()
    }

    /// Answers of a lane from the scores of the distinct readings.
    fn end(&self, branch: &Branch, asked: &Asked, scores: &[ScoredTarget]) -> Result<End, EvaluationError> {
        let (queries, unit) = self.catalogue.unit_of(self.lane(branch, asked.lane));
        let mut answers = Vec::with_capacity(asked.placements.len());
        let mut head_rows = 0;
        for (placement, (query, readings)) in unit.placements.iter().zip(&asked.placements) {
            // Index and coverage are the lane's own; log-probability and hit belong to row and target.
            let own = readings.iter().map(|(place, reading)| ScoredTarget {
                index: reading.index,
                covered: reading.covered,
                ..scores[*place]
            });
            let survivors = &branch.table[placement.segment].positions;
            answers.push(Answer::new(*query, &queries[*query], own.collect(), survivors)?);
            head_rows += readings.iter().filter(|(_, reading)| reading.row.is_some()).count() as u64;
        }
        let tokens_kept = branch.table.iter().map(|segment| segment.positions.len() as u64).sum();
        Ok(End { answers, head_rows, tokens_kept })
    }
}

/// Where row `row` of the branch as its cells see it (`segments`) stands among the rows that were executed.
fn executed_row(segments: &Segments, branch: &Branch, row: u32) -> u32 {
    let segment = (0..segments.len()).find(|segment| segments.rows(*segment).contains(&(row as usize)));
    let segment = segment.unwrap_or_else(|| unreachable!("readings lie within their branch"));
    let lost: usize = (0..segment).map(|earlier| segments.length(earlier) - branch.rows[earlier]).sum();
    row - lost as u32
}

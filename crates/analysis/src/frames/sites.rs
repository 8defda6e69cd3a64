//! `sites` and `overlaps`: what happened where tokens were reduced, and how far plans agree.

use polars::prelude::*;
use records::schema::{CellRecord, SiteRecord};

use crate::overlaps::{MeanOverlaps, Overlap};
use crate::study::Study;

pub(super) fn sites(study: &Study, overlaps: &MeanOverlaps) -> PolarsResult<DataFrame> {
    let rows: Vec<(&CellRecord, &SiteRecord)> = study
        .cells
        .iter()
        .filter(|cell| cell.is_done())
        .flat_map(|cell| cell.record.sites.iter().map(move |site| (&cell.record, site)))
        .collect();
    let overlap = |(cell, site): &(&CellRecord, &SiteRecord)| {
        overlaps.get(&(cell.trial.trial_id.clone(), cell.task.clone(), site.site)).copied()
    };
    let keep_ratio = |(_, site): &(&CellRecord, &SiteRecord)| {
        (site.tokens_in > 0).then(|| site.tokens_out as f64 / site.tokens_in as f64)
    };
    let columns = vec![
        Column::new("trial_id".into(), rows.iter().map(|(cell, _)| cell.trial.trial_id.as_str()).collect::<Vec<_>>()),
        Column::new("cell_id".into(), rows.iter().map(|(cell, _)| cell.cell_id.as_str()).collect::<Vec<_>>()),
        Column::new("task".into(), rows.iter().map(|(cell, _)| cell.task.as_str()).collect::<Vec<_>>()),
        Column::new("site".into(), rows.iter().map(|(_, site)| site.site as u64).collect::<Vec<_>>()),
        Column::new("tokens_in".into(), rows.iter().map(|(_, site)| site.tokens_in).collect::<Vec<_>>()),
        Column::new("tokens_out".into(), rows.iter().map(|(_, site)| site.tokens_out).collect::<Vec<_>>()),
        Column::new("keep_ratio_achieved".into(), rows.iter().map(keep_ratio).collect::<Vec<_>>()),
        Column::new("overlap".into(), rows.iter().map(overlap).collect::<Vec<_>>()),
        Column::new(
            "merged_similarity".into(),
            rows.iter().map(|(_, site)| site.merged_similarity).collect::<Vec<_>>(),
        ),
    ];
    DataFrame::new(rows.len(), columns)
}

pub(super) fn overlaps(pairs: &[Overlap]) -> PolarsResult<DataFrame> {
    let columns = vec![
        Column::new("trial_id".into(), pairs.iter().map(|p| p.trial_id.as_str()).collect::<Vec<_>>()),
        Column::new("other_trial_id".into(), pairs.iter().map(|p| p.other_trial_id.as_str()).collect::<Vec<_>>()),
        Column::new("task".into(), pairs.iter().map(|p| p.task.as_str()).collect::<Vec<_>>()),
        Column::new("site".into(), pairs.iter().map(|p| p.site as u64).collect::<Vec<_>>()),
        Column::new("jaccard".into(), pairs.iter().map(|p| p.jaccard).collect::<Vec<_>>()),
        Column::new("expected_by_chance".into(), pairs.iter().map(|p| p.expected_by_chance).collect::<Vec<_>>()),
    ];
    DataFrame::new(pairs.len(), columns)
}

//! The claims of several results folders in one table: the effect of each entry over models, and on each model.

use analysis::{Interval, OnModel, Pooled, Study, Verdict};
use records::each_once;

use crate::claim;
use crate::tables::{Row, Table, TableCell};

/// A table in two forms.
pub struct Overview {
    /// With its caption.
    pub markdown: String,
    /// Without it.
    pub csv: String,
}

/// One row per entry and protocol of every claim; a column per model. `None` where no study has a claim.
#[must_use]
pub fn overview(studies: &[Study]) -> Option<Overview> {
    let table = table(studies)?;
    Some(Overview { markdown: format!("{}\n*{}*\n", table.markdown(), table.caption), csv: table.csv() })
}

fn table(studies: &[Study]) -> Option<Table> {
    let claims: Vec<_> = studies.iter().filter_map(|study| Some((study, study.claim.as_ref()?))).collect();
    let pooled = claims.iter().flat_map(|(_, claim)| &claim.pooled).flat_map(|own| &own.models);
    let models: Vec<String> = each_once(pooled.map(|own| claim::model(&own.model)));
    if models.is_empty() {
        return None;
    }
    let header = ["claim", "comparison", "margin", "models like these"].map(str::to_owned);
    let rows = claims.iter().enumerate().flat_map(|(block, (study, claim))| {
        claim.pooled.iter().map(|own| Row { block, cells: cells(study, own, &models) }).collect::<Vec<_>>()
    });
    Some(Table {
        name: "claims".to_owned(),
        caption: "Effects with intervals in points of accuracy, nats of log-likelihood or per cent, as the margin says: for models and tasks like these \
                  (crossed random effects, 95 % each), and on each model over items (max-t, 95 % for all models and rows of a \
                  claim). ✓ supported: above the margin; ≤ smaller than the margin; ✗ opposite: below zero; ? undecided; ‡ by Holm's \
                  interval, which is another one than the shown one."
            .to_owned(),
        header: header.into_iter().chain(models.iter().cloned()).collect(),
        rows: rows.collect(),
        keys: vec![0, 1],
        ..Table::default()
    })
}

fn cells(study: &Study, own: &Pooled, models: &[String]) -> Vec<TableCell> {
    let on = |name: &String| {
        let of_model = own.models.iter().find(|own| claim::model(&own.model) == *name);
        of_model.map_or(TableCell::Missing, |OnModel { decision, .. }| {
            let mark = if decision.is_by_holm(own.margin) { BY_HOLM } else { "" };
            effect_cell(own, decision.effect, decision.interval, decision.verdict, mark)
        })
    };
    let whole = match &own.effect {
        Ok(whole) => effect_cell(own, whole.effect, whole.interval, whole.verdict, ""),
        Err(_) => TableCell::Missing,
    };
    let first = [
        TableCell::Text(study.plan.experiment.clone()),
        TableCell::Text(claim::plain_title(own)),
        TableCell::Text(format!("{} {}", crate::text::number(own.margin), own.quantity.unit())),
        whole,
    ];
    first.into_iter().chain(models.iter().map(on)).collect()
}

/// Behind verdicts that the shown interval alone would not give.
const BY_HOLM: &str = "‡";

fn effect_cell(
    own: &Pooled,
    effect: f64,
    Interval { low, high }: Interval,
    verdict: Verdict,
    by_holm: &str,
) -> TableCell {
    if effect.is_nan() {
        return TableCell::Missing;
    }
    let decimals = own.quantity.decimals().min(2);
    let mark = match verdict {
        Verdict::Supported => '✓',
        Verdict::Smaller => '≤',
        Verdict::Opposite => '✗',
        Verdict::Undecided => '?',
    };
    TableCell::Text(format!("{effect:.decimals$} ({low:.decimals$} to {high:.decimals$}) {mark}{by_holm}"))
}

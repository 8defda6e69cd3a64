//! Probe `adjacency`: what does the convolution after a site see, now that tokens have other neighbours?
//!
//! The layer after the site runs twice: on the stream as it arrived, where every token has its original neighbours, and on the
//! shortened one. The row of a token that is kept and merged with nothing is the same in both, so any difference in what the scan
//! receives for it comes from its neighbours in the convolution's window. (Merged rows differ by themselves and are not measured, but
//! they are in the windows of others.)

use candle_core::Tensor;
use reduction_strategies::{SitePlan, SiteStream, TokenTable};
use ssm_kernels::Segments;
use ssm_kernels::host::matrix;
use ssm_model::{LanguageModel, LayerOutput, Signal, SignalSet};

use super::kept_tokens::contexts;
use super::passes::{Observation, host, in_groups, parts};
use super::questions::{Question, questions};
use super::state_divergence::relative;
use super::table::{Key, ProbeTable};
use super::{Column, Measure, Needs, Probe, ProbeSetup, Recurrence, Subject, Values, items};
use crate::batch::Positions;
use crate::error::EvaluationError;
use crate::run::{Check, PackedStream, RowTokens, SiteObserver, Wanted, drive_observed, run_layer};

pub(super) static PROBE: Probe = Probe {
    name: "adjacency",
    version: 1,
    question: "How much does the input of the scan change for kept tokens whose neighbours left the window of the convolution?",
    formula: "||u - u'|| / ||u|| of what the layer behind the site gives its scan (x; dt), original against new neighbours",
    columns: &[
        Column { name: "site", help: "0-based layer after which tokens leave", values: Values::Open },
        Column {
            name: "lost",
            help: "tokens of the row's original convolution window that left, 0 to d_conv - 1",
            values: Values::Open,
        },
    ],
    measures: &[
        Measure { name: "x_change", unit: "share", help: "of the scan's input x" },
        Measure { name: "dt_change", unit: "share", help: "of the step sizes" },
        Measure { name: "tokens", unit: "share", help: "of the kept tokens with so many lost neighbours" },
        Measure {
            name: "pairs_survive",
            unit: "share",
            help: "neighbouring pairs that arrived and are still neighbours (over all rows; lost = 0 alone)",
        },
    ],
    options: &[items(40)],
    subject: Subject::Reduction,
    needs: Needs { recurrence: Recurrence::EveryLayer, ..Needs::NOTHING },
    cost: "one reduced pass over each context, and two more layers per site",
    run,
};

fn run(setup: &ProbeSetup<'_>) -> Result<ProbeTable, EvaluationError> {
    let (model, reduction) = (setup.model, setup.reduction());
    if reduction.sites.is_empty() {
        return Ok(ProbeTable::default());
    }
    in_groups(model, &questions(setup.items), 1, |group| {
        let mut seen = Vec::new();
        let mut at_site = |site: &SiteStream<'_>, plan: &SitePlan| {
            // After the last layer nothing reads the stream.
            if site.layer + 1 == model.config().n_layer() {
                return Ok(());
            }
            let [original, new] = next_layer(model, site, plan, reduction.positions)?;
            look(site, plan, &original, &new, group, &mut seen)
        };
        let observer = SiteObserver { signals: SignalSet::default(), every_layer: false, at_site: &mut at_site };
        drive_observed(model, &contexts(group), reduction, Some(observer), None)?;
        Ok(seen)
    })
}

/// What the layer after the site gives its scan.
struct ScanInput {
    x: Tensor,
    dt: Tensor,
    /// Rows of the convolution's window.
    window: usize,
    segments: Segments,
}

/// The layer after the site on the stream as it arrived, and on what the plan makes of it.
fn next_layer(
    model: &LanguageModel,
    site: &SiteStream<'_>,
    plan: &SitePlan,
    positions: Positions,
) -> Result<[ScanInput; 2], EvaluationError> {
    let run = |activations, segments: Segments, table: &TokenTable| {
        let tokens = RowTokens::of(model, &[(&table.segments, positions)], &segments);
        let stream = PackedStream::new(activations, segments, tokens);
        let signals = SignalSet::of(&[Signal::X, Signal::Dt]);
        let wanted = Wanted { signals, states: true, check: Check::Sequences };
        let LayerOutput { signals, state, .. } = run_layer(model, site.layer + 1, stream.input(), wanted)?;
        let read = |signal| host(signals.get(signal).unwrap_or_else(|| unreachable!("asked for")));
        let Some(state) = &state else { unreachable!("asked for") };
        let window = parts(state)?.0.dim(2)?;
        Ok::<_, EvaluationError>(ScanInput {
            x: read(Signal::X)?,
            dt: read(Signal::Dt)?,
            window,
            segments: stream.segments,
        })
    };
    let original = run(site.activations(), site.segments.clone(), site.tokens)?;
    let (activations, segments) = plan.apply(site)?;
    Ok([original, run(activations, segments, &site.tokens.apply(plan)?)?])
}

fn look(
    site: &SiteStream<'_>,
    plan: &SitePlan,
    original: &ScanInput,
    new: &ScanInput,
    group: &[Question<'_>],
    seen: &mut Vec<Observation>,
) -> Result<(), EvaluationError> {
    let window = original.window;
    let (x, _, width) = matrix(&original.x, "adjacency", "x")?;
    let (new_x, _, _) = matrix(&new.x, "adjacency", "x")?;
    let (dt, _, heads) = matrix(&original.dt, "adjacency", "dt")?;
    let (new_dt, _, _) = matrix(&new.dt, "adjacency", "dt")?;
    for (index, question) in group.iter().enumerate() {
        let Some(plan) = &plan.plans[index] else { continue };
        let keep = plan.keep();
        let groups = plan.hidden().groups.iter().chain(&plan.residual().groups);
        let changed: Vec<u32> = groups.map(|group| group.into).collect();
        let mut counts = vec![0_usize; window];
        for (place, &row) in keep.iter().enumerate() {
            // The kept rows of the window are the last ones before this row.
            let inside = (row as usize).min(window - 1);
            let still = keep[..place].iter().rev().take_while(|kept| (row - **kept) < window as u32).count();
            let lost = inside - still;
            counts[lost] += 1;
            if changed.contains(&row) {
                continue;
            }
            let old = site.segments.rows(index).start + row as usize;
            let new = new.segments.rows(index).start + place;
            let of = |values: &[f32], row: usize, width: usize| values[row * width..(row + 1) * width].to_vec();
            let keys = vec![Key::from(site.layer), Key::from(lost)];
            let x_change = relative(&of(&x, old, width), &of(&new_x, new, width));
            let dt_change = relative(&of(&dt, old, heads), &of(&new_dt, new, heads));
            seen.push((question.item, "x_change", x_change, keys.clone()));
            seen.push((question.item, "dt_change", dt_change, keys));
        }
        for (lost, count) in counts.into_iter().enumerate() {
            let keys = vec![Key::from(site.layer), Key::from(lost)];
            seen.push((question.item, "tokens", count as f64 / keep.len() as f64, keys));
        }
        let pairs = keep.windows(2).filter(|pair| pair[0] + 1 == pair[1]).count() as f64;
        let all = plan.n_tokens().saturating_sub(1) as f64;
        seen.push((question.item, "pairs_survive", pairs / all, vec![Key::from(site.layer), Key::from(0)]));
    }
    Ok(())
}

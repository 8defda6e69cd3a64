//! Probe `adjacency`: what does the convolution behind a site see, now that tokens have other neighbours?
//!
//! The layer behind the site runs twice: on the stream as it arrived, where every token has its original neighbours, and on the
//! shortened one. For a token that is kept and merged with nothing, its own row is the same in both, so that whatever
//! differs in what the scan receives for it comes from its neighbours in the convolution's window. (Merged rows differ by themselves and
//! are left out, but stand in windows of others.)

use ssm_kernels::host::matrix;
use ssm_model::{LanguageModel, LayerRequest, Signal, SignalSet, Signals};

use super::kept_tokens::contexts;
use super::passes::{Observation, host, in_groups, parts};
use super::questions::{Question, questions};
use super::state_divergence::relative;
use super::table::{Key, ProbeTable};
use super::{Column, Measure, Needs, Probe, ProbeSetup, Subject, items};
use crate::error::EvaluationError;
use crate::finite::check_sequences;
use crate::run::{AtSite, Observer, drive_observed};

pub(super) static PROBE: Probe = Probe {
    name: "adjacency",
    version: 1,
    question: "How much does the input of the scan change for kept tokens whose neighbours left the window of the convolution?",
    formula: "||u - u'|| / ||u|| of what the layer behind the site gives its scan (x; dt), original against new neighbours",
    columns: &[
        Column { name: "site", help: "0-based layer after which tokens leave" },
        Column { name: "lost", help: "tokens of the row's original convolution window that left, 0 to d_conv - 1" },
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
    needs: Needs { recurrence: true, necessary_tokens: false },
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
        let mut at_site = |at: &AtSite<'_>| look(model, at, group, &mut seen);
        let observer = Observer { signals: SignalSet::default(), every_layer: false, at_site: &mut at_site };
        drive_observed(model, &contexts(group), reduction, Some(observer), None)?;
        Ok(seen)
    })
}

fn look(
    model: &LanguageModel,
    at: &AtSite<'_>,
    group: &[Question<'_>],
    seen: &mut Vec<Observation>,
) -> Result<(), EvaluationError> {
    let layer = at.stream.layer + 1;
    if layer >= model.config().n_layer() {
        return Ok(());
    }
    let (shortened, segments) = at.plan.apply(&at.stream)?;
    let signals = SignalSet::of(&[Signal::X, Signal::Dt]);
    let request = LayerRequest { signals, states: true, ..LayerRequest::default() };
    let original = model.layer(layer, &at.stream.activations(), at.stream.segments, request)?;
    check_sequences(layer, &original, at.stream.segments)?;
    let Some(state) = &original.state else { unreachable!("asked for") };
    let window = parts(state)?.0.dim(2)?;
    let original = original.signals;
    let new = model.layer(layer, &shortened, &segments, request)?;
    check_sequences(layer, &new, &segments)?;
    let new = new.signals;
    let read = |signals: &Signals, signal| host(signals.get(signal).unwrap_or_else(|| unreachable!("asked for")));
    let (x, new_x) = (read(&original, Signal::X)?, read(&new, Signal::X)?);
    let (dt, new_dt) = (read(&original, Signal::Dt)?, read(&new, Signal::Dt)?);
    let (x, _, width) = matrix(&x, "adjacency", "x")?;
    let (new_x, _, _) = matrix(&new_x, "adjacency", "x")?;
    let (dt, _, heads) = matrix(&dt, "adjacency", "dt")?;
    let (new_dt, _, _) = matrix(&new_dt, "adjacency", "dt")?;
    for (index, question) in group.iter().enumerate() {
        let Some(plan) = &at.plan.plans[index] else { continue };
        let keep = plan.keep();
        let groups = plan.hidden().groups.iter().chain(&plan.residual().groups);
        let changed: Vec<u32> = groups.map(|group| group.into).collect();
        let mut counts = vec![0_usize; window];
        for (place, &row) in keep.iter().enumerate() {
            // Of the window's rows, those that stay stand just before this one.
            let inside = (row as usize).min(window - 1);
            let stay = keep[..place].iter().rev().take_while(|kept| (row - **kept) < window as u32).count();
            let lost = inside - stay;
            counts[lost] += 1;
            if changed.contains(&row) {
                continue;
            }
            let (old, new) = (at.stream.segments.rows(index).start + row as usize, segments.rows(index).start + place);
            let of = |values: &[f32], row: usize, width: usize| values[row * width..(row + 1) * width].to_vec();
            let keys = vec![Key::from(at.stream.layer), Key::from(lost)];
            let x_change = relative(&of(&x, old, width), &of(&new_x, new, width));
            let dt_change = relative(&of(&dt, old, heads), &of(&new_dt, new, heads));
            seen.push((question.item, "x_change", x_change, keys.clone()));
            seen.push((question.item, "dt_change", dt_change, keys));
        }
        for (lost, count) in counts.into_iter().enumerate() {
            let keys = vec![Key::from(at.stream.layer), Key::from(lost)];
            seen.push((question.item, "tokens", count as f64 / keep.len() as f64, keys));
        }
        let pairs = keep.windows(2).filter(|pair| pair[0] + 1 == pair[1]).count() as f64;
        let all = plan.n_tokens().saturating_sub(1) as f64;
        seen.push((question.item, "pairs_survive", pairs / all, vec![Key::from(at.stream.layer), Key::from(0)]));
    }
    Ok(())
}

//! A seeded draw from the trials of a grid.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::PlannedTrial;
use crate::config::Experiment;

/// Which trials were drawn.
pub(super) struct Drawn {
    /// One flag per trial.
    pub(super) keep: Vec<bool>,
    /// A remark on the draw.
    pub(super) note: Option<String>,
}

/// Draws `sample.count` of the trials that have cells to run; the baseline's are always kept and do not count.
///
/// The draw starts from the trials sorted by id, so that it depends on the set of trials and not on their order.
pub(super) fn draw(experiment: &Experiment, trials: &[PlannedTrial], candidates: &[bool]) -> Drawn {
    let Some(sample) = experiment.sample else { return Drawn { keep: vec![true; trials.len()], note: None } };
    let is_baseline = |trial: &PlannedTrial| trial.key.strategy == experiment.baseline;
    let mut keep: Vec<bool> = trials.iter().map(is_baseline).collect();
    let mut pool: Vec<usize> = (0..trials.len()).filter(|&index| candidates[index] && !keep[index]).collect();
    pool.sort_by(|&left, &right| trials[left].key.trial_id.cmp(&trials[right].key.trial_id));
    let available = pool.len();
    pool.shuffle(&mut ChaCha8Rng::seed_from_u64(sample.seed));
    for &index in pool.iter().take(sample.count) {
        keep[index] = true;
    }
    let note = if sample.count < available {
        format!("sample: {} of {available} trials besides the baseline, seed {}", sample.count, sample.seed)
    } else {
        format!("sample: all {available} trials besides the baseline, no more than the {} asked for", sample.count)
    };
    Drawn { keep, note: Some(note) }
}

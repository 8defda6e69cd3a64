//! The definitions, segment by segment over plain lists: scores and ranks in float64, ties by the lower index.
//!
//! Rows count from the first row of a segment. The blocks of the crate `reduction-strategies` define the same.

/// Mean of the positive parts: `(1/D) sum_d max(0, v_d)` (Zhan et al. 2024, eq. 5).
pub(crate) fn clip(row: &[f32]) -> f64 {
    mean_of(row, |v| if v < 0.0 { 0.0 } else { v })
}

/// Mean magnitude: `(1/D) sum_d |v_d|`.
pub(crate) fn l1(row: &[f32]) -> f64 {
    mean_of(row, f64::abs)
}

/// Euclidean norm: `sqrt(sum_d v_d^2)`.
pub(crate) fn l2(row: &[f32]) -> f64 {
    row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

/// Mean: `(1/D) sum_d v_d`.
pub(crate) fn mean(row: &[f32]) -> f64 {
    mean_of(row, |v| v)
}

/// Largest magnitude: `max_d |v_d|`.
pub(crate) fn l_inf(row: &[f32]) -> f64 {
    row.iter().map(|v| f64::from(v.abs())).fold(0.0, f64::max)
}

/// Mean, the most negative number where it is 0.
pub(crate) fn released_mean(row: &[f32]) -> f64 {
    let mean = mean(row);
    if mean == 0.0 { f64::from(f32::MIN) } else { mean }
}

fn mean_of(row: &[f32], of: impl Fn(f64) -> f64) -> f64 {
    row.iter().map(|v| of(f64::from(*v))).sum::<f64>() / row.len() as f64
}

/// `1 / |v|`, and 0 for a zero row; negative values count as zero where `clipped`.
pub(crate) fn inverse_norm(row: &[f32], clipped: bool) -> f64 {
    let norm = l2(&features(row, clipped));
    if norm == 0.0 { 0.0 } else { 1.0 / norm }
}

/// A row as similarities see it.
fn features(row: &[f32], clipped: bool) -> Vec<f32> {
    row.iter().map(|v| if clipped && *v < 0.0 { 0.0 } else { *v }).collect()
}

/// A row of length 1, or of zeros.
fn unit(row: &[f32], clipped: bool) -> Vec<f64> {
    let inverse = inverse_norm(row, clipped);
    features(row, clipped).into_iter().map(|v| f64::from(v) * inverse).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `a . b / (|a| |b|)`, and 0 where either row is zero.
pub(crate) fn cosine(a: &[f32], b: &[f32], clipped: bool) -> f64 {
    dot(&unit(a, clipped), &unit(b, clipped))
}

/// The first `count` indices in order of rank, the highest first and the lower index among equals; ascending.
pub(crate) fn highest(ranks: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ranks.len()).collect();
    // -0 ranks as 0.
    order.sort_by(|a, b| (ranks[*b] + 0.0).total_cmp(&(ranks[*a] + 0.0)).then(a.cmp(b)));
    order.truncate(count);
    order.sort_unstable();
    order
}

/// The kept rows of a segment: the protected ones, and of the others as many as make `kept`, those with the highest scores or
/// with the lowest.
pub(crate) fn select_tokens(scores: &[f64], protected: &[bool], kept: usize, keep_highest: bool) -> Vec<usize> {
    let candidates: Vec<usize> = (0..scores.len()).filter(|row| !protected[*row]).collect();
    let sign = if keep_highest { 1.0 } else { -1.0 };
    let ranks: Vec<f64> = candidates.iter().map(|row| sign * scores[*row]).collect();
    let n_protected = scores.len() - candidates.len();
    let mut rows: Vec<usize> = highest(&ranks, kept - n_protected).into_iter().map(|index| candidates[index]).collect();
    rows.extend((0..scores.len()).filter(|row| protected[*row]));
    rows.sort_unstable();
    rows
}

/// The rows of a segment that go on with their residual, where the hidden branch keeps the rows `kept`: the protected ones, and between each
/// two of them as many as are kept there, those with the highest scores.
pub(crate) fn split_residual(scores: &[f64], protected: &[bool], kept: &[usize]) -> Vec<usize> {
    let mut rows = Vec::new();
    let mut first = 0;
    while first < scores.len() {
        if protected[first] {
            rows.push(first);
            first += 1;
            continue;
        }
        let end = (first..scores.len()).find(|row| protected[*row]).unwrap_or(scores.len());
        let count = kept.iter().filter(|row| (first..end).contains(*row)).count();
        rows.extend(highest(&scores[first..end], count).into_iter().map(|place| first + place));
        first = end;
    }
    rows
}

/// `(sources, targets)` among the unprotected rows: by scores the lower half (rounded down) are sources, without scores those
/// at even places.
pub(crate) fn partition(scores: Option<&[f64]>, protected: &[bool]) -> (Vec<usize>, Vec<usize>) {
    let candidates: Vec<usize> = (0..protected.len()).filter(|row| !protected[*row]).collect();
    let is_source = match scores {
        Some(scores) => {
            let ranks: Vec<f64> = candidates.iter().map(|row| -scores[*row]).collect();
            let lower = highest(&ranks, candidates.len() / 2);
            (0..candidates.len()).map(|place| lower.contains(&place)).collect::<Vec<_>>()
        }
        None => (0..candidates.len()).map(|place| place % 2 == 0).collect(),
    };
    let of =
        |kind: bool| candidates.iter().zip(&is_source).filter(|(_, is)| **is == kind).map(|(row, _)| *row).collect();
    (of(true), of(false))
}

/// A source and its most similar target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Edge {
    pub(crate) source: usize,
    pub(crate) target: usize,
    pub(crate) similarity: f64,
}

/// For every source the target with the highest cosine similarity, the lower row among equals (bipartite matching of `ToMe`,
/// <https://arxiv.org/abs/2210.09461>, section 3). Within a window source `i` sees the targets `j` of `|i - j| < window` alone; one that
/// sees none has no edge.
pub(crate) fn match_sources(
    rows: &[Vec<f32>],
    clipped: bool,
    sources: &[usize],
    targets: &[usize],
    window: Option<usize>,
) -> Vec<Edge> {
    let units: Vec<Vec<f64>> = rows.iter().map(|row| unit(row, clipped)).collect();
    let mut edges = Vec::new();
    for (place, source) in sources.iter().enumerate() {
        let near = |other: &(usize, &usize)| window.is_none_or(|window| place.abs_diff(other.0) < window);
        let edge = |(_, target): (usize, &usize)| {
            let similarity = dot(&units[*source], &units[*target]);
            Edge { source: *source, target: *target, similarity }
        };
        let seen = targets.iter().enumerate().filter(near).map(edge);
        edges.extend(seen.reduce(|best, edge| if edge.similarity > best.similarity { edge } else { best }));
    }
    edges
}

/// Minus the largest cosine similarity of each row with the rows after it, which counts as -1 at least; 1 for the last row, and for all rows
/// from number `scored` on.
pub(crate) fn newness(rows: &[Vec<f32>], scored: usize) -> Vec<f64> {
    let units: Vec<Vec<f64>> = rows.iter().map(|row| unit(row, false)).collect();
    let later = |row: usize| units[row + 1..].iter().map(move |other| (row, other));
    let of = |row: usize| later(row).map(|(row, other)| dot(&units[row], other)).fold(-1.0, f64::max);
    (0..rows.len()).map(|row| if row < scored { -of(row) } else { 1.0 }).collect()
}

/// Protection with which the last `count` unprotected rows are protected too.
pub(crate) fn protect_last(protected: &[bool], count: usize) -> Vec<bool> {
    let mut all = protected.to_vec();
    let candidates: Vec<usize> = (0..protected.len()).filter(|row| !protected[*row]).collect();
    for row in candidates.into_iter().rev().take(count) {
        all[row] = true;
    }
    all
}

/// What a scan is made of, segment by segment: rows of step sizes per head (or channel), and of input and output maps per group.
pub(crate) struct Scan<'a> {
    pub(crate) dt: &'a [Vec<f32>],
    pub(crate) b: &'a [Vec<f32>],
    pub(crate) c: &'a [Vec<f32>],
    pub(crate) groups: usize,
}

impl Scan<'_> {
    fn heads(&self) -> usize {
        self.dt[0].len()
    }

    /// The part of a row of `b` or `c` that a head uses.
    fn map<'a>(&self, row: &'a [f32], head: usize) -> &'a [f32] {
        let (group, d_state) = (head * self.groups / self.heads(), row.len() / self.groups);
        &row[group * d_state..(group + 1) * d_state]
    }
}

/// `sqrt(sum_h dt_h^2 |b_h|^2 |x_h|^2)` of every row: the Frobenius norm of what it writes into the state.
pub(crate) fn write_norm(scan: &Scan<'_>, x: &[Vec<f32>]) -> Vec<f64> {
    let heads = scan.dt.first().map_or(0, Vec::len);
    let of = |row: usize| {
        let headdim = x[row].len() / heads;
        let write = |head: usize| {
            let x = &x[row][head * headdim..(head + 1) * headdim];
            f64::from(scan.dt[row][head]) * l2(scan.map(&scan.b[row], head)) * l2(x)
        };
        (0..heads).map(|head| write(head).powi(2)).sum::<f64>().sqrt()
    };
    (0..x.len()).map(of).collect()
}

/// `sum_{i >= t} mean_h |sum_n c_in exp(sum_{k = t+1..i} dt_k A_n) dt_t b_tn|` of every row `t` (Ali, Zimerman & Wolf 2024,
/// <https://arxiv.org/abs/2403.01590>, eq. 11-12). `a`: decay rates, one per head, or one per state and head with the heads in the last
/// place; none: the exponential is 1.
pub(crate) fn hidden_attention(scan: &Scan<'_>, a: Option<&[f32]>) -> Vec<f64> {
    let n = scan.dt.len();
    let pair = |t: usize, i: usize, head: usize| {
        let (b, c) = (scan.map(&scan.b[t], head), scan.map(&scan.c[i], head));
        let time: f64 = (t + 1..=i).map(|k| f64::from(scan.dt[k][head])).sum();
        let rate = |state: usize| match a {
            None => 0.0,
            Some(a) if a.len() == scan.heads() => f64::from(a[head]),
            Some(a) => f64::from(a[state * scan.heads() + head]),
        };
        let term = |state: usize| f64::from(c[state]) * (time * rate(state)).exp() * f64::from(b[state]);
        f64::from(scan.dt[t][head]) * (0..b.len()).map(term).sum::<f64>()
    };
    let mean =
        |t: usize, i: usize| (0..scan.heads()).map(|head| pair(t, i, head).abs()).sum::<f64>() / scan.heads() as f64;
    (0..n).map(|t| (t..n).map(|i| mean(t, i)).sum()).collect()
}

/// A row that replaces a run of tokens.
#[derive(Clone, Debug)]
pub(crate) struct RunRow {
    /// Weight of each token in the mean: what is left of its write at the end of the run, the largest 1.
    pub(crate) weights: Vec<f64>,
    /// Factors on the step size, in the decay and in the write.
    pub(crate) time: [f64; 2],
}

/// The row that replaces the tokens of a run in a scan: `dt` has their step sizes per head, `times` the factors with which they already
/// count, `a` the rates, one per head or one per state and head with the heads in the last place.
///
/// With `left_t = mean_n exp(A_n sum_{s after t} decay_s dt_s)`, `w_t = write_t mean_h dt_t left_t`, `m_t = mean_h dt_t` and
/// `m = sum w_t m_t / sum w_t` the factors are `sum decay_t m_t / m` and `sum w_t / m`; `sum decay_t` where a factor is no positive number.
pub(crate) fn merge_run(dt: &[Vec<f32>], a: &[f32], times: &[[f32; 2]]) -> RunRow {
    let (tokens, heads) = (0..dt.len(), dt[0].len());
    let step = |t: usize, head: usize| f64::from(dt[t][head]);
    let factor = |t: usize, role: usize| f64::from(times[t][role]);
    let mean = |of: &dyn Fn(usize) -> f64| (0..heads).map(of).sum::<f64>() / heads as f64;
    let left = |t: usize, head: usize| {
        let after: f64 = (t + 1..dt.len()).map(|s| factor(s, 0) * step(s, head)).sum();
        let rates: Vec<f64> = a.iter().skip(head).step_by(heads).map(|rate| f64::from(*rate)).collect();
        rates.iter().map(|rate| (after * rate).exp()).sum::<f64>() / rates.len() as f64
    };
    let steps: Vec<f64> = tokens.clone().map(|t| mean(&|head| step(t, head))).collect();
    let writes: Vec<f64> = tokens.clone().map(|t| factor(t, 1) * mean(&|head| step(t, head) * left(t, head))).collect();
    let (total, largest) = (writes.iter().sum::<f64>(), writes.iter().copied().fold(0.0, f64::max));
    let weighted = writes.iter().zip(&steps).map(|(write, step)| write * step).sum::<f64>() / total;
    let decay = tokens.clone().map(|t| factor(t, 0) * steps[t]).sum::<f64>() / weighted;
    let mut time = [decay, total / weighted];
    if time.iter().any(|factor| !((*factor as f32).is_finite() && *factor as f32 > 0.0)) {
        time = [tokens.map(|t| factor(t, 0)).sum(); 2];
    }
    let weight = |write: &f64| if largest > 0.0 { (write / largest).max(1e-9) } else { 1.0 };
    RunRow { weights: writes.iter().map(weight).collect(), time }
}

/// The `count` edges with the highest rank, in order of their sources; the lower source among equals.
pub(crate) fn strongest(edges: &[Edge], count: usize, rank: impl Fn(&Edge) -> f64) -> Vec<Edge> {
    let ranks: Vec<f64> = edges.iter().map(rank).collect();
    highest(&ranks, count).into_iter().map(|index| edges[index]).collect()
}

/// Where a row goes under pairing in rounds: on the way, whether it is still carried on the hidden and on the residual branch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Way {
    pub(crate) end: usize,
    pub(crate) carried: [bool; 2],
}

/// Pairing until `loses` unprotected rows are removed: each round splits and matches the rows that are not removed yet (by `scores` or at even places),
/// uses the strongest edges, and removes their sources. `merging`: whether each of these edges carries its source, on either branch. `None`
/// for a kept row.
pub(crate) fn pair_in_rounds(
    rows: &[Vec<f32>],
    clipped: bool,
    window: Option<usize>,
    scores: Option<&[f64]>,
    protected: &[bool],
    mut loses: usize,
    merging: impl Fn(&[Edge]) -> [Vec<bool>; 2],
) -> Vec<Option<Way>> {
    let mut gone = protected.to_vec();
    let mut steps: Vec<Option<Way>> = vec![None; rows.len()];
    while loses > 0 {
        let (sources, targets) = partition(scores, &gone);
        let edges = match_sources(rows, clipped, &sources, &targets, window);
        let chosen = strongest(&edges, loses.min(edges.len()), |edge| edge.similarity);
        let [hidden, residual] = merging(&chosen);
        for ((edge, hidden), residual) in chosen.iter().zip(hidden).zip(residual) {
            gone[edge.source] = true;
            steps[edge.source] = Some(Way { end: edge.target, carried: [hidden, residual] });
        }
        loses -= chosen.len();
    }
    let follow = |step: &Option<Way>| {
        let mut way = (*step)?;
        while let Some(next) = steps[way.end] {
            way = Way { end: next.end, carried: [0, 1].map(|branch| way.carried[branch] && next.carried[branch]) };
        }
        Some(way)
    };
    steps.iter().map(follow).collect()
}

/// How many edges prune under a hybrid of share `q`: rounded to the nearest.
pub(crate) fn n_pruned(q: f64, edges: usize) -> usize {
    (q * edges as f64).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "the values are exact")]
    fn hand_computed_scores_and_similarities() {
        let row = [3.0, -4.0];
        assert_eq!([clip(&row), l1(&row), l2(&row), mean(&row)], [1.5, 3.5, 5.0, -0.5]);
        assert_eq!([inverse_norm(&row, false), inverse_norm(&[0.0, -1.0], true)], [0.2, 0.0]);
        assert!((cosine(&row, &[4.0, 3.0], false)).abs() < 1e-15);
        assert!((cosine(&row, &[4.0, 3.0], true) - 0.8).abs() < 1e-15);
    }

    #[test]
    fn hand_computed_selection_and_partition() {
        let (scores, protected) = ([0.5, 2.0, 0.5, -1.0, 0.5], [false, false, false, true, false]);
        assert_eq!(select_tokens(&scores, &protected, 3, true), [0, 1, 3], "of equals the lower row is kept");
        assert_eq!(select_tokens(&scores, &protected, 3, false), [0, 2, 3]);
        assert_eq!(select_tokens(&[-0.0, 0.0], &[false; 2], 1, true), [0], "-0 and 0 are equal");
        assert_eq!(partition(Some(&scores), &protected), (vec![0, 2], vec![1, 4]));
        assert_eq!(partition(None, &protected), (vec![0, 2], vec![1, 4]));
        assert_eq!(partition(None, &[false; 3]), (vec![0, 2], vec![1]));
        assert_eq!(partition(Some(&[1.0, 2.0, 0.0]), &[false; 3]), (vec![2], vec![0, 1]));
    }

    #[test]
    fn hand_computed_split() {
        let (scores, protected) = ([1.0, 3.0, 3.0, 9.0, 0.0, 2.0], [false, false, false, true, false, false]);
        assert_eq!(split_residual(&scores, &protected, &[0, 3, 4]), [1, 3, 5], "of equals the lower row is chosen");
        assert_eq!(split_residual(&scores, &protected, &[0, 2, 3]), [1, 2, 3]);
    }

    #[test]
    fn the_largest_magnitude_and_the_mean_of_the_release() {
        let of = |function: fn(&[f32]) -> f64, row: &[f32]| function(row).to_bits();
        assert_eq!([of(l_inf, &[1.0, -3.0, 2.0]), of(l_inf, &[0.0])], [3.0, 0.0_f64].map(f64::to_bits));
        let (ranked, zero) = (of(released_mean, &[1.0, -3.0]), of(released_mean, &[2.0, -2.0]));
        assert_eq!([ranked, zero], [-1.0, f64::from(f32::MIN)].map(f64::to_bits));
    }

    #[test]
    fn hand_computed_newness_and_protection() {
        let rows = [vec![1.0, 0.0], vec![0.0, 1.0], vec![2.0, 0.0], vec![0.0, 0.0], vec![-1.0, 0.0]];
        assert_eq!(newness(&rows, 5), [-1.0, 0.0, 0.0, 0.0, 1.0], "a zero row resembles nothing");
        assert_eq!(newness(&rows, 1), [-1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(newness(&[vec![1.0], vec![-1.0]], 2), [1.0, 1.0], "the opposite of a row is as new as can be");
        assert_eq!(protect_last(&[false, true, false, false, true], 2), [false, true, true, true, true]);
        assert_eq!(protect_last(&[true, false], 0), [true, false]);
    }

    #[test]
    fn hand_computed_writes_and_influence() {
        let (dt, b, c) =
            ([vec![0.5, 1.0], vec![0.25, 2.0]], [vec![1.0, -2.0], vec![3.0, 4.0]], [vec![2.0, 1.0], vec![1.0, 1.0]]);
        let x = [vec![2.0, 3.0], vec![-4.0, 1.0]];
        let close = |got: &[f64], want: &[f64]| {
            assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-12), "{got:?} {want:?}");
        };
        let scan = |groups| Scan { dt: &dt, b: &b, c: &c, groups };
        // |b| = sqrt 5 and 5; dt x = (1, 3) and (-1, 2).
        close(&write_norm(&scan(1), &x), &[50.0_f64.sqrt(), 125.0_f64.sqrt()]);
        close(&write_norm(&scan(2), &x), &[37.0_f64.sqrt(), 73.0_f64.sqrt()]);
        // c_0 b_0 = 0, c_1 b_0 = -1, c_1 b_1 = 7; mean step sizes 0.75 and 1.125.
        close(&hidden_attention(&scan(1), None), &[0.75, 7.0 * 1.125]);
        let decayed = f64::midpoint(0.5 * (-0.25_f64).exp(), (-4.0_f64).exp());
        close(&hidden_attention(&scan(1), Some(&[-1.0, -2.0])), &[decayed, 7.0 * 1.125]);
        // Each state by itself: of head 0 the second does not decay, of head 1 the first.
        let decayed = f64::midpoint(0.5 * (2.0 - (-0.25_f64).exp()), (2.0 * (-2.0_f64).exp() - 1.0).abs());
        close(&hidden_attention(&scan(1), Some(&[-1.0, 0.0, 0.0, -1.0])), &[decayed, 7.0 * 1.125]);
    }

    #[test]
    fn hand_computed_runs() {
        let close = |got: &RunRow, weights: [f64; 2], time: [f64; 2]| {
            for (got, want) in got.weights.iter().chain(&got.time).zip(weights.iter().chain(&time)) {
                assert!((got - want).abs() < 1e-12, "{got} {want}");
            }
        };
        let half = (-0.5_f64).exp();
        // Equal steps: twice the decay, and of the first write what half a unit of time keeps.
        close(&merge_run(&[vec![0.5], vec![0.5]], &[-1.0], &[[1.0; 2]; 2]), [half, 1.0], [2.0, 1.0 + half]);
        // Two states of which one does not decay, and a second token that lasts twice as long: w = (0.5 (1 + e^-1) / 2, 0.25).
        let first = 0.25 * (1.0 + (-1.0_f64).exp());
        let (total, mean) = (first + 0.25, (first * 0.5 + 0.25 * 0.5) / (first + 0.25));
        let row = merge_run(&[vec![0.5], vec![0.5]], &[-1.0, 0.0], &[[1.0; 2], [2.0, 0.5]]);
        close(&row, [1.0, 0.25 / first], [1.5 / mean, total / mean]);
        // No step has a length: as many steps as the tokens had.
        close(&merge_run(&[vec![0.0], vec![0.0]], &[-1.0], &[[1.0; 2], [2.0, 5.0]]), [1.0; 2], [3.0; 2]);
    }

    #[test]
    fn hand_computed_rounds() {
        let rows = vec![vec![1.0]; 4];
        let pair = |loses, hidden: bool| {
            pair_in_rounds(&rows, false, None, None, &[false; 4], loses, |edges| {
                [vec![hidden || edges.len() > 1; edges.len()], vec![true; edges.len()]]
            })
        };
        let way = |end, hidden| Some(Way { end, carried: [hidden, true] });
        assert_eq!(pair(2, true), [way(1, true), None, way(1, true), None], "ties go to the lowest target");
        assert_eq!(pair(3, true), [way(3, true), way(3, true), way(3, true), None]);
        assert_eq!(
            pair(3, false),
            [way(3, false), way(3, false), way(3, false), None],
            "what is dropped later is lost"
        );
    }

    #[test]
    fn hand_computed_edges() {
        let rows = [vec![1.0, 0.0], vec![1.0, 0.0], vec![0.0, 1.0], vec![0.0, 2.0], vec![2.0, 0.0]];
        let edges = match_sources(&rows, false, &[0, 2], &[1, 3, 4], None);
        assert_eq!(
            edges,
            [Edge { source: 0, target: 1, similarity: 1.0 }, Edge { source: 2, target: 3, similarity: 1.0 }]
        );
        let near = match_sources(&rows, false, &[0, 2], &[1, 3, 4], Some(1));
        assert_eq!(near.iter().map(|edge| edge.target).collect::<Vec<_>>(), [1, 3]);
        let none = match_sources(&rows, false, &[0, 2], &[1], Some(1));
        assert_eq!(none.len(), 1, "the second source sees no target");
        assert_eq!(strongest(&edges, 1, |edge| edge.similarity), edges[..1], "of equals the lower source");
        assert_eq!([n_pruned(0.5, 3), n_pruned(0.0, 3), n_pruned(1.0, 3)], [2, 0, 3]);
    }
}

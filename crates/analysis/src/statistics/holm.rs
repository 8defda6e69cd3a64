//! Holm's correction for several comparisons (Scandinavian Journal of Statistics 6, 1979).

/// The adjusted p-values, in the order given: the chance of even one false rejection at a level is at most that level. NaN stays NaN and
/// counts as no comparison.
pub(crate) fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).filter(|&index| !p_values[index].is_nan()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![f64::NAN; p_values.len()];
    let mut last = 0.0_f64;
    for (step, &index) in order.iter().enumerate() {
        last = last.max(((order.len() - step) as f64 * p_values[index]).min(1.0));
        adjusted[index] = last;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand, as `p.adjust(c(.04, .01, .03, .02, .5, .0004), "holm")` of R multiplies: .0004 by 6, .01 by 5, .02 by 4, .03 by 3; .04 by
    /// 2 is less than what .03 became.
    #[test]
    fn matches_values_by_hand() {
        let adjusted = holm(&[0.04, 0.01, 0.03, 0.02, 0.5, 0.0004]);
        let expected = [0.09, 0.05, 0.09, 0.08, 0.5, 0.0024];
        for (own, by_hand) in adjusted.iter().zip(expected) {
            assert!((own - by_hand).abs() < 1e-12, "{adjusted:?}");
        }
        assert!(holm(&[]).is_empty());
    }

    /// By the definition: the step-down procedure at every level, without adjusted values.
    #[test]
    fn rejects_what_the_step_down_procedure_rejects() {
        let p = [0.013, 0.0002, 0.6, 0.013, 0.04, 0.009, 0.05, f64::NAN];
        let adjusted = holm(&p);
        for level in (1..=200).map(|level| f64::from(level) / 200.0) {
            let mut left: Vec<usize> = (0..p.len() - 1).collect();
            while let Some(&smallest) = left.iter().min_by(|&&a, &&b| p[a].total_cmp(&p[b])) {
                if p[smallest] > level / left.len() as f64 {
                    break;
                }
                assert!(adjusted[smallest] <= level + 1e-12, "{smallest} at {level}");
                left.retain(|&index| index != smallest);
            }
            assert!(left.iter().all(|&index| adjusted[index] > level - 1e-12), "at {level}");
        }
        assert!(adjusted[7].is_nan());
    }
}

use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::statistics::{Estimate, Interval};

fn result(task: &str, value: f64, replicates: Vec<f32>) -> ArmTask {
    ArmTask {
        task: task.to_owned(),
        metric: "acc".to_owned(),
        lower_is_better: task == "text",
        flops_reduction_achieved: 0.1,
        estimate: Estimate { n: 4, value, stderr: 0.0, interval: Interval { low: value, high: value } },
        difference: None,
        replicates: Arc::new(replicates),
        items_key: 1,
        cost: crate::ArmCost::default(),
    }
}

/// Rank by sorting: the mean of the places that a value may take.
fn rank_by_sorting(values: &[f64], of: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let places: Vec<f64> = (1..=sorted.len())
        .filter(|place| sorted[place - 1].to_bits() == values[of].to_bits())
        .map(|place| place as f64)
        .collect();
    places.iter().sum::<f64>() / places.len() as f64
}

#[test]
fn ties_share_the_mean_of_their_places() {
    assert_eq!(ranks(&[0.5, 0.9, 0.5, 0.1]), [2.5, 1.0, 2.5, 4.0]);
    assert_eq!(ranks(&[0.5, f64::NAN]), [1.0, 2.0]);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..200 {
        let values: Vec<f64> = (0..7).map(|_| f64::from(random.random_range(0..4_u8))).collect();
        let sorted: Vec<f64> = (0..7).map(|of| rank_by_sorting(&values, of)).collect();
        assert_eq!(ranks(&values), sorted);
    }
}

/// Three rules in three contests, one of them a loss: all numbers again from the values, by sorting each resample.
#[test]
fn numbers_are_those_of_each_resample_by_itself() {
    let (rules, tasks, draws) = (["a", "b", "c"], ["one", "two", "text"], 400);
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut results: Vec<Vec<ArmTask>> = Vec::new();
    for task in tasks {
        let of_rule = |rule: usize, random: &mut ChaCha8Rng| {
            let value = f64::from(random.random_range(0..10_u8)) / 10.0 + 0.02 * rule as f64;
            let off = |random: &mut ChaCha8Rng| value as f32 + f32::from(random.random_range(-3..4_i8)) / 16.0;
            result(task, value, (0..draws).map(|_| off(random)).collect())
        };
        results.push((0..rules.len()).map(|rule| of_rule(rule, &mut random)).collect());
    }
    let sign = |task: usize| if tasks[task] == "text" { -1.0 } else { 1.0 };
    let contests: Vec<Contest<'_>> = results
        .iter()
        .enumerate()
        .map(|(task, own)| {
            let entry = |(rule, result)| Entry { rule: rules[rule], result, sign: sign(task) };
            Contest::of(own.iter().enumerate().map(entry).collect())
        })
        .collect();
    // Mean rank of a rule, from the values of one resample or from the values themselves.
    let mean_rank = |rule: usize, draw: Option<usize>| {
        let of_task = |task: usize| {
            let value = |result: &ArmTask| {
                sign(task) * draw.map_or(result.estimate.value, |draw| f64::from(result.replicates[draw]))
            };
            rank_by_sorting(&results[task].iter().map(value).collect::<Vec<_>>(), rule)
        };
        (0..tasks.len()).map(of_task).sum::<f64>() / tasks.len() as f64
    };
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} and {b}");
    let ranked = ranked(&contests);
    assert!(ranked.windows(2).all(|pair| pair[0].mean_rank <= pair[1].mean_rank));
    for own in &ranked {
        let rule = rules.iter().position(|rule| *rule == own.rule).unwrap();
        near(own.mean_rank, mean_rank(rule, None));
        let mut resampled: Vec<f64> = (0..draws).map(|draw| mean_rank(rule, Some(draw))).collect();
        resampled.sort_by(f64::total_cmp);
        // 95 % of the resamples are inside, up to ties at the ends.
        let below = resampled.iter().filter(|rank| **rank < own.ci_low - 1e-6).count();
        let above = resampled.iter().filter(|rank| **rank > own.ci_high + 1e-6).count();
        assert!(below <= draws / 40 && above <= draws / 40, "{below} below, {above} above");
        assert!(own.ci_low >= resampled[0] - 1e-6 && own.ci_high <= resampled[draws - 1] + 1e-6);
        assert!((own.of - 3.0).abs() < 1e-12 && own.contests == 3);
    }
    let shown = against("b", &ranked, &contests);
    assert_eq!(shown.len(), 2);
    for pair in &shown {
        let other = rules.iter().position(|rule| *rule == pair.other).unwrap();
        near(pair.rank_difference, mean_rank(1, None) - mean_rank(other, None));
        let steps: Vec<f64> = (0..draws).map(|draw| mean_rank(1, Some(draw)) - mean_rank(other, Some(draw))).collect();
        let (low, high) = (steps.iter().filter(|x| **x <= 1e-9).count(), steps.iter().filter(|x| **x >= -1e-9).count());
        near(pair.p_value, (2.0 * (low.min(high) + 1) as f64 / (draws + 1) as f64).min(1.0));
        let better = (0..3).filter(|task| {
            sign(*task) * results[*task][1].estimate.value > sign(*task) * results[*task][other].estimate.value
        });
        assert_eq!(pair.better, better.count());
        assert_eq!(pair.better + pair.equal + pair.worse, 3);
    }
    let p_values: Vec<f64> = shown.iter().map(|pair| pair.p_value).collect();
    let (small, large) = if p_values[0] <= p_values[1] { (0, 1) } else { (1, 0) };
    near(shown[small].p_holm, (2.0 * p_values[small]).min(1.0));
    near(shown[large].p_holm, p_values[large].max((2.0 * p_values[small]).min(1.0)));
}

/// By the definition for points in any order: sorted by cost, a point is on the front if its value exceeds all before it.
#[test]
fn the_front_is_what_a_sweep_over_costs_leaves() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..100 {
        let points: Vec<(f64, f64)> = (0..12)
            .map(|_| (f64::from(random.random_range(0..6_u8)), f64::from(random.random_range(0..6_u8))))
            .collect();
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by(|&a, &b| points[a].1.total_cmp(&points[b].1).then(points[b].0.total_cmp(&points[a].0)));
        let mut expected = vec![false; points.len()];
        let mut best: Option<(f64, f64)> = None;
        for index in order {
            let is_equal = best.is_some_and(|best| best == points[index]);
            if is_equal || best.is_none_or(|best| points[index].0 > best.0) {
                expected[index] = true;
                best = Some(points[index]);
            }
        }
        assert_eq!(front(&points), expected, "{points:?}");
    }
}

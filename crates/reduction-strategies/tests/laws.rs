//! Laws that hold for every registered strategy with every option set.

// The examples of `docs/adding-a-strategy.md`: registered here, so that the laws are tried on them too.
#[path = "example/little_changed.rs"]
mod little_changed;
#[path = "example/small_steps.rs"]
mod small_steps;

use std::collections::{BTreeMap, BTreeSet};

use hint::Hint;
use proptest::prelude::*;
use reduction_strategies::laws;
use reduction_strategies::laws::cases::{KINDS, Kind, SIGNALS, Sequence, Stream, strategies};
use reduction_strategies::options::{OptionInfo, OptionKind};
use reduction_strategies::registry::Strategy;
// What a strategy file names by `crate::`, and what the laws use.
use reduction_strategies::{
    Count, HostRule, Plan, PlanError, SequenceView, n_kept, plan_sequence, plan_site, schedule,
};
use reduction_strategies::{blocks, options, registry, rule, vectors};

const SIZES: [usize; 7] = [1, 2, 3, 36, 37, 64, 200];
const RATIOS: [f64; 5] = [0.3, 0.5, 0.9, 0.9729, 1.0];

/// Everything that can be said about one sequence under one rule.
fn check(strategy: &Strategy, sequence: &Sequence, keep_ratio: f64) {
    laws::check_sequence(strategy, sequence, keep_ratio).unwrap_or_else(|breach| panic!("{breach}"));
}

#[test]
fn laws_hold_at_awkward_sizes() {
    for strategy in strategies() {
        for (n, ratio) in SIZES.into_iter().flat_map(|n| RATIOS.map(|ratio| (n, ratio))) {
            check(&strategy, &Sequence::new(n as u64, n, Kind::Plain), ratio);
            check(&strategy, &Sequence::new(n as u64, n, Kind::Plain).protect(3), ratio);
        }
        for kind in KINDS {
            check(&strategy, &Sequence::new(1, 37, kind), 0.3);
            check(&strategy, &Sequence::new(1, 37, kind).protect(1), 0.3);
        }
    }
}

/// A rule that reads a value which is no number makes no plan, and says which tensor and token it was; one that reads none of it plans
/// as ever.
#[test]
fn what_is_no_number_is_never_ranked() {
    let sequence = Sequence::new(5, 37, Kind::Plain);
    let n = sequence.len();
    let clean = Stream::of(&[&sequence]);
    for strategy in strategies() {
        let rule = strategy.rule();
        let plan = |stream: &Stream| plan_site(&rule, 0.6, 7, &stream.site());
        let want = plan(&clean).unwrap();
        let mut refused = 0;
        for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for tensor in 0..8 {
                let mut stream = Stream::of(&[&sequence]);
                let spoiled = |place: &candle_core::Tensor| {
                    let mut rows = place.to_vec2::<f32>().unwrap();
                    rows[9][1] = value;
                    candle_core::Tensor::new(rows, place.device()).unwrap()
                };
                match tensor {
                    0 => stream.hidden = spoiled(&stream.hidden),
                    1 => stream.residual = spoiled(&stream.residual),
                    index => {
                        let signal = SIGNALS[index - 2];
                        stream.signals.set(signal, stream.signals.get(signal).map(spoiled));
                    }
                }
                match plan(&stream) {
                    Ok(got) => assert_eq!(got, want, "{strategy:?}: tensor {tensor} is read, and {value} in it ranked"),
                    Err(error) => {
                        refused += 1;
                        assert!(error.to_string().contains("of token 9 is ") && error.hint().is_some(), "{error}");
                    }
                }
            }
        }
        let reads = !rule.is_blind();
        assert_eq!(refused > 0, reads, "{strategy:?}");
        assert_eq!(n, want.plans[0].as_ref().unwrap().n_tokens());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn laws_hold_anywhere(item: u64, n in 1_usize..90, ratio in 0.02_f64..=1.0, one_in in 1_u64..9, kind in 0..KINDS.len()) {
        for strategy in strategies() {
            check(&strategy, &Sequence::new(item, n, KINDS[kind]).protect(one_in), ratio);
        }
    }

    #[test]
    fn plans_do_not_depend_on_neighbours(item: u64, lengths in prop::collection::vec(1_usize..70, 2..5), ratio in 0.1_f64..1.0) {
        let sequences: Vec<Sequence> = lengths
            .iter()
            .zip(0..)
            .map(|(n, offset)| Sequence::new(item.wrapping_add(offset), *n, Kind::Plain).protect(5))
            .collect();
        for strategy in strategies() {
            let together = laws::check_neighbours(&strategy, &sequences, ratio);
            prop_assert!(together.is_ok(), "{:?}", together);
        }
    }
}

/// A rule is excused from the count asked for only if it really leaves another one.
#[test]
fn a_count_of_its_own_is_one() {
    for strategy in strategies() {
        let rule = strategy.rule();
        let known = |ratio: &f64| n_kept(&rule, *ratio, &[false; 100]);
        let differs = RATIOS.iter().any(|ratio| known(ratio).is_some_and(|n| n != schedule::n_keep(*ratio, 100)));
        assert_eq!(matches!(rule.count(), Count::Own(why) if !why.is_empty()), differs, "{strategy:?}");
    }
}

/// What a rule declares to change besides removing tokens, some plan of it changes.
#[test]
fn what_is_declared_to_change_changes() {
    for strategy in strategies() {
        let rule = strategy.rule();
        let declared = rule.also_changes().is_some();
        let plan = |item: u64| plan_sequence(&rule, &Sequence::new(item, 40, Kind::Plain).view(7), 0.5).unwrap();
        let changes = (0..4).map(plan).any(|plan| plan.residual_of() != plan.keep() || !plan.times().is_empty());
        assert_eq!(changes, declared, "{strategy:?}");
    }
}

/// A count is free only if it follows from the data: sequences of one length keep different numbers of tokens. Its threshold, where it
/// has one, is a number among its options.
#[test]
fn a_free_count_follows_from_the_data() {
    let mut counts: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for strategy in strategies() {
        let rule = strategy.rule();
        let Count::Free { threshold } = rule.count() else { continue };
        if let Some(name) = threshold {
            let is_it = |option: &OptionInfo| option.name == name && matches!(option.kind, OptionKind::Number { .. });
            assert!(
                strategy.registration.options.iter().any(is_it),
                "{strategy:?}: `{name}` is no number of its options"
            );
        }
        let own = counts.entry(strategy.registration.name).or_default();
        for (item, kind) in (0..20).zip(KINDS.into_iter().cycle()) {
            own.insert(plan_sequence(&rule, &Sequence::new(item, 64, kind).view(7), 1.0).unwrap().keep().len());
        }
    }
    assert!(!counts.is_empty());
    for (name, counts) in counts {
        assert!(counts.len() > 1, "{name} keeps {counts:?} of 64 tokens whatever they hold: its count is not free");
    }
}

#[test]
fn a_seed_matters_to_seeded_strategies_and_to_no_other() {
    for strategy in strategies() {
        laws::check_seed(&strategy).unwrap_or_else(|breach| panic!("{breach}"));
    }
}

#[test]
fn segments_that_are_not_reducible_stay_untouched() {
    let open = Sequence::new(1, 40, Kind::Plain);
    let mut closed = Sequence::new(2, 20, Kind::Plain);
    closed.tokens.reducible = false;
    let stream = Stream::of(&[&closed, &open, &closed]);
    for strategy in strategies() {
        let site = plan_site(&strategy.rule(), 0.5, 7, &stream.site()).unwrap();
        assert!(site.plans[0].is_none() && site.plans[1].is_some() && site.plans[2].is_none());
        let (after, kept) = site.apply(&stream.site()).unwrap();
        assert_eq!((kept.length(0), kept.length(2)), (20, 20));
        let rows = |tensor: &candle_core::Tensor, from| tensor.narrow(0, from, 20).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(rows(&after.hidden, 0), rows(&stream.hidden, 0));
        assert_eq!(rows(&after.hidden, kept.rows(2).start), rows(&stream.hidden, 60));
        let similarity = site.merged_similarity(&stream.site()).unwrap();
        assert!(similarity[0].is_none() && similarity[1].is_none_or(|value| value.abs() <= 1.0 + 1e-9));
    }
}

#[test]
fn every_registration_says_what_it_is() {
    for registration in reduction_strategies::registry::all() {
        let name = registration.name;
        assert!(registration.version >= 1, "{name}");
        for (field, text) in
            [("summary", registration.summary), ("source", registration.source), ("formula", registration.formula)]
        {
            assert!(
                text.len() > 5 && !text.contains("  "),
                "{name}: `{field}` says nothing or holds two spaces: {text:?}"
            );
        }
        assert!(registration.options.iter().all(|option| !option.help.is_empty()), "{name}");
        if registration.source == "control" {
            assert!(registration.differs.is_empty(), "{name}: a control has no original, so `differs` must be empty");
        } else {
            assert!(
                !registration.differs.is_empty(),
                "{name}: `differs` must say how the rule differs from its source (\"not at all\" is an answer), or `source` must be \
                 \"control\" where there is no original"
            );
        }
    }
}

mod causality {
    //! Whether a rule decides and merges for token t from tokens up to t alone.

    use std::sync::Arc;

    use reduction_strategies::registry::find;
    use reduction_strategies::{BranchMerges, Causality, PlanError, Rule, SequenceView};
    use ssm_kernels::ops::{MergeGroup, MergeRule};

    use super::*;

    /// The first breach of causality that is found, in words.
    fn breach(rule: &Rule, claim: Causality, keep_ratio: f64) -> Option<String> {
        laws::breach_of_causality(rule, claim, keep_ratio).unwrap()
    }

    #[test]
    fn strategies_that_claim_causality_have_it() {
        for strategy in strategies().iter().filter(|strategy| strategy.is_causal()) {
            for ratio in RATIOS {
                assert_eq!(breach(&strategy.rule(), strategy.rule().causality(), ratio), None, "{strategy:?}");
            }
        }
    }

    #[test]
    fn some_strategies_claim_causality() {
        let all = strategies();
        let causal = |name: &str| all.iter().filter(|s| s.registration.name == name && s.is_causal()).count();
        assert!(causal("dense") == 1 && causal("local_merge") == 1 && causal("block_causal") > 10);
        assert!(causal("top_k") + causal("tome") + causal("uniform") == 0);
    }

    /// What decides in blocks knows where the sequence ends, and no more is claimed for it.
    #[test]
    fn a_quota_per_block_follows_from_the_end_of_the_sequence() {
        let options = std::collections::BTreeMap::new();
        let rule = Strategy::new("block_causal", &options).unwrap().rule();
        assert_eq!(rule.causality(), Causality::WithinBlock(16));
        let found = breach(&rule, Causality::Streaming, 0.5).unwrap();
        assert!(found.contains("vanish") || found.contains("arrive"), "{found}");
    }

    /// Every third token leaves; `kind` says what it does with its content and when.
    #[derive(Debug)]
    enum Thirds {
        /// Causal: it goes into the next token if its own first value is positive, or is dropped.
        Forward,
        /// Not causal: it goes into the token before it.
        Backward,
        /// Not causal: the next token decides whether it or the token before it leaves.
        LookAhead,
    }

    impl HostRule for Thirds {
        fn count(&self) -> Count {
            Count::Own("a third leaves")
        }

        fn kept(&self, _n_keep: usize, n: usize) -> usize {
            n - n / 3
        }

        fn plan(&self, view: &SequenceView<'_>, _n_keep: usize) -> Result<Plan, PlanError> {
            let n = view.len() as u32;
            let positive = |row: u32| view.hidden.row(row as usize)[0] > 0.0;
            let mut merges = BranchMerges { groups: Vec::new(), rule: MergeRule::WeightedMean };
            let mut keep: Vec<u32> = Vec::new();
            for third in (2..n).step_by(3) {
                let leaves = if matches!(self, Self::LookAhead) && third + 1 < n && positive(third + 1) {
                    third - 1
                } else {
                    third
                };
                keep.extend((third - 2..=third).filter(|row| *row != leaves));
                let into = match self {
                    Self::Forward if positive(third) && third + 1 < n => third + 1,
                    Self::Backward => third - 1,
                    _ => continue,
                };
                merges.groups.push(MergeGroup { into, own_weight: 1.0, sources: vec![(third, 1.0)] });
            }
            keep.extend(n - n % 3..n);
            Plan::new(view.len(), keep, merges.clone(), merges)
        }
    }

    #[test]
    fn the_check_passes_a_causal_rule_and_catches_false_claims() {
        let breach = |rule: &Rule| breach(rule, Causality::Streaming, 0.5);
        assert_eq!(breach(&Rule::Identity), None);
        assert_eq!(breach(&Rule::Host(Arc::new(Thirds::Forward))), None);
        let backward = breach(&Rule::Host(Arc::new(Thirds::Backward))).unwrap();
        assert!(backward.contains("into the earlier token"), "{backward}");
        let look_ahead = breach(&Rule::Host(Arc::new(Thirds::LookAhead))).unwrap();
        assert!(look_ahead.contains("change"), "{look_ahead}");
        for name in ["top_k", "drop_suffix", "drop_prefix", "uniform", "tome", "utrc", "utrc_released", "local_merge"] {
            let strategy = Strategy::new(find(name).unwrap().name, &std::collections::BTreeMap::new()).unwrap();
            assert!(breach(&strategy.rule()).is_some(), "{name} would pass as causal");
        }
    }
}

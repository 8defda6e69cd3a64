//! The released variants against values that the released code computed (`golden/tor_pom/README.md`).

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use reduction_strategies::blocks::released::{ReleasedCombine, ReleasedEdges, ReleasedPairs, rank_edges, token_edges};
use reduction_strategies::options::OptionValue;
use reduction_strategies::registry::Strategy;
use reduction_strategies::schedule::n_keep;
use reduction_strategies::{
    Draw, Matrix, Plan, SegmentTokens, SequenceView, SitePlan, SiteStream, TokenTable, plan_site,
};
use safetensors::SafeTensors;
use serde_json::Value;
use ssm_kernels::Segments;
use ssm_model::{Activations, Signals};

const CASES: [&str; 4] = ["n40", "n37", "n40_noclip", "n64"];

struct Golden {
    bytes: Vec<u8>,
    meta: Value,
}

impl Golden {
    fn read() -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tor_pom/");
        let meta = std::fs::read_to_string(format!("{folder}tor_pom.json")).unwrap();
        Self {
            bytes: std::fs::read(format!("{folder}tor_pom.safetensors")).unwrap(),
            meta: serde_json::from_str(&meta).unwrap(),
        }
    }

    fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(name).unwrap();
        let values = tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        (tensor.shape().to_vec(), values)
    }

    fn indices(&self, name: &str) -> Vec<u32> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = file.tensor(name).unwrap().data();
        data.chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()) as u32).collect()
    }
}

/// One recorded case: a batch of sequences of one length.
struct Case {
    name: &'static str,
    batch: usize,
    n: usize,
    columns: usize,
    keep_ratio: f64,
    clip: bool,
    n_remove: usize,
    hidden: Vec<f32>,
    residual: Vec<f32>,
}

impl Case {
    fn read(golden: &Golden, name: &'static str) -> Self {
        let meta = &golden.meta[name];
        let number = |key: &str| meta[key].as_u64().unwrap() as usize;
        let case = Self {
            name,
            batch: number("B"),
            n: number("N"),
            columns: number("D"),
            keep_ratio: meta["ratio"].as_f64().unwrap(),
            clip: meta["metrics"] == "clip",
            n_remove: number("r"),
            hidden: golden.floats(&format!("{name}.hidden")).1,
            residual: golden.floats(&format!("{name}.residual")).1,
        };
        assert_eq!(n_keep(case.keep_ratio, case.n), number("num_keep"));
        case
    }

    fn matrix<'a>(&self, values: &'a [f32], sequence: usize) -> Matrix<'a> {
        let size = self.n * self.columns;
        Matrix { values: &values[sequence * size..(sequence + 1) * size], rows: self.n, columns: self.columns }
    }

    fn with_view<R>(&self, sequence: usize, f: impl FnOnce(&SequenceView<'_>, &[u32]) -> R) -> R {
        let tokens = SegmentTokens::reducible(0, self.n);
        let (hidden, residual) = (self.matrix(&self.hidden, sequence), self.matrix(&self.residual, sequence));
        f(&SequenceView::new(&tokens, hidden, residual, Draw::default()), &tokens.positions)
    }

    fn segments(&self) -> Segments {
        Segments::independent(&vec![self.n; self.batch])
    }

    fn tensor(&self, values: &[f32]) -> Tensor {
        Tensor::from_slice(values, (self.batch * self.n, self.columns), &Device::Cpu).unwrap()
    }

    /// The batch as it leaves layer 12.
    fn with_site<R>(&self, tokens: &TokenTable, f: impl FnOnce(&SiteStream<'_>) -> R) -> R {
        let residual = Some(self.tensor(&self.residual));
        let activations = Activations { hidden: self.tensor(&self.hidden), residual, embeddings: None };
        f(&SiteStream::new(12, tokens, &self.segments(), &activations, &Signals::default()).unwrap())
    }

    /// The plan that a registered strategy makes for the whole batch.
    fn plan(&self, strategy: &str) -> SitePlan {
        let metric = if self.clip { "clip" } else { "none" };
        let options = BTreeMap::from([("metric".to_owned(), OptionValue::Word(metric.to_owned()))]);
        let rule = Strategy::new(strategy, &options).unwrap().rule();
        let table =
            TokenTable::new((0..self.batch).map(|item| SegmentTokens::reducible(item as u64, self.n)).collect());
        self.with_site(&table, |stream| plan_site(&rule, self.keep_ratio, 0, stream).unwrap())
    }

    /// Applies a plan and compares both branches with the recorded results of the rules named.
    fn expect(&self, golden: &Golden, plan: &SitePlan, hidden_rule: &str, residual_rule: &str) {
        let (after, segments) = self.with_site(&TokenTable::default(), |stream| plan.apply(stream).unwrap());
        let residual = after.residual.unwrap();
        for (branch, rule, got) in [("hidden", hidden_rule, after.hidden), ("residual", residual_rule, residual)] {
            let name = format!("{}.{rule}.cut.{branch}", self.name);
            let (shape, expected) = golden.floats(&name);
            assert_eq!(segments.n_tokens(), shape[0] * shape[1], "{name}");
            let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let worst = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(got.len() == expected.len() && worst < 2e-6, "{name}: off by {worst}");
        }
    }

    /// The pairs that the release recorded, per sequence.
    fn recorded_pairs(&self, golden: &Golden, matching: &str) -> Vec<ReleasedPairs> {
        let of = |name| golden.indices(&format!("{}.{matching}.{name}", self.name));
        let (sources, targets) = (of("src_idx"), of("dst_idx"));
        assert_eq!(sources.len(), self.batch * self.n_remove);
        let lists = sources.chunks(self.n_remove).zip(targets.chunks(self.n_remove));
        lists.map(|(sources, targets)| ReleasedPairs { sources: sources.to_vec(), targets: targets.to_vec() }).collect()
    }
}

fn each_case(check: impl Fn(&Golden, &Case)) {
    let golden = Golden::read();
    for name in CASES {
        check(&golden, &Case::read(&golden, name));
    }
}

#[test]
fn evit_keeps_the_lowest() {
    each_case(|golden, case| case.expect(golden, &case.plan("evit_released"), "evit", "evit"));
}

#[test]
fn pumer_merges_the_mixed_up_pairs() {
    each_case(|golden, case| {
        case.expect(golden, &case.plan("pumer_released"), "pumer", "pumer");
        for (sequence, recorded) in case.recorded_pairs(golden, "bipartite_soft_matching").into_iter().enumerate() {
            let pairs = case.with_view(sequence, |view, all| token_edges(view, all, case.clip).unwrap());
            assert_eq!(pairs.strongest(case.n_remove).unwrap(), recorded, "{} sequence {sequence}", case.name);
        }
    });
}

/// Whether some edge outside the choice is as strong as one inside: the release's choice is then its sort's.
fn choice_is_tied(edges: &ReleasedEdges, count: usize) -> bool {
    let mut strengths = edges.similarity.clone();
    strengths.sort_unstable_by(|a, b| b.total_cmp(a));
    strengths.get(count).is_some_and(|next| *next >= strengths[count - 1])
}

#[test]
fn ranks_are_matched_as_released_up_to_ties() {
    each_case(|golden, case| {
        for matching in ["bipartite_hybrid_merge", "bipartite_hybrid_pure", "bipartite_hybrid_prune"] {
            for (sequence, recorded) in case.recorded_pairs(golden, matching).into_iter().enumerate() {
                let what = format!("{} {matching} sequence {sequence}", case.name);
                let edges = case.with_view(sequence, |view, all| rank_edges(view, all, case.clip).unwrap());
                let ours = edges.strongest(case.n_remove).unwrap();
                if !choice_is_tied(&edges, case.n_remove) {
                    assert_eq!(ours, recorded, "{what}");
                }
                assert_eq!(ours.targets, recorded.targets, "{what}");
                let strengths = |sources: &[u32]| {
                    let mut all: Vec<f32> = sources.iter().map(|source| edges.similarity[*source as usize]).collect();
                    all.sort_unstable_by(f32::total_cmp);
                    all
                };
                assert_eq!(strengths(&ours.sources), strengths(&recorded.sources), "{what}");
                if case.clip {
                    let first: Vec<u32> = (0..case.n_remove as u32).collect();
                    assert_eq!(ours.sources, first, "{what}: the even prefix");
                    assert!(ours.targets.iter().all(|target| *target == 0), "{what}: all into place 1");
                }
            }
        }
    });
}

#[test]
fn hybrid_and_merge_give_the_released_values_for_the_released_pairs() {
    use ReleasedCombine::{Hybrid, Mean};
    each_case(|golden, case| {
        let combinations = [
            (Hybrid, Mean, "hybrid", "merge_only"),
            (Mean, Hybrid, "merge_only", "hybrid"),
            (Hybrid, Hybrid, "hybrid", "hybrid"),
        ];
        for (hidden, residual, hidden_rule, residual_rule) in combinations {
            let all: Vec<u32> = (0..case.n as u32).collect();
            let plan = |pairs: ReleasedPairs| -> Option<Plan> { pairs.plan(case.n, &all, hidden, residual).ok() };
            let plans = case.recorded_pairs(golden, "bipartite_hybrid_pure").into_iter().map(plan).collect();
            case.expect(golden, &SitePlan { plans }, hidden_rule, residual_rule);
        }
    });
}

#[test]
fn the_strategy_gives_the_released_values_where_no_tie_decides() {
    // Of the recorded cases only this one has no choice between equally strong edges in any of its sequences.
    let golden = Golden::read();
    let case = Case::read(&golden, "n40_noclip");
    case.expect(&golden, &case.plan("utrc_released"), "hybrid", "merge_only");
}

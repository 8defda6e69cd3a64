//! Plans made on a GPU against those of the host, for every registered strategy. Needs a GPU: `just test-gpu`.
#![cfg(feature = "cuda")]

use candle_core::{Device, Tensor};
use reduction_strategies::interpret::gpu::{self, Decided, GpuTokens};
use reduction_strategies::laws::cases::{KINDS, Kind, Sequence, Stream, strategies};
use reduction_strategies::{Rule, SegmentTokens, SiteStream, plan_site};
use ssm_kernels::ops::reduction::Reduced;
use ssm_kernels::{KernelError, device, host};
use ssm_model::{RowTime, Signal, SignalSet};

/// No longer: among many vectors of few dimensions some are as good as parallel, and their order is a matter of rounding.
const LENGTHS: [usize; 7] = [1, 2, 3, 36, 0, 65, 130];
/// At 0.2 pairing takes several rounds.
const RATIOS: [f64; 5] = [0.2, 0.5, 0.9, 0.9729, 1.0];

fn there(tensor: &Tensor, gpu: &Device) -> Tensor {
    tensor.to_device(gpu).unwrap()
}

fn close(want: &Tensor, got: &Tensor, what: &str) {
    let got = host::copy(got).unwrap();
    assert_eq!(want.dims(), got.dims(), "{what}");
    let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (want, got) in values(want).into_iter().zip(values(&got)) {
        assert!((want - got).abs() <= 1e-5 * want.abs().max(1.0), "{what}: {want} {got}");
    }
}

#[test]
#[ignore = "needs a GPU"]
fn plans_equal_those_of_the_host() {
    let gpu = device::open_cuda(0).unwrap();
    let mut wrong: Vec<String> = Vec::new();
    for kind in KINDS {
        let sequences: Vec<Sequence> = LENGTHS
            .iter()
            .enumerate()
            .map(|(item, n)| {
                let sequence = Sequence::new(item as u64, *n, kind);
                if item % 2 == 0 { sequence.protect(5) } else { sequence }
            })
            .collect();
        let mut stream = Stream::of(&sequences.iter().collect::<Vec<_>>());
        // Rows that stand for several tokens already, by the factors of an earlier site.
        for segment in &mut stream.table.segments {
            for (row, time) in segment.times.iter_mut().enumerate() {
                *time = RowTime { decay: 1.0 + (row % 3) as f32, write: 1.0 + 0.5 * (row % 4) as f32 };
            }
        }
        // One that no rule may touch, between others.
        stream.table.segments[3] = SegmentTokens::fixed(3, 0, LENGTHS[3]);
        let (hidden, residual) = (there(&stream.hidden, &gpu), there(&stream.residual, &gpu));
        let copied = stream.signals.select(SignalSet::ALL, |_, tensor| Ok::<_, KernelError>(there(tensor, &gpu)));
        let signals = copied.unwrap();
        let tokens = GpuTokens::new(&stream.table, &gpu).unwrap();
        for strategy in strategies() {
            for keep_ratio in RATIOS {
                let rule = strategy.rule();
                // Similarities that are equal on paper round differently on each side.
                if kind == Kind::Tied && matches!(rule, Rule::Pair(_) | Rule::Host(_)) {
                    continue;
                }
                // Clipped rows with one value above zero are parallel; late rounds decide among them.
                if keep_ratio < 0.5 && matches!(&rule, Rule::Pair(pair) if pair.features.clip) {
                    continue;
                }
                let what = format!("{strategy:?} {kind:?} {keep_ratio}");
                let there = SiteStream { hidden: &hidden, residual: &residual, signals: &signals, ..stream.site() };
                let want = plan_site(&rule, keep_ratio, 7, &stream.site()).unwrap();
                let got = plan_site(&rule, keep_ratio, 7, &there).unwrap();
                assert_eq!(want, got, "{what}: planned on the host from the GPU's values");
                let (wanted, shortened) = want.apply(&stream.site()).unwrap();
                let (got, _) = want.apply(&there).unwrap();
                let (want_hidden, want_residual) = (wanted.hidden, wanted.residual.unwrap());
                close(&want_hidden, &got.hidden, &what);
                close(&want_residual, &got.residual.unwrap(), &what);
                if !gpu::plans_on_gpu(&rule) {
                    continue;
                }
                let arguments = there.with_tokens(&tokens);
                let Some(reduced) = gpu::reduce(&rule, keep_ratio, &arguments).unwrap() else {
                    assert!(want.is_identity(), "{what}");
                    continue;
                };
                assert_eq!(reduced.segments, shortened, "{what}");
                let lengths: Vec<usize> = (0..shortened.len()).map(|index| shortened.length(index)).collect();
                let read = |reduced: &Reduced| {
                    let decided =
                        Decided::read(&reduced.rows, reduced.merges, &reduced.faults, reduced.times.as_ref(), None)
                            .unwrap();
                    decided.site_plan(&lengths, &stream.segments, &tokens.protected).unwrap()
                };
                let got = read(&reduced);
                if want != got {
                    wrong.push(format!("{what}\n  host {want:?}\n  GPU  {got:?}"));
                    continue;
                }
                close(&want_hidden, &reduced.rows.apply(&hidden, &reduced.rows.hidden).unwrap(), &what);
                close(&want_residual, &reduced.rows.apply(&residual, &reduced.rows.residual).unwrap(), &what);
                let after = stream.table.apply(&want).unwrap();
                let sizes: Vec<f32> = after.segments.iter().flat_map(|segment| segment.sizes.clone()).collect();
                assert_eq!(sizes, reduced.tokens.sizes.to_vec1::<f32>().unwrap(), "{what}: sizes");
                let flags: Vec<u8> =
                    after.segments.iter().flat_map(|segment| segment.protected.iter().map(|p| u8::from(*p))).collect();
                assert_eq!(flags, reduced.tokens.protected.to_vec1::<u8>().unwrap(), "{what}: protection");
                let times: Vec<f32> = after
                    .segments
                    .iter()
                    .flat_map(|segment| segment.times.iter().flat_map(|time| [time.decay, time.write]))
                    .collect();
                let there = tokens.after(&reduced).unwrap().times.unwrap().flatten_all().unwrap();
                assert_eq!(times, there.to_vec1::<f32>().unwrap(), "{what}: factors on the step sizes");
                let again = gpu::reduce(&rule, keep_ratio, &arguments).unwrap().unwrap();
                assert_eq!(got, read(&again), "{what}: the same twice");
            }
        }
    }
    assert!(wrong.is_empty(), "{} plans differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// What is planned on the host, whatever its options: places and chance, which need no values; free counts, which nobody knows before the values.
const ON_THE_HOST: [&str; 9] = [
    "block_causal_random",
    "dense",
    "drop_prefix",
    "drop_suffix",
    "ltmp_thresholds",
    "random",
    "random_runs",
    "top_p",
    "uniform",
];

/// Metrics that run the model.
const METRICS_OF_THE_HOST: [&str; 1] = ["oracle"];

/// What `utrc_steps` does as the release does it; without them it is data for the interpreter.
const STEPS_OF_THE_HOST: [&str; 4] = ["mixed", "ranks", "channels", "half"];

/// Values of options that are controls, for which there is no kernel.
const CONTROLS_OF_THE_HOST: [&str; 2] = ["write_swapped", "read_swapped"];

/// What `recent` asks of the host to choose among the older tokens: places.
const OLDER_OF_THE_HOST: [&str; 1] = ["uniform"];

/// No GPU is needed: a strategy that falls back to the host is noticed wherever this compiles.
#[test]
fn every_other_strategy_plans_on_the_gpu() {
    for strategy in strategies() {
        let of_the_host = ON_THE_HOST.contains(&strategy.registration.name)
            || strategy.options.iter().any(|(_, value)| {
                let value = value.to_string();
                METRICS_OF_THE_HOST.contains(&value.as_str())
                    || CONTROLS_OF_THE_HOST.contains(&value.as_str())
                    || (strategy.registration.name == "utrc_steps" && STEPS_OF_THE_HOST.contains(&value.as_str()))
                    || (strategy.registration.name == "recent" && OLDER_OF_THE_HOST.contains(&value.as_str()))
            });
        assert_eq!(gpu::plans_on_gpu(&strategy.rule()), !of_the_host, "{strategy:?}");
    }
}

/// A rule that plans on the GPU refuses what is no number there, too: nothing is read back until the plan is.
#[test]
#[ignore = "needs a GPU"]
fn what_is_no_number_is_noted_on_the_gpu() {
    let gpu = device::open_cuda(0).unwrap();
    let sequences = [Sequence::new(0, 36, Kind::Plain), Sequence::new(1, 65, Kind::Plain)];
    let stream = Stream::of(&sequences.iter().collect::<Vec<_>>());
    let tokens = GpuTokens::new(&stream.table, &gpu).unwrap();
    let spoil = |tensor: &Tensor, value: Option<f32>| {
        let mut rows = tensor.to_vec2::<f32>().unwrap();
        if let Some(value) = value {
            rows[36 + 9][1] = value;
        }
        Tensor::new(rows, &gpu).unwrap()
    };
    for strategy in strategies() {
        let rule = strategy.rule();
        if !gpu::plans_on_gpu(&rule) {
            continue;
        }
        let values = [None, Some(f32::NAN), Some(f32::INFINITY)];
        for (value, keep_ratio) in values.into_iter().flat_map(|value| [(value, 0.6), (value, 0.2)]) {
            // The influence has one column, and no rule that plans here reads it.
            let read = SignalSet::ALL.without(SignalSet::of(&[Signal::Influence]));
            let spoiled = stream.signals.select(read, |signal, tensor| {
                Ok::<_, KernelError>(if signal == Signal::Scan { there(tensor, &gpu) } else { spoil(tensor, value) })
            });
            let signals = spoiled.unwrap();
            let (hidden, residual) = (spoil(&stream.hidden, value), spoil(&stream.residual, value));
            let arguments = SiteStream { hidden: &hidden, residual: &residual, signals: &signals, ..stream.site() };
            let arguments = arguments.with_tokens(&tokens);
            let reduced = gpu::reduce(&rule, keep_ratio, &arguments).unwrap().unwrap();
            let decided =
                Decided::read(&reduced.rows, reduced.merges, &reduced.faults, reduced.times.as_ref(), None).unwrap();
            let checked = decided.check(|segment, row| stream.table.segments[segment].positions[row]);
            assert_eq!(checked.is_err(), value.is_some(), "{strategy:?} {value:?} {keep_ratio}: {checked:?}");
        }
    }
}

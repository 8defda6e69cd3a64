//! Factors of step sizes: what a layer does with them, on trained models of both kinds.

mod common;

use candle_core::Tensor;
use common::{bits, golden, open, trained};
use hint::Hint;
use ssm_kernels::Segments;
use ssm_model::{LanguageModel, LayerOutput, LayerRequest, LayerState, ModelError, RowTime, Signal, SignalSet, Times};

const MODELS: [&str; 2] = ["mamba-world", "mamba2-world"];
const LAYER: usize = 5;

fn run(model: &LanguageModel, tokens: &[u32], initial: Option<&LayerState>, time: Option<&[RowTime]>) -> LayerOutput {
    let activations = model.embed(tokens).unwrap();
    let signals = SignalSet::of(&[Signal::Dt, Signal::B]);
    let time = time.map(Times::Host);
    let request = LayerRequest { initial, time, states: true, signals, ..LayerRequest::default() };
    model.layer(LAYER, &activations, &Segments::independent(&[tokens.len()]), request).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn ssm(output: &LayerOutput) -> Vec<f32> {
    ssm_of(output.state.as_ref().unwrap())
}

fn ssm_of(state: &LayerState) -> Vec<f32> {
    match state {
        LayerState::Recurrent(state) | LayerState::Both(state, _) => values(&state.ssm),
        LayerState::Attention(_) | LayerState::Stateless => panic!("no state of a scan"),
    }
}

fn close(want: f32, got: f32, scale: f32) {
    assert!((want - got).abs() <= 2e-5 * scale.max(want.abs()), "{want} {got}");
}

#[test]
fn factors_of_one_change_no_bit() {
    for name in MODELS {
        let (model, _) = trained(name);
        let tokens = [3, 17, 400, 9, 9, 1000, 2];
        let (plain, timed) = (run(&model, &tokens, None, None), run(&model, &tokens, None, Some(&[RowTime::ONE; 7])));
        assert!(bits(&plain.activations.hidden) == bits(&timed.activations.hidden), "{name}");
        assert_eq!(ssm(&plain), ssm(&timed), "{name}");
    }
}

/// From an empty state, the state after a single row is its write and nothing else.
#[test]
fn the_write_is_multiplied_and_the_signals_are_not() {
    for name in MODELS {
        let (model, _) = trained(name);
        let plain = run(&model, &[17], None, None);
        let timed = run(&model, &[17], None, Some(&[RowTime { decay: 2.0, write: 3.0 }]));
        let (once, thrice) = (ssm(&plain), ssm(&timed));
        let scale = once.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        for (once, thrice) in once.iter().zip(&thrice) {
            close(3.0 * once, *thrice, scale);
        }
        let shown = |output: &LayerOutput| {
            (values(output.signals.get(Signal::Dt).unwrap()), values(output.signals.get(Signal::B).unwrap()))
        };
        assert_eq!(shown(&plain), shown(&timed), "{name}");
    }
}

/// With next to no write, decaying for two steps is decaying twice.
#[test]
fn the_decay_lasts_as_long_as_it_says() {
    for name in MODELS {
        let (model, _) = trained(name);
        let before = run(&model, &[5, 80, 33, 761], None, None).state.unwrap();
        let after = |decay| ssm(&run(&model, &[17], Some(&before), Some(&[RowTime { decay, write: 1e-20 }])));
        let (before, once, twice) = (ssm_of(&before), after(1.0), after(2.0));
        let scale = before.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let mut decayed = 0;
        for ((before, once), twice) in before.iter().zip(&once).zip(&twice) {
            close(once * once, before * twice, scale * scale);
            decayed += usize::from(once.abs() < 0.99 * before.abs());
        }
        assert!(decayed > 0, "{name}");
    }
}

/// In Falcon-H1 a scan and attention read the same rows: the factors are for the scan, and attention has nothing to stretch.
#[test]
fn attention_beside_a_scan_takes_no_factors() {
    let model = open(&golden("falcon_h1").dialects[0].1);
    let activations = model.embed(&[5, 6, 7, 8]).unwrap();
    let segments = Segments::independent(&[4]);
    let run = |time: Option<&[RowTime]>| {
        model
            .layer(
                1,
                &activations,
                &segments,
                LayerRequest { time: time.map(Times::Host), states: true, ..LayerRequest::default() },
            )
            .unwrap()
    };
    let (plain, ones) = (run(None), run(Some(&[RowTime::ONE; 4])));
    assert!(bits(&plain.activations.hidden) == bits(&ones.activations.hidden));
    let long = run(Some(&[RowTime { decay: 2.0, write: 2.0 }; 4]));
    assert_ne!(ssm(&plain), ssm(&long));
    let keys = |output: &LayerOutput| values(&output.state.as_ref().unwrap().cache().unwrap().segments[0].keys);
    assert_eq!(keys(&plain), keys(&long));
}

#[test]
fn impossible_factors_are_refused() {
    let (model, _) = trained(MODELS[0]);
    let activations = model.embed(&[1, 2]).unwrap();
    for times in [vec![RowTime::ONE], vec![RowTime::ONE, RowTime { decay: 0.0, write: 1.0 }]] {
        let request = LayerRequest { time: Some(Times::Host(&times)), ..LayerRequest::default() };
        let refused = model.layer(0, &activations, &Segments::independent(&[2]), request).map(|_| ()).unwrap_err();
        assert!(matches!(refused, ModelError::Time { rows: 2, .. }) && refused.hint().is_some(), "{refused}");
    }
}

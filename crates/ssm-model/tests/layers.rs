//! What is asked per layer, of a model whose layers are of two kinds.

mod common;

use common::{hybrid, trained};
use ssm_kernels::Segments;
use ssm_model::{LayerRequest, LayerState, ModelError, RowTime, Signal, SignalSet, Times};

#[test]
fn every_layer_answers_for_itself() {
    let model = hybrid();
    let config = model.config();
    let kinds: Vec<_> = config.layers.iter().map(ssm_model::LayerConfig::kind).collect();
    assert_eq!((config.n_layer(), kinds), (4, vec!["Mamba-2", "Mamba-2", "attention", "Mamba-2"]));
    let (mamba, attention) = (&config.layers[1], &config.layers[2]);
    assert_eq!((mamba.d_inner(64), mamba.dt_width(64)), (128, 8));
    assert_eq!((attention.d_inner(64), attention.dt_width(64)), (64, 0));
    assert!(attention.uses_positions() && !mamba.uses_positions() && config.uses_positions());
    assert_eq!(config.signals([0, 1, 3]), SignalSet::ALL);
    assert_eq!(config.signals([1, 2]), SignalSet::of(&[Signal::SsmOutput, Signal::Influence]));
    assert!(config.signals([]).is_empty() && config.signals([3, 4]).is_empty(), "no layer, none that is not there");
}

#[test]
fn costs_are_summed_over_layers() {
    let model = hybrid();
    let config = model.config();
    let (mamba, attention) = (&config.layers[0], &config.layers[2]);
    // Query, key, value, output; up and down.
    assert_eq!(attention.flops_per_token(64), 8 * 64 * 64 + 4 * 64 * 96);
    assert_eq!(config.flops_per_token(), 3 * mamba.flops_per_token(64) + attention.flops_per_token(64));
    assert_eq!((mamba.attention_flops_per_pair(64), config.attention_flops_per_pair()), (0, 4 * 64));
}

#[test]
fn weights_are_those_of_each_kind() {
    let model = hybrid();
    let names: Vec<String> = model.config().weights().into_iter().map(|weight| weight.name).collect();
    let of = |layer: usize| {
        let prefix = format!("backbone.layers.{layer}.");
        let mut own: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix(&prefix)).collect();
        own.sort_unstable();
        own
    };
    let attention = [
        "mixer.dense.weight",
        "mixer.query_key_value.weight",
        "mlp.dense_4h_to_h.bias",
        "mlp.dense_4h_to_h.weight",
        "mlp.dense_h_to_4h.bias",
        "mlp.dense_h_to_4h.weight",
        "norm.weight",
        "norm2.weight",
    ];
    assert_eq!(of(2), attention);
    assert!(of(1).contains(&"mixer.A_log") && !of(1).contains(&"norm2.weight"));
}

#[test]
fn a_layer_shows_and_carries_what_its_kind_has() {
    let model = hybrid();
    let segments = Segments::independent(&[5]);
    let mut activations = model.embed(&[1, 2, 3, 4, 5]).unwrap();
    for (layer, config) in model.config().layers.iter().enumerate() {
        let request = LayerRequest { signals: SignalSet::ALL, states: true, ..LayerRequest::default() };
        let output = model.layer(layer, &activations, &segments, request).unwrap();
        for signal in SignalSet::ALL.iter().filter(|signal| !matches!(signal, Signal::Scan | Signal::Influence)) {
            let shown = output.signals.get(signal).is_some();
            assert_eq!(shown, config.signals().contains(signal), "layer {layer} shows {signal}");
        }
        let recurrent = matches!(output.state, Some(LayerState::Recurrent(_)));
        assert_eq!((recurrent, output.signals.scan().is_some()), (layer != 2, layer != 2));
        let time = [RowTime::ONE; 5];
        let timed = LayerRequest { time: Some(Times::Host(&time)), ..LayerRequest::default() };
        let timed = model.layer(layer, &activations, &segments, timed);
        assert_eq!(matches!(timed, Err(ModelError::NoScan)), layer == 2, "layer {layer}");
        activations = output.activations;
    }
}

/// From an empty state the scan gives the first row `C dt B x` and nothing else.
#[test]
fn the_scan_output_is_what_the_state_gives() {
    for name in ["mamba-world", "mamba2-world"] {
        let (model, _) = trained(name);
        let activations = model.embed(&[17]).unwrap();
        let signals = SignalSet::ALL.without(SignalSet::of(&[Signal::Influence]));
        let request = LayerRequest { signals, ..LayerRequest::default() };
        let shown = model.layer(5, &activations, &Segments::independent(&[1]), request).unwrap().signals;
        let row = |signal| shown.get(signal).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (y, scan, x, dt) = (row(Signal::SsmOutput), row(Signal::ScanOutput), row(Signal::X), row(Signal::Dt));
        let read: f32 = row(Signal::B).iter().zip(row(Signal::C)).map(|(b, c)| b * c).sum();
        let largest = scan.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        for (channel, got) in scan.iter().enumerate() {
            let want = read * dt[channel * dt.len() / x.len()] * x[channel];
            assert!((want - got).abs() <= 1e-5 * largest.max(y[channel].abs()), "{name} {channel}: {want} {got}");
        }
        assert!(
            largest > 0.0 && y.iter().zip(&scan).any(|(y, scan)| (y - scan).abs() > 0.1 * largest),
            "{name}: a skip"
        );
    }
}

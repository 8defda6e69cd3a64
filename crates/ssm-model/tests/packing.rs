//! Packed equals alone, prefill equals steps, children equal whole sequences: on trained models, bit for bit where the
//! seams promise it.

mod common;

use common::{bits, largest_difference, logits, trained};
use ssm_kernels::Segments;

const MODELS: [&str; 2] = ["mamba-world", "mamba2-world"];

/// Some token ids, different for every seed.
fn tokens(seed: u32, length: usize) -> Vec<u32> {
    (0..length as u32).map(|index| (index.wrapping_mul(2_654_435_761).wrapping_add(seed * 977) >> 7) % 1100).collect()
}

#[test]
fn a_sequence_alone_equals_the_same_sequence_packed_bit_for_bit() {
    for name in MODELS {
        let (model, _) = trained(name);
        let lengths = [1, 2, 63, 64, 65, 3, 200];
        let rows: Vec<Vec<u32>> = lengths.iter().zip(0..).map(|(length, seed)| tokens(seed, *length)).collect();
        let (packed, packed_state) = logits(&model, &rows.concat(), &Segments::independent(&lengths), None);
        let mut start = 0;
        for (index, row) in rows.iter().enumerate() {
            let (alone, state) = logits(&model, row, &Segments::independent(&[row.len()]), None);
            let part = packed.narrow(0, start, row.len()).unwrap();
            assert!(bits(&part) == bits(&alone), "{name}: logits of length {}", row.len());
            let selected = packed_state.select(&[index as u32]).unwrap();
            for (layer, (a, b)) in selected.0.iter().zip(&state.0).enumerate() {
                assert!(bits(&a.conv) == bits(&b.conv), "{name}: conv state {layer}");
                assert!(bits(&a.ssm) == bits(&b.ssm), "{name}: ssm state {layer}");
            }
            start += row.len();
        }
    }
}

#[test]
fn prefill_equals_stepping() {
    for name in MODELS {
        let (model, _) = trained(name);
        let row = tokens(3, 130);
        let (whole, _) = logits(&model, &row, &Segments::independent(&[130]), None);
        let (_, mut state) = model.prefill(&row[..1], &Segments::independent(&[1]), None).unwrap();
        for (index, token) in row.iter().enumerate().skip(1) {
            let (step, next) = model.step(&[*token], &state).unwrap();
            state = next;
            let difference = largest_difference(&whole.narrow(0, index, 1).unwrap(), &step);
            assert!(difference < 2e-4, "{name} token {index}: {difference}");
        }
    }
}

#[test]
fn a_child_continues_its_parent() {
    for name in MODELS {
        let (model, _) = trained(name);
        let (parent, child) = (tokens(5, 70), tokens(6, 20));
        let whole = [parent.as_slice(), &child].concat();
        let (want, _) = logits(&model, &whole, &Segments::independent(&[90]), None);
        // Two children of one parent in one call, and the same child from a stored state.
        let stream = [parent.as_slice(), &child, &child].concat();
        let forked = Segments::new(&[70, 20, 20], &[None, Some(0), Some(0)]).unwrap();
        let (forked, _) = logits(&model, &stream, &forked, None);
        let (_, state) = model.prefill(&parent, &Segments::independent(&[70]), None).unwrap();
        let (stored, _) = logits(&model, &child, &Segments::independent(&[20]), Some(&state));
        let first = forked.narrow(0, 70, 20).unwrap();
        assert!(bits(&first) == bits(&forked.narrow(0, 90, 20).unwrap()), "{name}: siblings");
        assert!(bits(&first) == bits(&stored), "{name}: stored state");
        let difference = largest_difference(&want.narrow(0, 70, 20).unwrap(), &first);
        assert!(difference < 2e-4, "{name}: {difference}");
    }
}

#[test]
fn a_token_outside_the_vocabulary_is_refused() {
    let (model, _) = trained("mamba2-world");
    let error = model.embed(&[3, 1104]).unwrap_err();
    assert_eq!(error.to_string(), "token 1104 is outside the vocabulary of 1104");
    assert_eq!(error.hint().unwrap(), "the tokenizer does not fit this checkpoint");
}

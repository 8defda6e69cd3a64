//! The norm of one row, for every operation that normalises. Inlined into bodies compiled for wide instructions.

/// RMSNorm of one row.
#[inline(always)]
pub(super) fn normalise(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let scale = rms_scale(x, eps);
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * weight;
    }
}

/// `1 / sqrt(mean(x^2) + eps)`.
#[inline(always)]
pub(super) fn rms_scale(x: &[f32], eps: f32) -> f32 {
    scale_of(sum_of_squares(x), x.len() as f32, eps)
}

/// `1 / sqrt(squares / count + eps)`; NaN where the sum of squares overflowed: a scale of 0 would turn such a row
/// into zeros that look like a result.
#[inline(always)]
pub(super) fn scale_of(squares: f32, count: f32, eps: f32) -> f32 {
    if squares.is_infinite() { f32::NAN } else { 1.0 / (squares / count + eps).sqrt() }
}

/// Sum of squares over 16 interleaved partial sums: a fixed order that vector units can follow.
#[inline(always)]
fn sum_of_squares(x: &[f32]) -> f32 {
    let mut partial = [0.0_f32; 16];
    let chunks = x.chunks_exact(16);
    let rest: f32 = chunks.remainder().iter().map(|x| x * x).sum();
    for chunk in chunks {
        for (partial, x) in partial.iter_mut().zip(chunk) {
            *partial = x.mul_add(*x, *partial);
        }
    }
    partial.iter().sum::<f32>() + rest
}

/// `LayerNorm` of one row; the deviations from the mean are squared in a second pass, which loses no digits.
#[inline(always)]
pub(super) fn standardise(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let count = x.len() as f32;
    let mean = sum(x, |value| value) / count;
    let scale = scale_of(sum(x, |value| (value - mean) * (value - mean)), count, eps);
    for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        *out = ((x - mean) * scale).mul_add(*weight, *bias);
    }
}

/// Sum of a function of the values over 16 interleaved partial sums: a fixed order that vector units can follow.
#[inline(always)]
fn sum(x: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut partial = [0.0_f32; 16];
    let chunks = x.chunks_exact(16);
    let rest: f32 = chunks.remainder().iter().map(|value| of(*value)).sum();
    for chunk in chunks {
        for (partial, value) in partial.iter_mut().zip(chunk) {
            *partial += of(*value);
        }
    }
    partial.iter().sum::<f32>() + rest
}

//! Weights made up from a seed: for measuring speed without a download.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::checkpoint::error::CheckpointError;
use crate::loader::WeightSource;

/// Weights of any shape, spread as training starts with them, so that activations stay in a range that kernels meet.
///
/// A value depends on the seed, the name of its weight and its place in it.
#[derive(Clone, Copy, Debug)]
pub struct RandomWeights {
    /// Seed of all weights.
    pub seed: u64,
}

impl WeightSource for RandomWeights {
    fn take(&mut self, canonical_name: &str, shape: &[usize]) -> Result<Tensor, CheckpointError> {
        let stream = canonical_name.bytes().fold(self.seed, |stream, byte| mix(stream ^ u64::from(byte)));
        let fan_in = shape[1..].iter().product::<usize>().max(1) as f32;
        let values = spread(canonical_name, fan_in, Draws { stream, shape });
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }
}

/// The uniform numbers of a weight.
#[derive(Clone, Copy)]
struct Draws<'a> {
    stream: u64,
    shape: &'a [usize],
}

impl Draws<'_> {
    /// Values made of a uniform number in 0..1 and the column each.
    fn by_column(&self, value: impl Fn(f32, usize) -> f32 + Sync + Send) -> Vec<f32> {
        let last = self.shape.last().copied().unwrap_or(1);
        self.indexed(|index| value(uniform(self.stream, index), index % last))
    }

    /// Values made of a uniform number in 0..1 each.
    fn each(&self, value: impl Fn(f32) -> f32 + Sync + Send) -> Vec<f32> {
        self.indexed(|index| value(uniform(self.stream, index)))
    }

    fn indexed(&self, value: impl Fn(usize) -> f32 + Sync + Send) -> Vec<f32> {
        let count: usize = self.shape.iter().product();
        (0..count).into_par_iter().map(value).collect()
    }
}

/// The values of a weight of this name.
fn spread(name: &str, fan_in: f32, draws: Draws) -> Vec<f32> {
    let bound = fan_in.sqrt().recip();
    if name.ends_with("A_log") {
        // Mamba: ln(1), ln(2), ... over the states; Mamba-2: between ln(1) and ln(16), one per head.
        if fan_in > 1.0 {
            draws.by_column(|_, column| ((column + 1) as f32).ln())
        } else {
            draws.each(|u| (1.0 + 15.0 * u).ln())
        }
    } else if name.ends_with("dt_bias") || name.ends_with("dt_proj.bias") {
        // The inverse softplus of step sizes between 0.001 and 0.1, evenly on a log scale.
        draws.each(|u| (0.001_f32 * 100.0_f32.powf(u)).exp_m1().ln())
    } else if (name.starts_with("gpt_neox.") && name.rsplit('.').next() == Some("bias"))
        || name.ends_with("in_proj.bias")
        || name.ends_with("out_proj.bias")
    {
        draws.each(|u| 0.04 * (u - 0.5))
    } else if name.rsplit('.').next() == Some("D") || name.contains("norm") {
        draws.each(|u| 0.9 + 0.2 * u)
    } else if ["embedding.weight", "lm_head.weight", "embed_in.weight", "embed_out.weight"]
        .iter()
        .any(|end| name.ends_with(end))
    {
        draws.each(|u| 0.04 * (u - 0.5))
    } else {
        draws.each(|u| bound * (2.0 * u - 1.0))
    }
}

/// A number in 0..1 with 24 random bits.
fn uniform(stream: u64, index: usize) -> f32 {
    (mix(stream.wrapping_add(index as u64)) >> 40) as f32 / (1_u64 << 24) as f32
}

/// The finaliser of `SplitMix64` (Steele et al. 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(name: &str, shape: &[usize], seed: u64) -> Vec<f32> {
        RandomWeights { seed }.take(name, shape).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn values_follow_seed_and_name_and_fill_their_range() {
        let first = values("a.out_proj.weight", &[64, 100], 1);
        assert_eq!(first, values("a.out_proj.weight", &[64, 100], 1));
        assert_ne!(first, values("a.out_proj.weight", &[64, 100], 2));
        assert_ne!(first, values("b.out_proj.weight", &[64, 100], 1));
        let mean: f32 = first.iter().sum::<f32>() / 6400.0;
        assert!(mean.abs() < 0.003 && first.iter().all(|value| value.abs() <= 0.1), "{mean}");
        assert!(first.iter().any(|value| *value > 0.095) && first.iter().any(|value| *value < -0.095));
    }

    #[test]
    fn norms_and_biases_of_a_transformer_are_those_of_training() {
        let of = |name: &str| values(&format!("gpt_neox.layers.0.{name}"), &[1000], 0);
        assert!(of("input_layernorm.weight").iter().all(|weight| (0.9..=1.1).contains(weight)));
        for name in ["input_layernorm.bias", "attention.query_key_value.bias", "mlp.dense_h_to_4h.bias"] {
            assert!(of(name).iter().all(|bias| bias.abs() <= 0.02), "{name}");
        }
    }

    #[test]
    fn decays_and_steps_are_those_of_training() {
        assert_eq!(values("x.A_log", &[2, 3], 0), [0.0, 2.0_f32.ln(), 3.0_f32.ln(), 0.0, 2.0_f32.ln(), 3.0_f32.ln()]);
        let steps = values("x.dt_bias", &[1000], 0);
        assert!(steps.iter().all(|bias| (0.00099..0.101).contains(&bias.exp().ln_1p())));
    }
}

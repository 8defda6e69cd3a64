//! Elementary functions that compilers can vectorise, and dispatch to the widest instructions of the machine.
//!
//! The standard library's `exp` and `ln` are calls, which keep a loop scalar. These are branch-free polynomials with a
//! relative error of a few 1e-7 over the range that activations and decays live in.

/// Runs `op` compiled for the widest vector instructions that this processor has.
#[inline]
pub(crate) fn dispatch<R>(op: impl FnOnce() -> R) -> R {
    struct Op<F>(F);
    impl<R, F: FnOnce() -> R> pulp::NullaryFnOnce for Op<F> {
        type Output = R;
        #[inline(always)]
        fn call(self) -> R {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Op(op))
}

/// `e^x`, clamped to the normal float32 range (so `exp(-inf)` is about 1e-38, not 0).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves the rounded exponent in the low bits of the sum: no conversion instruction needed.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let exponent = shifted - ROUND;
    // ln 2 in two parts keeps the reduced argument exact.
    let r = exponent.mul_add(-0.693_359_4, x);
    let r = exponent.mul_add(2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4_f32;
    p = p.mul_add(r, 1.398_199_9e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 0.5);
    let value = (p * r).mul_add(r, r) + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    value * power
}

/// Natural logarithm of a positive normal number.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    // Split into 2^e * m with m in [sqrt(1/2), sqrt(2)).
    let offset = bits.wrapping_sub(0x3f35_04f3);
    let exponent = ((offset.cast_signed()) >> 23) as f32;
    let m = f32::from_bits((offset & 0x007f_ffff).wrapping_add(0x3f35_04f3)) - 1.0;
    let z = m * m;
    let mut p = 7.037_683_6e-2_f32;
    p = p.mul_add(m, -1.151_461e-1);
    p = p.mul_add(m, 1.167_699_9e-1);
    p = p.mul_add(m, -1.242_014_1e-1);
    p = p.mul_add(m, 1.424_932_3e-1);
    p = p.mul_add(m, -1.666_805_7e-1);
    p = p.mul_add(m, 2.000_071_5e-1);
    p = p.mul_add(m, -2.499_999_4e-1);
    p = p.mul_add(m, 3.333_333e-1);
    let mut y = p * m * z;
    y = exponent.mul_add(-2.121_944_4e-4, y);
    y = z.mul_add(-0.5, y);
    exponent.mul_add(0.693_359_4, m + y)
}

/// `x * sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `ln(1 + e^x)`, and `x` itself above 20 as in `selective_scan_fwd_kernel.cuh` of state-spaces/mamba.
#[inline(always)]
pub(crate) fn softplus(x: f32) -> f32 {
    let e = exp(x.min(20.0));
    // Kahan's form of log1p: exact for tiny `e`, where 1 + e loses it.
    let u = 1.0 + e;
    let d = u - 1.0;
    let log1p = if d == 0.0 { e } else { ln(u) * (e / d) };
    if x > 20.0 { x } else { log1p }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst_relative_error(f: impl Fn(f32) -> f32, reference: impl Fn(f64) -> f64, from: f32, to: f32) -> f64 {
        (0..=20_000_u16)
            .map(|step| from + (to - from) * f32::from(step) / 20_000.0)
            .map(|x| (f64::from(f(x)) - reference(f64::from(x))).abs() / reference(f64::from(x)).abs().max(1e-30))
            .fold(0.0, f64::max)
    }

    #[test]
    fn elementary_functions_are_accurate_to_a_few_ulp() {
        assert!(worst_relative_error(exp, f64::exp, -87.0, 88.0) < 3e-7);
        assert!(worst_relative_error(ln, f64::ln, 1.5, 1e9) < 3e-7);
        assert!(worst_relative_error(softplus, |x| x.exp().ln_1p(), -80.0, 40.0) < 6e-7);
        assert!(worst_relative_error(silu, |x| x / (1.0 + (-x).exp()), 0.01, 40.0) < 6e-7);
    }

    #[test]
    fn extremes_stay_finite() {
        for x in [f32::NEG_INFINITY, -1e30, 0.0, 1e30, f32::INFINITY] {
            assert!(exp(x).is_finite() && exp(x) > 0.0, "{x}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(softplus(1e6), 1e6);
    }
}

//! Elementary functions that compilers can vectorise, and functions compiled for the widest instructions of the machine.
//!
//! The standard library's `exp` and `ln` are calls, which keep a loop scalar. These are branch-free polynomials with a
//! relative error of a few 1e-7 over the range that activations and decays live in.

/// Declares a function whose body is compiled for several vector instruction sets; the widest that the processor has is
/// chosen at every call.
///
/// Only what is inlined into the body is compiled for those instructions: helpers must be `#[inline(always)]`. Outside,
/// a fused multiply-add is a library call.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($arg:ident: $type:ty) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($arg: $type) $(-> $result)? {
            #[inline(always)]
            fn body($arg: $type) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($arg: $type) $(-> $result)? {
                    body($arg)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($arg: $type) $(-> $result)? {
                    body($arg)
                }
                let wide = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl");
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    if wide {
                        // SAFETY: the processor has every instruction set that the function is compiled for.
                        return unsafe { avx512($arg) };
                    }
                    // SAFETY: as above.
                    return unsafe { avx2($arg) };
                }
            }
            body($arg)
        }
    };
}
pub(crate) use vectorised;

/// `e^x`, clamped to the normal float32 range (so `exp(-inf)` is about 1e-38, not 0); NaN stays NaN.
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

/// Error function: two polynomials, below and above 475/512, each within about an ulp (after N. Juffa's `erff`).
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let (t, s) = (x.abs(), x * x);
    let mut p = -5.967_617_e-4_f32;
    p = p.mul_add(s, 4.991_194_2e-3);
    p = p.mul_add(s, -2.676_813_5e-2);
    p = p.mul_add(s, 1.128_199_25e-1);
    p = p.mul_add(s, -3.761_253_4e-1);
    p = p.mul_add(s, 1.283_791_7e-1);
    let near = p.mul_add(x, x);
    let mut q = (-1.728_534_7e-5_f32).mul_add(t, 3.831_971_3e-4);
    let u = (-3.883_964_4e-3_f32).mul_add(t, 2.425_462_2e-2);
    q = q.mul_add(s, u);
    q = q.mul_add(t, -1.067_778_8e-1);
    q = q.mul_add(t, -6.348_467e-1);
    q = q.mul_add(t, -1.287_175_1e-1);
    let far = (1.0 - exp(q.mul_add(t, -t))).copysign(x);
    if t > 0.927_734_4 { far } else { near }
}

/// Hyperbolic tangent, from `e^(-2|x|)`; a polynomial near 0, where the difference of two ones would lose digits.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let (t, s) = (x.abs(), x * x);
    let e = exp(-2.0 * t);
    let far = ((1.0 - e) / (1.0 + e)).copysign(x);
    let mut p = -5.704_988_7e-3_f32;
    p = p.mul_add(s, 2.063_909e-2);
    p = p.mul_add(s, -5.373_971_5e-2);
    p = p.mul_add(s, 1.333_144_2e-1);
    p = p.mul_add(s, -3.333_328e-1);
    let near = (p * s).mul_add(x, x);
    if t < 0.625 { near } else { far }
}

/// `x * sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `ln(1 + e^x)`, and `x` itself above 20 as in `selective_scan_fwd_kernel.cuh` of state-spaces/mamba. NaN stays NaN.
#[inline(always)]
pub(crate) fn softplus(x: f32) -> f32 {
    // A comparison that NaN fails; the minimum of two numbers would be 20.
    let e = exp(if x > 20.0 { 20.0 } else { x });
    // The second term puts back what 1 + e rounded away, so that tiny values stay exact.
    let u = 1.0 + e;
    let log1p = ln(u) + (e - (u - 1.0)) / u;
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

    /// The Taylor series in float64; beyond 4 the function is 1 to seven digits.
    fn erf_reference(x: f64) -> f64 {
        if x.abs() > 4.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn erf_and_tanh_are_accurate_on_both_branches_and_at_their_border() {
        for (from, to) in [(-6.0, 6.0), (0.9, 0.95), (-0.95, -0.9), (-1e-3, 1e-3)] {
            assert!(worst_relative_error(erf, erf_reference, from, to) < 5e-7, "{from} {to}");
            assert!(worst_relative_error(tanh, f64::tanh, from, to) < 5e-7, "{from} {to}");
        }
        assert!((erf(0.5) - 0.520_499_9).abs() < 1e-7 && (erf(-2.0) + 0.995_322_3).abs() < 1e-7);
        assert!(worst_relative_error(tanh, f64::tanh, 0.6, 0.65) < 5e-7);
        assert!(erf(f32::INFINITY).to_bits() == 1.0_f32.to_bits() && tanh(-1e30).to_bits() == (-1.0_f32).to_bits());
    }

    #[test]
    fn extremes_stay_finite() {
        for x in [f32::NEG_INFINITY, -1e30, 0.0, 1e30, f32::INFINITY] {
            assert!(exp(x).is_finite() && exp(x) > 0.0, "{x}");
        }
        assert!((exp(0.0) - 1.0).abs() < f32::EPSILON);
        assert!((softplus(1e6) - 1e6).abs() < f32::EPSILON);
    }

    #[test]
    fn nan_of_either_sign_stays_nan() {
        for nan in [f32::NAN, -f32::NAN] {
            for (name, f) in
                [("exp", exp as fn(f32) -> f32), ("erf", erf), ("tanh", tanh), ("silu", silu), ("softplus", softplus)]
            {
                assert!(f(nan).is_nan(), "{name}");
            }
        }
        assert!(softplus(f32::INFINITY).is_infinite() && silu(f32::INFINITY).is_infinite());
    }
}

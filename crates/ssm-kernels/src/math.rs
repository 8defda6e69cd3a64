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

    #[test]
    fn extremes_stay_finite() {
        for x in [f32::NEG_INFINITY, -1e30, 0.0, 1e30, f32::INFINITY] {
            assert!(exp(x).is_finite() && exp(x) > 0.0, "{x}");
        }
        assert!((exp(0.0) - 1.0).abs() < f32::EPSILON);
        assert!((softplus(1e6) - 1e6).abs() < f32::EPSILON);
    }
}

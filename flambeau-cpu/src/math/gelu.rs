//! GELU, piece by piece: on AVX-512 a table of sixteen pieces is one register, on AVX2 two.

use super::MAGIC;
use super::exp::{LN2_HI, LN2_LO, LOG2_E, pow2};

/// `a * exp(a^2 / 2)` times what lies beyond `a` under the normal distribution, for `a` from 0 to
/// 14.35, piece by piece: centres, and coefficients of powers of the distance from them, the lowest
/// first. Centres are where the constant terms are all but exact in f32. The pieces are half octaves
/// from 1/4 on, numbered by bits of `a`, and one below.
const TABLE: [[f32; 16]; 9] = [
    [
        2.498_235_5,
        3.523_048_6,
        5.055_309,
        6.985_751_6,
        9.982_25,
        13.148_835,
        0.0,
        0.0,
        0.0,
        0.0,
        0.309_867_86,
        0.434_518_3,
        0.625_891_75,
        0.881_836_8,
        1.241_212_1,
        1.754_611_5,
    ],
    [
        0.353_280_13,
        0.372_500_18,
        0.384_879_47,
        0.391_224_68,
        0.395_053_54,
        0.396_673_74,
        0.0,
        0.0,
        0.0,
        0.0,
        0.122_998_044,
        0.158_521_22,
        0.202_276_14,
        0.245_785_64,
        0.287_632_17,
        0.324_405_5,
    ],
    [
        0.027_337_05,
        0.012_575_54,
        0.005_041_870_8,
        0.002_090_010_8,
        0.000_757_177_1,
        0.000_339_298,
        0.0,
        0.0,
        0.0,
        0.5,
        0.311_430_84,
        0.260_353_24,
        0.200_089,
        0.143_660_95,
        0.093_575_43,
        0.054_104_257,
    ],
    [
        -0.011_514_97,
        -0.004_289_981_4,
        -0.001_318_710_6,
        -0.000_417_450_12,
        -0.000_109_580_83,
        -3.785_467_2e-5,
        0.0,
        0.0,
        0.0,
        -0.398_942_26,
        -0.227_693_04,
        -0.183_856_93,
        -0.134_049_12,
        -0.089_813_89,
        -0.053_236_634,
        -0.027_070_815,
    ],
    [
        0.004_079_499_7,
        0.001_249_837_2,
        0.000_298_797_47,
        7.293_899e-5,
        1.397_290_3e-5,
        3.734_082_2e-6,
        0.0,
        0.0,
        0.0,
        0.249_999_46,
        0.132_197_17,
        0.103_546_88,
        0.072_077_76,
        0.045_430_08,
        0.024_761_725,
        0.011_219_209,
    ],
    [
        -0.001_290_075_8,
        -0.000_329_140_78,
        -6.189_39e-5,
        -1.176_169_5e-5,
        -1.652_828_4e-6,
        -3.434_775_2e-7,
        0.0,
        0.0,
        0.0,
        -0.132_967_86,
        -0.065_656_744,
        -0.050_037_38,
        -0.033_404_69,
        -0.019_922_424,
        -0.010_061_512,
        -0.004_102_152_3,
    ],
    [
        0.000_375_056,
        8.045_538e-5,
        1.200_988_8e-5,
        1.795_619_9e-6,
        1.866_804_1e-7,
        3.018_33e-8,
        0.0,
        0.0,
        0.0,
        0.062_350_243,
        0.028_980_434,
        0.021_538_386,
        0.013_837_764,
        0.007_843_544,
        0.003_693_088_2,
        0.001_365_109_3,
    ],
    [
        -0.000_104_738_74,
        -1.893_754_2e-5,
        -2.353_682e-6,
        -2.717_326_6e-7,
        -2.196_040_1e-8,
        -2.606_527_7e-9,
        0.0,
        0.0,
        0.0,
        -0.025_691_845,
        -0.011_644_666,
        -0.008_454_59,
        -0.005_254_017,
        -0.002_839_610_4,
        -0.001_261_132,
        -0.000_424_882,
    ],
    [
        2.673_520_8e-5,
        4.296_204e-6,
        4.465_493_4e-7,
        3.782_736e-8,
        2.285_169_4e-9,
        2.120_127_5e-10,
        0.0,
        0.0,
        0.0,
        0.007_623_581,
        0.004_290_883,
        0.003_045_960_3,
        0.001_846_946,
        0.000_967_539,
        0.000_390_486_53,
        0.000_124_009_91,
    ],
];

/// The first piece's number.
const FIRST: u32 = 249;
/// Beyond, all is 0.
const LIMIT: f32 = 14.35;

/// `x` times the normal distribution function at `x` (GELU, exact form,
/// [Hendrycks and Gimpel](https://arxiv.org/abs/1606.08415)); NaN for minus infinity, as in PyTorch.
/// At most 2 ulp off.
///
/// Fused multiply-add carries what a product rounds off: on CPUs without it this is slow, but the bits
/// are the same.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    let a = x.abs();
    let a = if a > LIMIT { LIMIT } else { a };
    let part = ((a.to_bits() >> 22).max(FIRST) & 15) as usize;
    let d = a - TABLE[0][part];
    // Step by step: a loop in here would keep the loop around it from being vectorised.
    let h = TABLE[8][part].mul_add(d, TABLE[7][part]);
    let h = h.mul_add(d, TABLE[6][part]);
    let h = h.mul_add(d, TABLE[5][part]);
    let h = h.mul_add(d, TABLE[4][part]);
    let h = h.mul_add(d, TABLE[3][part]);
    let h = h.mul_add(d, TABLE[2][part]);
    let u = h.mul_add(d, TABLE[1][part]);
    // -a^2 / 2 as a sum of two, and its exponential.
    let half = -0.5 * a;
    let high = a * half;
    let low = a.mul_add(half, -high);
    let t = high.mul_add(LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = n.mul_add(-LN2_HI, high) + n.mul_add(-LN2_LO, low);
    let q = QUOTIENT[0].mul_add(r, QUOTIENT[1]);
    let q = q.mul_add(r, QUOTIENT[2]);
    let q = q.mul_add(r, QUOTIENT[3]);
    let q = q.mul_add(r, QUOTIENT[4]);
    let p = (r * r).mul_add(q, r);
    // 2^n in two factors, of which the first keeps clear of subnormal numbers. The bits of MAGIC are
    // all shifted out.
    let scale = f32::from_bits(t.to_bits().wrapping_add(127 + 64) << 23);
    let tail = u.mul_add(p, u) * scale * pow2(-64);
    let y = if x < 0.0 { -tail } else { x - tail };
    // Zero from here on, but for minus infinity.
    if x < -LIMIT { x * 0.0 } else { y }
}

/// `(exp(r) - 1 - r) / r^2` for `|r| <= ln(2) / 2`, the highest coefficient first.
const QUOTIENT: [f32; 5] = [
    0.001_381_314_7,
    0.008_369_419,
    0.041_668_456,
    0.166_665_15,
    0.499_999_94,
];

/// [`gelu`] of each element of `x`, into `out`.
///
/// # Panics
/// If the lengths differ.
pub fn vgelu(x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "slices of different lengths");
    #[cfg(target_arch = "x86_64")]
    {
        use crate::simd::{Level, level};
        match level() {
            Level::Avx512 => {
                // SAFETY: `level` returns this only where the CPU has what is enabled there.
                return in_registers(x, out, |x, out| unsafe { x86::gelu_16(x, out) });
            }
            Level::Avx2 => {
                // SAFETY: as above.
                return in_registers(x, out, |x, out| unsafe { x86::gelu_8(x, out) });
            }
            Level::Portable => {}
        }
    }
    slice(x, out);
}

/// Calls `f` for whole registers, what is left filled up to one.
#[cfg(target_arch = "x86_64")]
fn in_registers<const N: usize>(x: &[f32], out: &mut [f32], f: fn(&[[f32; N]], &mut [[f32; N]])) {
    let (xs, x_rest) = x.as_chunks::<N>();
    let (outs, out_rest) = out.as_chunks_mut::<N>();
    f(xs, outs);
    let (mut last, mut result) = ([[0.0; N]], [[0.0; N]]);
    last[0][..x_rest.len()].copy_from_slice(x_rest);
    f(&last, &mut result);
    out_rest.copy_from_slice(&result[0][..x_rest.len()]);
}

crate::simd_fn! {
    fn slice(x: &[f32], out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = gelu(*x);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use std::arch::x86_64::*;

    /// [`gelu`](super::gelu), step for step, of sixteen elements at a time.
    ///
    /// # Safety
    /// The CPU must have the enabled features.
    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) unsafe fn gelu_16(x: &[[f32; 16]], out: &mut [[f32; 16]]) {
        let mut table = [_mm512_setzero_ps(); TABLE.len()];
        for (register, row) in table.iter_mut().zip(&TABLE) {
            // SAFETY: a row is as long as a register; no alignment is needed.
            *register = unsafe { _mm512_loadu_ps(row.as_ptr()) };
        }
        let (zero, magic) = (_mm512_setzero_ps(), _mm512_set1_ps(MAGIC));
        for (x, out) in x.iter().zip(out) {
            // SAFETY: as above.
            let x = unsafe { _mm512_loadu_ps(x.as_ptr()) };
            // The second operand where one is NaN.
            let a = _mm512_min_ps(_mm512_set1_ps(LIMIT), _mm512_abs_ps(x));
            let part = _mm512_srli_epi32::<22>(_mm512_castps_si512(a));
            // A permutation reads the lowest four bits of its index.
            let part = _mm512_max_epu32(part, _mm512_set1_epi32(FIRST as i32));
            let d = _mm512_sub_ps(a, _mm512_permutexvar_ps(part, table[0]));
            let mut u = _mm512_permutexvar_ps(part, table[8]);
            for row in table[1..8].iter().rev() {
                u = _mm512_fmadd_ps(u, d, _mm512_permutexvar_ps(part, *row));
            }
            let half = _mm512_mul_ps(_mm512_set1_ps(-0.5), a);
            let high = _mm512_mul_ps(a, half);
            let low = _mm512_fmsub_ps(a, half, high);
            let t = _mm512_fmadd_ps(high, _mm512_set1_ps(LOG2_E), magic);
            let n = _mm512_sub_ps(t, magic);
            let r = _mm512_add_ps(
                _mm512_fnmadd_ps(n, _mm512_set1_ps(LN2_HI), high),
                _mm512_fnmadd_ps(n, _mm512_set1_ps(LN2_LO), low),
            );
            let mut q = _mm512_set1_ps(QUOTIENT[0]);
            for c in &QUOTIENT[1..] {
                q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(*c));
            }
            let p = _mm512_fmadd_ps(_mm512_mul_ps(r, r), q, r);
            let exponent = _mm512_add_epi32(_mm512_castps_si512(t), _mm512_set1_epi32(127 + 64));
            let scale = _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent));
            let tail = _mm512_mul_ps(_mm512_fmadd_ps(u, p, u), scale);
            let tail = _mm512_mul_ps(tail, _mm512_set1_ps(pow2(-64)));
            let y = _mm512_sub_ps(x, tail);
            let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, zero);
            let y = _mm512_mask_xor_ps(y, below, tail, _mm512_set1_ps(-0.0));
            let far = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_set1_ps(-LIMIT));
            let y = _mm512_mask_mul_ps(y, far, x, zero);
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), y) };
        }
    }

    /// The same of eight elements at a time: a table is two registers, chosen by the number's bit 3.
    ///
    /// # Safety
    /// As [`gelu_16`].
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn gelu_8(x: &[[f32; 8]], out: &mut [[f32; 8]]) {
        let (zero, magic) = (_mm256_setzero_ps(), _mm256_set1_ps(MAGIC));
        let sign = _mm256_set1_ps(-0.0);
        for (x, out) in x.iter().zip(out) {
            // SAFETY: as above.
            let x = unsafe { _mm256_loadu_ps(x.as_ptr()) };
            let a = _mm256_min_ps(_mm256_set1_ps(LIMIT), _mm256_andnot_ps(sign, x));
            let part = _mm256_srli_epi32::<22>(_mm256_castps_si256(a));
            let part = _mm256_max_epu32(part, _mm256_set1_epi32(FIRST as i32));
            let upper = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(part));
            let piece = |row: &[f32; 16]| {
                // SAFETY: a row is as long as two registers. A permutation reads the lowest three bits.
                let [low, high] = unsafe { [0, 8].map(|i| _mm256_loadu_ps(row.as_ptr().add(i))) };
                let low = _mm256_permutevar8x32_ps(low, part);
                _mm256_blendv_ps(low, _mm256_permutevar8x32_ps(high, part), upper)
            };
            let d = _mm256_sub_ps(a, piece(&TABLE[0]));
            let mut u = piece(&TABLE[8]);
            for row in TABLE[1..8].iter().rev() {
                u = _mm256_fmadd_ps(u, d, piece(row));
            }
            let half = _mm256_mul_ps(_mm256_set1_ps(-0.5), a);
            let high = _mm256_mul_ps(a, half);
            let low = _mm256_fmsub_ps(a, half, high);
            let t = _mm256_fmadd_ps(high, _mm256_set1_ps(LOG2_E), magic);
            let n = _mm256_sub_ps(t, magic);
            let r = _mm256_add_ps(
                _mm256_fnmadd_ps(n, _mm256_set1_ps(LN2_HI), high),
                _mm256_fnmadd_ps(n, _mm256_set1_ps(LN2_LO), low),
            );
            let mut q = _mm256_set1_ps(QUOTIENT[0]);
            for c in &QUOTIENT[1..] {
                q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(*c));
            }
            let p = _mm256_fmadd_ps(_mm256_mul_ps(r, r), q, r);
            let exponent = _mm256_add_epi32(_mm256_castps_si256(t), _mm256_set1_epi32(127 + 64));
            let scale = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent));
            let tail = _mm256_mul_ps(_mm256_fmadd_ps(u, p, u), scale);
            let tail = _mm256_mul_ps(tail, _mm256_set1_ps(pow2(-64)));
            let y = _mm256_sub_ps(x, tail);
            let below = _mm256_cmp_ps::<_CMP_LT_OQ>(x, zero);
            let y = _mm256_blendv_ps(y, _mm256_xor_ps(tail, sign), below);
            let far = _mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_set1_ps(-LIMIT));
            let y = _mm256_blendv_ps(y, _mm256_mul_ps(x, zero), far);
            // SAFETY: as above.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), y) };
        }
    }
}

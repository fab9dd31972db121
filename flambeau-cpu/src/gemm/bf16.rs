//! AVX-512-BF16: products of pairs along `k`, summed up in `f32`.
//!
//! The instruction rounds to nearest even and takes denormal numbers as 0.

// Indices over registers: what varies together is plainer with them than with zipped iterators.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;
use std::mem::transmute;

use super::half;
use super::kernel::{Dots, Half, Kernels, Piece, Rows, Tile, TileFn, Vector, finish, finish_dots};

/// Whether the CPU has the instruction, on top of [`Level::Avx512`](crate::simd::Level::Avx512).
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512bf16")
}

const LANES: usize = 16;

#[inline(always)]
fn mask16(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

/// The first `n` of 32 elements.
#[inline(always)]
fn mask32(n: usize) -> __mmask32 {
    ((1u64 << n.min(32)) - 1) as __mmask32
}

#[inline(always)]
unsafe fn dp(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
    // SAFETY: the caller vouches for the features; both types are 512 bits of anything.
    unsafe {
        _mm512_dpbf16_ps(
            sum,
            transmute::<__m512i, __m512bh>(a),
            transmute::<__m512i, __m512bh>(b),
        )
    }
}

/// Pairs of the elements of two rows: those of columns 0 to 15, and of 16 to 31.
#[inline(always)]
unsafe fn weave(even: __m512i, odd: __m512i) -> [__m512i; 2] {
    static ORDER: [[u16; 32]; 2] = {
        let mut order = [[0; 32]; 2];
        let mut i = 0;
        while i < 32 {
            order[i / 16][i % 16 * 2] = i as u16;
            order[i / 16][i % 16 * 2 + 1] = i as u16 + 32;
            i += 1;
        }
        order
    };
    // SAFETY: the caller vouches for the features; a row of the table is a vector.
    unsafe {
        let (low, high) = (ORDER[0].as_ptr().cast(), ORDER[1].as_ptr().cast());
        [
            _mm512_permutex2var_epi16(even, _mm512_loadu_si512(low), odd),
            _mm512_permutex2var_epi16(even, _mm512_loadu_si512(high), odd),
        ]
    }
}

/// Adds the products of one pair of rows of `b`, or of its last row alone if `ODD`: a choice inside
/// the loop would keep all of `a`'s pairs in registers, and the sums in memory.
#[inline(always)]
unsafe fn step<const MR: usize, const NV: usize, const DIRECT: bool, const ODD: bool>(
    t: &Tile,
    a: *const u8,
    b: *const u8,
    last: __mmask16,
    acc: &mut [[__m512; NV]; MR],
) {
    // SAFETY: as in `tile`.
    unsafe {
        let mut bv = [_mm512_setzero_si512(); NV];
        if DIRECT {
            let next = b.wrapping_add(t.b_step);
            for v in (0..NV).step_by(2) {
                let mask = mask32(t.cols - v * LANES);
                let row = |at: *const u8| at.cast::<i16>().wrapping_add(v * LANES);
                _mm_prefetch::<_MM_HINT_T0>(row(b.wrapping_add(8 * t.b_step)).cast());
                _mm_prefetch::<_MM_HINT_T0>(row(b.wrapping_add(9 * t.b_step)).cast());
                let r0 = _mm512_maskz_loadu_epi16(mask, row(b));
                let r1 = _mm512_maskz_loadu_epi16(if ODD { 0 } else { mask }, row(next));
                let woven = weave(r0, r1);
                bv[v] = woven[0];
                if v + 1 < NV {
                    bv[v + 1] = woven[1];
                }
            }
        } else {
            for v in 0..NV - 1 {
                bv[v] = _mm512_loadu_si512(b.add(v * 64).cast());
            }
            bv[NV - 1] = _mm512_maskz_loadu_epi32(last, b.add((NV - 1) * 64).cast());
        }
        for i in 0..MR {
            let at = a.add(i * t.a_row);
            let pair = if ODD {
                i32::from(at.cast::<u16>().read_unaligned())
            } else {
                at.cast::<i32>().read_unaligned()
            };
            let av = _mm512_set1_epi32(pair);
            for v in 0..NV {
                acc[i][v] = dp(acc[i][v], av, bv[v]);
            }
        }
    }
}

/// A tile, see [`super::kernel::tile`]; the rows of `b` are elements if `DIRECT`, pairs otherwise.
#[target_feature(
    enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx512cd,avx2,fma,bmi1,bmi2"
)]
unsafe fn tile<const MR: usize, const NV: usize, const DIRECT: bool>(t: &Tile) {
    // SAFETY: the caller vouches for the features and for the elements of the matrices; rows of
    // `b` are cut to the tile's width, and an odd last element of `k` is read alone.
    unsafe {
        let last = mask16(t.cols - (NV - 1) * LANES);
        let mut acc = [[_mm512_setzero_ps(); NV]; MR];
        let (mut a, mut b) = (t.a, t.b);
        for _ in 0..t.k / 2 {
            step::<MR, NV, DIRECT, false>(t, a, b, last, &mut acc);
            a = a.wrapping_add(t.a_step);
            b = b.wrapping_add(t.b_step * if DIRECT { 2 } else { 1 });
        }
        if t.k % 2 == 1 {
            step::<MR, NV, DIRECT, true>(t, a, b, last, &mut acc);
        }
        match t.half {
            true => finish_half(t, acc),
            false => finish(t, acc),
        }
    }
}

/// The first `n` of sixteen elements. Masked stores of 16-bit elements take longer than these.
#[inline(always)]
unsafe fn store_first(mut to: *mut i16, v: __m256i, n: usize) {
    // SAFETY: the caller vouches for the features and for `n` elements at `to`.
    unsafe {
        if n >= 16 {
            return _mm256_storeu_si256(to.cast(), v);
        }
        let mut x = _mm256_castsi256_si128(v);
        if n & 8 != 0 {
            _mm_storeu_si128(to.cast(), x);
            (x, to) = (_mm256_extracti128_si256::<1>(v), to.add(8));
        }
        if n & 4 != 0 {
            _mm_storel_epi64(to.cast(), x);
            (x, to) = (_mm_srli_si128::<8>(x), to.add(4));
        }
        if n & 2 != 0 {
            to.cast::<i32>().write_unaligned(_mm_cvtsi128_si32(x));
            (x, to) = (_mm_srli_si128::<4>(x), to.add(2));
        }
        if n & 1 != 0 {
            to.write(_mm_cvtsi128_si32(x) as i16);
        }
    }
}

/// [`finish`] where `c` and `d` are bf16: sums are rounded once, with what is added to them.
#[inline(always)]
unsafe fn finish_half<const MR: usize, const NV: usize>(t: &Tile, acc: [[__m512; NV]; MR]) {
    // SAFETY: the caller vouches for the features and for `c` and `d`; the last vector of a row is cut
    // to the tile's width.
    unsafe {
        let widen =
            |x: __m256i| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x)));
        let near = |x: __m512| transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x));
        let width = |v: usize| t.cols.saturating_sub(v * LANES).min(LANES);
        let plain = t.alpha == 1.0 && t.beta == 0.0;
        let (alpha, beta) = (
            _mm512_set1_ps(t.alpha as f32),
            _mm512_set1_ps(t.beta as f32),
        );
        for i in 0..MR {
            let c: *mut i16 = t.c.add(i * t.c_row).cast();
            let d: *const i16 = t.d.at(i, 0).cast_const().cast();
            let mut sums = acc[i];
            for v in 0..NV {
                if !plain {
                    sums[v] = _mm512_mul_ps(sums[v], alpha);
                }
                if t.beta != 0.0 {
                    let old = match t.d.col {
                        0 => _mm256_set1_epi16(*d),
                        _ => _mm256_maskz_loadu_epi16(mask16(width(v)), d.add(v * LANES)),
                    };
                    sums[v] = _mm512_fmadd_ps(beta, widen(old), sums[v]);
                }
            }
            for v in (0..NV).step_by(2) {
                let c = c.add(v * LANES);
                if v + 1 < NV && width(v + 1) == LANES {
                    let both = _mm512_cvtne2ps_pbh(sums[v + 1], sums[v]);
                    _mm512_storeu_si512(c.cast(), transmute::<__m512bh, __m512i>(both));
                    continue;
                }
                store_first(c, near(sums[v]), width(v));
                if v + 1 < NV {
                    store_first(c.add(LANES), near(sums[v + 1]), width(v + 1));
                }
            }
        }
    }
}

/// Dot products, see [`super::kernel::dots`].
#[target_feature(
    enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx512cd,avx2,fma,bmi1,bmi2"
)]
unsafe fn dots<const MR: usize>(t: &Dots) {
    // SAFETY: as in the f32 form.
    unsafe {
        for j in (0..t.n).step_by(4) {
            let cols = (t.n - j).min(4);
            let mut acc = [[_mm512_setzero_ps(); 4]; MR];
            for p in (0..t.k).step_by(32) {
                let mask = mask32(t.k - p);
                let load = |at: *const u8| _mm512_maskz_loadu_epi16(mask, at.cast::<i16>().add(p));
                let mut bv = [_mm512_setzero_si512(); 4];
                for x in 0..4 {
                    bv[x] = load(t.b.add((j + x.min(cols - 1)) * t.b_col));
                }
                for i in 0..MR {
                    let av = load(t.a.add(i * t.a_row));
                    for x in 0..4 {
                        acc[i][x] = dp(acc[i][x], av, bv[x]);
                    }
                }
            }
            finish_dots(t, j, cols, acc);
        }
    }
}

/// Few rows, see [`super::kernel::rows`]: sixteen rows of `b`, eight pairs, at a time.
#[target_feature(
    enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx512cd,avx2,fma,bmi1,bmi2"
)]
unsafe fn rows(t: &Rows) {
    const WHOLE: usize = 16;
    const FEW: usize = 8;
    // SAFETY: the caller vouches for the matrices; the last elements of a row are cut to its end,
    // and rows of `b` past the last are not read.
    unsafe {
        for (top, p) in (0..t.m)
            .step_by(FEW)
            .flat_map(|top| (0..t.k).step_by(WHOLE).map(move |p| (top, p)))
        {
            let (high, count) = ((t.m - top).min(FEW), (t.k - p).min(WHOLE));
            // Put together once for all columns.
            let mut pairs = [[0; WHOLE / 2]; FEW];
            for (i, r) in (0..high).flat_map(|i| (0..count).map(move |r| (i, r))) {
                let one = t.a.at(top + i, p + r).cast::<u16>().read_unaligned();
                pairs[i][r / 2] |= i32::from(one) << (16 * (r % 2));
            }
            for j in (0..t.n).step_by(32) {
                let mask = mask32(t.n - j);
                let (low, above) = ((mask & 0xffff) as __mmask16, (mask >> 16) as __mmask16);
                let mut bv = [[_mm512_setzero_si512(); 2]; WHOLE / 2];
                for r in (0..count).step_by(2) {
                    let row = t.b.add((p + r) * t.b_row).cast::<i16>().add(j);
                    let next = row.wrapping_byte_add(t.b_row);
                    let r0 = _mm512_maskz_loadu_epi16(mask, row);
                    let r1 = _mm512_maskz_loadu_epi16(if r + 1 < count { mask } else { 0 }, next);
                    bv[r / 2] = weave(r0, r1);
                }
                for i in 0..high {
                    let c: *mut f32 = t.c.add((top + i) * t.c_row).cast::<f32>().add(j);
                    let c_above = c.wrapping_add(LANES);
                    let mut sums = [
                        _mm512_maskz_loadu_ps(low, c),
                        _mm512_maskz_loadu_ps(above, c_above),
                    ];
                    // Pairs past the last are 0.
                    for r in 0..WHOLE / 2 {
                        let av = _mm512_set1_epi32(pairs[i][r]);
                        sums[0] = dp(sums[0], av, bv[r][0]);
                        sums[1] = dp(sums[1], av, bv[r][1]);
                    }
                    _mm512_mask_storeu_ps(c, low, sums[0]);
                    _mm512_mask_storeu_ps(c_above, above, sums[1]);
                }
            }
        }
    }
}

#[target_feature(
    enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx512cd,avx2,fma,bmi1,bmi2"
)]
unsafe fn narrow_by_instruction(x: &[f32], out: &mut [u16]) {
    // SAFETY: loads and stores are cut to the slices.
    unsafe {
        let len = x.len().min(out.len());
        let whole = len - len % (2 * LANES);
        for i in (0..whole).step_by(2 * LANES) {
            let low = _mm512_loadu_ps(x.as_ptr().add(i));
            let high = _mm512_loadu_ps(x.as_ptr().add(i + LANES));
            let both = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_si512(out.as_mut_ptr().add(i).cast(), both);
        }
        for i in (whole..len).step_by(LANES) {
            let n = (len - i).min(LANES);
            let v = _mm512_maskz_loadu_ps(mask16(n), x.as_ptr().add(i));
            let v = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v));
            _mm256_mask_storeu_epi16(out.as_mut_ptr().add(i).cast(), mask16(n), v);
        }
    }
}

fn narrow(x: &[f32], out: &mut [u16]) {
    // SAFETY: the kernels that name this function are chosen where `available`.
    unsafe { narrow_by_instruction(x, out) }
}

/// Packs pairs, see [`super::kernel::pack`]: an odd last row's partners are 0.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,avx2,fma,bmi1,bmi2")]
pub(super) unsafe fn pack(
    k: usize,
    pieces: &[Piece],
    src: *const u8,
    (row, col): (usize, usize),
    dst: *mut u8,
) {
    let dst: *mut i32 = dst.cast();
    // SAFETY: the caller vouches for the source and the room in `dst`; stores past the end of a
    // row are those of `transpose`, as in the f32 form.
    unsafe {
        if col == 2 {
            for step in 0..k.div_ceil(2) {
                let odd = 2 * step + 1 == k;
                for piece in pieces {
                    let s = src.add(2 * step * row + piece.first * 2);
                    let ahead = s.wrapping_add(8 * row);
                    _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                    _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(row).cast());
                    let d = dst.add(piece.to + step * piece.stride);
                    for i in (0..piece.width).step_by(32) {
                        let n = piece.width - i;
                        let mask = mask32(n);
                        let load = |m: u32, at: *const u8| {
                            _mm512_maskz_loadu_epi16(m, at.cast::<i16>().wrapping_add(i))
                        };
                        let r0 = load(mask, s);
                        let r1 = load(if odd { 0 } else { mask }, s.wrapping_add(row));
                        let [low, high] = weave(r0, r1);
                        if n >= 32 {
                            _mm512_storeu_si512(d.add(i).cast(), low);
                            _mm512_storeu_si512(d.add(i + 16).cast(), high);
                        } else {
                            _mm512_mask_storeu_epi32(d.add(i), mask16(n.min(16)), low);
                            _mm512_mask_storeu_epi32(
                                d.wrapping_add(i + 16),
                                mask16(n.saturating_sub(16)),
                                high,
                            );
                        }
                    }
                }
            }
            return;
        }
        for piece in pieces {
            let (s, d) = (src.add(piece.first * col), dst.add(piece.to));
            if row != 2 {
                for p in 0..k {
                    for i in 0..piece.width {
                        let x = s.add(p * row + i * col).cast::<u16>().read_unaligned();
                        let to = d.add(p / 2 * piece.stride + i);
                        *to = match p % 2 {
                            0 => i32::from(x),
                            _ => *to | i32::from(x) << 16,
                        };
                    }
                }
                continue;
            }
            // Pairs lie together already: as 32 bits they are transposed.
            const BLOCK: usize = <__m512 as Vector>::BLOCK;
            let pairs = k / 2;
            for i in (0..piece.width).step_by(BLOCK).rev() {
                for p in (0..pairs).step_by(BLOCK) {
                    __m512::transpose(
                        s.add(i * col + p * 4).cast(),
                        col,
                        (piece.width - i).min(BLOCK),
                        (pairs - p).min(BLOCK),
                        d.add(p * piece.stride + i).cast(),
                        piece.stride,
                    );
                }
            }
            for i in (0..piece.width).filter(|_| k % 2 == 1) {
                let x = s.add(i * col + pairs * 4).cast::<u16>().read_unaligned();
                *d.add(pairs * piece.stride + i) = i32::from(x);
            }
        }
    }
}

macro_rules! table {
    ($nv:literal $direct:literal [$($mr:literal)*]) => { &[$(tile::<$mr, $nv, $direct>),*] };
}

pub(super) const KERNELS: Kernels = {
    const DIRECT: [&[TileFn]; 4] = [
        table!(1 true [1 2 3 4 5 6 7 8]),
        table!(2 true [1 2 3 4 5 6 7 8]),
        table!(3 true [1 2 3 4]),
        table!(4 true [1 2 3 4]),
    ];
    Kernels {
        element: 2,
        sum: 4,
        pair: 2,
        lanes: LANES,
        direct: &DIRECT,
        packed: [
            table!(1 false [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
            table!(2 false [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        ],
        dots: &[dots::<1>, dots::<2>, dots::<3>, dots::<4>],
        rows: Some(rows),
        pack,
        half: Some(
            &const {
                Half {
                    widen: half::BF16.widen,
                    narrow,
                }
            },
        ),
        narrows: true,
        widened: false,
        unit: None,
    }
};

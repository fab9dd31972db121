//! Planes in which one axis is contiguous in the source, the other in the target.

use super::{Axis, GRAIN, Source, offsets};
use crate::alloc::Pod;
use crate::simd::{Level, dispatch, level};
use crate::threads::{SyncPtr, parallel_for};

/// Rows and columns of a tile: it takes whole cache lines of four-byte elements from both sides.
const TILE: usize = 16;
/// Columns of the source that a thread transposes at a time, and rows.
const BAND: usize = 64;
const RUN: usize = 1024;
/// The same where tiles are turned in registers, which is so fast that the order in which memory is
/// walked decides: squares, that few lines and pages are open on either side.
const SQUARE: usize = 256;
/// A side of so many elements is walked inside of the other one.
const NARROW: usize = 4;

/// `outer[side]` is contiguous in the source, `last` in the target.
///
/// # Safety
/// As [`run`](super::run).
pub(super) unsafe fn transpose<T: Pod>(
    x: Source<T>,
    out: &SyncPtr<T>,
    outer: &[Axis],
    side: usize,
    last: Axis,
) {
    let mut batch = outer.to_vec();
    let across = batch.remove(side);
    let count: usize = batch.iter().map(|a| a.size).product();
    let fast = turns_in_registers::<T>();
    let narrow = across.size.min(last.size) <= NARROW;
    let (most, longest) = match (narrow, fast) {
        (true, _) => (GRAIN, GRAIN),
        (_, true) => (SQUARE, SQUARE),
        _ => (BAND, RUN),
    };
    let (bands, runs) = (across.size.div_ceil(most), last.size.div_ceil(longest));
    let work = across.size.min(most) * last.size.min(longest);
    parallel_for(count * bands * runs, (GRAIN / work).max(1), |range| {
        for i in range {
            let (from, to) = offsets(&batch, i / (bands * runs));
            let (band, run) = (i / runs % bands * most, i % runs * longest);
            let height = (across.size - band).min(most);
            let width = (last.size - run).min(longest);
            // SAFETY: the caller's promise.
            unsafe {
                let x = x.get().add(from + run * last.from + band);
                let out = out.get().add(to + band * across.to + run);
                let (from, to) = (last.from, across.to);
                match (narrow, fast) {
                    (true, _) => thin((x, from), (out, to), width, height),
                    (_, true) => plane::<T, true>((x, from), (out, to), width, height),
                    _ => plane::<T, false>((x, from), (out, to), width, height),
                }
            }
        }
    });
}

/// `width` rows of `height` elements, of which one number is small.
///
/// # Safety
/// They lie at `x` and are free at `out`, that many elements apart.
unsafe fn thin<T: Pod>(
    (x, from): (*const T, usize),
    (out, to): (*mut T, usize),
    width: usize,
    height: usize,
) {
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn few<T: Pod, const N: usize>(
        (x, from): (*const T, usize),
        (out, to): (*mut T, usize),
        n: usize,
        apart: bool,
    ) {
        // SAFETY: the caller's promise. The distance on the narrow side is known where the side lies
        // in one piece, which is what lets the loop be shuffled in registers.
        unsafe {
            match apart {
                true => {
                    for k in 0..n {
                        for j in 0..N {
                            *out.add(k * N + j) = *x.add(j * from + k);
                        }
                    }
                }
                false => {
                    for k in 0..n {
                        for j in 0..N {
                            *out.add(j * to + k) = *x.add(k * N + j);
                        }
                    }
                }
            }
        }
    }
    let (n, small) = (width.max(height), width.min(height));
    let apart = width <= height;
    let whole = if apart { to == width } else { from == height };
    dispatch(
        #[inline(always)]
        // SAFETY: the caller's promise.
        move || unsafe {
            match (whole, small) {
                (true, 2) => few::<T, 2>((x, from), (out, to), n, apart),
                (true, 3) => few::<T, 3>((x, from), (out, to), n, apart),
                (true, 4) => few::<T, 4>((x, from), (out, to), n, apart),
                _ if apart => {
                    for q in 0..height {
                        for p in 0..width {
                            *out.add(q * to + p) = *x.add(p * from + q);
                        }
                    }
                }
                _ => {
                    for p in 0..width {
                        for q in 0..height {
                            *out.add(q * to + p) = *x.add(p * from + q);
                        }
                    }
                }
            }
        },
    );
}

/// `width` rows of `height` elements in tiles, which are turned in registers where `FAST`.
///
/// # Safety
/// They lie at `x` and are free at `out`, that many elements apart.
unsafe fn plane<T: Pod, const FAST: bool>(
    (x, from): (*const T, usize),
    (out, to): (*mut T, usize),
    width: usize,
    height: usize,
) {
    dispatch(
        #[inline(always)]
        move || {
            for p in (0..width).step_by(TILE) {
                for q in (0..height).step_by(TILE) {
                    let (rows, columns) = ((width - p).min(TILE), (height - q).min(TILE));
                    // SAFETY: the caller's promise; tiles at the edge are cut.
                    unsafe {
                        let (x, out) = (x.add(p * from + q), out.add(q * to + p));
                        if FAST {
                            turn(x, from, out, to, rows, columns);
                        } else if rows == TILE && columns == TILE {
                            tile(x, from, out, to);
                        } else {
                            for k in 0..columns {
                                for j in 0..rows {
                                    *out.add(k * to + j) = *x.add(j * from + k);
                                }
                            }
                        }
                    }
                }
            }
        },
    );
}

/// Whether [`turn`] may be called.
fn turns_in_registers<T>() -> bool {
    cfg!(target_arch = "x86_64") && [2, 4].contains(&size_of::<T>()) && level() == Level::Avx512
}

/// [`tile`] of `rows` rows and `columns` columns of two-byte or four-byte elements, in registers.
///
/// # Safety
/// As there; [`turns_in_registers`] holds.
#[inline(always)]
unsafe fn turn<T: Pod>(
    x: *const T,
    from: usize,
    out: *mut T,
    to: usize,
    rows: usize,
    columns: usize,
) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promise; elements are moved whatever they mean.
    unsafe {
        match size_of::<T>() == 4 && rows == TILE && columns == TILE {
            true => x86::turn(x.cast(), from, out.cast(), to),
            false => x86::turn_part(x, from, out, to, rows, columns),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the caller's promise.
    unsafe {
        for k in 0..columns {
            for j in 0..rows {
                *out.add(k * to + j) = *x.add(j * from + k);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// The columns of 16 rows of 16 elements.
    #[inline(always)]
    fn turned(rows: [__m512i; 16]) -> [__m512i; 16] {
        // SAFETY: no memory is touched; callers have the feature.
        unsafe {
            let mut pairs = rows;
            for i in 0..8 {
                pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
                pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
            }
            // quads[4 j + k] holds, in its quarter l, rows 4 j to 4 j + 3 of column 4 l + k.
            let mut quads = pairs;
            for j in (0..16).step_by(4) {
                quads[j] = _mm512_unpacklo_epi64(pairs[j], pairs[j + 2]);
                quads[j + 1] = _mm512_unpackhi_epi64(pairs[j], pairs[j + 2]);
                quads[j + 2] = _mm512_unpacklo_epi64(pairs[j + 1], pairs[j + 3]);
                quads[j + 3] = _mm512_unpackhi_epi64(pairs[j + 1], pairs[j + 3]);
            }
            let mut out = rows;
            for k in 0..4 {
                let (a, b, c, d) = (quads[k], quads[4 + k], quads[8 + k], quads[12 + k]);
                let (even, odd) = (
                    (
                        _mm512_shuffle_i32x4::<0x88>(a, b),
                        _mm512_shuffle_i32x4::<0x88>(c, d),
                    ),
                    (
                        _mm512_shuffle_i32x4::<0xdd>(a, b),
                        _mm512_shuffle_i32x4::<0xdd>(c, d),
                    ),
                );
                out[k] = _mm512_shuffle_i32x4::<0x88>(even.0, even.1);
                out[4 + k] = _mm512_shuffle_i32x4::<0x88>(odd.0, odd.1);
                out[8 + k] = _mm512_shuffle_i32x4::<0xdd>(even.0, even.1);
                out[12 + k] = _mm512_shuffle_i32x4::<0xdd>(odd.0, odd.1);
            }
            out
        }
    }

    /// # Safety
    /// 16 rows of 16 elements `from` apart lie at `x`, and are free `to` apart at `out`; the CPU has
    /// the enabled feature.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn turn(x: *const i32, from: usize, out: *mut i32, to: usize) {
        // SAFETY: the caller's promise; no alignment is needed.
        unsafe {
            let mut rows = [_mm512_setzero_si512(); 16];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = _mm512_loadu_si512(x.add(i * from).cast());
            }
            for (i, column) in turned(rows).into_iter().enumerate() {
                _mm512_storeu_si512(out.add(i * to).cast(), column);
            }
        }
    }

    /// The same for so many rows and columns, of 16 at most, of elements of four bytes or of two, which
    /// are widened on the way.
    ///
    /// # Safety
    /// As [`turn`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn turn_part<T>(
        x: *const T,
        from: usize,
        out: *mut T,
        to: usize,
        rows: usize,
        columns: usize,
    ) {
        let wide = const { size_of::<T>() == 4 };
        let mask = |n: usize| ((1u32 << n) - 1) as u16;
        let (of_row, of_column) = (mask(columns), mask(rows));
        // SAFETY: the caller's promise; what a mask leaves out is not touched.
        unsafe {
            let mut all = [_mm512_setzero_si512(); 16];
            for (i, row) in all.iter_mut().enumerate() {
                if i < rows {
                    let x = x.add(i * from);
                    *row = match wide {
                        true => _mm512_maskz_loadu_epi32(of_row, x.cast()),
                        false => _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(of_row, x.cast())),
                    };
                }
            }
            for (i, column) in turned(all).into_iter().enumerate() {
                if i < columns {
                    let out = out.add(i * to);
                    match wide {
                        true => _mm512_mask_storeu_epi32(out.cast(), of_column, column),
                        false => {
                            let column = _mm512_cvtepi32_epi16(column);
                            _mm256_mask_storeu_epi16(out.cast(), of_column, column);
                        }
                    }
                }
            }
        }
    }
}

/// A whole tile, through a copy of it: rows a power of two apart would otherwise push each other
/// out of the first cache before they are used up.
///
/// # Safety
/// `TILE` rows of `TILE` elements `from` apart lie at `x`, and are free `to` apart at `out`.
#[inline(always)]
unsafe fn tile<T: Pod>(x: *const T, from: usize, out: *mut T, to: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut rows = [*x.cast::<[T; TILE]>(); TILE];
        for (j, row) in rows.iter_mut().enumerate() {
            *row = *x.add(j * from).cast::<[T; TILE]>();
        }
        for k in 0..TILE {
            let mut column = rows[0];
            for j in 0..TILE {
                column[j] = rows[j][k];
            }
            *out.add(k * to).cast::<[T; TILE]>() = column;
        }
    }
}

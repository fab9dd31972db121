//! Layer norm of rows, and the statistics of rows that group norm takes too.

use super::GRAIN;
use crate::float::Float;
use crate::reduce::sums;
use crate::simd::dispatch;
use crate::threads::{SyncPtr, parallel_for, parallel_slices_mut};

/// Layer norm of each row of `width` elements; `weight` and `bias` are one row where given. Writes
/// each row's mean and inverse deviation.
///
/// # Panics
/// If the lengths do not fit.
pub fn layer_norm_forward<T: Float>(
    width: usize,
    x: &[T],
    [weight, bias]: [Option<&[T]>; 2],
    eps: f64,
    out: &mut [T],
    stats: &mut [[T; 2]],
) {
    assert!(
        width > 0 && x.len() == out.len() && stats.len() * width == x.len(),
        "norm: lengths"
    );
    assert!(
        weight.is_none_or(|w| w.len() == width) && bias.is_none_or(|b| b.len() == width),
        "norm: lengths"
    );
    let stats = SyncPtr(stats.as_mut_ptr());
    parallel_slices_mut(out, width, GRAIN, |start, out| {
        let first = start / width;
        // SAFETY: there is one for each row, and a row is dealt with once.
        let stats =
            unsafe { std::slice::from_raw_parts_mut(stats.get().add(first), out.len() / width) };
        dispatch(
            #[inline(always)]
            || {
                let x = x[start..].chunks_exact(width);
                for ((x, out), stats) in x.zip(out.chunks_exact_mut(width)).zip(&mut *stats) {
                    *stats = norm_row(x, [weight, bias], T::from_f64(eps), out);
                }
            },
        );
    });
}

/// The mean and inverse deviation of each row of `width` elements.
///
/// # Panics
/// If the lengths do not fit.
pub fn row_statistics<T: Float>(width: usize, x: &[T], eps: f64, stats: &mut [[T; 2]]) {
    assert!(width > 0 && stats.len() * width == x.len(), "norm: lengths");
    let rows = GRAIN.div_ceil(width);
    parallel_slices_mut(stats, 1, rows, |first, stats| {
        dispatch(
            #[inline(always)]
            || {
                let x = x[first * width..].chunks_exact(width);
                for (x, stats) in x.zip(&mut *stats) {
                    *stats = statistics(x, T::from_f64(eps));
                }
            },
        );
    });
}

/// `(x - mean) / deviation * weight + bias` for `[rows, of_row, inner]`: `stats` has mean and inverse
/// deviation of each row, whose `of_row` channels follow on those of the row before, in turns of as
/// many as there are of weight and bias.
///
/// # Panics
/// If the lengths do not fit.
pub fn normalise_rows<T: Float>(
    [of_row, inner]: [usize; 2],
    x: &[T],
    stats: &[[T; 2]],
    [weight, bias]: [Option<&[T]>; 2],
    out: &mut [T],
) {
    let width = of_row * inner;
    assert!(
        width > 0 && x.len() == out.len() && stats.len() * width == x.len(),
        "norm: lengths"
    );
    let each = |p: Option<&[T]>, i: usize| p.map(|p| p[i % p.len()]);
    parallel_slices_mut(out, width, GRAIN, |start, out| {
        let first = start / width;
        dispatch(
            #[inline(always)]
            || {
                let x = x[start..].chunks_exact(width);
                for (k, (x, out)) in x.zip(out.chunks_exact_mut(width)).enumerate() {
                    let row = first + k;
                    let [mean, inverse] = stats[row];
                    let channels = x.chunks_exact(inner).zip(out.chunks_exact_mut(inner));
                    for (c, (x, out)) in channels.enumerate() {
                        let c = row * of_row + c;
                        let scale = each(weight, c).map_or(inverse, |w| inverse * w);
                        let shift = each(bias, c).unwrap_or(T::ZERO) - mean * scale;
                        for (o, &x) in out.iter_mut().zip(x) {
                            *o = x * scale + shift;
                        }
                    }
                }
            },
        );
    });
}

/// The mean and inverse deviation of a row.
#[inline(always)]
fn statistics<T: Float>(x: &[T], eps: T) -> [T; 2] {
    let count = T::from_f64(x.len() as f64);
    let [sum] = sums(
        x,
        x,
        #[inline(always)]
        |x, _| [x],
    );
    let mean = sum / count;
    let [left, square] = sums(
        x,
        x,
        #[inline(always)]
        |x, _| [x - mean, (x - mean) * (x - mean)],
    );
    // The first sum is what rounding left of the mean; it corrects the second.
    let var = (square - left * left / count) / count;
    [mean, T::from_f64(1.0) / (var + eps).sqrt()]
}

/// Layer norm of a row: its mean and inverse deviation.
#[inline(always)]
fn norm_row<T: Float>(x: &[T], affine: [Option<&[T]>; 2], eps: T, out: &mut [T]) -> [T; 2] {
    let [mean, inverse] = statistics(x, eps);
    match affine {
        [Some(w), Some(b)] => {
            for (((o, &x), &w), &b) in out.iter_mut().zip(x).zip(w).zip(b) {
                *o = (x - mean) * inverse * w + b;
            }
        }
        [Some(w), None] => {
            for ((o, &x), &w) in out.iter_mut().zip(x).zip(w) {
                *o = (x - mean) * inverse * w;
            }
        }
        [None, Some(b)] => {
            for ((o, &x), &b) in out.iter_mut().zip(x).zip(b) {
                *o = (x - mean) * inverse + b;
            }
        }
        [None, None] => {
            for (o, &x) in out.iter_mut().zip(x) {
                *o = (x - mean) * inverse;
            }
        }
    }
    [mean, inverse]
}

/// The gradient of the row's input from that of its output.
#[inline(always)]
fn norm_row_backward<T: Float>(
    x: &[T],
    g: &[T],
    weight: Option<&[T]>,
    [mean, inverse]: [T; 2],
    out: &mut [T],
) {
    let count = T::from_f64(x.len() as f64);
    let scaled = match weight {
        Some(w) => {
            for ((o, &g), &w) in out.iter_mut().zip(g).zip(w) {
                *o = g * w;
            }
            &*out
        }
        None => g,
    };
    let [sum, dot] = sums(
        scaled,
        x,
        #[inline(always)]
        |g, x| [g, g * (x - mean)],
    );
    let (mean_g, slope) = (sum / count, dot / count * inverse * inverse);
    if weight.is_some() {
        for (o, &x) in out.iter_mut().zip(x) {
            *o = (*o - mean_g - (x - mean) * slope) * inverse;
        }
    } else {
        for ((o, &g), &x) in out.iter_mut().zip(g).zip(x) {
            *o = (g - mean_g - (x - mean) * slope) * inverse;
        }
    }
}

/// The most parts that the gradients of weight and bias are added up in.
const PARTS: usize = 32;

/// The gradients of layer norm from `g`, that of its output: of the input, where `out` has room for
/// it, and of weight and bias, where `affine` has.
///
/// # Panics
/// If the lengths do not fit.
pub fn layer_norm_backward<T: Float>(
    width: usize,
    [x, g]: [&[T]; 2],
    weight: Option<&[T]>,
    stats: &[[T; 2]],
    out: Option<&mut [T]>,
    affine: Option<[&mut [T]; 2]>,
) {
    assert!(
        width > 0 && g.len() == x.len() && stats.len() * width == x.len(),
        "norm: lengths"
    );
    assert!(
        out.as_ref().is_none_or(|o| o.len() == x.len())
            && weight.is_none_or(|w| w.len() == width)
            && affine
                .as_ref()
                .is_none_or(|a| a.iter().all(|a| a.len() == width)),
        "norm: lengths"
    );
    let out = out.map(|o| SyncPtr(o.as_mut_ptr()));
    let rows = stats.len();
    // Each part of the rows sums for itself.
    let per_part = rows.div_ceil(PARTS).max(GRAIN.div_ceil(width));
    let parts = rows.div_ceil(per_part);
    let stride = if affine.is_some() { width } else { 0 };
    let mut sums_of = vec![T::ZERO; parts * 2 * stride];
    let sums_ptr = SyncPtr(sums_of.as_mut_ptr());
    parallel_for(parts, 1, |range| {
        for part in range {
            // SAFETY: each part is handed out once and has `2 * stride` places of its own.
            let (gw, gb) = unsafe {
                std::slice::from_raw_parts_mut(sums_ptr.get().add(part * 2 * stride), 2 * stride)
            }
            .split_at_mut(stride);
            dispatch(
                #[inline(always)]
                || {
                    for row in part * per_part..rows.min((part + 1) * per_part) {
                        let (x, g) = (&x[row * width..][..width], &g[row * width..][..width]);
                        let [mean, inverse] = stats[row];
                        let sums = gw.iter_mut().zip(gb.iter_mut());
                        for (((w, b), &x), &g) in sums.zip(x).zip(g) {
                            *w += (x - mean) * inverse * g;
                            *b += g;
                        }
                        if let Some(out) = &out {
                            // SAFETY: rows lie apart, and each is dealt with once.
                            let out = unsafe {
                                std::slice::from_raw_parts_mut(out.get().add(row * width), width)
                            };
                            norm_row_backward(x, g, weight, stats[row], out);
                        }
                    }
                },
            );
        }
    });
    if let Some([grad_weight, grad_bias]) = affine {
        grad_weight.fill(T::ZERO);
        grad_bias.fill(T::ZERO);
        for part in sums_of.chunks_exact(2 * stride) {
            let sums = grad_weight.iter_mut().zip(grad_bias.iter_mut());
            for ((w, b), (&pw, &pb)) in sums.zip(part[..width].iter().zip(&part[width..])) {
                *w += pw;
                *b += pb;
            }
        }
    }
}

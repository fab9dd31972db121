//! The gradient of group norm. (Its forward pass is the statistics of rows and their application.)

use super::NARROW;
use crate::float::Float;
use crate::reduce::sums;
use crate::simd::dispatch;
use crate::threads::{SyncPtr, parallel_chunks_mut};

/// Samples that are dealt with in one piece.
const RUN: usize = 16;

/// The gradients of group norm from `g`, that of its output, for `[batch, groups, of_group, inner]`,
/// whose last three sizes are given: of the input, where `out` has room for it, and, returned for each
/// channel, of bias and weight. `stats` has mean and inverse deviation of each group of each sample.
///
/// Two passes, of which the second one reads a group while it is still in the cache. Narrow channels
/// are summed over the samples element by element: sums across each would take longer than the rest.
///
/// ```
/// let mut out = [0.0f32; 2];
/// let of = [&[1.0, 3.0][..], &[1.0, 0.0]];
/// let stats = [[2.0, 1.0]];
/// let sums =
///     flambeau_cpu::norm::group_norm_backward([1, 1, 2], of, None, &stats, Some(&mut out));
/// assert_eq!((out, sums[0]), ([0.0, 0.0], [1.0, -1.0]));
/// ```
///
/// # Panics
/// If the lengths do not fit.
pub fn group_norm_backward<T: Float>(
    [groups, of_group, inner]: [usize; 3],
    [x, g]: [&[T]; 2],
    weight: Option<&[T]>,
    stats: &[[T; 2]],
    out: Option<&mut [T]>,
) -> Vec<[f64; 2]> {
    let (width, channels, batch) = (of_group * inner, groups * of_group, stats.len() / groups);
    assert!(
        width > 0
            && batch * groups * width == x.len()
            && g.len() == x.len()
            && out.as_ref().is_none_or(|out| out.len() == x.len())
            && weight.is_none_or(|w| w.len() == channels),
        "norm: lengths"
    );
    let out = out.map(|out| SyncPtr(out.as_mut_ptr()));
    let mut parts = vec![[T::ZERO; 2]; batch.div_ceil(RUN) * channels];
    parallel_chunks_mut(&mut parts, of_group, |i, part| {
        let (group, first) = (i % groups, i / groups * RUN);
        let weight = |c: usize| weight.map_or(T::from_f64(1.0), |w| w[group * of_group + c]);
        // Channels, or where they are narrow the whole group as one, with a number for each element.
        let step = if inner < NARROW || of_group == 1 {
            width
        } else {
            inner
        };
        let mut spread = vec![];
        if step == width {
            (0..of_group).for_each(|c| spread.resize((c + 1) * inner, weight(c)));
        }
        let mut columns = [(); 2].map(|()| vec![T::ZERO; spread.len()]);
        let mut weighted = vec![T::ZERO; width];
        for n in first..batch.min(first + RUN) {
            let row = n * groups + group;
            let of_row = row * width..(row + 1) * width;
            let (x, g) = (&x[of_row.clone()], &g[of_row.clone()]);
            let [mean, inverse] = stats[row];
            // SAFETY: `out` is as long as `x`, and a row is dealt with once.
            let mut out = out.as_ref().map(|out| unsafe {
                std::slice::from_raw_parts_mut(out.get().add(of_row.start), width)
            });
            dispatch(
                #[inline(always)]
                || {
                    let (mut sum, mut dot) = (T::ZERO, T::ZERO);
                    let steps = x.chunks_exact(step).zip(g.chunks_exact(step));
                    for (c, ((x, g), wg)) in steps.zip(weighted.chunks_exact_mut(step)).enumerate()
                    {
                        if step < width {
                            let w = weight(c);
                            for (wg, &g) in wg.iter_mut().zip(g) {
                                *wg = w * g;
                            }
                            let [of_g, of_gx] = sums(
                                x,
                                g,
                                #[inline(always)]
                                |x, g| [g, g * (x - mean)],
                            );
                            part[c][0] += of_g;
                            part[c][1] += of_gx * inverse;
                            sum += w * of_g;
                            dot += w * of_gx;
                            continue;
                        }
                        let [of_g, of_gx] = columns.each_mut().map(|c| &mut c[..step]);
                        let (x, g, w, wg) =
                            (&x[..step], &g[..step], &spread[..step], &mut wg[..step]);
                        // A loop each: with more to be told apart none would be vectorised.
                        for i in 0..step {
                            of_g[i] += g[i];
                        }
                        for i in 0..step {
                            of_gx[i] += g[i] * ((x[i] - mean) * inverse);
                        }
                        for i in 0..step {
                            wg[i] = w[i] * g[i];
                        }
                        [sum, dot] = sums(
                            x,
                            wg,
                            #[inline(always)]
                            |x, wg| [wg, wg * (x - mean)],
                        );
                    }
                    let Some(out) = &mut out else { return };
                    let count = T::from_f64(width as f64);
                    let (mean_g, slope) = (sum / count, dot / count * inverse * inverse);
                    for ((o, &x), &wg) in out.iter_mut().zip(x).zip(&weighted) {
                        *o = (wg - mean_g - (x - mean) * slope) * inverse;
                    }
                },
            );
        }
        dispatch(
            #[inline(always)]
            || {
                for (w, column) in columns.iter().enumerate() {
                    for (part, of_channel) in part.iter_mut().zip(column.chunks_exact(inner)) {
                        [part[w]] = sums(
                            of_channel,
                            of_channel,
                            #[inline(always)]
                            |v, _| [v],
                        );
                    }
                }
            },
        );
    });
    let mut totals = vec![[0.0; 2]; channels];
    for part in parts.chunks_exact(channels) {
        for (total, part) in totals.iter_mut().zip(part) {
            (0..2).for_each(|i| total[i] += part[i].to_f64());
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::norm::{normalise_rows, row_statistics};

    #[test]
    fn gradients_are_those_of_differences() {
        for (batch, of_row, inner) in [(17, 2, 3), (2, 1, 70), (3, 3, 65), (2, 4, 1)] {
            let (rows, width, channels) = (2 * batch, of_row * inner, 2 * of_row);
            let numbers = |k: usize| -> Vec<f64> {
                let of = |i: usize| ((i * k) % 101) as f64 / 16.0 - 3.0;
                (0..rows * width).map(of).collect()
            };
            let (mut x, g) = (numbers(7919), numbers(31));
            let mut w: Vec<f64> = (0..channels).map(|c| 0.5 + c as f64).collect();
            let b = vec![0.25; channels];
            let sizes = [of_row, inner];
            let statistics = |x: &[f64]| {
                let mut stats = vec![[0.0; 2]; rows];
                row_statistics(width, x, 1e-3, &mut stats);
                stats
            };
            let loss = |x: &[f64], w: &[f64]| -> f64 {
                let mut out = vec![0.0; x.len()];
                normalise_rows(sizes, x, &statistics(x), [Some(w), Some(&b)], &mut out);
                out.iter().zip(&g).map(|(o, g)| o * g).sum()
            };
            let (mut out, stats) = (vec![0.0; x.len()], statistics(&x));
            let (of, sizes) = ([&x[..], &g], [2, of_row, inner]);
            let totals = group_norm_backward(sizes, of, Some(&w), &stats, Some(&mut out));
            let step = 1e-5;
            for i in 0..x.len() {
                let v = x[i];
                x[i] = v + step;
                let more = loss(&x, &w);
                x[i] = v - step;
                let slope = (more - loss(&x, &w)) / (2.0 * step);
                x[i] = v;
                assert!((out[i] - slope).abs() < 1e-6, "{} {slope}", out[i]);
            }
            for c in 0..channels {
                let v = w[c];
                w[c] = v + step;
                let more = loss(&x, &w);
                w[c] = v - step;
                let slope = (more - loss(&x, &w)) / (2.0 * step);
                w[c] = v;
                let [of_bias, of_weight] = totals[c];
                assert!((of_weight - slope).abs() < 1e-6, "{of_weight} {slope}");
                let each = g.chunks_exact(inner).skip(c).step_by(channels);
                assert!((of_bias - each.flatten().sum::<f64>()).abs() < 1e-9);
            }
        }
    }
}

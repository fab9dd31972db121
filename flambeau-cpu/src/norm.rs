//! Normalisation over contiguous slices: statistics, forward and gradients of batch norm over
//! `[batch, channels, inner]` and of layer norm over rows. Each pass over memory does all it can:
//! what is read twice is read again while it is still in the cache.
//!
//! Sums run in several lanes of the element type over a contiguous stretch and in `f64` from
//! stretch to stretch, in an order that depends on the sizes alone.

use std::ops::Range;

use crate::float::Float;
use crate::reduce::sums;
use crate::simd::dispatch;
use crate::threads::{SyncPtr, parallel_chunks_mut, parallel_for};

/// Sizes `[batch, channels, inner]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelShape {
    /// Samples.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Elements of a channel in one sample.
    pub inner: usize,
}

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 14;
/// Channels of fewer elements than this in a sample are dealt with side by side.
const NARROW: usize = 64;
/// Elements of a sample that narrow channels make up together.
const SIDE: usize = 512;
/// Samples that narrow channels are summed over in the element type before `f64` takes over.
const RUN: usize = 64;

impl ChannelShape {
    /// Elements in all.
    pub fn len(&self) -> usize {
        self.batch * self.channels * self.inner
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements of one channel over all samples.
    pub fn per_channel(&self) -> usize {
        self.batch * self.inner
    }

    /// Calls `f` for ranges of channels that make up all of them, possibly on several threads:
    /// single channels, or several narrow ones.
    fn for_tiles(&self, f: impl Fn(Tile) + Sync) {
        let per_tile = if self.inner >= NARROW {
            1
        } else {
            (SIDE / self.inner.max(1)).max(1)
        };
        let grain = GRAIN / (per_tile * self.per_channel()).max(1) + 1;
        parallel_for(self.channels.div_ceil(per_tile), grain, |tiles| {
            for i in tiles {
                let channels = i * per_tile..self.channels.min((i + 1) * per_tile);
                f(Tile {
                    shape: *self,
                    channels,
                });
            }
        });
    }
}

/// Some channels of all samples.
struct Tile {
    shape: ChannelShape,
    channels: Range<usize>,
}

impl Tile {
    /// Where the elements of sample `n` lie.
    #[inline(always)]
    fn of_sample(&self, n: usize) -> Range<usize> {
        let (at, inner) = (n * self.shape.channels, self.shape.inner);
        (at + self.channels.start) * inner..(at + self.channels.end) * inner
    }

    /// A number for each of the tile's channels as one for each element of a sample.
    fn spread<T: Float>(&self, per_channel: &[T]) -> Vec<T> {
        let channels = per_channel[self.channels.clone()].iter();
        channels
            .flat_map(|&v| std::iter::repeat_n(v, self.shape.inner))
            .collect()
    }

    /// The sums of `term(centre of the channel, x, y)`, written to `out` by channel.
    fn sums<T: Float, const W: usize>(
        &self,
        x: &[T],
        y: &[T],
        centre: &[T],
        out: &mut [[f64; W]],
        term: impl Fn(T, T, T) -> [T; W],
    ) {
        if self.channels.len() == 1 {
            let (centre, mut total) = (centre[self.channels.start], [0.0; W]);
            dispatch(
                #[inline(always)]
                || {
                    for n in 0..self.shape.batch {
                        let of_sample = self.of_sample(n);
                        let part = sums(
                            &x[of_sample.clone()],
                            &y[of_sample],
                            #[inline(always)]
                            |x, y| term(centre, x, y),
                        );
                        (0..W).for_each(|w| total[w] += part[w].to_f64());
                    }
                },
            );
            out[self.channels.start] = total;
            return;
        }
        let centre = self.spread(centre);
        let out = &mut out[self.channels.clone()];
        out.fill([0.0; W]);
        let mut columns: [Vec<T>; W] = std::array::from_fn(|_| vec![T::ZERO; centre.len()]);
        for from in (0..self.shape.batch).step_by(RUN) {
            columns.iter_mut().for_each(|c| c.fill(T::ZERO));
            dispatch(
                #[inline(always)]
                || {
                    for n in from..self.shape.batch.min(from + RUN) {
                        let of_sample = self.of_sample(n);
                        let (x, y) = (&x[of_sample.clone()], &y[of_sample]);
                        let len = x.len().min(y.len()).min(centre.len());
                        let (x, y, centre) = (&x[..len], &y[..len], &centre[..len]);
                        let columns = columns.each_mut().map(|c| &mut c[..len]);
                        for i in 0..len {
                            let t = term(centre[i], x[i], y[i]);
                            for w in 0..W {
                                columns[w][i] += t[w];
                            }
                        }
                    }
                },
            );
            for (w, column) in columns.iter().enumerate() {
                for (out, part) in out.iter_mut().zip(column.chunks_exact(self.shape.inner)) {
                    out[w] += part.iter().map(|v| v.to_f64()).sum::<f64>();
                }
            }
        }
    }

    /// `out = f(coefficients of the channel, x, y)`.
    ///
    /// # Safety
    /// `out` is good for all elements of the shape, and nothing else touches this tile's.
    unsafe fn map<T: Float, const K: usize>(
        &self,
        x: &[T],
        y: &[T],
        out: *mut T,
        coefficients: [&[T]; K],
        f: impl Fn([T; K], T, T) -> T,
    ) {
        let piece = |of_sample: &Range<usize>| {
            // SAFETY: the caller's promise; samples lie apart.
            unsafe { std::slice::from_raw_parts_mut(out.add(of_sample.start), of_sample.len()) }
        };
        if self.channels.len() == 1 {
            let k = coefficients.map(|c| c[self.channels.start]);
            dispatch(
                #[inline(always)]
                || {
                    for n in 0..self.shape.batch {
                        let of_sample = self.of_sample(n);
                        let out = piece(&of_sample);
                        for ((o, &x), &y) in out
                            .iter_mut()
                            .zip(&x[of_sample.clone()])
                            .zip(&y[of_sample.clone()])
                        {
                            *o = f(k, x, y);
                        }
                    }
                },
            );
            return;
        }
        let coefficients = coefficients.map(|c| self.spread(c));
        dispatch(
            #[inline(always)]
            || {
                for n in 0..self.shape.batch {
                    let of_sample = self.of_sample(n);
                    let out = piece(&of_sample);
                    let len = out.len();
                    let (x, y) = (&x[of_sample.clone()][..len], &y[of_sample.clone()][..len]);
                    let coefficients = coefficients.each_ref().map(|c| &c[..len]);
                    for i in 0..len {
                        let mut k = [T::ZERO; K];
                        for j in 0..K {
                            k[j] = coefficients[j][i];
                        }
                        out[i] = f(k, x[i], y[i]);
                    }
                }
            },
        );
    }

    /// `out = x * scale + shift`.
    ///
    /// # Safety
    /// As [`map`](Tile::map).
    unsafe fn apply<T: Float>(&self, x: &[T], out: *mut T, scale_shift: [&[T]; 2]) {
        // SAFETY: the caller's promise.
        unsafe {
            self.map(
                x,
                x,
                out,
                scale_shift,
                #[inline(always)]
                |[scale, shift], x, _| x * scale + shift,
            );
        }
    }
}

/// Per-channel results that the tiles of [`ChannelShape::for_tiles`] write side by side.
struct PerChannel<V>(SyncPtr<V>, usize);

impl<V> PerChannel<V> {
    fn new(values: &mut [V]) -> Self {
        PerChannel(SyncPtr(values.as_mut_ptr()), values.len())
    }

    /// All of them.
    ///
    /// # Safety
    /// The caller writes its own tile's channels only, and reads no others.
    #[allow(clippy::mut_from_ref)]
    unsafe fn all(&self) -> &mut [V] {
        // SAFETY: the slice that `new` was given, which stays borrowed during the loop.
        unsafe { std::slice::from_raw_parts_mut(self.0.get(), self.1) }
    }
}

fn check<T>(s: &ChannelShape, elements: &[&[T]], per_channel: &[usize]) {
    assert!(
        elements.iter().all(|e| e.len() == s.len()) && per_channel.iter().all(|&n| n == s.channels),
        "norm: lengths"
    );
}

/// Batch norm by the batch's own statistics: `(x - mean) / sqrt(var + eps) * weight + bias`. Writes
/// the mean and the biased variance of each channel.
///
/// # Panics
/// If the lengths do not fit.
pub fn batch_norm_forward<T: Float>(
    s: &ChannelShape,
    x: &[T],
    [weight, bias]: [Option<&[T]>; 2],
    eps: f64,
    out: &mut [T],
    [mean, var]: [&mut [T]; 2],
) {
    check(s, &[x, out], &[mean.len(), var.len()]);
    check::<T>(s, &[], &[weight.map_or(s.channels, <[T]>::len)]);
    check::<T>(s, &[], &[bias.map_or(s.channels, <[T]>::len)]);
    let count = s.per_channel() as f64;
    let (mut scale, mut shift) = (vec![T::ZERO; s.channels], vec![T::ZERO; s.channels]);
    let mut totals = vec![[0.0; 2]; s.channels];
    let totals = PerChannel::new(&mut totals);
    let numbers = [mean, var, &mut scale, &mut shift].map(PerChannel::new);
    let out = SyncPtr(out.as_mut_ptr());
    s.for_tiles(|tile| {
        // SAFETY: what follows touches the numbers of this tile's channels alone.
        let (totals, [mean, var, scale, shift]) =
            unsafe { (totals.all(), numbers.each_ref().map(|n| n.all())) };
        tile.sums(
            x,
            x,
            mean,
            totals,
            #[inline(always)]
            |_, x, _| [x, T::ZERO],
        );
        for c in tile.channels.clone() {
            mean[c] = T::from_f64(totals[c][0] / count);
        }
        tile.sums(
            x,
            x,
            mean,
            totals,
            #[inline(always)]
            |mean, x, _| [x - mean, (x - mean) * (x - mean)],
        );
        for c in tile.channels.clone() {
            // The first sum is what rounding left of the mean; it corrects the second.
            let [left, square] = totals[c];
            var[c] = T::from_f64((square - left * left / count) / count);
            let inverse = T::from_f64(1.0) / (var[c] + T::from_f64(eps)).sqrt();
            scale[c] = weight.map_or(inverse, |w| inverse * w[c]);
            shift[c] = bias.map_or(T::ZERO, |b| b[c]) - mean[c] * scale[c];
        }
        // SAFETY: `out` is as long as the shape, and tiles lie apart.
        unsafe { tile.apply(x, out.get(), [scale, shift]) };
    });
}

/// `out = x * scale[channel] + shift[channel]`.
///
/// # Panics
/// If the lengths do not fit.
pub fn scale_shift<T: Float>(s: &ChannelShape, x: &[T], scale_shift: [&[T]; 2], out: &mut [T]) {
    check(s, &[x, out], &scale_shift.map(<[T]>::len));
    let out = SyncPtr(out.as_mut_ptr());
    // SAFETY: `out` is as long as the shape, and tiles lie apart.
    s.for_tiles(|tile| unsafe { tile.apply(x, out.get(), scale_shift) });
}

/// What the gradients of batch norm are made of.
#[derive(Clone, Copy)]
pub struct BatchNormGradient<'a, T> {
    /// The input.
    pub x: &'a [T],
    /// The gradient of the output.
    pub grad: &'a [T],
    /// Mean, inverse deviation, and that times the weight, of each channel.
    pub statistics: [&'a [T]; 3],
    /// Whether the statistics are the batch's own.
    pub training: bool,
}

/// For each channel the sums of `g` and of `(x - mean) g`: the gradients of bias and (times the
/// inverse deviation) of weight; and the gradient of the input, where `out` has room for it.
///
/// # Panics
/// If the lengths do not fit.
pub fn batch_norm_backward<T: Float>(
    s: &ChannelShape,
    of: &BatchNormGradient<'_, T>,
    out: Option<&mut [T]>,
) -> Vec<[f64; 2]> {
    let BatchNormGradient { x, grad, .. } = *of;
    let [mean, inverse, scale] = of.statistics;
    check(s, &[x, grad], &of.statistics.map(<[T]>::len));
    check::<T>(s, &out.iter().map(|o| &**o).collect::<Vec<_>>(), &[]);
    let out = out.map(|o| SyncPtr(o.as_mut_ptr()));
    let count = s.per_channel() as f64;
    let mut totals = vec![[0.0; 2]; s.channels];
    let (mut mean_g, mut slope) = (vec![T::ZERO; s.channels], vec![T::ZERO; s.channels]);
    {
        let totals = PerChannel::new(&mut totals);
        let (means, slopes) = (PerChannel::new(&mut mean_g), PerChannel::new(&mut slope));
        s.for_tiles(|tile| {
            // SAFETY: what follows touches the numbers of this tile's channels alone.
            let (totals, mean_g, slope) = unsafe { (totals.all(), means.all(), slopes.all()) };
            tile.sums(
                x,
                grad,
                mean,
                totals,
                #[inline(always)]
                |mean, x, g| [g, (x - mean) * g],
            );
            let Some(out) = &out else { return };
            if of.training {
                for c in tile.channels.clone() {
                    mean_g[c] = T::from_f64(totals[c][0] / count);
                    let square = inverse[c].to_f64() * inverse[c].to_f64();
                    slope[c] = T::from_f64(totals[c][1] / count * square);
                }
                // SAFETY: `out` is as long as the shape, and tiles lie apart.
                unsafe {
                    tile.map(
                        x,
                        grad,
                        out.get(),
                        [mean, mean_g, slope, scale],
                        #[inline(always)]
                        |[mean, mean_g, slope, scale], x, g| {
                            (g - mean_g - (x - mean) * slope) * scale
                        },
                    );
                }
            } else {
                // SAFETY: as above.
                unsafe {
                    tile.map(
                        grad,
                        grad,
                        out.get(),
                        [scale],
                        #[inline(always)]
                        |[scale], g, _| g * scale,
                    );
                }
            }
        });
    }
    totals
}

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
    let rows = GRAIN.div_ceil(width);
    let stats = SyncPtr(stats.as_mut_ptr());
    parallel_chunks_mut(out, rows * width, |i, out| {
        let first = i * rows;
        // SAFETY: there is one for each row, and a row is dealt with once.
        let stats =
            unsafe { std::slice::from_raw_parts_mut(stats.get().add(first), out.len() / width) };
        dispatch(
            #[inline(always)]
            || {
                let x = x[first * width..].chunks_exact(width);
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
    parallel_chunks_mut(stats, rows, |i, stats| {
        dispatch(
            #[inline(always)]
            || {
                let x = x[i * rows * width..].chunks_exact(width);
                for (x, stats) in x.zip(&mut *stats) {
                    *stats = statistics(x, T::from_f64(eps));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers around a large mean, where one-pass variances fail.
    fn numbers(n: usize) -> Vec<f64> {
        (0..n)
            .map(|i| 1000.0 + ((i * 7919) % 101) as f64 / 37.0)
            .collect()
    }

    #[test]
    fn statistics_and_result_are_the_textbooks_in_every_layout() {
        for (batch, channels, inner) in [(3, 5, 70), (40, 3, 1), (1, 2, 33), (150, 50, 16)] {
            let s = ChannelShape {
                batch,
                channels,
                inner,
            };
            let x = numbers(s.len());
            let (mut mean, mut var) = (vec![0.0; channels], vec![0.0; channels]);
            let mut out = vec![0.0; s.len()];
            let weight: Vec<f64> = (0..channels).map(|c| 0.5 + c as f64).collect();
            let bias: Vec<f64> = (0..channels).map(|c| 0.3 * c as f64).collect();
            batch_norm_forward(
                &s,
                &x,
                [Some(&weight), Some(&bias)],
                1e-5,
                &mut out,
                [&mut mean, &mut var],
            );
            for c in 0..channels {
                let of = |x: &[f64]| -> Vec<f64> {
                    (0..batch)
                        .flat_map(|n| x[(n * channels + c) * inner..][..inner].to_vec())
                        .collect()
                };
                let of_c = of(&x);
                let m = of_c.iter().sum::<f64>() / of_c.len() as f64;
                let v = of_c.iter().map(|x| (x - m).powi(2)).sum::<f64>() / of_c.len() as f64;
                assert!((mean[c] - m).abs() < 1e-9 && (var[c] - v).abs() < 1e-9);
                for (x, y) in of_c.iter().zip(of(&out)) {
                    let want = (x - m) / (v + 1e-5).sqrt() * weight[c] + bias[c];
                    assert!(
                        (y - want).abs() < 1e-9 * (1.0 + want.abs()) * 1e3,
                        "{y} {want}"
                    );
                }
            }
        }
    }

    /// Central differences of `sum(g * norm(x))`.
    fn differences(x: &[f64], g: &[f64], norm: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
        let at = |i: usize, h: f64| -> f64 {
            let mut x = x.to_vec();
            x[i] += h;
            norm(&x).iter().zip(g).map(|(y, g)| y * g).sum()
        };
        (0..x.len())
            .map(|i| (at(i, 1e-5) - at(i, -1e-5)) / 2e-5)
            .collect()
    }

    #[test]
    fn batch_norm_gradients_are_the_differences() {
        for (batch, channels, inner) in [(2, 3, 70), (9, 7, 2), (5, 4, 1)] {
            let s = ChannelShape {
                batch,
                channels,
                inner,
            };
            let x: Vec<f64> = numbers(s.len()).iter().map(|x| x - 1001.0).collect();
            let g: Vec<f64> = (0..s.len()).map(|i| ((i * 31) % 17) as f64 / 9.0).collect();
            let weight: Vec<f64> = (0..channels).map(|c| 0.5 + c as f64).collect();
            let forward = |x: &[f64]| {
                let (mut mean, mut var) = (vec![0.0; channels], vec![0.0; channels]);
                let mut out = vec![0.0; s.len()];
                let stats = [&mut mean[..], &mut var];
                batch_norm_forward(&s, x, [Some(&weight), None], 1e-3, &mut out, stats);
                (out, mean, var)
            };
            let (_, mean, var) = forward(&x);
            let inverse: Vec<f64> = var.iter().map(|v| 1.0 / (v + 1e-3).sqrt()).collect();
            let scale: Vec<f64> = inverse.iter().zip(&weight).map(|(i, w)| i * w).collect();
            let mut out = vec![0.0; s.len()];
            let of = BatchNormGradient {
                x: &x,
                grad: &g,
                statistics: [&mean, &inverse, &scale],
                training: true,
            };
            let sums = batch_norm_backward(&s, &of, Some(&mut out));
            let want = differences(&x, &g, |x| forward(x).0);
            for (o, w) in out.iter().zip(&want) {
                assert!((o - w).abs() < 1e-6, "{o} {w}");
            }
            for (c, sums) in sums.iter().enumerate() {
                let of_c = |n: usize| (n * channels + c) * inner..(n * channels + c + 1) * inner;
                let bias: f64 = (0..batch).flat_map(|n| &g[of_c(n)]).sum();
                assert!((sums[0] - bias).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn layer_norm_gradients_are_the_differences() {
        for (rows, width) in [(3, 5), (70, 33), (2, 64)] {
            let x: Vec<f64> = numbers(rows * width).iter().map(|x| x - 1001.0).collect();
            let g: Vec<f64> = (0..x.len()).map(|i| ((i * 31) % 17) as f64 / 9.0).collect();
            let w: Vec<f64> = (0..width).map(|i| 0.5 + (i % 5) as f64).collect();
            let b = vec![0.25; width];
            let forward = |x: &[f64], w: &[f64]| {
                let (mut out, mut stats) = (vec![0.0; x.len()], vec![[0.0; 2]; rows]);
                layer_norm_forward(width, x, [Some(w), Some(&b)], 1e-3, &mut out, &mut stats);
                (out, stats)
            };
            let (_, stats) = forward(&x, &w);
            let mut out = vec![0.0; x.len()];
            let (mut gw, mut gb) = (vec![0.0; width], vec![0.0; width]);
            layer_norm_backward(
                width,
                [&x, &g],
                Some(&w),
                &stats,
                Some(&mut out),
                Some([&mut gw, &mut gb]),
            );
            let want = differences(&x, &g, |x| forward(x, &w).0);
            for (o, w) in out.iter().zip(&want) {
                assert!((o - w).abs() < 1e-6, "{o} {w}");
            }
            let want = differences(&w, &g, |w| forward(&x, w).0);
            for (o, w) in gw.iter().zip(&want) {
                assert!((o - w).abs() < 1e-6, "{o} {w}");
            }
            for (i, b) in gb.iter().enumerate() {
                let want: f64 = g.iter().skip(i).step_by(width).sum();
                assert!((b - want).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn empty_batches_are_harmless() {
        let s = ChannelShape {
            batch: 0,
            channels: 2,
            inner: 3,
        };
        scale_shift::<f32>(&s, &[], [&[1.0; 2], &[0.0; 2]], &mut []);
        let of = BatchNormGradient::<f32> {
            x: &[],
            grad: &[],
            statistics: [&[0.0; 2]; 3],
            training: true,
        };
        assert_eq!(batch_norm_backward(&s, &of, Some(&mut [])), [[0.0; 2]; 2]);
    }
}

//! Normalisation over contiguous slices: statistics, forward and gradients of batch norm over
//! `[batch, channels, inner]` and of layer norm over rows. Each pass over memory does all it can:
//! what is read twice is read again while it is still in the cache.
//!
//! Sums run in several lanes of the element type over a contiguous stretch and in `f64` from
//! stretch to stretch, in an order that depends on the sizes alone. Batch norm's passes read and write
//! maps of the element type that is summed, or of bf16 for sums of f32.

mod bf16;
mod group;
mod layer;

pub use bf16::{batch_norm_backward_bf16, batch_norm_forward_bf16, scale_shift_bf16};
pub use group::group_norm_backward;
pub use layer::{layer_norm_backward, layer_norm_forward, normalise_rows, row_statistics};

use std::ops::Range;

use crate::float::{Float, Stored};
use crate::reduce::sums;
use crate::simd::dispatch;
use crate::threads::{SyncPtr, parallel_for};

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
/// Elements of a channel that are summed in the element type before `f64` takes over.
const CHUNK: usize = 2048;
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
    /// Whether channels are dealt with one by one: where there is one, and where they have too few
    /// samples to be worth lists of numbers for all elements of one.
    fn one_by_one(&self) -> bool {
        self.channels.len() == 1 || self.shape.batch < 4
    }

    /// Where the elements of channel `c` of sample `n` lie.
    #[inline(always)]
    fn of_channel(&self, n: usize, c: usize) -> Range<usize> {
        let at = (n * self.shape.channels + c) * self.shape.inner;
        at..at + self.shape.inner
    }

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

    /// About the mean of channel `c`: of numbers stored with few bits, differences from it and their
    /// squares are exact enough for one pass to do.
    fn guess<T: Float, E: Stored<T>>(&self, x: &[E], c: usize) -> f64 {
        let some = 16.min(self.shape.per_channel());
        let of_samples = (0..self.shape.batch).flat_map(|n| &x[self.of_channel(n, c)]);
        let sum: f64 = of_samples.take(some).map(|v| v.widen().to_f64()).sum();
        // Infinite numbers and none at all are not subtracted.
        Some(sum / some as f64)
            .filter(|v| v.is_finite())
            .unwrap_or(0.0)
    }

    /// The sums of `term(centre of the channel, x, y)`, written to `out` by channel.
    fn sums<T: Float, E: Stored<T>, const W: usize>(
        &self,
        x: &[E],
        y: &[E],
        centre: &[T],
        out: &mut [[f64; W]],
        term: impl Fn(T, T, T) -> [T; W],
    ) {
        if self.one_by_one() {
            dispatch(
                #[inline(always)]
                || {
                    // Widened first: a sum of bf16 that does so as it goes is compiled to poor code.
                    let (mut wide, mut other) = ([T::ZERO; CHUNK], [T::ZERO; CHUNK]);
                    for c in self.channels.clone() {
                        let (centre, mut total) = (centre[c], [0.0; W]);
                        for n in 0..self.shape.batch {
                            let of_channel = self.of_channel(n, c);
                            let x = x[of_channel.clone()].chunks(CHUNK);
                            for (x, y) in x.zip(y[of_channel].chunks(CHUNK)) {
                                let same = std::ptr::eq(x, y);
                                let x = E::widened(x, &mut wide);
                                let y = if same { x } else { E::widened(y, &mut other) };
                                let part = sums(
                                    x,
                                    y,
                                    #[inline(always)]
                                    |x: T, y: T| term(centre, x, y),
                                );
                                (0..W).for_each(|w| total[w] += part[w].to_f64());
                            }
                        }
                        out[c] = total;
                    }
                },
            );
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
                            let t = term(centre[i], x[i].widen(), y[i].widen());
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
    unsafe fn map<T: Float, E: Stored<T>, const K: usize>(
        &self,
        x: &[E],
        y: &[E],
        out: *mut E,
        coefficients: [&[T]; K],
        f: impl Fn([T; K], T, T) -> T,
    ) {
        let piece = |of_sample: &Range<usize>| {
            // SAFETY: the caller's promise; samples lie apart.
            unsafe { std::slice::from_raw_parts_mut(out.add(of_sample.start), of_sample.len()) }
        };
        if self.one_by_one() {
            dispatch(
                #[inline(always)]
                || {
                    for c in self.channels.clone() {
                        let k = coefficients.map(|k| k[c]);
                        for n in 0..self.shape.batch {
                            let of_channel = self.of_channel(n, c);
                            let out = piece(&of_channel);
                            let (x, y) = (&x[of_channel.clone()], &y[of_channel]);
                            for ((o, &x), &y) in out.iter_mut().zip(x).zip(y) {
                                *o = E::narrow(f(k, x.widen(), y.widen()));
                            }
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
                        out[i] = E::narrow(f(k, x[i].widen(), y[i].widen()));
                    }
                }
            },
        );
    }

    /// `out = x * scale + shift`.
    ///
    /// # Safety
    /// As [`map`](Tile::map).
    unsafe fn apply<T: Float, E: Stored<T>>(&self, x: &[E], out: *mut E, scale_shift: [&[T]; 2]) {
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
    affine: [Option<&[T]>; 2],
    eps: f64,
    out: &mut [T],
    mean_var: [&mut [T]; 2],
) {
    forward(s, x, affine, eps, out, mean_var);
}

/// [`batch_norm_forward`] of maps of `E`.
fn forward<T: Float, E: Stored<T>>(
    s: &ChannelShape,
    x: &[E],
    [weight, bias]: [Option<&[T]>; 2],
    eps: f64,
    out: &mut [E],
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
        if size_of::<E>() < size_of::<T>() {
            for c in tile.channels.clone() {
                mean[c] = T::from_f64(tile.guess(x, c));
            }
        } else {
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
            // The first sum is what was left of the mean; it corrects the second.
            let [left, square] = totals[c];
            mean[c] = T::from_f64(mean[c].to_f64() + left / count);
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
    scaled(s, x, scale_shift, out);
}

/// [`scale_shift`] of maps of `E`.
fn scaled<T: Float, E: Stored<T>>(
    s: &ChannelShape,
    x: &[E],
    scale_shift: [&[T]; 2],
    out: &mut [E],
) {
    check(s, &[x, out], &scale_shift.map(<[T]>::len));
    let out = SyncPtr(out.as_mut_ptr());
    // SAFETY: `out` is as long as the shape, and tiles lie apart.
    s.for_tiles(|tile| unsafe { tile.apply(x, out.get(), scale_shift) });
}

/// What the gradients of batch norm are made of.
#[derive(Clone, Copy)]
pub struct BatchNormGradient<'a, T, E = T> {
    /// The input.
    pub x: &'a [E],
    /// The gradient of the output.
    pub grad: &'a [E],
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
    backward(s, of, out)
}

/// [`batch_norm_backward`] of maps of `E`.
fn backward<T: Float, E: Stored<T>>(
    s: &ChannelShape,
    of: &BatchNormGradient<'_, T, E>,
    out: Option<&mut [E]>,
) -> Vec<[f64; 2]> {
    let BatchNormGradient { x, grad, .. } = *of;
    let [mean, inverse, scale] = of.statistics;
    check(s, &[x, grad], &of.statistics.map(<[T]>::len));
    check::<E>(s, &out.iter().map(|o| &**o).collect::<Vec<_>>(), &[]);
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

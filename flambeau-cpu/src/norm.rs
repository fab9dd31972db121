//! Normalisation over contiguous slices: statistics, forward and gradients of batch norm over
//! `[batch, channels, inner]` and of layer norm over rows.
//!
//! Sums run in several lanes of the element type over a contiguous stretch and in `f64` from
//! stretch to stretch, in an order that depends on the sizes alone.

use crate::float::Float;
use crate::simd::dispatch;
use crate::threads::parallel_chunks_mut;

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
/// Partial sums of a stretch.
const LANES: usize = 32;

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

    /// Sums two terms of each element, channel by channel: `term(channel, x, y)`.
    fn sums<T: Float>(
        &self,
        x: &[T],
        y: &[T],
        out: &mut [[f64; 2]],
        term: impl Fn(usize, T, T) -> [T; 2] + Sync,
    ) {
        assert!(
            x.len() == self.len() && y.len() == self.len() && out.len() == self.channels,
            "norm: lengths"
        );
        if self.inner == 1 {
            return self.column_sums(x, y, out, term);
        }
        let per_chunk = GRAIN.div_ceil(self.per_channel().max(1));
        parallel_chunks_mut(out, per_chunk, |i, out| {
            for (k, out) in out.iter_mut().enumerate() {
                let channel = i * per_chunk + k;
                *out = [0.0; 2];
                for n in 0..self.batch {
                    let from = (n * self.channels + channel) * self.inner;
                    let (x, y) = (&x[from..from + self.inner], &y[from..from + self.inner]);
                    let sums = dispatch(
                        #[inline(always)]
                        || {
                            stretch(
                                x,
                                y,
                                #[inline(always)]
                                |x, y| term(channel, x, y),
                            )
                        },
                    );
                    out[0] += sums[0].to_f64();
                    out[1] += sums[1].to_f64();
                }
            }
        });
    }

    /// The same where a sample has one element of each channel: channels side by side.
    fn column_sums<T: Float>(
        &self,
        x: &[T],
        y: &[T],
        out: &mut [[f64; 2]],
        term: impl Fn(usize, T, T) -> [T; 2] + Sync,
    ) {
        let per_chunk = GRAIN.div_ceil(self.batch.max(1));
        parallel_chunks_mut(out, per_chunk, |i, out| {
            let first = i * per_chunk;
            out.fill([0.0; 2]);
            for n in 0..self.batch {
                let from = n * self.channels + first;
                for (k, out) in out.iter_mut().enumerate() {
                    let [a, b] = term(first + k, x[from + k], y[from + k]);
                    out[0] += a.to_f64();
                    out[1] += b.to_f64();
                }
            }
        });
    }

    /// `out = f(channel, x, y)` for each element.
    fn map<T: Float>(&self, x: &[T], y: &[T], out: &mut [T], f: impl Fn(usize, T, T) -> T + Sync) {
        assert!(
            x.len() == self.len() && y.len() == self.len() && out.len() == self.len(),
            "norm: lengths"
        );
        if self.inner == 1 {
            let rows = GRAIN.div_ceil(self.channels.max(1));
            return parallel_chunks_mut(out, rows * self.channels.max(1), |i, out| {
                let from = i * rows * self.channels;
                dispatch(
                    #[inline(always)]
                    || {
                        for (r, out) in out.chunks_exact_mut(self.channels).enumerate() {
                            let at = from + r * self.channels;
                            let (x, y) = (&x[at..at + out.len()], &y[at..at + out.len()]);
                            for (c, ((o, &x), &y)) in out.iter_mut().zip(x).zip(y).enumerate() {
                                *o = f(c, x, y);
                            }
                        }
                    },
                );
            });
        }
        let planes = GRAIN.div_ceil(self.inner.max(1));
        parallel_chunks_mut(out, planes * self.inner.max(1), |i, out| {
            for (p, out) in out.chunks_exact_mut(self.inner.max(1)).enumerate() {
                let plane = i * planes + p;
                let (channel, at) = (plane % self.channels, plane * self.inner);
                let (x, y) = (&x[at..at + self.inner], &y[at..at + self.inner]);
                dispatch(
                    #[inline(always)]
                    || {
                        for ((o, &x), &y) in out.iter_mut().zip(x).zip(y) {
                            *o = f(channel, x, y);
                        }
                    },
                );
            }
        });
    }
}

/// Two sums over a contiguous stretch.
#[inline(always)]
fn stretch<T: Float>(x: &[T], y: &[T], term: impl Fn(T, T) -> [T; 2]) -> [T; 2] {
    let mut a = [T::ZERO; LANES];
    let mut b = [T::ZERO; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let (x_rest, y_rest) = (xs.remainder(), ys.remainder());
    for (x, y) in xs.zip(ys) {
        for l in 0..LANES {
            let t = term(x[l], y[l]);
            a[l] += t[0];
            b[l] += t[1];
        }
    }
    for (l, (&x, &y)) in x_rest.iter().zip(y_rest).enumerate() {
        let t = term(x, y);
        a[l] += t[0];
        b[l] += t[1];
    }
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            a[l] += a[l + width];
            b[l] += b[l + width];
        }
        width /= 2;
    }
    [a[0], b[0]]
}

/// The mean and the biased variance of each channel.
///
/// # Panics
/// If the lengths do not fit.
pub fn channel_stats<T: Float>(s: &ChannelShape, x: &[T], mean: &mut [T], var: &mut [T]) {
    assert!(
        mean.len() == s.channels && var.len() == s.channels,
        "norm: lengths"
    );
    let count = s.per_channel() as f64;
    let mut sums = vec![[0.0; 2]; s.channels];
    s.sums(
        x,
        x,
        &mut sums,
        #[inline(always)]
        |_, x, _| [x, T::ZERO],
    );
    mean.iter_mut()
        .zip(&sums)
        .for_each(|(m, s)| *m = T::from_f64(s[0] / count));
    let centre: &[T] = mean;
    s.sums(
        x,
        x,
        &mut sums,
        #[inline(always)]
        |c, x, _| {
            let d = x - centre[c];
            [d, d * d]
        },
    );
    // The first sum is what rounding left of the mean; it corrects the second.
    for (v, s) in var.iter_mut().zip(&sums) {
        *v = T::from_f64((s[1] - s[0] * s[0] / count) / count);
    }
}

/// `out = x * scale[channel] + shift[channel]`.
///
/// # Panics
/// If the lengths do not fit.
pub fn scale_shift<T: Float>(s: &ChannelShape, x: &[T], scale: &[T], shift: &[T], out: &mut [T]) {
    assert!(
        scale.len() == s.channels && shift.len() == s.channels,
        "norm: lengths"
    );
    s.map(
        x,
        x,
        out,
        #[inline(always)]
        |c, x, _| x * scale[c] + shift[c],
    );
}

/// For each channel the sums of `g` and of `(x - mean) g`: the gradients of bias and (times the
/// inverse deviation) of weight.
///
/// # Panics
/// If the lengths do not fit.
pub fn gradient_sums<T: Float>(s: &ChannelShape, x: &[T], g: &[T], mean: &[T]) -> Vec<[f64; 2]> {
    assert_eq!(mean.len(), s.channels, "norm: lengths");
    let mut sums = vec![[0.0; 2]; s.channels];
    s.sums(
        x,
        g,
        &mut sums,
        #[inline(always)]
        |c, x, g| [g, (x - mean[c]) * g],
    );
    sums
}

/// The gradient of batch norm's input where the statistics are the batch's own: `scale` is weight
/// times inverse deviation, `sums` comes from [`gradient_sums`].
///
/// # Panics
/// If the lengths do not fit.
pub fn batch_norm_backward<T: Float>(
    s: &ChannelShape,
    [x, g]: [&[T]; 2],
    [mean, inverse, scale]: [&[T]; 3],
    sums: &[[f64; 2]],
    out: &mut [T],
) {
    let count = s.per_channel() as f64;
    let mean_g: Vec<T> = sums.iter().map(|v| T::from_f64(v[0] / count)).collect();
    let slope: Vec<T> = sums
        .iter()
        .zip(inverse)
        .map(|(v, i)| T::from_f64(v[1] / count * i.to_f64() * i.to_f64()))
        .collect();
    s.map(
        x,
        g,
        out,
        #[inline(always)]
        |c, x, g| (g - mean_g[c] - (x - mean[c]) * slope[c]) * scale[c],
    );
}

/// Layer norm of each row of `width` elements; `weight` and `bias` are one row where given. Writes
/// each row's mean and inverse deviation.
///
/// # Panics
/// If the lengths do not fit.
pub fn layer_norm_forward<T: Float>(
    width: usize,
    x: &[T],
    weight: Option<&[T]>,
    bias: Option<&[T]>,
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
    parallel_chunks_mut(stats, rows, |i, stats| {
        for (r, stats) in stats.iter_mut().enumerate() {
            let x = &x[(i * rows + r) * width..][..width];
            *stats = dispatch(
                #[inline(always)]
                || {
                    let count = T::from_f64(width as f64);
                    let mean = stretch(
                        x,
                        x,
                        #[inline(always)]
                        |x, _| [x, T::ZERO],
                    )[0] / count;
                    let [left, square] = stretch(
                        x,
                        x,
                        #[inline(always)]
                        |x, _| [x - mean, (x - mean) * (x - mean)],
                    );
                    let var = (square - left * left / count) / count;
                    [mean, T::from_f64(1.0) / (var + T::from_f64(eps)).sqrt()]
                },
            );
        }
    });
    let stats: &[[T; 2]] = stats;
    parallel_chunks_mut(out, rows * width, |i, out| {
        for (r, out) in out.chunks_exact_mut(width).enumerate() {
            let row = i * rows + r;
            let (x, [mean, inverse]) = (&x[row * width..][..width], stats[row]);
            dispatch(
                #[inline(always)]
                || match (weight, bias) {
                    (Some(w), Some(b)) => {
                        for (((o, &x), &w), &b) in out.iter_mut().zip(x).zip(w).zip(b) {
                            *o = (x - mean) * inverse * w + b;
                        }
                    }
                    (Some(w), None) => {
                        out.iter_mut()
                            .zip(x)
                            .zip(w)
                            .for_each(|((o, &x), &w)| *o = (x - mean) * inverse * w);
                    }
                    (None, Some(b)) => {
                        out.iter_mut()
                            .zip(x)
                            .zip(b)
                            .for_each(|((o, &x), &b)| *o = (x - mean) * inverse + b);
                    }
                    (None, None) => out
                        .iter_mut()
                        .zip(x)
                        .for_each(|(o, &x)| *o = (x - mean) * inverse),
                },
            );
        }
    });
}

/// The gradient of layer norm's input.
///
/// # Panics
/// If the lengths do not fit.
pub fn layer_norm_backward<T: Float>(
    width: usize,
    x: &[T],
    g: &[T],
    weight: Option<&[T]>,
    stats: &[[T; 2]],
    out: &mut [T],
) {
    assert!(
        width > 0 && x.len() == out.len() && g.len() == out.len() && stats.len() * width == x.len(),
        "norm: lengths"
    );
    let rows = GRAIN.div_ceil(width);
    parallel_chunks_mut(out, rows * width, |i, out| {
        for (r, out) in out.chunks_exact_mut(width).enumerate() {
            let row = i * rows + r;
            let (x, g, [mean, inverse]) = (
                &x[row * width..][..width],
                &g[row * width..][..width],
                stats[row],
            );
            dispatch(
                #[inline(always)]
                || {
                    match weight {
                        Some(w) => out
                            .iter_mut()
                            .zip(g)
                            .zip(w)
                            .for_each(|((o, &g), &w)| *o = g * w),
                        None => out.copy_from_slice(g),
                    }
                    let count = T::from_f64(width as f64);
                    let [sum, dot] = stretch(
                        out,
                        x,
                        #[inline(always)]
                        |g, x| [g, g * (x - mean)],
                    );
                    let (mean_g, slope) = (sum / count, dot / count * inverse * inverse);
                    for (o, &x) in out.iter_mut().zip(x) {
                        *o = (*o - mean_g - (x - mean) * slope) * inverse;
                    }
                },
            );
        }
    });
}

/// The gradients of layer norm's weight and bias.
///
/// # Panics
/// If the lengths do not fit.
pub fn layer_norm_backward_affine<T: Float>(
    width: usize,
    x: &[T],
    g: &[T],
    stats: &[[T; 2]],
    grad_weight: &mut [T],
    grad_bias: &mut [T],
) {
    assert!(
        x.len() == g.len() && stats.len() * width == x.len(),
        "norm: lengths"
    );
    assert!(
        grad_weight.len() == width && grad_bias.len() == width,
        "norm: lengths"
    );
    // Columns in blocks, each summed down the rows.
    const BLOCK: usize = 256;
    let mut sums = vec![([T::ZERO; BLOCK], [T::ZERO; BLOCK]); width.div_ceil(BLOCK)];
    parallel_chunks_mut(&mut sums, 1, |i, sums| {
        let (from, to) = (i * BLOCK, width.min((i + 1) * BLOCK));
        let (weight, bias) = &mut sums[0];
        dispatch(
            #[inline(always)]
            || {
                for (row, &[mean, inverse]) in stats.iter().enumerate() {
                    let (x, g) = (
                        &x[row * width + from..row * width + to],
                        &g[row * width + from..row * width + to],
                    );
                    for (((w, b), &x), &g) in weight.iter_mut().zip(bias.iter_mut()).zip(x).zip(g) {
                        *w += (x - mean) * inverse * g;
                        *b += g;
                    }
                }
            },
        );
    });
    for (i, (weight, bias)) in sums.iter().enumerate() {
        let (from, to) = (i * BLOCK, width.min((i + 1) * BLOCK));
        grad_weight[from..to].copy_from_slice(&weight[..to - from]);
        grad_bias[from..to].copy_from_slice(&bias[..to - from]);
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
    fn statistics_are_the_textbooks_in_both_layouts() {
        for (batch, channels, inner) in [(3, 5, 70), (40, 3, 1), (1, 2, 33)] {
            let s = ChannelShape {
                batch,
                channels,
                inner,
            };
            let x = numbers(s.len());
            let (mut mean, mut var) = (vec![0.0; channels], vec![0.0; channels]);
            channel_stats(&s, &x, &mut mean, &mut var);
            for c in 0..channels {
                let of_c: Vec<f64> = (0..batch)
                    .flat_map(|n| x[(n * channels + c) * inner..][..inner].to_vec())
                    .collect();
                let m = of_c.iter().sum::<f64>() / of_c.len() as f64;
                let v = of_c.iter().map(|x| (x - m).powi(2)).sum::<f64>() / of_c.len() as f64;
                assert!((mean[c] - m).abs() < 1e-9 && (var[c] - v).abs() < 1e-9);
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
        scale_shift::<f32>(&s, &[], &[1.0; 2], &[0.0; 2], &mut []);
        assert_eq!(gradient_sums::<f32>(&s, &[], &[], &[0.0; 2]), [[0.0; 2]; 2]);
    }
}

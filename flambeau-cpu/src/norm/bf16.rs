//! Batch norm of `bf16` tensors, computed in `f32` without copies of whole tensors.

use super::{
    BatchNormGradient, ChannelShape, GRAIN, PerChannel, batch_norm_backward, batch_norm_forward,
    check,
};
use crate::convert::Near;
use crate::simd::dispatch;
use crate::threads::{SyncPtr, parallel_chunks_mut, parallel_for};
use half::bf16;
use std::ops::Range;

/// Elements that are added up in one go.
const LONGEST: usize = 4096;

/// The channels of `bf16` tensors one at a time, widened to `f32`.
struct Widened<'a> {
    shape: &'a ChannelShape,
    one: ChannelShape,
}

impl<'a> Widened<'a> {
    fn new(shape: &'a ChannelShape) -> Self {
        // Samples that lie side by side when widened are taken as one, as long as that is not so long
        // that a sum of its elements would lose digits.
        let joined = (1..=shape.batch)
            .rev()
            .find(|&g| shape.batch.is_multiple_of(g) && g * shape.inner <= LONGEST)
            .unwrap_or(1);
        let one = ChannelShape {
            batch: shape.batch / joined,
            channels: 1,
            inner: shape.inner * joined,
        };
        Widened { shape, one }
    }

    /// Calls `f` for each channel, with memory for the elements of `N` tensors.
    fn each<const N: usize>(&self, f: impl Fn(usize, [&mut [f32]; N]) + Sync) {
        let n = self.shape.per_channel();
        parallel_for(self.shape.channels, GRAIN / n.max(1) + 1, |channels| {
            let mut memory: [Vec<f32>; N] = std::array::from_fn(|_| vec![0.0; n]);
            for c in channels {
                f(c, memory.each_mut().map(|m| &mut m[..]));
            }
        });
    }

    /// Where the elements of channel `c` of each sample lie.
    fn samples(&self, c: usize) -> impl Iterator<Item = Range<usize>> {
        let (channels, inner) = (self.shape.channels, self.shape.inner);
        (0..self.shape.batch).map(move |n| {
            let at = (n * channels + c) * inner;
            at..at + inner
        })
    }

    /// The elements of channel `c`, widened.
    fn load(&self, c: usize, x: &[bf16], out: &mut [f32]) {
        let inner = self.shape.inner.max(1);
        dispatch(
            #[inline(always)]
            || {
                for (of_sample, out) in self.samples(c).zip(out.chunks_exact_mut(inner)) {
                    for (o, x) in out.iter_mut().zip(&x[of_sample]) {
                        *o = x.wide();
                    }
                }
            },
        );
    }

    /// Rounds the elements of channel `c`.
    ///
    /// # Safety
    /// `out` is good for all elements of the shape, and nothing else touches this channel's.
    unsafe fn store(&self, c: usize, x: &[f32], out: *mut bf16) {
        let inner = self.shape.inner.max(1);
        dispatch(
            #[inline(always)]
            || {
                for (of_sample, x) in self.samples(c).zip(x.chunks_exact(inner)) {
                    // SAFETY: the caller's promise.
                    let out = unsafe {
                        std::slice::from_raw_parts_mut(out.add(of_sample.start), of_sample.len())
                    };
                    for (o, &x) in out.iter_mut().zip(x) {
                        *o = bf16::near(x);
                    }
                }
            },
        );
    }
}

/// [`batch_norm_forward`] of `bf16`, computed in `f32`.
///
/// # Panics
/// If the lengths do not fit.
pub fn batch_norm_forward_bf16(
    s: &ChannelShape,
    x: &[bf16],
    affine: [Option<&[f32]>; 2],
    eps: f64,
    out: &mut [bf16],
    [mean, var]: [&mut [f32]; 2],
) {
    check(s, &[x, out], &[mean.len(), var.len()]);
    affine
        .iter()
        .flatten()
        .for_each(|a| check::<f32>(s, &[], &[a.len()]));
    let (wide, out) = (Widened::new(s), SyncPtr(out.as_mut_ptr()));
    let stats = [mean, var].map(PerChannel::new);
    wide.each(|c, [of_x, result]: [_; 2]| {
        wide.load(c, x, of_x);
        // SAFETY: this channel's numbers alone are touched.
        let stats = stats.each_ref().map(|s| unsafe { &mut s.all()[c..c + 1] });
        let affine = affine.map(|a| a.map(|a| &a[c..c + 1]));
        batch_norm_forward(&wide.one, of_x, affine, eps, result, stats);
        // SAFETY: `out` is as long as the shape, and channels lie apart.
        unsafe { wide.store(c, result, out.get()) };
    });
}

/// `scale_shift` of `bf16`, computed in `f32`.
///
/// # Panics
/// If the lengths do not fit.
pub fn scale_shift_bf16(
    s: &ChannelShape,
    x: &[bf16],
    [scale, shift]: [&[f32]; 2],
    out: &mut [bf16],
) {
    check(s, &[x, out], &[scale.len(), shift.len()]);
    if s.is_empty() {
        return;
    }
    let rows = (GRAIN / s.inner).max(1);
    parallel_chunks_mut(out, rows * s.inner, |i, out| {
        let x = &x[i * rows * s.inner..][..out.len()];
        dispatch(
            #[inline(always)]
            || {
                let pieces = x.chunks_exact(s.inner).zip(out.chunks_exact_mut(s.inner));
                for (k, (x, out)) in pieces.enumerate() {
                    let c = (i * rows + k) % s.channels;
                    let (scale, shift) = (scale[c], shift[c]);
                    for (o, x) in out.iter_mut().zip(x) {
                        *o = bf16::near(x.wide() * scale + shift);
                    }
                }
            },
        );
    });
}

/// [`batch_norm_backward`] of `bf16` tensors, computed in `f32`.
///
/// # Panics
/// If the lengths do not fit.
pub fn batch_norm_backward_bf16(
    s: &ChannelShape,
    [x, grad]: [&[bf16]; 2],
    statistics: [&[f32]; 3],
    training: bool,
    out: Option<&mut [bf16]>,
) -> Vec<[f64; 2]> {
    check(s, &[x, grad], &statistics.map(<[f32]>::len));
    check::<bf16>(s, &out.iter().map(|o| &**o).collect::<Vec<_>>(), &[]);
    let out = out.map(|o| SyncPtr(o.as_mut_ptr()));
    let mut totals = vec![[0.0; 2]; s.channels];
    let (wide, sums) = (Widened::new(s), PerChannel::new(&mut totals));
    wide.each(|c, [of_x, of_grad, result]: [_; 3]| {
        wide.load(c, x, of_x);
        wide.load(c, grad, of_grad);
        let of = BatchNormGradient {
            x: of_x,
            grad: of_grad,
            statistics: statistics.map(|s| &s[c..c + 1]),
            training,
        };
        let total = batch_norm_backward(&wide.one, &of, out.as_ref().map(|_| &mut *result));
        // SAFETY: this channel's numbers and elements alone are touched.
        unsafe {
            sums.all()[c] = total[0];
            if let Some(out) = &out {
                wide.store(c, result, out.get());
            }
        }
    });
    totals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::norm::scale_shift;

    /// The same as the `f32` kernels, rounded.
    #[test]
    fn results_are_those_of_f32() {
        let wide = |x: &[bf16]| -> Vec<f32> { x.iter().map(|v| v.to_f32()).collect() };
        let near = |x: &[f32]| -> Vec<bf16> { x.iter().map(|&v| bf16::from_f32(v)).collect() };
        for (batch, channels, inner) in [(3, 5, 70), (9, 3, 1), (33, 20, 49), (0, 2, 3)] {
            let s = ChannelShape {
                batch,
                channels,
                inner,
            };
            let numbers = |k: usize| -> Vec<f32> {
                (0..s.len())
                    .map(|i| ((i * k) % 101) as f32 / 16.0 - 3.0)
                    .collect()
            };
            let (x, g) = (near(&numbers(7919)), near(&numbers(31)));
            let (wx, wg) = (wide(&x), wide(&g));
            let weight: Vec<f32> = (0..channels).map(|c| 0.5 + c as f32).collect();
            let bias: Vec<f32> = (0..channels).map(|c| 0.3 * c as f32).collect();
            let affine = [Some(&weight[..]), Some(&bias[..])];
            let stats = || (vec![0.0; channels], vec![0.0; channels]);
            let ((mut mean, mut var), (mut want_mean, mut want_var)) = (stats(), stats());
            let (mut out, mut want) = (x.clone(), wx.clone());
            batch_norm_forward_bf16(&s, &x, affine, 1e-5, &mut out, [&mut mean, &mut var]);
            let want_stats = [&mut want_mean[..], &mut want_var];
            batch_norm_forward(&s, &wx, affine, 1e-5, &mut want, want_stats);
            let close = |a: &[f32], b: &[f32]| {
                a.iter()
                    .zip(b)
                    .all(|(a, b)| (a - b).abs() <= 1e-2 * (1e-2 + b.abs()))
            };
            if batch > 0 {
                assert!(close(&mean, &want_mean) && close(&var, &want_var));
                assert!(close(&wide(&out), &want), "{s:?}");
            }
            scale_shift_bf16(&s, &x, [&weight, &bias], &mut out);
            scale_shift(&s, &wx, [&weight, &bias], &mut want);
            assert!(close(&wide(&out), &want), "{s:?}");
            for training in [false, true] {
                let statistics = [&mean[..], &weight, &weight];
                let sums =
                    batch_norm_backward_bf16(&s, [&x, &g], statistics, training, Some(&mut out));
                let of = BatchNormGradient {
                    x: &wx,
                    grad: &wg,
                    statistics,
                    training,
                };
                let want_sums = batch_norm_backward(&s, &of, Some(&mut want));
                for (a, b) in sums.as_flattened().iter().zip(want_sums.as_flattened()) {
                    assert!((a - b).abs() <= 1e-3 * (1.0 + b.abs()), "{s:?}");
                }
                assert!(close(&wide(&out), &want), "{s:?}");
            }
        }
    }
}

//! Batch norm of `bf16` tensors, computed in `f32`: the passes widen and round as they go. Compiled where
//! they are called, as those of `f32` are.

use super::{BatchNormGradient, ChannelShape, backward, forward, scaled};
use half::bf16;

/// [`batch_norm_forward`](super::batch_norm_forward) of `bf16`, computed in `f32`.
///
/// # Panics
/// If the lengths do not fit.
#[inline]
pub fn batch_norm_forward_bf16(
    s: &ChannelShape,
    x: &[bf16],
    affine: [Option<&[f32]>; 2],
    eps: f64,
    out: &mut [bf16],
    mean_var: [&mut [f32]; 2],
) {
    forward(s, x, affine, eps, out, mean_var);
}

/// [`scale_shift`](super::scale_shift) of `bf16`, computed in `f32`.
///
/// # Panics
/// If the lengths do not fit.
#[inline]
pub fn scale_shift_bf16(s: &ChannelShape, x: &[bf16], scale_shift: [&[f32]; 2], out: &mut [bf16]) {
    scaled(s, x, scale_shift, out);
}

/// [`batch_norm_backward`](super::batch_norm_backward) of `bf16` tensors, computed in `f32`.
///
/// # Panics
/// If the lengths do not fit.
#[inline]
pub fn batch_norm_backward_bf16(
    s: &ChannelShape,
    [x, grad]: [&[bf16]; 2],
    statistics: [&[f32]; 3],
    training: bool,
    out: Option<&mut [bf16]>,
) -> Vec<[f64; 2]> {
    let of = BatchNormGradient {
        x,
        grad,
        statistics,
        training,
    };
    backward(s, &of, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::norm::{batch_norm_backward, batch_norm_forward, scale_shift};

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

    /// One pass does, whatever the mean and the first element.
    #[test]
    fn statistics_are_exact_around_a_large_mean() {
        for (batch, channels, inner) in [(4, 3, 700), (50, 6, 9), (130, 2, 1)] {
            let s = ChannelShape {
                batch,
                channels,
                inner,
            };
            let x: Vec<bf16> = (0..s.len())
                .map(|i| match i {
                    0 => -3000.0,
                    _ => 300.0 + 2.0 * ((i * 7919) % 23) as f32,
                })
                .map(bf16::from_f32)
                .collect();
            let (mut mean, mut var) = (vec![0.0; channels], vec![0.0; channels]);
            let stats = [&mut mean[..], &mut var];
            batch_norm_forward_bf16(&s, &x, [None; 2], 1e-5, &mut x.clone(), stats);
            for c in 0..channels {
                let of_c: Vec<f64> = (0..batch)
                    .flat_map(|n| &x[(n * channels + c) * inner..][..inner])
                    .map(|v| v.to_f64())
                    .collect();
                let m = of_c.iter().sum::<f64>() / of_c.len() as f64;
                let v = of_c.iter().map(|x| (x - m).powi(2)).sum::<f64>() / of_c.len() as f64;
                assert!((f64::from(mean[c]) - m).abs() < 1e-6 * m.abs(), "{s:?}");
                assert!((f64::from(var[c]) - v).abs() < 1e-5 * v, "{s:?}");
            }
        }
    }
}

//! The definition of convolution as plain loops with sums in f64: what the fast paths are tested
//! against.

use super::{ConvShape, places};
use crate::float::Float;

/// Calls `visit(out, x, w)` with the flat indices of every product that makes up the convolution.
fn products(s: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
    let o = s.valid_output();
    let (i, k) = (s.input, s.kernel);
    let in_group = s.in_channels / s.groups;
    let out_group = s.out_channels / s.groups.max(1);
    // Where the window's element lies in the input, if not in the padding.
    let at = |d: usize, out: usize, kernel: usize| {
        (out * s.stride[d] + kernel * s.dilation[d])
            .checked_sub(s.padding[d])
            .filter(|&p| p < i[d])
    };
    let mut out = 0;
    for n in 0..s.batch {
        for oc in 0..s.out_channels {
            for [od, oh, ow] in places(o) {
                for c in 0..in_group {
                    let plane = n * s.in_channels + oc / out_group * in_group + c;
                    for [kd, kh, kw] in places(k) {
                        let (Some(d), Some(h), Some(w)) =
                            (at(0, od, kd), at(1, oh, kh), at(2, ow, kw))
                        else {
                            continue;
                        };
                        let x = ((plane * i[0] + d) * i[1] + h) * i[2] + w;
                        let weight = (((oc * in_group + c) * k[0] + kd) * k[1] + kh) * k[2] + kw;
                        visit(out, x, weight);
                    }
                }
                out += 1;
            }
        }
    }
}

fn write<T: Float>(sums: &[f64], out: &mut [T]) {
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = T::from_f64(*sum);
    }
}

/// See [`super::conv_forward`].
pub fn forward<T: Float>(s: &ConvShape, x: &[T], w: &[T], bias: Option<&[T]>, out: &mut [T]) {
    let mut sums = vec![0.0; out.len()];
    if let Some(bias) = bias {
        let pixels = s.pixels();
        for (plane, sums) in sums.chunks_mut(pixels.max(1)).enumerate() {
            sums.fill(bias[plane % s.out_channels].to_f64());
        }
    }
    products(s, |o, i, k| sums[o] += x[i].to_f64() * w[k].to_f64());
    write(&sums, out);
}

/// See [`super::conv_backward_data`].
pub fn backward_data<T: Float>(s: &ConvShape, grad_out: &[T], w: &[T], grad_in: &mut [T]) {
    let mut sums = vec![0.0; grad_in.len()];
    products(s, |o, i, k| sums[i] += grad_out[o].to_f64() * w[k].to_f64());
    write(&sums, grad_in);
}

/// See [`super::conv_backward_weight`].
pub fn backward_weight<T: Float>(s: &ConvShape, x: &[T], grad_out: &[T], grad_w: &mut [T]) {
    let mut sums = vec![0.0; grad_w.len()];
    products(s, |o, i, k| sums[k] += grad_out[o].to_f64() * x[i].to_f64());
    write(&sums, grad_w);
}

/// See [`super::conv_backward_bias`].
pub fn backward_bias<T: Float>(s: &ConvShape, grad_out: &[T], grad_bias: &mut [T]) {
    let mut sums = vec![0.0; grad_bias.len()];
    let pixels = s.pixels();
    for (plane, grads) in grad_out.chunks(pixels.max(1)).enumerate() {
        sums[plane % s.out_channels] += grads.iter().map(|g| g.to_f64()).sum::<f64>();
    }
    write(&sums, grad_bias);
}

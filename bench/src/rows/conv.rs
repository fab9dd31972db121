//! Convolutions: forward, and forward with both gradients.

use super::{Row, tensors};
use flambeau::prelude::*;

/// One convolution of square pictures.
#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    channels: usize,
    side: usize,
    out: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
}

impl Shape {
    fn name(&self) -> String {
        let s = self;
        let mut name = format!(
            "conv_n{}_c{}_h{}_k{}_r{}_s{}_p{}",
            s.batch, s.channels, s.side, s.out, s.kernel, s.stride, s.padding
        );
        if s.dilation != 1 {
            name += &format!("_d{}", s.dilation);
        }
        if s.groups != 1 {
            name += &format!("_g{}", s.groups);
        }
        name
    }

    fn output(&self) -> usize {
        (self.side + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) / self.stride + 1
    }

    fn flop(&self) -> usize {
        let positions = self.batch * self.output() * self.output();
        2 * positions * self.out * self.channels / self.groups * self.kernel * self.kernel
    }

    fn options(&self) -> ConvOptions<2> {
        ConvOptions {
            stride: [self.stride; 2],
            padding: [self.padding; 2],
            dilation: [self.dilation; 2],
            groups: self.groups,
        }
    }

    fn tensors(&self) -> Result<[Tensor; 3]> {
        let s = self;
        Ok([
            Tensor::randn([s.batch, s.channels, s.side, s.side])?,
            Tensor::randn([s.out, s.channels / s.groups, s.kernel, s.kernel])?,
            Tensor::randn([s.batch, s.out, s.output(), s.output()])?,
        ])
    }

    fn rows(self) -> [Row; 2] {
        let name = self.name();
        let forward = tensors(
            format!("{name}_fwd"),
            move || self.tensors(),
            move |[x, w, _]| x.conv2d(w, None, &self.options()),
        );
        let both = tensors(
            format!("{name}_fwd_bwd"),
            move || {
                let [x, w, g] = self.tensors()?;
                Ok([x.requires_grad_(true)?, w.requires_grad_(true)?, g])
            },
            move |[x, w, g]| {
                let y = x.conv2d(w, None, &self.options())?;
                let grads = autograd::grad(&[&y], &[x, w], &[g], autograd::Grad::default())?;
                Ok(grads.into_iter().flatten().next().unwrap_or(y))
            },
        );
        [forward.flop(self.flop()), both.flop(3 * self.flop())]
    }
}

pub fn rows() -> Vec<Row> {
    // batch, channels, side, out channels, kernel, stride, padding, dilation, groups
    [
        [4, 3, 32, 6, 5, 1, 0, 1, 1],
        [128, 3, 32, 6, 5, 1, 0, 1, 1],
        [128, 64, 32, 64, 3, 1, 1, 1, 1],
        [128, 256, 8, 256, 3, 1, 1, 1, 1],
        [32, 64, 56, 64, 3, 1, 1, 1, 1],
        [32, 256, 14, 256, 1, 1, 0, 1, 1],
        [32, 128, 28, 128, 3, 2, 1, 1, 1],
        // What the list above does not stand for.
        [8, 3, 224, 64, 7, 2, 3, 1, 1],
        [32, 96, 28, 96, 3, 1, 1, 1, 96],
        [16, 17, 28, 29, 3, 1, 1, 1, 1],
        [16, 64, 28, 64, 3, 1, 2, 2, 1],
        [16, 64, 28, 128, 3, 1, 1, 1, 4],
        [1, 64, 56, 64, 3, 1, 1, 1, 1],
    ]
    .into_iter()
    .flat_map(
        |[
            batch,
            channels,
            side,
            out,
            kernel,
            stride,
            padding,
            dilation,
            groups,
        ]| {
            Shape {
                batch,
                channels,
                side,
                out,
                kernel,
                stride,
                padding,
                dilation,
                groups,
            }
            .rows()
        },
    )
    .collect()
}

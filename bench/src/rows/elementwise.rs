//! Small operations, and large ones bound by memory.

use super::{Row, tensors};
use flambeau::nn::functional;
use flambeau::prelude::*;
use std::hint::black_box;

const LONG: usize = 1 << 24;

pub fn rows() -> Vec<Row> {
    let mut rows = small();
    rows.extend(long());
    rows.extend(matrix());
    rows
}

fn small() -> Vec<Row> {
    vec![
        tensors(
            "add_16",
            || Ok([Tensor::randn([16])?, Tensor::randn([16])?]),
            |[a, b]| a.add(b),
        ),
        tensors(
            "add_16_grad",
            || {
                let g = Tensor::randn([16])?.requires_grad_(true)?;
                Ok([g, Tensor::randn([16])?])
            },
            |[g, b]| g.add(b),
        ),
        Row::new("chain_40_ops_backward", || {
            let g = Tensor::randn([16])?.requires_grad_(true)?;
            let b = Tensor::randn([16])?;
            Ok(move || {
                let mut y = g.clone();
                for _ in 0..20 {
                    y = y.mul(&b)?.add(&b)?;
                }
                y.sum()?.backward()?;
                g.zero_grad();
                Ok(())
            })
        }),
    ]
}

fn long() -> Vec<Row> {
    let one = || Ok([Tensor::randn([LONG])?]);
    let two = || Ok([Tensor::randn([LONG])?, Tensor::randn([LONG])?]);
    vec![
        Row::new("add_16M_out", || {
            let (x, y) = (Tensor::randn([LONG])?, Tensor::randn([LONG])?);
            Ok(move || x.add_(&y).map(|x| drop(black_box(x))))
        })
        .elements(2 * LONG, LONG),
        tensors("add_16M", two, |[x, y]| x.add(y)).elements(2 * LONG, LONG),
        tensors("exp_16M", one, |[x]| x.exp()).elements(LONG, LONG),
        tensors("gelu_16M", one, |[x]| x.gelu()).elements(LONG, LONG),
        tensors("sum_16M", one, |[x]| x.sum()).elements(LONG, 0),
    ]
}

fn matrix() -> Vec<Row> {
    const N: usize = 4096 * 1024;
    let x = || Ok([Tensor::randn([4096, 1024])?]);
    let tracked = || Ok([Tensor::randn([4096, 1024])?.requires_grad_(true)?]);
    let picture = || Ok([Tensor::randn([32, 64, 32, 32])?.requires_grad_(true)?]);
    vec![
        tensors("sum_dim0_4096x1024", x, |[x]| x.sum_dim(0, false)).elements(N, 0),
        tensors("softmax_4096x1024", x, |[x]| x.softmax(-1)).elements(N, N),
        tensors("layer_norm_4096x1024", x, |[x]| {
            x.layer_norm(&[1024], None, None, 1e-5)
        })
        .elements(N, N),
        tensors("transpose_copy_4096x1024", x, |[x]| x.t()?.contiguous()).elements(N, N),
        tensors("softmax_4096x1024_fwd_bwd", tracked, |[x]| {
            through(&x.softmax(-1)?, x)
        })
        .elements(4 * N, 2 * N),
        tensors("layer_norm_4096x1024_fwd_bwd", tracked, |[x]| {
            through(&x.layer_norm(&[1024], None, None, 1e-5)?, x)
        })
        .elements(4 * N, 2 * N),
        tensors("max_pool2d_n32_c64_h32_fwd_bwd", picture, |[x]| {
            through(&x.max_pool2d(2)?, x)
        }),
        tensors(
            "embedding_10000x256_n4096_fwd_bwd",
            || {
                let table = Tensor::randn([10_000, 256])?.requires_grad_(true)?;
                Ok([table, Tensor::randint(0, 10_000, [4096])?])
            },
            |[table, indices]| through(&functional::embedding(indices, table, None)?, table),
        ),
    ]
}

/// The gradient of `x` where that of `y` is `y` itself: a backward pass with nothing to prepare.
fn through(y: &Tensor, x: &Tensor) -> Result<Tensor> {
    let seed = y.detach();
    let grads = autograd::grad(&[y], &[x], &[&seed], autograd::Grad::default())?;
    Ok(grads.into_iter().flatten().next().unwrap_or(seed))
}

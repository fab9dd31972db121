//! What an operation costs beside its arithmetic: `cargo run --release -p flambeau-core --example
//! overhead`. `examples/overhead.py` asks PyTorch the same.

use flambeau_core::{Result, Tensor, no_grad};
use std::hint::black_box;
use std::time::Instant;

/// The shortest of many runs, in nanoseconds a call.
fn time(name: &str, calls: u32, mut f: impl FnMut() -> Result<()>) -> Result<()> {
    let mut best = f64::INFINITY;
    for _ in 0..30 {
        let start = Instant::now();
        for _ in 0..calls {
            f()?;
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(calls));
    }
    println!("{name:<44} {:>10.0} ns", best * 1e9);
    Ok(())
}

fn main() -> Result<()> {
    let a = Tensor::ones([16])?;
    let b = Tensor::full([16], 0.5)?;
    let x = Tensor::ones([16])?.requires_grad_(true)?;
    time("add, 16 elements", 20_000, || {
        black_box(a.add(&b)?);
        Ok(())
    })?;
    time("add, 16 elements, recorded", 20_000, || {
        black_box(x.add(&b)?);
        Ok(())
    })?;
    time("mul, 16 elements, recorded", 20_000, || {
        black_box(x.mul(&b)?);
        Ok(())
    })?;
    time("add_, 16 elements", 20_000, || {
        black_box(a.add_(&b)?);
        Ok(())
    })?;
    time("view, recorded", 20_000, || {
        black_box(x.view([4, 4])?);
        Ok(())
    })?;
    let chain = || -> Result<Tensor> {
        let mut y = x.clone();
        for _ in 0..20 {
            y = y.mul(&b)?.add(&b)?;
        }
        y.sum()
    };
    time("20 x (mul, add), sum, no_grad", 2_000, || {
        no_grad(chain).map(|y| drop(black_box(y)))
    })?;
    time("20 x (mul, add), sum, forward", 2_000, || {
        chain().map(|y| drop(black_box(y)))
    })?;
    time("20 x (mul, add), sum, forward and backward", 2_000, || {
        chain()?.backward()?;
        x.zero_grad();
        Ok(())
    })
}

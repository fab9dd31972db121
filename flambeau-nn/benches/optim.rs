//! Time of one optimizer step, for LeNet's parameters and for one of 10 million:
//! `cargo bench -p flambeau-nn --bench optim`.

use flambeau_core::{Result, Tensor};
use flambeau_nn::optim::{Adam, AdamW, Optimizer, Sgd};
use std::time::Instant;

fn parameters(shapes: &[&[usize]]) -> Result<Vec<Tensor>> {
    shapes
        .iter()
        .map(|s| {
            let p = Tensor::rand(*s)?.requires_grad_(true)?;
            p.set_grad(Some(Tensor::rand(*s)?))?;
            Ok(p)
        })
        .collect()
}

fn time(name: &str, mut optimizer: impl Optimizer, steps: u32) -> Result<()> {
    optimizer.step()?;
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..steps {
            optimizer.step()?;
        }
        best = best.min(start.elapsed().as_secs_f64() / steps as f64);
    }
    println!("{name}: {:.1} us", best * 1e6);
    Ok(())
}

fn main() -> Result<()> {
    let lenet: [&[usize]; 10] = [
        &[6, 3, 5, 5],
        &[6],
        &[16, 6, 5, 5],
        &[16],
        &[120, 400],
        &[120],
        &[84, 120],
        &[84],
        &[10, 84],
        &[10],
    ];
    let big: [&[usize]; 1] = [&[10_000_000]];
    for (size, shapes, steps) in [("lenet", &lenet[..], 2000), ("10 M", &big[..], 10)] {
        time(
            &format!("{size} SGD"),
            Sgd::new(parameters(shapes)?, 1e-6),
            steps,
        )?;
        let sgd = Sgd::new(parameters(shapes)?, 1e-6).momentum(0.9);
        time(&format!("{size} SGD with momentum"), sgd, steps)?;
        time(
            &format!("{size} Adam"),
            Adam::new(parameters(shapes)?, 1e-6),
            steps,
        )?;
        time(
            &format!("{size} AdamW"),
            AdamW::new(parameters(shapes)?, 1e-6),
            steps,
        )?;
    }
    Ok(())
}

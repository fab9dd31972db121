//! Time of a step of layers over sequences: `cargo bench -p flambeau-nn --bench sequence -- THREADS`.

use flambeau_core::{Result, Tensor, manual_seed, no_grad};
use flambeau_nn::optim::{AdamW, Optimizer};
use flambeau_nn::*;
use std::time::Instant;

/// The best of several rounds, in milliseconds.
fn report(name: &str, mut f: impl FnMut() -> Result<()>) -> Result<()> {
    f()?;
    f()?;
    let start = Instant::now();
    f()?;
    let rounds = (0.15 / start.elapsed().as_secs_f64()).max(1.0) as usize;
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let start = Instant::now();
        for _ in 0..rounds {
            f()?;
        }
        best = best.min(start.elapsed().as_secs_f64() / rounds as f64);
    }
    println!("{name:40} {:9.3} ms", best * 1e3);
    Ok(())
}

fn main() -> Result<()> {
    let mut numbers = std::env::args().filter_map(|a| a.parse().ok());
    if let Some(threads) = numbers.next_back() {
        flambeau_cpu::threads::set_num_threads(threads);
    }
    warnings(false);
    manual_seed(0);
    let layer = TransformerEncoderLayer::new(256, 4);
    let layer = layer.dim_feedforward(1024).batch_first(true).dropout(0.0);
    let x = Tensor::randn([8, 128, 256])?;
    let mut optimizer = AdamW::new(layer.parameters(), 1e-3);
    report("transformer layer 8x128x256 step", || {
        optimizer.zero_grad();
        layer.forward(&x)?.square()?.mean()?.backward()?;
        optimizer.step()
    })?;
    let q = Tensor::randn([8, 4, 128, 64])?.requires_grad_(true)?;
    report("attention 8x4x128x64", || {
        no_grad(|| q.scaled_dot_product_attention(&q, &q, Default::default()))?;
        Ok(())
    })?;
    report("attention 8x4x128x64 and backward", || {
        q.zero_grad();
        let y = q.scaled_dot_product_attention(&q, &q, Default::default())?;
        y.sum()?.backward()
    })?;
    for (steps, batch, input, hidden) in [(35, 20, 200, 200), (64, 32, 256, 256), (50, 1, 64, 64)] {
        let x = Tensor::randn([steps, batch, input])?;
        let sizes = format!("{steps}x{batch}x{input} to {hidden}");
        let lstm = LSTM::new(input, hidden);
        report(&format!("lstm {sizes} forward"), || {
            no_grad(|| lstm.forward(&x, None))?;
            Ok(())
        })?;
        report(&format!("lstm {sizes} and backward"), || {
            lstm.zero_grad();
            lstm.forward(&x, None)?.0.sum()?.backward()
        })?;
        let gru = GRU::new(input, hidden);
        report(&format!("gru {sizes} and backward"), || {
            gru.zero_grad();
            gru.forward(&x, None)?.0.sum()?.backward()
        })?;
    }
    Ok(())
}

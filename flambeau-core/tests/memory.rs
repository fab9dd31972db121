//! Training steps leave no memory behind. A binary of its own: the counters are the process's.
#![allow(missing_docs)]

use flambeau_core::{Result, Tensor, no_grad};
use flambeau_cpu::alloc::stats;

fn step(x: &Tensor) -> Result<()> {
    let y = x.mul(0.5)?;
    y.narrow(0, 0, 8)?.square_()?;
    y.retain_grad()?;
    let hook = y.register_hook(|g| g.mul(1.0).map(Some))?;
    let loss = y.exp()?.add(y.t()?)?.tanh()?.sum()?;
    loss.backward()?;
    hook.remove();
    no_grad(|| x.add_(x.grad().unwrap().mul(-0.01)?))?;
    x.zero_grad();
    Ok(())
}

/// The memory of this process in bytes, where the system tells.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|v| v.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

#[test]
fn memory_does_not_grow_with_steps() -> Result<()> {
    let x = Tensor::ones([64, 64])?.requires_grad_(true)?;
    (0..50).try_for_each(|_| step(&x))?;
    let (before, memory) = (stats(), resident());
    (0..3000).try_for_each(|_| step(&x))?;
    let after = stats();
    assert_eq!(after.allocated_bytes, before.allocated_bytes);
    // The peak is looked at each time that 64 KiB more or fewer are in use.
    assert!(after.peak <= before.peak + (64 << 10));
    // A single node left in each step would be 3000 times some 500 bytes.
    assert!(
        resident() < memory + (1 << 20),
        "{memory} to {} bytes",
        resident()
    );
    // A graph that is never walked, and one whose backward fails, are freed too.
    for _ in 0..200 {
        let y = x.mul(2.0)?.square()?;
        drop(y);
        let y = x.mul(2.0)?;
        let z = y.square()?;
        y.zero_()?;
        assert!(z.sum()?.backward().is_err());
    }
    assert_eq!(stats().allocated_bytes, before.allocated_bytes);
    Ok(())
}

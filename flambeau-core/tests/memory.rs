//! Training steps leave no memory behind. A binary of its own: the counters are the process's.
#![allow(missing_docs)]

use flambeau_core::autograd::checkpoint;
use flambeau_core::{Result, Tensor, no_grad};
use flambeau_cpu::alloc::{reset_peak, stats};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The tests take turns, as the counters are the process's.
static ALONE: Mutex<()> = Mutex::new(());

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
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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

const MB: u64 = 1 << 20;

/// Thirty-two operations, each of which saves its result of 1 MB.
fn chain(x: &Tensor) -> Result<Tensor> {
    (0..32).try_fold(x.clone(), |x, _| x.tanh())
}

#[test]
fn backward_frees_what_it_has_used() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = stats().allocated_bytes;
    let x = Tensor::ones([256, 1024])?.requires_grad_(true)?;
    let first = x.tanh()?;
    let live = Arc::new(AtomicU64::new(0));
    let seen = live.clone();
    first.register_hook(move |_| {
        seen.store(stats().allocated_bytes, Ordering::Relaxed);
        Ok(None)
    })?;
    let loss = chain(&first)?.sum()?;
    assert!(stats().allocated_bytes - before >= 34 * MB);
    loss.backward()?;
    // x, first, what first saved, the gradient on its way; the loss still holds the whole graph.
    let left = live.load(Ordering::Relaxed) - before;
    assert!(left <= 5 * MB, "{left} bytes");
    Ok(())
}

/// The most memory that a step of four chains takes above what was in use before.
fn peak_of(step: impl Fn(&Tensor) -> Result<Tensor>) -> Result<u64> {
    let before = stats().allocated_bytes;
    reset_peak();
    let x = Tensor::ones([256, 1024])?.requires_grad_(true)?;
    let y = (0..4).try_fold(x, |x, _| step(&x))?;
    y.sum()?.backward()?;
    Ok(stats().peak - before)
}

#[test]
fn checkpoints_need_less_memory() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let nested = peak_of(|x| {
        checkpoint(&[x], |x| {
            let half = |x: &[Tensor]| (0..16).try_fold(x[0].clone(), |x, _| x.tanh());
            checkpoint(&[&checkpoint(&[&x[0]], half)?], half)
        })
    })?;
    let checked = peak_of(|x| checkpoint(&[x], |x| chain(&x[0])))?;
    let plain = peak_of(chain)?;
    assert!(plain >= 129 * MB, "{plain} bytes");
    // One chain, the inputs of all, gradients on their way.
    assert!(checked <= 42 * MB, "{checked} bytes");
    assert!(nested <= checked - 12 * MB, "{nested} bytes");
    Ok(())
}

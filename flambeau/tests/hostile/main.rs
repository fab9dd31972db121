//! Options and inputs that make no sense, drawn at random from one seed: every call gives a result or
//! an error. A panic, a call that goes on for long, and one that takes memory without measure fail.
//!
//! `FLAMBEAU_HOSTILE=100` runs a hundred times as many calls, `FLAMBEAU_HOSTILE_SEED` begins elsewhere,
//! and `FLAMBEAU_HOSTILE_ONLY` names a family.

mod draw;
mod layers;
mod losses;
mod others;
mod tensors;

use draw::Draw;
use flambeau::{DType, Result, Tensor, autocast, autograd, manual_seed, memory};
use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A family of calls: what it gives is differentiated and printed.
type Family = fn(&mut Draw) -> Result<Vec<Tensor>>;

/// Time is counted in ticks, so that a machine that stands still is not a call that does.
const TICK: Duration = Duration::from_millis(200);
/// Ticks that no call takes.
const LONG: u64 = 50;
/// A call that has not come back by then runs for ever.
const FOR_EVER: u64 = 300;
/// No input here is larger than a few kilobytes.
const MEMORY: u64 = 1 << 28;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What follows any call in a program: backward, of second order too, and print.
fn follow(r: &mut Draw, out: Vec<Tensor>) -> Result<()> {
    for y in &out {
        if y.numel() < 10_000 {
            let _ = y.to_string();
        }
    }
    let Some(y) = out.iter().find(|y| y.requires_grad()) else {
        return Ok(());
    };
    match r.below(4) {
        0 => y.sum()?.backward(),
        1 => {
            let g = r.like(y)?;
            y.backward_with(autograd::Backward::new().gradient(&g))
        }
        2 => {
            let changed = y.mul(2.0)?;
            let _ = changed.relu_();
            let _ = y.add_(1.0);
            changed.sum()?.backward()
        }
        _ => {
            let sum = y.square()?.sum()?;
            sum.backward_with(autograd::Backward::new().create_graph(true))?;
            let leaves: Vec<Tensor> = r.leaves.clone();
            for leaf in &leaves {
                if let Some(g) = leaf.grad().filter(Tensor::requires_grad) {
                    return g.square()?.sum()?.backward();
                }
            }
            Ok(())
        }
    }
}

#[test]
fn no_call_panics() {
    let families: Vec<(&str, Family, u64)> = [layers::ALL, losses::ALL, others::ALL, tensors::ALL]
        .into_iter()
        .flatten()
        .copied()
        .collect();
    let rounds = number("FLAMBEAU_HOSTILE").unwrap_or(1);
    let seed = number("FLAMBEAU_HOSTILE_SEED").unwrap_or(0);
    let only = std::env::var("FLAMBEAU_HOSTILE_ONLY").unwrap_or_default();
    let panics: Arc<Mutex<Option<String>>> = Arc::default();
    let seen = panics.clone();
    let hook = take_hook();
    set_hook(Box::new(move |info| {
        *seen.lock().unwrap() = Some(info.to_string());
    }));
    let ticks = Arc::new(AtomicU64::new(0));
    let log = Arc::new(Mutex::new(Vec::new()));
    watch(ticks.clone(), log.clone());
    let mut faults: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let (mut calls, mut fine) = (0, 0);
    for (family, (name, call, weight)) in families.iter().enumerate() {
        if !name.contains(&only) {
            continue;
        }
        for round in 0..rounds * weight {
            ticks.store(0, Ordering::Relaxed);
            log.lock().unwrap().clear();
            let mut r = Draw::new(seed << 32 | (family as u64) << 24 ^ round, log.clone());
            r.log(format!("{name} {round}:"));
            manual_seed(round);
            memory::empty_cache();
            memory::reset_peak();
            let before = memory::stats().peak;
            let result = catch_unwind(AssertUnwindSafe(|| {
                let run = |r: &mut Draw| call(r).and_then(|out| follow(r, out));
                match r.below(8) {
                    0 => autocast(DType::BF16, || run(&mut r)),
                    1 => autocast(DType::F16, || run(&mut r)),
                    _ => run(&mut r),
                }
            }));
            calls += 1;
            let mut fault = |text: String| {
                let case = log.lock().unwrap().join(" ");
                faults.entry(text).or_insert((0, case)).0 += 1;
            };
            match result {
                Ok(Ok(())) => fine += 1,
                Ok(Err(e)) => drop(e.to_string()),
                Err(_) => fault(panics.lock().unwrap().take().unwrap_or_default()),
            }
            let taken = memory::stats().peak.saturating_sub(before);
            if taken > MEMORY {
                fault(format!("{name}: takes {} MB", taken >> 20));
            }
            if ticks.load(Ordering::Relaxed) > LONG {
                fault(format!("{name}: takes long"));
            }
        }
    }
    set_hook(hook);
    ticks.store(0, Ordering::Relaxed);
    println!("{calls} calls, {fine} of them with a result");
    for (text, (times, case)) in &faults {
        println!("{times} x {text}\n    in {case}");
    }
    assert!(faults.is_empty(), "{} kinds of faults", faults.len());
    assert!(
        fine * 3 > calls || !only.is_empty(),
        "few calls have a result"
    );
}

/// Counts ticks, and ends the program where a call does not come back.
fn watch(ticks: Arc<AtomicU64>, log: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        while ticks.fetch_add(1, Ordering::Relaxed) < FOR_EVER {
            std::thread::sleep(TICK);
        }
        // Past the capture of a test's output, which would be lost.
        let case = log.lock().unwrap().join(" ");
        let _ = writeln!(std::io::stderr(), "does not come back: {case}");
        std::process::exit(101);
    });
}

//! flambeau-nn against PyTorch; the goldens come from tests/goldens/make.py.

mod channels_last;
mod checkpoint;
mod cuda;
mod extremes;
mod hints;
mod layers;
mod losses;
mod mixed;
mod mixed_cuda;
mod optim;
mod others;
mod sequence;
mod tree;

use flambeau_core::{DType, Result, Tensor};
use serde_json::Value;

/// The same numbers as `pattern` in make.py.
fn pattern_between(shape: &[usize], salt: usize, low: f64, high: f64) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n)
        .map(|i| {
            let k = (i * 7919 + salt * 104729) % 997;
            (low + (high - low) * (k as f64 + 0.5) / 997.0) as f32
        })
        .collect();
    Tensor::from_vec(values, shape)
}

fn pattern(shape: &[usize], salt: usize) -> Result<Tensor> {
    pattern_between(shape, salt, -1.0, 1.0)
}

fn goldens(name: &str) -> Value {
    let path = format!("{}/tests/goldens/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array()
        .unwrap_or_else(|| panic!("no list: {v}"))
        .iter()
        .map(|v| v.as_f64().unwrap_or(f64::NAN))
        .collect()
}

fn values(t: &Tensor) -> Vec<f64> {
    t.detach().to_dtype(DType::F64).unwrap().to_vec().unwrap()
}

/// Equal up to `tolerance`, relative where the numbers are above 1.
#[track_caller]
fn close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths differ");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let near = (g - w).abs() <= tolerance * w.abs().max(1.0);
        assert!(
            near || g == w || (g.is_nan() && w.is_nan()),
            "{what}[{i}]: {g}, PyTorch has {w}"
        );
    }
}

/// Tests that draw from the default generator, or look at warnings, take turns.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    LOCK.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

//! Switches for the whole process, with PyTorch's defaults.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Something that is on or off.
#[derive(Debug)]
pub struct Switch(AtomicBool);

impl Switch {
    /// Whether it is on.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Turns it on or off.
    pub fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }
}

static MATMUL_PRECISION: AtomicU8 = AtomicU8::new(0);

/// How exact products of `f32` are: 0, as it is at first, with all 24 bits, 1 and 2 with TF32.
pub fn matmul_precision() -> u8 {
    MATMUL_PRECISION.load(Ordering::Relaxed)
}

/// Sets [`matmul_precision`].
pub fn set_matmul_precision(to: u8) {
    MATMUL_PRECISION.store(to, Ordering::Relaxed);
}

/// Whether products go to cuBLASLt where it is there. On.
pub static CUBLAS: Switch = Switch(AtomicBool::new(true));
/// Whether convolutions go to cuDNN where it is there. On.
pub static CUDNN: Switch = Switch(AtomicBool::new(true));
/// Whether convolutions of `f32` may use TF32. On.
pub static CUDNN_TF32: Switch = Switch(AtomicBool::new(true));
/// Whether the algorithms for a new shape are timed. Off: a heuristic chooses.
pub static CUDNN_BENCHMARK: Switch = Switch(AtomicBool::new(false));
/// Whether only algorithms are taken that give the same bits each time. Off.
pub static CUDNN_DETERMINISTIC: Switch = Switch(AtomicBool::new(false));

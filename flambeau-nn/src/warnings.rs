//! Hints at the mistakes everybody makes once: written to stderr, each kind once.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

static ENABLED: AtomicBool = AtomicBool::new(true);
static SEEN: AtomicU32 = AtomicU32::new(0);

/// The kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    NoGradient,
    ForgottenZeroGrad,
    SoftmaxIntoCrossEntropy,
    TrainingUnderNoGrad,
}

/// Switches hints on or off for the whole program. They are on, and each kind is written once.
///
/// ```
/// flambeau_nn::warnings(false);
/// ```
pub fn warnings(on: bool) {
    ENABLED.store(on, Ordering::Relaxed);
}

/// Whether a hint of this kind would still be written: asked before a costly look.
pub(crate) fn would_warn(kind: Warning) -> bool {
    ENABLED.load(Ordering::Relaxed) && SEEN.load(Ordering::Relaxed) & (1 << kind as u32) == 0
}

#[cold]
pub(crate) fn warn(kind: Warning, text: &str) {
    let bit = 1 << kind as u32;
    if ENABLED.load(Ordering::Relaxed) && SEEN.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        eprintln!("flambeau: {text}");
    }
}

/// Hints at a forgotten `eval()`: a layer that differs between training and evaluation trains where
/// nothing can be learned.
pub(crate) fn check_mode(training: bool, layer: &str) {
    if training && !flambeau_core::is_grad_enabled() && would_warn(Warning::TrainingUnderNoGrad) {
        warn(
            Warning::TrainingUnderNoGrad,
            &format!(
                "{layer} runs in training mode while no gradients are recorded: call net.eval() before evaluating, and net.train() after"
            ),
        );
    }
}

//! The hints at common mistakes: each is written once, to stderr, and can be switched off. A test
//! looks at the stderr of this binary, called again for the half that makes the mistake.

use flambeau_core::{Result, Tensor, no_grad};
use flambeau_nn::optim::{Optimizer, Sgd};
use flambeau_nn::*;
use std::process::Command;

/// What the ignored test of that name writes to stderr.
fn stderr_of(name: &str) -> String {
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[track_caller]
fn once(name: &str, hint: &str) {
    let text = stderr_of(name);
    assert_eq!(text.matches(hint).count(), 1, "{text}");
    assert_eq!(text.matches("flambeau:").count(), 1, "{text}");
}

#[test]
#[ignore = "run by hints_are_written_once"]
fn softmax_before_cross_entropy() -> Result<()> {
    let target = Tensor::new([0i64, 1])?;
    let logits = Tensor::new([[0.5f32, 1.5], [2.0, -1.0]])?;
    for _ in 0..5 {
        let criterion = CrossEntropyLoss::new();
        criterion.forward(&logits, &target)?;
        criterion.forward(&logits.softmax(1)?, &target)?;
    }
    Ok(())
}

#[test]
#[ignore = "run by hints_are_written_once"]
fn no_zero_grad() -> Result<()> {
    let net = Linear::new(2, 1);
    let mut optimizer = Sgd::new(net.parameters(), 0.1);
    let x = Tensor::ones([1, 2])?;
    // As it should be, in two ways and with gradients gathered over two passes: no hint.
    for step in 0..6 {
        net.forward(&x)?.sum()?.backward()?;
        net.forward(&x)?.sum()?.backward()?;
        optimizer.step()?;
        if step % 2 == 0 {
            optimizer.zero_grad()
        } else {
            net.zero_grad()
        }
    }
    for _ in 0..6 {
        net.forward(&x)?.sum()?.backward()?;
        optimizer.step()?;
    }
    Ok(())
}

#[test]
#[ignore = "run by hints_are_written_once"]
fn no_backward() -> Result<()> {
    let mut optimizer = Sgd::new(Linear::new(2, 1).parameters(), 0.1);
    (0..3).try_for_each(|_| optimizer.step())
}

#[test]
#[ignore = "run by hints_are_written_once"]
fn no_eval() -> Result<()> {
    let dropout = Dropout::default();
    let x = Tensor::ones([2, 3])?;
    dropout.forward(&x)?;
    dropout.eval();
    no_grad(|| dropout.forward(&x))?;
    dropout.train();
    for _ in 0..3 {
        no_grad(|| dropout.forward(&x))?;
    }
    Ok(())
}

#[test]
#[ignore = "run by hints_are_written_once"]
fn switched_off() -> Result<()> {
    warnings(false);
    no_eval()?;
    no_backward()?;
    softmax_before_cross_entropy()
}

#[test]
fn hints_are_written_once() {
    once(
        "hints::softmax_before_cross_entropy",
        "it has a softmax of its own",
    );
    once(
        "hints::no_zero_grad",
        "call optimizer.zero_grad() once per step",
    );
    once("hints::no_backward", "call loss.backward() before it");
    once("hints::no_eval", "call net.eval() before evaluating");
    assert_eq!(stderr_of("hints::switched_off"), "");
}

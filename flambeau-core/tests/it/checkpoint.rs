//! Checkpointed functions: gradients, random numbers and errors are those of plain ones.

use flambeau_core::autograd::{
    Backward, CheckpointOptions, Grad, checkpoint, checkpoint_with, grad,
};
use flambeau_core::random::get_rng_state;
use flambeau_core::{DType, Result, Tensor, autocast, manual_seed, no_grad};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tests that draw from the default generator take turns.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    crate::random::TURN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn ramp(shape: &[usize]) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let values: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7).sin()).collect();
    Tensor::from_vec(values, shape)?.requires_grad_(true)
}

fn numbers(t: &Tensor) -> Vec<f64> {
    t.detach().to_dtype(DType::F64).unwrap().to_vec().unwrap()
}

fn grads(of: &[&Tensor]) -> Vec<Vec<f64>> {
    of.iter()
        .map(|t| {
            let g = numbers(&t.grad().expect("a gradient"));
            t.zero_grad();
            g
        })
        .collect()
}

/// A layer whose operations save inputs, outputs and extra results, change in place and drop out.
fn layer(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let y = x.matmul(w)?.tanh()?;
    let y = y.mul(2.0)?.exp_()?.layer_norm(&[4], None, None, 1e-5)?;
    let (top, _) = y.max_dim(0, true)?;
    y.add(&top)?.dropout(0.4, true)?.softmax(-1)
}

type Function = Arc<dyn Fn(&[Tensor]) -> Result<Tensor> + Send + Sync>;

/// Values, gradients and the generator afterwards, with and without checkpoints.
fn compare(x: &Tensor, parameters: &[&Tensor], plain: &Function, checked: &Function) -> Result<()> {
    let mut all = parameters.to_vec();
    all.push(x);
    let run = |f: &Function| -> Result<_> {
        manual_seed(3);
        // An input with a history of its own.
        let y = f(&[x.mul(1.5)?])?;
        y.mul(ramp(y.shape())?.detach())?.sum()?.backward()?;
        Ok((numbers(&y), grads(&all), get_rng_state()))
    };
    let (want, got) = (run(plain)?, run(checked)?);
    assert_eq!(want.0, got.0);
    assert_eq!(want.1, got.1);
    assert!(want.2 == got.2, "the generator stands elsewhere");
    Ok(())
}

#[test]
fn gradients_and_dropout_are_those_of_a_plain_call() -> Result<()> {
    let _alone = alone();
    let (x, w) = (ramp(&[3, 4])?, ramp(&[4, 4])?);
    let block = {
        let w = w.clone();
        move |x: &[Tensor]| layer(&layer(&x[0], &w)?, &w)
    };
    let plain: Function = Arc::new(block.clone());
    let once: Function = {
        let block = block.clone();
        Arc::new(move |x| checkpoint(&[&x[0]], block.clone()))
    };
    compare(&x, &[&w], &plain, &once)?;
    // Two in a row inside a third, one of which is inside a fourth.
    let twice: Function = Arc::new(move |x| {
        let block = block.clone();
        checkpoint(&[&x[0]], move |x| {
            let inner = block.clone();
            let y = checkpoint(&[&x[0]], move |x| checkpoint(&[&x[0]], inner.clone()))?;
            checkpoint(&[&y], block.clone())
        })
    });
    let plain: Function = Arc::new(move |x| plain(&[plain(x)?]));
    compare(&x, &[&w], &plain, &twice)
}

#[test]
fn several_results_and_every_way_to_walk_the_graph() -> Result<()> {
    let (x, w) = (ramp(&[3])?, ramp(&[3])?);
    let runs = Arc::new(AtomicUsize::new(0));
    let (counted, captured) = (runs.clone(), w.clone());
    let (a, b) = checkpoint(&[&x], move |x| {
        counted.fetch_add(1, Ordering::Relaxed);
        let a = x[0].mul(&captured)?.tanh()?;
        Ok((a.clone(), a.exp()?))
    })?;
    // One result alone; the other later, over the same graph.
    let (pa, pb) = {
        let a = x.mul(&w)?.tanh()?;
        (a.clone(), a.exp()?)
    };
    for (checked, plain) in [(&a, &pa), (&b, &pb)] {
        let keep = || Backward::new().retain_graph(true);
        checked.sum()?.backward_with(keep())?;
        let got = grads(&[&x, &w]);
        plain.sum()?.backward_with(keep())?;
        assert_eq!(got, grads(&[&x, &w]));
    }
    assert_eq!(runs.load(Ordering::Relaxed), 3);
    // Gradients of some inputs, and their gradients.
    let second = |y: &Tensor| -> Result<Vec<f64>> {
        let options = Grad {
            create_graph: true,
            ..Grad::default()
        };
        let first = grad(&[&y.sum()?], &[&x], &[], options)?[0].clone().unwrap();
        let second = grad(&[&first.square()?.sum()?], &[&w], &[], Grad::default())?;
        Ok(numbers(second[0].as_ref().unwrap()))
    };
    assert_eq!(second(&b)?, second(&pb)?);
    let error = b.sum()?.backward().unwrap_err().to_string();
    assert!(error.contains("retain_graph"), "{error}");
    Ok(())
}

#[test]
fn nothing_is_recorded_where_recording_is_off() -> Result<()> {
    let w = ramp(&[2])?;
    let captured = w.clone();
    let y = no_grad(|| checkpoint(&[&w], move |x| x[0].mul(&captured)))?;
    assert!(!y.requires_grad());
    Ok(())
}

#[test]
fn mixed_precision_is_in_force_again() -> Result<()> {
    let (x, w) = (
        ramp(&[3, 4])?.detach().to_dtype(DType::F32)?,
        ramp(&[4, 4])?,
    );
    let w = w.detach().to_dtype(DType::F32)?.requires_grad_(true)?;
    let block = {
        let w = w.clone();
        move |x: &[Tensor]| x[0].matmul(&w)?.tanh()?.matmul(&w)?.sum()
    };
    // The parameter's conversion is at hand in the first run, but not in the second.
    let run = |checked: bool| -> Result<_> {
        let y = autocast(DType::BF16, || {
            let x = x.matmul(&w)?;
            if checked {
                checkpoint(&[&x], block.clone())
            } else {
                block(&[x])
            }
        })?;
        y.backward()?;
        Ok((numbers(&y), grads(&[&w])))
    };
    assert_eq!(run(true)?, run(false)?);
    Ok(())
}

#[test]
fn random_numbers_can_be_left_alone() -> Result<()> {
    let _alone = alone();
    let w = Tensor::ones([400])?.requires_grad_(true)?;
    for preserve_rng_state in [true, false] {
        manual_seed(1);
        let options = CheckpointOptions { preserve_rng_state };
        let y = checkpoint_with(options, &[&w], |x| x[0].dropout(0.5, true))?;
        y.sum()?.backward()?;
        let same = grads(&[&w])[0] == numbers(&y);
        assert_eq!(same, preserve_rng_state);
    }
    Ok(())
}

#[test]
fn what_goes_wrong_is_said() -> Result<()> {
    let w = ramp(&[3])?;
    let message = |y: Tensor| y.sum().unwrap().backward().unwrap_err().to_string();
    let times = AtomicUsize::new(0);
    let y = checkpoint(&[&w], move |x| {
        let y = x[0].exp()?;
        if times.fetch_add(1, Ordering::Relaxed) == 0 {
            y.tanh()
        } else {
            Ok(y)
        }
    })?;
    let error = message(y);
    assert!(
        error.contains("2 operations had something to save, then 1"),
        "{error}"
    );
    assert!(error.contains("checkpoint.rs"), "{error}");
    let times = AtomicUsize::new(0);
    let y = checkpoint(&[&w], move |x| {
        if times.fetch_add(1, Ordering::Relaxed) == 0 {
            x[0].tanh()
        } else {
            x[0].exp()
        }
    })?;
    let error = message(y);
    assert!(
        error.contains("tanh of [[3]] was followed by exp of [[3]]"),
        "{error}"
    );
    let times = AtomicUsize::new(0);
    let y = checkpoint(&[&w], move |x| {
        match times.fetch_add(1, Ordering::Relaxed) {
            0 => x[0].tanh(),
            _ => Tensor::ones_with([2, 3], DType::F64)?.matmul(&x[0].unsqueeze(1)?),
        }
    })?;
    assert!(message(y).contains("did not do the same"));
    let x = w.mul(1.0)?;
    let y = checkpoint(&[&x], |x| x[0].exp())?;
    x.mul_(2.0)?;
    let error = message(y);
    assert!(error.contains("input 0 of the checkpoint"), "{error}");
    // The first run's error, and the second's.
    let error = checkpoint(&[&w], |x| x[0].matmul(&Tensor::ones([5])?)).unwrap_err();
    assert!(error.to_string().contains("inner dimensions"), "{error}");
    let times = AtomicUsize::new(0);
    let y = checkpoint(&[&w], move |x| {
        match times.fetch_add(1, Ordering::Relaxed) {
            0 => x[0].exp(),
            _ => x[0].matmul(&Tensor::ones([5])?),
        }
    })?;
    assert!(message(y).contains("inner dimensions"));
    // After all that, recording is as it was.
    w.exp()?.sum()?.backward()?;
    Ok(())
}

//! The engine, in-place operations and views.

use flambeau_core::autograd::{Backward, Grad, grad};
use flambeau_core::{DType, Result, Tensor, no_grad};

fn leaf(v: &[f32]) -> Tensor {
    Tensor::from_slice(v, v.len())
        .unwrap()
        .requires_grad_(true)
        .unwrap()
}

#[test]
fn the_tutorials_first_gradient() -> Result<()> {
    let x = Tensor::ones([2, 2])?.requires_grad_(true)?;
    let y = &x + 2.0;
    let z = &y * &y * 3;
    z.mean()?.backward()?;
    assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [4.5; 4]);
    Ok(())
}

#[test]
fn gradients_accumulate_and_the_graph_is_freed() -> Result<()> {
    let x = leaf(&[1.0, 2.0]);
    let y = x.square()?.sum()?;
    y.backward_with(Backward::new().retain_graph(true))?;
    y.backward()?;
    assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [4.0, 8.0]);
    let error = y.backward().unwrap_err().to_string();
    assert!(error.contains("retain_graph"), "{error}");
    x.zero_grad();
    assert!(x.grad().is_none());
    Ok(())
}

#[test]
fn a_million_nodes_neither_overflow_nor_leak() -> Result<()> {
    let x = leaf(&[1.0]);
    let mut y = x.clone();
    for _ in 0..1_000_000 {
        y = y.add(1.0)?;
    }
    y.backward()?;
    assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [1.0]);
    drop(y);
    let mut y = x.clone();
    for _ in 0..1_000_000 {
        y = y.mul(&x)?;
    }
    drop(y);
    Ok(())
}

#[test]
fn a_saved_tensor_changed_in_place_is_an_error_that_names_both() -> Result<()> {
    let x = leaf(&[1.0, 2.0]);
    let a = x.mul(1.0)?;
    let y = a.square()?;
    a.add_(1.0)?;
    let error = y.sum()?.backward().unwrap_err().to_string();
    assert!(
        error.contains("square")
            && error.contains("add changed it")
            && error.contains("autograd.rs"),
        "{error}"
    );
    Ok(())
}

#[test]
fn in_place_on_a_view_reaches_the_base() -> Result<()> {
    // x = [1,2,3]; b = 2x; b[1] *= 10; sum(b^2) -> d/dx = [8x0, 800*x1, 8x2]
    let x = leaf(&[1.0, 2.0, 3.0]);
    let b = x.mul(2.0)?;
    let v = b.select(0, 1)?;
    let other = b.narrow(0, 1, 2)?;
    v.mul_(10.0)?;
    assert_eq!(b.to_vec::<f32>()?, [2.0, 40.0, 6.0]);
    b.square()?
        .sum()?
        .backward_with(Backward::new().retain_graph(true))?;
    assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [8.0, 1600.0, 24.0]);
    x.zero_grad();
    other.sum()?.backward()?;
    assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [0.0, 20.0, 2.0]);
    Ok(())
}

#[test]
fn a_base_without_gradient_is_drawn_into_the_graph_through_its_view() -> Result<()> {
    let w = leaf(&[3.0]);
    let b = Tensor::zeros([2, 2])?;
    b.select(0, 1)?.copy_(&w)?;
    assert!(b.requires_grad());
    b.sum()?.backward()?;
    assert_eq!(w.grad().unwrap().to_vec::<f32>()?, [2.0]);
    Ok(())
}

#[test]
fn leaves_are_safe_from_in_place_operations() -> Result<()> {
    let x = leaf(&[1.0, 2.0]);
    assert!(x.add_(1.0).unwrap_err().to_string().contains("no_grad"));
    assert!(x.select(0, 0)?.zero_().is_err());
    no_grad(|| x.add_(1.0))?;
    assert_eq!(x.to_vec::<f32>()?, [2.0, 3.0]);
    assert!(x.requires_grad() && x.is_leaf());
    assert!(
        Tensor::ones([1])?
            .expand([3])?
            .add_(1)
            .unwrap_err()
            .to_string()
            .contains("copy()")
    );
    assert!(Tensor::ones_with([1], DType::I64)?.add_(0.5).is_err());
    Ok(())
}

#[test]
fn second_order() -> Result<()> {
    let x = leaf(&[2.0]);
    let y = x.mul(&x)?.mul(&x)?.exp()?.log()?.sum()?;
    let g = grad(
        &[&y],
        &[&x],
        &[],
        Grad {
            create_graph: true,
            ..Grad::default()
        },
    )?[0]
        .clone()
        .unwrap();
    let h = grad(&[&g], &[&x], &[], Grad::default())?[0]
        .clone()
        .unwrap();
    assert!(
        (g.item::<f32>()? - 12.0).abs() < 1e-4 && (h.item::<f32>()? - 12.0).abs() < 1e-3,
        "{g:?} {h:?}"
    );
    Ok(())
}

#[test]
fn hooks_and_retained_gradients() -> Result<()> {
    let x = leaf(&[1.0, 2.0]);
    let y = x.mul(3.0)?;
    y.retain_grad()?;
    let handle = x.register_hook(|g| g.mul(10.0).map(Some))?;
    y.square()?.sum()?.backward()?;
    assert_eq!(y.grad().unwrap().to_vec::<f32>()?, [6.0, 12.0]);
    assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [180.0, 360.0]);
    handle.remove();
    x.zero_grad();
    x.sum()?.backward()?;
    assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [1.0, 1.0]);
    Ok(())
}

#[test]
fn copy_leaves_its_source_alone() -> Result<()> {
    let (x, y) = (Tensor::zeros([2])?, Tensor::new([1.0f32, 2.0])?);
    x.copy_(&y)?;
    x.add_(1.0)?;
    assert_eq!(x.to_vec::<f32>()?, [2.0, 3.0]);
    assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0]);
    Ok(())
}

#[test]
fn hooks_run_in_order_and_before_what_is_retained_or_captured() -> Result<()> {
    let x = leaf(&[1.0, 1.0]);
    let y = x.mul(2.0)?;
    y.retain_grad()?;
    y.register_hook(|g| g.add(1.0).map(Some))?;
    let second = y.register_hook(|g| g.mul(10.0).map(Some))?;
    let z = y.mul(3.0)?.sum()?;
    let options = Grad {
        retain_graph: Some(true),
        ..Grad::default()
    };
    let g = grad(&[&z], &[&y, &x], &[], options)?;
    let values = |g: &Option<Tensor>| g.as_ref().unwrap().to_vec::<f32>();
    assert_eq!(
        (values(&g[0])?, values(&g[1])?),
        (vec![40.0; 2], vec![80.0; 2])
    );
    assert_eq!(y.grad().unwrap().to_vec::<f32>()?, [40.0; 2]);
    second.remove();
    let wrong = y.register_hook(|_| Tensor::zeros([3]).map(Some))?;
    assert!(
        z.backward_with(Backward::new().retain_graph(true))
            .unwrap_err()
            .to_string()
            .contains("hook")
    );
    wrong.remove();
    z.backward()?;
    assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [8.0; 2]);
    Ok(())
}

#[test]
fn only_the_inputs_asked_for_receive_gradients() -> Result<()> {
    let (x, y, unused) = (leaf(&[1.0]), leaf(&[2.0]), leaf(&[3.0]));
    let mid = x.mul(&y)?;
    let z = mid.square()?.sum()?;
    z.backward_with(Backward::new().inputs(&[&x, &mid]).retain_graph(true))?;
    assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [8.0]);
    assert_eq!(mid.grad().unwrap().to_vec::<f32>()?, [4.0]);
    assert!(y.grad().is_none());
    assert!(
        z.backward_with(
            Backward::new()
                .inputs(&[&Tensor::ones(1)?])
                .retain_graph(true)
        )
        .is_err()
    );
    assert!(
        z.backward_with(Backward::new().inputs(&[]).retain_graph(true))
            .is_err()
    );
    let strict = Grad {
        retain_graph: Some(true),
        ..Grad::default()
    };
    assert!(
        grad(&[&z], &[&unused], &[], strict)
            .unwrap_err()
            .to_string()
            .contains("allow_unused")
    );
    let g = grad(
        &[&z],
        &[&unused, &y],
        &[],
        Grad {
            allow_unused: true,
            ..strict
        },
    )?;
    assert!(g[0].is_none() && g[1].is_some());
    let weights = Tensor::new([2.0f32])?;
    let g = grad(&[&mid, &mid], &[&x], &[&weights, &weights], strict)?;
    assert_eq!(g[0].as_ref().unwrap().to_vec::<f32>()?, [8.0]);
    assert!(grad(&[&mid], &[&x], &[&weights, &weights], strict).is_err());
    Ok(())
}

#[test]
fn accumulated_gradients_are_nobody_elses_memory() -> Result<()> {
    let x = leaf(&[1.0, 2.0]);
    let given = Tensor::new([[1.0f32], [1.0]])?;
    x.view([2, 1])?
        .backward_with(Backward::new().gradient(&given))?;
    x.grad().unwrap().zero_()?;
    assert_eq!(given.to_vec::<f32>()?, [1.0, 1.0]);
    x.view([2, 1])?
        .backward_with(Backward::new().gradient(&given).create_graph(true))?;
    x.grad().unwrap().zero_()?;
    assert_eq!(given.to_vec::<f32>()?, [1.0, 1.0]);
    // The same tensor goes on accumulating, as in PyTorch.
    x.zero_grad();
    x.sum()?.backward()?;
    let held = x.grad().unwrap();
    x.sum()?.backward()?;
    assert!(held.is(&x.grad().unwrap()));
    assert_eq!(held.to_vec::<f32>()?, [2.0, 2.0]);
    assert!(x.set_grad(Some(Tensor::ones(3)?)).is_err());
    Ok(())
}

#[test]
fn a_graph_may_be_built_and_walked_on_other_threads() -> Result<()> {
    let x = leaf(&[1.0, 2.0]);
    std::thread::scope(|s| {
        for k in 0..8 {
            let x = &x;
            s.spawn(move || {
                for _ in 0..50 {
                    let y = x.mul(f64::from(k)).unwrap();
                    let other = std::thread::spawn(move || y.square().unwrap().sum().unwrap());
                    other.join().unwrap().backward().unwrap();
                }
            });
        }
    });
    // No accumulation is lost: 50 times the sum over k of 2 k² x.
    assert_eq!(
        x.grad().unwrap().to_vec::<f32>()?,
        [50.0 * 280.0, 50.0 * 560.0]
    );
    Ok(())
}

#[test]
fn concurrent_changes_neither_block_nor_tear() -> Result<()> {
    let x = Tensor::zeros([4096])?;
    let view = x.view([64, 64])?.t()?;
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..50).for_each(|_| drop(x.add_(1).unwrap())));
            s.spawn(|| (0..50).for_each(|_| drop(x.mul_(&x).unwrap().zero_().unwrap())));
            s.spawn(|| {
                for _ in 0..50 {
                    view.copy_(&Tensor::full([64, 64], 3.0).unwrap()).unwrap();
                    x.add(view.reshape(-1).unwrap()).unwrap();
                }
            });
        }
    });
    x.fill_(7)?;
    assert_eq!(view.sum()?.item::<f32>()?, 7.0 * 4096.0);
    Ok(())
}

#[test]
fn a_large_graph_is_dropped_on_another_thread() -> Result<()> {
    let x = leaf(&[1.0]);
    let mut y = x.clone();
    for _ in 0..300_000 {
        y = y.mul(&x)?;
    }
    std::thread::Builder::new()
        .stack_size(128 << 10)
        .spawn(move || drop(y))
        .unwrap()
        .join()
        .unwrap();
    Ok(())
}

#[test]
fn second_order_through_views_and_changes() -> Result<()> {
    // f = sum of (x0 x1)² over what a view's square_ leaves; by hand: d²f/dx0² = 2 x1⁴·…
    let x = Tensor::new([2.0f64, 3.0])?.requires_grad_(true)?;
    let y = x.mul(1.0)?;
    y.narrow(0, 0, 1)?.mul_(&x.narrow(0, 1, 1)?)?;
    let f = y.select(0, 0)?.square()?; // (x0 x1)²
    let create = Grad {
        create_graph: true,
        ..Grad::default()
    };
    let g = grad(&[&f], &[&x], &[], create)?[0].clone().unwrap();
    assert_eq!(g.to_vec::<f64>()?, [2.0 * 2.0 * 9.0, 2.0 * 4.0 * 3.0]);
    let h = grad(&[&g.select(0, 0)?], &[&x], &[], create)?[0]
        .clone()
        .unwrap();
    assert_eq!(h.to_vec::<f64>()?, [2.0 * 9.0, 4.0 * 2.0 * 3.0]);
    Ok(())
}

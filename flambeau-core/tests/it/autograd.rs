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
            .contains("clone")
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

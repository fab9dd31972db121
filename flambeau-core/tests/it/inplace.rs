//! In-place operations: what they may write, what they keep for the backward pass, what aliases see.

use flambeau_core::autograd::Backward;
use flambeau_core::{DType, Result, Tensor, inference_mode, no_grad};

fn leaf(v: &[f32]) -> Tensor {
    Tensor::from_slice(v, v.len())
        .unwrap()
        .requires_grad_(true)
        .unwrap()
}

fn grad(x: &Tensor) -> Vec<f32> {
    x.grad().unwrap().to_vec().unwrap()
}

#[test]
fn copying_within_one_memory_reads_before_it_writes() -> Result<()> {
    let x = Tensor::arange(0, 6, 1)?;
    x.slice(0, 1, 6, 1)?.copy_(&x.slice(0, 0, 5, 1)?)?;
    assert_eq!(x.to_vec::<i64>()?, [0, 0, 1, 2, 3, 4]);
    x.slice(0, 0, 5, 1)?.copy_(&x.slice(0, 1, 6, 1)?)?;
    assert_eq!(x.to_vec::<i64>()?, [0, 1, 2, 3, 4, 4]);
    let m = Tensor::arange(0, 9, 1)?.view([3, 3])?;
    m.add_(&m.t()?)?;
    assert_eq!(m.to_vec::<i64>()?, [0, 4, 8, 4, 8, 12, 8, 12, 16]);
    m.copy_(&m)?;
    m.copy_(&m.select(0, 2)?)?;
    assert_eq!(m.to_vec::<i64>()?, [8, 12, 16, 8, 12, 16, 8, 12, 16]);
    Ok(())
}

#[test]
fn copy_leaves_its_source_alone() -> Result<()> {
    // The result's memory is taken over only where nobody else holds it.
    let (x, y) = (Tensor::zeros([3])?, Tensor::ones([3])?);
    let alias = y.detach();
    x.copy_(&y)?;
    y.add_(1)?;
    assert_eq!(
        (x.to_vec::<f32>()?, alias.to_vec::<f32>()?),
        (vec![1.0; 3], vec![2.0; 3])
    );
    let w = leaf(&[0.5, 1.0, 2.0]);
    let s = w.exp()?;
    x.copy_(&s)?;
    x.mul_(10)?;
    assert_eq!(s.to_vec::<f32>()?[1], 1f32.exp());
    s.sum()?.add(x.sum()?)?.backward()?;
    let want: Vec<f32> = [0.5f32, 1.0, 2.0].iter().map(|v| 11.0 * v.exp()).collect();
    assert!(grad(&w).iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-4));
    Ok(())
}

#[test]
fn an_operation_keeps_what_it_overwrites() -> Result<()> {
    // x.square_() and x.mul_(w) need what x held: PyTorch copies it, here the old memory is kept.
    let x = leaf(&[3.0, 4.0]);
    let w = leaf(&[5.0, 7.0]);
    let y = x.mul(2)?;
    y.mul_(&w)?;
    y.square_()?;
    y.sum()?.backward()?;
    assert_eq!(grad(&x), [2.0 * 30.0 * 10.0, 2.0 * 56.0 * 14.0]);
    assert_eq!(grad(&w), [2.0 * 30.0 * 6.0, 2.0 * 56.0 * 8.0]);
    // The same through views, of which only a part is overwritten.
    let (x, w) = (leaf(&[3.0, 4.0]), leaf(&[5.0]));
    let y = x.mul(1)?;
    y.narrow(0, 1, 1)?.mul_(&w)?.square_()?;
    y.sum()?.backward()?;
    assert_eq!((grad(&x), grad(&w)), (vec![1.0, 200.0], vec![160.0]));
    Ok(())
}

#[test]
fn a_saved_output_is_the_tensor_itself() -> Result<()> {
    let x = leaf(&[0.0, 1.0]);
    let y = x.mul(1)?;
    y.exp_()?;
    y.sum()?.backward()?;
    assert_eq!(grad(&x), [1.0, 1f32.exp()]);
    // exp_ saved what y holds: changing y is an error, as in PyTorch.
    let y = x.mul(1)?;
    y.exp_()?.add_(1)?;
    let error = y.sum()?.backward().unwrap_err().to_string();
    assert!(
        error.contains("the output of exp") && error.contains("add changed it"),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_swap_of_memory_is_seen_by_views_and_found_by_versions() -> Result<()> {
    let x = leaf(&[1.0, 2.0]);
    let a = x.mul(1)?;
    let (view, before) = (a.narrow(0, 1, 1)?, a.version());
    let saved = view.square()?;
    a.add_(5)?;
    assert_eq!(
        (view.to_vec::<f32>()?, a.version()),
        (vec![7.0], before + 1)
    );
    assert!(
        saved
            .sum()?
            .backward()
            .unwrap_err()
            .to_string()
            .contains("changed in place")
    );
    // Also through a detached alias, and in no_grad.
    let b = x.mul(1)?;
    let saved = b.square()?;
    b.detach().zero_()?;
    assert_eq!(b.to_vec::<f32>()?, [0.0, 0.0]);
    assert!(saved.sum()?.backward().is_err());
    let saved = x.square()?;
    no_grad(|| x.add_(1))?;
    assert!(saved.sum()?.backward().is_err());
    Ok(())
}

#[test]
fn a_base_of_any_layout_takes_part() -> Result<()> {
    // A detached transpose is a base whose memory is not in row-major order.
    let w = leaf(&[5.0, 7.0]);
    let base = Tensor::arange(0.0, 6.0, 1)?.view([3, 2])?.t()?.detach();
    base.select(1, 2)?.copy_(&w)?;
    assert_eq!(base.to_vec::<f32>()?, [0.0, 2.0, 5.0, 1.0, 3.0, 7.0]);
    base.mul(Tensor::arange(0.0, 6.0, 1)?.view([2, 3])?)?
        .sum()?
        .backward()?;
    assert_eq!(grad(&w), [2.0, 5.0]);
    // One with an offset and a step.
    let w = leaf(&[1.0, 1.0]);
    let part = Tensor::zeros([4, 6])?
        .slice(0, 1, 4, 2)?
        .slice(1, 2, 6, 3)?
        .detach();
    part.select(0, 1)?.copy_(&w)?;
    part.square_()?;
    part.mul(Tensor::arange(0.0, 4.0, 1)?.view([2, 2])?)?
        .sum()?
        .backward()?;
    assert_eq!(grad(&w), [4.0, 6.0]);
    // Where elements share a place, no gradient can be right.
    let spread = Tensor::zeros([2, 1])?.expand([2, 3])?.detach();
    let error = spread.select(1, 0)?.copy_(&w).unwrap_err().to_string();
    assert!(error.contains("one place in memory"), "{error}");
    Ok(())
}

#[test]
fn overwriting_a_result_gives_its_history_zeros() -> Result<()> {
    let (x, w) = (leaf(&[1.0, 2.0]), leaf(&[3.0, 4.0]));
    let y = x.mul(3)?;
    y.zero_()?;
    assert!(y.requires_grad());
    y.copy_(&w)?;
    y.sum()?.backward()?;
    assert_eq!((grad(&x), grad(&w)), (vec![0.0; 2], vec![1.0; 2]));
    Ok(())
}

#[test]
fn no_grad_views_and_leaf_views_are_refused() -> Result<()> {
    let x = leaf(&[1.0, 2.0]);
    let y = x.mul(1)?;
    let view = no_grad(|| y.view([2, 1]))?;
    let error = view.mul_(2).unwrap_err().to_string();
    assert!(error.contains("made in no_grad"), "{error}");
    no_grad(|| view.mul_(2))?;
    assert_eq!(y.to_vec::<f32>()?, [2.0, 4.0]);
    let plain = Tensor::zeros([2])?;
    let view = inference_mode(|| plain.view([2]))?;
    view.add_(1)?;
    assert!(view.add_(&x).is_err() && !plain.requires_grad());
    let leaf_view = Tensor::zeros([2])?.view([2, 1])?.requires_grad_(true)?;
    assert!(
        leaf_view
            .add_(1)
            .unwrap_err()
            .to_string()
            .contains("a leaf")
    );
    Ok(())
}

#[test]
fn inference_tensors_stay_apart() -> Result<()> {
    let (made, view, result) = inference_mode(|| -> Result<_> {
        let made = Tensor::zeros([2])?;
        Ok((made.clone(), made.view([2, 1])?, made.add(1)?))
    })?;
    assert!(made.is_inference() && view.is_inference() && result.is_inference());
    assert!(made.view([1, 2])?.is_inference() && made.detach().is_inference());
    assert!(!made.add(1)?.is_inference() && !made.copy()?.is_inference());
    assert!(made.add_(1).is_err() && made.requires_grad_(true).is_err());
    inference_mode(|| made.add_(1))?;
    let normal = Tensor::ones([2])?;
    assert!(!inference_mode(|| normal.view([2]))?.is_inference());
    let error = leaf(&[1.0, 2.0]).mul(&made).unwrap_err().to_string();
    assert!(error.contains("inference_mode"), "{error}");
    Ok(())
}

#[test]
fn types_and_shapes_must_fit() -> Result<()> {
    let x = Tensor::zeros_with([2], DType::I64)?;
    assert!(x.add_(0.5).is_err() && x.add_(&Tensor::zeros_with([3, 2], DType::I64)?).is_err());
    x.copy_(&Tensor::new([1.7f32, -1.7])?)?;
    assert_eq!(x.to_vec::<i64>()?, [1, -1]);
    assert!(x.copy_(&Tensor::zeros([3])?).is_err());
    let half = Tensor::zeros_with([2], DType::F16)?;
    half.add_(&Tensor::new([1.5f64, 2.5])?)?;
    assert_eq!(half.float()?.to_vec::<f32>()?, [1.5, 2.5]);
    Ok(())
}

#[test]
fn gradients_retained_follow_the_newest_history() -> Result<()> {
    let x = leaf(&[1.0, 1.0]);
    let y = x.mul(2)?;
    y.retain_grad()?;
    y.register_hook(|g| g.mul(2).map(Some))?;
    let z = y.mul(3)?;
    y.mul_(5)?;
    y.sum()?.add(z.sum()?)?.backward_with(Backward::new())?;
    // PyTorch gives the same: the gradient of what y is now, and the hook where y was registered.
    assert_eq!((grad(&y), grad(&x)), (vec![1.0; 2], vec![32.0; 2]));
    Ok(())
}

#[test]
fn what_is_not_recorded_is_written_where_it_lies() -> Result<()> {
    let address = |x: &Tensor| x.with_bytes(|b| b.as_ptr() as usize);
    let x = Tensor::arange_with(0, 3000, 1, DType::F32)?.view([3, 1000])?;
    let (at, version) = (address(&x)?, x.version());
    let row = x.select(0, 1)?;
    x.add_(&Tensor::ones([1000])?)?.mul_(2)?.neg_()?;
    row.fill_(7)?;
    assert_eq!((address(&x)?, x.version()), (at, version + 4));
    assert_eq!(address(&row)?, at + 4000);
    let v = x.to_vec::<f32>()?;
    assert_eq!(
        (v[0], v[999], v[1000], v[2999]),
        (-2.0, -2000.0, 7.0, -6000.0)
    );
    // Itself as the other operand, a broadcast row and column, other types, and every size of piece.
    for n in [1usize, 5, 63, 64, 65, 1000, 1024, 1025, 40_000] {
        let x = Tensor::arange_with(0, n, 1, DType::F32)?;
        let half = x.to_dtype(DType::BF16)?;
        assert_eq!(
            x.copy()?.add_(&x)?.to_vec::<f32>()?,
            x.mul(2)?.to_vec::<f32>()?
        );
        let y = x.copy()?;
        y.mul_(&y)?;
        assert_eq!(y.to_vec::<f32>()?, x.square()?.to_vec::<f32>()?);
        let want = half.add(1)?.to_bytes()?;
        assert_eq!(half.copy()?.add_(1)?.to_bytes()?, want);
        let want = half.add(&half)?.to_bytes()?;
        assert_eq!(half.copy()?.add_(&half)?.to_bytes()?, want);
        let m = x.view([1, n])?.expand([3, n])?.contiguous()?;
        let column = Tensor::new([[1f32], [2.0], [3.0]])?;
        let want = m.add(&column)?.to_vec::<f32>()?;
        assert_eq!(m.copy()?.add_(&column)?.to_vec::<f32>()?, want);
        let want = m.sub(&x)?.to_vec::<f32>()?;
        assert_eq!(m.sub_(&x)?.to_vec::<f32>()?, want);
    }
    Ok(())
}

#[test]
fn operands_in_the_memory_that_is_written_count_as_they_were() -> Result<()> {
    let m = || Tensor::arange_with(0, 10_000, 1, DType::F32)?.view([100, 100]);
    for other in [
        |m: &Tensor| m.t(),
        |m: &Tensor| m.select(0, 0),
        |m: &Tensor| m.select(1, 3)?.unsqueeze(1),
        |m: &Tensor| m.flip([0]),
    ] {
        let x = m()?;
        let want = x.add(other(&x)?)?.to_vec::<f32>()?;
        assert_eq!(x.add_(other(&x)?)?.to_vec::<f32>()?, want);
    }
    // Overlapping parts, of which neither is the other.
    let x = Tensor::arange_with(0, 5000, 1, DType::F32)?;
    let want = x
        .slice(0, 1, 5000, 1)?
        .add(x.slice(0, 0, 4999, 1)?)?
        .to_vec::<f32>()?;
    let part = x.slice(0, 1, 5000, 1)?;
    assert_eq!(part.add_(x.slice(0, 0, 4999, 1)?)?.to_vec::<f32>()?, want);
    Ok(())
}

#[test]
fn a_direct_write_is_noticed_by_what_was_saved() -> Result<()> {
    let w = leaf(&[1.0, 2.0]);
    let x = Tensor::new([3f32, 4.0])?;
    let y = w.mul(&x)?;
    x.add_(1)?;
    let error = y.sum()?.backward().unwrap_err().to_string();
    assert!(
        error.contains("changed in place") && error.contains("add"),
        "{error}"
    );
    let y = w.mul(&x)?;
    x.zero_()?;
    let error = y.sum()?.backward().unwrap_err().to_string();
    assert!(
        error.contains("changed in place") && error.contains("zero_"),
        "{error}"
    );
    Ok(())
}

#[test]
fn threads_that_change_each_others_operands_do_not_block() -> Result<()> {
    let (x, y) = (Tensor::zeros([2000])?, Tensor::zeros([2000])?);
    std::thread::scope(|s| {
        for (a, b) in [(&x, &y), (&y, &x)] {
            s.spawn(move || {
                let step = |_| a.add_(b)?.clamp_(0, 1)?.add_(1).map(drop);
                (0..300).try_for_each(step).unwrap();
            });
        }
    });
    assert!(x.ge(1.0)?.all()?.item::<bool>()? && x.le(4.0)?.all()?.item::<bool>()?);
    Ok(())
}

//! Samples to batches, as PyTorch's default_collate.

use flambeau_core::{DType, Device, Result, Tensor};
use flambeau_data::{Collate, ToDevice, stack};

#[test]
fn numbers_become_tensors_of_pytorchs_types() -> Result<()> {
    let ints = Collate::collate(vec![3i64, -1])?;
    assert_eq!(ints.to_vec::<i64>()?, [3, -1]);
    assert_eq!(u8::collate(vec![200, 7])?.to_vec::<i64>()?, [200, 7]);
    assert_eq!(f64::collate(vec![0.5, 2.0])?.to_vec::<f64>()?, [0.5, 2.0]);
    assert_eq!(f32::collate(vec![0.5])?.to_vec::<f32>()?, [0.5]);
    let flags = bool::collate(vec![true, false])?;
    assert_eq!(
        (flags.dtype(), flags.to_vec::<bool>()?),
        (DType::Bool, vec![true, false])
    );
    Ok(())
}

#[test]
fn tensors_stack_whatever_their_layout_and_type() -> Result<()> {
    let x = Tensor::arange(0, 6, 1)?.view([2, 3])?;
    let batch = stack(&[x.t()?, x.t()?.contiguous()?, x.view([3, 2])?])?;
    assert_eq!(batch.shape(), [3, 3, 2]);
    let transposed = [0, 3, 1, 4, 2, 5];
    let expected = [transposed, transposed, [0, 1, 2, 3, 4, 5]].concat();
    assert_eq!(batch.to_vec::<i64>()?, expected);
    // A view that does not begin where its storage does.
    let row = x.select(0, 1)?;
    assert_eq!(
        stack(&[row.clone(), row])?.to_vec::<i64>()?,
        [3, 4, 5, 3, 4, 5]
    );
    for dtype in DType::ALL {
        let one = Tensor::new([1.0f32, 0.0])?.to_dtype(dtype)?;
        let both = stack(&[one.clone(), one])?;
        assert_eq!((both.dtype(), both.shape()), (dtype, &[2, 2][..]));
        assert_eq!(
            both.to_dtype(DType::F32)?.to_vec::<f32>()?,
            [1.0, 0.0, 1.0, 0.0]
        );
    }
    let scalars = stack(&[Tensor::scalar(1.5f32)?, Tensor::scalar(2.5f32)?])?;
    assert_eq!(scalars.shape(), [2]);
    assert_eq!(stack(&[Tensor::zeros([0, 3])?])?.shape(), [1, 0, 3]);
    Ok(())
}

#[test]
fn tuples_and_lists_collate_field_by_field() -> Result<()> {
    let x = Tensor::ones([2])?;
    let samples = vec![(x.clone(), 7i64, "a"), (x, 8, "b")];
    let (x, labels, names) = Collate::collate(samples)?;
    assert_eq!(
        (x.shape(), labels.to_vec::<i64>()?),
        (&[2, 2][..], vec![7, 8])
    );
    assert_eq!(names, ["a", "b"]);
    let lists = Collate::collate(vec![vec![1i64, 2, 3], vec![4, 5, 6]])?;
    assert_eq!(lists.len(), 3);
    assert_eq!(lists[1].to_vec::<i64>()?, [2, 5]);
    let nested = Collate::collate(vec![((1i64, 2.0f32), true)])?;
    assert_eq!(nested.0.1.to_vec::<f32>()?, [2.0]);
    Ok(())
}

#[test]
fn samples_that_do_not_fit_are_named() -> Result<()> {
    let wrong = |a: Tensor, b: Tensor| stack(&[a, b]).unwrap_err().to_string();
    let error = wrong(Tensor::zeros([2, 3])?, Tensor::zeros([3, 2])?);
    assert!(
        error.contains("float32 [2, 3] and sample 1 is float32 [3, 2]"),
        "{error}"
    );
    let error = wrong(Tensor::zeros([2])?, Tensor::arange(0, 2, 1)?);
    assert!(error.contains("sample 1 is int64 [2]"), "{error}");
    assert!(stack(&[]).is_err());
    let error = Collate::collate(vec![vec![1i64], vec![1, 2]])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("sample 0 of this batch has 1 elements and sample 1 has 2"),
        "{error}"
    );
    Ok(())
}

#[test]
fn batches_move_as_a_whole() -> Result<()> {
    let batch = (Tensor::zeros([2])?, vec![Some(Tensor::ones([1])?)], 3i64);
    let (x, list, n) = batch.clone().to(Device::Cpu)?;
    assert!(x.is(&batch.0) && n == 3 && list.len() == 1);
    let error = batch.to(Device::Cuda(99)).unwrap_err().to_string();
    assert!(error.contains("cuda:99"), "{error}");
    Ok(())
}

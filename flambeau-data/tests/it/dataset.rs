//! The datasets that are made of others.

use flambeau_core::{Result, Tensor};
use flambeau_data::*;
use std::sync::Arc;

fn rng() -> SampleRng {
    SampleRng::new(0, 0)
}

fn list(range: std::ops::Range<i64>) -> ListDataset<i64> {
    range.collect()
}

#[test]
fn tensors_side_by_side() -> Result<()> {
    let x = Tensor::arange(0, 6, 1)?.view([3, 2])?;
    let y = Tensor::new([0.5f32, 1.5, 2.5])?;
    let set = TensorDataset::new((x.clone(), y.clone()))?;
    let (a, b) = set.get(2, &mut rng())?;
    assert_eq!((a.to_vec::<i64>()?, b.item::<f32>()?), (vec![4, 5], 2.5));
    assert!(a.shares_storage(&x));
    assert_eq!((set.len(), set.is_empty()), (3, false));
    let error = set.get(3, &mut rng()).unwrap_err().to_string();
    assert!(
        error.contains("index 3 is out of range: TensorDataset has 3 samples"),
        "{error}"
    );

    let single = TensorDataset::new(vec![y.clone()])?;
    assert_eq!(single.get(0, &mut rng())?[0].item::<f32>()?, 0.5);
    let error = TensorDataset::new((x, Tensor::zeros([4])?))
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("[[3, 2], [4]]"), "{error}");
    assert!(TensorDataset::new(Tensor::scalar(1.0f32)?).is_err());
    assert!(TensorDataset::new(Vec::<Tensor>::new()).is_err());
    Ok(())
}

#[test]
fn samples_of_tensors_that_require_gradients_carry_no_graph() -> Result<()> {
    let x = Tensor::ones([2, 2])?.requires_grad_(true)?;
    let set = TensorDataset::new(x)?;
    assert!(!set.get(0, &mut rng())?.requires_grad());
    Ok(())
}

#[test]
fn subsets_and_concatenations() -> Result<()> {
    let set = Subset::new(list(0..10), vec![7, 2, 2])?;
    let all: Vec<i64> = (0..set.len())
        .map(|i| set.get(i, &mut rng()).unwrap())
        .collect();
    assert_eq!(all, [7, 2, 2]);
    assert!(set.get(3, &mut rng()).is_err());
    let error = Subset::new(list(0..10), vec![10]).unwrap_err().to_string();
    assert!(error.contains("index 10"), "{error}");

    let both = ConcatDataset::new(vec![
        Box::new(list(0..2)),
        Box::new(list(0..0)),
        Box::new(set),
        Box::new(list(5..6)),
    ]);
    let all: Vec<i64> = (0..both.len())
        .map(|i| both.get(i, &mut rng()).unwrap())
        .collect();
    assert_eq!(all, [0, 1, 7, 2, 2, 5]);
    assert!(both.get(6, &mut rng()).is_err());
    assert_eq!(ConcatDataset::<i64>::new(vec![]).len(), 0);
    Ok(())
}

#[test]
fn maps_draw_from_the_samples_own_numbers() -> Result<()> {
    let noisy = list(0..100).map(|x, rng| Ok(x as f64 + rng.uniform()));
    let noisy: Arc<dyn Dataset<Item = f64>> = Arc::new(noisy);
    assert_eq!(noisy.name(), "ListDataset");
    let get = |place| noisy.get(5, &mut SampleRng::new(1, place)).unwrap();
    assert_eq!(get(3), get(3));
    assert_ne!(get(3), get(4));
    assert!((5.0..6.0).contains(&get(9)));
    Ok(())
}

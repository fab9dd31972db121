use crate::autograd::{Grad, grad};
use crate::{DType, Ellipsis, IndexItem, NewAxis, Result, Tensor, no_grad, s};

fn counting(shape: &[usize]) -> Tensor {
    let n = crate::shape::numel(shape);
    Tensor::arange(0, n, 1).unwrap().view(shape).unwrap()
}

fn ints(t: Result<Tensor>) -> Vec<i64> {
    t.unwrap().to_vec().unwrap()
}

fn shape(t: Result<Tensor>) -> Vec<usize> {
    t.unwrap().shape().to_vec()
}

/// Expected values from NumPy's and PyTorch's `x[...]` with the same index.
#[test]
fn brackets_follow_numpy() {
    let x = counting(&[2, 3, 4]);
    let (a, b) = (
        Tensor::new([0i64, 1]).unwrap(),
        Tensor::new([2i64, -1]).unwrap(),
    );
    assert_eq!(ints(x.i((1, -1))), [20, 21, 22, 23]);
    assert_eq!(ints(x.i((.., 1, 1..=2))), [5, 6, 17, 18]);
    assert_eq!(ints(x.i((0, .., s(-3, i64::MAX, 2)))), [1, 3, 5, 7, 9, 11]);
    assert_eq!(ints(x.i((Ellipsis, 3))), [3, 7, 11, 15, 19, 23]);
    assert_eq!(shape(x.i((NewAxis, .., NewAxis, 5..))), [1, 2, 1, 0, 4]);
    assert!(x.i((0, 1..)).unwrap().shares_storage(&x));
    // Neighbours stay in place, others go in front.
    assert_eq!(ints(x.i((&a, &b))), [8, 9, 10, 11, 20, 21, 22, 23]);
    assert_eq!(shape(x.i((.., &a, &b))), [2, 2]);
    assert_eq!(ints(x.i((.., &a, &b))), [2, 7, 14, 19]);
    assert_eq!(shape(x.i((&a, .., &b))), [2, 3]);
    assert_eq!(ints(x.i((&a, .., &b))), [2, 6, 10, 15, 19, 23]);
    // An integer is a select and no index tensor.
    assert_eq!(shape(x.i((0, .., &b))), [3, 2]);
    // Broadcast together.
    let column = a.view([2, 1]).unwrap();
    assert_eq!(shape(x.i((&column, &b))), [2, 2, 4]);
    assert_eq!(ints(x.i((&column, &b, 0))), [8, 8, 20, 20]);
    // Masks of one and several dimensions, alone and with others.
    let rows = Tensor::new([true, false, true]).unwrap();
    assert_eq!(ints(x.i((1, &rows, 0))), [12, 20]);
    let plane = x.select(2, 0).unwrap().gt(7).unwrap();
    assert_eq!(shape(x.i(&plane)), [4, 4]);
    assert_eq!(ints(x.i((&plane, 1))), [9, 13, 17, 21]);
    assert_eq!(ints(x.i((&a, &rows, 2))), [2, 22]);
    assert_eq!(shape(x.i(true)), [1, 2, 3, 4]);
    assert_eq!(shape(x.i(false)), [0, 2, 3, 4]);
    // Empty, 0-d and strided.
    assert_eq!(
        shape(x.i((.., Tensor::zeros_with(0, DType::I64).unwrap()))),
        [2, 0, 4]
    );
    assert_eq!(ints(x.i((.., Tensor::scalar(1i64).unwrap(), 0))), [4, 16]);
    let y = x.permute([2, 0, 1]).unwrap().slice(0, 1, 4, 2).unwrap();
    assert_eq!(ints(y.i((.., [1, 0], 2))), [21, 9, 23, 11]);
    assert_eq!(
        ints(x.i(&[
            IndexItem::Int(0),
            IndexItem::List(vec![2, 2]),
            IndexItem::Int(1)
        ][..])),
        [9, 9]
    );
}

#[test]
fn wrong_indices_say_why() {
    let x = counting(&[2, 3]);
    let fails = |r: Result<Tensor>, words: &str| {
        let e = r.unwrap_err().to_string();
        assert!(e.contains(words), "{e}");
    };
    fails(x.i(2), "index 2 is out of range for dimension 0 of size 2");
    fails(
        x.i((.., [0, 3])),
        "index 3 is out of range for dimension 1 of size 3",
    );
    fails(x.i((.., [-4])), "index -4 is out of range");
    fails(x.i((0, 0, 0)), "takes 3 dimensions");
    fails(x.i((Ellipsis, Ellipsis)), "one Ellipsis");
    fails(x.i(s(2, 0, -1)), "above zero");
    fails(
        x.i(Tensor::new([true, false, true]).unwrap()),
        "mask of shape [3]",
    );
    fails(x.i(Tensor::new([0.0f32]).unwrap()), "not float32");
    fails(x.i(([0, 1], [0, 1, 2])), "broadcast");
    fails(
        x.gather(1, &Tensor::new([[3i64]]).unwrap()),
        "index 3 is out of range for dimension 1 of size 3",
    );
    fails(x.gather(1, &Tensor::new([[-1i64]]).unwrap()), "index -1");
    fails(x.gather(1, &Tensor::new([0i64]).unwrap()), "does not fit");
    fails(
        x.index_select(0, &Tensor::new([2i64]).unwrap()),
        "dimension 0 of size 2",
    );
    fails(
        Tensor::new([3i64])
            .unwrap()
            .embedding(&Tensor::ones([3, 2]).unwrap(), None, false),
        "index 3",
    );
    fails(Tensor::new([3i64]).unwrap().one_hot(Some(3)), "label 3");
    fails(x.index_put(0, counting(&[2]), false), "does not broadcast");
    fails(
        x.index_put(([0, 1], 0), Tensor::zeros([3]).unwrap(), false),
        "does not broadcast",
    );
    fails(x.topk(4, 1, true).map(|t| t.0), "4 elements asked for");
    fails(
        Tensor::new([-1i64]).unwrap().bincount(None, 0),
        "not negative",
    );
}

#[test]
fn assignment() {
    let x = counting(&[2, 3]);
    let version = x.version();
    x.set((0, 1..), 9).unwrap();
    x.set((.., [0]), Tensor::new([[7i64], [8]]).unwrap())
        .unwrap();
    assert_eq!(x.to_vec::<i64>().unwrap(), [7, 9, 9, 8, 4, 5]);
    assert!(x.version() > version);
    x.set(x.gt(7).unwrap(), 0).unwrap();
    assert_eq!(x.to_vec::<i64>().unwrap(), [7, 0, 0, 0, 4, 5]);
    // Through a view, with values that must broadcast, be converted and lose a leading 1.
    x.t()
        .unwrap()
        .set(
            (&Tensor::new([0i64, 2]).unwrap(), 1),
            Tensor::new([[1.5f32, 2.5]]).unwrap(),
        )
        .unwrap();
    assert_eq!(x.to_vec::<i64>().unwrap(), [7, 0, 0, 1, 4, 2]);
    // Repeated places add up with `accumulate`.
    let sums = x.index_put((0, [1, 1, 2]), 10, true).unwrap();
    assert_eq!(sums.to_vec::<i64>().unwrap(), [7, 20, 10, 1, 4, 2]);
    // From its own memory.
    let y = counting(&[4]);
    y.set([3, 2, 1, 0], &y).unwrap();
    assert_eq!(y.to_vec::<i64>().unwrap(), [3, 2, 1, 0]);
    assert!(
        Tensor::ones(2)
            .unwrap()
            .expand([3, 2])
            .unwrap()
            .set(0, 1.0)
            .is_err()
    );
}

/// Gradients of indexing and assignment, and those of second order through a square.
#[test]
fn gradients_of_brackets() {
    let x = Tensor::new([[1.0f64, 2.0, 3.0], [4.0, 5.0, 6.0]])
        .unwrap()
        .requires_grad_(true)
        .unwrap();
    let y = x
        .i(([0, 1, 0], [1, 2, 1]))
        .unwrap()
        .square()
        .unwrap()
        .sum()
        .unwrap();
    let options = Grad {
        create_graph: true,
        ..Grad::default()
    };
    let g = grad(&[&y], &[&x], &[], options).unwrap()[0]
        .clone()
        .unwrap();
    assert_eq!(g.to_vec::<f64>().unwrap(), [0.0, 8.0, 0.0, 0.0, 0.0, 12.0]);
    let h = grad(&[&g.sum().unwrap()], &[&x], &[], Grad::default()).unwrap()[0]
        .clone()
        .unwrap();
    assert_eq!(h.to_vec::<f64>().unwrap(), [0.0, 4.0, 0.0, 0.0, 0.0, 2.0]);

    let v = Tensor::new([10.0f64, 20.0])
        .unwrap()
        .requires_grad_(true)
        .unwrap();
    let z = x.mul(1.0).unwrap();
    z.set((.., [2, 0]), &v).unwrap();
    z.set((0, 1), 0.0).unwrap();
    z.square().unwrap().sum().unwrap().backward().unwrap();
    assert_eq!(
        x.grad().unwrap().to_vec::<f64>().unwrap(),
        [0.0, 0.0, 0.0, 0.0, 10.0, 0.0]
    );
    assert_eq!(v.grad().unwrap().to_vec::<f64>().unwrap(), [40.0, 80.0]);

    let leaf = Tensor::ones(3).unwrap().requires_grad_(true).unwrap();
    assert!(leaf.set([0], 2.0).unwrap_err().to_string().contains("leaf"));
    no_grad(|| leaf.set([0], 2.0)).unwrap();
    assert_eq!(leaf.to_vec::<f32>().unwrap(), [2.0, 1.0, 1.0]);
}

/// Against `F.embedding`'s gradient for the same numbers.
#[test]
fn embedding_gradients() {
    let run = |padding, by_frequency| {
        let w = Tensor::ones([4, 2]).unwrap().requires_grad_(true).unwrap();
        let i = Tensor::new([[1i64, 2, 1], [3, 1, 3]]).unwrap();
        let out = i.embedding(&w, padding, by_frequency).unwrap();
        assert_eq!(out.shape(), [2, 3, 2]);
        out.sum().unwrap().backward().unwrap();
        let g = w.grad().unwrap().select(1, 0).unwrap();
        g.to_vec::<f32>().unwrap()
    };
    assert_eq!(run(None, false), [0.0, 3.0, 1.0, 2.0]);
    assert_eq!(run(Some(-1), false), [0.0, 3.0, 1.0, 0.0]);
    let close = |a: Vec<f32>, b: [f32; 4]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(close(run(Some(2), true), [0.0, 1.0, 0.0, 1.0]));
}

#[test]
fn order_of_nan_and_equals() {
    let x = Tensor::new([2.0f32, f32::NAN, 1.0, 2.0]).unwrap();
    let index = |r: Result<(Tensor, Tensor)>| r.unwrap().1.to_vec::<i64>().unwrap();
    assert_eq!(index(x.sort(0, false)), [2, 0, 3, 1]);
    assert_eq!(index(x.sort(0, true)), [1, 0, 3, 2]);
    assert_eq!(index(x.topk(2, 0, true)), [1, 0]);
    assert_eq!(index(x.topk(2, 0, false)), [2, 0]);
    assert_eq!(index(x.topk(0, 0, false)), [0i64; 0]);
    let big = counting(&[3, 5000]).remainder_by(7);
    let (values, _) = big.sort(1, true).unwrap();
    let row = values.select(0, 1).unwrap().to_vec::<i64>().unwrap();
    assert!(row.is_sorted_by(|a, b| a >= b));
    let (values, inverse, counts) = big.unique().unwrap();
    assert_eq!(values.to_vec::<i64>().unwrap(), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(counts.to_vec::<i64>().unwrap().iter().sum::<i64>(), 15_000);
    assert_eq!(
        values.take(&inverse).unwrap().to_vec::<i64>().unwrap(),
        big.to_vec::<i64>().unwrap()
    );
}

impl Tensor {
    fn remainder_by(&self, n: i64) -> Tensor {
        let v: Vec<i64> = self
            .to_vec::<i64>()
            .unwrap()
            .iter()
            .map(|v| v * 31 % n)
            .collect();
        Tensor::from_vec(v, self.shape()).unwrap()
    }
}

#[test]
fn types_and_numbers() {
    let h = Tensor::ones_with([3], DType::F16).unwrap();
    let sums = h.index_add(
        0,
        &Tensor::new([1i64, 1]).unwrap(),
        &Tensor::ones_with(2, DType::F16).unwrap(),
        2,
    );
    assert_eq!(
        sums.unwrap()
            .to_dtype(DType::F32)
            .unwrap()
            .to_vec::<f32>()
            .unwrap(),
        [1.0, 5.0, 1.0]
    );
    let u = Tensor::new([250u8, 1]).unwrap();
    let i = Tensor::new([0i64, 0]).unwrap();
    assert_eq!(
        u.scatter_add(0, &i, Tensor::new([5u8, 2]).unwrap())
            .unwrap()
            .to_vec::<u8>()
            .unwrap(),
        [1, 1]
    );
    assert_eq!(u.scatter(0, &i, 9).unwrap().to_vec::<u8>().unwrap(), [9, 1]);
    assert!(u.scatter(0, &i, Tensor::ones(2).unwrap()).is_err());
    let repeated = counting(&[3]).repeat_interleave_each(&Tensor::new([2i64, 0, 1]).unwrap(), 0);
    assert_eq!(repeated.unwrap().to_vec::<i64>().unwrap(), [0, 0, 2]);
    assert!(
        Tensor::cat::<Tensor>(&[], 0).is_err()
            && Tensor::stack(&[counting(&[1]), counting(&[2])], 0).is_err()
    );
}

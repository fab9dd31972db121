use super::*;
use crate::shape::wrap_dims;

fn f32s(shape: &[usize]) -> Tensor {
    let n = crate::shape::numel(shape);
    let values: Vec<f32> = (0..n)
        .map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0)
        .collect();
    Tensor::from_vec(values, shape).unwrap()
}

/// Every way through the layouts, against a plain loop over `f64`.
#[test]
fn sums_of_all_layouts() {
    let cases: [(&[usize], &[i64]); 14] = [
        (&[100_003], &[]),
        (&[7, 70_001], &[1]),
        (&[70_001, 3], &[0]),
        (&[5_000, 100], &[0]),
        (&[3, 40_000], &[0]),
        (&[2, 300, 5], &[1]),
        (&[4, 3, 33, 34], &[0, 2, 3]),
        (&[4, 3, 33, 34], &[1, 3]),
        (&[2, 1, 3, 1], &[1]),
        (&[2, 1, 3, 1], &[0, 3]),
        (&[17, 1], &[0]),
        (&[0, 3], &[0]),
        (&[3, 0], &[0]),
        (&[6, 5, 4], &[2, 0]),
    ];
    for (shape, dims) in cases {
        let x = f32s(shape);
        let orders: Vec<Vec<usize>> =
            vec![(0..shape.len()).collect(), (0..shape.len()).rev().collect()];
        for order in orders {
            // The same elements in another memory order.
            let mut inverse = vec![0; order.len()];
            order.iter().enumerate().for_each(|(i, &d)| inverse[d] = i);
            let y = x
                .permute(&order[..])
                .unwrap()
                .contiguous()
                .unwrap()
                .permute(inverse)
                .unwrap();
            let sum = y.sum_dim(dims, true).unwrap();
            let wrapped = wrap_dims("t", dims, shape.len()).unwrap();
            let mut want = vec![0.0f64; sum.numel()];
            // A unit in the last place of the sum of sizes.
            let allowed = 1e-6 + 6e-8 * (x.numel() / want.len().max(1)) as f64;
            let strides = crate::shape::contiguous_strides(sum.shape());
            for (i, v) in x.to_vec::<f32>().unwrap().iter().enumerate() {
                let (mut rest, mut at) = (i, 0);
                for d in (0..shape.len()).rev() {
                    if !wrapped.contains(&d) {
                        at += rest % shape[d] * strides[d];
                    }
                    rest /= shape[d];
                }
                want[at] += *v as f64;
            }
            for (a, b) in sum.to_vec::<f32>().unwrap().iter().zip(&want) {
                assert!(
                    (*a as f64 - b).abs() < allowed,
                    "{shape:?} {dims:?}: {a} {b}"
                );
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let x = f32s(&[3, 100_001]);
    let all = || {
        let (t, s) = (x.t().unwrap(), x.softmax(1).unwrap());
        [
            x.sum(),
            x.sum_dim(0, false),
            t.sum_dim(0, false),
            x.var(),
            s.sum(),
        ]
        .map(|r| {
            r.unwrap()
                .to_vec::<f32>()
                .unwrap()
                .iter()
                .map(|v| v.to_bits())
                .collect::<Vec<_>>()
        })
    };
    let threads = flambeau_cpu::threads::num_threads();
    flambeau_cpu::threads::set_num_threads(1);
    let one = all();
    flambeau_cpu::threads::set_num_threads(4);
    let four = all();
    flambeau_cpu::threads::set_num_threads(threads);
    assert_eq!(one, four);
}

#[test]
fn nothing_and_nan() {
    let none = Tensor::zeros([0]).unwrap();
    assert_eq!(none.sum().unwrap().item::<f32>().unwrap(), 0.0);
    assert_eq!(none.prod().unwrap().item::<f32>().unwrap(), 1.0);
    assert!(none.mean().unwrap().item::<f32>().unwrap().is_nan());
    assert!(none.all().unwrap().item::<bool>().unwrap());
    assert!(!none.any().unwrap().item::<bool>().unwrap());
    for e in [
        none.max(),
        none.amin((), false),
        none.argmax((), false),
        none.median(),
    ] {
        assert!(e.unwrap_err().to_string().contains("no elements"));
    }
    let rows = Tensor::zeros([2, 0]).unwrap();
    assert!(rows.max_dim(1, false).is_err() && rows.max_dim(0, false).unwrap().0.shape() == [0]);

    let x = Tensor::new([[1.0f32, f32::NAN, 3.0, f32::NAN], [4.0, 2.0, 4.0, 2.0]]).unwrap();
    let values = |t: Tensor| t.to_vec::<f32>().unwrap();
    let v = values(x.amax(1, false).unwrap());
    assert!(v[0].is_nan() && v[1] == 4.0);
    let v = values(x.amin(0, false).unwrap());
    assert!(v[0] == 1.0 && v[1].is_nan() && v[2] == 3.0);
    assert_eq!(x.argmax(1, false).unwrap().to_vec::<i64>().unwrap(), [1, 0]);
    assert_eq!(x.argmin(1, false).unwrap().to_vec::<i64>().unwrap(), [1, 1]);
    assert_eq!(
        x.median_dim(1, false).unwrap().1.to_vec::<i64>().unwrap()[0],
        1
    );
    assert_eq!(values(x.nansum(1, false).unwrap()), [4.0, 12.0]);
    assert_eq!(x.count_nonzero(1).unwrap().to_vec::<i64>().unwrap(), [4, 4]);
    let cum = values(x.cummax(1).unwrap().0);
    assert!(cum[0] == 1.0 && cum[1..4].iter().all(|v| v.is_nan()) && cum[4..] == [4.0; 4]);
}

#[test]
fn types_follow_pytorch() {
    let b = Tensor::new([true, true, false]).unwrap();
    let sum = b.sum().unwrap();
    assert_eq!((sum.dtype(), sum.item::<i64>().unwrap()), (DType::I64, 2));
    let u = Tensor::new([200u8, 100]).unwrap();
    assert_eq!(u.sum().unwrap().item::<i64>().unwrap(), 300);
    assert_eq!(
        (u.max().unwrap().dtype(), u.any().unwrap().dtype()),
        (DType::U8, DType::U8)
    );
    assert_eq!(u.prod().unwrap().item::<i64>().unwrap(), 20_000);
    assert!(u.mean().is_err() && u.var().is_err() && u.softmax(0).is_err());
    // Half types accumulate in f32: no overflow, one rounding.
    let h = Tensor::full_with([4096], 100.0, DType::F16).unwrap();
    assert_eq!(h.mean().unwrap().item::<f32>().unwrap(), 100.0);
    let i = Tensor::new([i64::MAX, 1]).unwrap();
    assert_eq!(i.sum().unwrap().item::<i64>().unwrap(), i64::MIN);
    assert!(Tensor::zeros([2]).unwrap().sum_dim([0, 0], false).is_err());
}

#[test]
fn gradients_at_ties_zeros_and_roots() {
    let grad = |values: &[f64], f: &dyn Fn(&Tensor) -> Result<Tensor>| {
        let x = Tensor::from_slice(values, values.len())
            .unwrap()
            .requires_grad_(true)
            .unwrap();
        f(&x).unwrap().backward().unwrap();
        x.grad().unwrap().to_vec::<f64>().unwrap()
    };
    assert_eq!(grad(&[1.0, 3.0, 3.0], &|x| x.max()), [0.0, 0.5, 0.5]);
    assert_eq!(
        grad(&[1.0, 3.0, 3.0], &|x| Ok(x.max_dim(0, false)?.0)),
        [0.0, 1.0, 0.0]
    );
    assert_eq!(grad(&[2.0, 0.0, 5.0], &|x| x.prod()), [0.0, 10.0, 0.0]);
    assert_eq!(grad(&[0.0, 0.0, 5.0], &|x| x.prod()), [0.0; 3]);
    assert_eq!(
        grad(&[2.0, 0.0, 5.0], &|x| x.cumprod(0)?.sum()),
        [1.0, 12.0, 0.0]
    );
    assert_eq!(grad(&[0.0, 0.0], &|x| x.norm(2.0, (), false)), [0.0; 2]);
    assert_eq!(grad(&[3.0, 3.0], &|x| x.std()), [0.0; 2]);
    // The second derivative of a product around a zero: d2(xyz)/dx dy = z.
    let x = Tensor::new([2.0f64, 0.0, 5.0])
        .unwrap()
        .requires_grad_(true)
        .unwrap();
    let options = crate::autograd::Grad {
        create_graph: true,
        ..Default::default()
    };
    let y = x.prod().unwrap();
    let g = crate::autograd::grad(&[&y], &[&x], &[], options).unwrap();
    g[0].as_ref()
        .unwrap()
        .select(0, 1)
        .unwrap()
        .backward()
        .unwrap();
    assert_eq!(x.grad().unwrap().to_vec::<f64>().unwrap(), [5.0, 0.0, 2.0]);
}

#[test]
fn softmax_of_extremes_and_columns() {
    let inf = f32::INFINITY;
    let x = Tensor::new([[0.0f32, -inf, 1.0], [-inf, -inf, -inf]]).unwrap();
    let p = x.softmax(1).unwrap().to_vec::<f32>().unwrap();
    assert!(p[1] == 0.0 && p[3..].iter().all(|v| v.is_nan()));
    let l = Tensor::new([1e4f32, -1e4]).unwrap().log_softmax(0).unwrap();
    assert_eq!(l.to_vec::<f32>().unwrap(), [0.0, -2e4]);
    // Rows against columns, beyond one block of columns.
    let x = f32s(&[37, 300]);
    let close = |a: &Tensor, b: &Tensor| {
        let d = a.sub(b).unwrap();
        d.norm(f64::INFINITY, (), false)
            .unwrap()
            .item::<f32>()
            .unwrap()
            < 1e-6
    };
    let columns = x.softmax(0).unwrap();
    let rows = x.t().unwrap().softmax(1).unwrap().t().unwrap();
    assert!(
        close(&columns, &rows)
            && close(
                &columns.sum_dim(0, false).unwrap(),
                &Tensor::ones([300]).unwrap()
            )
    );
    let lse = x.logsumexp(1, true).unwrap();
    assert!(close(&x.sub(&lse).unwrap(), &x.log_softmax(1).unwrap()));
    let all = Tensor::full([2], -inf)
        .unwrap()
        .logsumexp((), false)
        .unwrap();
    assert_eq!(all.item::<f32>().unwrap(), -inf);
}

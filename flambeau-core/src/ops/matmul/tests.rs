use super::*;
use crate::DType;

fn counting(shape: &[usize]) -> Tensor {
    let n = numel(shape);
    Tensor::arange(0, n, 1)
        .and_then(|t| t.to_dtype(DType::F64)?.sub(n as f64 / 2.0)?.view(shape))
        .unwrap()
}

/// By the definition, through elementwise products and sums.
fn slow(a: &Tensor, b: &Tensor) -> Vec<f64> {
    a.unsqueeze(-1)
        .and_then(|a| a.mul(b.unsqueeze(-3)?)?.sum_dim(-2, false)?.to_vec())
        .unwrap()
}

#[test]
fn layouts_need_no_copy_and_agree() {
    let check = |a: &Tensor, b: &Tensor| {
        assert_eq!(a.matmul(b).unwrap().to_vec::<f64>().unwrap(), slow(a, b));
    };
    let (a, b) = (
        counting(&[4, 3]).t().unwrap(),
        counting(&[5, 4]).t().unwrap(),
    );
    check(&a, &b);
    check(&counting(&[6, 4]).slice(0, 1, 6, 2).unwrap(), &b);
    let expanded = counting(&[1, 4]).expand([3, 4]).unwrap();
    check(&expanded, &b);
    // Batches: permuted, shared, broadcast on both sides.
    let x = counting(&[2, 3, 5, 4]);
    check(&x, &b);
    check(&x.permute([1, 0, 2, 3]).unwrap(), &b);
    check(&x, &counting(&[3, 4, 2]));
    check(&x.permute([1, 0, 2, 3]).unwrap(), &counting(&[2, 4, 2]));
    check(&counting(&[2, 1, 5, 4]), &counting(&[3, 4, 2]));
    check(&counting(&[3, 1, 4]), &b);
    check(&counting(&[3, 4]), &counting(&[2, 4, 2]));
}

#[test]
fn integers_wrap_and_halves_round_once() {
    let a = Tensor::new([[100i8, 3], [2, -7]]).unwrap();
    let exact = [10_006i32, 300 - 21, 200 - 14, 6 + 49].map(|v| v as i8);
    assert_eq!(a.matmul(&a).unwrap().to_vec::<i8>().unwrap(), exact);
    let x = Tensor::full_with([1, 4096], 1.0, DType::BF16).unwrap();
    let sum = x.matmul(&x.t().unwrap()).unwrap();
    assert_eq!(
        (sum.dtype(), sum.item::<f32>().unwrap()),
        (DType::BF16, 4096.0)
    );
}

#[test]
fn errors_name_the_rule() {
    let message = |r: Result<Tensor>| r.unwrap_err().to_string();
    let f = |shape: &[usize]| Tensor::ones(shape).unwrap();
    let e = message(f(&[2, 3]).matmul(&f(&[4])));
    assert!(e.contains("lhs [2, 3], rhs [4]; need 3 == 4"), "{e}");
    let e = message(f(&[2, 3]).matmul(&counting(&[3, 2])));
    assert!(e.contains("expected both to have the same dtype"), "{e}");
    assert!(message(f(&[2, 2, 3]).matmul(&f(&[3, 3, 2]))).contains("broadcast"));
    assert!(message(f(&[]).matmul(&f(&[1]))).contains("at least 1 dimension"));
    assert!(message(f(&[2, 3]).linear(&f(&[5, 4]), None)).contains("must be 4"));
    assert!(message(f(&[2, 4]).linear(&f(&[5, 4]), Some(&f(&[4])))).contains("[5]"));
    assert!(message(f(&[2, 3]).mm(&f(&[3]))).contains("mm"));
    let b = Tensor::full([2, 2], true).unwrap();
    assert!(message(b.matmul(&b)).contains("bool"));
}

#[test]
fn beta_zero_does_not_read() {
    let nan = Tensor::full([2], f64::NAN)
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap();
    let (a, b) = (counting(&[3, 4]), counting(&[4, 2]));
    let out = nan.addmm(&a, &b, 0, 2).unwrap().to_vec::<f64>().unwrap();
    assert_eq!(
        out,
        slow(&a, &b).iter().map(|v| v * 2.0).collect::<Vec<_>>()
    );
}

//! The loops compute what the plain ones do, to the bit.

use super::super::activation::ACTIVATIONS;
use super::super::binary::{BINARY, binary, binary_};
use super::super::pairs::PAIRS;
use super::super::unary::{UNARY, unary, unary_};
use super::*;

fn same(a: &Tensor, b: &Tensor) -> bool {
    a.shape() == b.shape() && a.dtype() == b.dtype() && a.to_bytes().ok() == b.to_bytes().ok()
}

/// What the plain loop makes of whole operands in f32.
fn plain(f: impl Fn(&Tensor, &Tensor) -> Result<Tensor>, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let shape = crate::shape::broadcast("", a.shape(), b.shape())?;
    let whole = |t: &Tensor| t.to_dtype(DType::F32)?.expand(&shape)?.contiguous();
    f(&whole(a)?, &whole(b)?)?.to_dtype(a.dtype())
}

#[test]
fn pairs_are_what_the_plain_loop_computes() -> Result<()> {
    let shapes: [[&[usize]; 2]; 12] = [
        [&[70, 1000], &[70, 1000]],
        [&[70, 1000], &[]],
        [&[70, 1000], &[1000]],
        [&[70, 1000], &[70, 1]],
        [&[70, 1], &[1000]],
        [&[1000], &[70, 1000]],
        [&[5000, 10], &[10]],
        [&[5000, 10], &[5000, 1]],
        [&[8, 30, 7, 7], &[30, 1, 1]],
        [&[4, 700, 7, 9], &[700, 1, 1]],
        [&[3, 40, 40, 30], &[40, 1, 30]],
        [&[3, 1, 40, 30], &[3, 20, 1, 30]],
    ];
    let rows = BINARY.iter().chain(PAIRS).filter(|row| row.hot.is_some());
    for (def, dtype) in rows.flat_map(|&row| [(row, DType::F32), (row, DType::BF16)]) {
        for [left, right] in shapes {
            let a = Tensor::randn(left)?.to_dtype(dtype)?;
            let b = Tensor::randn(right)?.to_dtype(dtype)?;
            let want = plain(|a, b| binary(def, a, b), &a, &b)?;
            let case = format!("{} of {dtype} {left:?} {right:?}", def.name);
            assert!(same(&binary(def, &a, &b)?, &want), "{case}");
            if want.shape() == a.shape() {
                binary_(def, &a, &b)?;
                assert!(same(&a, &want), "{case} in place");
            }
        }
    }
    Ok(())
}

#[test]
fn arithmetic_is_what_the_widest_type_wraps_to() -> Result<()> {
    use DType::*;
    let shapes: [[&[usize]; 2]; 8] = [
        [&[70, 1000], &[70, 1000]],
        [&[70, 1000], &[]],
        [&[70, 1000], &[1000]],
        [&[70, 1], &[1000]],
        [&[5000, 10], &[10]],
        [&[5000, 10], &[5000, 1]],
        [&[5000, 1], &[5000, 10]],
        [&[8, 30, 7, 7], &[30, 1, 1]],
    ];
    let rows = BINARY.iter().chain(PAIRS).filter(|row| row.arith.is_some());
    for (def, dtype) in rows.flat_map(|&row| [F64, I64, I32, I16, I8, U8, Bool].map(|d| (row, d))) {
        let bits = matches!(def.arith, Some(Arith::And | Arith::Or | Arith::Xor));
        if dtype == Bool && def.name == "sub" || dtype == F64 && bits {
            continue;
        }
        let (wide, least) = match dtype {
            F64 => (F64, -300),
            Bool => (I64, 0),
            _ => (I64, -300),
        };
        for [left, right] in shapes {
            let most = if dtype == Bool { 2 } else { 300 };
            let a = Tensor::randint(least, most, left)?.to_dtype(dtype)?;
            let b = Tensor::randint(least, most, right)?.to_dtype(dtype)?;
            let shape = crate::shape::broadcast("", left, right)?;
            let whole = |t: &Tensor| t.to_dtype(wide)?.expand(&shape)?.contiguous();
            let want = binary(def, &whole(&a)?, &whole(&b)?)?.to_dtype(dtype)?;
            let case = format!("{} of {dtype} {left:?} {right:?}", def.name);
            assert!(same(&binary(def, &a, &b)?, &want), "{case}");
            if want.shape() == a.shape() {
                binary_(def, &a, &b)?;
                assert!(same(&a, &want), "{case} in place");
            }
        }
    }
    Ok(())
}

/// A tensor to stand beside `x`.
fn beside(x: &Tensor, dims: &[usize]) -> Result<Tensor> {
    let n = dims.iter().product::<usize>() as i64;
    (Tensor::arange(0, n, 1)?.to_dtype(DType::F32)?.sin()?)
        .to_dtype(x.dtype())?
        .reshape(dims)
}

#[test]
fn a_view_is_changed_in_place_and_nothing_beside_it() -> Result<()> {
    type View = fn(&Tensor) -> Result<Tensor>;
    let views: [View; 6] = [
        |x| x.narrow(2, 3, 40),
        |x| x.narrow(1, 2, 5),
        |x| x.permute([2, 0, 1]),
        |x| x.narrow(2, 1, 3),
        |x| x.select(2, 7),
        |x| x.permute([1, 2, 0])?.narrow(0, 1, 9),
    ];
    type Change = fn(&Tensor) -> Result<Tensor>;
    let changes: [Change; 8] = [
        Tensor::relu_,
        Tensor::exp_,
        |x| x.mul_(3),
        |x| x.fill_(2),
        |x| x.clamp_(-0.5, 0.5),
        |x| x.mul_(beside(x, x.shape())?),
        |x| x.add_(beside(x, &x.shape()[x.dim() - 1..])?),
        |x| x.sub_(beside(x, x.shape())?.narrow(-1, 0, 1)?),
    ];
    for dtype in [DType::F32, DType::BF16, DType::F64] {
        for (i, view) in views.iter().enumerate() {
            for (j, change) in changes.iter().enumerate() {
                let x = Tensor::randn([900, 11, 50])?.to_dtype(dtype)?;
                // What is not in the view stays; what is, is as if it had stood alone.
                let mark = Tensor::zeros_with(x.shape(), DType::Bool)?;
                view(&mark)?.fill_(true)?;
                let before = x.copy()?;
                let alone = view(&x)?.contiguous()?;
                change(&alone)?;
                change(&view(&x)?)?;
                assert!(same(&view(&x)?.contiguous()?, &alone), "{dtype} {i} {j}");
                let kept = |x: &Tensor| mark.where_(0.0, x);
                assert!(same(&kept(&x)?, &kept(&before)?), "{dtype} {i} {j}");
            }
        }
    }
    Ok(())
}

#[test]
fn one_operand_is_what_the_plain_loop_computes() -> Result<()> {
    let rows = UNARY.iter().chain(ACTIVATIONS);
    for def in rows.filter(|row| row.hot.is_some()) {
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let x = Tensor::randn([70, 1001])?.to_dtype(dtype)?;
            let want = unary(def, &x.to_dtype(DType::F32)?, [0.0; 3])?.to_dtype(dtype)?;
            assert!(same(&unary(def, &x, [0.0; 3])?, &want), "{}", def.name);
            unary_(def, &x, [0.0; 3])?;
            assert!(same(&x, &want), "{} of {dtype} in place", def.name);
        }
    }
    Ok(())
}

#[test]
fn the_layout_of_transposed_operands_is_kept() -> Result<()> {
    let x = Tensor::randn([30, 20, 10])?.permute([2, 0, 1])?;
    let y = x.mul(2.0)?.add(&x)?.exp()?;
    assert_eq!(y.strides(), x.strides());
    let want = x.contiguous()?.mul(2.0)?.add(x.contiguous()?)?.exp()?;
    assert!(same(&y.contiguous()?, &want));
    // Operands in different orders, or broadcast, give the usual one.
    assert!(x.add(x.contiguous()?)?.is_contiguous());
    assert!(x.add(Tensor::ones([20])?)?.is_contiguous());
    Ok(())
}

//! Type promotion against PyTorch: see `goldens/io/make_promotion.py`.

use flambeau_core::{DType, Result, Scalar, Tensor};

const NUMBERS: [Scalar; 3] = [Scalar::Bool(true), Scalar::Int(3), Scalar::Float(2.5)];

/// The type of `a` and `b` together, and what an addition, a comparison and a choice make of it.
fn check(what: &str, a: &Tensor, b: &Tensor, want: DType) -> Result<()> {
    for (x, y) in [(a, b), (b, a)] {
        assert_eq!(Tensor::result_type(x, y)?, want, "{what}");
        assert_eq!(x.add(y)?.dtype(), want, "{what}: add");
        assert_eq!(x.maximum(y)?.dtype(), want, "{what}: maximum");
        assert_eq!(x.le(y)?.dtype(), DType::Bool, "{what}: le");
        assert_eq!(x.gt(0)?.where_(x, y)?.dtype(), want, "{what}: where");
        let floating = if want.is_floating_point() {
            want
        } else {
            DType::F32
        };
        assert_eq!(x.div(y)?.dtype(), floating, "{what}: div");
    }
    Ok(())
}

fn check_number(what: &str, a: &Tensor, b: Scalar, want: DType) -> Result<()> {
    assert_eq!(Tensor::result_type(a, b)?, want, "{what}");
    assert_eq!(a.add(b)?.dtype(), want, "{what}: add");
    assert_eq!(a.gt(0)?.where_(a, b)?.dtype(), want, "{what}: where");
    let floating = if want.is_floating_point() {
        want
    } else {
        DType::F32
    };
    assert_eq!(a.div(b)?.dtype(), floating, "{what}: div");
    Ok(())
}

#[test]
fn types_are_promoted_as_in_pytorch() -> Result<()> {
    let text = include_str!("../goldens/io/promotion.txt");
    let of = |name: &str| DType::from_name(name).unwrap_or_else(|| panic!("no type {name}"));
    for line in text.lines() {
        let (what, results) = line.split_once(" | ").expect("a row");
        let (table, row) = what.split_once(' ').expect("a table and a type");
        let row = of(row);
        let (many, one) = (Tensor::ones_with(2, row)?, Tensor::ones_with((), row)?);
        for (i, want) in results.split(' ').map(of).enumerate() {
            let column = DType::ALL[i];
            let what = format!("{what}, {column}");
            match table {
                "promote" => assert_eq!(row.promote(column), want, "{what}"),
                "many-many" => check(&what, &many, &Tensor::ones_with(2, column)?, want)?,
                "many-one" => check(&what, &many, &Tensor::ones_with((), column)?, want)?,
                "one-one" => check(&what, &one, &Tensor::ones_with((), column)?, want)?,
                "many-number" => check_number(&what, &many, NUMBERS[i], want)?,
                "one-number" => check_number(&what, &one, NUMBERS[i], want)?,
                other => panic!("no table {other}"),
            }
        }
    }
    assert_eq!(text.lines().count(), 60);
    Ok(())
}

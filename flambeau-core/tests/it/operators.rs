//! Operators are the methods of their names, with scalars on either side.

use flambeau_core::{Error, Result, Tensor};

#[test]
fn scalars_stand_on_either_side() -> Result<()> {
    let x = Tensor::new([7.0f32, -7.0])?;
    let v = |t: Tensor| t.to_vec::<f32>();
    // By Python: 2 - x, x - 2, 14 / x, x / 2, x % 3, 3 % x, -x.
    assert_eq!(v(2 - &x)?, [-5.0, 9.0]);
    assert_eq!(v(&x - 2)?, [5.0, -9.0]);
    assert_eq!(v(14.0 / &x)?, [2.0, -2.0]);
    assert_eq!(v(&x / 2usize)?, [3.5, -3.5]);
    assert_eq!(v(&x % 3)?, [1.0, 2.0]);
    assert_eq!(v(3 % &x)?, [3.0, -4.0]);
    assert_eq!(v(-&x + 2usize * &x)?, v(x)?);
    Ok(())
}

#[test]
fn masks_are_combined() -> Result<()> {
    let x = Tensor::arange(0, 6, 1)?;
    let (low, even) = (x.lt(3)?, x.remainder(2)?.eq(0)?);
    assert_eq!(x.i(&low & &even)?.to_vec::<i64>()?, [0, 2]);
    assert_eq!(x.i(&low | &even)?.to_vec::<i64>()?, [0, 1, 2, 4]);
    assert_eq!(x.i(&low ^ &even)?.to_vec::<i64>()?, [1, 4]);
    assert_eq!(x.i(!&low)?.to_vec::<i64>()?, [3, 4, 5]);
    assert_eq!((!x).to_vec::<i64>()?, [-1, -2, -3, -4, -5, -6]);
    Ok(())
}

#[test]
fn an_operator_panics_with_the_methods_text() {
    let (a, b) = (Tensor::ones([2, 3]).unwrap(), Tensor::ones([4]).unwrap());
    let error = a.add(&b).unwrap_err();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| &a + &b)).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(
        text.starts_with(&format!("add: {}", error.message())),
        "{text}"
    );
    assert!(text.contains("tests/it/operators.rs:"), "{text}");
}

#[test]
fn an_error_says_what_it_comes_from_once() {
    let error = Error::new("read", "x.npy: no such file").with_source("no such file");
    assert_eq!(error.to_string().matches("no such file").count(), 1);
    let error = Error::new("read", "x.npy").with_source("no such file");
    assert!(
        error
            .to_string()
            .starts_with("read: x.npy: no such file. At ")
    );
}

//! Sizes, steps and counts at the ends of what a number can say: an error or a result, no panic
//! (tests check arithmetic for overflow).

use flambeau_core::{ConvOptions, DType, PadMode, PoolOptions, Result, Tensor};

const MAX: usize = usize::MAX;

#[track_caller]
fn refuses<T>(result: Result<T>, part: &str) {
    let error = result.err().expect("an error").to_string();
    assert!(error.contains(part), "no {part:?} in {error}");
}

#[test]
fn a_0d_tensor_has_no_size_to_ask_for() -> Result<()> {
    let x = Tensor::scalar(1.0f32)?;
    refuses(x.size(0), "0-d tensor has no dimension 0");
    refuses(x.size(-1), "0-d");
    refuses(x.narrow(0, 0, 1), "0-d");
    refuses(x.size(1), "out of range");
    Ok(())
}

#[test]
fn convolutions() -> Result<()> {
    let (x, w) = (Tensor::ones([1, 2, 5, 5])?, Tensor::ones([3, 2, 3, 3])?);
    // A stride beyond the input leaves one window.
    let far = ConvOptions {
        stride: [MAX, 1usize << 40],
        ..ConvOptions::default()
    };
    let y = x.conv2d(&w, None, &far)?;
    assert_eq!(y.to_vec::<f32>()?, [18.0; 3]);
    // A single tap has no distance to another.
    let wide = ConvOptions {
        dilation: [MAX, MAX],
        ..ConvOptions::default()
    };
    assert_eq!(
        x.conv2d(&Tensor::ones([1, 2, 1, 1])?, None, &wide)?.numel(),
        25
    );
    refuses(x.conv2d(&w, None, &wide), "does not fit");
    let groups = ConvOptions {
        groups: MAX,
        ..ConvOptions::default()
    };
    refuses(x.conv2d(&w, None, &groups), "groups");
    refuses(x.conv_transpose2d(&w, None, &groups, [0, 0]), "groups");
    let padded = ConvOptions {
        padding: [1usize << 40, 1usize << 40],
        ..ConvOptions::default()
    };
    refuses(x.conv2d(&w, None, &padded), "memory");
    let none = Tensor::ones([0, 3, 2, 2])?;
    refuses(
        none.conv_transpose2d(
            &w,
            None,
            &ConvOptions {
                stride: [1usize << 40, 1usize << 40],
                ..ConvOptions::default()
            },
            [0, 0],
        ),
        "memory",
    );
    for zero in [
        ConvOptions {
            stride: [0, 1],
            ..ConvOptions::default()
        },
        ConvOptions {
            dilation: [0, 1],
            ..ConvOptions::default()
        },
        ConvOptions {
            groups: 0,
            ..ConvOptions::default()
        },
    ] {
        refuses(x.conv2d(&w, None, &zero), "conv2d");
        refuses(
            none.conv_transpose2d(&w, None, &zero, [0, 0]),
            "conv_transpose2d",
        );
    }
    Ok(())
}

#[test]
fn pooling() -> Result<()> {
    let x = Tensor::ones([1, 2, 4, 4])?;
    refuses(x.adaptive_max_pool2d([MAX / 2, 3]), "memory");
    refuses(x.adaptive_avg_pool2d([MAX, MAX]), "negative");
    assert_eq!(x.adaptive_max_pool2d([1usize << 40, 0])?.numel(), 0);
    assert_eq!(
        x.max_pool2d(PoolOptions {
            stride: Some([MAX, MAX]),
            ..PoolOptions::new([2, 2])
        })?
        .numel(),
        2
    );
    refuses(x.max_pool2d(PoolOptions::new([5, 5])), "does not fit");
    refuses(x.max_pool2d(PoolOptions::new([0, 1])), "max_pool2d");
    refuses(
        x.avg_pool2d(PoolOptions {
            stride: Some([0, 1]),
            ..PoolOptions::new([2, 2])
        }),
        "avg_pool2d",
    );
    Ok(())
}

#[test]
fn shapes_that_only_a_zero_keeps_small() -> Result<()> {
    let x = Tensor::zeros([0, 1usize << 40, 1usize << 40])?;
    assert!(x.is_contiguous() && x.sum()?.item::<f32>()? == 0.0);
    assert_eq!(
        x.to_string(),
        "tensor([], size=(0, 1099511627776, 1099511627776))"
    );
    refuses(x.sum_dim(0, false), "memory");
    refuses(Tensor::zeros([1usize << 40, 1usize << 40]), "memory");
    refuses(Tensor::zeros([-1, 2]), "negative");
    Ok(())
}

#[test]
fn counts_and_places() -> Result<()> {
    let x = Tensor::ones([2, 3])?;
    assert_eq!(x.tril(i64::MAX)?.sum()?.item::<f32>()?, 6.0);
    assert_eq!(x.triu(i64::MAX)?.sum()?.item::<f32>()?, 0.0);
    assert_eq!(x.tril(i64::MIN)?.sum()?.item::<f32>()?, 0.0);
    refuses(x.repeat([i64::MAX, i64::MAX]), "memory");
    for mode in [PadMode::Zeros, PadMode::Replicate] {
        refuses(x.pad(&[1 << 50, i64::MAX], mode), "memory");
        assert_eq!(x.pad(&[0, 0], mode)?.numel(), 6);
    }
    refuses(x.pad(&[i64::MIN, 0], PadMode::Zeros), "cuts more");
    // An empty index names nothing, whatever its shape.
    let nowhere = Tensor::zeros_with([4, 0, 2], DType::I64)?;
    assert!(x.scatter(0, &nowhere, &x)?.equal(&x)?);
    assert!(x.scatter_add(1, &nowhere, &x)?.equal(&x)?);
    Ok(())
}

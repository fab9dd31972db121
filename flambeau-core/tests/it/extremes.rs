//! Sizes, steps and counts at the ends of what a number can say: an error or a result, no panic
//! (tests check arithmetic for overflow).

use flambeau_core::{
    BatchNormOptions, ConvOptions, DType, PadMode, PoolOptions, RecurrentCell, RecurrentOptions,
    Result, Tensor,
};

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
    // The output is as small as the input, the padded planes are not.
    for far in [1usize << 40, 1 << 61] {
        let same = ConvOptions {
            padding: [far, 1],
            dilation: [far, 1],
            ..ConvOptions::default()
        };
        refuses(x.conv2d(&w, None, &same), "cannot allocate");
        let strided = ConvOptions {
            padding: [far, 1],
            stride: [far, 1],
            ..ConvOptions::default()
        };
        refuses(x.conv2d(&w, None, &strided), "cannot allocate");
    }
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
    refuses(x.adaptive_avg_pool2d([MAX, MAX]), "memory");
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
    // A window that is nearly all padding.
    let wide = PoolOptions {
        padding: [1 << 62, 1],
        ..PoolOptions::new([1 << 63, 2])
    };
    refuses(x.max_pool2d(wide), "mostly padding");
    refuses(x.avg_pool2d(wide), "mostly padding");
    let many = Tensor::zeros([1usize << 40, 1 << 40, 0, 4])?;
    refuses(many.max_pool2d(PoolOptions::new([2, 2])), "max_pool2d");
    refuses(many.adaptive_avg_pool2d([2, 2]), "adaptive_avg_pool2d");
    let wide = Tensor::zeros([0, 3, 1usize << 62, 6])?;
    refuses(wide.max_pool2d(PoolOptions::new([2, 2])), "memory");
    refuses(wide.adaptive_avg_pool2d([2, 2]), "memory");
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
    // All is cut off before, and nearly as much comes after.
    let moved = x.pad(&[i64::MIN, i64::MAX], PadMode::Constant(7.0))?;
    assert_eq!(moved.to_vec::<f32>()?, [7.0; 4]);
    let far = x.pad(&[i64::MIN, i64::MAX], PadMode::Replicate)?;
    assert_eq!(far.to_vec::<f32>()?, [1.0; 4]);
    // An empty index names nothing, whatever its shape.
    let nowhere = Tensor::zeros_with([4, 0, 2], DType::I64)?;
    assert!(x.scatter(0, &nowhere, &x)?.equal(&x)?);
    assert!(x.scatter_add(1, &nowhere, &x)?.equal(&x)?);
    Ok(())
}

#[test]
fn an_empty_tensor_may_be_stretched_and_written_to() -> Result<()> {
    let x = Tensor::zeros([0, 1])?.expand([0, 1usize << 62])?;
    assert!(x.add_(1.0)?.is_empty() && x.zero_()?.is(&x));
    Ok(())
}

/// The views of a tensor without elements, whose strides are as large as its sizes.
#[test]
fn views_of_nothing() -> Result<()> {
    let x = Tensor::zeros([0, 1usize << 62, 1 << 62])?;
    assert_eq!(
        x.slice(1, 0, MAX, 3)?.shape()[1],
        (1usize << 62).div_ceil(3)
    );
    assert_eq!(x.unfold(1, 5, 7)?.dim(), 4);
    assert_eq!(x.diagonal(0, 0, 1)?.shape(), [1usize << 62, 0]);
    assert_eq!(x.unsqueeze(1)?.dim(), 4);
    assert_eq!(x.permute([2, 0, 1])?.contiguous()?.numel(), 0);
    assert_eq!(Tensor::cat(&[&x, &x, &x, &x, &x], 1)?.numel(), 0);
    assert_eq!(x.mean_dim([1, 2], false)?.numel(), 0);
    refuses(x.view([MAX]), "view");
    let turned = x.permute([2, 0, 1])?;
    assert_eq!(turned.add(&turned)?.mul(2.0)?.numel(), 0);
    let index = Tensor::new([0i64, 1])?;
    assert_eq!(
        turned.index_select(2, &index)?.shape(),
        [1usize << 62, 0, 2]
    );
    let many = Tensor::zeros([1usize << 62, 3, 0])?;
    let (zero, one) = (Tensor::zeros([3])?, Tensor::ones([3])?);
    let running = Some((&zero, &one));
    let norm = BatchNormOptions {
        running,
        ..Default::default()
    };
    assert!(many.batch_norm(norm)?.is_empty());
    assert!(many.group_norm(3, None, None, 1e-5)?.is_empty());
    let far = Tensor::zeros([(1usize << 62) + 1, 4, 0, 2])?;
    assert!(far.softmax(1)?.is_empty() && far.log_softmax(1)?.is_empty());
    let packed = Tensor::zeros([0, 1usize << 62, 24])?;
    assert!(
        packed
            .self_attention(2, true, Default::default())?
            .is_empty()
    );
    let wide = Tensor::zeros([0, 3, 1usize << 40, 6])?;
    assert!(wide.avg_pool2d(PoolOptions::new([2, 2]))?.is_empty());
    assert!(wide.max_pool2d(PoolOptions::new([2, 2]))?.is_empty());
    Ok(())
}

/// Values without a width, channels of which there are none: results and gradients without elements,
/// or of zeros.
#[test]
fn parts_of_nothing() -> Result<()> {
    let x = || Tensor::ones([2, 2, 3, 4])?.requires_grad_(true);
    let (q, k) = (x()?, x()?);
    let v = Tensor::ones([2, 2, 3, 0])?;
    let y = q.scaled_dot_product_attention(&k, &v, Default::default())?;
    assert_eq!(y.shape(), [2, 2, 3, 0]);
    y.sum()?.backward()?;
    assert_eq!(q.grad().unwrap().abs()?.sum()?.item::<f32>()?, 0.0);
    // No output channels, and places for them without end.
    let x = Tensor::ones([2, 4, 7])?.requires_grad_(true)?;
    let w = Tensor::ones([0, 4, 3])?.requires_grad_(true)?;
    let far = ConvOptions {
        padding: [1usize << 40],
        ..Default::default()
    };
    let y = x.conv1d(&w, None, &far)?;
    assert!(y.is_empty() && y.dim() == 3);
    y.sum()?.backward()?;
    assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [0.0; 56]);
    let x = Tensor::ones([2, 4, 5, 5, 5])?.requires_grad_(true)?;
    let w = Tensor::ones([4, 0, 3, 3, 3])?;
    let y = x.conv_transpose3d(&w, None, &ConvOptions::default(), [0; 3])?;
    assert_eq!(y.shape(), [2, 0, 7, 7, 7]);
    y.sum()?.backward()?;
    assert_eq!(x.grad().unwrap().sum()?.item::<f32>()?, 0.0);
    // No input channels: the bias alone.
    let bias = Tensor::new([1.0f32, 2.0])?;
    let (x, w) = (Tensor::ones([1, 0, 3])?, Tensor::ones([2, 0, 2])?);
    let y = x.conv1d(&w, Some(&bias), &ConvOptions::default())?;
    assert_eq!(y.to_vec::<f32>()?, [1.0, 1.0, 2.0, 2.0]);
    Ok(())
}

/// Lists as long as a number can say, of which little or nothing is wanted.
#[test]
fn lists_beyond_memory() -> Result<()> {
    let far = 1usize << 40;
    let upper = Tensor::triu_indices(far, 3, 0)?;
    assert_eq!(
        upper.to_vec2::<i64>()?,
        [[0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    );
    let last = far as i64 - 1;
    let lower = Tensor::tril_indices(far, far, -last)?;
    assert_eq!(lower.to_vec2::<i64>()?, [[last], [0]]);
    refuses(Tensor::tril_indices(far, far, 0), "memory");
    refuses(Tensor::triu_indices(MAX, MAX, i64::MIN), "memory");
    assert!(Tensor::triu_indices(MAX, 0, 0)?.is_empty());
    let counts = Tensor::new([i64::MAX, i64::MAX])?;
    refuses(
        Tensor::ones([2])?.repeat_interleave_each(&counts, 0),
        "memory",
    );
    // Two indices that broadcast to more positions than there is memory for.
    let side = Tensor::zeros_with([1usize << 24], DType::I64)?;
    let x = Tensor::ones([1, 1])?;
    refuses(x.i((&side.unsqueeze(1)?, &side)), "memory");
    Ok(())
}

#[test]
fn a_size_beyond_i64_is_not_minus_one() -> Result<()> {
    let x = Tensor::ones([2, 3])?;
    refuses(x.view([MAX]), "[2, 3] has 6");
    refuses(x.expand([MAX, 3]), "does not expand");
    refuses(Tensor::zeros([MAX]), "memory");
    Ok(())
}

/// Parts cost memory of their own, so that their number has a bound.
#[test]
fn parts() -> Result<()> {
    let x = Tensor::zeros([0, 3])?;
    let parts = x.chunk(5, 0)?;
    assert!(parts.len() == 5 && parts.iter().all(|p| p.shape() == [0, 3]));
    assert_eq!(Tensor::ones([4])?.chunk(MAX, 0)?.len(), 4);
    assert_eq!(x.split(MAX, 0)?.len(), 1);
    refuses(x.chunk(MAX, 0), "16777216 are the most");
    let wide = Tensor::zeros([1usize << 40, 0])?;
    refuses(wide.split(1, 0), "16777216");
    refuses(wide.unbind(0), "16777216");
    refuses(wide.iter(), "16777216");
    refuses(wide.to_vec2::<f32>(), "16777216");
    refuses(wide.unsqueeze(0)?.to_vec3::<f32>(), "16777216");
    refuses(wide.split_with_sizes(&[MAX, MAX], 1), "add up to");
    refuses(Tensor::ones([3])?.diag(i64::MIN), "memory");
    Ok(())
}

#[test]
fn random_orders_beyond_memory() -> Result<()> {
    refuses(Tensor::randperm(1 << 60), "do not fit into memory");
    refuses(Tensor::randperm(MAX), "do not fit into memory");
    let weights = Tensor::ones([2, 3])?;
    refuses(weights.multinomial(MAX, true), "do not fit into memory");
    refuses(weights.multinomial(MAX, false), "without replacement");
    Ok(())
}

#[test]
fn heads_and_projections() -> Result<()> {
    let x = Tensor::ones([1, 2, 12])?;
    refuses(x.self_attention(MAX, true, Default::default()), "multiple");
    let options = RecurrentOptions {
        cell: RecurrentCell::Lstm,
        reverse: false,
        weight: &Tensor::ones([12, 2])?,
        bias: None,
        projection: Some(&Tensor::scalar(1.0f32)?),
    };
    let (h, c) = (Tensor::ones([2, 2])?, Tensor::ones([2, 3])?);
    refuses(x.recurrent(&h, Some(&c), options), "recurrent");
    // Steps without end for a batch of nothing.
    let x = Tensor::zeros([1usize << 50, 0, 12])?;
    let (h, c) = (Tensor::zeros([0, 2])?, Tensor::zeros([0, 3])?);
    let options = RecurrentOptions {
        projection: Some(&Tensor::ones([2, 3])?),
        ..options
    };
    let (y, h, c) = x.recurrent(&h, Some(&c), options)?;
    assert_eq!((y.shape(), h.shape()), (&[1 << 50, 0, 2][..], &[0, 2][..]));
    assert_eq!(c.expect("a cell").shape(), [0, 3]);
    Ok(())
}

//! Every layer: initial values and what they leave of the generator, output, gradients, buffers,
//! evaluation and printout as in PyTorch; gradients against finite differences in double precision.

use crate::{alone, close, goldens, numbers, pattern, values};
use flambeau_core::{DType, Result, Tensor, manual_seed, no_grad};
use flambeau_nn::*;

type Make = fn() -> Box<dyn Forward>;

macro_rules! cases {
    ($($name:literal: $make:expr, [$($d:literal),*];)*) => {
        [$(($name, (|| Box::new($make)) as Make, { const SHAPE: &[usize] = &[$($d),*]; SHAPE })),*]
    };
}

#[rustfmt::skip]
fn cases() -> Vec<(&'static str, Make, &'static [usize])> {
    cases! {
        "linear": Linear::new(4, 3), [5, 4];
        "linear_no_bias": Linear::new(4, 3).bias(false), [2, 5, 4];
        "identity": Identity::new(), [2, 3];
        "conv1d": Conv1d::new(2, 4, 3).stride(2).padding(1), [2, 2, 9];
        "conv2d": Conv2d::new(3, 4, 3), [2, 3, 6, 5];
        "conv2d_options": Conv2d::new(4, 6, (3, 2)).stride((2, 1)).padding((1, 2)).dilation(2).groups(2).bias(false), [2, 4, 8, 7];
        "conv2d_groups": Conv2d::new(4, 4, 3).groups(4), [1, 4, 5, 5];
        "conv2d_same": Conv2d::new(2, 3, (4, 3)).padding(Padding::Same), [1, 2, 6, 5];
        "conv2d_valid": Conv2d::new(2, 3, 3).padding(Padding::Valid), [1, 2, 6, 5];
        "conv2d_reflect": Conv2d::new(2, 3, 3).padding(2).padding_mode(PaddingMode::Reflect), [1, 2, 5, 4];
        "conv2d_replicate": Conv2d::new(2, 3, 3).padding((1, 2)).padding_mode(PaddingMode::Replicate), [1, 2, 5, 4];
        "conv2d_circular": Conv2d::new(2, 3, 3).padding(1).padding_mode(PaddingMode::Circular), [1, 2, 5, 4];
        "conv3d": Conv3d::new(2, 3, 2).stride((1, 2, 1)).padding(1), [1, 2, 3, 4, 5];
        "conv_transpose1d": ConvTranspose1d::new(3, 2, 3).stride(2), [2, 3, 5];
        "conv_transpose2d": ConvTranspose2d::new(4, 2, 3).stride(2).padding(1).output_padding(1).groups(2), [2, 4, 3, 4];
        "conv_transpose3d": ConvTranspose3d::new(2, 3, 2).bias(false), [1, 2, 3, 2, 3];
        "max_pool1d": MaxPool1d::new(3).stride(2).padding(1), [2, 3, 8];
        "max_pool2d": MaxPool2d::new(2), [2, 3, 6, 5];
        "max_pool2d_options": MaxPool2d::new((3, 2)).stride((2, 1)).padding((1, 0)).dilation((1, 2)).ceil_mode(true), [1, 2, 6, 7];
        "max_pool3d": MaxPool3d::new(2), [1, 2, 4, 4, 5];
        "avg_pool1d": AvgPool1d::new(2), [2, 3, 7];
        "avg_pool2d": AvgPool2d::new(3).stride(2).padding(1), [1, 2, 6, 7];
        "avg_pool2d_options": AvgPool2d::new((3, 2)).stride(2).padding(1).ceil_mode(true).count_include_pad(false), [1, 2, 6, 7];
        "avg_pool2d_divisor": AvgPool2d::new((2, 3)).divisor_override(4), [1, 2, 6, 7];
        "avg_pool3d": AvgPool3d::new(2), [1, 2, 4, 4, 5];
        "adaptive_avg_pool1d": AdaptiveAvgPool1d::new(3), [2, 3, 7];
        "adaptive_avg_pool2d": AdaptiveAvgPool2d::new((3, 2)), [2, 3, 7, 5];
        "adaptive_avg_pool3d": AdaptiveAvgPool3d::new(2), [1, 2, 5, 4, 3];
        "adaptive_max_pool1d": AdaptiveMaxPool1d::new(3), [2, 3, 7];
        "adaptive_max_pool2d": AdaptiveMaxPool2d::new(2), [2, 3, 7, 5];
        "adaptive_max_pool3d": AdaptiveMaxPool3d::new(2), [1, 2, 5, 4, 3];
        "relu": ReLU::new(), [3, 40];
        "relu_inplace": ReLU::new().inplace(true), [3, 40];
        "relu6": ReLU6::new(), [3, 40];
        "leaky_relu": LeakyReLU::new(), [3, 40];
        "leaky_relu_slope": LeakyReLU::new().negative_slope(0.2), [3, 40];
        "elu": ELU::new(), [3, 40];
        "elu_alpha": ELU::new().alpha(0.7), [3, 40];
        "selu": SELU::new(), [3, 40];
        "celu": CELU::new().alpha(1.5), [3, 40];
        "gelu": GELU::new(), [3, 40];
        "gelu_tanh": GELU::new().tanh(true), [3, 40];
        "silu": SiLU::new(), [3, 40];
        "mish": Mish::new(), [3, 40];
        "softplus": Softplus::new(), [3, 40];
        "softplus_options": Softplus::new().beta(2.0).threshold(1.5), [3, 40];
        "softsign": Softsign::new(), [3, 40];
        "tanh": Tanh::new(), [3, 40];
        "sigmoid": Sigmoid::new(), [3, 40];
        "hardtanh": Hardtanh::new(), [3, 40];
        "hardtanh_bounds": Hardtanh::new().min_val(-2.0).max_val(0.5), [3, 40];
        "hardswish": Hardswish::new(), [3, 40];
        "hardsigmoid": Hardsigmoid::new(), [3, 40];
        "log_sigmoid": LogSigmoid::new(), [3, 40];
        "tanhshrink": Tanhshrink::new(), [3, 40];
        "hardshrink": Hardshrink::new(), [3, 40];
        "softshrink": Softshrink::new(), [3, 40];
        "threshold": Threshold::new(0.1, 20.0), [3, 40];
        "softmax": Softmax::new(1), [3, 7];
        "softmax_0": Softmax::new(0), [3, 2, 4];
        "log_softmax": LogSoftmax::new(-1), [3, 7];
        "softmin": Softmin::new(1), [3, 7];
        "softmax2d": Softmax2d::new(), [2, 3, 2, 2];
        "glu": GLU::new(-1), [3, 6];
        "prelu": PReLU::new(), [3, 7];
        "prelu_channels": PReLU::of(3, 0.1), [2, 3, 5];
        "batch_norm1d": BatchNorm1d::new(4), [6, 4];
        "batch_norm1d_length": BatchNorm1d::new(3).eps(1e-3).momentum(0.3), [2, 3, 5];
        "batch_norm2d": BatchNorm2d::new(3), [2, 3, 4, 3];
        "batch_norm2d_cumulative": BatchNorm2d::new(3).momentum(None), [2, 3, 4, 3];
        "batch_norm2d_plain": BatchNorm2d::new(3).affine(false), [2, 3, 4, 3];
        "batch_norm2d_untracked": BatchNorm2d::new(3).track_running_stats(false), [2, 3, 4, 3];
        "batch_norm3d": BatchNorm3d::new(2), [2, 2, 3, 2, 2];
        "layer_norm": LayerNorm::new(5), [3, 5];
        "layer_norm_2": LayerNorm::new([3, 4]).eps(1e-3), [2, 3, 4];
        "layer_norm_plain": LayerNorm::new(5).elementwise_affine(false), [2, 3, 5];
        "layer_norm_no_bias": LayerNorm::new(5).bias(false), [3, 5];
        "instance_norm1d": InstanceNorm1d::new(3), [2, 3, 5];
        "instance_norm1d_unbatched": InstanceNorm1d::new(3).eps(1e-3).affine(true), [3, 5];
        "instance_norm2d": InstanceNorm2d::new(3).momentum(0.3).affine(true).track_running_stats(true), [2, 3, 4, 3];
        "instance_norm3d": InstanceNorm3d::new(2).track_running_stats(true), [2, 2, 2, 3, 2];
        "group_norm": GroupNorm::new(2, 4), [2, 4, 3];
        "group_norm_plain": GroupNorm::new(3, 6).affine(false), [2, 6, 2, 2];
        "dropout": Dropout::default(), [4, 9];
        "dropout_quarter": Dropout::new(0.25), [4, 9];
        "dropout1d": Dropout1d::new(0.5), [3, 4, 5];
        "dropout2d": Dropout2d::new(0.4), [3, 4, 2, 2];
        "dropout3d": Dropout3d::new(0.4), [3, 4, 2, 1, 2];
        "flatten": Flatten::new(), [2, 3, 4];
        "flatten_dims": Flatten::new().start_dim(0).end_dim(1), [2, 3, 4];
        "unflatten": Unflatten::new(1, [2, 3]), [2, 6, 4];
        "zero_pad1d": ZeroPad1d::new(2), [2, 3, 4];
        "zero_pad2d": ZeroPad2d::new((1, 2, 3, 0)), [1, 2, 3, 4];
        "reflection_pad1d": ReflectionPad1d::new((1, 2)), [1, 2, 4];
        "reflection_pad2d": ReflectionPad2d::new(2), [1, 2, 3, 4];
        "replication_pad2d": ReplicationPad2d::new((1, 2, 0, 3)), [1, 2, 3, 4];
        "replication_pad3d": ReplicationPad3d::new(1), [1, 1, 2, 2, 3];
        "circular_pad2d": CircularPad2d::new((1, 2, 1, 0)), [1, 2, 3, 4];
        "constant_pad1d": ConstantPad1d::new((1, 2), 3.5), [1, 2, 3];
        "constant_pad2d": ConstantPad2d::new(1, -0.5), [1, 2, 3, 2];
        "sequential": Sequential::new((Conv2d::new(1, 2, 3), BatchNorm2d::new(2), ReLU::new(), Sequential::new((MaxPool2d::new(2), Flatten::new())), Linear::new(8, 3))), [3, 1, 6, 6];
    }
    .into()
}

fn named(v: &serde_json::Value) -> Vec<(String, Vec<f64>)> {
    v.as_object()
        .unwrap()
        .iter()
        .map(|(k, v)| (k.clone(), numbers(v)))
        .collect()
}

/// Parameters as make.py sets them.
fn set_parameters(name: &str, m: &dyn Forward) -> Result<()> {
    let shift = if name.contains("norm") { 1.0 } else { 0.0 };
    no_grad(|| {
        for (i, p) in m.parameters().iter().enumerate() {
            p.copy_(&pattern(p.shape(), i + 11)?.mul(0.5)?.add(shift)?)?;
        }
        Ok(())
    })
}

fn check(name: &str, make: Make, shape: &[usize], want: &serde_json::Value) -> Result<()> {
    manual_seed(42);
    let m = make();
    let next = Tensor::rand([1])?;
    assert_eq!(m.repr(), want["repr"], "{name}");
    let mut parameters = m.named_parameters();
    parameters.sort_by(|a, b| a.0.cmp(&b.0));
    let init = named(&want["init"]);
    assert_eq!(
        parameters.iter().map(|p| &p.0).collect::<Vec<_>>(),
        init.iter().map(|p| &p.0).collect::<Vec<_>>(),
        "{name}"
    );
    for ((n, p), (_, want)) in parameters.iter().zip(&init) {
        close(&format!("{name}: initial {n}"), &values(p), want, 1e-8);
    }
    close(
        &format!("{name}: the generator after"),
        &values(&next),
        &[want["next"].as_f64().unwrap()],
        1e-8,
    );

    set_parameters(name, &*m)?;
    let x = pattern(shape, 1)?.mul(2.0)?.requires_grad_(true)?;
    manual_seed(3);
    let input = if name.contains("inplace") {
        x.copy()?
    } else {
        x.clone()
    };
    let y = m.forward(&input)?;
    let shape_wanted: Vec<usize> = numbers(&want["shape"])
        .iter()
        .map(|v| *v as usize)
        .collect();
    assert_eq!(y.shape(), shape_wanted, "{name}");
    y.mul(&pattern(y.shape(), 2)?)?.sum()?.backward()?;
    let tolerance = 3e-6;
    close(
        &format!("{name}: output"),
        &values(&y),
        &numbers(&want["output"]),
        tolerance,
    );
    let grad = x.grad().expect("the input has a gradient");
    close(
        &format!("{name}: input's gradient"),
        &values(&grad),
        &numbers(&want["input_grad"]),
        1e-5,
    );
    for ((n, p), (_, want)) in parameters.iter().zip(named(&want["grads"])) {
        let grad = p.grad().expect("each parameter has a gradient");
        close(
            &format!("{name}: gradient of {n}"),
            &values(&grad),
            &want,
            1e-5,
        );
    }
    let mut buffers = m.named_buffers();
    buffers.sort_by(|a, b| a.0.cmp(&b.0));
    for ((n, b), (m, want)) in buffers.iter().zip(named(&want["buffers"])) {
        assert_eq!(*n, m, "{name}");
        close(&format!("{name}: {n}"), &values(b), &want, tolerance);
    }
    m.eval();
    let y = m.forward(&x.detach().copy()?)?;
    close(
        &format!("{name}: in evaluation"),
        &values(&y),
        &numbers(&want["eval"]),
        tolerance,
    );
    Ok(())
}

#[test]
fn layers_are_pytorchs() {
    let _alone = alone();
    let goldens = goldens("layers");
    let cases = cases();
    assert_eq!(goldens.as_object().unwrap().len(), cases.len());
    let mut failed = Vec::new();
    for (name, make, shape) in cases {
        let run = std::panic::AssertUnwindSafe(|| check(name, make, shape, &goldens[name]));
        match std::panic::catch_unwind(run) {
            Ok(Ok(())) => {}
            Ok(Err(e)) => failed.push(format!("{name}: {e}")),
            Err(_) => failed.push(name.to_owned()),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// The gradient of `sum(y * pattern)` with respect to `x`, by central differences at a few places.
fn differences(m: &dyn Forward, x: &Tensor) -> Result<Vec<(usize, f64)>> {
    let loss = |x: &Tensor| -> Result<f64> {
        let y = m.forward(x)?;
        y.mul(&pattern(y.shape(), 2)?.to_dtype(DType::F64)?)?
            .sum()?
            .item::<f64>()
    };
    let base = x.to_vec::<f64>()?;
    let h = 1e-6;
    no_grad(|| {
        (0..base.len())
            .step_by(base.len().div_ceil(7).max(1))
            .map(|i| {
                let mut v = base.clone();
                v[i] = base[i] + h;
                let up = loss(&Tensor::from_slice(&v, x.shape())?)?;
                v[i] = base[i] - h;
                let down = loss(&Tensor::from_slice(&v, x.shape())?)?;
                Ok((i, (up - down) / (2.0 * h)))
            })
            .collect()
    })
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    let _alone = alone();
    warnings(false);
    for (name, make, shape) in cases() {
        // Random layers are different functions at each call.
        if name.contains("dropout") || name.contains("inplace") {
            continue;
        }
        let m = make();
        set_parameters(name, &*m)?;
        let m = m.to(DType::F64)?;
        let x = pattern(shape, 1)?
            .mul(2.0)?
            .to_dtype(DType::F64)?
            .requires_grad_(true)?;
        let y = m.forward(&x)?;
        assert_eq!(y.dtype(), DType::F64, "{name}");
        y.mul(&pattern(y.shape(), 2)?.to_dtype(DType::F64)?)?
            .sum()?
            .backward()?;
        let grad = x.grad().unwrap().to_vec::<f64>()?;
        for (i, numeric) in differences(&*m, &x.detach())? {
            assert!(
                (grad[i] - numeric).abs() < 1e-6 * numeric.abs().max(1.0),
                "{name}[{i}]: {} by backward, {numeric} by differences",
                grad[i]
            );
        }
    }
    warnings(true);
    Ok(())
}

#[test]
fn options_leave_the_generator_to_others() -> Result<()> {
    let _alone = alone();
    // The option comes after something else has drawn: that keeps its number.
    manual_seed(5);
    let layer = Linear::new(3, 2);
    let other = Tensor::rand([1])?.item::<f32>()?;
    let layer = layer.bias(false);
    manual_seed(5);
    let _ = Linear::new(3, 2);
    let first = Tensor::rand([1])?.item::<f32>()?;
    assert_eq!(other, first);
    let again = Tensor::rand([1])?.item::<f32>()?;
    // The layer has drawn new values from there on.
    assert_ne!(layer.weight.to_vec::<f32>()?[0], again);
    assert!(layer.bias.is_none());
    Ok(())
}

#[test]
fn options_that_do_not_fit_are_errors_of_the_first_call() -> Result<()> {
    let _alone = alone();
    let conv = Conv2d::new(3, 6, 5).groups(2);
    let error = conv
        .forward(&Tensor::ones([1, 3, 8, 8])?)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("3 input and 6 output channels do not divide into 2 groups"),
        "{error}"
    );
    assert!(error.contains("layers.rs"), "{error}");
    assert!(Conv2d::new(3, 6, 5).groups(2).to(DType::F64).is_err());
    // Taken back, it works.
    let conv = Conv2d::new(3, 6, 5).groups(2).groups(3);
    assert_eq!(
        conv.forward(&Tensor::ones([1, 3, 8, 8])?)?.shape(),
        [1, 6, 4, 4]
    );
    assert!(
        GroupNorm::new(3, 4)
            .forward(&Tensor::ones([1, 4, 2])?)
            .is_err()
    );
    assert!(
        Embedding::new(3, 2)
            .padding_idx(3)
            .forward(&Tensor::new([0i64])?)
            .is_err()
    );
    let same = Conv2d::new(1, 1, 3).stride(2).padding(Padding::Same);
    let error = same
        .forward(&Tensor::ones([1, 1, 8, 8])?)
        .unwrap_err()
        .to_string();
    assert!(error.contains("needs stride 1"), "{error}");
    let one = Tensor::ones([2, 3, 1])?;
    let error = InstanceNorm1d::new(3)
        .forward(&one)
        .unwrap_err()
        .to_string();
    assert!(error.contains("more than one element"), "{error}");
    let error = InstanceNorm1d::new(4)
        .affine(true)
        .forward(&one)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("has 3 channels; the layer has 4"),
        "{error}"
    );
    let error = BatchNorm2d::new(3)
        .forward(&Tensor::ones([2, 3, 4])?)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(
            "BatchNorm2d expects an input [batch, channels, height, width]; got shape [2, 3, 4]"
        ),
        "{error}"
    );
    Ok(())
}

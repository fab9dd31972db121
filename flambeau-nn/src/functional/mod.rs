//! What layers compute, as functions (`torch.nn.functional`), with PyTorch's names and order of
//! arguments. Shapes, types and errors are those of the tensor methods behind them.
//!
//! | | |
//! | --- | --- |
//! | linear, embedding | [`linear`], [`bilinear`], [`embedding`] |
//! | convolution, pooling | [`conv2d`], [`conv_transpose2d`], [`max_pool2d`], [`avg_pool2d`], [`adaptive_avg_pool2d`], [`adaptive_max_pool2d`], and the same in 1 and 3 dimensions |
//! | activations | [`relu`], [`relu6`], [`leaky_relu`], [`elu`], [`selu`], [`celu`], [`gelu`], [`silu`], [`mish`], [`softplus`], [`softsign`], [`sigmoid`], [`tanh`], [`hardtanh`], [`hardswish`], [`hardsigmoid`], [`logsigmoid`], [`tanhshrink`], [`hardshrink`], [`softshrink`], [`threshold`], [`prelu`], [`glu`], [`softmax`], [`log_softmax`], [`softmin`] |
//! | normalisation | [`batch_norm`], [`instance_norm`], [`layer_norm`], [`group_norm`], [`normalize`] |
//! | attention, dropout | [`scaled_dot_product_attention`], [`dropout`], [`dropout2d`] |
//! | padding, distances | [`pad`], [`cosine_similarity`], [`pairwise_distance`] |
//! | losses | [`cross_entropy`], [`nll_loss`], [`mse_loss`], [`l1_loss`], [`smooth_l1_loss`], [`huber_loss`], [`binary_cross_entropy`], [`binary_cross_entropy_with_logits`], [`kl_div`], [`cosine_embedding_loss`], [`margin_ranking_loss`], [`hinge_embedding_loss`], [`triplet_margin_loss`], [`soft_margin_loss`], [`poisson_nll_loss`] |
//!
//! ```
//! use flambeau_core::Tensor;
//! use flambeau_nn::functional as F;
//! let x = F::conv2d(&Tensor::ones([1, 3, 8, 8])?, &Tensor::ones([4, 3, 3, 3])?, None, 1, 1, 1, 1)?;
//! assert_eq!(F::max_pool2d(&F::relu(&x)?, 2)?.shape(), [1, 4, 4, 4]);
//! # Ok::<(), flambeau_core::Error>(())
//! ```

mod activation;
mod attention;
mod distance;

pub use activation::*;
pub use attention::*;
pub use distance::*;

pub use crate::loss::functional::*;
pub use flambeau_core::PadMode as PaddingMode;

use crate::init::product;
use crate::layers::Size;
use flambeau_core::autocast::{Cast, Composite};
use flambeau_core::{BatchNormOptions, ConvOptions, PoolOptions, Result, Tensor, bail, no_grad};

/// Functions that are tensor methods of the same name.
macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $t:ty),*) = $method:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// Where the input's type has no such operation.
        #[track_caller]
        pub fn $name(input: &Tensor $(, $arg: $t)*) -> Result<Tensor> {
            input.$method($($arg),*)
        }
    )*};
}
use methods;

/// `x Wᵀ + b`: weight `[out, in]`, bias `[out]`
/// ([`F.linear`](https://pytorch.org/docs/stable/generated/torch.nn.functional.linear.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::linear;
/// let (x, w, b) = (Tensor::new([[1.0f32, 2.0]])?, Tensor::new([[3.0f32, 4.0]])?, Tensor::new([0.5f32])?);
/// assert_eq!(linear(&x, &w, Some(&b))?.to_vec2::<f32>()?, [[11.5]]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where sizes or types do not fit.
#[track_caller]
pub fn linear(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    input.linear(weight, bias)
}

/// `x1ᵀ A x2 + b`: inputs `[…, in1]` and `[…, in2]`, weight `[out, in1, in2]`, bias `[out]`
/// ([`F.bilinear`](https://pytorch.org/docs/stable/generated/torch.nn.functional.bilinear.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::bilinear;
/// let (x, y) = (Tensor::new([[1.0f32, 2.0]])?, Tensor::new([[3.0f32]])?);
/// let w = Tensor::new([[[0.5f32], [1.0]]])?;
/// assert_eq!(bilinear(&x, &y, &w, None)?.to_vec2::<f32>()?, [[7.5]]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where sizes or types do not fit.
#[track_caller]
pub fn bilinear(
    input1: &Tensor,
    input2: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let &[out, in1, in2] = weight.shape() else {
        bail!(
            "bilinear",
            "the weight must be [out, in1, in2]; got shape {:?}",
            weight.shape()
        );
    };
    let (Some((&last1, lead1)), Some((&last2, lead2))) =
        (input1.shape().split_last(), input2.shape().split_last())
    else {
        bail!("bilinear", "the inputs must have a last dimension");
    };
    if lead1 != lead2 || last1 != in1 || last2 != in2 {
        bail!(
            "bilinear",
            "inputs {:?} and {:?} do not fit a weight of shape {:?}; need […, {in1}] and […, {in2}] with equal sizes before",
            input1.shape(),
            input2.shape(),
            weight.shape()
        );
    }
    let rows = product(lead1);
    // Not on PyTorch's list for a CPU: its products keep their type.
    let region = Composite::of([Cast::Keep, Cast::Widest], [input1, input2, weight])?;
    let [input1, input2, weight] = region.inputs();
    let by_input1 = weight
        .permute([1, 0, 2])?
        .reshape([in1, product(&[out, in2])])?;
    let y = input1
        .reshape([rows, in1])?
        .matmul(&by_input1)?
        .view([rows, out, in2])?
        .mul(&input2.reshape([rows, 1, in2])?)?
        .sum_dim(-1, false)?
        .view([lead1, &[out]].concat())?;
    match region.optional(bias)? {
        Some(b) => y.add(&b),
        None => Ok(y),
    }
}

/// The page of a function on `$n` spatial dimensions: text, PyTorch's page, a call on ones whose sizes
/// are all `$in` with the sizes it gives, errors.
macro_rules! page {
    ($text:literal, $name:ident, $n:literal, $in:literal, $args:literal, $gives:literal, $errors:literal) => {
        concat!(
            $text,
            "\n([`F.",
            stringify!($name),
            "`](https://pytorch.org/docs/stable/generated/",
            "torch.nn.functional.",
            stringify!($name),
            ".html)).\n\n```\nuse flambeau_core::Tensor;\n",
            "use flambeau_nn::functional::",
            stringify!($name),
            ";\n",
            "let x = Tensor::ones([",
            $in,
            "; 2 + ",
            $n,
            "])?;\n",
            "let y = ",
            stringify!($name),
            "(&x, ",
            $args,
            ")?;\n",
            "assert_eq!(y.shape()[2..], [",
            $gives,
            "; ",
            $n,
            "]);\n",
            "# Ok::<(), flambeau_core::Error>(())\n```\n\n# Errors\n",
            $errors,
        )
    };
}

macro_rules! spatial {
    ($($n:literal: $conv:ident $transpose:ident $max:ident $avg:ident $adaptive_avg:ident $adaptive_max:ident;)*) => {$(
        #[doc = page!(
            "Convolution of `[batch, in, …]` with weight `[out, in / groups, kernel…]`, bias `[out]`",
            $conv, $n, 3, "&x, None, 1, 0, 1, 1", 1, "Where channels, kernel and input do not fit."
        )]
        #[track_caller]
        pub fn $conv(
            input: &Tensor,
            weight: &Tensor,
            bias: Option<&Tensor>,
            stride: impl Into<Size<$n>>,
            padding: impl Into<Size<$n>>,
            dilation: impl Into<Size<$n>>,
            groups: usize,
        ) -> Result<Tensor> {
            let options = ConvOptions {
                stride: stride.into().each,
                padding: padding.into().each,
                dilation: dilation.into().each,
                groups,
            };
            input.$conv(weight, bias, &options)
        }

        #[doc = page!(
            "Transposed convolution of `[batch, in, …]` with weight `[in, out / groups, kernel…]`, bias `[out]`",
            $transpose, $n, 3, "&x, None, 1, 0, 0, 1, 1", 5, "Where channels, kernel and input do not fit."
        )]
        #[allow(clippy::too_many_arguments)]
        #[track_caller]
        pub fn $transpose(
            input: &Tensor,
            weight: &Tensor,
            bias: Option<&Tensor>,
            stride: impl Into<Size<$n>>,
            padding: impl Into<Size<$n>>,
            output_padding: impl Into<Size<$n>>,
            groups: usize,
            dilation: impl Into<Size<$n>>,
        ) -> Result<Tensor> {
            let options = ConvOptions {
                stride: stride.into().each,
                padding: padding.into().each,
                dilation: dilation.into().each,
                groups,
            };
            input.$transpose(weight, bias, &options, output_padding.into().each)
        }

        #[doc = page!(
            "The maximum of each window of `[batch, channels, …]`: a window size, or [`PoolOptions`]",
            $max, $n, 4, "2", 2, "Where the window does not fit."
        )]
        #[track_caller]
        pub fn $max(input: &Tensor, options: impl Into<PoolOptions<$n>>) -> Result<Tensor> {
            input.$max(options)
        }

        #[doc = page!(
            "The average of each window of `[batch, channels, …]`: a window size, or [`PoolOptions`]",
            $avg, $n, 4, "2", 2, "Where the window does not fit."
        )]
        #[track_caller]
        pub fn $avg(input: &Tensor, options: impl Into<PoolOptions<$n>>) -> Result<Tensor> {
            input.$avg(options)
        }

        #[doc = page!(
            "Averages of `[batch, channels, …]` that give `output_size`",
            $adaptive_avg, $n, 4, "3", 3, "Where the input has too few dimensions."
        )]
        #[track_caller]
        pub fn $adaptive_avg(input: &Tensor, output_size: impl Into<Size<$n>>) -> Result<Tensor> {
            input.$adaptive_avg(output_size.into().each)
        }

        #[doc = page!(
            "Maxima of `[batch, channels, …]` that give `output_size`",
            $adaptive_max, $n, 4, "3", 3, "Where the input has too few dimensions."
        )]
        #[track_caller]
        pub fn $adaptive_max(input: &Tensor, output_size: impl Into<Size<$n>>) -> Result<Tensor> {
            input.$adaptive_max(output_size.into().each)
        }
    )*};
}
spatial! {
    1: conv1d conv_transpose1d max_pool1d avg_pool1d adaptive_avg_pool1d adaptive_max_pool1d;
    2: conv2d conv_transpose2d max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d;
    3: conv3d conv_transpose3d max_pool3d avg_pool3d adaptive_avg_pool3d adaptive_max_pool3d;
}

methods! {
    /// max(0, x)
    /// ([`F.relu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.relu.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::relu;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(relu(&x)?.allclose(&Tensor::new([0.0f32, 2.0])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    relu() = relu;
    /// x, times `negative_slope` below zero (PyTorch's default 0.01)
    /// ([`F.leaky_relu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.leaky_relu.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::leaky_relu;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(leaky_relu(&x, 0.01)?.allclose(&Tensor::new([-0.01f32, 2.0])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    leaky_relu(negative_slope: f64) = leaky_relu;
    /// The hyperbolic tangent
    /// ([`torch.tanh`](https://pytorch.org/docs/stable/generated/torch.tanh.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::tanh;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(tanh(&x)?.allclose(&Tensor::new([-0.76159f32, 0.96403])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    tanh() = tanh;
    /// eˣ over its sum along `dim`
    /// ([`F.softmax`](https://pytorch.org/docs/stable/generated/torch.nn.functional.softmax.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::softmax;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(softmax(&x, 0)?.allclose(&Tensor::new([0.04743f32, 0.95257])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    softmax(dim: i64) = softmax;
    /// The logarithm of softmax
    /// ([`F.log_softmax`](https://pytorch.org/docs/stable/generated/torch.nn.functional.log_softmax.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::log_softmax;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// let expected = Tensor::new([-3.04859f32, -0.04859])?;
    /// assert!(log_softmax(&x, 0)?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    log_softmax(dim: i64) = log_softmax;
    /// Elements zero with probability `p` (default 0.5), the others scaled, while `training`
    /// ([`F.dropout`](https://pytorch.org/docs/stable/generated/torch.nn.functional.dropout.html)).
    ///
    /// ```standalone_crate
    /// use flambeau_core::{Tensor, manual_seed};
    /// use flambeau_nn::functional::dropout;
    /// manual_seed(0);
    /// assert_eq!(
    ///     dropout(&Tensor::ones([6])?, 0.5, true)?.to_vec::<f32>()?,
    ///     [0.0, 0.0, 2.0, 0.0, 0.0, 0.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    dropout(p: f64, training: bool) = dropout;
    /// Channels of `[batch, channels, …]` zero with probability `p`, while `training`
    /// ([`F.dropout2d`](https://pytorch.org/docs/stable/generated/torch.nn.functional.dropout2d.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::dropout2d;
    /// assert_eq!(dropout2d(&Tensor::ones([1, 4, 2, 2])?, 0.5, false)?.to_vec::<f32>()?, [1.0; 16]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    dropout2d(p: f64, training: bool) = feature_dropout;
}

/// Softmax of -x
/// ([`F.softmin`](https://pytorch.org/docs/stable/generated/torch.nn.functional.softmin.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::softmin;
/// let x = Tensor::new([-1.0f32, 2.0])?;
/// assert!(softmin(&x, 0)?.allclose(&Tensor::new([0.95257f32, 0.04743])?, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// For integer tensors.
#[track_caller]
pub fn softmin(input: &Tensor, dim: i64) -> Result<Tensor> {
    input.neg()?.softmax(dim)
}

/// The rows of `weight` `[num, dim]` that `input` names, `[…]` to `[…, dim]`; the row `padding_idx`
/// gets no gradient
/// ([`F.embedding`](https://pytorch.org/docs/stable/generated/torch.nn.functional.embedding.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::embedding;
/// let table = Tensor::new([[0.5f32, 1.5], [2.5, 3.5]])?;
/// assert_eq!(
///     embedding(&Tensor::new([1i64, 1])?, &table, None)?.to_vec2::<f32>()?,
///     [[2.5, 3.5], [2.5, 3.5]]
/// );
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where an index is beyond the table, or the input is not of an integer type.
#[track_caller]
pub fn embedding(input: &Tensor, weight: &Tensor, padding_idx: Option<i64>) -> Result<Tensor> {
    input.embedding(weight, padding_idx, false)
}

/// The input with a margin; see [`Tensor::pad`]. `value` stands in for the zeros of `Zeros`
/// ([`F.pad`](https://pytorch.org/docs/stable/generated/torch.nn.functional.pad.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::{PaddingMode, pad};
/// let y = pad(&Tensor::new([1.0f32, 2.0])?, &[1, 0], PaddingMode::Zeros, 9.0)?;
/// assert_eq!(y.to_vec::<f32>()?, [9.0, 1.0, 2.0]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the margin does not fit.
#[track_caller]
pub fn pad(input: &Tensor, pad: &[i64], mode: PaddingMode, value: f64) -> Result<Tensor> {
    let mode = match mode {
        PaddingMode::Zeros if value != 0.0 => PaddingMode::Constant(value),
        mode => mode,
    };
    input.pad(pad, mode)
}

/// Batch normalisation of `[batch, channels, …]`
/// ([`F.batch_norm`](https://pytorch.org/docs/stable/generated/torch.nn.functional.batch_norm.html)).
///
/// PyTorch's defaults: `training` false, `momentum` 0.1, `eps` 1e-5.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::batch_norm;
/// let x = Tensor::new([[1.0f32], [3.0]])?;
/// let expected = Tensor::new([[-0.99999f32], [0.99999]])?;
/// let y = batch_norm(&x, None, None, None, None, true, 0.1, 1e-5)?;
/// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where parameters do not match the channels.
#[allow(clippy::too_many_arguments)]
#[track_caller]
pub fn batch_norm(
    input: &Tensor,
    running_mean: Option<&Tensor>,
    running_var: Option<&Tensor>,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    training: bool,
    momentum: f64,
    eps: f64,
) -> Result<Tensor> {
    input.batch_norm(BatchNormOptions {
        running: running_mean.zip(running_var),
        weight,
        bias,
        training,
        momentum,
        eps,
    })
}

/// Normalisation of each channel of each sample of `[batch, channels, …]`: by its own mean and
/// variance where `use_input_stats`, which then enter the running ones, else by those
/// ([`F.instance_norm`](https://pytorch.org/docs/stable/generated/torch.nn.functional.instance_norm.html)).
///
/// PyTorch's defaults: `use_input_stats` true, `momentum` 0.1, `eps` 1e-5.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::instance_norm;
/// let x = Tensor::new([[[1.0f32, 3.0], [10.0, 50.0]]])?;
/// let expected = Tensor::new([[[-0.99999f32, 0.99999], [-1.0, 1.0]]])?;
/// let y = instance_norm(&x, None, None, None, None, true, 0.1, 1e-5)?;
/// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where parameters do not match the channels, or a channel has one element alone to take a variance
/// of.
#[allow(clippy::too_many_arguments)]
#[track_caller]
pub fn instance_norm(
    input: &Tensor,
    running_mean: Option<&Tensor>,
    running_var: Option<&Tensor>,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    use_input_stats: bool,
    momentum: f64,
    eps: f64,
) -> Result<Tensor> {
    let running = running_mean.zip(running_var);
    if !use_input_stats {
        let (mean, var) = (running_mean, running_var);
        return batch_norm(input, mean, var, weight, bias, false, momentum, eps);
    }
    let &[batch, channels, ref spatial @ ..] = input.shape() else {
        bail!(
            "instance_norm",
            "the input has shape {:?}; expected [batch, channels, …]",
            input.shape()
        );
    };
    if product(spatial) == 1 {
        bail!(
            "instance_norm",
            "each channel needs more than one element; the input has shape {:?}",
            input.shape()
        );
    }
    // Each sample's channels become channels of their own.
    let each = |t: Option<&Tensor>| t.map(|t| t.repeat(batch as i64)).transpose();
    let (mean, var) = (each(running_mean)?, each(running_var)?);
    let y = input
        .reshape([&[1, product(&[batch, channels])], spatial].concat())?
        .batch_norm(BatchNormOptions {
            running: mean.as_ref().zip(var.as_ref()),
            weight: each(weight)?.as_ref(),
            bias: each(bias)?.as_ref(),
            training: true,
            momentum,
            eps,
        })?
        .reshape(input.shape())?;
    if let (Some((old_mean, old_var)), Some(mean), Some(var)) = (running, mean, var) {
        no_grad(|| {
            for (old, new) in [(old_mean, mean), (old_var, var)] {
                old.copy_(&new.view([batch, channels])?.mean_dim(0, false)?)?;
            }
            Ok::<(), flambeau_core::Error>(())
        })?;
    }
    Ok(y)
}

/// Layer normalisation over the last dimensions
/// ([`F.layer_norm`](https://pytorch.org/docs/stable/generated/torch.nn.functional.layer_norm.html)).
///
/// PyTorch's default: `eps` 1e-5.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::layer_norm;
/// let x = Tensor::new([[1.0f32, 3.0], [0.0, 40.0]])?;
/// let expected = Tensor::new([[-0.99999f32, 0.99999], [-1.0, 1.0]])?;
/// assert!(layer_norm(&x, &[2], None, None, 1e-5)?.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the input does not end in `normalized_shape`.
#[track_caller]
pub fn layer_norm(
    input: &Tensor,
    normalized_shape: &[usize],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    input.layer_norm(normalized_shape, weight, bias, eps)
}

/// Group normalisation of `[batch, channels, …]`
/// ([`F.group_norm`](https://pytorch.org/docs/stable/generated/torch.nn.functional.group_norm.html)).
///
/// PyTorch's default: `eps` 1e-5.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::group_norm;
/// let x = Tensor::new([[1.0f32, 3.0, 0.0, 40.0]])?;
/// let expected = Tensor::new([[-0.99999f32, 0.99999, -1.0, 1.0]])?;
/// assert!(group_norm(&x, 2, None, None, 1e-5)?.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the channels do not divide into the groups.
#[track_caller]
pub fn group_norm(
    input: &Tensor,
    num_groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    input.group_norm(num_groups, weight, bias, eps)
}
